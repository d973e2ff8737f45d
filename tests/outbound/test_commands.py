"""MAIL and RCPT as they are written."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.courier import DANE, ENCRYPTED, VERIFIED
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Notify, Wish
from mailx.mail.reply import Refused
from mailx.outbound import commands
from tests.outbound.peers import ADA, envelope

EVERYTHING = {"SIZE": "1000", "8BITMIME": "", "SMTPUTF8": "", "DSN": "", "REQUIRETLS": ""}


def unxtext(text: str) -> bytes:
    """xtext read as RFC 3461 4 says it."""
    out = bytearray()
    while text:
        if text[0] == "+":
            out.append(int(text[1:3], 16))
            text = text[3:]
        else:
            out += text[0].encode("ascii")
            text = text[1:]
    return bytes(out)


class Mail(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(commands.mail(envelope(), {}, 100, False, False), b"MAIL FROM:<me@example.test>\r\n")
        self.assertEqual(commands.mail(envelope(sender=None), {}, 100, False, False), b"MAIL FROM:<>\r\n")

    def test_everything(self) -> None:
        sent = envelope(demands=Demands(utf8=True, require_tls=True, returns="HDRS", id="a=b c"))
        self.assertEqual(
            commands.mail(sent, EVERYTHING, 100, True, True),
            b"MAIL FROM:<me@example.test> SIZE=100 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+3Db+20c\r\n",
        )

    def test_reports_are_not_asked_of_who_cannot(self) -> None:
        sent = envelope(demands=Demands(returns="FULL", id="x"))
        self.assertEqual(commands.mail(sent, {"SIZE": ""}, 7, False, False), b"MAIL FROM:<me@example.test> SIZE=7\r\n")

    def test_long_ids_are_left_out(self) -> None:
        sent = envelope(demands=Demands(id="x" * 101))
        self.assertEqual(commands.mail(sent, {"DSN": ""}, 7, False, False), b"MAIL FROM:<me@example.test>\r\n")


class Recipients(SynchronousTestCase):
    def test_wishes(self) -> None:
        wish = Wish(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, "rfc822;ada+list@example.org")
        self.assertEqual(
            commands.rcpt(ADA, wish, True, False),
            b"RCPT TO:<ada@example.net> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;ada+2Blist@example.org\r\n",
        )
        self.assertEqual(commands.rcpt(ADA, wish, False, False), b"RCPT TO:<ada@example.net>\r\n")
        self.assertEqual(commands.rcpt(ADA, Wish(Notify.NEVER), True, False), b"RCPT TO:<ada@example.net> NOTIFY=NEVER\r\n")
        self.assertEqual(commands.rcpt(ADA, Wish(original="rfc822;" + "x" * 500), True, False), b"RCPT TO:<ada@example.net>\r\n")

    def test_odd_addresses(self) -> None:
        self.assertEqual(commands.rcpt(Address('a "b\\', "example.net"), None, False, False), b'RCPT TO:<"a \\"b\\\\"@example.net>\r\n')
        self.assertEqual(commands.rcpt(Address("Postmaster", ""), None, False, False), b"RCPT TO:<Postmaster>\r\n")
        self.assertEqual(commands.rcpt(Address("a", "[192.0.2.1]"), None, False, False), b"RCPT TO:<a@[192.0.2.1]>\r\n")

    def test_nothing_ends_the_line(self) -> None:
        for local in ("a\r\nDATA", "a\nb", "a\0b", "a\x7fb"):
            with self.assertRaises(Refused):
                commands.rcpt(Address(local, "example.net"), None, False, True)
        wish = Wish(original="rfc822;a\r\nRSET")
        self.assertEqual(commands.rcpt(ADA, wish, True, True), b"RCPT TO:<ada@example.net> ORCPT=rfc822;a+0D+0ARSET\r\n")

    def test_international(self) -> None:
        greek = Address("\u03b1", "\u03b2\u03ad\u03c4\u03b1.example")
        self.assertEqual(commands.rcpt(greek, None, False, True), "RCPT TO:<\u03b1@\u03b2\u03ad\u03c4\u03b1.example>\r\n".encode())
        with self.assertRaises(Refused) as caught:
            commands.rcpt(greek, None, False, False)
        self.assertEqual(caught.exception.reply.enhanced, "5.6.7")
        domain = Address("a", "b\u00fccher.example")
        self.assertEqual(commands.rcpt(domain, None, False, False), b"RCPT TO:<a@xn--bcher-kva.example>\r\n")
        with self.assertRaises(Refused):
            commands.rcpt(Address("a", "\u2603\u0338.example"), None, False, False)

    def test_international_originals(self) -> None:
        self.assertEqual(commands.orcpt("utf-8;\u03b1@example.net", True), "utf-8;\u03b1@example.net")
        self.assertEqual(commands.orcpt("utf-8;\u03b1+b@example.net", False), "utf-8;\\x{3B1}\\x{2B}b@example.net")
        self.assertEqual(commands.orcpt("rfc822;\u03b1\r\nx", True), "utf-8;\\x{3B1}\\x{0D}\\x{0A}x")

    @given(st.text(max_size=40))
    def test_xtext(self, text: str) -> None:
        written = commands.xtext(text)
        self.assertTrue(written.isascii() and (written.isprintable() or not written) and " " not in written)
        self.assertEqual(unxtext(written), text.encode("utf-8", "surrogatepass"))


class Lacking(SynchronousTestCase):
    def test_requiretls(self) -> None:
        demands = Demands(require_tls=True)
        for extensions, security, good in (
            (EVERYTHING, VERIFIED, True),
            (EVERYTHING, DANE, True),
            (EVERYTHING, ENCRYPTED, False),
            ({}, VERIFIED, False),
        ):
            self.assertEqual(commands.lacking(demands, extensions, security), None if good else commands.NO_REQUIRETLS)
        self.assertIsNone(commands.lacking(Demands(), {}, ENCRYPTED))

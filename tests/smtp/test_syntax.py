"""What the parameters of MAIL and RCPT mean, and that no argument breaks the grammar."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.address import Address
from mailx.mail.envelope import DEMANDS_NOTHING, WISHES_NOTHING, Demands, Notify, Wish
from mailx.smtp import syntax

ALL = int(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY)


def xtext(text: str) -> str:
    return "".join(letter if "!" <= letter <= "~" and letter not in "+=" else f"+{ord(letter):02X}" for letter in text)


class MailTests(SynchronousTestCase):
    def test_demands(self) -> None:
        for parameters, demands in (
            (b"", DEMANDS_NOTHING),
            (b" SIZE=5 BODY=8BITMIME", DEMANDS_NOTHING),
            (b" SMTPUTF8", Demands(utf8=True)),
            (b" RET=full ENVID=a+2Bb+3D", Demands(returns="FULL", id="a+b=")),
            (b" requiretls RET=HDRS", Demands(require_tls=True, returns="HDRS")),
        ):
            path = syntax.mail(b"FROM:<a@example.org>" + parameters, True, False, True)
            self.assertEqual((path.address, path.demands), (Address("a", "example.org"), demands))
        self.assertEqual(syntax.mail(b"FROM:<> RET=HDRS", True, False, False).demands.returns, "HDRS")

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30))
    def test_envelope_id(self, id: str) -> None:
        path = syntax.mail(f"FROM:<> ENVID={xtext(id)}".encode(), True, False, False)
        self.assertEqual(path.demands.id, id)


class RcptTests(SynchronousTestCase):
    def wish(self, parameters: str, utf8: bool = False) -> Wish:
        address, wish = syntax.rcpt(f"TO:<b@example.org> {parameters}".strip().encode(), True, utf8)
        self.assertEqual(address, Address("b", "example.org"))
        return wish

    def test_wishes(self) -> None:
        self.assertIs(self.wish(""), WISHES_NOTHING)
        self.assertEqual(self.wish("NOTIFY=NEVER"), Wish(int(Notify.NEVER)))
        self.assertEqual(self.wish("notify=delay,success,FAILURE"), Wish(ALL))
        self.assertEqual(self.wish("ORCPT=RFC822;B+2Bx@Example.org"), Wish(0, "rfc822;B+x@Example.org"))
        self.assertEqual(self.wish("NOTIFY=DELAY ORCPT=x400;+20a"), Wish(int(Notify.DELAY), "x400; a"))
        self.assertEqual(self.wish("ORCPT=utf-8;\\x{FC}\\x{1F600}+2Ba@x"), Wish(0, "utf-8;\u00fc\U0001f600+a@x"))
        self.assertEqual(self.wish("ORCPT=UTF-8;\u00fc@x", True), Wish(0, "utf-8;\u00fc@x"))

    def test_length(self) -> None:
        self.wish("ORCPT=rfc822;" + "a" * 493)
        with self.assertRaises(syntax.SyntaxFault):
            self.wish("ORCPT=rfc822;" + "a" * 494)

    @given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=40), st.booleans(), st.booleans())
    def test_any_text(self, text: str, extended: bool, utf8: bool) -> None:
        """Whatever stands there is taken or refused, and what is taken can stand in a header field."""
        for name in ("ORCPT=rfc822;", "ORCPT=utf-8;", "NOTIFY=", ""):
            try:
                _, wish = syntax.rcpt(f"TO:<b@example.org> {name}{text}".encode(), extended, utf8)
            except syntax.SyntaxFault:
                continue
            self.assertTrue(wish.original.isprintable())

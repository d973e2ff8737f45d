"""What TLS a message must have: who asks for what, and who comes first."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.resolver import TLSA
from mailx.outbound.dane import Vouched
from mailx.outbound.hop import DANE, ENCRYPT, NONE, OPPORTUNISTIC, VERIFY, Security
from mailx.outbound.mx import Exchanger, Exchangers
from mailx.outbound.security import Asked, Known, Unfit, security, waives
from mailx.outbound.sts import Policy

HOST = Exchanger("mx.test", 0, ("192.0.2.1",))
THERE = Exchangers("example.org", (HOST,), False, 300)
SIGNED = Exchangers("example.org", (HOST,), True, 300)
RECORD = TLSA(3, 1, 1, b"x" * 32)
KEY = Vouched("mx.test", (RECORD,))
UNUSABLE = Vouched("mx.test", ())
BY_KEY = Security(DANE, ("mx.test", "example.org"), (RECORD,))


def policy(mode: str, mx: str = "mx.test") -> Policy:
    return Policy(mode, (mx,), 86400)


class Levels(SynchronousTestCase):
    def test_nothing_asked(self) -> None:
        for there, dane, known, expected in (
            (THERE, None, Known("opportunistic"), Security(OPPORTUNISTIC)),
            (THERE, None, Known("required"), Security(ENCRYPT)),
            (THERE, None, Known("off"), Security(NONE)),
            (THERE, None, Known("opportunistic", offers_tls=True), Security(ENCRYPT)),
            (THERE, None, Known("opportunistic", policy("enforce")), Security(VERIFY)),
            (THERE, None, Known("opportunistic", policy("none")), Security(OPPORTUNISTIC)),
            (THERE, None, Known("opportunistic", policy("testing")), Security(OPPORTUNISTIC, verify=True)),
            (THERE, None, Known("required", policy("testing", "other.test")), Security(ENCRYPT, verify=True)),
            (THERE, None, Known("off", policy("enforce")), Security(NONE)),
            (SIGNED, KEY, Known("opportunistic"), BY_KEY),
            (SIGNED, KEY, Known("opportunistic", policy("enforce", "other.test")), BY_KEY),
            (SIGNED, UNUSABLE, Known("opportunistic"), Security(ENCRYPT)),
            (SIGNED, UNUSABLE, Known("opportunistic", policy("enforce")), Security(VERIFY)),
        ):
            self.assertEqual(security(HOST, there, dane, known, Asked.NOTHING), expected, known)
        with self.assertRaises(Unfit) as raised:
            security(HOST, THERE, None, Known("opportunistic", policy("enforce", "other.test")), Asked.NOTHING)
        self.assertTrue(raised.exception.reply.temporary)

    def test_not_required(self) -> None:
        """RFC 8689 5: what the recipient's domain asks for is lifted, what our configuration does is not."""
        for tls, level in {"opportunistic": OPPORTUNISTIC, "required": ENCRYPT, "off": NONE}.items():
            known = Known(tls, policy("enforce", "other.test"), offers_tls=True)
            self.assertEqual(security(HOST, SIGNED, KEY, known, Asked.OPTIONAL), Security(level))

    def test_required(self) -> None:
        """RFC 8689 4.2.1: a server that is authenticated under a name that can be trusted."""
        known = Known("opportunistic")
        self.assertEqual(security(HOST, SIGNED, KEY, known, Asked.REQUIRED), BY_KEY)
        self.assertEqual(security(HOST, SIGNED, None, known, Asked.REQUIRED), Security(VERIFY))
        for mode in ("enforce", "testing"):
            self.assertEqual(security(HOST, THERE, None, Known("required", policy(mode)), Asked.REQUIRED), Security(VERIFY))
        for there, unfit in (
            (THERE, known),
            (THERE, Known("opportunistic", policy("none"))),
            (THERE, Known("opportunistic", policy("testing", "other.test"))),
            (SIGNED, Known("off")),
        ):
            with self.assertRaises(Unfit) as raised:
                security(HOST, there, None, unfit, Asked.REQUIRED)
            self.assertEqual(raised.exception.reply.enhanced, "5.7.10")


class Header(SynchronousTestCase):
    def test_waives(self) -> None:
        for header, expected in {
            b"TLS-Required: No\r\n\r\n": True,
            b"Subject: x\r\ntls-required:no \r\nTo: y\r\n\r\n": True,
            b"TLS-Required: No": True,
            b"TLS-Required: yes\r\n\r\n": False,
            b"TLS-Required: No, really\r\n\r\n": False,
            b"X-TLS-Required: No\r\n\r\n": False,
            b"Subject: x\r\n\r\nTLS-Required: No\r\n": False,
            b"": False,
        }.items():
            self.assertEqual(waives(header), expected, header)
        self.assertFalse(waives(b"X: " + b"y" * 70000 + b"\r\nTLS-Required: No\r\n\r\n"), "out of reach")

    @given(st.binary(max_size=300))
    def test_any_content(self, content: bytes) -> None:
        waives(content)

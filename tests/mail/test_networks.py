"""IP addresses and networks."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.networks import is_address, parsed, plain, within

NETWORKS = ("10.0.0.0/8", "2001:db8::/32")


class Networks(SynchronousTestCase):
    def test_within(self) -> None:
        for text in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "2001:db8::1%eth0"):
            self.assertTrue(within(text, NETWORKS), text)
        for text in ("11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1", "", "not an address", "10.1.2.3 "):
            self.assertFalse(within(text, NETWORKS), text)
        self.assertFalse(within("10.1.2.3", ()))

    def test_plain(self) -> None:
        for text, address in (("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"), ("2001:DB8::0:1", "2001:db8::1"), ("x", "x")):
            self.assertEqual(plain(text), address)

    def test_is_address(self) -> None:
        self.assertTrue(is_address("192.0.2.1"))
        self.assertTrue(is_address("::1"))
        for text in ("", "localhost", "192.0.2.1:25", "[::1]", "192.0.2.0/24"):
            self.assertFalse(is_address(text), text)

    @given(st.text(max_size=60))
    def test_any_text(self, text: str) -> None:
        if parsed(text) is None:
            self.assertEqual(plain(text), text)
            self.assertFalse(within(text, NETWORKS))

"""Where requests come from."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.web.sources import caller

PROXIES = ("10.0.0.0/8", "2001:db8::/32")


class Callers(SynchronousTestCase):
    def test_nobody_is_believed(self) -> None:
        self.assertEqual(caller("192.0.2.1", "198.51.100.1", ()), "192.0.2.1")
        self.assertEqual(caller("192.0.2.1", "198.51.100.1", PROXIES), "192.0.2.1")

    def test_proxies(self) -> None:
        for forwarded, address in (
            ("198.51.100.1", "198.51.100.1"),
            ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("203.0.113.9, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
            ("198.51.100.1:4711", "198.51.100.1"),
            ("10.1.1.1", "10.1.1.1"),
            ("", "10.0.0.1"),
            ("198.51.100.1, nonsense", "10.0.0.1"),
            ("198.51.100.1, nonsense, 10.2.2.2", "10.2.2.2"),
            ("[2001:db8:1::1], 10.1.1.1", "2001:db8:1::1"),
            ("[2001:db9::1]:4711, 10.1.1.1", "2001:db9::1"),
            ("198.51.100.1, " + "10.1.1.1, " * 20 + "10.1.1.2", "10.1.1.1"),
        ):
            self.assertEqual(caller("10.0.0.1", forwarded, PROXIES), address, forwarded)

    @given(st.text(max_size=40), st.text(max_size=200))
    def test_any_text(self, peer: str, forwarded: str) -> None:
        self.assertEqual(caller(peer, forwarded, ()), caller(peer, "", PROXIES))
        self.assertIsInstance(caller("10.0.0.1", forwarded, PROXIES), str)

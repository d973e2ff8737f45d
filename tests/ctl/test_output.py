"""Tables, sizes, moments."""

from twisted.trial.unittest import SynchronousTestCase

from mailx.ctl import output
from mailx.mail import sizes


class Sizes(SynchronousTestCase):
    def test_shown(self) -> None:
        for octets, text in ((0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (1 << 52, "4096 TiB")):
            self.assertEqual(output.size(octets), text)

    def test_round_trip(self) -> None:
        for octets in (0, 1, 1024, 1536, 3 << 20, 7 << 30):
            self.assertEqual(sizes.parse(output.size(octets)), octets)


class Tables(SynchronousTestCase):
    def test_aligned(self) -> None:
        self.assertEqual(output.table(("A", "LONG"), [("value", 1), ("x", 22)]), ["A      LONG", "value  1", "x      22"])

    def test_moments(self) -> None:
        self.assertEqual(output.moment("2026-01-02T03:04:05Z"), "2026-01-02 03:04:05 UTC")
        self.assertEqual(output.moment(None), "never")
        self.assertEqual(output.quota(0, False), "unlimited")
        self.assertEqual(output.quota(1 << 30, True), "1 GiB (default)")

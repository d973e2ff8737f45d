"""Tables, sizes, moments."""

from twisted.trial.unittest import SynchronousTestCase

from mailx.ctl import output


class Sizes(SynchronousTestCase):
    def test_shown(self) -> None:
        for octets, text in ((0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (1 << 52, "4096 TiB")):
            self.assertEqual(output.size(octets), text)

    def test_read(self) -> None:
        for text, octets in (
            ("5GB", 5 << 30),
            ("5 GiB", 5 << 30),
            ("5g", 5 << 30),
            ("1.5K", 1536),
            ("1073741824", 1 << 30),
            ("0", 0),
            ("100 B", 100),
            ("2TB", 2 << 40),
        ):
            self.assertEqual(output.parse_size(text), octets, text)

    def test_wrong(self) -> None:
        for text in ("", "GB", "-5GB", "5 XB", "5GB5", "1e9", "5.GB", "\u0665"):
            with self.assertRaises(ValueError, msg=text):
                output.parse_size(text)

    def test_round_trip(self) -> None:
        for octets in (0, 1, 1024, 1536, 3 << 20, 7 << 30):
            self.assertEqual(output.parse_size(output.size(octets)), octets)


class Tables(SynchronousTestCase):
    def test_aligned(self) -> None:
        self.assertEqual(output.table(("A", "LONG"), [("value", 1), ("x", 22)]), ["A      LONG", "value  1", "x      22"])

    def test_moments(self) -> None:
        self.assertEqual(output.moment("2026-01-02T03:04:05Z"), "2026-01-02 03:04:05 UTC")
        self.assertEqual(output.moment(None), "never")
        self.assertEqual(output.quota(0, False), "unlimited")
        self.assertEqual(output.quota(1 << 30, True), "1 GiB (default)")

"""Sizes as people type them."""

from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.sizes import parse


class Sizes(SynchronousTestCase):
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
            self.assertEqual(parse(text), octets, text)

    def test_wrong(self) -> None:
        for text in ("", "GB", "-5GB", "5 XB", "5GB5", "1e9", "5.GB", "\u0665"):
            with self.assertRaises(ValueError, msg=text):
                parse(text)

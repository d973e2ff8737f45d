"""Tag lists."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import tags


class Tags(SynchronousTestCase):
    def test_lists(self) -> None:
        self.assertEqual(
            tags.parse(" v=1;\r\n\ta = rsa-sha256 ; b=Zm8=\r\n\tbar ; x_1="), {"v": "1", "a": "rsa-sha256", "b": "Zm8=\r\n\tbar", "x_1": ""}
        )
        self.assertEqual(tags.parse("a=1;A=2; "), {"a": "1", "A": "2"})
        self.assertEqual(tags.compact(" Zm\r\n\t8= "), "Zm8=")

    def test_malformed(self) -> None:
        for text in ("", ";", "a", "a=1;;b=2", "a=1;a=2", "1=a", "=a", "a-b=1", "a=1; b", ";".join(f"a{n}=" for n in range(100))):
            self.assertRaises(tags.MalformedTags, tags.parse, text)

    @given(st.text())
    def test_anything(self, text: str) -> None:
        try:
            found = tags.parse(text)
        except tags.MalformedTags:
            return
        self.assertTrue(found)

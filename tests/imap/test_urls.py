"""IMAP URLs (RFC 5092, RFC 4467)."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.imap.urls import MessageURL, parse


class UrlTests(SynchronousTestCase):
    def test_relative(self) -> None:
        self.assertEqual(parse(b"/Drafts/;UID=20"), MessageURL(b"/Drafts/;UID=20", None, None, "Drafts", None, 20, b""))
        whole = parse(b"/A%20b/c;UIDVALIDITY=385759045/;uid=20/;SECTION=1.HEADER.FIELDS%20(A)/;PARTIAL=3.5")
        assert whole is not None
        self.assertEqual((whole.mailbox, whole.uidvalidity, whole.uid, whole.section), ("A b/c", 385759045, 20, b"1.HEADER.FIELDS (A)"))
        self.assertEqual((whole.offset, whole.count), (3, 5))
        selected = parse(b";UID=7/;SECTION=2")
        assert selected is not None
        self.assertEqual((selected.mailbox, selected.uid, selected.section), ("", 7, b"2"))

    def test_authorized(self) -> None:
        url = b"imap://anna%40x.test;AUTH=*@Mail.X.test:993/INBOX/;UID=1;EXPIRE=2026-12-01T10:00:00Z;URLAUTH=user+Bob@x.test:internal:01AB"
        found = parse(url)
        assert found is not None
        self.assertEqual((found.server, found.user, found.mailbox), ("mail.x.test", "anna@x.test", "INBOX"))
        self.assertEqual((found.access, found.mechanism, found.token), ("user+bob@x.test", b"INTERNAL", b"01ab"))
        self.assertEqual(found.expires, 1796119200.0)
        self.assertEqual(found.rump, url[: url.index(b":internal")])

    def test_none(self) -> None:
        for url in (
            b"",
            b"/Drafts",
            b"/Drafts/;UID=0",
            b"/Drafts/;UID=99999999999",
            b"http://x/;UID=1",
            b"imap:///INBOX/;UID=1",
            b"imap://x;UID=1",
            b"imap://x/;UID=1",
            b"/a/;UID=1;SECTION=1",
            b"/a/;UID=1;EXPIRE=yesterday;URLAUTH=authuser",
            b"/a/;UID=1;EXPIRE=2026-12-01T10:00:00;URLAUTH=authuser",
            b"/a/;UID=1:internal:00",
            b"/a%ff/;UID=1",
            b"/a%00/;UID=1",
            b"/a/;UID=1/;SECTION=1%0d%0a",
            b"/a\xc3\xa4/;UID=1",
            b"/" + b"a" * 9000 + b"/;UID=1",
        ):
            self.assertIsNone(parse(url), url)

    @given(st.text("imap:/;UID=1SECTONPRLHX%24+@.* ?#a", max_size=60).map(str.encode) | st.binary(max_size=80))
    def test_nothing_raises(self, url: bytes) -> None:
        found = parse(url)
        self.assertTrue(found is None or url.startswith(found.rump))

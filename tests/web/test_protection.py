"""Which requests are no business of ours."""

from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.web.protection import headers, host_known, host_name, inner, place, same_origin


class Hosts(SynchronousTestCase):
    def test_names(self) -> None:
        for host, name in (
            ("Mail.Example.org:2580", "mail.example.org"),
            ("[::1]:2580", "::1"),
            ("127.0.0.1", "127.0.0.1"),
            ("mail.example.org.", "mail.example.org"),
            ("a b", ""),
            ("user@host", ""),
            ("host:port", ""),
            ("x" * 300, ""),
            ("", ""),
        ):
            self.assertEqual(host_name(host), name, host)

    def test_known(self) -> None:
        ours = {"mail.example.org"}
        for name in ("localhost", "mailx.localhost", "127.0.0.1", "::1", "192.0.2.7", "mail.example.org"):
            self.assertTrue(host_known(name, ours), name)
        for name in ("", "evil.example", "localhost.evil.example", "mail.example.org.evil.example", "127.0.0.1.evil.example"):
            self.assertFalse(host_known(name, ours), name)


class Origins(SynchronousTestCase):
    def check(self, expected: bool, secure: bool = True, host: str = "mail.example.org", **given: str) -> None:
        sent = {name.replace("_", "-"): value for name, value in given.items()}
        self.assertEqual(same_origin(sent, host, secure), expected, sent)

    def test_origin(self) -> None:
        self.check(True, origin="https://mail.example.org")
        self.check(True, host="mail.example.org:443", origin="https://mail.example.org")
        self.check(True, secure=False, origin="http://mail.example.org")
        self.check(True, secure=False, origin="https://mail.example.org")
        self.check(False, origin="http://mail.example.org")
        self.check(False, origin="null")
        self.check(False, origin="")
        self.check(False, origin="https://mail.example.org.evil.example")
        self.check(False, origin="https://evil.example, https://mail.example.org")
        self.check(False, origin="ftp://mail.example.org", secure=False)
        self.check(False, origin="https://mail.example.org:2580")

    def test_without_origin(self) -> None:
        self.check(True)
        self.check(True, sec_fetch_site="same-origin")
        self.check(True, sec_fetch_site="none")
        self.check(False, sec_fetch_site="cross-site")
        self.check(False, sec_fetch_site="same-site")
        self.check(True, referer="https://mail.example.org/x")
        self.check(False, referer="https://evil.example/mail.example.org")
        self.check(False, referer="https://[x")


class Places(SynchronousTestCase):
    def test_places(self) -> None:
        for text in ("/", "/queue", "/queue?state=held&after=5", "/accounts/ada@example.test"):
            self.assertEqual(place(text), text)
        for text in (
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "queue",
            "/a\r\nb: c",
            "/a\nb",
            "/ä",
        ):
            self.assertEqual(place(text), "/", text)

    @given(st.one_of(st.text(max_size=60), st.text("/\\.:@#?%ehilpvx \t\r\n", max_size=20)))
    def test_never_elsewhere(self, text: str) -> None:
        led = urlsplit(urljoin("https://mail.example.org/login", place(text)))
        self.assertEqual((led.scheme, led.netloc), ("https", "mail.example.org"))


class Locations(SynchronousTestCase):
    def test_inner(self) -> None:
        for text in ("/", "/settings#webhook", "/accounts/ä@example.test?x=1"):
            self.assertEqual(inner(text), text)
        for text in ("//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb"):
            self.assertEqual(inner(text), "/", text)


class Headers(SynchronousTestCase):
    def test_headers(self) -> None:
        plain, secure = headers(False), headers(True)
        self.assertNotIn("strict-transport-security", plain)
        self.assertIn("strict-transport-security", secure)
        self.assertNotIn("unsafe", plain["content-security-policy"])
        self.assertIn("frame-ancestors 'none'", plain["content-security-policy"])

"""URLs that others chose: what they are, and which addresses they may lead to."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.urls import permitted, target


class Targets(SynchronousTestCase):
    """URLs."""

    def test_good(self) -> None:
        for url, expected in (
            ("https://app.example.org/hook?a=b", ("https", "app.example.org", 443, "https://app.example.org/hook?a=b")),
            ("http://App.Example.ORG", ("http", "app.example.org", 80, "http://app.example.org/")),
            ("https://app.example.org.:8443/x", ("https", "app.example.org", 8443, "https://app.example.org.:8443/x")),
            ("http://192.0.2.7:81/", ("http", "192.0.2.7", 81, "http://192.0.2.7:81/")),
            ("http://[2001:DB8::1]:81/", ("http", "2001:db8::1", 81, "http://[2001:db8::1]:81/")),
            ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443, "https://xn--bcher-kva.example/")),
        ):
            to = target(url)
            self.assertEqual((to.scheme, to.host, to.port, to.url), expected)

    def test_bad(self) -> None:
        for url in (
            "",
            "app.example.org",
            "//app.example.org/",
            "ftp://app.example.org/",
            "file:///etc/passwd",
            "gopher://app.example.org/",
            "javascript:alert(1)",
            "http://",
            "http:///x",
            "http://user@app.example.org/",
            "http://user:password@app.example.org/",
            "http://app.example.org:0/",
            "http://app.example.org:65536/",
            "http://app.example.org:x/",
            "http://app.example.org:/",
            "http://app.example.org/#fragment",
            "http://app.example.org/a b",
            "http://app.example.org/\r\nX-Injected: yes",
            "http://app.example.org/\t",
            "http://app.example.org\\@evil.example/",
            "http://bücher.example/",
            "http://a..b/",
            "http://-a.example/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://017700000001/",
            "http://1.2.3.4.5/",
            "http://[::1",
            "http://[::1%25eth0]/",
            "http://[fe80::1%eth0]/",
            "http://[v1.x]/",
            "http://app.example.org/" + "x" * 2000,
            "http://" + "a" * 64 + ".example/",
        ):
            with self.assertRaises(ValueError, msg=url):
                target(url)

    @given(st.text(max_size=60))
    def test_any_text(self, text: str) -> None:
        for url in (text, f"http://{text}", f"https://{text}/x", f"http://a.example/{text}"):
            try:
                to = target(url)
            except ValueError:
                continue
            self.assertTrue(to.url.isascii() and to.url.isprintable() and " " not in to.url)
            self.assertTrue(1 <= to.port <= 65535)


class Addresses(SynchronousTestCase):
    """Which addresses one may go to."""

    def test_refused(self) -> None:
        for address in (
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ):
            self.assertFalse(permitted(address), address)

    def test_permitted(self) -> None:
        for address in ("8.8.8.8", "100.63.255.255", "172.32.0.1", "192.0.1.1", "2606:4700::1", "2a00::1"):
            self.assertTrue(permitted(address), address)
        self.assertTrue(permitted("10.1.2.3", ("10.1.0.0/16",)))
        self.assertFalse(permitted("10.2.2.3", ("10.1.0.0/16", "fd00::/8")))
        self.assertTrue(permitted("fd00::1", ("10.1.0.0/16", "fd00::/8")))
        self.assertFalse(permitted("::ffff:10.1.2.3", ("10.1.0.0/16",)))

"""Posting to URLs that others chose: where it may go, what it verifies, what bounds it."""

import hmac
import json
from functools import partial
from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate as TrustRoot
from twisted.internet.ssl import trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from mailx.core import posting as module
from mailx.core.posting import NotPosted, Posting, permitted, signed, target
from mailx.core.settings import Settings
from tests import dns
from tests.outbound.servers import Issued, issue, root
from tests.scenery import configured

reactor: Any = _reactor

LOOPBACK = ("127.0.0.0/8",)


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
    """Which addresses one may post to."""

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

    def test_signed(self) -> None:
        fields = signed("X-TransLife", "secret", b'{"a":1}', 1_771_652_110)
        self.assertEqual(fields["X-TransLife-Timestamp"], "2026-02-21T05:35:10Z")
        expected = hmac.new(b"secret", b'2026-02-21T05:35:10Z.{"a":1}', sha256).hexdigest()
        self.assertEqual(fields["X-TransLife-Signature"], expected)
        self.assertEqual(signed("X-TransLife", "", b"", 1), {})


class _Hook(Resource):
    isLeaf = True

    def __init__(self, serve: Any) -> None:
        super().__init__()
        self.serve = serve

    def render_POST(self, request: Any) -> Any:
        return self.serve(request)


class Endless(Protocol):
    """Header fields without end."""

    def connectionMade(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 40000)  # type: ignore[union-attr]


class Saying(Protocol):
    """Says ``words`` when it is asked, and hangs up."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self._words)  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]


class Posts(TestCase):
    """Over real connections on loopback."""

    timeout = 30

    async def served(
        self, serve: Any, *, certificate: Issued | None = None, networks: tuple[str, ...] = LOOPBACK, zone: Any = None
    ) -> tuple[Posting, int]:
        """A poster, and the port of a server that answers by ``serve``."""
        site = serve if isinstance(serve, Factory) else Site(_Hook(serve))
        site.noisy = False
        if certificate is None:
            endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        else:
            endpoint = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
        listening = await endpoint.listen(site)
        self.addCleanup(listening.stopListening)
        resolver = await dns.resolver(self, zone or {("hook.example.org", "A"): ["127.0.0.66", "127.0.0.1"]})
        settings = Settings(configured(webhook={"callback_networks": networks}))
        trust = trustRootFromCertificates([TrustRoot.loadPEM(root().pem)])
        return Posting(resolver, settings, reactor, trust=trust), listening.getHost().port

    async def reason(self, posting: Posting, url: str) -> str:
        with self.assertRaises(NotPosted) as raised:
            await posting.post(url, b"{}", {})
        return raised.exception.reason

    async def test_posted(self) -> None:
        seen: list[Any] = []

        def serve(request: Any) -> bytes:
            seen.append((request.uri, request.getHeader("host"), request.getHeader("x-more"), json.loads(request.content.read())))
            request.setResponseCode(202)
            return b"fine"

        posting, port = await self.served(serve)
        self.assertEqual(await posting.post(f"http://hook.example.org:{port}/a?b=c", b'{"x":1}', {"X-More": "yes"}), 202)
        self.assertEqual(seen, [(b"/a?b=c", f"hook.example.org:{port}", "yes", {"x": 1})])

    async def test_tls(self) -> None:
        posting, port = await self.served(lambda request: b"", certificate=issue("hook.example.org", issuer=root()))
        self.assertEqual(await posting.post(f"https://hook.example.org:{port}/", b"{}", {}), 200)
        self.assertEqual(await self.reason(posting, f"https://127.0.0.1:{port}/"), "the certificate or TLS is not in order")
        posting, port = await self.served(lambda request: b"", certificate=issue("hook.example.org"))
        self.assertEqual(await self.reason(posting, f"https://hook.example.org:{port}/"), "the certificate or TLS is not in order")

    async def test_private_addresses(self) -> None:
        def never(request: Any) -> bytes:
            self.fail("nothing may arrive here")

        zone = {
            ("hook.example.org", "A"): ["127.0.0.1"],
            ("mixed.example.org", "A"): ["127.0.0.1", "10.0.0.1"],
            ("six.example.org", "AAAA"): ["::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
            ("empty.example.org", "TXT"): ["nothing"],
        }
        posting, port = await self.served(never, networks=(), zone=zone)
        refused = "the address is not one that may be posted to"
        for host in ("hook.example.org", "mixed.example.org", "six.example.org", "localhost", "a.localhost", "127.0.0.1", "[::1]"):
            self.assertEqual(await self.reason(posting, f"http://{host}:{port}/"), refused, host)
        self.assertEqual(await self.reason(posting, f"http://empty.example.org:{port}/"), "the name has no address")
        self.assertEqual(await self.reason(posting, f"http://nowhere.example:{port}/"), "the name has no address")
        self.assertIn("the URL is wrong", await self.reason(posting, "http://2130706433/"))

    async def test_redirects_are_not_followed(self) -> None:
        asked: list[bytes] = []

        def serve(request: Any) -> bytes:
            asked.append(request.uri)
            request.setResponseCode(307)
            request.setHeader(b"Location", b"http://169.254.169.254/latest/meta-data")
            return b""

        posting, port = await self.served(serve)
        self.assertEqual(await posting.post(f"http://hook.example.org:{port}/", b"{}", {}), 307)
        self.assertEqual(asked, [b"/"])

    async def test_large_answers(self) -> None:
        def large(request: Any) -> Any:
            request.write(b"x" * (module.OCTETS_LIMIT + 1))
            return NOT_DONE_YET

        posting, port = await self.served(large)
        self.assertEqual(await posting.post(f"http://hook.example.org:{port}/", b"{}", {}), 200)
        posting, port = await self.served(Factory.forProtocol(Endless))
        self.assertEqual(await self.reason(posting, f"http://hook.example.org:{port}/"), "the connection broke without an answer")

    async def test_answers_that_are_none(self) -> None:
        """Whatever is said in place of an answer is a failure in our own words, and no fault of this server."""
        for answer in (
            b"",
            b"SSH-2.0-x\r\n",
            b"\0" * 100,
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 " + b"9" * 4000 + b" OK\r\n\r\n",
            b"HTTP/1.1 " + b"9" * 9000 + b" OK\r\n\r\n",
            b"HTTP/1.1 -1 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 8000,
        ):
            posting, port = await self.served(Factory.forProtocol(partial(Saying, answer)))  # type: ignore[arg-type]
            reason = await self.reason(posting, f"http://hook.example.org:{port}/")
            self.assertIn(reason, ("the connection broke without an answer", "the answer is no HTTP"), answer[:50])

    async def test_slow_answers(self) -> None:
        self.patch(module, "TIMEOUT", 0.2)

        def begun(request: Any) -> Any:
            request.setResponseCode(201)
            request.write(b"x")
            return NOT_DONE_YET

        posting, port = await self.served(lambda request: NOT_DONE_YET)
        self.assertEqual(await self.reason(posting, f"http://hook.example.org:{port}/"), "no answer in time")
        posting, port = await self.served(begun)
        self.assertEqual(await posting.post(f"http://hook.example.org:{port}/", b"{}", {}), 201)

    async def test_nobody_there(self) -> None:
        zone = {("hook.example.org", "A"): ["127.0.0.1"], ("broken.example.org", "A"): dns.SERVFAIL}
        posting, _ = await self.served(lambda request: b"", zone=zone)
        self.assertEqual(await self.reason(posting, "http://hook.example.org:1/"), "no connection")
        self.assertEqual(await self.reason(posting, "http://broken.example.org:1/"), "the name cannot be looked up now")

    async def test_an_answer_that_changes(self) -> None:
        posting, port = await self.served(lambda request: b"", networks=("127.0.0.1/32",))
        answers = [["127.0.0.1"], ["10.0.0.1"]]  # what is checked is what is connected to, so the second is never asked for

        async def addresses(name: str) -> list[str]:
            return answers.pop(0)

        self.patch(posting._resolver, "addresses", addresses)
        self.assertEqual(await posting.post(f"http://hook.example.org:{port}/", b"{}", {}), 200)
        self.assertEqual(answers, [["10.0.0.1"]])

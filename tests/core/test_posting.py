"""Posting to URLs that others chose: where it goes, what it verifies, what bounds it."""

import hmac
import json
from functools import partial
from hashlib import sha256
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import NOT_DONE_YET

from mailx.core import posting as module
from mailx.core.posting import NotPosted, Posting, signed
from mailx.core.settings import Settings
from tests import dns
from tests.outbound.servers import Issued, issue, root
from tests.scenery import configured
from tests.sites import site, trust

reactor: Any = _reactor

LOOPBACK = ("127.0.0.0/8",)


class Signatures(SynchronousTestCase):
    """What is posted is signed."""

    def test_signed(self) -> None:
        fields = signed("X-TransLife", "secret", b'{"a":1}', 1_771_652_110)
        self.assertEqual(fields["X-TransLife-Timestamp"], "2026-02-21T05:35:10Z")
        expected = hmac.new(b"secret", b'2026-02-21T05:35:10Z.{"a":1}', sha256).hexdigest()
        self.assertEqual(fields["X-TransLife-Signature"], expected)
        self.assertEqual(signed("X-TransLife", "", b"", 1), {})


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

    timeout = 240

    async def served(
        self, serve: Any, *, certificate: Issued | None = None, networks: tuple[str, ...] = LOOPBACK, zone: Any = None
    ) -> tuple[Posting, int]:
        """A poster, and the port of a server that answers by ``serve``."""
        port = await site(self, serve, certificate)
        resolver = await dns.resolver(self, zone or {("hook.example.org", "A"): ["127.0.0.66", "127.0.0.1"]})
        settings = Settings(configured(webhook={"callback_networks": networks}))
        return Posting(resolver, settings, reactor, trust=trust()), port

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
        self.assertEqual(await self.reason(posting, f"http://empty.example.org:{port}/"), "its name has no address")
        self.assertEqual(await self.reason(posting, f"http://nowhere.example:{port}/"), "its name has no address")
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
        self.assertEqual(await self.reason(posting, "http://broken.example.org:1/"), "its name cannot be looked up now")

    async def test_an_answer_that_changes(self) -> None:
        posting, port = await self.served(lambda request: b"", networks=("127.0.0.1/32",))
        answers = [["127.0.0.1"], ["10.0.0.1"]]  # what is checked is what is connected to, so the second is never asked for

        async def addresses(name: str) -> list[str]:
            return answers.pop(0)

        self.patch(posting._resolver, "addresses", addresses)
        self.assertEqual(await posting.post(f"http://hook.example.org:{port}/", b"{}", {}), 200)
        self.assertEqual(answers, [["10.0.0.1"]])

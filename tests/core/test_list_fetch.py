"""Shared block lists by URL: over real connections on loopback."""

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.server import NOT_DONE_YET

from mailx.core import list_fetch as module
from mailx.core.list_fetch import ListFetcher, NotFetched
from mailx.core.shared_lists import OCTETS_LIMIT
from tests import dns
from tests.outbound.servers import Issued, issue, root
from tests.sites import site, trust

reactor: Any = _reactor


class Fetches(TestCase):
    timeout = 240

    async def served(
        self, serve: Any, *, certificate: Issued | None = None, networks: tuple[str, ...] = ("127.0.0.0/8",)
    ) -> tuple[ListFetcher, int]:
        port = await site(self, serve, certificate)
        resolver = await dns.resolver(self, {("lists.example.org", "A"): ["127.0.0.1"]})
        return ListFetcher(resolver, networks, reactor, trust=trust()), port

    async def reason(self, fetcher: ListFetcher, url: str) -> str:
        with self.assertRaises(NotFetched) as raised:
            await fetcher.fetch(url)
        return str(raised.exception)

    async def test_fetched(self) -> None:
        fetcher, port = await self.served(lambda request: b"spam.example\n", certificate=issue("lists.example.org", issuer=root()))
        self.assertEqual(await fetcher.fetch(f"https://lists.example.org:{port}/block.txt"), b"spam.example\n")
        self.assertIn("certificate or TLS", await self.reason(fetcher, f"https://127.0.0.1:{port}/"))
        fetcher, port = await self.served(lambda request: b"", certificate=issue("lists.example.org"))
        self.assertIn("certificate or TLS", await self.reason(fetcher, f"https://lists.example.org:{port}/"))

    async def test_only_from_where_it_may_be(self) -> None:
        fetcher, port = await self.served(lambda request: self.fail("nothing may arrive here"), networks=())
        for host in ("lists.example.org", "localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
            self.assertIn("not of the public Internet", await self.reason(fetcher, f"http://{host}:{port}/"))
        self.assertIn("no address", await self.reason(fetcher, f"http://nowhere.example:{port}/"))
        self.assertIn("the URL is wrong", await self.reason(fetcher, "file:///etc/passwd"))

    async def test_answers_that_are_none(self) -> None:
        def redirect(request: Any) -> bytes:
            request.setResponseCode(302)
            request.setHeader(b"Location", b"http://169.254.169.254/")
            return b""

        fetcher, port = await self.served(redirect)
        self.assertIn("redirect", await self.reason(fetcher, f"http://lists.example.org:{port}/"))

        def missing(request: Any) -> bytes:
            request.setResponseCode(404)
            return b"no"

        fetcher, port = await self.served(missing)
        self.assertEqual(await self.reason(fetcher, f"http://lists.example.org:{port}/"), "its server answers 404")
        fetcher, port = await self.served(lambda request: request.transport.abortConnection() or NOT_DONE_YET)
        self.assertIn("connection broke", await self.reason(fetcher, f"http://lists.example.org:{port}/"))
        self.assertIn("no connection", await self.reason(fetcher, "http://lists.example.org:1/"))

    async def test_endless(self) -> None:
        sent = [0]

        def endless(request: Any) -> Any:
            async def flow() -> None:
                while request.channel is not None:
                    request.write(b"spam.example\n" * 5000)
                    sent[0] += 65000
                    await deferLater(reactor, 0)

            Deferred.fromCoroutine(flow()).addErrback(lambda failure: None)
            return NOT_DONE_YET

        fetcher, port = await self.served(endless)
        self.assertIn("longer than", await self.reason(fetcher, f"http://lists.example.org:{port}/"))
        self.assertLess(sent[0], 10 * OCTETS_LIMIT)

    async def test_a_server_that_stalls(self) -> None:
        self.patch(module, "TIMEOUT", 0.3)
        fetcher, port = await self.served(lambda request: NOT_DONE_YET)
        self.assertIn("did not come", await self.reason(fetcher, f"http://lists.example.org:{port}/"))

        def half(request: Any) -> Any:
            request.write(b"spam.example\n")
            return NOT_DONE_YET

        fetcher, port = await self.served(half)
        self.assertIn("did not come", await self.reason(fetcher, f"http://lists.example.org:{port}/"))

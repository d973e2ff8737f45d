"""Documents of other domains: what is fetched, where it may lead, and what bounds it. Over real connections on loopback."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.server import NOT_DONE_YET

from mailx.core.discovery import ABSENT, FAILED, NotFetched
from mailx.core.peer import REFUSED, Step
from mailx.core.settings import Settings
from mailx.federation import well_known as module
from mailx.federation.well_known import WellKnown
from mailx.identity.documents import DOCUMENT_LIMIT, PATH
from tests import dns
from tests.outbound.servers import Issued, issue, root
from tests.scenery import configured
from tests.sites import site, trust

reactor: Any = _reactor

THERE = "there.example"
LOOPBACK = ("127.0.0.0/8",)
ZONE = {(THERE, "A"): ["127.0.0.1"], ("www.there.example", "A"): ["127.0.0.1"], ("inside.example", "A"): ["10.0.0.1"]}

Serve = Callable[[Any], Any]


class Drip(Protocol):
    """One octet of a header now and then, for ever."""

    def connectionMade(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nX-")  # type: ignore[union-attr]


class Flood(Protocol):
    """A document without end, as fast as it is taken."""

    def connectionMade(self) -> None:
        self.sent = 0
        self.transport.registerProducer(self, False)  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        head = b"" if self.sent else b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
        self.sent += 65536
        self.transport.write(head + b"[" * 65536)  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.sent = self.sent  # type: ignore[union-attr]


def redirect(where: str | bytes, status: int = 302) -> Serve:
    """Answers that the document is elsewhere."""

    def serve(request: Any) -> bytes:
        request.setResponseCode(status)
        request.responseHeaders.addRawHeader(b"Location", where if isinstance(where, bytes) else where.encode())
        return b""

    return serve


class Fetching(TestCase):
    timeout = 240

    async def served(
        self,
        serve: Serve | Factory,
        *,
        names: tuple[str, ...] = (THERE, "www.there.example"),
        issuer: Issued | None = None,
        networks: tuple[str, ...] = LOOPBACK,
        zone: Mapping[Any, Any] = ZONE,
    ) -> WellKnown:
        """What fetches documents from a server that answers by ``serve``; ``self.port`` is its port."""
        self.port = await site(self, serve, issue(*names, issuer=issuer or root()))
        resolver = await dns.resolver(self, zone)
        settings = Settings(configured(federation={"networks": networks, "well_known_port": self.port}))
        return WellKnown(resolver, settings, reactor, trust=trust())

    async def refusal(self, fetcher: WellKnown, domain: str = THERE) -> tuple[str, str]:
        with self.assertRaises(NotFetched) as raised:
            await fetcher.fetch(domain, lambda step: None)
        return raised.exception.outcome, raised.exception.reason

    async def test_fetched(self) -> None:
        asked: list[Any] = []

        def serve(request: Any) -> bytes:
            asked.append((request.uri, request.getHeader("host")))
            request.setHeader("Content-Type", "application/json; charset=utf-8")
            return b'{"kind":"server"}'

        steps: list[Step] = []
        fetcher = await self.served(serve)
        self.assertEqual(await fetcher.fetch(THERE, steps.append), b'{"kind":"server"}')
        self.assertEqual(asked, [(PATH.encode(), f"{THERE}:{self.port}")])
        self.assertEqual([step.outcome for step in steps], ["ok"])

    async def test_redirects_are_followed_within_limits(self) -> None:
        def serve(request: Any) -> bytes:
            if request.getHeader("host").startswith("www."):
                request.setHeader("Content-Type", "application/json")
                return b"{}"
            return redirect(f"https://www.there.example:{self.port}/elsewhere")(request)

        steps: list[Step] = []
        fetcher = await self.served(serve)
        self.assertEqual(await fetcher.fetch(THERE, steps.append), b"{}")
        self.assertEqual(len(steps), 2)

    async def test_redirects_that_lead_nowhere_good(self) -> None:
        count = iter(range(100))
        for where, reason in (
            (PATH, "it redirects in a circle"),
            (lambda: f"/{next(count)}", "it redirects more than 3 times"),
            (f"http://{THERE}/", "it redirects to a place without TLS"),
            ("file:///etc/passwd", "it redirects to what cannot be asked for: not an http or https URL"),
            ("https://inside.example/", "its address is not of the public Internet"),
            ("https://169.254.169.254/latest/", "its address is not of the public Internet"),
            ("https://[::1]/", "its address is not of the public Internet"),
            ("https://user@there.example/", "it redirects to what cannot be asked for: names and passwords do not belong in it"),
            ("https://there.example/" + "a" * 3000, "it redirects to nowhere"),
            (b"https://\xff.example/", "it redirects to nowhere"),
        ):
            serve = (lambda request, where=where: redirect(where())(request)) if callable(where) else redirect(where)
            self.assertEqual(await self.refusal(await self.served(serve)), (REFUSED, reason))

    async def test_addresses(self) -> None:
        def never(request: Any) -> bytes:
            self.fail("nothing may arrive here")

        for zone, outcome, reason in (
            ({(THERE, "A"): ["127.0.0.1", "10.0.0.1", "192.168.1.1"]}, REFUSED, "its address is not of the public Internet"),
            ({(THERE, "AAAA"): ["::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1"]}, REFUSED, "its address is not of the public Internet"),
            ({(THERE, "TXT"): ["nothing"]}, ABSENT, "its name has no address"),
            ({(THERE, "A"): dns.SERVFAIL}, FAILED, "its name cannot be looked up now"),
        ):
            self.assertEqual(await self.refusal(await self.served(never, networks=(), zone=zone)), (outcome, reason))
        self.assertEqual(
            await self.refusal(await self.served(never, networks=()), "localhost"), (REFUSED, "its address is not of the public Internet")
        )

    async def test_certificates(self) -> None:
        for names, issuer in ((("other.example",), None), ((THERE,), issue("an authority", authority=True))):
            fetcher = await self.served(lambda request: b"{}", names=names, issuer=issuer)
            self.assertEqual(await self.refusal(fetcher), (REFUSED, "the certificate or TLS is not in order"))

    async def test_statuses(self) -> None:
        def answering(status: int, kind: str, request: Any) -> bytes:
            request.setResponseCode(status)
            request.setHeader("Content-Type", kind)
            return b"{}"

        for status, kind, outcome in (
            (404, "text/html", ABSENT),
            (410, "text/html", ABSENT),
            (403, "text/html", REFUSED),
            (500, "text/html", FAILED),
            (503, "text/html", FAILED),
            (200, "text/html", REFUSED),
        ):
            self.assertEqual((await self.refusal(await self.served(partial(answering, status, kind))))[0], outcome, (status, kind))

    async def test_a_gigabyte_is_not_read(self) -> None:
        flood = Factory.forProtocol(Flood)  # type: ignore[arg-type]
        fetcher = await self.served(flood)
        self.assertEqual(await self.refusal(fetcher), (REFUSED, f"the document is larger than {DOCUMENT_LIMIT} octets"))
        self.assertLess(getattr(flood, "sent", 0), 1 << 23)

    async def test_silence_and_dripping(self) -> None:
        self.patch(module, "TIMEOUT", 0.3)

        def begun(request: Any) -> Any:
            request.setHeader("Content-Type", "application/json")
            request.write(b"{")
            return NOT_DONE_YET

        for serve in (lambda request: NOT_DONE_YET, begun, Factory.forProtocol(Drip)):  # type: ignore[arg-type]
            self.assertEqual((await self.refusal(await self.served(serve)))[0], FAILED)

    async def test_nobody_there(self) -> None:
        fetcher = await self.served(lambda request: b"{}")
        settings = Settings(configured(federation={"networks": LOOPBACK, "well_known_port": 1}))
        nobody = WellKnown(fetcher._resolver, settings, reactor)
        self.assertEqual(await self.refusal(nobody), (FAILED, "no connection"))

"""The public site: routes, refusals, limits, what goes wrong, and how it ends."""

from collections.abc import AsyncIterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.identity.documents import PATH
from mailx.mail.reply import Unavailable
from mailx.web.public.part import Declined, Names, Route, json_answer
from mailx.web.public.site import PublicSite
from mailx.web.public.well_known import WellKnown
from mailx.web.requests import Answer, Asked
from tests.web.browser import Browser


class Thing:
    """A part with one route of every kind."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.waiting: Deferred[None] = Deferred()

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/thing/<name>", self.show),
            Route("POST", "/thing", self.take, body_limit=10),
            Route("GET", "/slow", self.slow),
            Route("GET", "/away", self.away),
            Route("GET", "/broken", self.broken),
            Route("GET", "/long", self.long),
        )

    async def show(self, asked: Asked, names: Names) -> Answer:
        if names["name"] == "secret":
            raise Declined(403, "not yours")
        return json_answer({"name": names["name"]}, fresh=60)

    async def take(self, asked: Asked, names: Names) -> Answer:
        self.bodies.append(asked.body)
        return json_answer({})

    async def slow(self, asked: Asked, names: Names) -> Answer:
        await self.waiting
        return json_answer({})

    async def away(self, asked: Asked, names: Names) -> Answer:
        raise Unavailable("the disk of host7")

    async def broken(self, asked: Asked, names: Names) -> Answer:
        raise KeyError("internals")

    async def long(self, asked: Asked, names: Names) -> Answer:
        async def parts() -> AsyncIterator[bytes]:
            for part in (b"one ", b"two"):
                yield part

        return Answer(200, parts())


class Site(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.thing = Thing()
        self.site = PublicSite([self.thing, WellKnown({"here.example": b'{"kind":"server"}'}.get)], self.clock, per_minute=20)
        self.browser = Browser(self.site.site(), host="here.example", address="192.0.2.1")

    async def test_routes(self) -> None:
        page = await self.browser.get("/thing/a%40b")
        self.assertEqual((page.status, page.json()), (200, {"name": "a@b"}))
        self.assertEqual(page.headers["content-type"], "application/json")
        self.assertEqual(page.headers["cache-control"], "public, max-age=60")
        self.assertNotIn("server", page.headers)
        head = await self.browser.ask("HEAD", "/thing/a", b"", {})
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual((await self.browser.get("/long")).body, b"one two")

    async def test_refusals(self) -> None:
        for path, status, text in (
            ("/nothing", 404, "not found"),
            ("/thing/a/", 404, "not found"),
            ("/thing", 405, "method not allowed"),
            ("/thing/secret", 403, "not yours"),
            ("/away", 503, "try again later"),
            ("/broken", 500, "the request failed"),
        ):
            page = await self.browser.get(path)
            self.assertEqual((page.status, page.json()), (status, {"error": text}), path)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_sizes(self) -> None:
        for body, status in ((b"0123456789", 200), (b"0123456789a", 413), (b"a" * 70000, 413)):
            self.assertEqual((await self.browser.ask("POST", "/thing", body, {})).status, status)
        self.assertEqual(self.thing.bodies, [b"0123456789"])

    async def test_too_many_requests_of_one_client(self) -> None:
        statuses = [(await self.browser.get("/thing/a")).status for _ in range(21)]
        self.assertEqual(statuses, [200] * 20 + [429])
        self.assertEqual((await Browser(self.site.site(), address="192.0.2.2").get("/thing/a")).status, 200)
        self.clock.advance(60)
        self.assertEqual((await self.browser.get("/thing/a")).status, 200)

    async def test_requests_finish_before_the_end(self) -> None:
        asking = Deferred.fromCoroutine(self.browser.get("/slow"))
        stopping = Deferred.fromCoroutine(self.site.stop())
        self.assertNoResult(stopping)
        self.thing.waiting.callback(None)
        self.successResultOf(stopping)
        self.assertEqual((await asking).status, 200)

    async def test_the_document_of_a_domain(self) -> None:
        other = Browser(self.site.site(), host="mail.example:2443")
        for browser, path, status in (
            (self.browser, PATH, 200),
            (other, PATH, 404),
            (other, f"{PATH}?domain=Here.example.", 200),
            (self.browser, f"{PATH}?domain=there.example", 404),
            (self.browser, f"{PATH}?domain={'a' * 300}", 404),
        ):
            page = await browser.get(path)
            self.assertEqual(page.status, status, path)
            if status == 200:
                self.assertEqual(page.body, b'{"kind":"server"}')

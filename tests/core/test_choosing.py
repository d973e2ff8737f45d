"""Which way mail goes: federation, the other courier, and the schedules that belong to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx import config
from mailx.core.choosing import BLOCKED, NOT_OURS, Carried, Choosing
from mailx.core.courier import FEDERATED, Attempt
from mailx.core.peer import NEVER, Peer, Undecided
from mailx.core.routes import Routes, Way
from mailx.core.waking import PAUSE, Waking
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Forwarding, Origin
from mailx.mail.message import Message
from mailx.mail.reply import Reply, Unavailable
from tests.core.mail_out import TAKEN, Courier, office

MAILX = Peer("mailx.test", (b"k" * 32,), (("mx.mailx.test", 2590),), "https", 0, 0, 0)
THEIRS = Attempt(Reply(250, "2.0.0", "OK"), "mailx.test [192.0.2.1]", FEDERATED)
AWAY = Attempt(Reply(451, "4.4.1", "away"), unreachable=True, rest=60)
ONE, TWO, OTHER = (Address.parse(each) for each in ("one@mailx.test", "two@mailx.test", "you@example.org"))


class Finds:
    """Answers by domain."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"mailx.test": MAILX}
        self.seconds: list[float | None] = []

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None:
        self.seconds.append(seconds)
        found = self.answers.get(domain)
        if isinstance(found, Exception):
            raise found
        return found


class Carrier:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.answer: Any = THEIRS
        self.carried: list[Sequence[Address]] = []

    async def carry(self, envelope: Envelope, recipients: Sequence[Address], peer: Peer) -> Carried | None:
        self.carried.append(tuple(recipients))
        return Carried(dict.fromkeys(recipients, self.answer)) if isinstance(self.answer, Attempt) else self.answer


class Ways(TestCase):
    def setUp(self) -> None:
        self.finds, self.carrier, self.other = Finds(), Carrier(), Courier()
        self.choosing = Choosing(self.finds, self.carrier, self.other, now=lambda: 1000.0)

    async def deliver(self, *recipients: Address, destination: str = "mailx.test", **fields: Any) -> Mapping[Address, Attempt]:
        envelope = Envelope(
            "e" * 16, Address.parse("me@example.test"), recipients, Message(b"", 0), Origin("ESMTPSA", "c", account=1), **fields
        )
        return await self.choosing.deliver(envelope, recipients, destination)

    async def test_federation(self) -> None:
        self.assertEqual(await self.deliver(ONE, TWO), {ONE: THEIRS, TWO: THEIRS})
        self.assertEqual(self.other.tried, [])

    async def test_the_others(self) -> None:
        self.assertEqual(await self.deliver(OTHER, destination="example.org"), {OTHER: TAKEN})
        literal = Address("you", "[192.0.2.1]")
        self.assertEqual(await self.deliver(literal, destination="[192.0.2.1]"), {literal: TAKEN})
        self.assertEqual(len(self.finds.seconds), 1)
        self.assertEqual(self.carrier.carried, [])

    async def test_through_a_smart_host(self) -> None:
        """Each recipient the way of its domain, and what a domain's server does says nothing of the smart host."""
        self.choosing = Choosing(self.finds, self.carrier, self.other, seconds=5)
        self.assertEqual(await self.deliver(ONE, OTHER, TWO, destination="smarthost"), {ONE: THEIRS, TWO: THEIRS, OTHER: TAKEN})
        self.assertEqual(self.other.tried[0][0::2], ("smarthost", ("you@example.org",)))
        self.assertEqual(self.finds.seconds, [5, 5])
        self.carrier.answer = AWAY
        self.assertFalse((await self.deliver(ONE, destination="smarthost"))[ONE].unreachable)
        self.assertTrue((await self.deliver(ONE))[ONE].unreachable)

    async def test_falling_back(self) -> None:
        """Only when nothing was given away, nobody lied, and the policy says so."""
        failed = {ONE: AWAY}
        for carried, peer, falls in (
            (Carried(failed, unreached=True), MAILX, True),
            (Carried(failed, unreached=True, security=True), MAILX, False),
            (Carried(failed), MAILX, False),
            (Carried(failed, unreached=True), evolve(MAILX, fallback=NEVER), False),
            (Carried(failed, unreached=True), evolve(MAILX, pinned_until=1001), False),
            (Carried(failed, unreached=True), evolve(MAILX, pinned_until=999), True),
        ):
            self.finds.answers["mailx.test"], self.carrier.answer = peer, carried
            self.assertEqual((await self.deliver(ONE))[ONE], TAKEN if falls else AWAY, (carried, peer))

    async def test_undecided(self) -> None:
        for fallback in (True, False):
            self.finds.answers["mailx.test"] = Undecided("DNS is away", fallback)
            attempt = (await self.deliver(ONE))[ONE]
            self.assertEqual(attempt == TAKEN, fallback)
            self.assertEqual(attempt.unreachable, not fallback)
            self.assertEqual("DNS is away" in attempt.reply.text, not fallback)
        self.finds.answers["mailx.test"] = Unavailable("the store is away")
        self.assertEqual((await self.deliver(ONE))[ONE].reply.code, 451)

    async def test_blocked(self) -> None:
        self.finds.answers["mailx.test"] = evolve(MAILX, blocked=True)
        self.assertEqual((await self.deliver(ONE))[ONE].reply, BLOCKED)
        self.assertEqual(self.carrier.carried, [])

    async def test_nobody_answers_for_it(self) -> None:
        self.carrier.answer = None
        self.assertEqual((await self.deliver(ONE))[ONE], TAKEN)
        self.finds.answers["mailx.test"] = evolve(MAILX, pinned_until=1001)
        self.assertEqual((await self.deliver(ONE))[ONE].reply, NOT_OURS)
        self.assertEqual((await self.deliver(ONE, forwarding=Forwarding("example.test")))[ONE], TAKEN)


class Schedules(TestCase):
    """``Routes`` with domains that have a MailX server."""

    def made(self, smarthost: str = "", *routes: config.Route) -> Routes:
        self.known = {"mailx.test"}
        outbound = config.Outbound(routes=routes)
        host = config.Smarthost(host=smarthost)
        return Routes(outbound, config.Queue(retry=("5m", "1h")), host, federated=self.known.__contains__, retry=("1m", "2m", "4m"))

    def test_their_own_schedule(self) -> None:
        made = self.made()
        self.assertEqual(made.route(ONE, None), Way("mailx.test", "", (60, 120, 240), True))
        self.assertEqual(made.route(OTHER, None), Way("example.org", "", (300, 3600)))

    def test_what_becomes_known_and_forgotten(self) -> None:
        made = self.made()
        self.known.clear()
        before = made.route(ONE, None)
        self.known.add("mailx.test")
        after = made.route(ONE, None)
        self.assertEqual((before.federated, after.federated, before.lane), (False, True, after.lane))
        self.assertEqual(made.waits(after, len(before.retry)), 3)
        self.assertEqual(made.waits(before, len(after.retry)), 2)
        self.assertEqual(made.waits(after, 7), 7)  # of a schedule that was changed since

    def test_a_smart_host_is_for_the_others(self) -> None:
        made = self.made("smtp.example.net")
        self.assertEqual(made.route(ONE, None).relay, "")
        self.assertEqual(made.route(OTHER, None).relay, config.SMARTHOST)

    def test_a_route_decides(self) -> None:
        made = self.made("", config.Route(recipients=("mailx.test",), relay="mine"))
        self.assertEqual(made.route(ONE, None).relay, "mine")

    def test_waits_are_spread(self) -> None:
        way = self.made().route(ONE, None)
        drawn = [way.waits for _ in range(200)]
        self.assertGreater(len(set(drawn)), 20)
        for waits in drawn:
            for wait, planned in zip(waits, way.retry, strict=True):
                self.assertTrue(planned <= wait <= planned * 1.25)
        self.assertEqual(self.made().route(OTHER, None).waits, (300, 3600))
        self.assertGreaterEqual(self.made().longest, 3600)


class Rests(TestCase):
    """What a destination asks for is respected, and is no failure, but not for ever."""

    async def test_rest(self) -> None:
        made = await office(self, queue={"retry": ("5m", "10m")})
        later = Attempt(Reply(451, "4.7.1", "Too much"), "mx.example.org [192.0.2.1]", rest=100)
        made.courier.answers["example.org"] = later
        await made.start()
        await made.send("you@example.org")
        await made.settled(deferred=1)
        (entry,) = await made.entries()
        self.assertEqual(entry.attempts, 0)
        self.assertTrue(100 <= entry.due - made.clock[0] <= 126)
        await made.send("she@example.org")
        await made.settled(deferred=1, pending=1)
        self.assertEqual(len(made.courier.tried), 1)

    async def test_not_for_ever(self) -> None:
        made = await office(self, queue={"retry": ("5m", "10m")})
        made.courier.answers["example.org"] = Attempt(Reply(451, "4.7.1", "Too much"), "mx.example.org [192.0.2.1]", rest=100)
        await made.start()
        await made.send("you@example.org")
        await made.settled(deferred=1)
        for number in range(20):
            made.clock[0] += 1000
            await made.queue.ledger.retry(_all())
            await made.until(lambda number=number: len(made.courier.tried) >= number + 2)
            await made.until(lambda: _idle(made))
            if (await made.queue.ledger.counts())["failed"]:
                break
        self.assertEqual((await made.queue.ledger.counts())["failed"], 1)
        self.assertLess(len(made.courier.tried), 20)


def _all() -> Any:
    from mailx.core.ledger import Selection

    return Selection()


async def _idle(made: Any) -> bool:
    return not (await made.queue.ledger.counts())["sending"]


class Wakings(TestCase):
    def test_once_a_minute(self) -> None:
        clock, woken = Clock(), []

        class Queue:
            async def hasten(self, domain: str) -> int:
                woken.append(domain)
                if domain == "away.test":
                    raise Unavailable("the store is away")
                return 1

        class Channel:
            def __init__(self, remote: str) -> None:
                self.remote = remote

        waking = Waking(Queue(), clock.seconds)
        for domain in ("one.test", "two.test", "one.test", "away.test"):
            waking.connected(Channel(domain))
        self.assertEqual(woken, ["one.test", "two.test", "away.test"])
        clock.advance(PAUSE + 1)
        waking.connected(Channel("one.test"))
        self.assertEqual(woken[-1], "one.test")

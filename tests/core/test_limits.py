"""Send limits: what budgets hold, whom they bind, and that nothing but time gives a new one."""

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx import config
from mailx.core.limits import DAY, HOUR, MINUTE, Budgets, SendLimits
from mailx.core.policy import Findings
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, WEBHOOK, Envelope, Filing, Origin, new_id
from mailx.mail.message import Message
from mailx.store.delivery import Consignment, Delivery, deliver
from mailx.store.queue import PENDING, Parcel, Waiting
from tests.scenery import World, world

WALL = 1_800_000_000


class BucketTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.floats(0, 5000), st.integers(1, 40)), max_size=60), st.integers(1, 100))
    def test_never_more_than_the_limit_and_its_flow(self, steps: list[tuple[float, int]], limit: int) -> None:
        """In any stretch of time no more passes than the limit and what flows in meanwhile."""
        budgets = Budgets([(limit, HOUR)])
        now = 0.0
        passed: list[tuple[float, int]] = []
        for pause, count in steps:
            now += pause
            (bucket,) = budgets.get("k", now) or budgets.begin("k", now)
            if count <= limit and not bucket.lacks(count):
                bucket.take(count)
                passed.append((now, count))
        for start in range(len(passed)):
            total = 0
            for when, count in passed[start:]:
                total += count
                self.assertLessEqual(total, limit + (when - passed[start][0]) * limit / HOUR + 1e-6)

    @given(st.lists(st.tuples(st.floats(0, 5000), st.integers(1, 40)), max_size=40))
    def test_told_from_the_past(self, steps: list[tuple[float, int]]) -> None:
        """Budgets begun from what was sent are as those that saw it."""
        seen = Budgets([(50, HOUR), (200, DAY)])
        seen.begin("k", 0.0)
        now = 0.0
        past = []
        for pause, count in steps:
            now += pause
            past.append((now, count))
            for bucket in seen.get("k", now) or ():
                bucket.take(count)
        told = Budgets([(50, HOUR), (200, DAY)]).begin("k", now, past)
        for one, other in zip(seen.get("k", now) or (), told, strict=True):
            self.assertAlmostEqual(one.level, other.level, places=6)

    def test_bounded(self) -> None:
        budgets = Budgets([(5, MINUTE)], 100)
        for key in range(1000):
            budgets.get(key, 0.0) or budgets.begin(key, 0.0)
        self.assertEqual(len(budgets), 100)

    def test_off(self) -> None:
        self.assertEqual(Budgets([(0, HOUR)]).begin("k", 0.0), ())

    def test_new_limits_leave_what_was_used(self) -> None:
        budgets = Budgets([(10, HOUR)])
        (bucket,) = budgets.begin("k", 0.0)
        bucket.take(8)
        budgets.renew([(5, HOUR)])
        self.assertEqual([(each.limit, each.level) for each in budgets.get("k", 0.0) or ()], [(5, -3)])
        budgets.renew([(100, HOUR)])
        self.assertEqual([(each.limit, each.level) for each in budgets.get("k", 0.0) or ()], [(100, 92)])
        budgets.renew([(100, HOUR), (500, DAY)])
        self.assertIsNone(budgets.get("k", 0.0), "the queue tells what was used of the day's")
        budgets.renew([(0, HOUR)])
        self.assertEqual(budgets.begin("k", 0.0), ())


class Base(TestCase):
    engine = "sqlite"
    world: World

    async def begin(self, **settings: int) -> SendLimits:
        self.world = await world(self, engine=self.engine)
        self.clock = Clock()
        self.clock.advance(5000)
        return self.limits(**settings)

    def limits(self, size: int = 100, **settings: int) -> SendLimits:
        none = config.Limits(account_hour=0, account_day=0, domain_hour=0, address_minute=0)
        wall = lambda: WALL + self.clock.seconds() - 5000  # noqa: E731
        here = self.world
        return SendLimits(evolve(none, **settings), ("127.0.0.0/8", "::1/128"), here.accounts, here.store, self.clock, wall, size)

    def envelope(self, count: int = 1, **origin: Any) -> Envelope:
        recipients = tuple(Address(f"a{n}", "example.org") for n in range(count))
        came = Origin(**({"protocol": "ESMTP", "connection": "c", "address": "192.0.2.1"} | origin))
        return Envelope(new_id(), None, recipients, Message(b"", 0), came)

    async def verdict(self, limits: SendLimits, count: int = 1, **origin: Any) -> str:
        """The reply to a message of ``count`` recipients, and to MAIL before it; they agree about the first recipient."""
        envelope = self.envelope(count, **origin)
        before = await limits.sender(envelope.origin, None, None)
        reply = await limits.check(envelope, Findings())
        if before is not None:
            self.assertIsNotNone(reply)
        return "ok" if reply is None else str(reply)


class AccountTests(Base):
    async def test_new_limits_hold_at_once(self) -> None:
        limits = await self.begin(account_hour=10)
        self.assertEqual(await self.verdict(limits, 10, account=1), "ok")
        limits.renew(config.Limits(account_hour=12, account_day=0, domain_hour=0, address_minute=0))
        self.assertEqual(await self.verdict(limits, 2, account=1), "ok")
        self.assertIn("limit of 12 recipients", await self.verdict(limits, 1, account=1))
        limits.renew(config.Limits(account_hour=0, account_day=0, domain_hour=0, address_minute=3))
        self.assertEqual(await self.verdict(limits, 100, account=1), "ok")
        self.assertEqual(await self.verdict(limits, 3), "ok")
        self.assertIn("Too much mail", await self.verdict(limits, 1))

    async def test_hour_and_day(self) -> None:
        limits = await self.begin(account_hour=10, account_day=15)
        for count, want in (
            (11, "452 4.7.1 Too many recipients: you may send to 10 recipients an hour"),
            (10, "ok"),
            (1, "452 4.7.1 Sending limit of 10 recipients an hour reached; try again in 7 minutes"),
        ):
            self.assertEqual(await self.verdict(limits, count, account=1), want)
        self.assertEqual(await self.verdict(limits, 10, account=2), "ok", "another account has its own")
        self.clock.advance(361)
        self.assertEqual(await self.verdict(limits, account=1), "ok")
        self.clock.advance(2 * HOUR)
        self.assertEqual(
            await self.verdict(limits, 6, account=1), "452 4.7.1 Sending limit of 15 recipients a day reached; try again in 66 minutes"
        )
        self.assertEqual(await self.verdict(limits, 5, account=1), "ok")
        self.clock.advance(HOUR)
        self.assertEqual(
            await self.verdict(limits, 9, account=1), "452 4.7.1 Sending limit of 15 recipients a day reached; try again in 13 hours"
        )
        self.clock.advance(3 * DAY)
        self.assertEqual(await self.verdict(limits, 10, account=1), "ok")

    async def test_what_is_not_stored_is_given_back(self) -> None:
        limits = await self.begin(account_hour=5)
        findings = Findings()
        self.assertIsNone(await limits.check(self.envelope(5, account=1), findings))
        self.assertNotEqual(await self.verdict(limits, account=1), "ok")
        for undo in findings.undo:
            undo()
        self.assertEqual(await self.verdict(limits, 5, account=1), "ok")

    async def test_at_the_same_time(self) -> None:
        """Messages that come together share the budget."""
        limits = await self.begin(account_hour=5)
        replies = [await limits.check(self.envelope(2, account=1), Findings()) for _ in range(5)]
        self.assertEqual([reply is None for reply in replies], [True, True, False, False, False])

    async def test_exempt(self) -> None:
        """What is filed by IMAP and what this server writes is not sent by anybody."""
        limits = await self.begin(account_hour=1, address_minute=1)
        for _ in range(3):
            filed = evolve(self.envelope(account=1, protocol="IMAP"), filing=Filing("INBOX"))
            self.assertIsNone(await limits.check(filed, Findings()))
            self.assertEqual(await self.verdict(limits, protocol=GENERATED, address=""), "ok")
            self.assertEqual(await self.verdict(limits, protocol=WEBHOOK), "ok")

    async def sent(self, account: int, count: int, ago: int) -> None:
        """Put a message of ``count`` recipients into the queue, as if it had been sent ``ago`` seconds ago."""
        rows = tuple(Waiting(bytes(16), b"r", PENDING, 0, 1) for _ in range(count))
        parcel = Parcel("e", bytes(16), b"d", account, 10, WALL - ago, rows)
        delivery = Delivery(bytes(16), 10, b"s", b"c", None, 0, 0, (), parcel=parcel)
        await self.world.store.write(deliver, Consignment((delivery,)))

    async def test_a_restart_gives_nothing(self) -> None:
        limits = await self.begin(account_hour=10, account_day=20)
        await self.sent(1, 8, 0)
        self.assertEqual(await self.verdict(limits, 2, account=1), "ok")
        self.assertIn("an hour", await self.verdict(limits, account=1))
        await self.sent(2, 10, 5 * HOUR)
        await self.sent(2, 8, 2 * HOUR)
        await self.sent(3, 10, 2 * DAY)
        limits = self.limits(account_hour=10, account_day=20)
        self.assertIn("a day", await self.verdict(limits, 8, account=2))
        self.assertEqual(await self.verdict(limits, 5, account=2), "ok")
        self.assertEqual(await self.verdict(limits, 10, account=3), "ok")

    async def test_nor_does_a_full_memory(self) -> None:
        await self.begin()
        limits = self.limits(size=2, account_hour=10)
        await self.sent(1, 10, 0)
        for _ in range(2):
            for account in (1, 2, 3):
                verdict = await self.verdict(limits, account=account)
                self.assertEqual(verdict == "ok", account != 1, verdict)

    async def test_domain(self) -> None:
        limits = await self.begin(domain_hour=10)
        ann, bob = await self.world.user("ann@example.test"), await self.world.user("bob@example.test")
        eve = await self.world.user("eve@example.net")
        await self.sent(ann.id, 4, 0)
        self.assertEqual(await self.verdict(limits, 6, account=bob.id), "ok")
        self.assertIn("an hour", await self.verdict(limits, account=ann.id))
        self.assertEqual(await self.verdict(limits, 10, account=eve.id), "ok")


class PostgreSQLAccountTests(AccountTests):
    engine = "postgresql"


class AddressTests(Base):
    async def test_strangers(self) -> None:
        limits = await self.begin(address_minute=5)
        slow = "451 4.7.1 Too much mail from your address; try again in a minute"
        self.assertEqual(await self.verdict(limits, 4), "ok")
        self.assertEqual(await self.verdict(limits, 2), slow)
        self.assertEqual(await self.verdict(limits, 1), "ok")
        self.assertEqual(await self.verdict(limits, 1), slow)
        self.assertEqual(await self.verdict(limits, 5, address="192.0.2.2"), "ok")
        self.clock.advance(60)
        self.assertEqual(await self.verdict(limits, 100), "ok", "a full budget lets any one message pass")
        self.clock.advance(60)
        self.assertEqual(await self.verdict(limits), slow, "which costs all the same")

    async def test_networks(self) -> None:
        """Who has a whole IPv6 network has one budget; trusted networks and a front server have none."""
        limits = await self.begin(address_minute=1)
        self.assertEqual(await self.verdict(limits, address="2001:db8::1"), "ok")
        self.assertNotEqual(await self.verdict(limits, address="2001:db8::ffff"), "ok")
        for _ in range(3):
            for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
                self.assertEqual(await self.verdict(limits, address=address), "ok")
            self.assertEqual(await self.verdict(limits, protocol="LMTPS"), "ok")
            self.assertEqual(await self.verdict(limits, account=1), "ok", "accounts have their own")

    async def test_any_address_is_read(self) -> None:
        limits = await self.begin(address_minute=1)
        for address in ("fe80::1%eth0", "strange"):
            self.assertEqual(await self.verdict(limits, address=address), "ok")

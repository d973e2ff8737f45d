"""Owners are told of a crossing once, and again only after they fell below."""

from email import message_from_bytes
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import quota_warnings
from mailx.core.quota_warnings import level
from mailx.core.users import User
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import quota_warnings as rows
from tests.core.lives_scene import Lives, lives
from tests.scenery import World, world

ME = "me@example.test"
QUOTA = 100_000


class Warned(TestCase):
    engine = "sqlite"
    world: World
    lives: Lives
    user: User

    async def open(self, **sections: Any) -> None:
        self.world = await world(self, engine=self.engine, **sections)
        self.lives = lives(self, self.world)
        self.user = await self.world.user(ME, quota=QUOTA)

    async def use(self, percent: int) -> None:
        used = QUOTA * percent // 100
        await self.world.store.write(lambda txn: txn.execute("UPDATE accounts SET used = ? WHERE id = ?", (used, self.user.id)))

    async def look(self) -> list[str]:
        """The subjects of the warnings that came."""
        before = len(await self.world.contents(self.user))
        await self.lives.warnings.look()
        return [str(message_from_bytes(each)["Subject"]) for each in (await self.world.contents(self.user))[before:]]

    async def test_once_for_each_crossing(self) -> None:
        await self.open()
        seen = []
        for percent in (10, 79, 80, 81, 89, 92, 70, 85, 96, 99, 10, 97):
            await self.use(percent)
            seen.append([subject.split()[-3] for subject in await self.look()])
        self.assertEqual(seen, [[], [], ["80"], [], [], ["92"], [], ["85"], ["96"], [], [], ["97"]])

    async def test_the_mail(self) -> None:
        await self.open()
        await self.use(91)
        await self.look()
        mail = message_from_bytes((await self.world.contents(self.user))[0])
        self.assertEqual((mail["To"], mail["Auto-Submitted"]), (ME, "auto-generated"))
        self.assertIn("postmaster@", mail["From"])
        text = mail.get_payload()
        self.assertIn("91 % full: 88.9 KiB of 97.7 KiB", text)
        self.assertIn("once when 90 % are crossed", text)
        details = await self.world.accounts.find(ME)
        self.assertEqual((details.warned, details.warned_at), (90, int(self.lives.now)))

    async def test_a_full_mailbox_takes_it(self) -> None:
        await self.open()
        await self.use(100)
        self.assertEqual(len(await self.look()), 1)

    async def test_none_wanted_or_no_quota(self) -> None:
        await self.open(lifecycle={"warn_percent": ()})
        await self.use(99)
        self.assertEqual(await self.look(), [])
        await self.world.accounts.set_quota(ME, 0)
        self.assertEqual(await self.look(), [])

    async def test_nobody_tells_twice(self) -> None:
        await self.open()
        levels = [(self.user.id, 0, 80)]
        self.assertEqual(await self.world.store.write(rows.crossed, levels, 5), [self.user.id])
        self.assertEqual(await self.world.store.write(rows.crossed, levels, 5), [])

    async def test_what_a_crash_left_untold_is_told(self) -> None:
        await self.open()
        await self.use(85)
        await self.world.store.write(rows.crossed, [(self.user.id, 0, 80)], int(self.lives.now))
        self.assertEqual(await self.look(), [])  # somebody may be at it
        self.lives.later(1)
        self.assertEqual(len(await self.look()), 1)
        self.assertEqual(await self.look(), [])

    async def test_told_later_when_mail_cannot_be_taken(self) -> None:
        await self.open()
        await self.use(85)
        accept = self.lives.warnings._accept

        async def away(*_: Any, **__: Any) -> Any:
            raise Unavailable("no room")

        self.patch(self.lives.warnings, "_accept", away)
        with self.assertRaises(Unavailable):
            await self.lives.warnings.look()
        self.patch(self.lives.warnings, "_accept", accept)
        self.lives.later(1)
        self.assertEqual(len(await self.look()), 1)

    async def test_a_refusal_is_final(self) -> None:
        await self.open()
        await self.use(85)

        async def never(*_: Any, **__: Any) -> Any:
            raise Refused(Reply(550, "5.7.1", "No"))

        self.patch(self.lives.warnings, "_accept", never)
        self.assertEqual(await self.lives.warnings.look(), 0)
        self.lives.later(1)
        self.assertEqual(await self.lives.warnings.look(), 0)


class WarnedOnPostgreSQL(Warned):
    engine = "postgresql"


class Listening(TestCase):
    async def test_mail_that_crosses(self) -> None:
        here = await world(self)
        made = lives(self, here)
        clock = Clock()
        self.patch(made.warnings, "_reactor", clock)
        user = await here.user(ME, quota=QUOTA)
        made.warnings.start()
        await here.file(user, b"Subject: big\r\n\r\n" + b"x" * 80_000)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.advance(quota_warnings._DELAY)
        running = made.warnings._running
        assert running is not None
        await running
        self.assertEqual(len(await here.contents(user)), 2)
        self.assertEqual((await here.accounts.find(ME)).warned, 80)


class Levels(SynchronousTestCase):
    @given(st.integers(0, 10**15), st.integers(0, 10**15), st.sets(st.integers(1, 100), max_size=5))
    def test_the_highest_that_is_reached(self, used: int, quota: int, percents: set[int]) -> None:
        reached = [percent for percent in percents if quota and used * 100 >= quota * percent]
        self.assertEqual(level(used, quota, sorted(percents, reverse=True)), max(reached, default=0))

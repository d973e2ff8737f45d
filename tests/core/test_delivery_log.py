"""The delivery log: what is noted is found, survives, stays within its size, and holds up nobody."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import Config
from mailx.core import delivery_log
from mailx.core.courier import Attempt
from mailx.core.delivery_log import COLUMNS, DeliveryLog
from mailx.core.progress import BOUNCED, DEFERRED, DELIVERED, Step
from mailx.core.settings import Settings
from mailx.mail.address import Address
from mailx.mail.reply import Reply, Unavailable
from tests.scenery import configured, world

ADA = Address.parse("ada@example.test")
BOB = Address.parse("bob@example.org")


def step(number: int = 1, state: str = DELIVERED, **fields: Any) -> Step:
    attempt = fields.pop("attempt", Attempt(Reply(250, "2.0.0", "Taken"), "mx.example.org [192.0.2.1]:25", "verified", "TLSv1.3 X"))
    made = Step(f"{number:016x}", number, BOB, state, attempt, "example.org", None, "ESMTPSA", BOB, ADA, 100, 1, 0)
    return evolve(made, **fields)


class LogTests(TestCase):
    engine = ""

    async def open(self, **queue: Any) -> DeliveryLog:
        self.world = await world(self, engine=self.engine)
        return self.again(**queue)

    def again(self, **queue: Any) -> DeliveryLog:
        """As after a restart."""
        return DeliveryLog(self.world.store, self.world.cipher, Settings(configured(queue=queue)), self.world.reactor)

    async def ids(self, made: DeliveryLog, **search: Any) -> list[int]:
        return [int(entry.envelope, 16) for entry in (await made.search(**search)).entries]

    async def whole(self, made: DeliveryLog) -> str:
        return b"".join([piece async for piece in made.text()]).decode()


class Log(LogTests):
    async def test_an_entry(self) -> None:
        made = await self.open()
        made.note(step(5))
        (entry,) = (await made.search()).entries
        self.assertEqual(entry.envelope, f"{5:016x}")
        self.assertEqual((entry.sender, entry.recipient, entry.destination), (str(ADA), str(BOB), "example.org"))
        self.assertEqual((entry.outcome, entry.host, entry.reply), (DELIVERED, "mx.example.org [192.0.2.1]:25", "250 2.0.0 Taken"))
        self.assertRegex(entry.time, r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ$")
        text = await self.whole(made)
        self.assertEqual(text.split("\n")[0].split("\t"), list(COLUMNS))
        self.assertEqual(len(text.split("\n")[1].split("\t")), len(COLUMNS))
        await made.stop()

    async def test_search(self) -> None:
        made = await self.open()
        states = (DELIVERED, DEFERRED, BOUNCED)
        for number in range(30):
            made.note(step(number, states[number % 3], recipient=Address(f"user{number % 5}", "example.org")))
            if number % 7 == 0:
                await made.flush()
        self.assertEqual(await self.ids(made, limit=5), [29, 28, 27, 26, 25])
        self.assertEqual(await self.ids(made, text="USER3"), [28, 23, 18, 13, 8, 3])
        self.assertEqual(await self.ids(made, text="user3", outcome=DEFERRED), [28, 13])
        self.assertEqual(await self.ids(made, text="nobody"), [])
        await made.stop()

    async def test_page_by_page(self) -> None:
        self.patch(delivery_log, "_PAGE_LINES", 7)
        self.patch(delivery_log, "_TAIL_LINES", 5)
        self.patch(delivery_log, "_SLICE", 2)
        made = await self.open()
        for number in range(60):
            made.note(step(number))
            if number % 10 < 3:
                await made.flush()
        await made.flush()
        for limit in (1, 4, 7, 13):
            seen: list[int] = []
            before = 0
            while True:
                found = await made.search(before=before, limit=limit)
                seen += [int(entry.envelope, 16) for entry in found.entries]
                before = found.older
                if not before:
                    break
            self.assertEqual(seen, list(range(60))[::-1])
        self.patch(delivery_log, "_SCANNED", 2)
        found = await made.search(text=f"{3:016x}")
        self.assertEqual((found.entries, bool(found.older)), ((), True))
        while not found.entries:
            found = await made.search(text=f"{3:016x}", before=found.older)
        self.assertEqual(int(found.entries[0].envelope, 16), 3)
        await made.stop()

    async def test_restart(self) -> None:
        made = await self.open()
        made.note(step(1))
        await made.stop()
        made = self.again()
        made.note(step(2))
        await made.flush()
        crashed, made = made, self.again()
        self.assertEqual(await self.ids(made), [2, 1])
        await made.stop()
        await crashed.stop()

    async def test_size(self) -> None:
        made = await self.open(delivery_log=100000)
        for number in range(3000):
            made.note(step(number))
            if number % 100 == 0:
                await made.flush()
                self.assertLessEqual(await made.size(), 100000)
        ids = await self.ids(made, limit=5000)
        self.assertEqual(ids, list(range(3000))[::-1][: len(ids)])
        self.assertLessEqual(await made.size(), 100000)
        self.assertGreater(await made.size(), 60000)
        self.assertEqual(len(await self.whole(made)), await made.size() + len("\t".join(COLUMNS)) + 1)
        await made.stop()

    async def test_a_smaller_limit(self) -> None:
        made = await self.open()
        for number in range(2000):
            made.note(step(number))
        await made.stop()
        self.assertGreater(await made.size(), 300000)
        made = self.again(delivery_log=100000)
        await made.trim()
        self.assertLessEqual(await made.size(), 100000)
        self.assertEqual((await self.ids(made, limit=1)), [1999])

    async def test_nothing_plain_is_stored(self) -> None:
        made = await self.open()
        made.note(step(1))
        await made.stop()

        def rows(txn: Any) -> Sequence[Any]:
            return txn.all("SELECT guid, lines FROM delivery_log")  # type: ignore[no-any-return]

        for row in await self.world.store.read(rows):
            for word in (b"example.org", b"Taken"):
                self.assertNotIn(word, b"".join(map(bytes, row)))

    async def test_a_damaged_page(self) -> None:
        made = await self.open()
        made.note(step(1))
        await made.stop()
        made = self.again()
        made.note(step(2))
        await made.stop()
        await self.world.store.write(lambda txn: txn.execute("UPDATE delivery_log SET guid = ? WHERE id = 1", (b"x" * 16,)))
        with capturedLogs() as logs:
            self.assertEqual(await self.ids(made), [2])
        self.assertIn("delivery_log.damaged", [each.get("event") for each in logs])


class LogOnPostgreSQL(Log):
    engine = "postgresql"


class Store:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.away = True
        self.written = 0

    async def write(self, job: Any, made: Any, limit: int) -> int:
        if self.away:
            raise Unavailable("away")
        self.written += len(made)
        return 7


class Times(SynchronousTestCase):
    def test_the_time_of_day(self) -> None:
        """The reactor's clock goes its own way when that of the system is put right."""
        clock = Clock()
        clock.getThreadPool = lambda: None  # type: ignore[attr-defined]
        made = DeliveryLog(Store(), None, Settings(Config()), clock, now=lambda: 1_800_000_000.25)  # type: ignore[arg-type]
        made.note(step(1))
        ((at, noted),) = made._notes
        self.assertTrue(delivery_log._line(at, noted).startswith("2027-01-15T08:00:00.250Z\tdelivered\t"))


class Delays(SynchronousTestCase):
    def test_the_store_is_away(self) -> None:
        clock, store = Clock(), Store()
        clock.getThreadPool = lambda: None  # type: ignore[attr-defined]
        made = DeliveryLog(store, None, Settings(Config()), clock)  # type: ignore[arg-type]

        async def at_once(call: Any, *arguments: Any) -> Any:
            return [arguments[1]], []

        made._threads = at_once  # type: ignore[assignment]
        self.patch(delivery_log, "_LIMIT", 3)
        with capturedLogs() as logs:
            for number in range(5):
                made.note(step(number))
            for _ in range(10):
                clock.advance(1)
            store.away = False
            clock.advance(30)
        self.assertEqual(store.written, 1)
        self.assertEqual(made._notes, [])
        events = [each.get("event") for each in logs]
        self.assertIn("delivery_log.delayed", events)
        self.assertEqual([each["count"] for each in logs if each.get("event") == "delivery_log.lost"], [2])


class Lines(SynchronousTestCase):
    @given(st.text(), st.text(), st.text())
    def test_every_line_is_one_line(self, host: str, text: str, local: str) -> None:
        attempt = Attempt(Reply(550, "5.1.1", text), host)
        line = delivery_log._line(1.0, step(attempt=attempt, recipient=Address(local, "example.org")))
        self.assertTrue(line.replace("\t", "").isprintable())
        self.assertEqual(line.count("\t"), len(COLUMNS) - 1)

"""The memory in front of what is remembered: it is asked first, it is bounded in time, and the store may be away."""

from typing import Any

from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.remembered import FRESH_SECONDS, Remembered, record
from mailx.mail.reply import Unavailable
from mailx.store import remembered as jobs
from tests.scenery import world


class Away:
    """A store that does not answer."""

    def read(self, *arguments: Any) -> Any:
        return fail(Unavailable("away"))

    write = read


class Counting:
    """A store that counts what is read from it."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.reads = 0

    def read(self, *arguments: Any) -> Any:
        self.reads += 1
        return self.store.read(*arguments)

    def write(self, *arguments: Any) -> Any:
        return self.store.write(*arguments)


class Remembering(TestCase):
    async def test_over_restarts(self) -> None:
        here = await world(self)
        first = Remembered(here.store, here.cipher, lambda: 1000.0)
        self.assertIsNone(await first.get("sts", "example.org"))
        await first.put("sts", "example.org", {"mode": "enforce"}, 5000)
        self.assertEqual(await first.get("sts", "example.org"), {"mode": "enforce"})
        second = Remembered(here.store, here.cipher, lambda: 2000.0)
        self.assertEqual(await second.get("sts", "example.org"), {"mode": "enforce"})
        self.assertEqual(await second.all("sts"), [("example.org", {"mode": "enforce"})])
        await second.forget("sts", "example.org")
        self.assertIsNone(await second.get("sts", "example.org"))
        self.assertIsNone(await Remembered(here.store, here.cipher, lambda: 2000.0).get("sts", "example.org"))

    async def test_memory(self) -> None:
        here = await world(self)
        clock = Clock()
        clock.advance(1000)
        store = Counting(here.store)
        both = Remembered(store, here.cipher, clock.seconds), Remembered(here.store, here.cipher, clock.seconds)
        for _ in range(3):
            self.assertIsNone(await both[0].get("sts", "example.org"))
        self.assertEqual(store.reads, 1)
        await both[1].put("sts", "example.org", "theirs", 1000 + FRESH_SECONDS + 100)
        self.assertIsNone(await both[0].get("sts", "example.org"), "another node's change is seen a little later")
        clock.advance(FRESH_SECONDS)
        self.assertEqual(await both[0].get("sts", "example.org"), "theirs")
        self.assertEqual(store.reads, 2)
        clock.advance(100)
        self.assertIsNone(await both[0].get("sts", "example.org"), "its time is over, though it is in memory")

    async def test_large_values_stay_out_of_memory(self) -> None:
        here = await world(self)
        store = Counting(here.store)
        remembered = Remembered(store, here.cipher, lambda: 1000.0)
        await remembered.put("sts", "example.org", {"text": "x" * 60000}, 5000)
        for _ in range(2):
            self.assertEqual(record(await remembered.get("sts", "example.org"))["text"], "x" * 60000)
        self.assertEqual(store.reads, 2)

    async def test_store_away(self) -> None:
        remembered = Remembered(Away(), None, lambda: 1000.0)  # type: ignore[arg-type]
        self.assertIsNone(await remembered.get("sts", "example.org"))
        with self.assertRaises(Unavailable):
            await remembered.put("sts", "example.org", "kept in memory", 5000)
        self.assertEqual(await remembered.get("sts", "example.org"), "kept in memory")

    async def test_change(self) -> None:
        here = await world(self)
        remembered = Remembered(here.store, here.cipher, lambda: 1000.0)
        for expected in (["x"], ["x", "x"]):
            changed = await remembered.change("n", "k", lambda value: [*(value if isinstance(value, list) else []), "x"], 5000)
            self.assertEqual(changed, expected)
            self.assertEqual(await remembered.get("n", "k"), expected)

    async def test_pruned(self) -> None:
        here = await world(self)
        clock = Clock()
        remembered = Remembered(here.store, here.cipher, clock.seconds)
        for number in range(3):
            await remembered.put("a", str(number), number, 100)
        clock.advance(4000)
        await remembered.put("a", "new", 1, 9000)
        await here.store.write(jobs.put, here.cipher, "b", "", None, 9000)  # behind the pruning
        count = await here.store.read(lambda txn: txn.one("SELECT count(*) FROM remembered"))
        self.assertEqual(count, (2,))

    def test_record(self) -> None:
        self.assertEqual((record(None), record(["x"]), record({"a": 1})), ({}, {}, {"a": 1}))

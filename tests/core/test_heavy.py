"""Who waits for whom with heavy work."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.heavy import LIGHT, Heavy


class HeavyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.heavy = Heavy(2)
        self.running: list[str] = []
        self.ends: dict[str, Deferred[None]] = {}

    def begin(self, name: str, account: int, messages: int = LIGHT + 1) -> "Deferred[None]":
        async def work() -> None:
            async with self.heavy.turn(account, messages):
                self.running.append(name)
                self.ends[name] = Deferred()
                try:
                    await self.ends[name]
                finally:
                    self.running.remove(name)

        return Deferred.fromCoroutine(work())

    def end(self, name: str) -> None:
        self.ends[name].callback(None)

    def test_one_of_an_account(self) -> None:
        for name in ("a1", "a2", "a3"):
            self.begin(name, 1)
        self.begin("b1", 2)
        self.assertEqual(self.running, ["a1", "b1"])
        self.end("a1")
        self.assertEqual(self.running, ["b1", "a2"])
        for name in ("b1", "a2", "a3"):
            self.end(name)
        self.assertEqual((self.running, self.heavy._each), ([], {}))

    def test_few_altogether(self) -> None:
        for account in range(3):
            self.begin(str(account), account)
        self.assertEqual(self.running, ["0", "1"])
        self.end("1")
        self.assertEqual(self.running, ["0", "2"])

    def test_light_work_waits_for_nobody(self) -> None:
        for number in range(5):
            self.begin(str(number), 1, LIGHT)
        self.assertEqual(len(self.running), 5)

    def test_failure_gives_way(self) -> None:
        failed = self.begin("a1", 1)
        self.begin("a2", 1)
        self.ends["a1"].errback(ValueError())
        self.failureResultOf(failed, ValueError)
        self.assertEqual(self.running, ["a2"])

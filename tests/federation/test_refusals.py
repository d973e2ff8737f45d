"""What is noted of refusals: every one is counted, and the log stays readable under a flood of them."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.metrics import FEDERATION_REFUSED
from mailx.federation.refusals import ALL, EACH, TLS, Notes, Refusal


class Flood(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self._heard)
        self.addCleanup(globalLogPublisher.removeObserver, self._heard)
        self.notes = Notes(self.clock.seconds)
        self.before = self.counted()

    def _heard(self, event: Any) -> None:
        if event.get("event") == "federation.refused":
            self.lines.append(event)

    def counted(self) -> float:
        return float(FEDERATION_REFUSED.labels(TLS)._value.get())

    def refuse(self, address: str, count: int = 1) -> None:
        for _ in range(count):
            self.notes(Refusal(TLS, "this is not TLS", address))

    def test_one_address_brings_so_many_lines_a_minute(self) -> None:
        self.refuse("192.0.2.1", 5000)
        self.assertEqual(len(self.lines), EACH)
        self.assertEqual(self.counted() - self.before, 5000)
        self.refuse("192.0.2.2")  # others are heard of all the same
        self.assertEqual((self.lines[-1]["address"], self.lines[-1]["left_out"]), ("192.0.2.2", 5000 - EACH))
        self.clock.advance(60)
        self.refuse("192.0.2.1")
        self.assertEqual(self.lines[-1]["address"], "192.0.2.1")
        self.assertNotIn("left_out", self.lines[-1])

    def test_a_network_of_ipv6_is_one_address(self) -> None:
        for number in range(2 * EACH):
            self.refuse(f"2001:db8::{number:x}")
        self.assertEqual(len(self.lines), EACH)

    def test_all_together_bring_so_many(self) -> None:
        for number in range(3 * ALL):
            self.refuse(f"10.0.{number >> 8}.{number & 255}")
        self.assertEqual(len(self.lines), ALL)
        self.clock.advance(6)
        self.refuse("192.0.2.9", 2)
        self.assertEqual([line.get("left_out", 0) for line in self.lines[ALL:]], [2 * ALL, 0])

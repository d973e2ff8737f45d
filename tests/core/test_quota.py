"""What the log says about quotas."""

from attrs import evolve
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import quota
from mailx.core.users import User
from mailx.mail.address import Address
from mailx.mail.reply import Refused
from tests.scenery import world

ANN = User(1, Address.parse("ann@example.test"), "user", "active", 1000, 0, b"")


class QuotaLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def test_thresholds(self) -> None:
        """Each threshold is told when it is passed, only the highest at once, and none twice or on the way down."""
        steps = [0, 799, 800, 899, 900, 950, 951, 1050, 100, 990]
        told = []
        for before, used in zip(steps, steps[1:], strict=False):
            self.events.clear()
            quota.passed(ANN, before, used)
            told.append([event["threshold"] for event in self.events])
        self.assertEqual(told, [[], ["80%"], [], ["90%"], ["95%"], [], [], [], ["95%"]])

    def test_unlimited(self) -> None:
        quota.passed(evolve(ANN, quota=0), 0, 10**12)
        self.assertEqual(self.events, [])

    def test_fields(self) -> None:
        """The fields that operators search for."""
        quota.passed(ANN, 0, 970)
        (event,) = self.events
        fields = ("user_id", "email", "used_bytes", "limit_bytes", "threshold", "percentage")
        self.assertEqual([event[name] for name in fields], [1, "ann@example.test", 970, 1000, "95%", 97])


class DeliveryLogTests(TestCase):
    async def test_delivery_tells(self) -> None:
        """A delivery that passes a threshold warns, one that does not fit is an error; no text of a message is told."""
        events: list[LogEvent] = []
        there = await world(self, accounts={"quota": 1000})
        await there.user("ann@example.test")
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        content = b"Subject: PRIVATE\r\n\r\n" + b"PRIVATE\r\n" * 70
        await there.deliver("ann@example.test", content)
        with self.assertRaises(Refused):
            await there.deliver("ann@example.test", content)
        told = [event["event"] for event in events if event.get("event", "").startswith("quota.")]  # a slow disk is told of, too
        self.assertEqual(told, ["quota.threshold", "quota.exceeded"])
        self.assertNotIn("PRIVATE", repr(events))

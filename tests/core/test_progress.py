"""What is told of each recipient, and when."""

from twisted.trial.unittest import TestCase

from mailx.core.ledger import Selection
from mailx.core.progress import Progress, Step
from tests.core.mail_out import LATER, NEVER, TAKEN, office


class Steps(TestCase):
    """Listeners hear after the commit."""

    timeout = 240

    async def test_each_outcome(self) -> None:
        here = await office(self)
        heard: list[Step] = []
        here.progress.listen(heard.append)
        await here.start()
        here.courier.answers.update({"later.example": LATER, "never.example": NEVER})
        id = await here.send("a@example.org", "b@later.example", "c@never.example", "me@example.test")
        await here.settled(sent=1, deferred=1, failed=1)
        await here.until(lambda: len([step for step in heard if step.envelope == id]) == 4)
        steps = {str(step.recipient): step for step in heard if step.envelope == id}
        self.assertEqual(
            {address: (step.state, step.destination) for address, step in steps.items()},
            {
                "a@example.org": ("delivered", "example.org"),
                "b@later.example": ("deferred", "later.example"),
                "c@never.example": ("bounced", "never.example"),
                "me@example.test": ("delivered", ""),
            },
        )
        self.assertEqual(steps["a@example.org"].attempt, TAKEN)
        self.assertEqual((steps["b@later.example"].attempts, steps["b@later.example"].due), (1, 1_700_000_300))
        for step in steps.values():
            self.assertEqual((step.protocol, step.account, str(step.sender)), ("ESMTPSA", here.user.id, "me@example.test"))
            self.assertGreater(step.size, 0)
        self.assertEqual(steps["me@example.test"].row, 0)

    async def test_heard_when_durable(self) -> None:
        here = await office(self)
        states: list[str] = []

        def look(step: Step) -> None:
            if step.row:
                states.append(step.state)
                waiting.append(here.world.store.read(lambda txn: txn.one("SELECT state FROM queue WHERE id = ?", (step.row,))))

        waiting: list[object] = []
        here.progress.listen(look)
        await here.start()
        await here.send("a@example.org")
        await here.until(lambda: bool(waiting))
        self.assertEqual(await waiting[0], ("sent",))  # type: ignore[misc]

    async def test_changed_by_hand(self) -> None:
        here = await office(self)
        heard: list[int] = []
        here.progress.listen_many(lambda: heard.append(1))
        await here.send("a@example.org")
        await here.queue.ledger.hold(Selection(states=("pending",)))
        self.assertEqual(heard, [1])
        await here.queue.ledger.hold(Selection(states=("pending",)))
        self.assertEqual(heard, [1])

    async def test_a_listener_that_fails_harms_nobody(self) -> None:
        here = await office(self)
        heard: list[Step] = []

        def broken(step: Step) -> None:
            raise ValueError("broken")

        here.progress.listen(broken)
        here.progress.listen(heard.append)
        await here.start()
        await here.send("a@example.org")
        await here.settled(sent=1)
        await here.until(lambda: bool(heard))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class Nobody(TestCase):
    """Without listeners."""

    def test_inactive(self) -> None:
        progress = Progress()
        self.assertFalse(progress.active)
        progress.many()
        progress.listen(lambda step: None)
        self.assertTrue(progress.active)

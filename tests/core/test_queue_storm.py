"""Whatever happens to a queue, every recipient is served once or given up once, and its sender hears of the latter."""

import random
from collections import Counter

from attrs import define
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.courier import Attempt
from mailx.core.ledger import Selection
from tests.core.mail_out import AWAY, LATER, NEVER, TAKEN, Office, office

DESTINATIONS = 6
MESSAGES = 60


@define
class Weather:
    """What destinations answer: by chance, and after ``calm`` always that they take it."""

    chance: random.Random
    here: Office
    calm: bool = False
    taken: Counter[tuple[str, str]] = Counter()
    refused: Counter[tuple[str, str]] = Counter()

    def answer(self) -> object:
        """For all recipients of the attempt that was just begun; sometimes not at once."""
        _, envelope, recipients = self.here.courier.tried[-1]
        if not self.calm and self.chance.random() < 0.1:
            return ValueError("a fault of the courier") if self.chance.random() < 0.5 else AWAY
        answers: dict[str, Attempt] = {}
        for recipient in recipients:
            attempt = TAKEN if self.calm else self.chance.choice((TAKEN, TAKEN, LATER, NEVER))
            answers[recipient] = attempt
            if attempt is TAKEN:
                self.taken[envelope, recipient] += 1
            elif attempt is NEVER:
                self.refused[envelope, recipient] += 1
        if self.chance.random() < 0.3:
            later: Deferred[object] = Deferred()
            self.here.world.reactor.callLater(self.chance.random() * 0.02, later.callback, answers)
            return later
        return answers


class Storm(TestCase):
    """A few hundred recipients in bad weather."""

    timeout = 240

    async def weather(self, seed: int) -> None:
        here = await office(self, queue={"retry": ("1m", "5m", "10m") * 4, "warn_after": ""}, outbound={"per_destination": 3})
        chance = random.Random(seed)
        weather = Weather(chance, here, taken=Counter(), refused=Counter())
        for number in range(DESTINATIONS):
            here.courier.answers[f"d{number}.example"] = weather.answer
        await here.start()
        sent = set()
        for _ in range(MESSAGES):
            recipients = {f"u{chance.randrange(9)}@d{chance.randrange(DESTINATIONS)}.example" for _ in range(chance.choice((1, 1, 3, 8)))}
            envelope = await here.send(*sorted(recipients))
            sent.update((envelope, each) for each in recipients)
            event = chance.random()
            if event < 0.2:
                here.clock[0] += chance.choice((30, 300, 900))
                here.queue._timetable.expect(0)
            elif event < 0.25:
                await here.queue.stop()
                here = weather.here = here.again()
                await here.start()
            elif event < 0.35:
                some = Selection(destination=f"d{chance.randrange(DESTINATIONS)}.example")
                await gatherResults(
                    [Deferred.fromCoroutine(here.queue.ledger.retry(some)), Deferred.fromCoroutine(here.queue.ledger.hold(some))]
                )
        weather.calm = True
        while await here.entries(states=("pending", "deferred", "held", "sending")):
            await here.queue.ledger.retry(Selection(states=("pending", "deferred", "held")))
            await here.until(lambda: not here.queue._settling._count)
        entries = {(entry.envelope, entry.recipient): entry.state for entry in await here.entries()}
        self.assertEqual(set(entries), sent)
        self.assertEqual({key for key, state in entries.items() if state == "sent"}, set(weather.taken))
        self.assertEqual(set(weather.taken.values()), {1})

        # A dead letter that was retried was refused more than once; each refusal was told.
        reports = b"".join(await here.reports())
        self.assertEqual(reports.count(b"Action: failed"), sum(weather.refused.values()))

    async def test_one(self) -> None:
        await self.weather(1)

    async def test_two(self) -> None:
        await self.weather(2)

    async def test_three(self) -> None:
        await self.weather(3)

    def tearDown(self) -> None:
        self.flushLoggedErrors(ValueError)

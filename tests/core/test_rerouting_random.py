"""Smart hosts and routes change at any moment, mail comes in meanwhile: all of it arrives, once, soon after the last change."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from mailx.config import Config, Relay, Route
from mailx.core.courier import Attempt
from mailx.core.ledger import Selection
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from tests.core.mail_out import AWAY, TAKEN, office
from tests.core.test_rerouting import DENIED, Base, Way, Ways, through

HOSTS = ("works.example", "away.example", "moody.example", "")
ANSWERS = {"works.example": (TAKEN,), "away.example": (AWAY,), "moody.example": (TAKEN, AWAY, DENIED), "": (AWAY,)}


@define(eq=False)
class Slow(Way):
    """Takes its time, sometimes; ``answer`` are those to choose from, ``tried`` of what it is asked."""

    chance: random.Random = random.Random()
    reactor: Any = None

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        if self.chance.random() < 0.5:
            await deferLater(self.reactor, self.chance.random() * 0.02)
        answer = self.chance.choice(self.answer)
        if answer.reply.done:
            self.sent.update((envelope.id, str(each)) for each in recipients)
        return dict.fromkeys(recipients, answer)


@define(eq=False)
class SlowWays(Ways):
    chance: random.Random = random.Random()
    reactor: Any = None

    def way(self, host: str) -> Way:
        if host not in self.made:
            self.made[host] = Slow(host, ANSWERS[host], chance=self.chance, reactor=self.reactor)
        return self.made[host]


class AtAnyMoment(Base):
    seeds = (1, 2, 3)

    def ways_to_go(self, chance: random.Random) -> Config:
        config = through(chance.choice(HOSTS))
        if chance.random() < 0.8:
            return config
        relay = Relay("other", (chance.choice(HOSTS[:3]),))
        route = Route(recipients=("d1.example", "d2.example"), relay="other")
        return evolve(config, outbound=evolve(config.outbound, relays=(relay,), routes=(route,)))

    async def send_some(self, chance: random.Random, number: int) -> set[tuple[str, str]]:
        recipients = [f"u{number}.{place}@d{chance.randrange(6)}.example" for place in range(chance.choice((1, 1, 1, 3)))]
        id = await self.office.send(*recipients)
        return {(id, recipient) for recipient in recipients}

    async def storm(self, seed: int) -> None:
        chance = random.Random(seed)
        self.office = at = await office(self, engine=self.engine)
        self.ways = SlowWays({}, chance=chance, reactor=at.world.reactor)
        self.rerouting = await self.start(at, through("away.example"))
        sending = []
        for number in range(100):
            sending.append(Deferred.fromCoroutine(self.send_some(chance, number)))
            if chance.random() < 0.25:
                self.rerouting.renew(self.ways_to_go(chance))
            if chance.random() < 0.3:
                await deferLater(at.world.reactor, chance.random() * 0.01)
            if chance.random() < 0.1:
                at.clock[0] += chance.random() * 40
            if chance.random() < 0.05:
                await at.queue.ledger.retry(Selection())
        self.rerouting.renew(through("works.example"))
        sent: set[tuple[str, str]] = set().union(*(await gatherResults(sending)))
        began = at.clock[0]
        await self.all_sent(sent)
        self.assertLess(at.clock[0] - began, 150, f"seed {seed}")  # by no schedule
        self.assertEqual(self.ways.taken(), Counter(sent))

    async def test_nothing_is_lost_doubled_or_left_waiting(self) -> None:
        for seed in self.seeds:
            await self.storm(seed)


class AtAnyMomentOnPostgreSQL(AtAnyMoment):
    """The same with the other engine, where what is being stored is not seen yet by those who look."""

    engine = "postgresql"

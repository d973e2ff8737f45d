"""Relays and routes change while mail is under way: nothing is lost, nothing goes twice, nothing waits for a host that is gone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailx.config import Config, Relay, Route
from mailx.core.courier import Attempt, ICourier
from mailx.core.ledger import Selection
from mailx.core.rerouting import Rerouting
from mailx.core.routes import relays
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Reply, Unavailable
from tests.core.mail_out import AWAY, LATER, NEVER, TAKEN, Office, office
from tests.scenery import configured

DENIED = Attempt(Reply(454, "4.7.0", "Who are you?"), "smtp.example.org [192.0.2.1]:587", unreachable=True)


@implementer(ICourier)
@define(eq=False)
class Way:
    """One courier that answers the same to all: an Attempt, or what a list of Deferreds brings."""

    name: str
    answer: Any
    sent: Counter[tuple[str, str]] = Factory(Counter)  # envelope and recipient of what was taken
    tried: int = 0
    waiting: list["Deferred[Attempt]"] = Factory(list)
    retired: bool = False

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        self.tried += 1
        answer = self.answer
        if answer is None:
            self.waiting.append(Deferred())
            answer = await self.waiting[-1]
        if answer.reply.done:
            self.sent.update((envelope.id, str(each)) for each in recipients)
        return dict.fromkeys(recipients, answer)

    async def stop(self) -> None:
        """See ICourier."""


@define(eq=False)
class Ways:
    """Couriers as ``Relays`` has them; ``answers`` by the host of the relay, "" is the direct one."""

    answers: dict[str, Any]
    made: dict[str, Way] = Factory(dict)  # by host
    now: dict[str, tuple[Relay, Way]] = Factory(dict)
    before: list[Way] = Factory(list)

    def way(self, host: str) -> Way:
        if host not in self.made:
            self.made[host] = Way(host, self.answers.get(host, TAKEN))
        return self.made[host]

    @property
    def couriers(self) -> Mapping[str, ICourier]:
        return {"": self.way(""), **{name: way for name, (_, way) in self.now.items()}}

    def renew(self, relays: Iterable[Relay]) -> set[str]:
        before, self.now = self.now, {}
        for relay in relays:
            known = before.get(relay.name)
            self.now[relay.name] = known if known is not None and known[0] == relay else (relay, self.way(relay.hosts[0].partition(":")[0]))
        self.before += [way for name, (_, way) in before.items() if name not in self.now or self.now[name][1] is not way]
        return {name for name in {*before, *self.now} if before.get(name) != self.now.get(name)}

    def retire(self) -> None:
        for way in self.before:
            way.retired = True

    def taken(self) -> Counter[tuple[str, str]]:
        """Everything that was taken, however it went."""
        return sum((way.sent for way in self.made.values()), Counter())


def through(host: str, **outbound: Any) -> Config:
    """A configuration with this smart host; empty: none."""
    return configured(smarthost={"host": host}, outbound=outbound)


class Base(TestCase):
    engine = "sqlite"

    async def begin(self, config: Config, **answers: Any) -> Office:
        """An office whose mail goes as ``config`` says; ``answers`` by host, "direct" for none."""
        self.office = await office(self, engine=self.engine)
        self.ways = Ways({"" if host == "direct" else f"{host}.example": answer for host, answer in answers.items()})
        self.rerouting = await self.start(self.office, config)
        return self.office

    async def start(self, at: Office, config: Config) -> Rerouting:
        """Start the queue with ``config``, as a server does."""
        self.ways.renew(relays(config))
        at.queue.reroute(config.outbound, config.queue, config.smarthost, self.ways.couriers, None)
        await at.start()
        rerouting = Rerouting(at.queue, self.ways, at.world.store, at.world.cipher, config, at.world.reactor, lambda: at.clock[0])
        await rerouting.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(rerouting.stop()))
        return rerouting

    async def send(self, count: int = 1) -> set[tuple[str, str]]:
        """Submit messages to as many domains."""
        sent = set()
        for number in range(count):
            recipient = f"you@d{number}.example"
            sent.add((await self.office.send(recipient), recipient))
        return sent

    async def all_sent(self, expected: set[tuple[str, str]]) -> None:
        """Everything arrives, the queue's clock going on, and once."""

        async def arrived() -> bool:
            self.office.clock[0] += 0.2
            self.office.queue.wake()
            counts = await self.office.queue.ledger.counts()
            return counts["sent"] == len(expected)

        await self.office.until(arrived)
        self.assertEqual(self.ways.taken(), Counter(expected))

    async def wait(self, count: int) -> None:
        """Returns when so many recipients wait, for nobody takes them."""

        async def waiting() -> bool:
            counts = await self.office.queue.ledger.counts()
            return counts["pending"] + counts["deferred"] == count and not counts["sending"]

        await self.office.until(waiting)


class Changed(Base):
    """The smart host is another one."""

    async def test_what_waits_for_it_goes_to_the_new_one_at_once(self) -> None:
        await self.begin(through("old.example"), old=DENIED)
        sent = await self.send(5)
        await self.wait(5)
        tried = self.ways.way("old.example").tried
        self.rerouting.renew(through("new.example"))
        await self.all_sent(sent)
        self.assertEqual(self.ways.way("old.example").tried, tried)
        self.assertTrue(self.ways.way("old.example").retired)
        self.assertEqual(sum(self.ways.way("new.example").sent.values()), 5)
        self.assertLess(self.office.clock[0], 1_700_000_200, "nobody waited out the five minutes")

    async def test_attempts_that_came_early_do_not_count(self) -> None:
        await self.begin(through("old.example"), old=LATER, new=LATER)
        await self.send()
        await self.wait(1)
        for number in range(4):
            self.rerouting.renew(through("new.example" if number % 2 == 0 else "old.example"))
            way = self.ways.way("new.example" if number % 2 == 0 else "old.example")
            tried = way.tried
            await self.office.until(lambda way=way, tried=tried: way.tried > tried)
            await self.wait(1)
        (entry,) = await self.office.entries()
        self.assertEqual(entry.attempts, 1)

    async def test_removed(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        sent = await self.send(5)
        await self.wait(5)
        self.rerouting.renew(through(""))
        await self.all_sent(sent)
        self.assertEqual(sum(self.ways.way("").sent.values()), 5)
        self.assertEqual(
            {(entry.destination, entry.relay) for entry in await self.office.entries()}, {(f"d{n}.example", "") for n in range(5)}
        )

    async def test_introduced(self) -> None:
        await self.begin(through(""), direct=AWAY)
        sent = await self.send(5)
        await self.wait(5)
        self.rerouting.renew(through("new.example"))
        await self.all_sent(sent)
        self.assertEqual(sum(self.ways.way("new.example").sent.values()), 5)

    async def test_what_is_held_stays_held_and_goes_the_new_way_when_released(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        sent = await self.send(4)
        await self.wait(4)
        held = [entry.id for entry in (await self.office.entries())[:2]]
        await self.office.queue.ledger.hold(Selection(ids=tuple(held)))
        self.rerouting.renew(through(""))
        await self.office.settled(sent=2, held=2)
        self.assertEqual(len(self.ways.taken()), 2)
        await self.office.queue.ledger.release(Selection(states=("held",)))
        await self.all_sent(sent)

    async def test_dead_letters_that_are_tried_again(self) -> None:
        await self.begin(through("old.example"), old=NEVER)
        sent = await self.send(2)
        await self.office.settled(failed=2)
        self.rerouting.renew(through(""))
        self.assertEqual(await self.office.queue.ledger.retry(Selection(states=("failed",))), 2)
        await self.all_sent(sent)

    async def test_other_relays_are_left_alone(self) -> None:
        both = {"relays": (Relay("other", ("other.example",)),), "routes": (Route(recipients=("d1.example",), relay="other"),)}
        await self.begin(through("old.example", **both), old=AWAY, other=LATER)
        await self.send(2)
        await self.wait(2)
        self.rerouting.renew(through("new.example", **both))
        await self.office.settled(sent=1, deferred=1)
        self.assertEqual(self.ways.way("other.example").tried, 1)
        self.assertFalse(self.ways.way("other.example").retired)

    async def test_what_is_no_matter_of_ways_is_none_here(self) -> None:
        config = through("old.example")
        await self.begin(config)
        generation = self.office.queue._routes.generation
        self.rerouting.renew(evolve(config, queue=evolve(config.queue, delivery_log=100000)))
        self.assertEqual(self.office.queue._routes.generation, generation)
        self.rerouting.renew(evolve(config, queue=evolve(config.queue, retry=("7m",))))
        self.assertEqual(self.office.queue._routes.longest, 420)

    async def test_routes(self) -> None:
        relay = {"relays": (Relay("other", ("other.example",)),)}
        await self.begin(through("", **relay), direct=AWAY)
        sent = await self.send(3)
        await self.wait(3)
        self.rerouting.renew(through("", **relay, routes=(Route(recipients=("*.example",), relay="other"),)))
        await self.all_sent(sent)
        self.assertEqual(sum(self.ways.way("other.example").sent.values()), 3)

    async def test_many_at_once(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        recipients = [f"u{number}@d{number % 70}.example" for number in range(1500)]
        id = await self.office.send(*recipients)
        await self.wait(1500)
        self.rerouting.renew(through(""))
        await self.all_sent({(id, recipient) for recipient in recipients})

    async def test_back_and_forth(self) -> None:
        await self.begin(through("old.example"), old=None, new=None)
        sent = await self.send(30)
        for number in range(12):
            self.rerouting.renew(through(("new.example", "", "old.example")[number % 3]))
            for host in ("old.example", "new.example"):
                way = self.ways.way(host)
                waiting, way.waiting = way.waiting, []
                for place, each in enumerate(waiting):
                    each.callback((TAKEN, LATER, AWAY)[(place + number) % 3])
            await self.office.queue.ledger.counts()
        self.rerouting.renew(through(""))
        for host in ("old.example", "new.example"):
            for each in self.ways.way(host).waiting:
                each.callback(AWAY)
            self.ways.way(host).answer = AWAY
        await self.all_sent(sent)


class UnderWay(Base):
    """What is being sent when the change comes."""

    async def sending(self, count: int = 1) -> set[tuple[str, str]]:
        await self.begin(through("old.example"), old=None)
        sent = await self.send(count)
        await self.office.until(lambda: bool(self.ways.way("old.example").waiting))
        return sent

    async def test_it_ends_with_the_old_one(self) -> None:
        sent = await self.sending()
        self.rerouting.renew(through("new.example"))
        self.ways.way("old.example").waiting[0].callback(TAKEN)
        await self.all_sent(sent)
        self.assertEqual(sum(self.ways.way("old.example").sent.values()), 1)

    async def test_what_the_old_one_did_not_take_goes_to_the_new_one_and_counts_as_nothing(self) -> None:
        for answer in (AWAY, LATER, DENIED):
            for after in (through("new.example"), through("")):
                sent = await self.sending()
                self.rerouting.renew(after)
                self.ways.way("old.example").waiting[0].callback(answer)
                await self.all_sent(sent)
                (entry,) = await self.office.entries()
                self.assertEqual(entry.attempts, 1)
                self.assertLess(self.office.clock[0], 1_700_000_200)

    async def test_after_many_that_did_not_count(self) -> None:
        """However long the old one was away: what it did not take goes the new way at once."""
        await self.begin(through("old.example"), old=AWAY)
        sent = await self.send()
        old = self.ways.way("old.example")
        for tried in range(1, 9):
            await self.office.until(lambda tried=tried: old.tried == tried)
            await self.wait(1)
            if tried == 8:
                old.answer = None
            await self.office.queue.ledger.retry(Selection())
        await self.office.until(lambda: len(old.waiting) == 1)
        self.rerouting.renew(through("new.example"))
        old.waiting[0].callback(AWAY)
        began = self.office.clock[0]
        await self.all_sent(sent)
        self.assertLess(self.office.clock[0] - began, 60)

    async def test_others_that_were_to_be_given_up_with_it(self) -> None:
        config = through("old.example")
        await self.begin(evolve(config, queue=evolve(config.queue, retry=())), old=None)
        sent = await self.send(3)
        await self.office.until(lambda: len(self.ways.way("old.example").waiting) == 1)
        gate: Deferred[None] = Deferred()

        async def load(*_: object, **__: object) -> None:
            await gate

        sending = self.office.queue._sending
        with_gate = self.patch(sending._loading, "load", load)
        self.ways.way("old.example").waiting[0].callback(AWAY)
        with_gate.restore()
        self.rerouting.renew(evolve(through("new.example"), queue=evolve(config.queue, retry=())))
        gate.callback(None)
        await self.office.settled(sent=2, failed=1)
        self.assertEqual(sum(self.ways.way("new.example").sent.values()), len(sent) - 1)

    async def test_a_never_is_one(self) -> None:
        await self.sending()
        self.rerouting.renew(through("new.example"))
        self.ways.way("old.example").waiting[0].callback(NEVER)
        await self.office.settled(failed=1)
        self.assertEqual(len(await self.office.reports()), 1)

    async def test_others_that_wait_in_memory_go_the_new_way_meanwhile(self) -> None:
        sent = await self.sending(20)
        waiting = len(self.ways.way("old.example").waiting)
        self.assertLess(waiting, 20)
        for after in (through("new.example"), through("")):
            self.rerouting.renew(after)
        await self.office.settled(sent=20 - waiting, sending=waiting)
        for each in self.ways.way("old.example").waiting:
            each.callback(TAKEN)
        await self.all_sent(sent)

    async def test_what_is_being_stored(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        placed = self.office.queue.placed
        for after in ("", "new.example", ""):

            def late(*args: Any, after: str = after) -> None:
                self.rerouting.renew(through(after))
                placed(*args)

            self.patch(self.office.queue, "placed", late)
            await self.send(2)
        self.patch(self.office.queue, "placed", placed)
        await self.office.settled(sent=6)
        self.assertEqual(self.ways.way("old.example").tried, 0)
        self.assertEqual(set(self.ways.taken().values()), {1})

    async def test_a_direct_attempt_when_a_smart_host_is_introduced(self) -> None:
        await self.begin(through(""), direct=None)
        sent = await self.send(1)
        await self.office.until(lambda: bool(self.ways.way("").waiting))
        self.rerouting.renew(through("new.example"))
        self.ways.way("").waiting[0].callback(AWAY)
        await self.all_sent(sent)
        self.assertEqual(sum(self.ways.way("new.example").sent.values()), 1)


class Crashed(Base):
    """The server dies between the change and its application."""

    async def test_what_waits_is_hastened_at_the_start(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        sent = await self.send(5)
        await self.wait(5)
        await self.office.queue.stop()
        again = await self.office.copied() if self.engine == "sqlite" else self.office.again()
        self.office = again
        await self.start(again, through("new.example"))
        await self.all_sent(sent)

    async def test_while_it_was_being_applied(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        sent = await self.send(5)
        await self.wait(5)
        await self.office.queue.stop()
        self.rerouting.renew(through("new.example"))
        await self.rerouting.stop()  # before anything was hastened
        self.office = self.office.again()
        await self.start(self.office, through("new.example"))
        await self.all_sent(sent)

    async def test_between_two_changes(self) -> None:
        """What was hastened for the first is not remembered as the second, of which nothing was done yet."""
        await self.begin(through("old.example"), old=AWAY, one=AWAY)
        sent = await self.send(5)
        await self.wait(5)
        await self.office.queue.stop()
        write: Any = self.office.world.store.write
        steps: list[str] = []

        def watched(job: Any, *args: Any) -> Any:
            steps.append(job.__name__)
            if steps == ["hasten"]:
                self.rerouting.renew(through("new.example"))
            if steps.count("hasten") > 1:  # the server dies here
                raise Unavailable("gone")
            return write(job, *args)

        self.patch(self.office.world.store, "write", watched)
        self.rerouting.renew(through("one.example"))
        await self.office.until(lambda: steps.count("hasten") > 1)
        await self.rerouting.stop()
        self.patch(self.office.world.store, "write", write)
        self.office.clock[0] += 10
        await self.office.world.store.write(lambda txn: txn.execute("UPDATE queue SET due = due + 3000"))
        self.office = self.office.again()
        await self.start(self.office, through("new.example"))
        await self.all_sent(sent)

    async def test_changes_that_come_while_one_is_applied_are_applied_together(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        await self.send(3)
        await self.wait(3)
        await self.office.queue.stop()
        write: Any = self.office.world.store.write
        steps: list[str] = []

        def counted(job: Any, *args: Any) -> Any:
            steps.append(job.__name__)
            return write(job, *args)

        self.patch(self.office.world.store, "write", counted)
        for number in range(100):
            self.rerouting.renew(through(f"n{number}.example"))
        await self.office.until(lambda: "put" in steps)
        self.assertLess(steps.count("hasten"), 6)
        self.assertEqual(steps.count("put"), 1)

    async def test_the_same_ways_hasten_nothing(self) -> None:
        await self.begin(through("old.example"), old=AWAY)
        await self.send(2)
        await self.wait(2)
        await self.office.queue.stop()
        self.office = self.office.again()
        rerouting = await self.start(self.office, through("old.example"))
        await rerouting.stop()
        self.assertEqual({entry.due for entry in await self.office.entries()} & {int(self.office.clock[0])}, set())

    async def test_nothing_of_the_settings_is_remembered_but_their_hash(self) -> None:
        config = through("old.example")
        config = evolve(config, smarthost=evolve(config.smarthost, username="me", password="correct horse"))
        await self.begin(config)
        kept = await self.office.world.store.read(lambda txn: txn.one("SELECT sealed FROM remembered WHERE kind = 'routing'"))
        self.assertNotIn(b"horse", bytes(kept[0]))


class ChangedOnPostgreSQL(Changed):
    """The same with the other engine."""

    engine = "postgresql"


class CrashedOnPostgreSQL(Crashed):
    """The same with the other engine."""

    engine = "postgresql"

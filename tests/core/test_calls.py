"""Records of calls: they enter with their message or not at all, and outlive everything but their time."""

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.calls import DELIVERED, QUEUED, Calls, Posted
from mailx.mail.address import Address
from mailx.mail.envelope import WEBHOOK, Envelope, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Refused
from mailx.store import Txn
from mailx.store import calls as store_calls
from mailx.store.calls import BOUNCED, Call
from tests.core.calls_scene import URL, scene
from tests.core.mail_out import GREETING, Office, office

NOW = 1_700_000_000


def advance(txn: Txn, steps: list[tuple[int, str, int]]) -> None:
    """Set how far calls have come: (number, state, when)."""
    for id, state, changed in steps:
        txn.execute("UPDATE calls SET state = ?, changed = ? WHERE id = ?", (state, changed, id))


class Base(TestCase):
    """An office that takes calls."""

    engine = "sqlite"
    timeout = 240

    async def setUp(self) -> None:
        self.office: Office = await office(self, engine=self.engine)
        world = self.office.world
        self.calls = Calls(world.store, world.cipher, world.reactor)

    def posted(self, envelope: str, signature: bytes = b"", key: str = "", **more: Any) -> Posted:
        given: dict[str, Any] = {
            "type": "message",
            "to": "you@example.org",
            "subject": "Grüße",
            "sender": "no-reply@example.test",
            "queued_at": "2023-11-14T22:13:20.000000Z",
            "created": NOW,
            "digest": self.calls.digest(b"body"),
            "replay": self.calls.replay(signature, b"body") if signature else None,
            "idempotency": self.calls.key(key) if key else None,
        }
        return self.calls.posted(envelope, **{**given, **more})

    async def accept(self, signature: bytes = b"", key: str = "", to: str = "you@example.org", where: Office | None = None) -> Posted:
        id = new_id()
        posted = self.posted(id, signature, key)
        place = where or self.office
        origin = place.world.origin(protocol=WEBHOOK)
        sender = Address.parse("no-reply@example.test")
        envelope = Envelope(id, sender, (Address.parse(to),), Message(GREETING, len(GREETING)), origin)
        await place.reception.accept(envelope, call=posted)
        return posted


class Entering(Base):
    """Through reception."""

    async def test_recorded(self) -> None:
        posted = await self.accept(b"s1")
        self.assertFalse(posted.repeats)
        assert posted.entered is not None
        call = await self.calls.show(posted.entered.id)
        assert call is not None
        self.assertEqual((call.to, call.subject, call.state), ("you@example.org", "Grüße", QUEUED))
        self.assertEqual(call.queued_at, "2023-11-14T22:13:20.000000Z")
        self.assertEqual([each.id for each in await self.calls.of_envelopes([call.envelope, "0" * 16])], [call.id])
        self.assertEqual(await self.calls.find(self.calls.replay(b"s1", b"body"), None), call)
        self.assertIsNone(await self.calls.find(self.calls.replay(b"s2", b"body"), self.calls.key("k")))
        self.assertIsNone(await self.calls.show(call.id + 1))

    async def test_repeats(self) -> None:
        first = await self.accept(b"s1", "k1")
        assert first.entered is not None
        for signature, key in ((b"s1", ""), (b"s1", "other"), (b"", "k1"), (b"s9", "k1")):
            again = await self.accept(signature, key)
            self.assertTrue(again.repeats)
            self.assertEqual(again.entered, first.entered)
        self.assertEqual(len(await self.office.entries()), 1)
        (count,) = await self.office.world.store.read(lambda txn: txn.one("SELECT count(*) FROM messages"))
        self.assertEqual(count, 1)

    async def test_many_at_once(self) -> None:
        """Of each kind one enters, in whatever batches they meet."""
        every = [Deferred.fromCoroutine(self.accept(b"s%d" % (number % 5))) for number in range(40)]
        ids = [posted.entered.id for posted in await gatherResults(every) if posted.entered is not None]
        self.assertEqual(len(ids), 40)
        self.assertEqual(len(set(ids)), 5)
        self.assertEqual(len(await self.office.entries()), 5)

    async def test_unsigned_ones_do_not_repeat(self) -> None:
        first, second = await self.accept(), await self.accept()
        self.assertFalse(first.repeats or second.repeats)
        self.assertEqual(len(await self.office.entries()), 2)

    async def test_a_mailbox_here(self) -> None:
        posted = await self.accept(b"s1", to="me@example.test")
        assert posted.entered is not None
        self.assertEqual(posted.entered.state, DELIVERED)
        again = await self.accept(b"s1", to="me@example.test")
        self.assertTrue(again.repeats)
        self.assertEqual(len(await self.office.world.contents(self.office.user)), 1)

    async def test_refused_leaves_no_record(self) -> None:
        with self.assertRaises(Refused):
            await self.accept(b"s1", to="nobody@example.test")
        self.assertEqual(await self.calls.latest(), [])
        self.assertFalse((await self.accept(b"s1")).repeats)

    async def test_sealed(self) -> None:
        posted = await self.accept(b"s1")
        assert posted.entered is not None
        for secret in (b"you@example.org", "Grüße".encode()):
            self.assertNotIn(secret, posted.entered.details)
        moved = self.calls.opened(evolve(posted.entered, envelope="0" * 16))
        self.assertEqual((moved.damaged, moved.to, moved.subject), (True, "", ""))

    async def test_listed(self) -> None:
        for number in range(5):
            await self.accept(b"s%d" % number)
        await self.office.world.store.write(advance, [(2, BOUNCED, NOW + 5), (4, DELIVERED, NOW + 6)])
        self.assertEqual([call.id for call in await self.calls.latest(limit=3)], [5, 4, 3])
        self.assertEqual([call.id for call in await self.calls.latest(before=3)], [2, 1])
        self.assertEqual([call.id for call in await self.calls.latest([BOUNCED, DELIVERED])], [4, 2])

    async def test_forgotten(self) -> None:
        """Only what is over, and old enough."""
        for number in range(4):
            await self.accept(b"s%d" % number)
        store = self.office.world.store
        await store.write(advance, [(1, BOUNCED, NOW), (2, DELIVERED, NOW), (3, QUEUED, NOW)])
        self.assertEqual(await store.write(store_calls.prune, NOW, 10), 0)
        self.assertEqual(await store.write(store_calls.prune, NOW + 1, 1), 1)
        self.assertEqual(await store.write(store_calls.prune, NOW + 1, 10), 1)
        self.assertEqual([call.id for call in await self.calls.latest()], [4, 3])
        posted = await self.accept(b"s9")
        assert posted.entered is not None
        self.assertEqual(posted.entered.id, 5)  # a number is never given twice


class Forgetting(TestCase):
    """Records go with their callbacks, and not before these are over, whatever the clock says."""

    async def test_with_callbacks(self) -> None:
        for engine in ("sqlite", "postgresql"):
            here = await scene(self, engine=engine)
            here.poster.answers[URL] = 500
            await here.start()
            call = await here.call("me@example.test")
            await here.until_told(call, "waiting", "behind")
            store = here.office.world.store
            later = int(here.clock[0]) + 1000 * 86400
            self.assertEqual(await store.write(store_calls.prune, later, 10), 0)
            del here.poster.answers[URL]
            await here.later(30)
            await here.until_told(call, "done", "done")
            self.assertEqual(await store.write(store_calls.prune, later, 10), 1)
            self.assertEqual(await here.callbacks.of_call(call.id), [])


class OnPostgreSQL(Entering):
    """The same on the other engine."""

    engine = "postgresql"

    async def test_two_nodes(self) -> None:
        """The same calls come to both at once: each enters once."""
        other = await self.office.on_another_node()
        taken = await gatherResults(
            [
                Deferred.fromCoroutine(self.accept(b"s%d" % (number % 40), f"k{number % 20}", where=where))
                for number in range(80)
                for where in (self.office, other)
            ],
            consumeErrors=True,
        )
        self.assertEqual(len([posted for posted in taken if not posted.repeats]), 20)
        self.assertEqual(len({posted.entered.id for posted in taken if posted.entered is not None}), 20)
        self.assertEqual(len(await self.office.entries()), 20)


class Killed(Base):
    """kill -9 between the commit and the answer."""

    async def test_repeated_after_the_kill(self) -> None:
        first = await self.accept(b"s1", "k1")
        assert first.entered is not None
        after = await self.office.copied()
        self.calls = Calls(after.world.store, after.world.cipher, after.world.reactor)
        again = await self.accept(b"s1", "k1", where=after)
        self.assertTrue(again.repeats)
        self.assertEqual(again.entered, first.entered)
        self.assertEqual(len(await after.entries()), 1)


class Registers(TestCase):
    """Calls of one transaction."""

    async def test_more_than_one_statement_asks_for(self) -> None:
        here = await office(self)
        fresh = [Call(0, f"{number:016x}", b"%d" % number, None, NOW, "message", QUEUED, NOW, b"x") for number in range(450)]

        def enter(txn: Any) -> list[int]:
            register = store_calls.Register(txn, fresh)
            ids = [(register.known(call) or register.enter(call, QUEUED)).id for call in [*fresh, *fresh]]
            register.write()
            return ids

        ids = await here.world.store.write(enter)
        self.assertEqual(ids, [*range(1, 451)] * 2)
        self.assertEqual(await here.world.store.write(enter), ids)

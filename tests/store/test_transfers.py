"""Records of transfers, with the message or not at all, on both engines."""

from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.audit import Recording
from mailx.core.transfers import KEPT_DAYS, Met, Transfers
from mailx.mail.address import Address
from mailx.mail.envelope import FEDERATION, Envelope, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Unavailable
from tests.scenery import World, _reception, world
from tests.store import postgresql

CONTENT = b"From: <me@elsewhere.test>\r\n\r\nHello\r\n"
DIGEST = sha256(CONTENT).digest()
ID = b"i" * 16


class Records(TestCase):
    engine = "sqlite"

    def accept(self, made: World, *recipients: str, id: bytes = ID, reception: Any = None) -> "Deferred[Any]":
        records = Transfers(made.store, made.cipher, made.reactor)
        transfer = records.transfer("example.test", "elsewhere.test", id, DIGEST, len(CONTENT))
        origin = made.origin(protocol=FEDERATION, domain="elsewhere.test")
        addresses = tuple(Address.parse(each) for each in recipients)
        envelope = Envelope(new_id(), Address.parse("me@elsewhere.test"), addresses, Message(CONTENT, len(CONTENT)), origin)
        return Deferred.fromCoroutine((reception or made.reception).accept(envelope, each=True, transfer=transfer))

    def taken(self, made: World, *recipients: str, id: bytes = ID, theirs: str = "elsewhere.test") -> Any:
        addresses = [Address.parse(each) for each in recipients]
        return Transfers(made.store, made.cipher, made.reactor).taken("example.test", theirs, id, addresses)

    async def test_recorded_with_the_message(self) -> None:
        made = await world(self, engine=self.engine)
        me = await made.user("me@example.test")
        await self.accept(made, "me@example.test", "nobody@example.test")
        found = await self.taken(made, "me@example.test", "nobody@example.test", "ME@example.test")
        self.assertEqual({str(each) for each in found}, {"me@example.test", "ME@example.test"})
        taken = found[Address.parse("me@example.test")]
        self.assertEqual((taken.digest, taken.size), (DIGEST, len(CONTENT)))
        self.assertEqual(len(await made.contents(me)), 1)
        self.assertEqual(await self.taken(made, "me@example.test", id=b"j" * 16), {})
        self.assertEqual(await self.taken(made, "me@example.test", theirs="third.test"), {})

    async def test_met(self) -> None:
        """One recipient who has it is enough: nothing is stored, for the others neither, and quotas stay."""
        made = await world(self, engine=self.engine)
        me, she = await made.user("me@example.test"), await made.user("she@example.test")
        await self.accept(made, "me@example.test")
        used = (await made.accounts.fresh(me.id)).used  # type: ignore[union-attr]
        await self.assertFailure(self.accept(made, "me@example.test", "she@example.test"), Met)
        self.assertEqual((len(await made.contents(me)), len(await made.contents(she))), (1, 0))
        self.assertEqual((await made.accounts.fresh(me.id)).used, used)  # type: ignore[union-attr]
        await self.accept(made, "she@example.test")
        self.assertEqual(len(await made.contents(she)), 1)

    async def test_at_once(self) -> None:
        """Many in one batch, and in as many transactions: one is stored."""
        made = await world(self, engine=self.engine)
        me = await made.user("me@example.test")
        answers = [self.accept(made, "me@example.test").addErrback(lambda failure: failure.trap(Met)) for _ in range(20)]
        found = await gatherResults(answers)
        self.assertEqual(sum(1 for each in found if each is not Met), 1)
        self.assertEqual(len(await made.contents(me)), 1)

    async def test_who_is_full_has_no_record(self) -> None:
        made = await world(self, engine=self.engine)
        await made.user("me@example.test", quota=10)
        await made.user("she@example.test")
        replies = await self.accept(made, "me@example.test", "she@example.test")
        self.assertEqual([reply.code for reply in replies.values()], [552, 250])
        self.assertEqual([str(each) for each in await self.taken(made, "me@example.test", "she@example.test")], ["she@example.test"])

    async def test_pruned(self) -> None:
        made = await world(self, engine=self.engine)
        await made.user("me@example.test")
        await self.accept(made, "me@example.test")
        records = Transfers(made.store, made.cipher, made.reactor, lambda: made.reactor.seconds() + KEPT_DAYS * 86400 - 100)
        await records.prune()
        self.assertEqual(len(await self.taken(made, "me@example.test")), 1)
        await evolve_now(records, made.reactor.seconds() + KEPT_DAYS * 86400 + 100).prune()
        self.assertEqual(await self.taken(made, "me@example.test"), {})

    async def test_a_damaged_record_keeps_the_message_out(self) -> None:
        made = await world(self, engine=self.engine)
        me = await made.user("me@example.test")
        await self.accept(made, "me@example.test")
        await made.store.write(lambda txn: txn.execute("UPDATE transfers SET outcome = ?", (b"x",)))
        await self.assertFailure(Deferred.fromCoroutine(self.taken(made, "me@example.test")), Unavailable)
        await self.assertFailure(self.accept(made, "me@example.test"), Met)
        self.assertEqual(len(await made.contents(me)), 1)


class RecordsOnPostgreSQL(Records):
    engine = "postgresql"

    async def test_two_nodes(self) -> None:
        """Each with connections of its own: one stores, the other is told."""
        from mailx.store.postgres import open_store

        made = await world(self, engine=self.engine)
        me = await made.user("me@example.test")
        ((name,),) = await made.store.read(lambda txn: txn.all("SELECT current_database()"))
        store = await open_store(postgresql.server().url(name), "", 1, made.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        other = Recording(store, made.cipher)
        second = _reception(made.config, other, made.cipher, made.blobs, made.accounts, made.reactor)
        for round in range(20):
            id = bytes([round]) * 16
            both = [self.accept(made, "me@example.test", id=id), self.accept(made, "me@example.test", id=id, reception=second)]
            found = await gatherResults([each.addErrback(lambda failure: failure.trap(Met)) for each in both])
            self.assertEqual(sum(1 for each in found if each is not Met), 1)
            self.assertEqual(len(await made.contents(me)), round + 1)


def evolve_now(records: Transfers, now: float) -> Transfers:
    records._now = lambda: now
    return records

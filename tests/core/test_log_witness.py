"""Heads of other logs: what continues is kept, what forks is proved and told, what cannot be told changes nothing."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.alerts import LOG_FORK, LOG_LOST, LOG_RESTORED
from mailx.core.key_log import EPOCHS_LIMIT
from mailx.core.log_gossip import NAME_SIZE, NAMES_LIMIT, SALT_SIZE, name_hash
from mailx.core.log_witness import BEHIND, EPOCH, FORK, GROWN, LOST, NEW, SAME, UNPROVED, Away
from mailx.identity import key_log
from mailx.identity.encoding import Malformed
from mailx.identity.statements import SeedSigner, signed
from mailx.mail.envelope import new_id
from mailx.store.log_witness import EPOCHS_KEPT, EVIDENCE_LIMIT
from tests.core.log_scene import Server, restored, server

A, B, C = "a.example", "b.example", "c.example"
NOW = 1700000000.0


class Case(TestCase):
    now = NOW

    async def open(self, *domains: str) -> list[Server]:
        self.net: dict[str, Server] = {}
        return [await server(self, self.net, domain, clock=lambda: self.now) for domain in domains]

    async def forged(self, domain: str, count: int) -> Server:
        """Somebody with the key of ``domain`` answers in its place, with another log."""
        keys = self.net[domain].keys
        new = await server(self, self.net, domain, clock=lambda: self.now)
        new.keys = keys
        for number in range(count):
            await new.bind(f"{new_id()}{number}@{domain}")
        return new

    async def show(self, here: Server, there: Server) -> str:
        keys = there.keys.valid(there.domain)
        return await here.witness.seen(there.domain, await there.head(), keys, here.ask(there.domain))

    async def size(self, here: Server, domain: str) -> int:
        kept = await here.witness.kept(domain)
        assert kept is not None
        return kept.head.size


class Heads(Case):
    async def test_a_log_that_grows(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        self.assertEqual(await self.show(a, b), NEW)
        self.assertEqual(await self.show(a, b), SAME)
        await b.grow(4)
        self.assertEqual(await self.show(a, b), GROWN)
        self.assertEqual(b.asked, ["log_consistency"])
        self.assertEqual(await self.size(a, B), 7)
        self.assertEqual(a.bell.told, [])

    async def test_after_a_rotation_who_has_not_heard_of_it_believes_the_head_still(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        await self.show(a, b)
        (old,) = b.keys.valid(B)
        b.keys.seeds.insert(0, SeedSigner(b"n" * 32))
        await b.grow(1)
        self.assertEqual(await a.witness.seen(B, await b.head(), [old], a.ask(B)), GROWN)

    async def test_an_empty_log_needs_no_proof_to_grow(self) -> None:
        a, b = await self.open(A, B)
        await self.show(a, b)
        await b.grow(2)
        b.away = True
        self.assertEqual(await self.show(a, b), GROWN)

    async def test_what_nobody_proves_is_not_kept_and_no_fork(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        await self.show(a, b)
        await b.grow(1)
        b.away = True
        self.assertEqual(await self.show(a, b), UNPROVED)
        self.assertEqual((await self.size(a, B), await a.witness.evidence(), a.bell.told), (3, [], []))
        b.away = False
        self.assertEqual(await self.show(a, b), GROWN)

    async def test_an_older_head_of_the_same_log(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        older = await b.head()
        await b.grow(3)
        await self.show(a, b)
        self.assertEqual(await a.witness.seen(B, older, b.keys.valid(B), a.ask(B)), BEHIND)
        self.assertEqual(await self.size(a, B), 6)

    async def test_what_was_shown_again_is_written_down_once_an_hour(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(1)
        await self.show(a, b)
        self.now += 7200
        await self.show(a, b)
        kept = await a.witness.kept(B)
        assert kept is not None
        self.assertEqual(kept.seen, int(NOW) + 7200)

    async def fork(self, kept: int, shown: int) -> None:
        a, b = await self.open(A, B)
        await b.grow(kept)
        await self.show(a, b)
        forged = await self.forged(B, shown)
        self.assertEqual(await self.show(a, forged), FORK)
        self.assertEqual(await self.show(a, forged), FORK)
        self.assertEqual(await self.size(a, B), kept)
        self.assertEqual(a.bell.told, [(LOG_FORK, B)])  # once
        (evidence,) = await a.witness.evidence(B)
        for value, size in ((evidence.kept, kept), (evidence.shown, shown)):
            head = key_log.read_head(value, B)
            self.assertEqual(head.size, size)
            self.assertTrue(any(head.statement.signed_by(key) for key in b.keys.valid(B)))  # its domain cannot deny either

    def test_a_fork_of_the_same_size(self) -> Any:
        return self.fork(5, 5)

    def test_a_longer_fork(self) -> Any:
        return self.fork(5, 8)

    async def test_a_shorter_fork(self) -> None:
        """At first it may be a log that was restored; but then it would go on in an epoch."""
        a, b = await self.open(A, B)
        await b.grow(5)
        await self.show(a, b)
        forged = await self.forged(B, 3)
        self.assertEqual(await self.show(a, forged), UNPROVED)
        self.now += 3601
        self.assertEqual(await self.show(a, forged), FORK)
        self.assertEqual(a.bell.told, [(LOG_FORK, B)])

    async def test_who_proves_it_after_all_is_not_accused(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(5)
        await self.show(a, b)
        await b.grow(1)
        late = await b.head()

        async def refusing(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            raise Away("502 5.5.1 No such method here", refused=True)

        self.assertEqual(await a.witness.seen(B, late, b.keys.valid(B), refusing), UNPROVED)
        self.now += 1800
        await b.grow(1)
        self.assertEqual(await self.show(a, b), GROWN)  # and the other head is asked about again
        self.now += 2000
        await b.grow(1)
        self.assertEqual(await a.witness.seen(B, await b.head(), b.keys.valid(B), refusing), UNPROVED)
        self.assertEqual(a.bell.told, [])

    async def test_other_heads_that_are_proved_do_not_make_one_forgotten_that_is_not(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(5)
        await self.show(a, b)
        forged = await (await self.forged(B, 7)).head()
        self.net[B] = b

        async def choosing(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            if 7 in fields.values():
                raise Away("550 5.1.0 The key log has no such entry", refused=True)
            return await a.ask(B)(method, fields)

        verdicts = []
        for _ in range(3):
            verdicts.append(await a.witness.seen(B, forged, b.keys.valid(B), choosing))  # as a third domain was shown it
            self.now += 1000
            await b.grow(3)
            verdicts.append(await a.witness.seen(B, await b.head(), b.keys.valid(B), choosing))
            self.now += 1000
        self.assertEqual(verdicts[:4], [UNPROVED, GROWN] * 2)
        self.assertEqual(a.bell.told, [(LOG_FORK, B)])
        (evidence,) = await a.witness.evidence(B)
        self.assertEqual(evidence.shown, forged)

    async def test_what_no_key_of_the_domain_signed(self) -> None:
        a, b = await self.open(A, B)
        value = await b.head()
        cases: list[tuple[object, Any]] = [
            (value, a.keys.valid(A)),
            (await a.head(), a.keys.valid(A)),  # of another domain
            ({**value, "kind": "log-epoch"}, b.keys.valid(B)),
            ({**value, "body": {**value["body"], "size": 99}}, b.keys.valid(B)),
            ("head", b.keys.valid(B)),
            (None, b.keys.valid(B)),
        ]
        for wrong, keys in cases:
            with self.assertRaises(Malformed):
                await a.witness.seen(B, wrong, keys, a.ask(B))
        self.assertIsNone(await a.witness.kept(B))

    async def test_a_head_of_the_future(self) -> None:
        a, b = await self.open(A, B)
        value = await b.head()
        self.now -= 3600
        with self.assertRaises(Malformed):
            await a.witness.seen(B, value, b.keys.valid(B), a.ask(B))

    async def test_answers_that_are_no_proofs(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        await self.show(a, b)
        await b.grow(1)
        for answer in ({}, {"proof": None}, {"proof": b"short"}, {"proof": [b"x" * 32]}, {"proof": b"x" * 32000}):

            async def ask(method: str, fields: Mapping[str, Any], answer: Mapping[str, Any] = answer) -> Mapping[str, Any]:
                return answer

            self.assertEqual(await a.witness.seen(B, await b.head(), b.keys.valid(B), ask), UNPROVED)
        self.assertEqual(a.bell.told, [])

    async def test_at_rest_no_domain_is_readable(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(1)
        await self.show(a, b)
        await self.show(a, await self.forged(B, 1))
        rows = await a.world.store.read(lambda txn: [*txn.all("SELECT * FROM log_heads"), *txn.all("SELECT * FROM log_evidence")])
        self.assertEqual(len(rows), 2)
        self.assertNotIn(b"b.example", b"".join(bytes(value) for row in rows for value in row if not isinstance(value, int)))


class Restores(Case):
    async def test_a_restored_log_goes_on_in_an_epoch(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(4)
        await a.meet(B)
        await a.meet(B)  # b hears that a has its head: 4 entries are confirmed
        self.assertEqual((await b.log.state(B)).confirmed, 4)
        backup = b
        await b.grow(3)
        await a.meet(B)
        self.assertEqual(await self.size(a, B), 7)
        b = await restored(self, backup, 5, clock=lambda: self.now)
        await b.log.confirm(B, 4)
        await b.grow(1)
        await a.meet(B)  # b learns of it
        self.assertEqual(b.bell.told, [(LOG_RESTORED, B)])
        self.assertEqual(await self.size(a, B), 7)
        (epoch,) = await b.log.epochs(B)
        self.assertEqual((epoch.epoch, epoch.of, epoch.size), (1, 0, 7))
        await a.meet(B)
        kept = await a.witness.kept(B)
        assert kept is not None
        self.assertEqual((kept.head.epoch, kept.head.size), (1, 7))
        self.assertIn((LOG_LOST, B), a.bell.told)
        await b.grow(1)
        self.assertEqual(await self.show(a, b), GROWN)
        await a.meet(B)
        self.assertEqual(b.bell.told, [(LOG_RESTORED, B)])  # once

    async def test_who_knew_no_more_than_was_kept_sees_nothing_lost(self) -> None:
        a, b, c = await self.open(A, B, C)
        await b.grow(4)
        for _ in range(2):
            await a.meet(B)
            await c.meet(B)
        old = b
        await b.grow(3)
        await a.meet(B)
        b = await restored(self, old, 5, clock=lambda: self.now)
        await a.meet(B)
        self.assertEqual(await self.show(c, b), EPOCH)
        self.assertEqual(await self.show(a, b), LOST)
        self.assertEqual(c.bell.told, [])

    async def test_an_epoch_hides_no_rewriting(self) -> None:
        """What is said to be kept must be there: else it is a fork, whatever epoch it is in."""
        a, b = await self.open(A, B)
        await b.grow(4)
        await self.show(a, b)
        last = await b.log.head(B)
        forged = await self.forged(B, 6)
        await forged.log.confirm(B, 6)
        await forged.log.begin_epoch(B, last)
        self.assertEqual(await self.show(a, forged), FORK)
        self.assertEqual(a.bell.told, [(LOG_FORK, B)])

    async def test_an_epoch_that_is_not_declared_is_not_believed(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(2)
        await self.show(a, b)
        head = key_log.make_head([b.keys.seeds[0]], B, 3, 2, b"r" * 32, b"v" * 32, int(NOW))
        self.assertEqual(await a.witness.seen(B, head.statement.encode(), b.keys.valid(B), a.ask(B)), UNPROVED)
        self.assertEqual((await a.witness.kept(B)).head.epoch, 0)  # type: ignore[union-attr]

    async def test_epochs_that_others_signed_are_not_believed(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(2)
        await self.show(a, b)
        last = await b.log.head(B)
        head = key_log.make_head([b.keys.seeds[0]], B, 1, 2, b"r" * 32, b"v" * 32, int(NOW))
        forged = key_log.make_epoch([SeedSigner(b"e" * 32)], 1, 0, last, int(NOW))

        async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"epochs": [forged.statement.encode()]}

        self.assertEqual(await a.witness.seen(B, head.statement.encode(), b.keys.valid(B), ask), UNPROVED)

    async def test_a_forged_log_of_ours_is_found(self) -> None:
        """Somebody with our key shows another log to a peer; the peer shows us what it got."""
        a, b = await self.open(A, B)
        await b.grow(5)
        forged = await self.forged(B, 3)
        await self.show(a, forged)
        self.net[B] = b
        await a.meet(B)
        self.assertEqual(b.bell.told, [(LOG_RESTORED, B)])

    async def test_what_our_key_did_not_sign_says_nothing_of_our_log(self) -> None:
        (b,) = await self.open(B)
        await b.grow(2)
        head = key_log.make_head([SeedSigner(b"x" * 32)], B, 0, 9, b"r" * 32, b"v" * 32, int(NOW))
        self.assertFalse(await b.gossip.told(B, head.statement.encode()))
        self.assertFalse(await b.gossip.told(B, signed("tree-head", {"domain": B}, b.keys.seeds[0]).encode()))
        self.assertFalse(await b.gossip.told(C, head.statement.encode()))
        self.assertEqual((b.bell.told, await b.log.epochs(B)), ([], []))


class Gossip(Case):
    async def test_two_who_are_shown_different_logs_find_out(self) -> None:
        a, b, c = await self.open(A, B, C)
        await b.grow(4)
        await a.meet(B)
        await self.forged(B, 6)
        await c.meet(B)
        self.assertEqual(a.bell.told + c.bell.told, [])  # each of them sees a log without fault
        await a.meet(C)
        self.assertEqual(a.bell.told, [(LOG_FORK, B)])
        await c.meet(A)
        self.assertEqual(len(await a.witness.evidence(B)), 1)

    async def test_a_domain_learns_from_others_of_a_log_under_its_name(self) -> None:
        a, b, c = await self.open(A, B, C)
        await b.grow(4)
        await self.forged(B, 6)
        await c.meet(B)
        self.net[B] = b
        await b.meet(C)
        self.assertEqual(b.bell.told, [(LOG_RESTORED, B)])

    async def test_others_are_asked_once_an_hour(self) -> None:
        a, b = await self.open(A, B)
        for _ in range(3):
            await a.meet(B)
        self.assertEqual(b.asked.count("log_gossip"), 1)
        self.now += 3601
        await a.meet(B)
        self.assertEqual(b.asked.count("log_gossip"), 2)

    async def test_a_question_names_nobody(self) -> None:
        a, b, c = await self.open(A, B, C)
        await c.grow(1)
        await a.meet(C)
        asked: list[Mapping[str, Any]] = []

        async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append(fields)
            return {"heads": []}

        await a.gossip._third(A, B, ask)
        (fields,) = asked
        self.assertEqual((len(fields["salt"]), len(fields["names"])), (SALT_SIZE, NAMES_LIMIT))
        self.assertEqual({len(name) for name in fields["names"]}, {NAME_SIZE})
        self.assertIn(name_hash(fields["salt"], C), fields["names"])

    async def test_only_what_was_asked_for_is_told(self) -> None:
        a, b, c = await self.open(A, B, C)
        await c.grow(1)
        await a.meet(C)
        salt = b"s" * SALT_SIZE
        self.assertEqual(await a.gossip.answer(B, salt, [name_hash(salt, "d.example")]), [])
        self.assertEqual(len(await a.gossip.answer(B, salt, [name_hash(salt, C)])), 1)
        self.assertEqual(await a.gossip.answer(C, salt, [name_hash(salt, C)]), [])  # of itself it hears in the greeting

    async def test_who_does_not_share_neither_asks_nor_answers(self) -> None:
        a, b, c = await self.open(A, B, C)
        a.gossip._share = lambda: False
        await a.meet(C)
        self.assertNotIn("log_gossip", c.asked)
        salt = b"s" * SALT_SIZE
        self.assertEqual(await a.gossip.answer(B, salt, [name_hash(salt, C)]), [])

    async def test_answers_of_any_form_harm_nothing(self) -> None:
        a, b = await self.open(A, B)
        for heads in (
            None,
            "x",
            [None],
            [b"{"],
            [b"[]"],
            [b"x" * 9000],
            [{}],
            [{"body": None}],
            [{"body": {"domain": 5}}],
            [{"body": {"domain": A}}],
            [[]] * 1000,
        ):

            async def ask(method: str, fields: Mapping[str, Any], heads: Any = heads) -> Mapping[str, Any]:
                return {"heads": heads}

            await a.gossip._third(A, B, ask)

        async def away(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            raise Away("nobody answers")

        await a.gossip._third(A, B, away)
        self.assertEqual(a.bell.told, [])

    async def test_greetings_are_looked_at_behind_the_greeting(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(1)
        said = await b.gossip.greeting(B, A)
        channel: Any = SimpleNamespace(local=A, remote=B, key=b.keys.seeds[0].public, incoming=True)
        await a.gossip.greeted(channel, said)
        self.assertEqual(len(a.gossip._running), 1)
        await next(iter(a.gossip._running))
        self.assertEqual(await self.size(a, B), 1)
        await a.gossip.stop()
        await a.gossip.greeted(channel, said)
        self.assertEqual(len(a.gossip._running), 0)


class Limits(Case):
    async def test_evidence_is_bounded(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(1)
        await self.show(a, b)
        for number in range(EVIDENCE_LIMIT + 5):
            head = key_log.make_head([b.keys.seeds[0]], B, 0, 1, bytes([number]) * 32, b"v" * 32, int(NOW))
            self.assertEqual(await a.witness.seen(B, head.statement.encode(), b.keys.valid(B), a.ask(B)), FORK)
        self.assertEqual(len(await a.witness.evidence(B)), EVIDENCE_LIMIT)

    async def test_what_is_not_shown_any_more_is_forgotten(self) -> None:
        a, b, c = await self.open(A, B, C)
        await self.show(a, b)
        self.now += 801 * 86400
        await self.show(a, c)
        self.assertEqual([each.head.domain for each in await a.witness.all(10)], [C])

    async def test_heads_of_few_epochs_are_kept(self) -> None:
        a, b = await self.open(A, B)
        for _ in range(EPOCHS_KEPT + 5):
            await self.show(a, b)
            await b.log.begin_epoch(B, await b.log.head(B))
        ((count,),) = await a.world.store.read(lambda txn: txn.all("SELECT count(*) FROM log_heads"))
        self.assertEqual(count, EPOCHS_KEPT)

    async def test_many_epochs_are_not_read(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(1)
        await self.show(a, b)
        epochs = [{}] * (EPOCHS_LIMIT + 1)

        async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"epochs": epochs}

        head = key_log.make_head([b.keys.seeds[0]], B, 1, 2, b"r" * 32, b"v" * 32, int(NOW))
        self.assertEqual(await a.witness.seen(B, head.statement.encode(), b.keys.valid(B), ask), UNPROVED)

"""Logs that a thief of the domain key showed, and logs with two faces: what a witness makes of them, and when the owner is back."""

from typing import Any

from mailx.core.alerts import LOG_FORK, LOG_LOST, LOG_RESTORED
from mailx.core.log_witness import BEHIND, FORK, GROWN, LOST, SAME, UNPROVED
from mailx.identity import key_log
from mailx.identity.statements import SeedSigner
from tests.core.log_scene import Server
from tests.core.test_log_witness import NOW, A, B, Case


class Labels(Case):
    """Two keys for the labels of one log: entries under the second are seen by nobody who looks with the first."""

    async def other(self, b: Server, epoch: int = 0) -> dict[str, Any]:
        """The head of the log of ``b`` as it is, with another key for its labels."""
        state = await b.log.state(B)
        root = await b.log.root(B, state.size)
        return key_log.make_head(b.keys.seeds, B, epoch, state.size, root, b"v" * 32, int(self.now)).statement.encode()

    async def test_another_key_is_a_fork(self) -> None:
        for grown in (0, 2):
            a, b = await self.open(A, B)
            await b.grow(3)
            await self.show(a, b)
            await b.grow(grown)
            self.assertEqual(await a.witness.seen(B, await self.other(b), b.keys.valid(B), a.ask(B)), FORK)
            self.assertEqual(a.bell.told, [(LOG_FORK, B)])
            self.assertEqual(await self.size(a, B), 3)
            self.assertIn(await self.show(a, b), (SAME, GROWN))

    async def test_in_a_later_epoch_nothing_of_before_is_certain_with_it(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        for _ in range(2):
            await a.meet(B)
        self.assertEqual((await b.log.state(B)).confirmed, 3)
        await b.log.begin_epoch(B, await b.log.head(B))
        self.assertEqual(await a.witness.seen(B, await self.other(b, 1), b.keys.valid(B), a.ask(B)), LOST)
        self.assertEqual(a.bell.told, [(LOG_LOST, B)])

    async def test_a_domain_hears_of_one_that_it_does_not_use(self) -> None:
        _, b = await self.open(A, B)
        await b.grow(3)
        self.assertFalse(await b.gossip.told(B, await self.other(b)))
        self.assertEqual(b.bell.told, [(LOG_RESTORED, B)])


class Stolen(Case):
    """A thief with the domain's key has shown a log, and the owner has taken the domain back."""

    async def taken_back(self, begun: int) -> tuple[Server, Server]:
        """``b`` with a new key, and ``a`` that keeps what a thief showed in an epoch far on."""
        a, b = await self.open(A, B)
        await b.grow(3)
        await a.meet(B)
        thief = await self.forged(B, 50)
        last = key_log.make_head(thief.keys.seeds, B, begun - 1, 49, b"r" * 32, b"v" * 32, int(NOW))
        await thief.log.begin_epoch(B, last)
        self.assertEqual(await self.show(a, thief), LOST)
        self.net[B] = b
        b.keys.seeds = [SeedSigner(b"n" * 32)]
        self.now += 60
        return a, b

    async def test_the_log_of_the_owner_is_followed_again(self) -> None:
        a, b = await self.taken_back(7)
        self.assertEqual(await self.show(a, b), UNPROVED)
        self.now += 3601
        self.assertEqual(await self.show(a, b), FORK)
        self.assertEqual(a.bell.told, [(LOG_LOST, B), (LOG_FORK, B)])
        self.assertEqual(len(await a.witness.evidence(B)), 1)
        await b.grow(2)
        self.assertEqual(await self.show(a, b), GROWN)
        self.assertEqual(await self.size(a, B), 5)

    async def test_while_its_key_is_believed_a_log_does_not_go_back(self) -> None:
        a, b = await self.taken_back(7)
        b.keys.seeds.append(self.net[A].keys.seeds[0])
        kept = await a.witness.kept(B)
        assert kept is not None
        keys = {*b.keys.valid(B), *(each.key for each in kept.head.statement.signatures)}
        for _ in range(3):
            await a.witness.seen(B, await b.head(), keys, a.ask(B))
            self.now += 3601
        self.assertEqual((await a.witness.kept(B)), kept)
        self.assertIn((LOG_FORK, B), a.bell.told)

    async def test_an_old_head_that_somebody_else_still_has_says_nothing(self) -> None:
        a, b = await self.open(A, B)
        await b.grow(3)
        old = await b.head()
        self.now += 60
        await b.log.begin_epoch(B, await b.log.head(B))
        await self.show(a, b)
        for _ in range(3):
            self.assertEqual(await a.witness.seen(B, old, b.keys.valid(B), a.ask(B)), BEHIND)
            self.now += 3601
        self.assertEqual(a.bell.told, [])


class Ours(Case):
    """A thief with our key tells us of logs under our name."""

    async def told(self, b: Server, epoch: int, size: int) -> None:
        head = key_log.make_head(b.keys.seeds, B, epoch, size, b"r" * 32, b"v" * 32, int(self.now))
        self.assertFalse(await b.gossip.told(B, head.statement.encode()))

    async def test_one_epoch_begins_an_hour(self) -> None:
        _, b = await self.open(A, B)
        await b.grow(2)
        for size in range(30):
            await self.told(b, (await b.log.state(B)).epoch, 100 + size)
        self.assertEqual((await b.log.state(B)).epoch, 1)
        self.now += 3600
        await self.told(b, 1, 200)
        self.assertEqual((await b.log.state(B)).epoch, 2)

    async def test_an_epoch_that_we_cannot_have_reached_is_told_and_not_followed(self) -> None:
        _, b = await self.open(A, B)
        await b.grow(2)
        for epoch in (2**53 - 1, 2**53 - 2, 101):
            await self.told(b, epoch, 100)
            self.now += 3600
        self.assertEqual((await b.log.state(B)).epoch, 0)
        self.assertEqual(set(b.bell.told), {(LOG_RESTORED, B)})
        await self.told(b, 3, 100)
        self.assertEqual((await b.log.state(B)).epoch, 4)

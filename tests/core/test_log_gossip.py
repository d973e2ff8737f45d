"""Peers that abuse the gossip about key logs: what they ask costs little, and what they stall keeps nobody else waiting."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred

from mailx.core.log_gossip import SALT_SIZE, name_hash
from mailx.identity import key_log
from mailx.identity.statements import SeedSigner
from tests.core.test_log_witness import NOW, A, B, C, Case

SALT = b"s" * SALT_SIZE


class Stalling:
    """A source whose servers never answer."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    def over(self, channel: Any) -> Any:
        return self._ask

    def to(self, local: str, remote: str) -> Any:
        return self._ask

    async def _ask(self, method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        waiting: Deferred[Any] = Deferred()
        self.waiting.append(waiting)
        return dict(await waiting)


class Abuse(Case):
    async def test_many_questions_read_what_is_known_once_a_minute(self) -> None:
        (a,) = await self.open(A)
        signer = SeedSigner(b"x" * 32)
        for number in range(5):
            await a.witness._keep(key_log.make_head([signer], f"d{number}.example", 0, 1, b"r" * 32, b"v" * 32, int(NOW)))
        reads = []
        everything = a.witness.all

        async def counted(limit: int) -> Any:
            reads.append(limit)
            return await everything(limit)

        a.witness.all = counted  # type: ignore[method-assign]
        for _ in range(50):
            self.assertEqual(len(await a.gossip.answer(B, SALT, [name_hash(SALT, "d1.example"), name_hash(SALT, "d3.example")])), 2)
        self.assertEqual(len(reads), 1)
        await a.witness._keep(key_log.make_head([signer], "late.example", 0, 1, b"r" * 32, b"v" * 32, int(NOW)))
        self.now += 60
        self.assertEqual(len(await a.gossip.answer(B, SALT, [name_hash(SALT, "late.example")])), 1)
        self.assertEqual(len(reads), 2)
        self.now -= 86400  # a clock that is set back
        await a.gossip.answer(B, SALT, [])
        self.assertEqual(len(reads), 3)

    async def test_a_domain_that_stalls_keeps_no_other_waiting(self) -> None:
        a, b, c = await self.open(A, B, C)
        await b.grow(1)
        await self.show(a, b)
        await b.grow(1)
        await c.grow(1)
        said = {domain: await there.gossip.greeting(domain, A) for domain, there in ((B, b), (C, c))}
        source = a.gossip.source = Stalling()
        for _ in range(60):
            await a.gossip.greeted(SimpleNamespace(local=A, remote=B, key=b.keys.seeds[0].public, incoming=True), said[B])
        self.assertLess(len(a.gossip._running), 10)
        channel: Any = SimpleNamespace(local=A, remote=C, key=c.keys.seeds[0].public, incoming=True)
        await a.gossip.greeted(channel, said[C])
        await next(running for running, domain in a.gossip._running.items() if domain == C)
        self.assertEqual(await self.size(a, C), 1)
        await a.gossip.stop()
        self.assertEqual(a.gossip._running, {})
        self.assertLess(len(source.waiting), 10)

"""The Discovery service over a channel in memory."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.federation.channel import PeerRefused
from mailx.federation.discovery_service import ADDRESSES, PER_MINUTE, DiscoveryService
from mailx.identity import domain_keys, user_keys
from mailx.identity.encoding import parse
from mailx.identity.statements import SeedSigner
from mailx.identity.user_keys import CLIENT, Attestation
from mailx.mail.address import Address
from tests.federation.pairs import channels

HERE = "b.example"
KEY, RECOVERY = SeedSigner(b"k" * 32), SeedSigner(b"r" * 32)
ADA = Address.parse(f"ada@{HERE}")


class Domains:
    """One domain with one key."""

    def published(self, domain: str) -> bytes | None:
        return b"{}" if domain == HERE else None

    def history(self, domain: str) -> Sequence[Any]:
        return [domain_keys.first(domain, RECOVERY.public, 1_700_000_000, KEY)]


@define
class Users:
    """Ada has keys."""

    made: list[Attestation] = field(
        factory=lambda: [user_keys.attested(ADA, bytes([n]) * 32, KEY.public, n, 1_700_000_000, CLIENT, KEY) for n in (1, 2)]
    )

    async def of(self, address: Address) -> Attestation | None:
        return self.made[-1] if address == ADA else None

    async def history(self, address: Address) -> Sequence[Attestation]:
        return self.made if address == ADA else ()


class Asked(TestCase):
    async def asked(self, method: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        return await self.channel.call("discovery", method, fields or {})

    async def opened(self, answering: str = HERE) -> None:
        async def extra(channel: Any, fields: Any) -> dict[str, Any]:
            return {"log": channel.local}

        self.clock = Clock()
        service = DiscoveryService(Domains(), Users(), self.clock, more={"log_head": extra})
        pair = await channels([service], calling="a.example", answering=answering)
        self.addCleanup(pair.wire.cut)
        self.channel = pair.calling

    async def refused(self, code: int, method: str, fields: dict[str, Any]) -> PeerRefused:
        with self.assertRaises(PeerRefused) as raised:
            await self.asked(method, fields)
        self.assertEqual(raised.exception.reply.code, code, raised.exception.reply)
        return raised.exception

    async def test_the_domain(self) -> None:
        await self.opened()
        self.assertEqual(await self.asked("server"), {"document": b"{}"})
        (statement,) = (await self.asked("history"))["history"]
        self.assertEqual(domain_keys.DomainKey.decode(parse(statement)).key, KEY.public)
        self.assertEqual(await self.asked("log_head"), {"log": HERE})

    async def test_a_domain_that_publishes_nothing(self) -> None:
        await self.opened("c.example")
        await self.refused(550, "server", {})

    async def test_users(self) -> None:
        await self.opened()
        told = await self.asked("keys", {"addresses": [str(ADA), f"nobody@{HERE}", f"ada+tag@{HERE}"]})
        self.assertEqual([None if each is None else Attestation.decode(parse(each)).serial for each in told["keys"]], [2, None, 2])
        told = await self.asked("user", {"address": str(ADA)})
        self.assertEqual([Attestation.decode(parse(each)).serial for each in told["history"]], [1, 2])
        self.assertEqual(await self.asked("user", {"address": f"nobody@{HERE}"}), {"history": []})

    async def test_malformed(self) -> None:
        await self.opened()
        for method, fields, code in (
            ("keys", {}, 501),
            ("keys", {"addresses": "ada@b.example"}, 501),
            ("keys", {"addresses": [1]}, 501),
            ("keys", {"addresses": ["nonsense"]}, 501),
            ("keys", {"addresses": ["a" * 400 + "@b.example"]}, 501),
            ("keys", {"addresses": [f"u{n}@{HERE}" for n in range(ADDRESSES + 1)]}, 501),
            ("keys", {"addresses": ["ada@other.example"]}, 550),
            ("user", {"address": None}, 501),
            ("user", {"address": "ada@a.example"}, 550),
        ):
            await self.refused(code, method, fields)

    async def test_too_many(self) -> None:
        await self.opened()
        for _ in range(PER_MINUTE // ADDRESSES):
            await self.asked("keys", {"addresses": [f"u{n}@{HERE}" for n in range(ADDRESSES)]})
        refused = await self.refused(450, "user", {"address": str(ADA)})
        self.assertGreater(refused.retry_after, 0)
        self.clock.advance(refused.retry_after)
        await self.asked("user", {"address": str(ADA)})

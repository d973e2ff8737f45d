"""The lives of signing keys, and who may be spoken for."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core import signing as module
from mailx.core.dkim import ALGORITHMS, ED25519, RSA, publishes
from mailx.core.signing import ACTIVE, NEXT, RETIRED, Signing
from mailx.core.users import DirectoryError
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, WEBHOOK, Envelope
from mailx.mail.message import Message
from mailx.mail.reply import Unavailable
from tests.scenery import DOMAIN, World, world


class Base(TestCase):
    world: World
    signing: Signing

    async def open(self) -> None:
        self.world = await world(self)
        self.signing = await self.another()
        self.patch(module, "generate", _generate)

    async def another(self, reactor: Any = None) -> Signing:
        made = Signing(self.world.store, self.world.cipher, self.world.accounts, reactor or self.world.reactor)
        await made.load()
        return made

    async def refusal(self, call: Any) -> DirectoryError:
        with self.assertRaises(DirectoryError) as caught:
            await call
        return caught.exception


_made: dict[tuple[str, int], tuple[bytes, str]] = {}
_count = 0


def _generate(algorithm: str) -> tuple[bytes, str]:
    """Keys of a small stock: RSA keys take long to make."""
    global _count
    _count += 1
    key = (algorithm, _count % 3)
    if key not in _made:
        _made[key] = _real_generate(algorithm)
    return _made[key]


_real_generate = module.generate


class Lives(Base):
    async def test_from_next_to_deleted(self) -> None:
        await self.open()
        signing = self.signing
        self.assertEqual((await signing.keys(DOMAIN), signing.any()), ([], False))
        made = await signing.create(DOMAIN)
        self.assertEqual([(key.algorithm, key.state) for key in made], [(RSA, NEXT), (ED25519, NEXT)])
        for key in made:
            self.assertTrue(publishes(key.record.encode(), key.algorithm, key.public))
            self.assertRegex(key.name, r"\Am[0-9]{8}[re]\._domainkey\.example\.test\Z")
        self.assertFalse(signing.any(), "what is not active does not sign")
        active = await signing.activate(DOMAIN)
        self.assertEqual([(key.selector, key.state) for key in active], [(key.selector, ACTIVE) for key in made])
        self.assertTrue(signing.any())
        self.assertEqual(
            [(one.algorithm, one.selector, one.domain) for one in await signing.signers(DOMAIN)],
            [(key.algorithm, key.selector, DOMAIN) for key in made],
        )
        following = await signing.rotate(DOMAIN)
        self.assertEqual([key.algorithm for key in following], [RSA, ED25519])
        self.assertEqual(len({key.selector for key in (*made, *following)}), 4)
        self.assertEqual(
            [one.selector for one in await signing.signers(DOMAIN)], [key.selector for key in made], "until the next are activated"
        )
        await signing.activate(DOMAIN)
        self.assertEqual([one.selector for one in await signing.signers(DOMAIN)], [key.selector for key in following])
        self.assertEqual([key.state for key in await signing.keys()], [RETIRED, RETIRED, ACTIVE, ACTIVE])
        error = await self.refusal(signing.delete(DOMAIN, made[0].selector))
        self.assertEqual(error.code, "in_use")
        self.assertIn("7 days", error.remedy)
        await signing.delete(DOMAIN, made[0].selector, force=True)
        await signing.retire(DOMAIN, following[0].selector)
        self.assertEqual([one.algorithm for one in await signing.signers(DOMAIN)], [ED25519])

    async def test_what_is_refused(self) -> None:
        await self.open()
        signing = self.signing
        self.assertEqual((await self.refusal(signing.create("example.net"))).code, "not_found")
        self.assertEqual((await self.refusal(signing.keys("no domain"))).code, "invalid")
        self.assertEqual((await self.refusal(signing.create(DOMAIN, ["rsa-sha1"]))).code, "invalid")
        self.assertEqual((await self.refusal(signing.create(DOMAIN, []))).code, "invalid")
        self.assertEqual((await self.refusal(signing.rotate(DOMAIN))).code, "not_found")
        self.assertEqual((await self.refusal(signing.activate(DOMAIN))).code, "not_found")
        (key,) = await signing.create(DOMAIN, [ED25519])
        self.assertIn("mailxctl dkim activate", (await self.refusal(signing.create(DOMAIN))).remedy)
        self.assertEqual((await self.refusal(signing.retire(DOMAIN, key.selector))).code, "in_use")
        await signing.activate(DOMAIN)
        self.assertEqual((await self.refusal(signing.delete(DOMAIN, key.selector, force=True))).code, "in_use")
        self.assertEqual((await self.refusal(signing.delete(DOMAIN, "none"))).code, "not_found")

    async def test_private_halves_are_sealed_in_their_place(self) -> None:
        await self.open()
        (first,) = await self.signing.create(DOMAIN, [ED25519])
        private, _ = next(iter(value for (kind, _), value in _made.items() if kind == ED25519))
        ((sealed,),) = await self.world.store.read(lambda txn: txn.all("SELECT private FROM dkim_keys"))
        self.assertNotIn(private[-32:], bytes(sealed))
        await self.signing.activate(DOMAIN)
        await self.world.store.write(lambda txn: txn.execute("UPDATE dkim_keys SET selector = 'moved'"))
        signing = await self.another()
        self.assertEqual(list(await signing.signers(DOMAIN)), [], "a key that was moved does not open")

    async def test_changes_of_another_process(self) -> None:
        await self.open()
        clock = Clock()
        clock.getThreadPool = self.world.reactor.getThreadPool  # type: ignore[attr-defined]
        other = await self.another(clock)
        await self.signing.create(DOMAIN, [ED25519])
        await self.signing.activate(DOMAIN)
        self.assertFalse(other.any())
        clock.advance(61)
        other.any()
        await self.world.store.write(lambda txn: None)
        await self.world.store.read(lambda txn: None)
        self.assertEqual(len(await other.signers(DOMAIN)), other.any())
        await other.load()
        self.assertTrue(other.any())

    async def test_the_store_is_away(self) -> None:
        await self.open()
        await self.signing.create(DOMAIN, [ED25519])
        await self.signing.activate(DOMAIN)

        async def away(*args: Any) -> Any:
            raise Unavailable("gone")

        self.patch(self.world.store, "read", away)
        with self.assertRaises(Unavailable):
            await self.signing.signers(DOMAIN)
        self.assertEqual(list(await self.signing.signers("example.net")), [])


class Speaking(Base):
    async def test_for_whom(self) -> None:
        await self.open()
        me = await self.world.user(f"me@{DOMAIN}")
        await self.world.user("you@example.net")
        for domain in (DOMAIN, "example.net", "xn--bcher-kva.example"):
            if not self.world.accounts.local(domain):
                await self.world.accounts.add_domain(domain)
            await self.signing.create(domain, [ED25519])
            await self.signing.activate(domain)

        async def asked(author: str, sender: str | None, account: int | None = me.id, protocol: str = "ESMTPSA") -> str:
            origin = self.world.origin(account=account, protocol=protocol)
            address = None if sender is None else Address.parse(sender)
            return await self.signing.speaks_for(Envelope("0", address, (), Message(b"", 0), origin), author)

        for author, sender, domain in (
            (DOMAIN, f"me@{DOMAIN}", DOMAIN),
            (f"news.{DOMAIN}", f"me@{DOMAIN}", DOMAIN),
            (DOMAIN, None, DOMAIN),
            ("example.net", f"me@{DOMAIN}", ""),
            ("example.net", "alias@example.net", "example.net"),
            ("xn--bcher-kva.example", "me@bücher.example", "xn--bcher-kva.example"),
            ("example.com", f"me@{DOMAIN}", ""),
            (f"not{DOMAIN}", f"me@{DOMAIN}", ""),
            ("", f"me@{DOMAIN}", ""),
        ):
            self.assertEqual(await asked(author, sender), domain, (author, sender))
        self.assertEqual(await asked(DOMAIN, f"me@{DOMAIN}", None), "", "a stranger is not spoken for")
        self.assertEqual(await asked(f"mx.{DOMAIN}", None, None, GENERATED), DOMAIN)
        self.assertEqual(await asked(DOMAIN, f"no-reply@{DOMAIN}", None, WEBHOOK), DOMAIN)
        self.assertEqual(await asked(DOMAIN, "no-reply@example.com", None, WEBHOOK), "")
        self.assertEqual(await asked(DOMAIN, None, 999), "")
        self.assertEqual(set(ALGORITHMS), {RSA, ED25519})

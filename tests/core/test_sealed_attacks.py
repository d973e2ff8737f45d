"""What somebody might try against sealed mail and sealed accounts, and what happens in between of two steps."""

from hashlib import sha256
from typing import ClassVar

from nacl.bindings import crypto_scalarmult_base
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.sasl import LoginRefused
from mailx.core.users import DirectoryError
from mailx.identity import sealed_message, sealing
from mailx.identity.seal_verdict import Believed
from mailx.identity.sealing import CLIENT, SERVER, Proof, Sender
from mailx.identity.statements import SeedSigner
from mailx.identity.user_key_file import UserKeyFile
from mailx.identity.user_keys import attested
from mailx.mail.address import Address
from mailx.mail.reply import Unavailable
from mailx.sealed_mail import unseal
from mailx.store import Txn
from mailx.store import accounts as account_rows
from tests.core.owners_scene import ADDRESS, PASSWORD
from tests.core.test_sealed_accounts import Case, mail

EVE = Address.parse("eve@evil.example")
CLAIM = b"Authentication-Results: example.test;\r\n mailx-seal=pass header.from=boss@example.test policy.end-to-end=yes\r\n"
NOW = 1_800_000_000


class Knows:
    """Believes the domain key of example.test, and eve's key, held by ``holder``."""

    def __init__(self, eve: SeedSigner, domain: SeedSigner, holder: str = SERVER) -> None:
        self._eve, self._domain, self._holder = eve, domain, holder

    def believed(self, proof: Proof) -> Believed:
        return Believed(keys=[self._domain.public]) if proof.attestation is None else Believed(signers={self._eve.public: self._holder})


class Forgeries(SynchronousTestCase):
    """Verdicts that a sender would like to have."""

    def setUp(self) -> None:
        self.keys = UserKeyFile.fresh(Address.parse("ann@example.test"))
        self.eve, self.domain = SeedSigner(bytes(range(32))), SeedSigner(bytes(range(1, 33)))

    def opened(self, inner: bytes, above: bytes = b"", sender: Sender | None = None) -> bytes:
        container = sealing.sealed([self.keys.public], [inner], len(inner), sha256(inner).digest(), sender, NOW)
        message = above + b"".join((sealed_message.head(EVE, [], NOW), *sealed_message.encoded(container)))
        found = unseal(lambda: [message], self.keys, Knows(self.eve, self.domain))  # type: ignore[arg-type]
        self.result = found.verdict
        return b"".join(found.pieces)

    def claimed(self, holder: str) -> Sender:
        attestation = attested(EVE, crypto_scalarmult_base(bytes(range(2, 34))), self.eve.public, 1, NOW, holder, self.eve)
        return Sender(EVE, "evil.example", self.eve, attestation, CLIENT)

    def test_claims_above_and_inside(self) -> None:
        inner = b"From: eve@evil.example\r\n" + CLAIM + b"Subject: x\r\n\r\nhi\r\n"
        theirs = b"Authentication-Results: mx.example.test; spf=fail\r\n"
        arrival = Sender(EVE, "example.test", self.domain, None, SERVER)
        for sender, result in ((None, "none"), (self.claimed("server"), "pass"), (arrival, "none")):
            text = self.opened(inner, theirs + CLAIM, sender)
            self.assertEqual(self.result.result, result)
            self.assertEqual(text.lower().count(b"authentication-results: example.test"), 1, text)
            self.assertNotIn(b"boss@", text)
            self.assertIn(theirs, text)
        kept = self.opened(theirs + inner, b"", arrival)
        self.assertIn(theirs, kept)  # what the server found out when it sealed

    def test_end_to_end_only_where_the_domain_says_that_no_server_has_the_key(self) -> None:
        self.opened(b"From: eve@evil.example\r\n\r\nhi\r\n", sender=self.claimed("client"))
        self.assertEqual((self.result.result, self.result.end_to_end), ("pass", False))

    def test_lines_that_end_differently_for_others(self) -> None:
        for inner in (
            b"X: y\rFrom: boss@example.test\r\nFrom: eve@evil.example\r\n\r\nhi\r\n",
            b"From: boss@example.test\n\nhi\r\nFrom: eve@evil.example\r\n\r\nhi\r\n",
            b"From: eve@evil.example\0\r\n\r\nhi\r\n",
        ):
            self.opened(inner, sender=self.claimed("server"))
            self.assertEqual(self.result.result, "fail", inner)


class Between(Case):
    """Something changes while something else is under way."""

    async def meanwhile(self, change: str) -> None:
        """``change`` the account while its key is being unwrapped for a login."""
        here, user = self.here, await self.here.sealed_user()
        stretch = here.world.passwords.stretch
        changed = False

        async def slowly(password: str, salt: bytes, cost: str) -> bytes:
            nonlocal changed
            seed = await stretch(password, salt, cost)
            if not changed:
                changed = True
                if change == "suspended":
                    await here.world.accounts.set_state(user.address, "suspended")
                elif change == "deleted":
                    await here.world.accounts.erase_user(user.address)
                else:
                    await here.sealed.set_password(ADDRESS, "new", old=PASSWORD)
            return seed

        self.patch(here.world.passwords, "stretch", slowly)
        with self.assertRaises(LoginRefused) as caught:
            await here.login(user)
        self.assertFalse(caught.exception.temporary)
        self.assertIsNone(here.keyring.get(user.id))

    async def test_suspended_while_logging_in(self) -> None:
        await self.meanwhile("suspended")

    async def test_deleted_while_logging_in(self) -> None:
        await self.meanwhile("deleted")

    async def test_another_password_while_logging_in(self) -> None:
        await self.meanwhile("password")

    async def test_keys_exchanged_by_another_server(self) -> None:
        """What is sealed to keys that are not here yet waits, instead of being kept as unreadable."""
        here = self.here
        user = await here.login(await here.sealed_user())
        old, vault = here.keyring.get(user.id), here.keyring.vault(user.id)
        assert old is not None and vault is not None
        await here.sealed.renew_keys(ADDRESS, PASSWORD)
        held = here.keyring._open[user.id]
        held.keys, held.vault = old, vault  # as the other server has them still
        ended: list[int] = []
        here.world.accounts.on_revocation(ended.append)
        await here.world.deliver(ADDRESS, mail(1))
        here.opening.look(user.id)
        while user.id in here.opening._running:
            await here.opening._running[user.id].addCallback(lambda _: None)
        self.assertEqual(await here.count("waiting"), 1)
        self.assertEqual(ended, [user.id])
        user = await here.login(user)
        self.assertIn(b"quicksilver 1", (await here.texts(user))[0])

    async def test_a_login_brings_the_keys_that_another_server_made(self) -> None:
        here = self.here
        user = await here.login(await here.sealed_user())
        old = here.keyring.get(user.id)
        await here.sealed.renew_keys(ADDRESS, PASSWORD)
        new = here.keyring.get(user.id)
        assert old is not None and new is not None
        here.keyring._open[user.id].keys = old
        await here.login(user)
        found = here.keyring.get(user.id)
        assert found is not None
        self.assertEqual(found.sealing, new.sealing)

    async def test_mail_that_comes_while_the_keys_are_exchanged(self) -> None:
        here = self.here
        user = await here.login(await here.sealed_user())
        bind = here.ring.users.bind

        async def slowly(*arguments: object) -> object:
            await here.world.deliver(ADDRESS, mail(1))
            while user.id in here.opening._running:
                await here.opening._running[user.id].addCallback(lambda _: None)
            return await bind(*arguments)  # type: ignore[arg-type]

        self.patch(here.ring.users, "bind", slowly)
        await here.sealed.renew_keys(ADDRESS, PASSWORD)
        self.assertIn(b"quicksilver 1", (await here.texts(user))[0])

    async def test_nothing_comes_the_old_way_once_all_is_sealed(self) -> None:
        """Another server that has not heard yet that an account is sealed stores nothing readable."""
        here = self.here
        old = await here.world.user(ADDRESS)
        await here.seal(old)
        before = await here.count("messages")
        with self.assertRaises(Unavailable):
            await here.world.file(old, mail(1))
        here.world.accounts._users.put(old.id, old)
        here.world.accounts._reach.put(old.address.key, ((old.id,), ()))
        with self.assertRaises(Unavailable):
            await here.world.deliver(ADDRESS, mail(2))
        self.assertEqual((await here.count("messages"), await here.count("waiting")), (before, 0))
        self.assertEqual(here.world.files(), [])

    async def test_what_another_server_does_ends_sessions_here(self) -> None:
        here = self.here

        def suspend(txn: Txn, id: int) -> None:
            account_rows.set_state(txn, id, "suspended")

        def password(txn: Txn, id: int) -> None:
            account_rows.set_credentials(txn, id, b"x", b"y" * 16)

        ended: list[int] = []
        here.world.accounts.on_revocation(ended.append)
        for number, change in enumerate((suspend, password, account_rows.begin_deletion)):
            user = await here.login(await here.sealed_user(f"u{number}@example.test"))
            ended.clear()
            await here.opening._look_for(here.keyring.accounts())
            self.assertEqual(ended, [])
            await here.world.store.write(change, user.id)
            await here.opening._look_for(here.keyring.accounts())
            self.assertEqual((ended, here.keyring.get(user.id)), ([user.id], None))
        user = await here.login(await here.sealed_user())
        await here.opening._look_for([user.id])
        await here.sealed.set_password(ADDRESS, "new", old=PASSWORD)
        await here.login(user, "new")
        ended.clear()
        await here.opening._look_for([user.id])
        self.assertEqual(ended, [])

    async def test_an_account_that_we_hold_does_not_become_its_owners(self) -> None:
        user = await self.here.sealed_user()
        for yes in (True, False):
            with self.assertRaises(DirectoryError):
                await self.here.world.accounts.change(account_rows.set_client_held, user.id, yes)


class BetweenPostgreSQL(Between):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}

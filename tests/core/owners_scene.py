"""A server with accounts that their owners open: real keys, real sealing, real logins, on either engine."""

from functools import partial
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import TestCase

from mailx.core.access import Access
from mailx.core.app_passwords import AppPasswords
from mailx.core.blocking import Blocking
from mailx.core.changes import Changes
from mailx.core.conversion import Conversion
from mailx.core.credentials import Credentials
from mailx.core.fetch import Need, Row
from mailx.core.index import Index
from mailx.core.keyring import Keyring
from mailx.core.mailboxes import Mailboxes
from mailx.core.opening import Opening
from mailx.core.passwords import Passwords
from mailx.core.policy import MessageSize
from mailx.core.reception import Reception
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.sealed_arrivals import SealedArrivals
from mailx.core.sealed_making import Making
from mailx.core.sealers import Sealers
from mailx.core.unsealing import Belief, Unsealing
from mailx.core.users import User
from mailx.store import Txn
from tests.core.keys import Ring, ring
from tests.core.sealed_scene import Remote, Trust
from tests.scenery import World

PASSWORD = "secret"
ADDRESS = "ann@example.test"
CACHE = 60


@define
class Owners:
    """Everything below the edges, with what sealed accounts need besides."""

    ring: Ring
    world: World
    keyring: Keyring
    sealed: SealedAccounts
    apps: AppPasswords
    conversion: Conversion
    opening: Opening
    index: Index | None = None

    async def sealed_user(self, address: str = ADDRESS, logged_in: bool = False) -> User:
        """A sealed account, its conversion over."""
        user = await self.world.user(address)
        await self.seal(user)
        if not logged_in:
            self.keyring.drop(user.id)
        return await self.now(user)

    async def seal(self, user: User, password: str = PASSWORD) -> str:
        """Seal an account; its recovery code, when older mail is sealed."""
        code = await self.sealed.seal(user.address, password)
        await self.conversion.through(user.id)
        return code

    async def now(self, user: User) -> User:
        """The account as it is now."""
        found = await self.world.accounts.fresh(user.id)
        assert found is not None
        return found

    async def login(self, user: User, password: str = PASSWORD) -> User:
        """A login by PLAIN, and a session that begins with it."""
        found = await self.world.access.login(str(user.address), password, self.world.origin(), "PLAIN")
        self.world.access.hold(found)
        return found

    def logout(self, user: User) -> None:
        """The session of ``login`` is over, and so is the time for which its keys are kept."""
        self.world.access.release(user)
        self.keyring.drop(user.id)

    async def rows(self, user: User, mailbox: str = "INBOX") -> list[Row]:
        """The messages of a mailbox as a session reads them."""
        mailboxes = self.world.mailboxes
        selected = await mailboxes.select(user, mailbox, True)
        found: list[Row] = []
        async for batch in mailboxes.fetch(selected, list(selected.uids), Need.SUMMARY | Need.CONTENT):
            found += batch
        selected.close()
        return found

    async def texts(self, user: User, mailbox: str = "INBOX") -> list[bytes]:
        """Their contents."""
        rows = await self.rows(user, mailbox)
        return [await self.world.mailboxes.read(row.content) for row in rows if row.content is not None]

    async def count(self, table: str) -> int:
        """How many rows a table has."""

        def job(txn: Txn) -> int:
            row = txn.one(f"SELECT count(*) FROM {table}")
            return 0 if row is None else int(row[0])

        return int(await self.world.store.read(job))


async def owners(case: TestCase, **options: Any) -> Owners:
    """Made anew; ``options`` as of ``world``."""
    options.setdefault("accounts", {"login_cache": CACHE})
    made = await ring(case, **options)
    here = _made(made)
    here.conversion.start()
    here.opening.start()
    here.world.reception.tell_of_waiting(here.opening.look)

    async def stop() -> None:
        await here.conversion.stop()
        await here.opening.stop()
        here.keyring.stop()
        here.world.passwords.stop()
        await here.world.access.stop()

    case.addCleanup(lambda: Deferred.fromCoroutine(stop()))
    return here


def _made(made: Ring) -> Owners:
    world = made.world
    config, reactor, store, cipher = world.config, world.reactor, world.store, world.cipher
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    keyring = Keyring(cipher, reactor, config.accounts.login_cache)
    world.passwords = Passwords(reactor, cost=4, iterations=4096, argon=(1, 8192), reversible=True)
    world.accounts.credentials = Credentials(cipher, world.passwords)
    sealed = SealedAccounts(store, cipher, world.accounts, world.passwords, keyring, made.users)
    apps = AppPasswords(store, cipher, world.accounts, sealed)
    world.access = Access(world.accounts, config.accounts, world.passwords, reactor, sealed=sealed, app_passwords=apps, keyring=keyring)
    world.mailboxes = Mailboxes(store, cipher, world.blobs, Changes(store), reactor, config.accounts.quota, keyring)
    making, sealers = Making(world.blobs, threads), Sealers(made.domains, made.users, world.accounts, keyring)
    world.reception = Reception(
        store,
        cipher,
        world.blobs,
        world.accounts,
        [MessageSize(config.smtp.message_size), Blocking(world.accounts)],
        reactor,
        hostname=config.server.hostname,
        default_quota=config.accounts.quota,
        file_above=config.store.file_above,
        spool_above=config.store.spool_above,
        arrivals=SealedArrivals(made.users, sealed, sealers, making, world.blobs, threads, local=world.accounts.local),
        keyring=keyring,
    )
    belief = Belief(made.domains, made.users, Remote(), Trust(), local=world.accounts.local, seconds=lambda: 3)
    unsealing = Unsealing(belief, config.server.hostname, threads)
    above = config.store.file_above
    return Owners(
        made,
        world,
        keyring,
        sealed,
        apps,
        Conversion(
            store, cipher, world.blobs, keyring, sealed, threads, reactor, file_above=above, settle=0, forget=world.mailboxes.forget
        ),
        Opening(store, cipher, world.blobs, world.accounts, keyring, unsealing, threads, reactor, file_above=above),
    )

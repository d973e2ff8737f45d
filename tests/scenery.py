"""A real world for tests: a real store, cipher, blob files, directory and core, as the server composes them.

``await world(test_case)`` makes one in the test's own directory, from a migrated template, and closes it when the
test ends. Keyword arguments are sections of the configuration: ``world(self, accounts={"quota": 5000})``. ``engine`` or
the environment's WORLD_ENGINE chooses "sqlite" or "postgresql".
"""

import atexit
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from tempfile import mkdtemp
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.config import Config
from mailx.core.access import Access
from mailx.core.accounts import Accounts, User
from mailx.core.audit import Recording
from mailx.core.blocking import Blocking
from mailx.core.changes import Changes
from mailx.core.mailboxes import Mailboxes
from mailx.core.passwords import Passwords
from mailx.core.policy import MessageSize
from mailx.core.reception import Reception
from mailx.core.settings import Settings
from mailx.core.sweep import Sweep
from mailx.core.trace import received
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Filing, Origin, new_id
from mailx.store import Txn, domains
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.keys import load_or_create
from mailx.store.mailboxes import name_hash
from mailx.store.messages import open_content
from mailx.store.sqlite import open_store
from tests.store import postgresql

SENDER = Address.parse("sender@example.org")
DOMAIN = "example.test"

_template = ""  # directory with a migrated database, its secret and DOMAIN in it; made once a process


@define
class World:
    """Everything below the edges. ``sweep`` is not started."""

    directory: str
    config: Config
    settings: Settings
    reactor: Any
    store: Any
    cipher: Cipher
    blobs: Blobs
    passwords: Passwords
    accounts: Accounts
    access: Access
    changes: Changes
    mailboxes: Mailboxes
    reception: Reception
    sweep: Sweep

    async def user(self, address: str, password: str = "secret", **options: Any) -> User:
        """A new account; its domain is made if it is missing. ``options`` as of ``Accounts.add_user``."""
        domain = address.partition("@")[2]
        if not self.accounts.local(domain):
            await self.accounts.add_domain(domain)
        return await self.accounts.add_user(address, password, **options)

    async def deliver(self, to: str | list[str], content: bytes, sender: Address | None = SENDER, **origin: Any) -> str:
        """Bring ``content`` in as an SMTP edge does, for one address or several; returns the envelope's id. Raises Refused."""
        came = evolve(self.origin(), **origin)
        recipients = tuple(Address.parse(each) for each in ([to] if isinstance(to, str) else to))
        id = new_id()
        head = received(self.config.server.hostname, came, id, sender, recipients, self.reactor.seconds())
        intake = self.reception.content(came, head, self.config.smtp.message_size, submitted=False)
        waiting = intake.write(content)
        if waiting is not None:
            await waiting
        await self.reception.accept(Envelope(id, sender, recipients, await intake.finish(), came))
        return id

    async def file(self, user: User, content: bytes, mailbox: str = "INBOX", **filing: Any) -> int:
        """File ``content`` as IMAP APPEND does; returns its UID. ``filing`` as of ``Filing``."""
        came = evolve(self.origin(), protocol="IMAP", account=user.id)
        intake = self.reception.content(came, b"", self.config.imap.append_size, submitted=False)
        waiting = intake.write(content)
        if waiting is not None:
            await waiting
        message = await intake.finish()
        envelope = Envelope(new_id(), None, (user.address,), message, came, filing=Filing(mailbox, **filing))
        return (await self.reception.file(user, [envelope])).uids[0]

    async def contents(self, user: User, mailbox: str = "INBOX") -> list[bytes]:
        """What is stored of each message of the mailbox, opened, UIDs rising."""
        rows = await self.store.read(_contents, self.cipher, user.id, mailbox)
        return [content if file is None else self.blobs.read(file) for content, file in rows]

    def origin(self, **fields: Any) -> Origin:
        """A stranger's connection by ESMTP."""
        return evolve(Origin("ESMTP", new_id(), "192.0.2.1", 25, "client.example.org"), **fields)

    async def killed(self, test_case: TestCase) -> "World":
        """The same over a copy of what is on disk at this moment: what kill -9 would leave. Of SQLite only."""
        directory = test_case.mktemp()
        os.makedirs(directory)
        for suffix in ("", "-wal"):
            shutil.copy(os.path.join(self.directory, "mailx.db" + suffix), os.path.join(directory, "mailx.db" + suffix))
        if os.path.exists(os.path.join(self.directory, "blobs")):
            shutil.copytree(os.path.join(self.directory, "blobs"), os.path.join(directory, "blobs"))
        return await self._over(test_case, await open_store(os.path.join(directory, "mailx.db"), 1, self.reactor), directory)

    async def on_another_node(self, test_case: TestCase) -> "World":
        """The same with connections of its own to the database, which must be PostgreSQL."""
        from mailx.store.postgres import open_store as open_postgres

        ((name,),) = await self.store.read(lambda txn: txn.all("SELECT current_database()"))
        store = await open_postgres(postgresql.server().url(name), "", 1, self.reactor)
        return await self._over(test_case, store, self.directory)

    async def _over(self, test_case: TestCase, plain: Any, directory: str) -> "World":
        test_case.addCleanup(lambda: Deferred.fromCoroutine(plain.close()))
        store = Recording(plain, self.cipher)
        blobs = Blobs(os.path.join(directory, "blobs"), self.cipher)
        accounts = Accounts(store, self.cipher, self.config.accounts, self.passwords, self.reactor)
        await accounts.load()
        changes = Changes(store)
        return evolve(
            self,
            directory=directory,
            store=store,
            blobs=blobs,
            accounts=accounts,
            changes=changes,
            mailboxes=Mailboxes(store, self.cipher, blobs, changes, self.reactor, self.config.accounts.quota),
            reception=_reception(self.config, store, self.cipher, blobs, accounts, self.reactor),
            sweep=Sweep(store, blobs, self.reactor),
        )

    def files(self) -> list[str]:
        """The names of all blob files, finished or not."""
        return sorted(name for _, _, names in os.walk(os.path.join(self.directory, "blobs")) for name in names)


def _contents(txn: Txn, cipher: Cipher, account: int, mailbox: str) -> list[tuple[bytes, str | None]]:
    rows = txn.all(
        "SELECT g.guid, b.content, g.file FROM mailboxes m JOIN entries e ON e.mailbox_id = m.id JOIN messages g ON g.id = e.message_id"
        " LEFT JOIN bodies b ON b.message_id = g.id WHERE m.account_id = ? AND m.hash = ? ORDER BY e.uid",
        (account, name_hash(cipher, account, mailbox)),
    )
    return [(b"" if sealed is None else open_content(cipher, bytes(guid), sealed), file) for guid, sealed, file in rows]


def configured(**sections: dict[str, Any]) -> Config:
    """The default configuration with these sections changed, key by key."""
    config = Config()
    return evolve(config, **{name: evolve(getattr(config, name), **values) for name, values in sections.items()})


async def world(test_case: TestCase, *, engine: str = "", reactor: Any = None, **sections: dict[str, Any]) -> World:
    """A world of its own for ``test_case``, with the local domain DOMAIN and no accounts."""
    if reactor is None:
        from twisted.internet import reactor
    config = configured(**sections)
    directory = test_case.mktemp()
    plain, keep = await _store(test_case, engine or os.environ.get("WORLD_ENGINE", "sqlite"), directory, config, reactor)
    cipher = Cipher(await load_or_create(os.path.join(directory, "secret"), plain))
    store = Recording(plain, cipher)
    blobs = Blobs(os.path.join(directory, "blobs"), cipher)
    passwords = Passwords(reactor, cost=4, iterations=4096)
    accounts = Accounts(store, cipher, config.accounts, passwords, reactor)
    await accounts.load()
    access = Access(accounts, config.accounts, passwords, reactor)
    changes = Changes(store)
    made = World(
        directory,
        config,
        Settings(config, None, store, cipher, reactor),
        reactor,
        store,
        cipher,
        blobs,
        passwords,
        accounts,
        access,
        changes,
        Mailboxes(store, cipher, blobs, changes, reactor, config.accounts.quota),
        _reception(config, store, cipher, blobs, accounts, reactor),
        Sweep(store, blobs, reactor),
    )

    async def close() -> None:
        await made.sweep.stop()
        await access.stop()
        passwords.stop()
        await keep()

    test_case.addCleanup(lambda: Deferred.fromCoroutine(close()))
    if not accounts.local(DOMAIN):
        await accounts.add_domain(DOMAIN)
    return made


def _reception(config: Config, store: Any, cipher: Cipher, blobs: Blobs, accounts: Accounts, reactor: Any) -> Reception:
    return Reception(
        store,
        cipher,
        blobs,
        accounts,
        [MessageSize(config.smtp.message_size), Blocking(accounts)],
        reactor,
        hostname=config.server.hostname,
        default_quota=config.accounts.quota,
        file_above=config.store.file_above,
        spool_above=config.store.spool_above,
    )


async def _store(
    test_case: TestCase, engine: str, directory: str, config: Config, reactor: Any
) -> tuple[Any, Callable[[], Awaitable[None]]]:
    """An open store in ``directory``, and how it is closed."""
    if engine == "sqlite":
        shutil.copytree(await _made_template(reactor), directory)
        store = await open_store(os.path.join(directory, "mailx.db"), config.store.readers, reactor)
        return store, store.close
    if engine != "postgresql":
        raise ValueError(f"no engine {engine}")
    from mailx.store.postgres import open_store as open_postgres

    os.makedirs(directory)
    server = postgresql.server()
    name = server.create_database()
    postgres = await open_postgres(server.url(name), "", config.store.readers, reactor)

    async def close() -> None:
        await postgres.close()
        server.drop_database(name)

    return postgres, close


async def _made_template(reactor: Any) -> str:
    """The directory that every SQLite world is copied from."""
    global _template
    if not _template or not os.path.exists(_template):
        directory = mkdtemp(prefix="mailx-template-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        store = await open_store(os.path.join(directory, "mailx.db"), 1, reactor)
        await load_or_create(os.path.join(directory, "secret"), store)
        await store.write(domains.add, DOMAIN, int(time.time()))
        await store.close()
        os.unlink(os.path.join(directory, "mailx.db.lock"))
        _template = directory
    return _template

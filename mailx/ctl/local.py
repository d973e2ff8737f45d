"""The admin API without a server: this process opens the database, under the lock that a server would hold."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import time
from typing import Any
from urllib.parse import unquote

from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from mailx.config import Smarthost
from mailx.config_file import ConfigError, Sources
from mailx.core.accounts import Accounts
from mailx.core.admins import Admins
from mailx.core.api_keys import ApiKeys
from mailx.core.app_passwords import AppPasswords
from mailx.core.audit import Log, Recording
from mailx.core.block_lists import BlockLists
from mailx.core.changes import Changes
from mailx.core.client_keys import ClientKeys
from mailx.core.contacts import Contacts
from mailx.core.delivery_log import DeliveryLog
from mailx.core.departures import Departures
from mailx.core.domain_keys import DomainKeys
from mailx.core.forgetting import Forgetting
from mailx.core.key_backup import KeyBackup
from mailx.core.keyring import Keyring
from mailx.core.keystore import SealedKeystore
from mailx.core.lifecycle import Lifecycle
from mailx.core.list_fetch import ListFetcher
from mailx.core.login_log import LoginLog
from mailx.core.mailboxes import Mailboxes
from mailx.core.passwords import Passwords
from mailx.core.person_export import Person
from mailx.core.publication import Publication
from mailx.core.queue import Queue
from mailx.core.records import Records
from mailx.core.recounting import Recounting
from mailx.core.resolver import Resolver
from mailx.core.retention import Retention
from mailx.core.routes import Routes
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.settings import Settings
from mailx.core.signing import Signing
from mailx.core.suppressions import Suppressions
from mailx.core.timeline import Timeline
from mailx.core.user_keys import UserKeys
from mailx.mail.reply import Unavailable
from mailx.ops.administration import MAILXCTL, Administration
from mailx.ops.resources.query import Streamed
from mailx.store import keys, sqlite
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.migrate import SchemaError

reactor: Any = _reactor


class Unopened(Exception):
    """The database cannot be used; the text says why."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class _Octets:
    """The octets that an answer brings, one part after the other."""

    def __init__(self, parts: AsyncIterator[bytes], wait: Callable[[Any], Any]) -> None:
        self._parts = parts
        self._wait = wait
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At most ``size`` octets; none at the end. Raises EOFError."""
        if not self._rest:
            try:
                self._rest = self._wait(self._next)
            except Unavailable as error:
                raise EOFError from error
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def _next(self) -> bytes:
        async for part in self._parts:
            if part:
                return part
        return b""


class LocalClient:
    """The API in this process. The reactor, if it does not run yet, runs in a thread of its own until ``close``."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._config = config = sources.config
        self._thread: Thread | None = None
        self._store: Any = None
        self._resolver: Resolver | None = None
        self._timeline: Timeline | None = None
        self._user_keys: UserKeys | None = None
        self._keyring: Keyring | None = None
        self._passwords = Passwords(reactor, reversible=config.smtp.cram_md5)
        self._administration: Administration | None = None

    def open(self) -> None:
        """Open the database; raises Unopened."""
        self._require_database()
        if not reactor.running:
            self._thread = Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
            self._thread.start()
        try:
            self._wait(self._open)
        except BaseException:
            self.close()
            raise

    def _require_database(self) -> None:
        kind, _, path = self._config.store.url.partition(":")
        if kind == "sqlite" and not os.path.exists(path):
            remedy = "Start it with `twistd -n mailx`, or name its configuration with --config."
            raise Unopened(f"no server is running, and there is no database at {path}", remedy)

    def _names(self) -> Resolver:
        try:
            return Resolver(self._config.dns, reactor)
        except ValueError as error:
            raise Unopened(f"names cannot be looked up: {error}", "Mend the section dns of the configuration.") from None

    async def _open(self) -> None:
        config = self._config
        with self._explained():
            await self._open_store()
            cipher = Cipher(await keys.load_or_create(config.server.secret_file, self._store))
            self._store = Recording(self._store, cipher)
            accounts = Accounts(self._store, cipher, config.accounts, self._passwords, reactor)
            await accounts.load()
            signing = Signing(self._store, cipher, accounts, reactor)
            await signing.load()
            admins = Admins(self._store, cipher, self._passwords, reactor)
            await admins.load()
            settings = await self._settings(cipher)
            domain_keys = DomainKeys(self._store, SealedKeystore(cipher), accounts, Publication(settings), reactor)
            await domain_keys.load()
            self._user_keys = UserKeys(self._store, accounts, domain_keys, reactor)
            await self._user_keys.load()
        self._resolver = self._names()
        self._timeline = Timeline(self._store, cipher, reactor, config.queue.keep_days)
        self._keyring = Keyring(cipher, reactor, 0)
        sealed = SealedAccounts(self._store, cipher, accounts, self._passwords, self._keyring, self._user_keys)
        app_passwords = AppPasswords(self._store, cipher, accounts, sealed)
        contacts = Contacts(self._store, cipher, accounts, settings, reactor)
        log = Log(self._store, cipher, reactor, lambda: settings.current.panel.audit_days)
        lifecycle, person = self._lives(cipher, settings, accounts, log, contacts, app_passwords, sealed)
        self._administration = Administration(
            accounts,
            config,
            queue=await self._queue(cipher, self._timeline, settings.current.smarthost),
            timeline=self._timeline,
            signing=signing,
            admins=admins,
            api_keys=ApiKeys(self._store, cipher),
            audit=log,
            suppressions=Suppressions(self._store, cipher, settings, reactor),
            settings=settings,
            contacts=contacts,
            block_lists=await self._block_lists(cipher, accounts, settings, self._resolver),
            domain_keys=domain_keys,
            user_keys=self._user_keys,
            key_backup=KeyBackup(domain_keys, reactor),
            client_keys=ClientKeys(accounts, self._user_keys),
            sealed_accounts=sealed,
            app_passwords=app_passwords,
            lifecycle=lifecycle,
            person=person,
            # Only a running server knows which certificate it shows.
            records=Records(settings, signing, self._resolver, lambda name: None, domain_keys.record),
        )

    def _lives(
        self,
        cipher: Cipher,
        settings: Settings,
        accounts: Accounts,
        log: Log,
        contacts: Contacts,
        app_passwords: AppPasswords,
        sealed: SealedAccounts,
    ) -> tuple[Lifecycle, Person]:
        """What becomes of accounts, at rest, and what tells of a person. Nobody is warned: that takes a server."""
        store, timeline, keyring = self._store, self._timeline, self._keyring
        assert timeline is not None and keyring is not None
        blobs = Blobs(str(Path(self._config.server.data) / "blobs"), cipher)
        retention = Retention(store, cipher, blobs, accounts, settings, reactor, time)
        deliveries = DeliveryLog(store, cipher, settings, reactor)
        forgetting = Forgetting(store, cipher, timeline, deliveries, self._config.accounts.separator, reactor)
        departures = Departures(store, accounts, forgetting, settings, time)
        logins = LoginLog(store, cipher, reactor, time)
        mailboxes = Mailboxes(store, cipher, blobs, Changes(store), reactor, self._config.accounts.quota, keyring)
        person = Person(
            store, accounts, mailboxes, retention, timeline, log, logins, contacts, app_passwords, sealed, keyring, self._user_keys
        )
        return Lifecycle(retention, departures, Recounting(store, accounts), None, logins, reactor, time), person

    async def _open_store(self) -> None:
        settings = self._config.store
        kind, _, path = settings.url.partition(":")
        if kind == "sqlite":
            self._store = await sqlite.open_store(path, settings.readers, reactor)
        else:
            from mailx.store import postgres

            self._store = await postgres.open_store(settings.url, settings.password, settings.readers, reactor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What keeps the database shut, in words for people; raises Unopened."""
        try:
            yield
        except sqlite.StoreInUse as error:
            remedy = f"If a server holds it that does not answer on {self._config.admin.socket}, name its configuration with --config."
            raise Unopened(str(error).partition(":")[0], remedy) from error
        except (SchemaError, keys.KeysError) as error:
            raise Unopened(str(error), "See the section on keys and upgrades of the documentation.") from error
        except Unavailable as error:
            raise Unopened(f"the database cannot be opened: {error.reason}", "Look at its files, or at the PostgreSQL server.") from error

    async def _block_lists(self, cipher: Cipher, accounts: Accounts, settings: Settings, resolver: Resolver) -> BlockLists:
        fetcher = ListFetcher(resolver, settings.current.contacts.list_networks, reactor)
        lists = BlockLists(self._store, cipher, accounts, settings, fetcher, reactor)
        await lists.load()
        return lists

    async def _settings(self, cipher: Cipher) -> Settings:
        """The settings with what the database says; where that cannot be used, without: so it can be changed."""
        settings = Settings(self._config, self._sources, self._store, cipher, reactor)
        with suppress(ConfigError):
            await settings.load()
        return settings

    async def _queue(self, cipher: Cipher, timeline: Timeline, smarthost: Smarthost) -> Queue:
        """The queue at rest: it can be looked at and changed, and sends nothing."""
        config = self._config
        blobs = Blobs(str(Path(config.server.data) / "blobs"), cipher)
        routes = Routes(config.outbound, config.queue, smarthost)
        queue = Queue(self._store, cipher, blobs, {}, routes, config.queue, config.outbound, timeline, reactor)
        await queue.stop()
        return queue

    def call(self, method: str, path: str, parameters: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """The HTTP status and the JSON of one request."""
        administration = self._administration
        caller = evolve(MAILXCTL, address=f"uid {os.getuid()}")
        assert administration is not None, "open() comes first"
        return self._wait(lambda: administration.answer(method, unquote(path), parameters, body, caller))  # type: ignore[no-any-return]

    def stream(self, method: str, path: str, parameters: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """The HTTP status and the octets of one request."""
        status, answer = self.call(method, path, parameters, body)
        return status, _Octets(answer.parts, self._wait) if isinstance(answer, Streamed) else answer

    def close(self) -> None:
        """Close the database and end the threads."""
        self._wait(self._close)
        if self._thread is not None:
            reactor.callFromThread(reactor.stop)
            self._thread.join()

    async def _close(self) -> None:
        self._passwords.stop()
        if self._keyring is not None:
            self._keyring.stop()
        if self._user_keys is not None:
            await self._user_keys.stop()
        if self._resolver is not None:
            await self._resolver.stop()
        if self._timeline is not None:
            await self._timeline.stop()
        if self._store is not None:
            await self._store.close()

    def _wait(self, call: Any) -> Any:
        """What the coroutine function ``call`` returns or raises."""
        return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(call()))

"""The composition root: reads as an inventory of the server.

``_open`` makes every part in the order of their needs and gives each what it works with; the parts close in the
reverse order, the store last. Nothing else knows all of them. A part that cannot start stops the server with one
line that says why.
"""

import atexit
import gc
import linecache
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from mailx import __version__
from mailx.composition import Ground, Post, open_post, policies
from mailx.composition_federation import Acquaintance, federation_edges, open_contacts, open_identity
from mailx.composition_lifecycle import open_lifecycle
from mailx.composition_owners import open_conversion, open_opening, open_owners, sealing
from mailx.composition_web import (
    Aftermath,
    House,
    People,
    administer,
    open_aftermath,
    open_alerts,
    open_people,
    open_templates,
    panel,
    receiver,
)
from mailx.config import Config, StoreSettings, listeners
from mailx.config_file import ConfigError, Sources, find
from mailx.core import documents
from mailx.core.access import Access
from mailx.core.accounts import Accounts
from mailx.core.audit import Recording
from mailx.core.changes import Changes
from mailx.core.index import Index
from mailx.core.indexer import Indexer
from mailx.core.mailboxes import Mailboxes
from mailx.core.passwords import Passwords
from mailx.core.progress import Progress
from mailx.core.quotas import Quotas
from mailx.core.reception import Reception
from mailx.core.records import Records
from mailx.core.resolver import Resolver
from mailx.core.settings import Settings, SettingsError
from mailx.core.spans import Unusable as NoTraces
from mailx.core.sweep import Sweep
from mailx.core.tracing import Tracing
from mailx.core.unix import SocketInUse
from mailx.mail.reply import Unavailable
from mailx.ops.admin import AdminService
from mailx.ops.certificates import Certificates, Unusable
from mailx.ops.clock import steady
from mailx.ops.health import Health
from mailx.ops.logs import observer
from mailx.ops.metrics import Census, Delay
from mailx.ops.process import forbid_core_dumps, raise_open_files, release_memory
from mailx.ops.sockets import BoundPorts, PortTaken
from mailx.ops.welcome import first_account, notice
from mailx.store.blobs import Blobs, ForeignFiles
from mailx.store.cipher import Cipher
from mailx.store.keys import KeysError, load_or_create
from mailx.store.migrate import INDEX, SchemaError
from mailx.store.sqlite import StoreInUse

log = Logger()

# What keeps a server from starting and is no fault of the program: said in one line, without a traceback.
_EXPECTED = (
    ConfigError,
    SchemaError,
    StoreInUse,
    KeysError,
    NoTraces,
    ForeignFiles,
    Unavailable,
    Unusable,
    SocketInUse,
    PortTaken,
    CannotListenError,
    OSError,
)

_ALLOCATIONS = 10000  # more objects than before the garbage collector looks at the youngest


class Options(usage.Options):
    """The options of ``twistd mailx``."""

    synopsis = "[--config FILE]"
    longdesc = "MailX: mail in by SMTP, kept encrypted, read by IMAP. Without a file it runs on loopback ports with its data in ./var."
    optParameters = [["config", "c", None, "TOML file; default: mailx.toml in this directory, or else built-in defaults."]]


def makeService(options: Options) -> IService:
    """The server as one service; wrong configuration ends the process with every error listed."""
    from twisted.internet import reactor

    try:
        sources = Sources(find(options["config"]), os.environ)
    except ConfigError as error:
        raise SystemExit(f"mailx: the configuration cannot be used:\n{error}") from None
    return MailX(sources, reactor)


class MailX(MultiService):
    """The whole server. Ports are bound with the rights the process began with, everything else is opened after."""

    def __init__(self, sources: Sources, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sources = sources
        self._config = config = sources.config
        self._ports = BoundPorts(reactor)
        self._reactor: Any = self._ports
        self._parts = AsyncExitStack()
        self._opening: Deferred[None] | None = None
        self._observer = observer(config.log)
        self._tracing = Tracing(config.log.level == "debug")
        self._settings: Settings | None = None  # before the store is open

    def setServiceParent(self, parent: Any) -> None:
        """The application logs the way the configuration says."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        raise_open_files()
        forbid_core_dumps()
        try:
            for setting, interface, port in listeners(self._config):
                self._ports.bind(setting, interface, port)
        except PortTaken as error:
            _tell(f"mailx: {error}")
            raise SystemExit(1) from None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # A busy writer thread hands the interpreter back to the event loop ten times sooner than by default.
        sys.setswitchinterval(0.0005)
        steady(self._ports.reactor)
        linecache.clearcache()  # of what is imported so far: what follows takes its place
        os.umask(0o077)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        self._opening = Deferred.fromCoroutine(self._open())
        self._opening.addErrback(self._failed)

    def _reload(self) -> None:
        """SIGHUP: what rotates logs, renews certificates or edits the configuration sends it."""
        self._observer.reopen()
        log.info("Log file reopened", event="server.reload")
        if self._settings is not None:
            Deferred.fromCoroutine(self._settings.reload()).addErrback(lambda failure: failure.trap(SettingsError))

    async def _open(self) -> None:
        """Everything, in the order of its needs."""
        config, reactor, parts = self._config, self._reactor, self._parts
        data = Path(config.server.data)
        self._prepare(data)
        tls = Certificates(config.tls, data, config.server.hostname)
        health = self._open_health()
        plain = await _open_store(config.store, reactor)
        parts.push_async_callback(plain.close)
        cipher = Cipher(await load_or_create(config.server.secret_file, plain))
        store = Recording(plain, cipher)
        settings = await self._open_settings(store, cipher, tls)
        config = self._config = settings.current
        blobs = Blobs(str(data / "blobs"), cipher)
        blobs.claim()

        accounts, passwords = await self._open_accounts(store, cipher)
        health.probes["store"] = accounts.totals
        resolver = Resolver(settings.current.dns, reactor)
        parts.push_async_callback(resolver.stop)
        identity = await open_identity(settings, store, cipher, accounts, resolver, reactor, parts)
        owners = await open_owners(settings, store, cipher, accounts, passwords, identity, reactor, parts)
        ground = Ground(settings, store, cipher, blobs, accounts, resolver, identity, owners)
        people = await open_people(settings, store, cipher, reactor, parts)
        mailboxes = Mailboxes(store, cipher, blobs, Changes(store), reactor, config.accounts.quota, owners.keyring)
        await mailboxes.resume()
        index, indexer = await self._open_index(ground, mailboxes)
        open_conversion(ground, mailboxes, index, reactor, parts)
        post, reception, after, acquaintance = await self._open_mail(ground, mailboxes)
        first = await first_account(accounts, config.server.first_domain)  # before alerts, which may be mailed to it
        recovery = await identity.domain_keys.ensure_all()
        people.admins.alerts = alerts = await open_alerts(settings, store, cipher, post, reception, after, tls, reactor, parts)
        identity.alert_with(alerts)
        living = open_lifecycle(ground, mailboxes, post, reception, people.audit, after.delivery_log, acquaintance, reactor, parts)
        templates = await open_templates(settings, store, cipher, reactor, parts)
        self._measure(accounts)

        records = Records(settings, post.signing, resolver, tls.certificate_for, identity.domain_keys.record)
        administration = administer(ground, indexer, post, records, people, after, acquaintance, living, reactor)
        house = House(settings, store, cipher, accounts, reception, templates, alerts, records, tls, administration, living)
        self._open_edges(
            AdminService(config.admin.socket, administration, reactor),
            *_edges(config, mailboxes, reception, owners.access, Quotas(mailboxes, accounts), tls, reactor, self._tracing),
            *federation_edges(ground, acquaintance, reception, post.queue, tls, reactor, parts),
            *_web_edges(house, post, people, after, ground, acquaintance, reactor),
        )
        self._opened(health)
        _tell(notice(config, tls.generated, first, people.set_up_code(), recovery))

    def _opened(self, health: Health) -> None:
        self._parts.callback(setattr, health, "phase", "stopping")
        health.phase = "running"
        _collect_less()
        log.info("Server started", event="server.started", version=__version__)

    def _prepare(self, data: Path) -> None:
        self._observer.open()
        self._observer.gather(self._reactor)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reactor.suggestThreadPoolSize(self._config.server.threads)

    async def _open_mail(self, ground: Ground, mailboxes: Mailboxes) -> tuple[Post, Reception, Aftermath, Acquaintance]:
        """Mail in and out, and what comes after. It runs when this returns."""
        settings, store, cipher = ground.settings, ground.store, ground.cipher
        reactor, parts, progress = self._reactor, self._parts, Progress()
        after = await open_aftermath(settings, store, cipher, ground.resolver, progress, reactor, parts)
        post = await open_post(ground, progress, reactor, parts)
        acquaintance = await open_contacts(ground, mailboxes, post.timeline, reactor, parts)
        reception = self._open_reception(ground, post, acquaintance)
        open_opening(ground, reception, reactor, parts)
        await post.start(reception)
        after.start()
        return post, reception, after, acquaintance

    def _measure(self, accounts: Accounts) -> None:
        for task in (Delay(self._reactor), Census(accounts, self._reactor)):
            task.start()
            self._parts.callback(task.stop)

    def _open_edges(self, *every: IService) -> None:
        edges = MultiService()
        self._parts.push_async_callback(edges.stopService)
        for edge in every:
            edge.setServiceParent(edges)
        edges.startService()

    async def _open_settings(self, store: Any, cipher: Cipher, tls: Certificates) -> Settings:
        settings = Settings(self._config, self._sources, store, cipher, self._reactor)
        await settings.load()
        self._keep_log(settings.current)
        settings.watch(["log"], self._keep_log)
        settings.watch(["tls"], lambda config: tls.want(config.tls))
        settings.reload_also(tls.reload)
        settings.start()
        self._parts.push_async_callback(settings.stop)
        self._settings = settings
        return settings

    def _keep_log(self, config: Config) -> None:
        self._observer.keep(config.log.level)
        self._tracing.on = config.log.level == "debug"

    def _open_health(self) -> Health:
        settings = self._config.health
        health = Health({}, self._reactor)
        if settings.port:
            port = self._reactor.listenTCP(settings.port, health.site(), interface=settings.interface)
            self._parts.push_async_callback(maybeDeferred, port.stopListening)
        return health

    async def _open_accounts(self, store: Any, cipher: Cipher) -> tuple[Accounts, Passwords]:
        config, reactor = self._config, self._reactor
        passwords = Passwords(reactor, reversible=config.smtp.cram_md5)
        self._parts.callback(passwords.stop)
        accounts = Accounts(store, cipher, config.accounts, passwords, reactor)
        await accounts.load()
        return accounts, passwords

    async def _open_index(self, ground: Ground, mailboxes: Mailboxes) -> tuple[Index, Indexer]:
        store, cipher = ground.store, ground.cipher
        index_store = store
        if self._config.store.url.startswith("sqlite:"):
            index_store = await _open_index_store(Path(self._config.server.data) / "index.db", self._reactor)
            self._parts.push_async_callback(index_store.close)
        index = Index(index_store, cipher, ground.owners.keyring)
        extract = documents.extract if self._config.search.attachments and documents.installed() else None
        indexer = Indexer(store, index_store, index, cipher, ground.blobs, self._reactor, extract=extract)
        indexer.start()
        self._parts.push_async_callback(indexer.stop)
        mailboxes.search_with(index)
        return index, indexer

    def _open_reception(self, ground: Ground, post: Post, acquaintance: Acquaintance) -> Reception:
        config, reactor, seals = self._config, self._reactor, sealing(ground, self._reactor)
        ground.identity.late.seals = seals.outgoing
        sweep = Sweep(ground.store, ground.blobs, reactor)
        sweep.start()
        self._parts.push_async_callback(sweep.stop)
        return Reception(
            ground.store,
            ground.cipher,
            ground.blobs,
            ground.accounts,
            policies(ground, acquaintance.block_lists, reactor, self._parts),
            reactor,
            hostname=config.server.hostname,
            default_quota=config.accounts.quota,
            file_above=config.store.file_above,
            spool_above=config.store.spool_above,
            tracing=self._tracing,
            queue=post.queue,
            timeline=post.timeline,
            srs=post.srs,
            progress=post.progress,
            first_contact=acquaintance.first_contact,
            outgoing=seals.outgoing,
            arrivals=seals.arrivals,
            keyring=ground.owners.keyring,
            accepting=ground.identity.spans.accepting,
        )

    def _failed(self, failure: Failure) -> None:
        if failure.check(*_EXPECTED):
            reason = getattr(failure.value, "reason", None) or str(failure.value)
            if failure.check(ConfigError):
                reason = f"the configuration cannot be used:\n{reason}"
            log.critical("Server not started: {reason}", event="server.failed", reason=reason)
            _tell(f"mailx: {reason}")
        else:
            log.failure("Server not started", failure=failure, event="server.failed")
            _tell(f"mailx: not started\n{failure.getTraceback()}")
        atexit.register(os._exit, 1)  # twistd itself would report success
        if self.running:
            self._reactor.callWhenRunning(self._reactor.stop)

    def stopService(self) -> Deferred[None]:
        """Edges finish what runs, each within its own time; then the rest closes, the store last."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._opening is not None:
            await self._opening
        await self._parts.aclose()
        self._ports.release()
        log.info("Server stopped", event="server.stopped")


async def _open_store(settings: StoreSettings, reactor: Any) -> Any:
    """The store that ``settings`` names, with its schema up to date."""
    if settings.url.startswith("sqlite:"):
        from mailx.store import sqlite

        return await sqlite.open_store(settings.url.removeprefix("sqlite:"), settings.readers, reactor)
    from mailx.store import postgres

    return await postgres.open_store(settings.url, settings.password, settings.readers, reactor)


async def _open_index_store(path: Path, reactor: Any) -> Any:
    """The database of the search index. One that does not open is removed and made anew, as everything in it can be."""
    from mailx.store import sqlite

    try:
        return await sqlite.open_store(str(path), 1, reactor, INDEX)
    except (Unavailable, SchemaError) as error:
        log.warn("The search index cannot be opened: {reason}", event="index.removed", reason=getattr(error, "reason", str(error)))
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return await sqlite.open_store(str(path), 1, reactor, INDEX)


def _edges(
    config: Config,
    mailboxes: Mailboxes,
    reception: Reception,
    access: Access,
    quotas: Quotas,
    tls: Certificates,
    reactor: Any,
    tracing: Tracing,
) -> Iterator[IService]:
    """The protocols that the configuration turns on; the others are not even imported."""
    smtp, imap = config.smtp, config.imap
    if smtp.port or smtp.submission_port or smtp.submissions_port or smtp.lmtp_port or smtp.lmtp_socket:
        from mailx.smtp.server import SMTPService

        yield SMTPService(smtp, config.server, reception, access, tls, reactor, tracing)
    if imap.port or imap.tls_port:
        from mailx.imap.server import IMAPService

        yield IMAPService(imap, config.server, mailboxes, reception, access, tls, reactor, tracing, quotas)
    if config.pop3.port or config.pop3.tls_port:
        from mailx.pop3.server import POP3Service

        yield POP3Service(config.pop3, config.server, mailboxes, access, tls, reactor, tracing)


def _web_edges(
    house: House, post: Post, people: People, after: Aftermath, ground: Ground, acquaintance: Acquaintance, reactor: Any
) -> Iterator[IService]:
    """The same for those over HTTP."""
    config = house.settings.current
    if config.webhook.port:
        yield receiver(house, after, reactor)
    if config.panel.port:
        yield panel(house, post, people, after, ground, acquaintance, reactor)


def _collect_less() -> None:
    """What start-up made stays: collections, which hold up the event loop, need not look at it again, nor at the rest so often."""
    linecache.clearcache()  # where attrs keeps the source of the methods that it makes, for debuggers
    gc.collect()
    release_memory()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 20)


def _tell(text: str) -> None:
    """Say it to the person who started the server, past the log."""
    if sys.__stderr__ is not None:
        print(text, file=sys.__stderr__, flush=True)

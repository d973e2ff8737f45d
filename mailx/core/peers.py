"""Other MailX servers: which domains have one, which of their keys are believed, and until when mail goes no other way.

What looking for them brings is kept in the store, with a bounded memory in front; answers that there is none, too. A domain
that was once reached by federation is pinned: until that ends, failing to find it means that mail waits. Keys change only as
:mod:`mailx.core.peer_keys` permits; another key changes nothing, is logged and raises an alert. Failure is :class:`Undecided`.
"""

from collections.abc import Callable, Collection, Mapping
from time import time
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailx.config_setting import seconds as duration
from mailx.core import peer_keys, peer_looks
from mailx.core.alerts import Alerts
from mailx.core.cache import Cache
from mailx.core.content import Threads
from mailx.core.metrics import PEER_KEYS, PEER_LOOKS, PEERS
from mailx.core.peer import MAILX, NEVER, NONE, REFUSED, STATIC, Discoverer, Found, Known, Peer, PeerSettings, Step, Undecided
from mailx.core.peer_alarms import ANNOUNCEMENT, CONNECTION, DISCOVERY, PeerAlarms
from mailx.core.peer_book import PeerBook
from mailx.core.peer_following import Following
from mailx.core.peer_static import read_static
from mailx.core.settings import Settings
from mailx.core.users import canonical_domain
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import Malformed
from mailx.identity.statements import Statement
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import Store
from mailx.store.cipher import Cipher

log = Logger()

MEMORY = 5000  # domains whose whole entry is in memory
FRESH = 300.0  # seconds after which the store is asked again
SOON = 60  # seconds before a key that was shown is looked for again
WAITING_LIMIT = 2000  # looks under way at once
STRANGERS = 8  # of them because somebody connects, for domains that are not pinned; less than discovery does at a time
NEW_STRANGERS = 1000  # servers that are written down in an hour because they connect
UNPINNED_MOST = 20_000  # servers that are kept though no mail goes to them
REFRESH = 30.0  # seconds after which what other servers on the database wrote is seen
KEYS_DAYS = 400  # that the keys of a server that is not seen any more are kept
_DOES_NOT_FOLLOW = Reply(550, "5.7.5", "The announced key does not follow from the one that is known")
_FEW = 4  # keys that take less than a millisecond
_HOUR, _DAY = 3600, 86400


class IChannel(Protocol):
    """What is seen of a channel here."""

    remote: str
    key: bytes


class Peers:
    """The servers that are known. ``await load()`` first; ``discoverer`` looks for others, ``local`` says which domains are ours."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        settings: Settings,
        reactor: Any,
        *,
        discoverer: Discoverer | None,
        local: Callable[[str], bool],
        threads: Threads | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """``threads`` verify long histories of keys, which without them are verified at once."""
        self.alerts: Alerts | None = None
        self.following: Following | None = None
        self._book = PeerBook(store, cipher, now)
        self._settings = settings
        self._reactor = reactor
        self._discoverer = discoverer
        self._local = local
        self._threads = threads
        self._now = now
        self._several = bool(getattr(store, "node", ""))  # other servers use the database
        self._static: Mapping[str, Known] = {}
        self._meant: dict[str, int] = {}  # domain: until when its mail is meant for federation
        self._own: Mapping[str, PeerSettings] = {}
        self._cache: Cache[str, Known] = Cache(MEMORY, FRESH, now)
        self._distrusting: list[Callable[[str], object]] = []
        self._forgetting: list[Callable[[str], object]] = []
        self._strangers = 0  # looks for domains in whose names somebody connects
        self._new = (0.0, 0)  # when an hour began, and how many of these were written down in it
        self._shown: Cache[str, bool] = Cache(MEMORY, SOON, reactor.seconds)  # domains looked for again because of a key that was shown
        self._looking: dict[str, list[Deferred[Known]]] = {}
        self._alarms = PeerAlarms(reactor.seconds)
        self._prune_after = now() + _HOUR
        self._refreshing = LoopingCall(lambda: Deferred.fromCoroutine(self.refresh()))
        self._refreshing.clock = reactor

    async def load(self) -> None:
        """Read what is known, and keep it current from now on. Raises Unavailable."""
        self._read_static()
        self._settings.watch(["federation"], lambda _: self._read_static())
        self._own = await self._book.settings()
        for known in await self._book.all():
            self._remember(known, cached=False)
        PEERS.labels("static").set_function(lambda: len(self._static))
        PEERS.labels("found").set_function(lambda: len(self._meant))
        self._refreshing.start(REFRESH, now=False).addErrback(
            lambda failure: log.failure("What is known of peers is no longer kept current", failure, event="peer.failed")
        )

    def stop(self) -> None:
        """Keep nothing current any more."""
        if self._refreshing.running:
            self._refreshing.stop()

    def on_distrust(self, call: Callable[[str], object]) -> None:
        """``call(domain)`` when what a connection proved counts no more: the domain was blocked, or its keys were revoked."""
        self._distrusting.append(call)

    def on_forget(self, call: Callable[[str], object]) -> None:
        """``call(domain)`` when what was learnt of a domain is forgotten."""
        self._forgetting.append(call)

    def _distrust(self, domain: str) -> None:
        for call in self._distrusting:
            call(domain)

    # What others ask.

    def known(self, domain: str) -> bool:
        """Whether mail for ``domain`` is meant for federation: it is pinned, was found lately, or DNS says so. Memory only."""
        domain = canonical_domain(domain)
        return domain in self._static or self._meant.get(domain, 0) > self._now()

    def absent(self, domain: str) -> bool:
        """Whether it is known to have no MailX server, so that nobody need be asked. Memory only."""
        known = None if domain in self._static else self._cache.get(domain)
        return known is not None and known.absent and not self._bound(known) and not self._due(known)

    def limits(self, domain: str) -> PeerSettings:
        """What an administrator set for ``domain``. Memory only."""
        return self._own.get(domain, PeerSettings())

    def believed(self, domain: str) -> tuple[bytes, ...]:
        """The keys of ``domain`` that are believed, as far as memory knows."""
        known = self.fixed(self._cache.get(domain) or Known(domain))
        return known.keys(self._now())

    def hash(self, domain: str) -> bytes:
        """What rows about ``domain`` are found by."""
        return self._book.hash(domain)

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None:
        """The MailX server of ``domain``, looked for at most so long; None: it has none. Raises Undecided, Unavailable."""
        return await self._find(canonical_domain(domain), seconds, True)

    async def _find(self, domain: str, seconds: float | None, durable: bool) -> Peer | None:
        if self._local(domain):
            return None
        known = await self._current(domain)
        if domain in self._static:
            return self._peer(self.fixed(known))
        if not self._settings.current.federation.discover:
            if known.pinned_until > self._now():
                raise self._undecided(known, "looking for servers is switched off")
            return None
        if self._due(known):
            known = await self._look(domain, seconds, known, durable)
        return self._answer(known)

    def _due(self, known: Known) -> bool:
        """Whether it is time to look again. What was noted by a clock that was ahead counts no more."""
        return not self._now() < known.expires <= self._now() + _DAY

    async def keys(self, domain: str, presented: bytes) -> tuple[bytes, ...]:
        """The domain keys believed now; with one ``presented`` ("": none) that is unknown they are looked for again. Raises Refused."""
        domain = canonical_domain(domain)
        if self.limits(domain).blocked:
            raise Refused(Reply(550, "5.7.1", "This server does not exchange mail with your domain"), "blocked peer")
        known = await self._current(domain)
        expected = not self._due(known) and presented in (b"", *known.keys(self._now()))
        if domain in self._static or self.pinned(known) or expected:
            return await self._keys(domain, presented, True)
        # Anybody can connect in the name of any domain: that keeps neither the places nor the rows of domains that mail is sent to.
        if self._strangers >= STRANGERS:
            raise self._undecided(known, "too many unknown domains connect")
        self._strangers += 1
        try:
            return await self._keys(domain, presented, False)
        finally:
            self._strangers -= 1

    async def _keys(self, domain: str, presented: bytes, durable: bool) -> tuple[bytes, ...]:
        peer = await self._find(domain, None, durable)
        if peer is None or not presented or presented in peer.keys:
            return () if peer is None else peer.keys
        if peer.source == STATIC:
            peer = self._peer(await self._asked(domain))
        else:
            now = self._now()
            if now - SOON < peer.verified <= now or self._shown.get(domain):
                return peer.keys
            self._shown.put(domain, True)
            peer = self._answer(await self._look(domain, None, await self._current(domain), durable))
        if peer is not None and presented not in peer.keys and not (self.following and self.following.under_way(domain)):
            self._alarms.tell(self.alerts, domain, CONNECTION, peer.source == STATIC or peer.pinned_until > 0)
        return () if peer is None else peer.keys

    async def reached(self, channel: IChannel) -> None:
        """Pin the domain of ``channel``, durably, before the first commit of a transfer. Raises Unavailable."""
        domain = channel.remote
        now = int(self._now())
        federation = self._settings.current.federation
        # A transfer whose outcome nobody knows is tried until the schedule ends, and must not go another way before.
        seconds = max(federation.pin_days * _DAY, sum(map(duration, federation.retry)) + 2 * _DAY)
        known = await self._current(domain)
        if known.pinned_until >= now + seconds - _DAY:
            return
        until = now + seconds
        pinned = known.mailx and await self._book.pin(domain, until)
        known = self._cache.get(domain) or known  # which may have changed meanwhile
        if pinned:
            self._remember(evolve(known, pinned_until=max(until, known.pinned_until)))
            return
        await self._keep(evolve(self.fixed(known), mailx=True, key=known.key or channel.key, verified=now, pinned_until=until))

    async def announced(self, domain: str, statement: Statement) -> None:
        """Follow a key that ``domain`` announces by its channel. Raises Refused if nothing permits it, Unavailable."""
        known = self.fixed(await self._current(domain))
        now = int(self._now())
        try:
            new = DomainKey.of(statement)
        except Malformed as error:
            raise Refused(Reply(501, "5.5.4", "The announcement is malformed"), f"announced key: {error}") from None
        if new.domain != domain or not known.key:
            raise Refused(_DOES_NOT_FOLLOW, "announced key of a domain without a known one")
        verdict, history = peer_keys.announced(known, new, now)
        if verdict == peer_keys.UNANNOUNCED and await self._missed(known, new):
            return
        if verdict == peer_keys.UNANNOUNCED:
            self._alarms.tell(self.alerts, domain, ANNOUNCEMENT, known.source == STATIC or known.pinned_until > 0)
            raise Refused(_DOES_NOT_FOLLOW, "announced key")
        if verdict != peer_keys.SAME or not known.history:
            verified = now if known.source == STATIC else known.verified  # what was not seen for long is forgotten
            await self._keep(evolve(known, mailx=True, key=new.key, history=history, verified=verified))
        if verdict != peer_keys.SAME:
            self._changed(domain, verdict)

    async def _missed(self, known: Known, new: DomainKey) -> bool:
        """Whether looking again tells of the key, since an announcement between was missed."""
        if known.source == STATIC:
            known = await self._asked(known.domain)
        elif self._now() - SOON < known.verified <= self._now():
            return False
        else:
            known = await self._look(known.domain, None, known)
        return any(key.statement.digest == new.statement.digest for key, _ in known.history)

    async def _asked(self, domain: str) -> Known:
        """What is known of a static peer that was asked itself, now and then: nothing else tells of a key whose announcement was missed."""
        if self.following is not None and not self._shown.get(domain):
            self._shown.put(domain, True)
            self._cache.pop(domain)  # another node may have heard of it
            await self.following.follow(domain)
        return self.fixed(await self._current(domain))

    # What administrators see and do; see mailx.core.peer_control.

    @property
    def static(self) -> Collection[str]:
        """The domains that the configuration names."""
        return self._static.keys()

    def settings(self) -> Mapping[str, PeerSettings]:
        """What is set, by domain."""
        return self._own

    def ours(self, domain: str) -> bool:
        """Whether it is a domain of this server."""
        return self._local(domain)

    def pinned(self, known: Known) -> bool:
        """Whether its mail goes no other way now."""
        return known.pinned_until > self._now()

    async def every(self) -> list[Known]:
        """All with keys that are kept, without the histories of these. Raises Unavailable."""
        return await self._book.all()

    async def state(self, domain: str) -> Known:
        """All that is known of one domain. Raises Unavailable."""
        return self.fixed(await self._book.get(domain) or Known(domain))

    async def discover(self, domain: str) -> tuple[Step, ...]:
        """Look for its server now; the steps. Raises Unavailable."""
        if domain in self._static:
            return (Step("static", "ok", "the configuration names its server and key; nothing is looked for"),)
        return (await self._look_now(domain, await self._current(domain), anew=True))[1]

    async def set(self, domain: str, settings: PeerSettings) -> None:
        """Set limits and the like, durably. Raises Unavailable."""
        await self._book.put_settings(domain, settings)
        self._take({**self._own, domain: settings})

    def _take(self, own: Mapping[str, PeerSettings]) -> None:
        """These settings hold from now on."""
        before, self._own = self._own, own
        for domain, settings in own.items():
            if settings.blocked and not before.get(domain, PeerSettings()).blocked:
                self._distrust(domain)

    async def forget(self, domain: str) -> bool:
        """Forget what was learnt; whether there was something. Raises Unavailable."""
        was = await self._book.forget(domain)
        self._cache.pop(domain)
        self._meant.pop(domain, None)
        for call in self._forgetting:
            call(domain)
        return was

    # One domain.

    async def _current(self, domain: str) -> Known:
        """What is known of it, from memory or the store."""
        if (known := self._cache.get(domain)) is None:
            kept = await self._book.get(domain) or Known(domain)
            known = self._cache.get(domain) or kept  # somebody may have learnt more meanwhile
            self._remember(known)
        return known

    def _answer(self, known: Known) -> Peer | None:
        """What ``find`` answers by ``known``. Raises Undecided."""
        now = self._now()
        if known.mailx and not known.absent and (not known.trouble or known.until > now):
            return self._peer(known)
        if not known.absent:
            raise self._undecided(known, known.trouble or "nothing is known of the domain")
        if self._bound(known):
            raise self._undecided(known, "the domain had a MailX server, and none can be found there now")
        return None

    def _bound(self, known: Known) -> bool:
        """Whether its mail goes no other way though it has no server now. Who answers for its DNS need not be the domain."""
        return self.pinned(known) or (known.mailx and self._fallback(self.limits(known.domain)) == NEVER)

    def _peer(self, known: Known) -> Peer:
        own = self.limits(known.domain)
        return known.peer(own, self._fallback(own), self._now())

    def _fallback(self, own: PeerSettings) -> str:
        return own.fallback or self._settings.current.federation.fallback

    def _undecided(self, known: Known, reason: str) -> Undecided:
        pinned = known.pinned_until > self._now()
        meant = (known.mailx or known.evidence) and self._fallback(self.limits(known.domain)) == NEVER
        return Undecided(reason, fallback=not pinned and not meant)

    # Static peers.

    def _read_static(self) -> None:
        self._static = read_static(self._settings.current.federation)

    def fixed(self, known: Known) -> Known:
        """``known`` as the configuration fixes it, with keys that followed from the fixed one."""
        fixed = self._static.get(known.domain)
        if fixed is None:
            return known
        if peer_keys.leads(fixed.key, known, int(self._now())):
            return evolve(known, mailx=True, source=STATIC, servers=fixed.servers, absent=False, trouble="")
        return evolve(fixed, verified=known.verified, pinned_until=known.pinned_until)

    # Looking.

    async def _look(self, domain: str, seconds: float | None, known: Known, durable: bool = True) -> Known:
        """Look for the server of ``domain``; everybody who asks meanwhile gets the same answer. Raises Undecided, Unavailable.

        ``durable``: that there is none is written down, too.
        """
        waiter: Deferred[Known] = Deferred()
        waiters = self._looking.get(domain)
        if waiters is None:
            if len(self._looking) >= WAITING_LIMIT:
                raise self._undecided(known, "too many domains are being looked for")
            self._looking[domain] = [waiter]
            Deferred.fromCoroutine(self._looked(domain, known, durable))
        else:
            waiters.append(waiter)
        if seconds is not None:
            waiter.addTimeout(seconds, self._reactor)
        try:
            return await waiter
        except TimeoutError:
            if known.mailx and known.until > self._now():
                return known
            raise self._undecided(known, "no answer in time") from None

    async def _looked(self, domain: str, known: Known, durable: bool) -> None:
        """Look, and tell those who wait."""
        following: Known | Exception
        try:
            following = (await self._look_now(domain, known, durable))[0]
        except Unavailable as error:
            following = error
        except Exception as error:
            log.failure("Looking for a MailX server failed", event="peer.failed", domain=domain)
            following = Unavailable(type(error).__name__)
        for waiter in self._looking.pop(domain, ()):
            if isinstance(following, Exception):
                waiter.errback(following)
            else:
                waiter.callback(following)

    async def _look_now(self, domain: str, known: Known, durable: bool = True, anew: bool = False) -> tuple[Known, tuple[Step, ...]]:
        """What is known after a look, and its steps."""
        if self._several:  # another node may have followed a key, or been told to forget
            known = await self._book.get(domain) or (known if not known.mailx else Known(domain))
        if self._discoverer is None:
            found = Found(NONE, ttl=peer_looks.AGAIN)
        else:
            found = await self._discoverer.look(domain, anew)
        PEER_LOOKS.labels(found.outcome).inc()
        now = int(self._now())
        if found.outcome != MAILX:
            if found.outcome == REFUSED:
                log.warn("A MailX server was not believed", event="peer.refused", domain=domain, reason=found.reason)
            without = peer_looks.without(known, found, now)
            if durable or known.mailx:
                return await self._keep(without), found.steps
            self._remember(without)
            return without, found.steps
        if self._threads is None or len(found.history) + len(known.history) <= _FEW:
            verdict, following, step = peer_looks.followed(known, found, now)
        else:
            verdict, following, step = await self._threads(peer_looks.followed, known, found, now)
        if durable or known.mailx or self._may_note(now):
            following = await self._keep(following)
        else:
            self._remember(following)
        if verdict == peer_keys.UNANNOUNCED:
            self._alarms.tell(self.alerts, domain, DISCOVERY, known.pinned_until > 0)
        elif verdict in (peer_keys.ROTATION, peer_keys.RECOVERY):
            self._changed(domain, verdict)
        return following, (*found.steps, step)

    def _may_note(self, now: float) -> bool:
        """Whether one more server that nobody here writes to is written down: whoever has a domain can make any number below it."""
        began, count = self._new
        began, count = (began, count) if began <= now < began + _HOUR else (now, 0)
        self._new = began, count + 1
        return count < NEW_STRANGERS

    def _changed(self, domain: str, verdict: str) -> None:
        PEER_KEYS.labels(verdict).inc()
        log.info("A peer changed its key", event="peer.key", domain=domain, verdict=verdict)
        if verdict == peer_keys.RECOVERY:
            self._distrust(domain)

    # Memory and store.

    async def _keep(self, known: Known) -> Known:
        """Keep it durably; what is newer in the store counts instead. Raises Unavailable."""
        known = evolve(known, history=peer_keys.shortened(known.history, int(self._now())))
        pinned = await self._book.put(known)
        if pinned is None:
            known = await self._book.get(known.domain) or known
        else:  # it may have been pinned while it was looked for
            known = evolve(known, pinned_until=pinned)
        self._remember(known)
        return known

    def _remember(self, known: Known, cached: bool = True) -> None:
        if cached:
            self._cache.put(known.domain, known)
        meant = max(known.pinned_until, known.until if known.mailx and not known.absent else 0, known.expires if known.evidence else 0)
        if meant > self._now():
            self._meant[known.domain] = meant
        else:
            self._meant.pop(known.domain, None)

    async def refresh(self) -> None:
        """See what other nodes wrote, and forget what is past."""
        now = int(self._now())
        try:
            if self._several:
                self._take(await self._book.settings())
                for known in await self._book.changed(now - 3 * int(REFRESH)):
                    self._remember(known)
            if now >= self._prune_after:
                self._prune_after = now + _HOUR
                await self._book.prune(now - KEYS_DAYS * _DAY, UNPINNED_MOST)
                every = await self._book.all()
                self._meant = {}
                for known in every:
                    self._remember(known, cached=False)
        except Unavailable as error:
            log.warn("What is known of peers was not refreshed: {reason}", event="peer.not_refreshed", reason=error.reason)

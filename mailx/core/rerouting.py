"""Rerouting: mail that waits goes the way that the settings say now, also when relays and routes change while it is under way.

A change takes three steps. New couriers are made for the relays that changed; the queue decides by the new routes from the
next line of code on, and what waits in memory for another way goes back to the store; then what waits in the store is made
due, in slices, so that nobody waits out the rest that an old relay deserved. Which ways have been hastened is remembered
under a hash of them: a server that died in between finds at its start that they are others, and hastens then. So does one
whose file was changed while it was down.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import time
from typing import Any, Protocol

from attrs import asdict
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailx.config import Config, Relay
from mailx.core.courier import ICourier
from mailx.core.queue import Queue
from mailx.core.remembered import record
from mailx.core.routes import relays
from mailx.mail.reply import Unavailable
from mailx.store import Store, queue_upkeep, remembered
from mailx.store.cipher import Cipher, CipherError
from mailx.store.queue import SLICE

log = Logger()

_KIND, _KEY = "routing", "ways"  # of what is remembered
_FOREVER = 253402300799  # seconds since 1970, the year 9999
_DESTINATIONS = 64  # whose rows are made due by one job
_PAGE = 1024  # destinations that are read at a time
_PAUSE = 0.02  # seconds between slices, for whoever else waits for the writer
_SETTLED = 1.0  # seconds until what was being stored when the ways changed is there to be hastened
_AGAIN = 10.0  # seconds until the store is asked again


class IRelays(Protocol):
    """The couriers of the relays (:class:`mailx.outbound.relays.Relays`)."""

    @property
    def couriers(self) -> Mapping[str, ICourier]: ...

    def renew(self, relays: Iterable[Relay]) -> set[str]: ...

    def retire(self) -> None: ...


class Rerouting:
    """Keeps ``queue`` and ``couriers`` to the settings: ``start`` after the queue, ``renew`` at each change, ``stop`` before the queue."""

    def __init__(
        self,
        queue: Queue,
        couriers: IRelays,
        store: Store,
        cipher: Cipher,
        config: Config,
        reactor: Any,
        now: Callable[[], float] = time,
    ) -> None:
        """``now`` is the queue's time of day."""
        self._queue = queue
        self._couriers = couriers
        self._store = store
        self._cipher = cipher
        self._config = config
        self._reactor = reactor
        self._now = now
        self._lock = DeferredLock()
        self._wanted: set[str] = set()  # relays for which what waits is to be hastened
        self._all_wanted = False  # it is for every way
        self._pause: Deferred[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Hasten what waits if the ways are others than when somebody did last. Raises Unavailable."""
        try:
            found = await self._store.read(remembered.get, self._cipher, _KIND, _KEY, int(self._now()))
        except CipherError:
            found = None
        if found is None:
            await self._remember()
            return
        before, now = record(found[0]), self._ways(self._config)
        changed = {name for name in {*before, *now} if before.get(name) != now.get(name)}
        if changed:
            self._begin(None if "" in changed else changed)

    def renew(self, config: Config) -> None:
        """These settings hold from now on."""
        before, self._config = self._config, config
        if _deciding(before) == _deciding(config):
            return
        changed = self._couriers.renew(relays(config))
        others = self._others(before) != self._others(config)
        elsewhere = None if others else changed
        self._queue.reroute(config.outbound, config.queue, config.smarthost, self._couriers.couriers, elsewhere)
        self._couriers.retire()
        if others or changed:
            log.info("Mail goes other ways from now on", event="queue.rerouted", relays=sorted(changed))
            self._begin(elsewhere)

    async def stop(self) -> None:
        """Begin nothing more; returns when what runs is through. What was not hastened is at the next start."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()
        await self._lock.acquire()
        self._lock.release()

    def _begin(self, elsewhere: Collection[str] | None) -> None:
        """Hasten what waits for these relays (None: all ways), together with what others want meanwhile."""
        self._want(elsewhere is None, elsewhere or ())
        if self._pause is not None:
            self._pause.cancel()
        Deferred.fromCoroutine(self._hasten()).addErrback(
            lambda failure: log.failure("Waiting mail was not hastened", failure, event="queue.hasten_failed")
        )

    def _want(self, everything: bool, names: Iterable[str]) -> None:
        self._all_wanted = self._all_wanted or everything
        self._wanted.update(names)

    async def _hasten(self) -> None:
        """Make due what is wanted, however often the store is away. What is wanted meanwhile comes before the ways are remembered."""
        await self._lock.acquire()
        try:
            while (self._all_wanted or self._wanted) and not self._stopped:
                everything, names = self._all_wanted, self._wanted
                self._all_wanted, self._wanted = False, set()
                try:
                    count = await self._hasten_these(everything, names)
                    if not (self._all_wanted or self._wanted):
                        await self._rest(_SETTLED)
                    if self._all_wanted or self._wanted:
                        self._want(everything, names)
                        continue
                    count += await self._hasten_these(everything, names)
                    if not (self._stopped or self._all_wanted or self._wanted):
                        await self._remember()
                    log.info("Waiting mail is tried the new way", event="queue.hastened", rows=count)
                except Unavailable as error:
                    log.warn("Waiting mail is hastened later: {reason}", event="queue.unavailable", reason=error.reason)
                    self._want(everything, names)
                    await self._rest(_AGAIN)
        finally:
            self._lock.release()

    async def _hasten_these(self, everything: bool, names: Iterable[str]) -> int:
        return await (self._hasten_all() if everything else self._hasten_some([self._queue.lane(name) for name in sorted(names)]))

    async def _hasten_all(self) -> int:
        total, after = 0, b""
        while not self._stopped:
            found = await self._store.read(queue_upkeep.waiting, after, _PAGE)
            for start in range(0, len(found), _DESTINATIONS):
                total += await self._hasten_some(found[start : start + _DESTINATIONS])
            if len(found) < _PAGE:
                break
            after = found[-1]
        return total

    async def _hasten_some(self, lanes: Sequence[bytes]) -> int:
        total = 0
        now = int(self._now())
        while lanes and not self._stopped:
            count = await self._store.write(queue_upkeep.hasten, lanes, now)
            total += count
            if count:
                self._queue.wake()
                await self._rest(_PAUSE)
            if count < SLICE:
                break
        return total

    async def _rest(self, seconds: float) -> None:
        self._pause = deferLater(self._reactor, seconds)
        try:
            await self._pause
        except CancelledError:
            pass  # the server stops
        finally:
            self._pause = None

    async def _remember(self) -> None:
        await self._store.write(remembered.put, self._cipher, _KIND, _KEY, dict(self._ways(self._config)), _FOREVER)

    def _ways(self, config: Config) -> dict[str, str]:
        """A hash of each relay by its name, and under "" one of what decides between them."""
        ways = {relay.name: self._hash(asdict(relay)) for relay in relays(config)}
        return {**ways, "": self._hash(self._others(config))}

    def _others(self, config: Config) -> Any:
        """What decides which way mail goes, besides where each relay leads."""
        return [[asdict(route) for route in config.outbound.routes], bool(config.smarthost.host)]

    def _hash(self, value: Any) -> str:
        return self._cipher.hash(b"routing", b"", json.dumps(value, sort_keys=True).encode()).hex()


def _deciding(config: Config) -> Any:
    """All that the queue and its couriers take of the settings that may change."""
    return config.outbound, config.smarthost, config.queue.retry, config.queue.warn_after

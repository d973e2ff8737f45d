"""What goes between this server and other MailX servers, counted by day, and what can be said of them by it.

Counting costs a microsecond and is written now and then; what a killed server had not written is lost. Only what a domain
has proved to be its own is counted as its own. The reputation informs administrators; nothing is refused because of it.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from attrs import astuple, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailx.core.users import canonical_domain
from mailx.mail.reply import Unavailable
from mailx.store import Store
from mailx.store import peer_days as rows

log = Logger()

EVERY = 30.0  # seconds between writes
DAYS = 30  # that the figures sum up
KEPT_DAYS = 400
_DAY = 86400
_PENDING = 10000  # domains counted between two writes; what more of them do is not counted
_PRUNED = 1000
GOOD, FAIR, POOR = "good", "fair", "poor"
_BREACHES = 20  # that take all of their part away


@frozen
class PeerFigures:
    """Sums of the last DAYS days."""

    received: int = 0  # messages of theirs that we took
    received_octets: int = 0
    sent: int = 0  # messages of ours that they took
    sent_octets: int = 0
    refused: int = 0  # messages of theirs that we refused for good
    delayed: int = 0  # messages of theirs that we told to come later
    failed: int = 0  # attempts of ours that did not succeed
    violations: int = 0  # breaches of the protocol, forged senders

    @property
    def score(self) -> int | None:
        """From 0 to 100: how well it behaves; None while nothing is known."""
        if not any(astuple(self)):
            return None
        unwanted = self.refused / (self.received + self.refused) if self.refused else 0
        missed = self.failed / (self.sent + self.failed) if self.failed else 0
        breaches = min(1.0, self.violations / _BREACHES)
        return round(100 - 40 * unwanted - 20 * missed - 40 * breaches)

    @property
    def reputation(self) -> str:
        """The score in a word: GOOD, FAIR or POOR; empty while nothing is known."""
        score = self.score
        if score is None:
            return ""
        return GOOD if score >= 80 else FAIR if score >= 50 else POOR


class PeerCounting:
    """Counts. ``start`` when the store is open, ``stop`` before it closes."""

    def __init__(self, store: Store, hash: Callable[[str], bytes], reactor: Any, now: Callable[[], float] = time) -> None:
        """``hash``: of :class:`mailx.core.peers.Peers`."""
        self._store = store
        self._hash = hash
        self._now = now
        self._pending: dict[str, dict[str, int]] = {}
        self._prune_after = 0.0
        self._writing = LoopingCall(lambda: Deferred.fromCoroutine(self._write()))
        self._writing.clock = reactor

    def start(self) -> None:
        """Write what was counted now and then."""
        self._writing.start(EVERY, now=False).addErrback(
            lambda failure: log.failure("Peers are no longer counted", failure, event="peer.failed")
        )

    async def stop(self) -> None:
        """Write what was counted last."""
        if self._writing.running:
            self._writing.stop()
        await self._write()

    def count(self, domain: str, **amounts: int) -> None:
        """Add to the figures of ``domain``; names are those of :class:`PeerFigures`."""
        counts = self._pending.get(domain)
        if counts is None:
            if len(self._pending) >= _PENDING:
                return
            counts = self._pending[domain] = defaultdict(int)
        for name, amount in amounts.items():
            counts[name] += amount

    async def of(self, domain: str) -> PeerFigures:
        """The figures of ``domain``. Raises Unavailable."""
        domain = canonical_domain(domain)
        return self._with_pending(domain, await self._store.read(rows.totals, self._hash(domain), self._since()))

    async def all(self) -> Callable[[str], PeerFigures]:
        """What gives the figures of each domain. Raises Unavailable."""
        found = await self._store.read(rows.all_totals, self._since())
        none = (0,) * len(rows.COLUMNS)
        return lambda domain: self._with_pending(domain, found.get(self._hash(domain), none))

    def _with_pending(self, domain: str, sums: tuple[int, ...]) -> PeerFigures:
        pending: Mapping[str, int] = self._pending.get(domain, {})
        return PeerFigures(*(amount + pending.get(name, 0) for name, amount in zip(rows.COLUMNS, sums, strict=True)))

    def _since(self) -> int:
        return int(self._now()) // _DAY - DAYS + 1

    async def _write(self) -> None:
        pending, self._pending = self._pending, {}
        now = self._now()
        try:
            if pending:
                amounts = [(self._hash(domain), counts) for domain, counts in sorted(pending.items())]
                await self._store.write(rows.add, int(now) // _DAY, amounts)
                pending = {}
            if now >= self._prune_after:
                self._prune_after = now + _DAY
                while await self._store.write(rows.prune, int(now) // _DAY - KEPT_DAYS, _PRUNED) == _PRUNED:
                    pass
        except Unavailable as error:
            log.warn("Figures of peers were not written: {reason}", event="peer.not_counted", reason=error.reason)
            for domain, counts in pending.items():
                self.count(domain, **counts)

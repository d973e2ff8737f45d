"""Watches the key logs of other domains: the last head of each is kept, and every other one must continue it.

A head that does not is a fork: that domain shows different entries to different servers. Both heads are kept as evidence
and an alert is raised; the head that was kept stays. What cannot be told, because a proof was not to be had, changes
nothing and is tried again with the next head. A log that was restored goes on in a new epoch, which its domain signs; if
entries that we know of are gone with it, an alert says so.
"""

import json
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from time import time
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from mailx.core.alerts import LOG_FORK, LOG_LOST
from mailx.core.key_log import EPOCHS_LIMIT
from mailx.core.metrics import KEY_LOG_HEADS
from mailx.identity import key_log, merkle
from mailx.identity.encoding import JSON, Malformed, canonical
from mailx.identity.key_log import Epoch, Head
from mailx.store import Row, Store, Txn
from mailx.store import log_witness as rows
from mailx.store.cipher import Cipher, CipherError

log = Logger()

NEW, SAME, GROWN, BEHIND, EPOCH, LOST, FORK, UNPROVED = "new", "same", "grown", "behind", "epoch", "lost", "fork", "unproved"  # verdicts
_HEAD_PURPOSE, _EVIDENCE_PURPOSE = b"log head", b"log evidence"
KEPT_DAYS = 800  # that a log is remembered which is not shown any more
_PRUNE_EVERY = 3600
_AHEAD = 300  # seconds that the clocks of two servers may differ
_REFRESH = 3600  # seconds after which the same head shown again is written down again
_REFUSED_SECONDS = 3600  # that a server may refuse a proof before that is a fork
_REFUSED_LIMIT = 10000

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""(method, fields) to the answer of the server whose log it is; raises Away."""


class Away(Exception):
    """The server whose log it is did not answer, or ``refused``: it answered no, or nonsense. ``reason`` is fit for logs."""

    def __init__(self, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class Tell(Protocol):
    """Where alerts go; :class:`mailx.core.alerts.Alerts`."""

    def tell(self, kind: str, subject: str, text: str) -> None: ...


@frozen
class Kept:
    """A head that is kept, and when it was shown last."""

    head: Head
    seen: int


@frozen
class Evidence:
    """Two signed heads of one log that do not belong together."""

    domain: str
    kept: Mapping[str, JSON] = field(repr=False)
    shown: Mapping[str, JSON] = field(repr=False)
    epochs: Sequence[JSON] = field(repr=False)
    reason: str
    found: int


class LogWitness:
    """The heads that this server has seen. ``alerts`` may be set once there are any."""

    def __init__(self, *, store: Store, cipher: Cipher, alerts: Tell | None = None, now: Callable[[], float] = time) -> None:
        self.alerts = alerts
        self._store = store
        self._cipher = cipher
        self._now = now
        self._locks: dict[str, DeferredLock] = {}  # of domains whose heads are being looked at
        self._prune_after = now() + _PRUNE_EVERY
        self._refused: dict[str, tuple[float, Head]] = {}  # domain to when it refused a proof first, and of which head; the oldest first

    # What is kept.

    async def kept(self, domain: str) -> Kept | None:
        """The latest head of ``domain`` that was proved to continue those before it. Raises Unavailable."""
        row = await self._store.read(rows.latest, self._hash(domain))
        return None if row is None else self._opened(row[2:])

    async def all(self, limit: int) -> list[Kept]:
        """The latest heads, those shown last first. Raises Unavailable."""
        return await self._store.read(self._all, limit)

    def _all(self, txn: Txn, limit: int) -> list[Kept]:
        """A job: to open a thousand takes longer than others may wait."""
        opened = (self._opened(row) for row in rows.all_latest(txn, limit))
        return [each for each in opened if each is not None]

    async def evidence(self, domain: str | None = None, limit: int = 100) -> list[Evidence]:
        """What was found about ``domain``, or about all, the newest first. Raises Unavailable."""
        hash = None if domain is None else self._hash(domain)
        found = []
        for guid, sealed, at in await self._store.read(rows.evidence, hash, limit):
            try:
                value = json.loads(self._cipher.open(_EVIDENCE_PURPOSE, bytes(guid), bytes(sealed)))
                found.append(Evidence(value["domain"], value["kept"], value["shown"], value["epochs"], value["reason"], int(at)))
            except (CipherError, KeyError, ValueError):
                log.error("Evidence of a key log does not open", event="key_log.damaged")
        return found

    def _opened(self, row: Row) -> Kept | None:
        try:
            value = json.loads(self._cipher.open(_HEAD_PURPOSE, bytes(row[0]), bytes(row[1])))
            return Kept(key_log.read_head(value["head"], value["domain"]), int(row[2]))
        except (CipherError, KeyError, ValueError):  # Malformed is a ValueError
            log.error("A head of a key log does not open", event="key_log.damaged")
            return None

    def _hash(self, domain: str) -> bytes:
        return self._cipher.hash(_HEAD_PURPOSE, b"", domain.encode())

    # What is shown.

    async def seen(self, domain: str, value: object, keys: Collection[bytes], ask: Ask | None) -> str:
        """Somebody shows ``value`` as the head of ``domain``, whose keys are ``keys``; its server can be asked by ``ask``.

        Returns the verdict. Raises Malformed if it is no such head, or not signed; Unavailable.
        """
        head = key_log.read_head(value, domain)
        if head.time > self._now() + _AHEAD:
            raise Malformed("a head of the future")
        if not any(head.statement.signed_by(key) for key in keys):
            raise Malformed("a head that no key of the domain signed")
        lock = self._locks.setdefault(domain, DeferredLock())
        await lock.acquire()
        try:
            verdict = await self._judge(head, keys, ask)
            if verdict == FORK:
                self._refused.pop(domain, None)
            elif verdict != UNPROVED and (refused := self._refused.get(domain)) is not None:
                # That other heads are proved says nothing of this one: nobody gets away with a second log by showing the first.
                if await self._judge(refused[1], keys, ask) != UNPROVED:
                    self._refused.pop(domain, None)
        finally:
            lock.release()
            if not lock.locked:
                self._locks.pop(domain, None)
        KEY_LOG_HEADS.labels(verdict).inc()
        return verdict

    async def _judge(self, head: Head, keys: Collection[bytes], ask: Ask | None) -> str:
        kept = await self.kept(head.domain)
        if kept is None:
            await self._keep(head)
            return NEW
        if head.epoch == kept.head.epoch:
            return await self._same_epoch(kept, head, keys, ask)
        if head.epoch > kept.head.epoch:
            return await self._later_epoch(kept.head, head, keys, ask)
        if head.time <= kept.head.time:
            return BEHIND  # from before a restore: somebody has not heard of it yet
        # Restored once more, and soon in an epoch after ours, for its domain learns from what we show that we are further.
        return await self._unproved(kept.head, head, keys, Away("it is in an epoch before that which was seen", refused=True))

    async def _same_epoch(self, kept: Kept, head: Head, keys: Collection[bytes], ask: Ask | None) -> str:
        if head.vrf != kept.head.vrf:  # who looks for a label with the one does not see what stands under that of the other
            return await self._fork(kept.head, head, keys, "two keys for its labels")
        if head.size == kept.head.size:
            if head.root != kept.head.root:
                return await self._fork(kept.head, head, keys, "two roots of one size")
            if head.time >= kept.head.time + _REFRESH:
                await self._keep(head)
            return SAME
        less, more = (kept.head, head) if kept.head.size < head.size else (head, kept.head)
        try:
            if not await _continues(less, more, ask):
                return await self._fork(kept.head, head, keys, "no continuation")
        except Away as error:
            return await self._unproved(kept.head, head, keys, error)
        if more is not head:
            return BEHIND
        await self._keep(head)
        return GROWN

    async def _later_epoch(self, kept: Head, head: Head, keys: Collection[bytes], ask: Ask | None) -> str:
        try:
            epochs = [each for each in await _epochs(head.domain, keys, ask) if kept.epoch < each.epoch <= head.epoch]
            if not epochs or epochs[-1].epoch != head.epoch:
                raise Away("the epoch of the head is not declared", refused=True)
            common = min(each.kept for each in epochs) if head.vrf == kept.vrf else 0
            if kept.size <= common and not await _continues(kept, head, ask):
                return await self._fork(kept, head, keys, "no continuation in a later epoch", epochs)
        except Away as error:
            return await self._unproved(kept, head, keys, error)
        first = epochs[0]
        if first.of == kept.epoch and first.size == kept.size and first.root != kept.root:
            await self._keep_evidence(kept, head, "the epoch follows another log", epochs)
        await self._keep(head)
        if kept.size <= common:
            log.info("A key log goes on in a new epoch", event="key_log.epoch", domain=head.domain, epoch=head.epoch)
            return EPOCH
        log.warn(
            "A key log goes on without entries that were in it", event="key_log.lost", domain=head.domain, epoch=head.epoch, kept=common
        )
        self._tell(
            LOG_LOST,
            head.domain,
            f"The key log of {head.domain} was restored and goes on in epoch {head.epoch}. We knew {kept.size} entries of it, and only "
            f"the first {common} are certain to be in it still. Ask its administrator, then look with: mailxctl key audit {head.domain}",
        )
        return LOST

    async def _unproved(self, kept: Head, head: Head, keys: Collection[bytes], error: Away) -> str:
        """Nothing changes, unless its server goes on refusing: one that was restored begins an epoch as soon as it meets somebody."""
        log.info("A head of a key log is not proved yet", event="key_log.unproved", domain=head.domain, size=head.size, reason=error.reason)
        if not error.refused:
            return UNPROVED
        first, _ = self._refused.setdefault(head.domain, (self._now(), head))
        while len(self._refused) > _REFUSED_LIMIT:
            del self._refused[next(iter(self._refused))]
        if self._now() - first < _REFUSED_SECONDS:
            return UNPROVED
        return await self._fork(kept, head, keys, "its server does not prove that they belong together")

    async def _keep(self, head: Head, anew: bool = False) -> None:
        """``anew``: in the place of all that was kept of the log."""
        guid = os.urandom(16)
        value = canonical({"domain": head.domain, "head": head.statement.encode()})
        sealed = self._cipher.seal(_HEAD_PURPOSE, guid, value)
        now = int(self._now())
        await self._store.write(rows.keep, self._hash(head.domain), head.epoch, head.size, guid, sealed, now, anew)
        if now >= self._prune_after:
            self._prune_after = now + _PRUNE_EVERY
            await self._store.write(rows.prune, now - KEPT_DAYS * 86400)

    async def _fork(self, kept: Head, head: Head, keys: Collection[bytes], reason: str, epochs: Sequence[Epoch] = ()) -> str:
        """What was kept stays, unless no key that is believed now signed it: a thief's log must not keep us from seeing the owner's."""
        await self._keep_evidence(kept, head, reason, epochs)
        if not any(kept.statement.signed_by(key) for key in keys):
            await self._keep(head, anew=True)
        return FORK

    async def _keep_evidence(self, kept: Head, head: Head, reason: str, epochs: Sequence[Epoch] = ()) -> None:
        """Keep it, and say so once for each head that contradicts."""
        hash, guid = self._hash(head.domain), os.urandom(16)
        mark = self._cipher.hash(
            _EVIDENCE_PURPOSE, hash, canonical([[each.epoch, each.size, each.root.hex(), each.vrf.hex()] for each in (kept, head)])
        )
        told: list[JSON] = [each.statement.encode() for each in epochs]
        value = canonical(
            {
                "domain": head.domain,
                "kept": kept.statement.encode(),
                "shown": head.statement.encode(),
                "epochs": told,
                "reason": reason,
            }
        )
        sealed = self._cipher.seal(_EVIDENCE_PURPOSE, guid, value)
        if not await self._store.write(rows.add_evidence, hash, mark, guid, sealed, int(self._now())):
            return
        log.error("A key log was forked", event="key_log.fork", domain=head.domain, size=head.size, kept=kept.size, reason=reason)
        self._tell(
            LOG_FORK,
            head.domain,
            f"The key log of {head.domain} shows different entries to different servers ({reason}). Its server may be forged, or its key "
            f"may be in other hands. Both signed heads are kept: mailxctl key evidence {head.domain}",
        )

    def _tell(self, kind: str, subject: str, text: str) -> None:
        if self.alerts is not None:
            self.alerts.tell(kind, subject, text)


async def _continues(less: Head, more: Head, ask: Ask | None) -> bool:
    """Whether ``more`` is proved to continue ``less``. Raises Away when no proof is to be had."""
    if less.size == 0 or less.size == more.size:
        return merkle.consistent(less.size, more.size, less.root, more.root, [])
    if ask is None:
        raise Away("its server was not asked")
    answer = await ask("log_consistency", {"old": less.size, "size": more.size})
    try:
        proof = key_log.hashes(answer.get("proof"))
    except Malformed:
        raise Away("what came is no proof", refused=True) from None
    return merkle.consistent(less.size, more.size, less.root, more.root, proof)


async def _epochs(domain: str, keys: Collection[bytes], ask: Ask | None) -> list[Epoch]:
    """The epochs that a domain declares, in their order. Raises Away."""
    if ask is None:
        raise Away("its server was not asked")
    listed = (await ask("log_epochs", {})).get("epochs")
    if not isinstance(listed, list) or len(listed) > EPOCHS_LIMIT:
        raise Away("what came are no epochs", refused=True)
    try:
        found = [key_log.read_epoch(each, domain) for each in listed]
    except Malformed as error:
        raise Away(str(error), refused=True) from None
    if any(not any(each.statement.signed_by(key) for key in keys) for each in found):
        raise Away("an epoch that no key of the domain signed", refused=True)
    if [each.epoch for each in found] != sorted({each.epoch for each in found}):
        raise Away("epochs out of order", refused=True)
    return found

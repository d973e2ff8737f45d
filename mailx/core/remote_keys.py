"""The attested keys of users elsewhere: asked of their domain over a channel, verified, and kept.

An attestation counts when a key of the domain that is believed now signed it. Serials never go back: a domain that shows
an older statement, another one under the same number, or none any more without having revoked it, is not followed; that
is logged and raises an alert. Not to get keys is never an error here: the mail then goes without being sealed.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import time
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.logger import Logger

from mailx.core.alerts import REMOTE_KEY, Alerts
from mailx.core.cache import Cache
from mailx.core.metrics import REMOTE_KEYS
from mailx.core.peer import Peer
from mailx.core.users import canonical_domain
from mailx.identity import user_keys
from mailx.identity.domain_keys import SKEW
from mailx.identity.encoding import Malformed, parse
from mailx.identity.user_keys import HISTORY_LIMIT, Attestation
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Unavailable
from mailx.store import Store, Txn
from mailx.store import remote_keys as rows
from mailx.store.cipher import Cipher, CipherError
from mailx.store.remote_keys import KeyRow

log = Logger()

FRESH = 3600  # seconds until the domain is asked again for keys that it attested
FRESH_NONE = 600  # the same, where it had none
STALE = 7 * 86400  # seconds that keys are used while the domain cannot be asked
AT_ONCE = 50  # addresses that are asked for by one call
REST = 30.0  # seconds for which a domain that did not answer is not asked again; twice as long each time
LONGEST_REST = 600.0
STATEMENT_LIMIT = 8192  # octets of one
_MEMORY = 10000
_GRACE = 0.5  # seconds beyond those that were given, for what is under way to end by itself
_PRUNED = 500
_PRUNE_EVERY = 3600
_PURPOSE = b"remote key"


class Failed(Exception):
    """The domain could not be asked."""


class Asking(Protocol):
    """Calls methods of other servers, over a channel that is there or made for it."""

    async def ask(
        self, sender: str, domain: str, service: str, method: str, fields: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any]:
        """``sender``: which of our domains asks; "": any. Whatever goes wrong is raised."""


class IPeers(Protocol):
    """What is needed of :class:`mailx.core.peers.Peers`."""

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None: ...

    def hash(self, domain: str) -> bytes: ...

    def absent(self, domain: str) -> bool: ...


@frozen
class _Kept:
    """What is known of one address. ``attestation`` None: it has no keys."""

    attestation: Attestation | None
    verified: int
    expires: int
    by: tuple[bytes, ...] = ()  # the keys whose signatures on it are good: they are verified once

    def due(self, now: float) -> bool:
        """Whether it is time to ask again. What was noted by a clock that was ahead counts no more."""
        return not now < self.expires <= now + FRESH

    def good(self, keys: Collection[bytes], now: float) -> bool:
        """Whether mail may be sealed to it: as ``Attestation.good``."""
        one = self.attestation
        if one is None or one.revoked or not one.valid_from <= now + SKEW or now >= one.valid_until:
            return False
        return any(key in keys for key in self.by)


class RemoteKeys:
    """The keys of others. Without ``asking`` only what is kept is known."""

    def __init__(
        self, store: Store, cipher: Cipher, peers: IPeers, reactor: Any, *, asking: Asking | None = None, now: Callable[[], float] = time
    ) -> None:
        self.asking = asking
        self.alerts: Alerts | None = None
        self._store = store
        self._cipher = cipher
        self._peers = peers
        self._reactor = reactor
        self._now = now
        self._cache: Cache[str, _Kept] = Cache(_MEMORY, FRESH, now)
        self._prune_after = now() + _PRUNE_EVERY
        self._rests: Cache[str, tuple[float, float]] = Cache(_MEMORY, 2 * LONGEST_REST, now)  # until when, and how long

    async def find(
        self, addresses: Sequence[Address], seconds: float, sender: str = "", anew: bool = False
    ) -> Mapping[Address, Attestation]:
        """The keys of those that have some, found within ``seconds``. ``sender``: our domain that asks. Never raises.

        A domain that did not answer lately is not waited for; with ``anew`` it is.
        """
        if self._without(addresses):
            return {}
        by_domain: dict[str, list[Address]] = defaultdict(list)
        for address in dict.fromkeys(addresses):
            domain = canonical_domain(address.domain)
            if not self._peers.absent(domain):
                by_domain[domain].append(address)
        if not by_domain:
            return {}
        found: dict[Address, Attestation] = {}
        if anew:
            for domain in by_domain:
                self._rests.pop(domain)
        looking = [Deferred.fromCoroutine(self._of_domain(domain, some, seconds, sender, found)) for domain, some in by_domain.items()]
        all_of_them: Deferred[Any] = gatherResults(looking, consumeErrors=True)
        all_of_them.addTimeout(seconds + _GRACE, self._reactor)
        try:
            await all_of_them
        except (TimeoutError, CancelledError):
            log.info("Keys of recipients were not found in time", event="remote_keys.late", domains=len(by_domain))
        except Exception:
            log.failure("Keys of recipients were not found", event="remote_keys.failed")
        return dict(found)

    async def history(self, address: Address) -> tuple[Attestation, ...]:
        """What is kept of the address's statements, the oldest first. Raises Unavailable."""
        opened = await self._store.read(_history, self._cipher, self._hash(address))
        return tuple(reversed(opened))

    async def signers(self, address: Address, seconds: float, sender: str = "") -> tuple[Attestation, ...]:
        """The statements whose signing keys count for mail of ``address`` now, the newest first. Never raises."""
        if not await self.find([address], seconds, sender):
            return ()
        try:
            return user_keys.accepted(await self.history(address), int(self._now()))
        except Unavailable:
            return ()

    def _without(self, addresses: Iterable[Address]) -> bool:
        """Whether memory tells of all of them that they have no keys, as of most: then there is nobody to ask."""
        now = self._now()
        for address in addresses:
            kept = self._cache.get(address.key)
            if kept is None or kept.due(now) or not (kept.attestation is None or kept.attestation.revoked):
                return False
        return True

    def forget(self, domain: str) -> None:
        """What is kept of ``domain`` was removed from the store: memory knows nothing else."""
        self._cache.clear()

    # One domain.

    async def _of_domain(
        self, domain: str, addresses: Sequence[Address], seconds: float, sender: str, found: dict[Address, Attestation]
    ) -> None:
        began = self._reactor.seconds()
        try:
            peer = await self._peers.find(domain, seconds)
            if peer is None or peer.blocked:
                return
            missing = []
            for address in addresses:
                kept = await self._kept(address)
                if kept is None or kept.due(self._now()) or not self._usable(kept, peer, found, address):
                    missing.append(address)
            for start in range(0, len(missing), AT_ONCE):
                left = seconds - (self._reactor.seconds() - began)
                await self._asked(peer, missing[start : start + AT_ONCE], left, sender, found)
        except Refused as error:
            log.debug("No keys of recipients", event="remote_keys.none", domain=domain, reason=error.reason)

    def _usable(self, kept: _Kept, peer: Peer, found: dict[Address, Attestation], address: Address) -> bool:
        """Whether what is kept answers for ``address``; its keys go into ``found``."""
        if kept.attestation is None or kept.attestation.revoked:
            return True
        if not kept.good(peer.keys, self._now()):
            return False
        found[address] = kept.attestation
        return True

    async def _asked(
        self, peer: Peer, addresses: Sequence[Address], seconds: float, sender: str, found: dict[Address, Attestation]
    ) -> None:
        try:
            answers = await self._ask(peer, addresses, seconds, sender)
        except Failed as error:
            REMOTE_KEYS.labels("failed").inc()
            log.info("A domain was not asked for keys: {reason}", event="remote_keys.not_asked", domain=peer.domain, reason=str(error))
            for address in addresses:
                kept = await self._kept(address)
                if kept is not None and kept.verified + STALE > self._now():
                    self._usable(kept, peer, found, address)
            return
        fresh: list[KeyRow] = []
        for address, answer in zip(addresses, answers, strict=True):
            kept, row = await self._judged(peer, address, answer)
            fresh += [row] if row is not None else []
            self._usable(kept, peer, found, address)
        await self._write(fresh)

    async def _ask(self, peer: Peer, addresses: Sequence[Address], seconds: float, sender: str) -> list[Any]:
        """What the domain says, an answer for each address; raises Failed."""
        if self.asking is None or seconds <= 0:
            raise Failed("no time left" if self.asking else "federation is off")
        until, rest = self._rests.get(peer.domain) or (0.0, REST / 2)
        if until - rest <= self._now() < until:
            raise Failed("it did not answer lately")
        fields = {"addresses": [address.key for address in addresses]}
        try:
            told = await self.asking.ask(sender, peer.domain, "discovery", "keys", fields, seconds)
        except Exception as error:
            rest = min(2 * rest, LONGEST_REST)
            self._rests.put(peer.domain, (self._now() + rest, rest))
            raise Failed(type(error).__name__) from None
        self._rests.pop(peer.domain)
        answers = told.get("keys")
        if not isinstance(answers, list) or len(answers) != len(addresses):
            raise Failed("not an answer to what was asked")
        return answers

    async def _judged(self, peer: Peer, address: Address, answer: Any) -> tuple[_Kept, KeyRow | None]:
        """What is known of ``address`` from now on, after what its domain said; and what of it is to be written."""
        before = await self._kept(address)
        old = None if before is None else before.attestation
        now = int(self._now())
        try:
            new = _read(answer, address, peer, now)
        except Malformed as error:
            REMOTE_KEYS.labels("refused").inc()
            log.warn("Keys of a user were not believed", event="remote_keys.refused", domain=peer.domain, reason=str(error))
            return before or _Kept(None, now, now + FRESH_NONE), None
        regress = _regress(old, new)
        if regress:
            assert before is not None
            REMOTE_KEYS.labels("regress").inc()
            log.warn("Keys of a user went back", event="remote_keys.regress", domain=peer.domain, reason=regress)
            if self.alerts is not None:
                self.alerts.tell(
                    REMOTE_KEY,
                    peer.domain,
                    f"{peer.domain} shows keys of a user that cannot be right: {regress}. The keys that were known stay in use. "
                    "Ask its administrators whether they restored an old backup.",
                )
            return before, None
        REMOTE_KEYS.labels("none" if new is None else "found").inc()
        kept = _Kept(new, now, now + (FRESH_NONE if new is None else FRESH), _signers(new))
        self._cache.put(address.key, kept)
        return kept, self._row(address, peer.domain, kept)

    # Memory and store.

    async def _kept(self, address: Address) -> _Kept | None:
        """What is known of it; None: nothing."""
        kept = self._cache.get(address.key)
        if kept is None:
            kept = await self._store.read(_get, self._cipher, self._hash(address))
            if kept is not None:
                self._cache.put(address.key, kept)
        return kept

    def _row(self, address: Address, domain: str, kept: _Kept) -> KeyRow:
        hash = self._hash(address)
        statement = None if kept.attestation is None else kept.attestation.statement.encode()
        sealed = self._cipher.seal_bulk(_PURPOSE, hash, json.dumps({"address": address.key, "statement": statement}).encode())
        serial = 0 if kept.attestation is None else kept.attestation.serial
        return KeyRow(hash, self._peers.hash(domain), serial, sealed, kept.verified, kept.expires)

    async def _write(self, fresh: Sequence[KeyRow]) -> None:
        """Keep what was found; memory has it already, and mail does not fail because of it."""
        now = self._now()
        try:
            if fresh:
                await self._store.write(rows.put, fresh)
            if now >= self._prune_after:
                self._prune_after = now + _PRUNE_EVERY
                while await self._store.write(rows.prune, int(now), _PRUNED) == _PRUNED:
                    pass
        except Unavailable as error:
            log.error("The keys of users elsewhere were not kept: {reason}", event="remote_keys.not_kept", reason=error.reason)

    def _hash(self, address: Address) -> bytes:
        return self._cipher.hash(_PURPOSE, b"", address.key.encode())


def _read(answer: Any, address: Address, peer: Peer, now: int) -> Attestation | None:
    """What the domain said of ``address``; None: it has no keys. Raises Malformed."""
    if answer is None:
        return None
    if not isinstance(answer, bytes):
        raise Malformed("not a statement")
    attestation = Attestation.decode(parse(answer, STATEMENT_LIMIT))
    if attestation.address.key not in (address.key, address.base("+").key):
        raise Malformed("the keys of another address")
    if not attestation.signed_by(peer.keys):
        raise Malformed("signed by no key of the domain that is believed")
    if not attestation.revoked and not attestation.good(peer.keys, now):
        raise Malformed("not in force")
    return attestation


def _signers(attestation: Attestation | None) -> tuple[bytes, ...]:
    """The keys that signed it."""
    if attestation is None:
        return ()
    statement = attestation.statement
    return tuple(each.key for each in statement.signatures if statement.signed_by(each.key))


def _regress(old: Attestation | None, new: Attestation | None) -> str:
    """Why ``new`` cannot come after ``old``; empty: it can."""
    if old is None:
        return ""
    if new is None:
        return "" if old.revoked else "there were keys, and they are gone without being revoked"
    if new.serial < old.serial:
        return f"statement {new.serial} after {old.serial}"
    if new.serial == old.serial and new.statement.digest != old.statement.digest:
        return f"two different statements {new.serial}"
    return ""


def _get(txn: Txn, cipher: Cipher, hash: bytes) -> _Kept | None:
    row = rows.get(txn, hash)
    if row is None:
        return None
    try:
        attestation = _opened(cipher, row)
        return _Kept(attestation, row.verified, row.expires, _signers(attestation))
    except (CipherError, Malformed, ValueError, KeyError):
        log.error("The keys of a user elsewhere cannot be read", event="remote_keys.damaged")
        return None


def _history(txn: Txn, cipher: Cipher, hash: bytes) -> list[Attestation]:
    found: Iterable[KeyRow] = rows.history(txn, hash, HISTORY_LIMIT)
    return [attestation for row in found if (attestation := _opened(cipher, row)) is not None]


def _opened(cipher: Cipher, row: KeyRow) -> Attestation | None:
    statement = json.loads(cipher.open_bulk(_PURPOSE, row.address, row.sealed))["statement"]
    return None if statement is None else Attestation.decode(statement)

"""The keys of our own domains: made with the domain, rotated, recovered, and what others are told of them.

All that is asked while mail flows is answered from memory. A key lives on after its rotation for the overlap, so that
peers that have not heard yet can still be reached; then its private half is erased. The recovery key of a domain is never
kept here: its text is returned once, by whatever made it. What is refused rises as ``DirectoryError``.
"""

import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from time import time
from typing import Any, ParamSpec, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit
from mailx.core.accounts import Accounts, DirectoryError
from mailx.core.keystore import DomainSigner, KeyLost, Keystore
from mailx.core.publication import Publication
from mailx.core.users import domain_name
from mailx.identity import domain_keys, key_log, recovery_keys
from mailx.identity.documents import PATH
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import KEY_SIZE, Malformed, canonical, key_text, parse
from mailx.identity.statements import SIGNATURES_LIMIT, SeedSigner, Statement
from mailx.mail.log_leaf import DOMAIN_KEY, RECOVERY_KEY, Leaf
from mailx.mail.reply import Unavailable
from mailx.store import Row, Store
from mailx.store import domain_keys as rows
from mailx.store.domain_keys import KeyRow, Overtaken
from mailx.store.names import Missing

__all__ = ["DomainKeys", "DomainSigner", "Keys"]

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

_FORMER = SIGNATURES_LIMIT  # with the current one as many as a statement may have signatures
FRESH_SECONDS = 60.0  # until a change by another process is seen, and private halves whose time is over are erased


@frozen
class Keys:
    """All of one domain's keys. Never shown, never logged."""

    history: tuple[DomainKey, ...]  # oldest first
    kept: Mapping[bytes, bytes] = field(repr=False)  # public half -> what the keystore keeps of the private one
    signers: Mapping[bytes, DomainSigner] = field(repr=False)  # those of them that open
    log_secret: bytes = field(repr=False)

    @property
    def current(self) -> DomainKey:
        return self.history[-1]

    def recoveries(self, now: int) -> tuple[bytes, ...]:
        """The public halves of the recovery keys that are good at ``now``."""
        return domain_keys.recoveries([(key, key.created) for key in self.history], now)


@frozen
class Overview:
    """The keys of a domain as its administrator sees them. Times are seconds since 1970."""

    history: tuple[DomainKey, ...]
    valid: tuple[bytes, ...]
    ends: Mapping[int, int]  # serial -> when a key that was rotated out ends, or ended
    recoveries: tuple[bytes, ...]  # recovery keys that are good, the current one last
    since: int  # the current key
    opens: bool  # whether its private half does
    record: str  # TXT, empty when nothing is to be published
    document: str  # its URL


class DomainKeys:
    """The keys of all local domains. ``publication`` says where the servers of a domain are; ``now`` is the time since 1970."""

    def __init__(
        self,
        store: Store,
        keystore: Keystore,
        accounts: Accounts,
        publication: Publication,
        reactor: Any,
        now: Callable[[], float] = time,
    ) -> None:
        self._store = store
        self._keystore = keystore
        self._accounts = accounts
        self._publication = publication
        self._now = now
        self._keys: dict[str, Keys] = {}
        self._changing = DeferredLock()  # one change at a time, so that each begins from what the one before left
        self._listeners: list[Callable[[str, DomainKey], None]] = []
        self._upkeep = LoopingCall(self._refresh)
        self._upkeep.clock = reactor

    async def load(self) -> None:
        """Read all keys. Call once, before anything else; raises Unavailable."""
        await self._read()

    def start(self) -> None:
        """See what other processes change, and erase private halves whose time is over."""
        self._upkeep.start(FRESH_SECONDS, now=False)

    async def stop(self) -> None:
        if self._upkeep.running:
            self._upkeep.stop()
        await self._changing.acquire()  # what runs ends first
        self._changing.release()

    def on_change(self, call: Callable[[str, DomainKey], None]) -> None:
        """``call(domain, key)`` when a domain has a new key, or its key a new recovery key; not for a domain's first one."""
        self._listeners.append(call)

    # What is asked while mail flows. KeyError: not a domain of ours, or one without a key that opens.

    def domains(self) -> tuple[str, ...]:
        """The local domains that have keys."""
        return tuple(name for name in self._keys if self._accounts.local(name))

    def keys(self, domain: str) -> Keys:
        """Everything about the keys of ``domain``."""
        if not self._accounts.local(domain):
            raise KeyError(domain)
        return self._keys[domain]

    def signer(self, domain: str) -> DomainSigner:
        """The current key."""
        keys = self.keys(domain)
        return keys.signers[keys.current.key]

    def signers(self, domain: str) -> tuple[DomainSigner, ...]:
        """The keys that are good now, the current one first: a peer may still know an earlier one only."""
        keys = self.keys(domain)
        good = domain_keys.valid(keys.history, int(self._now()))
        return tuple(keys.signers[public] for public in good if public in keys.signers)

    def former(self, domain: str) -> tuple[DomainSigner, ...]:
        """Those before the current one that are good still, the latest first: they sign beside it, for peers that have not heard of it."""
        return self.signers(domain)[1:_FORMER]

    def latest_former(self, domain: str) -> DomainSigner:
        """The one before the current one; KeyError also if it is not good any more."""
        for signer in self.former(domain):
            return signer
        raise KeyError(domain)

    def valid(self, domain: str) -> tuple[bytes, ...]:
        """The public halves of the keys that are good now, the current one first."""
        return domain_keys.valid(self.keys(domain).history, int(self._now()))

    def history(self, domain: str) -> tuple[DomainKey, ...]:
        """Every key that the domain had, oldest first."""
        return self.keys(domain).history

    def log_secret(self, domain: str) -> bytes:
        """With which the labels of the domain's key log are made."""
        return self.keys(domain).log_secret

    def document(self, domain: str) -> Statement:
        """What the domain publishes about itself, signed not long ago."""
        keys = self.keys(domain)
        return self._publication.document(domain, keys.history, keys.log_secret, self.signer(domain), int(self._now()))

    def published(self, domain: str) -> bytes | None:
        """The octets of that document; None for a domain that is not ours or publishes nothing."""
        try:
            return canonical(self.document(domain).encode())
        except (KeyError, Malformed):
            return None

    def record(self, domain: str) -> str:
        """The text of the domain's TXT record; empty when it takes no mail by federation."""
        return self._publication.record(self.keys(domain).current.key)

    def overview(self, domain: str) -> Overview:
        """Raises DirectoryError."""
        keys, now = self._existing(domain), int(self._now())
        current, ends = keys.current, dict[int, int]()
        for later, earlier in pairwise(reversed(keys.history)):
            if later.key != earlier.key:
                ends[earlier.serial] = later.created + (0 if later.reason == domain_keys.RECOVERY else domain_keys.OVERLAP)
            elif later.serial in ends:  # the same key, with another recovery key
                ends[earlier.serial] = ends[later.serial]
        return Overview(
            keys.history,
            domain_keys.valid(keys.history, now),
            ends,
            keys.recoveries(now),
            min(key.created for key in keys.history if key.key == current.key),
            current.key in keys.signers,
            self.record(domain),
            f"https://{domain}{PATH}",
        )

    # What administrators change

    async def ensure(self, domain: str) -> str | None:
        """Make the first key of ``domain``, unless it has one; returns the text of its recovery key, the only copy.

        Raises DirectoryError.
        """
        domain = domain_name(domain)
        return await self._alone(self._ensure, domain)

    async def ensure_all(self) -> dict[str, str]:
        """The same for every domain without a key; returns the texts of the recovery keys by domain."""
        made = {}
        for domain, current in sorted((await self._store.read(rows.latest)).items()):
            if not current.serial and (text := await self.ensure(domain)) is not None:
                made[domain] = text
        return made

    async def _ensure(self, domain: str) -> str | None:
        if domain in self._keys:
            return None
        recovery = recovery_keys.generate()
        signer, kept = self._keystore.make(domain)
        secret = secrets.token_bytes(KEY_SIZE)
        key = domain_keys.first(domain, recovery_keys.read(recovery).public, int(self._now()), signer)
        audit.note(target=domain, after={"domain_key": key_text(key.key)})
        sealed = self._keystore.seal_secret(domain, secret)
        made = await self._write(domain, rows.begin, domain, _row(key, kept, secret, recovery=True), sealed)
        if not made:
            return None
        log.info("Domain key made", event="keys.made", domain=domain, key=key_text(key.key))
        return recovery

    async def rotate(self, domain: str) -> DomainKey:
        """Replace the domain key by a new one, which the old one announces; raises DirectoryError."""
        return await self._alone(self._rotate, domain_name(domain))

    async def _rotate(self, domain: str) -> DomainKey:
        keys = self._existing(domain)
        signer = self._opened(keys, domain)
        fresh, kept = self._keystore.make(domain)
        key = domain_keys.rotated(keys.current, signer, fresh, int(self._now()))
        await self._add(keys, key, kept, recovery=False, erased=())
        log.info("Domain key rotated", event="keys.rotated", domain=domain, key=key_text(key.key), serial=key.serial)
        return key

    async def recover(self, domain: str, recovery: str, lost: bool = False) -> DomainKey:
        """Replace the domain key at once by its recovery key; those before it are revoked. Raises DirectoryError.

        ``lost``: the history begins again. This server does not have the one that the recovery key belongs to (it was set up anew), or
        others refuse the one here, since its clock was ahead.
        """
        return await self._alone(self._recover, domain_name(domain), _typed(recovery), lost)

    async def _recover(self, domain: str, recovery: SeedSigner, lost: bool) -> DomainKey:
        keys, now = self._existing(domain), int(self._now())
        good = keys.recoveries(now)
        known = recovery.public in good
        if not known and not lost:
            raise DirectoryError(
                "invalid",
                f"this is not the recovery key of {domain}",
                "`mailxctl key show` shows the public half of the right one. Give --lost if this server lost the domain's earlier keys.",
            )
        fresh, kept = self._keystore.make(domain)
        if known and not lost:
            key = domain_keys.recovered(keys.current, recovery, fresh, now, eldest=recovery.public == good[0])
            await self._add(keys, key, kept, recovery=key.recovery != keys.current.recovery, erased=[each.serial for each in keys.history])
        else:
            after = max((each.serial for each in keys.history if each.created <= now + domain_keys.SKEW), default=0)
            key = domain_keys.begun_again(domain, recovery, fresh, now, after)
            audit.note(target=domain, before={"domain_key": key_text(keys.current.key)}, after={"domain_key": key_text(key.key)})
            new = _row(key, kept, keys.log_secret, recovery=True)
            await self._write(domain, rows.replace, domain, keys.current.serial, [new], None)
        log.warn("Domain key replaced by its recovery key", event="keys.recovered", domain=domain, key=key_text(key.key), serial=key.serial)
        self._tell(domain)
        return key

    async def change_recovery(self, domain: str, recovery: str = "") -> str:
        """Give the domain another recovery key; returns its text, the only copy. Raises DirectoryError.

        Without ``recovery``, the text of the one before, peers go on believing that one for some time beside the new one.
        """
        return await self._alone(self._change_recovery, domain_name(domain), _typed(recovery) if recovery else None)

    async def _change_recovery(self, domain: str, recovery: SeedSigner | None) -> str:
        keys, now = self._existing(domain), int(self._now())
        if recovery is not None and recovery.public not in keys.recoveries(now):
            raise DirectoryError(
                "invalid",
                f"this is not the recovery key of {domain}",
                "Leave it out if it is lost: the new one is then fully good after 30 days.",
            )
        text = recovery_keys.generate()
        following = recovery_keys.read(text).public
        key = domain_keys.recovery_changed(keys.current, self._opened(keys, domain), following, now, recovery)
        await self._add(keys, key, keys.kept[key.key], recovery=True, erased=())
        log.warn("Recovery key changed", event="keys.recovery_changed", domain=domain, key=key_text(following), proved=recovery is not None)
        self._tell(domain)
        return text

    async def bring(self, domain: str, history: Sequence[DomainKey], seeds: Mapping[bytes, bytes], secret: bytes, force: bool) -> str:
        """Take the keys of a backup: "new", "older" (nothing is done: the ones here go on from them) or "same". Raises DirectoryError.

        Keys here that go another way are only replaced with ``force``: peers may know them.
        """
        return await self._alone(self._bring, domain_name(domain), history, seeds, secret, force)

    async def _bring(self, domain: str, history: Sequence[DomainKey], seeds: Mapping[bytes, bytes], secret: bytes, force: bool) -> str:
        held = self._keys.get(domain)
        ours = [key.statement.digest for key in held.history] if held is not None else []
        theirs = [key.statement.digest for key in history]
        complete = held is not None and held.current.key in held.signers
        if theirs == ours and complete:
            return "same"
        older = ours[: len(theirs)] == theirs and theirs != ours
        if older and complete:
            return "older"
        if older and not force:
            raise DirectoryError(
                "in_use",
                f"the keys of {domain} here are newer than the backup, though the last one does not open",
                "Replace it with `mailxctl key recover`. With --force the older ones come back; servers that know the newer refuse them.",
            )
        if theirs[: len(ours)] != ours and not force:
            raise DirectoryError(
                "in_use",
                f"{domain} has other keys here than in the backup",
                "Give --force to replace those here; servers that know them will refuse mail of the domain.",
            )
        kept = {public: self._keystore.adopt(domain, seed)[1] for public, seed in seeds.items()}
        new = [
            _row(key, kept.get(key.key), secret, key.recovery not in {each.recovery for each in history[:place]})
            for place, key in enumerate(history)
        ]
        shared = len(ours) if theirs[: len(ours)] == ours else 0  # what is in the key log already
        new = [evolve(row, leaves=() if place < shared else row.leaves) for place, row in enumerate(new)]
        audit.note(target=domain, after={"domain_key": key_text(history[-1].key)})
        serial = held.current.serial if held is not None else 0
        await self._write(domain, rows.replace, domain, serial, new, self._keystore.seal_secret(domain, secret))
        log.warn("Domain keys restored from a backup", event="keys.restored", domain=domain, key=key_text(history[-1].key))
        self._tell(domain)
        return "new"

    def seeds(self, domain: str) -> dict[bytes, bytes]:
        """The private halves that a backup takes, by public half; raises DirectoryError if the current one cannot be had."""
        keys = self._existing(domain)
        self._opened(keys, domain)
        try:
            return {public: self._keystore.export(domain, public, keys.kept[public]) for public in keys.signers}
        except KeyLost as error:
            raise DirectoryError("invalid", f"the key of {domain} cannot be taken out: {error}", "Back it up where it is kept.") from None

    # How it is done

    async def _alone(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        await self._changing.acquire()
        try:
            return await call(*args, **kwargs)
        finally:
            self._changing.release()

    def _existing(self, domain: str) -> Keys:
        try:
            return self.keys(domain)
        except KeyError:
            raise DirectoryError("not_found", f"{domain} has no keys here", "`mailxctl key list` shows the domains that have.") from None

    def _opened(self, keys: Keys, domain: str) -> DomainSigner:
        signer = keys.signers.get(keys.current.key)
        if signer is None:
            raise DirectoryError("invalid", f"the key of {domain} does not open", "Use `mailxctl key restore` or `mailxctl key recover`.")
        return signer

    async def _add(self, keys: Keys, key: DomainKey, kept: bytes, recovery: bool, erased: Iterable[int]) -> None:
        before, after = {"domain_key": key_text(keys.current.key)}, {"domain_key": key_text(key.key)}
        if recovery:
            before["recovery_key"], after["recovery_key"] = key_text(keys.current.recovery), key_text(key.recovery)
        audit.note(target=key.domain, before=before, after=after)
        row = _row(key, kept, keys.log_secret, recovery)
        await self._write(key.domain, rows.add, key.domain, keys.current.serial, row, tuple(erased))
        if key.reason == domain_keys.ROTATION:
            self._tell(key.domain)

    async def _write(self, domain: str, job: Callable[..., Any], *args: Any) -> Any:
        """Write, then read again: also after a failure, since a COMMIT that failed may have happened."""
        try:
            return await self._store.write(job, *args)
        except Missing:
            raise DirectoryError("not_found", f"there is no domain {domain}", "Add it with `mailxctl domain add`.") from None
        except Overtaken:
            raise DirectoryError("in_use", f"the keys of {domain} were changed at the same time", "Look at them and try again.") from None
        finally:
            await self._read(domain)

    def _tell(self, domain: str) -> None:
        for call in self._listeners:
            try:
                call(domain, self._keys[domain].current)
            except Exception:  # a listener's trouble is not the key's
                log.failure("A listener of key changes failed", event="keys.listener_failed")

    async def _read(self, domain: str | None = None) -> None:
        """All keys as they are now, or those of one domain."""
        found, secrets = await self._store.read(rows.every, domain)
        sealed = {str(name): bytes(secret) for name, secret in secrets}
        others = {} if domain is None else {name: keys for name, keys in self._keys.items() if name != domain}
        self._keys = others | {name: self._assembled(name, held, sealed.get(name)) for name, held in _by_domain(found).items()}

    def _assembled(self, domain: str, held: list[Row], sealed: bytes | None) -> Keys:
        before = self._keys.get(domain)
        known = {} if before is None else {canonical(key.statement.encode()): key for key in before.history}
        history = tuple(known.get(bytes(row[1])) or DomainKey.decode(parse(bytes(row[1]))) for row in held)
        kept = {key.key: bytes(row[2]) for key, row in zip(history, held, strict=True) if row[2] is not None}
        signers = {} if before is None else {public: signer for public, signer in before.signers.items() if public in kept}
        for public in kept.keys() - signers.keys():
            try:
                signers[public] = self._keystore.open(domain, public, kept[public])
            except KeyLost as error:
                log.error("A domain key does not open: {reason}", event="keys.unreadable", domain=domain, reason=str(error))
        try:
            secret = b"" if sealed is None else self._keystore.open_secret(domain, sealed)
        except KeyLost as error:
            log.error("The log secret of a domain does not open: {reason}", event="keys.unreadable", domain=domain, reason=str(error))
            secret = b""
        return Keys(history, kept, signers, secret)

    def _refresh(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._alone(self._look_again)).addErrback(self._not_read)

    def _not_read(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Unavailable):
            log.warn("Domain keys not read: {reason}", event="keys.unavailable", reason=error.reason)
        else:
            log.failure("Domain keys not read", failure=failure, event="keys.unavailable")

    async def _look_again(self) -> None:
        latest = {domain: current for domain, current in (await self._store.read(rows.latest)).items() if current.serial}
        self._keys = {domain: keys for domain, keys in self._keys.items() if domain in latest}
        for domain, current in latest.items():
            held = self._keys.get(domain)
            changed = held is None or (held.current.serial, held.current.key) != (current.serial, current.public)
            if (
                held is None or changed or held.kept.get(current.public) != current.private
            ):  # the last: one that did not open was brought back
                await self._read(domain)
                if held is not None and changed:
                    self._tell(domain)
        await self._erase()

    async def _erase(self) -> None:
        """Forget the private halves that are good for nothing any more."""
        now = int(self._now())
        for domain, keys in list(self._keys.items()):
            good = domain_keys.valid(keys.history, now)
            over = [(key.serial, key.key) for key in keys.history if key.key in keys.kept and key.key not in good]
            if over:
                await self._write(domain, rows.erase, domain, over)
                log.info(
                    "Private halves of former domain keys erased", event="keys.erased", domain=domain, serials=[each for each, _ in over]
                )


def _by_domain(found: Iterable[Row]) -> dict[str, list[Row]]:
    held: dict[str, list[Row]] = {}
    for row in found:
        held.setdefault(str(row[0]), []).append(row)
    return held


def _row(key: DomainKey, kept: bytes | None, secret: bytes, recovery: bool) -> KeyRow:
    """``key`` as it is written; its entries in the key log: for the key itself, and for the recovery key if it is new."""
    entry: Callable[..., Leaf] = partial(key_log.leaf, secret)
    statement, kinds = key.statement, [DOMAIN_KEY, RECOVERY_KEY] if recovery else [DOMAIN_KEY]
    leaves = tuple(entry(kind, key.domain, key.serial, statement, False, key.created) for kind in kinds)
    return KeyRow(key.serial, key.key, canonical(statement.encode()), key.created, kept, leaves)


def _typed(recovery: str) -> SeedSigner:
    try:
        return recovery_keys.read(recovery)
    except Malformed as error:
        raise DirectoryError("invalid", str(error), "Type it as it was shown when it was made.") from None

"""STORE, EXPUNGE, COPY and MOVE: whatever changes many entries, done in slices.

A slice is one transaction of some milliseconds, so that other users are served between two of them. A COPY
whose later slice fails takes the earlier ones back: the client sees all of it or nothing (RFC 9051 6.4.7).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import lt
from time import time
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.core.deciding import Deciding
from mailx.core.selected import Selected
from mailx.core.turns import Turns
from mailx.mail.mailbox import KEYWORD_BIT, KEYWORDS_LIMIT, Flag, Mailbox
from mailx.mail.names import MailboxError, normal
from mailx.mail.rights import elsewhere
from mailx.store import Store, Txn, copies, entries, keywords, rights
from mailx.store import mailboxes as boxes
from mailx.store.entries import FLAGS_SLICE, SLICE, Among
from mailx.store.keywords import KeywordsFull
from mailx.store.messages import charge

if TYPE_CHECKING:
    from mailx.store.cipher import Cipher

log = Logger()

_SEEN = int(Flag.SEEN)
_DELETED = int(Flag.DELETED)
_SYSTEM = (1 << KEYWORD_BIT) - 1
_EVERY = (1 << KEYWORD_BIT + KEYWORDS_LIMIT) - 1

_CONTENTS = 25  # messages copied into another account by one job

Mode = Literal["add", "remove", "replace"]
P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Stored:
    """The outcome of a STORE: the mailbox's mod-sequence after it, and UIDs, rising."""

    modseq: int
    changed: list[int]  # to which it applied, whether or not a flag of theirs differs now
    failed: list[int]  # left alone: changed after UNCHANGEDSINCE


@frozen
class Copied:
    """The outcome of COPY or MOVE for COPYUID: the target's UIDVALIDITY, and UIDs, side by side and rising."""

    uidvalidity: int
    source: list[int]
    target: list[int]


class Edits:
    """Changes to the entries of selected mailboxes."""

    def __init__(self, store: Store, cipher: "Cipher", names: boxes.Names, default_quota: int, reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._names = names
        self._default_quota = default_quota
        self._reactor = reactor
        self.deciding: Deciding | None = None  # of owners only: a guest does not decide whose mail another wants

    async def store(
        self, selected: Selected, uids: Sequence[int], mode: Mode, flags: int, names: tuple[str, ...], unchanged_since: int | None
    ) -> Stored:
        """Change flags; ``flags`` are system flags, ``names`` keywords. Slices that were done stay done if a later one fails."""
        _writable(selected)
        if selected.viewer != selected.mailbox.account:
            return await self._store_as_guest(selected, uids, mode, flags, names, unchanged_since)
        return await self._store_all(selected, uids, mode, flags, names, unchanged_since)

    async def _store_as_guest(
        self, selected: Selected, uids: Sequence[int], mode: Mode, flags: int, names: tuple[str, ...], unchanged_since: int | None
    ) -> Stored:
        """Change those flags that the session has a right to; it needs one of them at least (RFC 4314 4, of STORE)."""
        allowed = flags_allowed(selected.rights)
        names = names if "w" in selected.rights else ()
        if not allowed or (mode != "replace" and not flags & allowed and not names):
            raise MailboxError("NOPERM", "You have no right to change these flags")
        if mode != "replace" or allowed == _EVERY:
            return await self._store_all(selected, uids, mode, flags & allowed, names, unchanged_since)
        # What may not be changed stays: the right flags are set, the others that may be changed are taken away.
        done = await self._store_all(selected, uids, "add", flags & allowed, names, unchanged_since)
        kept = {name.lower() for name in names}
        others = tuple([name for name in selected.keywords.names() if name.lower() not in kept]) if "w" in selected.rights else ()
        after = await self._store_all(selected, done.changed, "remove", allowed & _SYSTEM & ~flags, others, None)
        return Stored(max(done.modseq, after.modseq), done.changed, done.failed)

    async def _store_all(
        self, selected: Selected, uids: Sequence[int], mode: Mode, flags: int, names: tuple[str, ...], unchanged_since: int | None
    ) -> Stored:
        outcome = Stored(selected.modseq, [], [])
        for among in _slices(selected, uids, FLAGS_SLICE):
            done = await self._set_flags(selected, among, mode, flags, names, unchanged_since)
            outcome = Stored(done.modseq, outcome.changed + done.changed, outcome.failed + done.failed)
        return outcome

    async def expunge(self, selected: Selected, uids: Sequence[int] | None) -> list[int]:
        """Remove what is \\Deleted, of ``uids`` or all; returns the UIDs removed."""
        _writable(selected)
        _allowed(selected, "e")
        removed: list[int] = []
        if uids is not None:
            for among in _slices(selected, uids):
                if self.deciding is not None and selected.viewer == selected.mailbox.account:
                    await self.deciding.expunging(selected, among)
                removed += await self._write(selected, "e", None, entries.expunge, selected.mailbox.id, among)
            return removed
        while True:
            if self.deciding is not None and selected.viewer == selected.mailbox.account:
                await self.deciding.expunging(selected, None)
            done = await self._write(selected, "e", None, entries.expunge, selected.mailbox.id, None)
            removed += done
            if len(done) < SLICE:
                return removed

    async def update(self, selected: Selected, seen: Sequence[int], removed: Sequence[int]) -> None:
        """Set \\Seen on messages and remove others for good, flagged or not."""
        for among in _slices(selected, seen, FLAGS_SLICE):
            await self._set_flags(selected, among, "add", _SEEN, (), None)
        for among in _slices(selected, removed):
            await self._store.write(entries.discard, selected.mailbox.id, among)

    async def copy(self, selected: Selected, uids: Sequence[int], target: str) -> Copied:
        """All of ``uids`` that still exist, or none; raises MailboxError "TRYCREATE", "OVERQUOTA"."""
        _allowed(selected, "r")
        target_box = await self._target(selected, target)
        target_id, mask = target_box.id, copied_flags(selected, target_box)
        uids = rising(uids)
        more = await self._cost(selected, uids)
        source: list[int] = []
        copied: list[int] = []
        uidvalidity = 0
        try:
            for among in _slices(selected, uids, _share(selected, target_box)):
                more -= _charge(selected, among.uids)
                done = await self._write(
                    selected, "r", target_box,
                    copies.copy, selected.mailbox.id, among, target_id, int(time()), self._default_quota, more, mask,
                )  # fmt: skip
                uidvalidity = done.uidvalidity
                source += done.source
                copied += done.target
        except Exception:
            await self._undo(target_id, copied)
            raise
        return Copied(uidvalidity, source, copied)

    async def move(self, selected: Selected, uids: Sequence[int], target: str) -> Copied:
        """Each message is in one of the two mailboxes at any time. What was moved before a failure stays moved (RFC 6851 3.3)."""
        _writable(selected)
        _allowed(selected, "rte")
        target_box = await self._target(selected, target)
        target_id, mask = target_box.id, copied_flags(selected, target_box)
        if self.deciding is not None and selected.viewer == selected.mailbox.account:
            await self.deciding.moving(selected, rising(uids), normal(target))
        outcome = Copied(0, [], [])
        for among in _slices(selected, uids, _share(selected, target_box)):
            done = await self._write(
                selected, "rte", target_box,
                copies.move, selected.mailbox.id, among, target_id, int(time()), SLICE, self._default_quota, mask,
            )  # fmt: skip
            outcome = Copied(done.uidvalidity, outcome.source + done.source, outcome.target + done.target)
        return outcome

    async def empty(self, source_id: int, target_id: int) -> None:
        """Move every message of one mailbox into another."""
        while True:
            done = await self._store.write(copies.move, source_id, None, target_id, int(time()), SLICE)
            if len(done.source) < SLICE:
                return

    async def _set_flags(
        self, selected: Selected, among: Among, mode: Mode, flags: int, names: tuple[str, ...], unchanged_since: int | None
    ) -> entries.Flagged:
        """One slice; if no keyword is left, once more after those that nobody uses were given up."""
        slice = selected, among, mode, flags, names, unchanged_since, selected.known(among.uids)
        needed = _letters(mode, flags, names)
        try:
            return await self._write(selected, needed, None, self._flag, *slice)
        except KeywordsFull:
            account = selected.mailbox.account
            in_use = await self._store.read(keywords.used, account)
            if all(in_use >> bit & 1 for bit in range(KEYWORD_BIT, KEYWORD_BIT + KEYWORDS_LIMIT)):
                raise
            await self._store.write(keywords.free, account)
            return await self._write(selected, needed, None, self._flag, *slice)

    def _write(
        self,
        selected: Selected,
        needed: str,
        target: Mailbox | None,
        job: Callable[Concatenate[Txn, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Deferred[T]:
        """``job`` in a transaction that looks once more at the rights of a guest: they may have been taken away meanwhile."""
        asked = [(selected.mailbox.id, needed)] if selected.viewer != selected.mailbox.account else []
        if target is not None and target.account != selected.viewer:
            asked.append((target.id, "i"))
        if not asked:
            return self._store.write(job, *args, **kwargs)

        def allowed(txn: Txn) -> T:
            rights.require(txn, selected.viewer, asked)
            return job(txn, *args, **kwargs)

        return self._store.write(allowed)

    def _flag(
        self, txn: Txn, selected: Selected, among: Among, mode: Mode, flags: int, names: tuple[str, ...], unchanged_since: int | None,
        known: entries.Known | None,
    ) -> entries.Flagged:  # fmt: skip
        account = selected.mailbox.account
        mask = flags
        if mode == "remove":
            mask |= keywords.find(txn, self._cipher, account, names)
        else:
            for name in names:
                bit = keywords.assign(txn, self._cipher, account, [name])
                mask |= bit
                txn.after_commit(selected.keywords.learn, bit.bit_length() - 1, name)
        return entries.set_flags(txn, selected.mailbox.id, among, mode, mask, unchanged_since, selected.own, known)

    async def _cost(self, selected: Selected, uids: Sequence[int]) -> int:
        """Octets that copies of these messages are charged."""
        turns = Turns(self._reactor)
        cost = 0
        for start in range(0, len(uids), SLICE):
            cost += _charge(selected, uids[start : start + SLICE])
            await turns.spare()
        return cost

    async def _target(self, selected: Selected, name: str) -> Mailbox:
        """Where copies go: a mailbox of whoever's session it is, or one that others let it put messages into."""
        name = normal(name)
        place = elsewhere(name)
        try:
            if place is None:
                return await self._store.read(boxes.find, self._names, selected.viewer, name)
            return await self._store.read(rights.find, self._names, selected.viewer, place, "i")
        except MailboxError as error:
            if error.code != "NONEXISTENT":
                raise
            raise MailboxError("TRYCREATE", "No such mailbox") from None

    async def _undo(self, mailbox_id: int, uids: Sequence[int]) -> None:
        for start in range(0, len(uids), SLICE):
            try:
                await self._store.write(copies.undo, mailbox_id, uids[start : start + SLICE])
            except Exception:
                log.failure("Copies of a failed COPY stay behind", event="mailbox.undo_failed", mailbox=mailbox_id)


def _charge(selected: Selected, uids: Sequence[int]) -> int:
    """Octets that copies of these messages are charged; quick for a run of them."""
    first, sizes = selected.run(uids), selected.sizes
    return sum(map(charge, [sizes[i] for _, i in selected.indexes(uids)] if first is None else sizes[first : first + len(uids)]))


def rising(uids: Sequence[int]) -> Sequence[int]:
    """``uids`` rising, each once; most callers give them so."""
    return uids if all(map(lt, uids, islice(uids, 1, None))) else sorted(set(uids))


def _writable(selected: Selected) -> None:
    if selected.read_only:
        raise MailboxError("NOPERM", "The mailbox is selected read-only")


def _share(selected: Selected, target: Mailbox) -> int:
    """Messages of one slice: between accounts their contents are copied."""
    return SLICE if target.account == selected.mailbox.account else _CONTENTS


def _allowed(selected: Selected, needed: str) -> None:
    if not selected.rights.issuperset(needed):
        raise MailboxError("NOPERM", "You have no right to do that with this mailbox")


def flags_allowed(held: frozenset[str]) -> int:
    """The flags that whoever has these rights may change (RFC 4314 4): keywords and the rest take ``w``."""
    allowed = _EVERY & ~(_SEEN | _DELETED) if "w" in held else 0
    if "s" in held:
        allowed |= _SEEN
    if "t" in held:
        allowed |= _DELETED
    return allowed


def _letters(mode: Mode, flags: int, names: Sequence[str]) -> str:
    """The rights that a change of flags takes."""
    if mode == "replace":
        return "swt"
    return "s" * bool(flags & _SEEN) + "t" * bool(flags & _DELETED) + "w" * bool(names or flags & ~(_SEEN | _DELETED))


def copied_flags(selected: Selected, target: Mailbox) -> int:
    """The flags that copies keep, -1 for all: between accounts no keywords, whose bits mean something else there."""
    if target.account == selected.mailbox.account:
        return -1 if target.account == selected.viewer else flags_allowed(target.rights)
    return flags_allowed(target.rights) & _SYSTEM


def _slices(selected: Selected, uids: Sequence[int], size: int = 0) -> Iterator[Among]:
    """Those of ``uids`` that the session knows, in slices; runs without a gap in its snapshot become ranges."""
    size = size or SLICE
    first = selected.run(uids)
    if first is not None:
        run = selected.uids[first : first + len(uids)]
        for start in range(0, len(run), size):
            yield Among(run[start : start + size], True)
        return
    uids = rising(uids)
    for start in range(0, len(uids), size):
        part = uids[start : start + size]
        known = list(selected.indexes(part))
        if known:
            whole = known[-1][1] - known[0][1] == len(known) - 1
            yield Among([uid for uid, _ in known], whole)


__all__ = ["Copied", "Edits", "Mode", "Stored"]

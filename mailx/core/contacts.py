"""Contacts: whom an account knows, whom it takes mail from without asking, and whom it wants none from.

Trust is ``unknown``, ``requested`` (their first mail waits in Requests), ``accepted`` or ``blocked``. Whoever an account writes to
is accepted: the note is written beside the accepting transaction and is durable before the sender hears "250". Nothing said
here proves who wrote a message: :mod:`mailx.core.first_contact` asks for that first.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from time import time
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit, metrics
from mailx.core.accounts import Accounts
from mailx.core.cache import Cache
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError, User, block_pattern, canonical, parse
from mailx.mail.address import Address
from mailx.mail.reply import Unavailable
from mailx.store import Store, blocks
from mailx.store import contacts as rows
from mailx.store.cipher import Cipher
from mailx.store.contacts import ACCEPTED, BLOCKED, REQUESTED, Decision, Noted, Preferences
from mailx.store.names import Missing, Taken

__all__ = ["ACCEPTED", "BLOCKED", "MODES", "REQUESTED", "UNKNOWN", "Contact", "Contacts", "Decision", "Preferences"]

log = Logger()
T = TypeVar("T")

UNKNOWN = "unknown"
MODES = ("federation", "all", "none")

Told = Callable[[Address, Sequence[str], bool], object]  # the account's address, whom it blocks now, or no longer

_FRESH = 60.0  # seconds after which what another process changed is seen
_WRITTEN = 3600.0  # seconds for which it is remembered that somebody is known
_CACHED = 50_000
_FEW = 100  # recipients that are looked at in one go
_SLICE = 200  # people noted by one job
_DECIDED = 200  # people decided of by one job
_WAITING = 20_000  # people that wait for the store at most
_DELAY = 1.0  # seconds after which requests are written
_AGAIN = 30.0  # until the store is tried again
_ROOM_EVERY = 200  # people of one account that are noted before its oldest make room


@frozen
class Contact:
    """One contact as its account or an administrator sees it. ``address`` may be ``@domain`` when it is blocked."""

    address: str
    trust: str
    chosen: bool  # by hand or by a move; else the account only wrote to it, or it asks
    since: int  # seconds since 1970
    refuses: bool = False  # their server says that they take no mail from the account
    place: int = 0  # where a page of the list goes on; 0 for who is blocked


class Contacts:
    """The contacts of all accounts. ``await stop()`` before the store closes: what was noted last is written."""

    def __init__(
        self, store: Store, cipher: Cipher, accounts: Accounts, settings: Settings, reactor: Any, *, now: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._accounts = accounts
        self._settings = settings
        self._reactor = reactor
        self._now = now
        self._preferences: Cache[int, Preferences] = Cache(_CACHED, _FRESH, reactor.seconds)
        self._accepted: Cache[tuple[int, int, str], bool] = Cache(_CACHED, _FRESH, reactor.seconds)
        self._written: Cache[tuple[int, int, str], bool] = Cache(_CACHED, _WRITTEN, reactor.seconds)
        self._since: Cache[int, int] = Cache(_CACHED, _WRITTEN, reactor.seconds)  # people of each account noted since it made room
        self._changes: dict[int, int] = {}  # of each account: what was cached before the last one is not found any more
        self._waiting: dict[tuple[int, str], Noted] = {}
        self._due: IDelayedCall | None = None
        self._flushing: Deferred[None] | None = None
        self._stopped = False
        self._listeners: list[Told] = []

    def on_block(self, call: Told) -> None:
        """``call(account's address, addresses, whether)`` when an account that wants its blocks told begins or ends to block them."""
        self._listeners.append(call)

    # What deliveries ask

    async def asking(self, accounts: Collection[int], federated: bool) -> list[int]:
        """Those of ``accounts`` that want to be asked about strangers whose mail came by federation, or not."""
        default = self._settings.current.contacts.requests
        asked = ("all", "federation") if federated else ("all",)
        return [id for id, one in (await self._wanted(accounts)).items() if (one.requests or default) in asked]

    async def _wanted(self, accounts: Collection[int]) -> dict[int, Preferences]:
        """What each of these accounts says."""
        found: dict[int, Preferences] = {}
        lacking = []
        for id in accounts:
            known = self._preferences.get(id)
            if known is None:
                lacking.append(id)
            else:
                found[id] = known
        if lacking:
            changes = {id: self._changes.get(id, 0) for id in lacking}
            read = await self._store.read(rows.preferences, lacking)
            for id in lacking:
                found[id] = read.get(id, _NOTHING_SAID)
                if changes[id] == self._changes.get(id, 0):
                    self._preferences.put(id, found[id])
        return found

    async def accepted(self, accounts: Collection[int], address: Address) -> set[int]:
        """Those of ``accounts`` that have accepted ``address``."""
        text = _text(address)
        keys = {id: (id, self._changes.get(id, 0), text) for id in accounts}
        found = {id for id, key in keys.items() if self._accepted.get(key)}
        lacking = [id for id in accounts if id not in found]
        if lacking:
            for id in await self._store.read(rows.accepted_by, self._cipher, lacking, text):
                self._accepted.put(keys[id], True)
                found.add(id)
        return found

    def wrote(self, account: int, recipients: Sequence[Address]) -> "Deferred[None] | None":
        """The account writes to ``recipients``: they are accepted. None if all are known; else fires, never fails, when it is durable."""
        if len(recipients) <= _FEW and not self._unknown(account, recipients):
            return None
        return Deferred.fromCoroutine(self._write(account, recipients))

    def _unknown(self, account: int, recipients: Sequence[Address]) -> list[str]:
        """Those that nobody remembers to have been noted, in their stored spelling."""
        change = self._changes.get(account, 0)
        return [text for text in dict.fromkeys(map(_text, recipients)) if not self._written.get((account, change, text))]

    async def _write(self, account: int, recipients: Sequence[Address]) -> None:
        change = self._changes.get(account, 0)
        for start in range(0, len(recipients), _SLICE):
            noted = [self._noted(account, text, ACCEPTED) for text in self._unknown(account, recipients[start : start + _SLICE])]
            try:
                if noted:
                    with audit.apart():
                        await self._store.write(rows.note, (self._cipher, noted))
            except Exception as error:
                reason = error.reason if isinstance(error, Unavailable) else type(error).__name__
                log.warn("People written to are noted later: {reason}", event="contacts.delayed", reason=reason)
                self._later(noted, _AGAIN)
                continue
            for one in noted:
                self._written.put((account, change, one.address), True)

    def requested(self, account: int, address: Address) -> None:
        """A stranger's mail waits in Requests. Written soon; what a crash loses is noted with their next message."""
        self._later([self._noted(account, _text(address), REQUESTED)], _DELAY)

    def _noted(self, account: int, text: str, trust: str) -> Noted:
        since = self._since.get(account)
        full = since is None or since >= _ROOM_EVERY
        self._since.put(account, 1 if since is None or full else since + 1)
        return Noted(account, text, trust, int(self._now()), full)

    def _later(self, noted: Sequence[Noted], delay: float) -> None:
        for one in noted:
            key = one.account, one.address
            if len(self._waiting) >= _WAITING and key not in self._waiting:
                continue
            if one.trust == ACCEPTED or key not in self._waiting:
                self._waiting[key] = one
        if self._due is None and self._flushing is None and not self._stopped:
            self._due = self._reactor.callLater(delay, self._flush_soon)

    def _flush_soon(self) -> None:
        self._due = None
        self._flushing = Deferred.fromCoroutine(self.flush())
        self._flushing.addBoth(self._flushed)

    def _flushed(self, result: object) -> None:
        self._flushing = None
        if isinstance(result, Failure):
            log.failure("Contacts are noted later", result, event="contacts.failed")
        if self._waiting and self._due is None and not self._stopped:
            self._due = self._reactor.callLater(_AGAIN, self._flush_soon)

    async def flush(self) -> None:
        """Write what waits; what the store does not take waits on."""
        while self._waiting:
            part = dict(list(self._waiting.items())[:_SLICE])
            try:
                with audit.apart():
                    await self._store.write(rows.note, (self._cipher, list(part.values())))
            except Unavailable as error:
                log.warn("Contacts are noted later: {reason}", event="contacts.delayed", reason=error.reason)
                return
            for key, one in part.items():
                if self._waiting.get(key) is one:
                    del self._waiting[key]

    async def stop(self) -> None:
        """Write what waits, and note no more."""
        self._stopped = True
        due, self._due = self._due, None
        if due is not None and due.active():
            due.cancel()
        if self._flushing is not None:
            ended: Deferred[None] = Deferred()
            self._flushing.addBoth(lambda result: ended.callback(None))
            await ended
        await self.flush()

    # What owners decide by moving mail

    async def decide(self, decision: Decision) -> None:
        """Do what an owner decided. Once more does no harm."""
        lifted: list[str] = []
        blocked: list[str] = []
        for part in _slices(decision):
            try:
                decided = await self._store.write(rows.decide, self._cipher, part, int(self._now()))
            finally:
                self._forget(decision.account)
            lifted += decided.lifted
            blocked += decided.blocked
        accepted, rejected = len(decision.accepted), len(blocked)
        metrics.FIRST_CONTACTS.labels("accepted").inc(accepted)
        metrics.FIRST_CONTACTS.labels("rejected").inc(rejected)
        log.info("First contacts decided", event="contacts.decided", user_id=decision.account, accepted=accepted, rejected=rejected)
        await self._tell(decision.account, blocked, True)
        await self._tell(decision.account, lifted, False)

    def _forget(self, account: int) -> None:
        self._accounts.blocks_changed(account)
        self._changes[account] = self._changes.get(account, 0) + 1
        self._preferences.pop(account)

    async def _tell(self, account: int, patterns: Sequence[str], blocked: bool) -> None:
        """Tell of blocks, if the account wants that. Never of whole domains: that is nobody's business."""
        local = self._accounts.local
        addresses = [pattern for pattern in patterns if not pattern.startswith("@") and not local(pattern.rpartition("@")[2])]
        if not addresses or not self._listeners or not (await self._wanted([account]))[account].notices:
            return
        user = await self._accounts.user(account)
        if user is not None:
            for call in self._listeners:
                call(user.address, addresses, blocked)

    # What administrators, and later owners by other doors, see and change

    async def list(self, account: str | Address, trust: str = "", before: int = 0, limit: int = 100) -> "list[Contact]":
        """At most ``limit`` contacts of ``trust`` (BLOCKED: all of them), the latest first, behind ``before`` (a ``place``)."""
        user = await self._user(account)
        if trust == BLOCKED:
            read = await self._store.read(blocks.patterns, self._cipher, user.id)
            return [Contact(pattern, BLOCKED, True, created) for pattern, created in read]
        if trust not in ("", REQUESTED, ACCEPTED):
            raise DirectoryError("invalid", f"{trust!r} is no trust", f"There are {REQUESTED}, {ACCEPTED} and {BLOCKED}.")
        page = await self._store.read(rows.page, self._cipher, user.id, trust, before, limit)
        return [Contact(one.address, one.trust, one.chosen, one.changed, one.refuses, one.id) for one in page]

    async def counts(self, account: str | Address) -> dict[str, int]:
        """How many contacts of each trust there are."""
        return await self._store.read(rows.counts, (await self._user(account)).id)

    async def trust(self, account: str | Address, address: str) -> str:
        """What the account lets ``address`` do: UNKNOWN, REQUESTED, ACCEPTED or BLOCKED."""
        user, wanted = await self._user(account), parse(address)
        if await self._accounts.blocked(user.id, wanted):
            return BLOCKED
        found = await self._store.read(rows.find, self._cipher, user.id, _text(wanted))
        return UNKNOWN if found is None else found.trust

    async def accept(self, account: str | Address, address: str) -> str:
        """Mail from ``address`` goes to INBOX from now on, and is not refused. Returns its stored spelling."""
        user, text = await self._user(account), _text(parse(address))
        audit.note(target=str(user.address), before={"trust": await self.trust(user.address, text)}, after={"accepted": text})
        try:
            lifted = await self._change(user.id, rows.accept, self._cipher, user.id, text, int(self._now()))
        except rows.Full:
            problem = f"{user.address} has {rows.CHOSEN_LIMIT} contacts already"
            raise DirectoryError("limit", problem, "Remove some with `mailxctl contact remove`.") from None
        log.info("Contact accepted", event="contacts.accepted", user_id=user.id)
        if lifted:
            with audit.apart():
                await self._tell(user.id, [text], False)
        return text

    async def block(self, account: str | Address, sender: str) -> str:
        """Refuse mail from ``sender``, an address or ``@domain``. Returns its stored spelling."""
        user, pattern = await self._user(account), block_pattern(sender)
        audit.note(target=str(user.address), after={"blocked": pattern})
        try:
            await self._change(user.id, rows.block, self._cipher, user.id, pattern, int(self._now()))
        except Taken:
            raise DirectoryError("exists", f"{pattern} is blocked already", "Nothing is to be done.") from None
        except blocks.Full:
            raise DirectoryError("limit", f"the list has {blocks.LIMIT} entries already", "Block whole domains instead.") from None
        log.info("Contact blocked", event="contacts.blocked", user_id=user.id)
        with audit.apart():
            await self._tell(user.id, [pattern], True)
        return pattern

    async def remove(self, account: str | Address, sender: str) -> str:
        """Know nothing of ``sender`` any more: the next mail is from a stranger. Returns its stored spelling."""
        user, pattern = await self._user(account), block_pattern(sender)
        audit.note(target=str(user.address), before={"contact": pattern})
        try:
            await self._change(user.id, rows.remove, self._cipher, user.id, pattern)
        except Missing:
            remedy = f"`mailxctl contact list {user.address}` shows who is."
            raise DirectoryError("not_found", f"{pattern} is no contact of {user.address}", remedy) from None
        log.info("Contact removed", event="contacts.removed", user_id=user.id)
        return pattern

    async def noticed(self, account: Address, by: Address, blocked: bool) -> None:
        """The server of ``by`` says that they block ``account``, or no longer. Nothing happens where nobody here knows them."""
        reached = await self._accounts.resolve(account)
        for user in reached.users if reached is not None else ():
            await self._store.write(rows.refuse, self._cipher, user.id, _text(by), blocked)

    async def wanted(self, account: str | Address) -> Preferences:
        """What the account itself says; ``requests`` empty: what the server's settings say."""
        user = await self._user(account)
        return (await self._store.read(rows.preferences, [user.id])).get(user.id, _NOTHING_SAID)

    async def configure(self, account: str | Address, requests: str | None = None, notices: bool | None = None) -> Preferences:
        """Change what the account wants; None: as it is, ``requests`` empty: what the server's settings say."""
        user = await self._user(account)
        if requests is not None and requests not in ("", *MODES):
            raise DirectoryError("invalid", f"{requests!r} is no choice", f"Choose {', '.join(MODES)}, or default.")
        before = await self.wanted(user.address)
        after = Preferences(before.requests if requests is None else requests, before.notices if notices is None else notices)
        if after == before:
            audit.unchanged()
            return after
        audit.note(target=str(user.address), before=_told(before), after=_told(after))
        await self._change(user.id, rows.set_preferences, user.id, after)
        log.info("First contact changed", event="contacts.configured", user_id=user.id, requests=after.requests or "default")
        return after

    async def _user(self, account: str | Address) -> User:
        return (await self._accounts.find(account)).user

    async def _change(self, account: int, job: Callable[..., T], *args: Any) -> T:
        try:
            return await self._store.write(job, *args)
        finally:
            self._forget(account)


_NOTHING_SAID = Preferences()


def _text(address: Address) -> str:
    """The stored spelling."""
    local, domain = canonical(address)
    return f"{local}@{domain}"


def _slices(decision: Decision) -> Iterator[Decision]:
    """``decision`` in pieces that are quickly written, what is accepted first."""
    if len(decision.accepted) + len(decision.rejected) + len(decision.restored) <= _DECIDED:
        yield decision
        return
    for name in ("accepted", "restored", "rejected"):
        addresses = getattr(decision, name)
        for start in range(0, len(addresses), _DECIDED):
            yield Decision(decision.account, **{name: addresses[start : start + _DECIDED]})


def _told(wanted: Preferences) -> dict[str, Any]:
    return {"requests": wanted.requests or "default", "notices": wanted.notices}

"""The block lists of the server: whom nobody here takes mail from. Its own list, and lists that others share by URL.

Asking is quick and needs no store: 64 bits of a hash of every entry are kept in memory. A shared list comes by TLS or is signed; it
is used after somebody has seen what it holds, and read again every ``contacts.list_hours``. What is read is used as it is, unless it
grew out of all proportion or its serial went back: then the list stays as it was until somebody has looked. Our own domains are
never blocked. What is refused rises as ``DirectoryError``.
"""

import json
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import time
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit, metrics
from mailx.core.accounts import Accounts, Block
from mailx.core.content import Threads
from mailx.core.list_fetch import NotFetched
from mailx.core.settings import Settings
from mailx.core.shared_lists import NoList, SharedText, read
from mailx.core.urls import target
from mailx.core.users import DirectoryError, block_pattern, block_patterns
from mailx.identity.encoding import Malformed, key_from_text, key_text
from mailx.mail.address import Address
from mailx.mail.reply import Unavailable
from mailx.store import Store, Txn
from mailx.store import block_lists as rows
from mailx.store.block_lists import Kept, Reading, Shared
from mailx.store.cipher import Cipher, CipherError
from mailx.store.names import Missing, Taken

log = Logger()

TOTAL_LIMIT = 300_000  # entries of all shared lists
_GROWTH = 1000  # entries by which a list may grow in any case; beyond that it may double
_FRESH = 30.0  # seconds after which what other processes changed is noticed
_AGAIN = 3600  # seconds until a list that was not had is asked for again
_OWN, _LIST, _TEXT, _DIGEST = b"server block", b"shared list", b"shared list text", b"shared list digest"


class Fetcher(Protocol):
    """:class:`mailx.core.list_fetch.ListFetcher`."""

    async def fetch(self, url: str) -> bytes:
        """What lies at ``url``; raises NotFetched."""


@frozen
class SharedList:
    """One shared list in use. Times are seconds since 1970."""

    id: int
    url: str
    key: str  # ed25519:...; empty: it is believed because of TLS
    entries: int
    serial: int
    created: int
    checked: int
    changed: int
    trouble: str  # why the last reading was not taken; empty: it was


@frozen
class Preview:
    """What a list holds that is not used yet. ``digest`` is given back to use exactly this."""

    url: str
    key: str
    entries: int
    sample: tuple[str, ...]
    wrong: int
    ours: int
    serial: int
    digest: str
    new: int  # entries that block somebody who is not blocked yet


class BlockLists:
    """The lists; ``await load()`` before they are asked, ``start()`` to keep them fresh, ``await stop()`` before the store closes."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        accounts: Accounts,
        settings: Settings,
        fetcher: Fetcher,
        reactor: Any,
        *,
        now: Callable[[], float] = time,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._accounts = accounts
        self._settings = settings
        self._fetcher = fetcher
        self._now = now
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._version = -1
        self._hashes: array[int] = array("q")
        self._reading = DeferredLock()
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._refreshing: Deferred[None] | None = None
        self._stopped = False

    async def load(self) -> None:
        """Read the lists. Raises Unavailable."""
        await self._read()

    def start(self) -> None:
        """Keep them fresh from now on."""
        self._ticking.start(_FRESH, now=False).addErrback(
            lambda failure: log.failure("Block lists are no longer read again", failure, event="blocklists.failed")
        )

    async def stop(self) -> None:
        """Read no more; returns when what runs is through."""
        self._stopped = True
        if self._ticking.running:
            self._ticking.stop()
        refreshing, self._refreshing = self._refreshing, None
        if refreshing is not None:
            refreshing.cancel()
        await self._reading.acquire()
        self._reading.release()

    # What deliveries ask

    @property
    def active(self) -> bool:
        """Whether anybody is blocked."""
        return bool(self._hashes)

    def blocks(self, sender: Address | None, domain: str = "") -> bool:
        """Whether ``sender`` is blocked, or the ``domain`` that has proved itself."""
        if not self._hashes:
            return False
        if sender is not None and any(self._holds(pattern) for pattern in block_patterns(sender)):
            return True
        return bool(domain) and any(self._holds(pattern) for pattern in block_patterns(Address("", domain))[1:])

    def _holds(self, pattern: str) -> bool:
        hashes, wanted = self._hashes, hash(pattern)
        place = bisect_left(hashes, wanted)
        return place < len(hashes) and hashes[place] == wanted

    # The server's own list

    async def own(self) -> list[Block]:
        """The server's own list, by pattern."""
        return await self._store.read(_own, self._cipher)

    async def block(self, sender: str) -> Block:
        """Refuse mail from ``sender``, an address or ``@domain`` with all below it, to everybody here."""
        pattern, now = block_pattern(sender), int(self._now())
        if pattern.startswith("@") and await self._ours(pattern[1:]):
            raise DirectoryError("invalid", f"{pattern[1:]} is a domain of this server, or above one", "Suspend its accounts instead.")
        hash = self._own_hash(pattern)
        one = Kept(hash, self._cipher.seal(_OWN, hash, pattern.encode()), now)
        audit.note(target=pattern, after={"blocked": pattern})
        try:
            await self._store.write(rows.add_own, one, pattern)
        except Taken:
            raise DirectoryError("exists", f"{pattern} is blocked already", "Nothing is to be done.") from None
        except rows.Full:
            raise DirectoryError("limit", f"the list has {rows.LIMIT} entries already", "Block whole domains instead.") from None
        await self._read()
        log.info("Sender blocked for all accounts", event="blocklists.added")
        return Block(pattern, now)

    async def unblock(self, sender: str) -> str:
        """Take ``sender`` off the server's own list; returns its stored spelling."""
        pattern = block_pattern(sender)
        audit.note(target=pattern, before={"blocked": pattern})
        try:
            await self._store.write(rows.delete_own, self._own_hash(pattern), pattern)
        except Missing:
            remedy = "`mailxctl blocklist list` shows it."
            raise DirectoryError("not_found", f"{pattern} is not on the server's block list", remedy) from None
        await self._read()
        log.info("Sender unblocked for all accounts", event="blocklists.deleted")
        return pattern

    def _own_hash(self, pattern: str) -> bytes:
        return self._cipher.hash(_OWN, b"", pattern.encode())

    # Shared lists

    async def shared(self) -> list[SharedList]:
        """The shared lists in use, the oldest first."""
        return [self._opened(one) for one in await self._store.read(rows.shared)]

    async def preview(self, url: str, key: str = "") -> Preview:
        """What lies at ``url`` now; nothing is used of it."""
        url, key = _checked(url, key)
        _, text = await self._had(url, key)
        new = await self._threads(self._new, text.patterns)
        return Preview(url, key, len(text.patterns), text.sample, text.wrong, text.ours, text.serial, text.digest.hex(), new)

    def _new(self, patterns: Iterable[str]) -> int:
        """How many block somebody who is not blocked yet. Runs in a thread."""
        return sum(not any(map(self._holds, _covering(pattern))) for pattern in patterns)

    async def add_shared(self, url: str, key: str, digest: str) -> SharedList:
        """Use the list at ``url`` from now on. ``digest`` is that of its preview: another text is refused."""
        url, key = _checked(url, key)
        _, text = await self._had(url, key)
        if text.digest.hex() != digest:
            raise DirectoryError("in_use", "the list has changed since its preview", "Look at its preview again.")
        await self._require_room(len(text.patterns))
        hash = self._cipher.hash(_LIST, b"", url.encode())
        sealed = self._cipher.seal(_LIST, hash, json.dumps([url, key]).encode())
        reading = await self._threads(self._made, hash, text)
        audit.note(target=url, after={"url": url, "key": key, "entries": len(text.patterns)})
        try:
            id = await self._store.write(rows.add_shared, hash, sealed, reading, int(self._now()), url)
        except Taken:
            raise DirectoryError("exists", "this list is in use already", "`mailxctl blocklist list` shows it.") from None
        except rows.Full:
            raise DirectoryError("limit", f"there are {rows.LISTS_LIMIT} shared lists already", "Remove one first.") from None
        await self._read()
        log.info("Shared block list added", event="blocklists.shared", list=id, entries=len(text.patterns), signed=text.signed)
        return await self.show(id)

    async def show(self, id: int) -> SharedList:
        """One shared list."""
        return self._opened(await self._one(id))

    async def entries(self, id: int, limit: int = 1000) -> list[str]:
        """At most ``limit`` of its entries in use."""
        await self._one(id)
        return await self._store.read(_some, self._cipher, id, limit)

    async def refresh(self, id: int, force: bool = False) -> SharedList:
        """Read a list again now. ``force``: take it although it grew so much. What keeps it from being taken is its ``trouble``."""
        one = await self._one(id)
        audit.note(target=self._opened(one).url, after={"refreshed": True, "forced": force})
        await self._refresh(one, force)
        return await self.show(id)

    async def remove_shared(self, id: int) -> str:
        """Use a list no more; returns its URL."""
        one = self._opened(await self._one(id))
        audit.note(target=one.url, before={"url": one.url, "key": one.key, "entries": one.entries})
        try:
            await self._store.write(rows.delete_shared, id)
        except Missing:
            raise _no_list(id) from None
        await self._read()
        log.info("Shared block list removed", event="blocklists.removed", list=id)
        return one.url

    async def _one(self, id: int) -> Shared:
        found = await self._store.read(rows.one_shared, id)
        if found is None:
            raise _no_list(id)
        return found

    def _opened(self, one: Shared) -> SharedList:
        try:
            url, key = json.loads(self._cipher.open(_LIST, one.hash, one.sealed))
        except (CipherError, ValueError):
            log.error("A shared block list does not open", event="blocklists.damaged", list=one.id)
            url, key = "", ""
        return SharedList(one.id, url, key, one.entries, one.serial, one.created, one.checked, one.changed, one.trouble)

    async def _had(self, url: str, key: str) -> tuple[bytes, SharedText]:
        """The text at ``url``, read and checked; raises DirectoryError."""
        try:
            return await self._fetched(url, key)
        except (NotFetched, NoList) as error:
            raise DirectoryError("invalid", f"the list cannot be used: {error}", "Look at the URL, or try again later.") from None

    async def _fetched(self, url: str, key: str) -> tuple[bytes, SharedText]:
        text = await self._fetcher.fetch(url)
        own = tuple([domain.name for domain in await self._accounts.domains()])
        signer = key_from_text(key) if key else None
        return text, await self._threads(read, text, signer, partial(_is_ours, own))

    def _made(self, hash: bytes, text: SharedText) -> Reading:
        """Runs in a thread."""
        content = zlib.compress("\n".join(text.patterns).encode(), 6)
        digest = self._cipher.hash(_DIGEST, hash, text.digest)
        return Reading(self._cipher.seal_bulk(_TEXT, hash, content), digest, len(text.patterns), text.serial)

    async def _require_room(self, more: int, instead: int = 0) -> None:
        if await self._store.read(rows.totals) - instead + more > TOTAL_LIMIT:
            problem = f"all shared lists together may have {TOTAL_LIMIT} entries"
            raise DirectoryError("limit", problem, "Remove one first.")

    async def _refresh(self, one: Shared, force: bool = False) -> None:
        opened = self._opened(one)
        trouble = await self._taken(one, opened, force)
        if trouble is not None:
            await self._store.write(rows.note_trouble, one.id, trouble, int(self._now()))
        metrics.BLOCK_LISTS.labels("failed" if trouble else "read").inc()
        if trouble:
            log.warn("A shared block list was not taken: {reason}", event="blocklists.trouble", list=one.id, reason=trouble)

    async def _taken(self, one: Shared, opened: SharedList, force: bool) -> str | None:
        """Read a list again and use it: None. Else why not; empty: it is the same as before."""
        if not opened.url:
            return "its record does not open; remove the list, and add it again"
        try:
            _, text = await self._fetched(opened.url, opened.key)
            reading = await self._threads(self._made, one.hash, text)
            if reading.digest == one.digest:
                return ""
            if reading.serial < one.serial:
                return f"its serial went back from {one.serial} to {reading.serial}"
            if reading.serial == one.serial and opened.key:
                return "it changed, but its serial did not"
            if reading.entries > 2 * one.entries + _GROWTH and not force:
                return f"it grew from {one.entries} to {reading.entries} entries; look at it, then refresh it with --force"
            await self._require_room(reading.entries, one.entries)
        except (NotFetched, NoList) as error:
            return str(error)
        except DirectoryError as error:
            return error.text
        if not await self._store.write(rows.take, one.id, reading, int(self._now())):
            return "it was changed by somebody else meanwhile"
        await self._read()
        log.info("Shared block list read", event="blocklists.read", list=one.id, entries=reading.entries)
        return None

    # Freshness

    async def _read(self) -> None:
        """Read everything if it has changed."""
        await self._reading.acquire()
        try:
            version = await self._store.read(rows.version)
            if version != self._version and not self._stopped:
                self._hashes = await self._store.read(_hashes, self._cipher)
                self._version = version
        finally:
            self._reading.release()

    async def _tick(self) -> None:
        """Every half minute. Never fails."""
        try:
            await self._read()
            if self._refreshing is None and not self._stopped:
                self._refreshing = Deferred.fromCoroutine(self._refresh_due())
                self._refreshing.addBoth(self._refreshed)
        except Unavailable as error:
            log.warn("Block lists were not read: {reason}", event="blocklists.unavailable", reason=error.reason)

    async def _refresh_due(self) -> None:
        every = self._settings.current.contacts.list_hours * 3600
        for one in await self._store.read(rows.shared):
            now = int(self._now())
            wait = min(every, _AGAIN) if one.trouble else every
            due = not one.checked <= now < one.checked + wait  # a clock that was ahead must not stop it for long
            if due and not self._stopped and await self._store.write(rows.claim, one.id, one.checked, now):
                await self._refresh(one)

    def _refreshed(self, result: object) -> None:
        self._refreshing = None
        if isinstance(result, Failure) and not self._stopped:
            if isinstance(result.value, Unavailable):
                log.warn("Block lists were not read: {reason}", event="blocklists.unavailable", reason=result.value.reason)
            else:
                log.failure("Shared block lists were not read", result, event="blocklists.failed")

    async def _ours(self, domain: str) -> bool:
        return _is_ours(tuple([each.name for each in await self._accounts.domains()]), domain)


def _is_ours(own: Sequence[str], domain: str) -> bool:
    """Whether blocking ``domain`` would block one of our ``own``."""
    return any(each == domain or each.endswith(f".{domain}") for each in own)


def _covering(pattern: str) -> Iterable[str]:
    """Everything that blocks what ``pattern`` blocks."""
    local, _, domain = pattern.rpartition("@")
    patterns = block_patterns(Address(local, domain))
    return patterns if local else patterns[1:]


def _checked(url: str, key: str) -> tuple[str, str]:
    """The one spelling of a list's URL and key; raises DirectoryError."""
    key = key.strip()
    try:
        to = target(url.strip())
    except ValueError as error:
        raise DirectoryError("invalid", f"the URL cannot be used: {error}", "Give it as https://lists.example.org/block.txt.") from None
    try:
        key = key_text(key_from_text(key)) if key else ""
    except Malformed:
        raise DirectoryError("invalid", "the key cannot be read", "Give it as ed25519:..., as whoever shares the list shows it.") from None
    if to.scheme != "https" and not key:
        raise DirectoryError("invalid", "a list without a signature must come by https", "Give an https URL, or the key it is signed with.")
    return to.url, key


def _no_list(id: int) -> DirectoryError:
    return DirectoryError("not_found", f"there is no shared list {id}", "`mailxctl blocklist list` shows them.")


def _own(txn: Txn, cipher: Cipher) -> list[Block]:
    opened = [Block(cipher.open(_OWN, one.hash, one.sealed).decode(), one.created) for one in rows.own(txn)]
    return sorted(opened, key=lambda block: block.pattern)


def _texts(txn: Txn, cipher: Cipher, id: int) -> list[str]:
    """The entries of a shared list; none if it is gone or does not open."""
    found = rows.content(txn, id)
    if found is None:
        return []
    try:
        return zlib.decompress(cipher.open_bulk(_TEXT, *found)).decode().split("\n")
    except (CipherError, zlib.error):
        log.error("A shared block list does not open", event="blocklists.damaged", list=id)
        return []


def _some(txn: Txn, cipher: Cipher, id: int, limit: int) -> list[str]:
    return _texts(txn, cipher, id)[:limit]


def _hashes(txn: Txn, cipher: Cipher) -> "array[int]":
    """What is looked through at each message. Python's own hash of a text is keyed anew in each process."""
    every = {hash(block.pattern) for block in _own(txn, cipher)}
    for one in rows.shared(txn):
        every.update(hash(pattern) for pattern in _texts(txn, cipher, one.id) if pattern)
    return array("q", sorted(every))

"""The suppression list: addresses that bounced for good, which calls of the webhook may not send to until they are taken off it.

An address comes onto it when mail of the webhook fails because there is no such mailbox, in the transaction that notes the
failure; never for what is said of the sender, its content or its server, or for what may pass: policies (5.7.x), full
mailboxes (5.2.2), sizes, routes. Only the address that was called for is meant, not one that an alias of ours leads to.
Asking is quick: the hashes of all entries are kept in memory, up to a limit.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.courier import Attempt
from mailx.core.parcels import Parcels
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError, canonical
from mailx.mail.address import Address, AddressError
from mailx.mail.reply import Unavailable
from mailx.store import Store, suppressions
from mailx.store.cipher import Cipher, CipherError
from mailx.store.suppressions import Suppression

log = Logger()

# Enhanced status codes (RFC 3463, RFC 7504, RFC 7505) that speak of the mailbox itself: there is none (5.1.1), its name is
# none (5.1.3), it moved away (5.1.6), its domain takes no mail (5.1.10), it is disabled (5.2.1). Not 5.1.2, that the domain is
# unknown: a mistake in the DNS says the same, and nobody's server is bothered by the next try.
HARD = frozenset(("5.1.1", "5.1.3", "5.1.6", "5.1.10", "5.2.1"))

# Some say with one of these codes that the mailbox is full, or gets too much at once: 550 5.2.1 for "receiving mail at a rate that
# prevents additional messages from being delivered" is the best known. That passes.
_PASSES = re.compile(r"\bat a rate\b|\btoo (?:quickly|many|much)\b|\bquota\b|\bmailbox (?:is )?full\b", re.IGNORECASE)

_PURPOSE = b"suppression"
_KEPT = 100_000  # hashes in memory; of a longer list the store is asked
_FRESH = 30.0  # seconds after which what other servers on the same database changed is noticed
_TEXT = 300  # characters of a reply that are kept


@frozen
class Entry:
    """One address on the list. ``reason`` is the enhanced status, empty when it was added by hand; ``said`` the reply or a note."""

    id: int
    address: str
    reason: str
    said: str
    created: int  # seconds since 1970


def hard(attempt: Attempt) -> bool:
    """Whether what was said means that the address is no good, now and tomorrow."""
    reply = attempt.reply
    return 500 <= reply.code < 600 and reply.enhanced in HARD and not _PASSES.search(reply.text)


class Suppressions:
    """The list of one server; ``await load()`` before it is asked, ``stop`` before the store closes."""

    def __init__(self, store: Store, cipher: Cipher, settings: Settings, reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._parcels = Parcels(cipher)
        self._settings = settings
        self._version: tuple[int, int] | None = None
        self._hashes: set[bytes] | None = set()  # None: too many
        self._refreshing = LoopingCall(self._refresh)
        self._refreshing.clock = reactor

    async def load(self) -> None:
        """Read the hashes, now and whenever they have changed. Raises Unavailable."""
        await self._read()
        self._refreshing.start(_FRESH, now=False).addErrback(
            lambda failure: log.failure("The suppression list is no longer read again", failure, event="suppressions.failed")
        )

    def stop(self) -> None:
        """Read no more."""
        if self._refreshing.running:
            self._refreshing.stop()

    async def holds(self, address: Address) -> bool:
        """Whether ``address`` is on the list. Raises Unavailable."""
        if self._hashes is not None:
            return bool(self._hashes) and self._hash(address) in self._hashes
        return await self._store.read(suppressions.find, self._hash(address)) is not None

    async def find(self, text: str) -> Entry | None:
        """The entry of exactly this address. Raises DirectoryError "invalid", Unavailable."""
        found = await self._store.read(suppressions.find, self._hash(_parsed(text)))
        return None if found is None else self._opened(found)

    async def list(self, before: int = 0, limit: int = 50) -> list[Entry]:
        """At most ``limit`` entries, the latest first, with ids below ``before`` (0: from the latest on). Raises Unavailable."""
        return [self._opened(one) for one in await self._store.read(suppressions.page, before, limit)]

    async def count(self) -> int:
        """How many there are. Raises Unavailable."""
        return (await self._store.read(suppressions.version))[0]

    async def add(self, text: str, said: str, now: int) -> Entry:
        """Put an address on the list by hand. Raises DirectoryError "invalid" or "exists", Unavailable."""
        address = _parsed(text)
        one = self._sealed(address, "", " ".join(said.split())[:_TEXT])
        if await self._store.read(suppressions.find, one.hash) is not None:
            raise DirectoryError("exists", f"{address} is on the suppression list already", "Nothing is to be done.")
        audit.note(target=str(address), after={"address": str(address), "note": " ".join(said.split())[:_TEXT]})
        if not await self._store.write(suppressions.add, one, now):
            raise DirectoryError("exists", f"{address} is on the suppression list already", "Nothing is to be done.")
        await self._read()
        entry = await self.find(str(address))
        if entry is None:
            raise DirectoryError("not_found", f"{address} was taken off the suppression list again", "Look at the list.")
        return entry

    async def remove(self, text: str) -> None:
        """Take an address off the list. Raises DirectoryError "invalid" or "not_found", Unavailable."""
        address = _parsed(text)
        await self._remove(await self._store.read(suppressions.find, self._hash(address)), str(address))

    async def drop(self, id: int) -> None:
        """Take the entry with this id off the list. Raises DirectoryError "not_found", Unavailable."""
        await self._remove(await self._store.read(suppressions.show, id), f"entry {id}")

    async def _remove(self, found: Suppression | None, name: str) -> None:
        missing = DirectoryError("not_found", f"{name} is not on the suppression list", "List it to see what is.")
        if found is None:
            raise missing
        entry = self._opened(found)
        audit.note(target=entry.address or name, before={"address": entry.address, "reason": entry.reason})
        if not await self._store.write(suppressions.remove, found.hash):
            raise missing
        await self._read()

    def judge(self, guid: bytes, recipient: bytes, history: bytes) -> Suppression | None:
        """Of a queue's row of the webhook that failed: what to put on the list, if anything. Called in the writer's thread."""
        if not self._settings.current.webhook.suppress:
            return None
        try:
            consignee = self._parcels.open_recipient(guid, recipient)
            pasts = self._parcels.open_history(guid, history)
        except CipherError:
            return None
        if not pasts or consignee.original.key != consignee.address.key or not hard(pasts[-1].attempt):
            return None
        reply = pasts[-1].attempt.reply
        return self._sealed(consignee.address, reply.enhanced, str(reply)[:_TEXT])

    async def changed(self) -> None:
        """Entries were added by somebody else's transaction. Never fails: it is noticed a little later."""
        await self._refresh()

    async def _refresh(self) -> None:
        try:
            await self._read()
        except Unavailable as error:
            log.warn("The suppression list was not read: {reason}", event="suppressions.unavailable", reason=error.reason)

    async def _read(self) -> None:
        """Read the hashes if any have changed."""
        version = await self._store.read(suppressions.version)
        if version == self._version:
            return
        self._hashes = set(await self._store.read(suppressions.hashes)) if version[0] <= _KEPT else None
        self._version = version

    def _hash(self, address: Address) -> bytes:
        return self._cipher.hash(_PURPOSE, b"", "@".join(canonical(address)).encode())

    def _sealed(self, address: Address, reason: str, said: str) -> Suppression:
        hash = self._hash(address)
        plain = json.dumps([str(address), said], ensure_ascii=False).encode(errors="replace")
        return Suppression(hash, self._cipher.seal(_PURPOSE, hash, plain), reason)

    def _opened(self, one: Suppression) -> Entry:
        """An entry that does not open has no address: it can be removed by its id."""
        try:
            values: Sequence[Any] = json.loads(self._cipher.open(_PURPOSE, one.hash, one.sealed))
            address, said = values
        except (CipherError, ValueError):
            log.error("An entry of the suppression list does not open", event="suppressions.damaged", id=one.id)
            address, said = "", "This entry does not open: it was damaged."
        return Entry(one.id, address, one.reason, said, one.created)


def _parsed(text: str) -> Address:
    try:
        address = Address.parse(text.strip())
    except AddressError as error:
        raise DirectoryError("invalid", f"{text.strip()[:100]!r} is no address: {error}", "Write it as name@example.org.") from None
    return address

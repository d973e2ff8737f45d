"""What an owner decides of first contacts by moving mail, with whatever client.

Out of Requests accepts the author; from there to Trash or Spam rejects, which blocks; back from these into Requests takes
the block away again. A client without MOVE copies, marks and expunges: then the EXPUNGE decides, by where the same message
lies now. A message that is only expunged decides nothing, nor does one that is only copied. The decision is written before the
move: if the move then fails, doing it once more does no harm.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from mailx.core.contact_identity import author_in
from mailx.core.fetch import Need, Reader
from mailx.core.selected import Selected
from mailx.core.users import canonical
from mailx.mail.mailbox import DELIMITER, Mailbox
from mailx.mail.names import REQUESTS
from mailx.store import Store
from mailx.store import contacts as rows
from mailx.store import mailboxes as boxes
from mailx.store.contacts import Decision
from mailx.store.entries import Among

_ACCEPT, _REJECT, _RESTORE = "accept", "reject", "restore"
_REJECTING = ("\\Junk", "\\Trash")
_FROM = frozenset((b"from",))


class Decides(Protocol):
    """:class:`mailx.core.contacts.Contacts`."""

    async def decide(self, decision: Decision) -> None: ...


class Deciding:
    """Looks at moves and expunges before they are done."""

    def __init__(self, store: Store, names: boxes.Names, reader: Reader, contacts: Decides) -> None:
        self._store = store
        self._names = names
        self._reader = reader
        self._contacts = contacts

    async def moving(self, selected: Selected, uids: Sequence[int], target: str) -> None:
        """``uids`` are about to be moved to the mailbox ``target`` (in normal form)."""
        source = selected.mailbox
        asked = _asks(source.name)
        if asked == _asks(target) or not (asked or source.special_use in _REJECTING):
            return
        verdict = (await self._verdicts(source.account, asked)).get(target)
        if verdict is not None:
            await self._decide(selected, dict.fromkeys(uids, verdict))

    async def expunging(self, selected: Selected, among: Among | None) -> None:
        """What is \\Deleted of ``among``, or the next slice of all that is, is about to be removed."""
        source = selected.mailbox
        asked = _asks(source.name)
        if not asked and source.special_use not in _REJECTING:
            return
        places = await self._store.read(rows.elsewhere, source.id, among)
        if not places:
            return
        mailboxes = {mailbox.id: mailbox.name for mailbox in await self._store.read(boxes.list_all, self._names, source.account)}
        verdicts = await self._verdicts(source.account, asked)
        found: dict[int, str] = {}
        for uid, place in places:
            verdict = verdicts.get(mailboxes.get(place, ""))
            if verdict is not None and found.get(uid) != _ACCEPT:
                found[uid] = verdict
        if found:
            await self._decide(selected, found)

    async def _verdicts(self, account: int, asked: bool) -> dict[str, str]:
        """What it means that a message of Requests (or, if not ``asked``, of Trash or Spam) comes to the mailbox of each name."""
        every = await self._store.read(boxes.list_all, self._names, account)
        if not asked:
            return {mailbox.name: _RESTORE for mailbox in every if _asks(mailbox.name)}
        rejecting = [mailbox.name for mailbox in every if mailbox.special_use in _REJECTING]
        return {mailbox.name: _meaning(mailbox, rejecting) for mailbox in every if not _asks(mailbox.name)}

    async def _decide(self, selected: Selected, verdicts: Mapping[int, str]) -> None:
        """Decide of the authors of messages by their UIDs."""
        decided: dict[str, dict[str, None]] = {_ACCEPT: {}, _REJECT: {}, _RESTORE: {}}
        async for batch in self._reader.rows(selected, sorted(verdicts), Need.SUMMARY):
            for row in batch:
                field = None if row.summary is None else row.summary.fields(_FROM)
                author = None if field is None else author_in(field)
                if author is not None:
                    decided[verdicts[row.uid]]["@".join(canonical(author))] = None
        accepted = tuple(decided[_ACCEPT])
        rejected = tuple([address for address in decided[_REJECT] if address not in decided[_ACCEPT]])
        if accepted or rejected or decided[_RESTORE]:
            await self._contacts.decide(Decision(selected.mailbox.account, accepted, rejected, tuple(decided[_RESTORE])))


def _asks(name: str) -> bool:
    """Whether strangers wait in the mailbox ``name``."""
    return name == REQUESTS or name.startswith(REQUESTS + DELIMITER)


def _meaning(mailbox: Mailbox, rejecting: Iterable[str]) -> str:
    refused = any(mailbox.name == name or mailbox.name.startswith(name + DELIMITER) for name in rejecting)
    return _REJECT if refused else _ACCEPT

"""The mail of an account as a stream of frames, for a program that writes it down.

A frame is a line of JSON: ``{"mailbox", "special_use", "uidvalidity", "messages"}`` begins a mailbox; ``{"uid", "flags", "keywords",
"received", "size"}`` is a message, followed by as many octets; ``{"end"}``, with the number of messages, is the last one, so that
nobody takes a stream that broke off for whole. Mail is read as fast as the taker takes it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from twisted.logger import Logger

from mailx.core import audit
from mailx.core.fetch import Need, Row
from mailx.core.person_export import Person, unlock
from mailx.core.selected import Selected
from mailx.core.users import SERVER, Details, DirectoryError
from mailx.mail.mailbox import SYSTEM_FLAGS, Mailbox
from mailx.mail.names import MailboxError

log = Logger()

_PIECE = 262144  # octets of a long message
_SYSTEM = sum(int(flag) for flag in SYSTEM_FLAGS.values())


async def export(person: Person, address: str, after: Mapping[str, tuple[int, int]], password: str = "") -> AsyncIterator[bytes]:
    """The stream. ``after`` has, by mailbox, its UIDVALIDITY and the last UID that the taker has; ``password`` opens a sealed account.

    What is wrong rises before the first octet: DirectoryError, Unavailable.
    """
    details = await person.accounts.find(address)
    if password:
        await unlock(person, details, password)
    elif details.user.sealed == SERVER:  # that its owner is here is not leave to read it
        raise DirectoryError("invalid", f"only its owner opens the mail of {details.user.address}", "Give the owner's password.")
    audit.note(target=str(details.user.address))
    if (act := audit.current()) is not None:
        await person.audit.conclude(act)  # before anything is given away
    log.info("Mail is exported", event="account.mail_exported", user_id=details.user.id, email=str(details.user.address))
    return _stream(person, details, after)


async def _stream(person: Person, details: Details, after: Mapping[str, tuple[int, int]]) -> AsyncIterator[bytes]:
    count = 0
    person.keyring.hold(details.user.id)  # the owner's session may end meanwhile
    try:
        for box in await person.mailboxes.list(details.user):
            try:
                view = await person.mailboxes.select(details.user, box.name, read_only=True)
            except MailboxError:
                continue  # it was deleted meanwhile
            try:
                uidvalidity, last = after.get(box.name, (0, 0))
                wanted = [uid for uid in view.uids if uidvalidity != box.uidvalidity or uid > last]
                yield _mailbox(box, len(wanted))
                async for rows in person.mailboxes.fetch(view, wanted, Need.CONTENT):
                    for row in rows:
                        count += 1
                        async for part in _message(person, view, row):
                            yield part
            finally:
                view.close()
        yield _line({"end": count})
    finally:
        person.keyring.release(details.user.id)


def _mailbox(box: Mailbox, messages: int) -> bytes:
    return _line({"mailbox": box.name, "special_use": box.special_use, "uidvalidity": box.uidvalidity, "messages": messages})


async def _message(person: Person, view: Selected, row: Row) -> AsyncIterator[bytes]:
    assert row.content is not None
    keywords = [name for name in view.names(row.flags) if name not in SYSTEM_FLAGS]
    size = len(row.content) if isinstance(row.content, bytes) else row.size
    head = _line({"uid": row.uid, "flags": row.flags & _SYSTEM, "keywords": keywords, "received": row.received, "size": size})
    if isinstance(row.content, bytes):
        yield head + row.content
        return
    yield head
    for offset in range(0, size, _PIECE):
        yield await person.mailboxes.read(row.content, offset, min(_PIECE, size - offset))


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"

"""Everything that this server holds of one person, as a stream of files in the tar format (POSIX.1-2001, pax).

Mail is a Maildir for each mailbox with a table of flags, keywords and dates beside it; the rest is JSON. Nothing is gathered
before it is sent: mail is read as fast as the taker takes it. Mail that is sealed for its owner comes out only with the
owner's password; that it is left out is told in ``account.json``. Failure of the store while it runs ends the
stream early, without the two empty blocks at the end of a tar file, so nobody takes it for whole.
"""

import json
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from attrs import frozen
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.accounts import Accounts
from mailx.core.app_passwords import AppPasswords
from mailx.core.audit import Filter, Log, described
from mailx.core.contacts import Contacts
from mailx.core.fetch import Need, Row
from mailx.core.keyring import Keyring
from mailx.core.login_log import LoginLog
from mailx.core.mailboxes import Mailboxes
from mailx.core.passwords import Busy
from mailx.core.retention import Retention
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.selected import Selected
from mailx.core.timeline import Timeline
from mailx.core.user_keys import UserKeys
from mailx.core.users import SERVER, Details, DirectoryError
from mailx.mail import maildir
from mailx.mail.mailbox import Mailbox
from mailx.mail.names import MailboxError
from mailx.mail.times import iso
from mailx.store import Store, waiting

log = Logger()

JSON: TypeAlias = Any

END = bytes(1024)  # of a tar file
_BLOCK = 512
_TRACES = 100_000  # messages that the timelines tell of at most
_CONTACTS = 1000  # read at a time
_PIECE = 262144  # octets of a long message
_COMPONENT = 240  # octets of a part of a name; file systems take 255
_README = """\
This is what a mail server holds of one person.

account.json    the account: addresses, settings, quota, mailboxes, and what could not be exported
contacts.json   contacts and blocked senders
keys.json       the public halves of the account's keys, as they were attested
logins.json     when and from where the account logged in
messages.json   what the server noted of the way of its messages
changes.json    what administrators changed of the account
mail/           a Maildir for each mailbox, under its name. A part of a name that a file system does not take, or that a Maildir
                needs for itself, is written with %XX. Beside cur, new and tmp the file messages.jsonl tells of each message
                its file, UID, flags, keywords, and the times when it was received and when it came into the mailbox.
"""


@frozen
class Person:
    """Where all that belongs to a person is found."""

    store: Store
    accounts: Accounts
    mailboxes: Mailboxes
    retention: Retention
    timeline: Timeline
    audit: Log
    logins: LoginLog
    contacts: Contacts
    app_passwords: AppPasswords
    sealed: SealedAccounts
    keyring: Keyring
    user_keys: UserKeys | None = None


async def export(person: Person, address: str, password: str = "") -> AsyncIterator[bytes]:
    """The stream. ``password`` opens the mail of a sealed account.

    What is wrong rises before the first octet: DirectoryError, Unavailable.
    """
    details = await person.accounts.find(address)
    user = details.user
    if password:
        if user.sealed != SERVER:
            raise DirectoryError("invalid", f"{user.address} needs no password for its export", "Leave it out.")
        await unlock(person, details, password)
    readable = user.sealed != SERVER or bool(password)  # that its owner is here is not leave to read it
    audit.note(target=str(user.address), after={"mail": readable})
    if (act := audit.current()) is not None:
        await person.audit.conclude(act)  # before anything is given away
    log.info("Everything of a person is exported", event="account.exported", user_id=user.id, email=str(user.address))
    return _stream(person, details, readable)


async def unlock(person: Person, details: Details, password: str) -> None:
    """Open the keys of a sealed account with its owner's password; raises DirectoryError."""
    try:
        user, key = await person.sealed.held_key(details.user.address, password)
        opened = key is not None and await person.sealed.open(user, password)
    except Busy:
        raise DirectoryError("limit", "too many passwords wait to be checked", "Try again in a few seconds.") from None
    if not opened:
        raise DirectoryError("invalid", "the password does not open the account's mail", "The owner knows it.")


async def _stream(person: Person, details: Details, readable: bool) -> AsyncIterator[bytes]:
    id, now = details.user.id, int(details.created)
    person.keyring.hold(id)  # the owner's session may end meanwhile
    try:
        yield member("README.txt", _README.encode(), now)
        boxes = await person.mailboxes.list(details.user)
        yield _json("account.json", await _account(person, details, boxes, readable), now)
        yield _json("contacts.json", await _contacts(person, details), now)
        yield _json("keys.json", await _keys(person, details), now)
        yield _json("logins.json", await person.logins.of(id), now)
        async for part in _listed("messages.json", _traces(person, details), now):
            yield part
        async for part in _listed("changes.json", _changes(person, details), now):
            yield part
        for box in boxes if readable else ():
            async for part in _mailbox(person, details, box):
                yield part
        yield END
    finally:
        person.keyring.release(id)


async def _account(person: Person, details: Details, boxes: Iterable[Mailbox], readable: bool) -> JSON:
    user = details.user
    own = await person.retention.own(str(user.address))
    wanted = await person.contacts.wanted(user.address)
    left = await person.store.read(waiting.who, [user.id])
    return {
        "address": str(user.address),
        "aliases": list(details.aliases),
        "role": user.role,
        "state": user.state,
        "quota": user.quota,
        "used": user.used,
        "created": iso(details.created),
        "deleted": None if details.deleted is None else iso(details.deleted),
        "last_login": None if details.last_login is None else iso(details.last_login),
        "retention_days": own.account,
        "retention_days_of_mailboxes": own.mailboxes,
        "sealed": user.sealed,
        "mail_is_here": readable,
        "sealed_mail_waits": bool(left),
        "requests": wanted.requests,
        "notices": wanted.notices,
        "app_passwords": [
            {"name": each.name, "created": iso(each.created), "used": None if each.used is None else iso(each.used)}
            for each in await person.app_passwords.every(user.address)
        ],
        "subscriptions": await person.mailboxes.subscriptions(user),
        "annotations": _texts(await person.mailboxes.metadata.get(user, "")),
        "mailboxes": [await _box(person, details, box) for box in boxes],
    }


async def _box(person: Person, details: Details, box: Mailbox) -> JSON:
    """What a mailbox is, with whom it is shared, and what was noted at it; less where it is deleted meanwhile."""
    told = {
        "name": box.name,
        "folder": folder(box.name),
        "special_use": box.special_use,
        "messages": box.messages,
        "octets": box.size,
        "uidvalidity": box.uidvalidity,
    }
    try:
        _, grants = await person.mailboxes.sharing.grants(details.user, box.name)
        annotations = _texts(await person.mailboxes.metadata.get(details.user, box.name))
    except MailboxError:
        return told
    others = [{"who": one.who, "rights": "-" * one.negative + "".join(sorted(one.rights))} for one in grants[1:]]
    return {**told, "shared_with": others, "annotations": annotations}


def _texts(found: tuple[str, Mapping[str, bytes]]) -> dict[str, str]:
    """Metadata (RFC 5464) as JSON has it."""
    return {name: value.decode(errors="replace") for name, value in found[1].items()}


async def _contacts(person: Person, details: Details) -> JSON:
    found: list[JSON] = []
    for trust in ("", "blocked"):
        before = 0
        while page := await person.contacts.list(details.user.address, trust, before, _CONTACTS):
            found += [{"address": one.address, "trust": one.trust, "by_hand": one.chosen, "since": iso(one.since)} for one in page]
            before = page[-1].place
            if trust or len(page) < _CONTACTS:
                break
    return found


async def _keys(person: Person, details: Details) -> JSON:
    if person.user_keys is None:
        return []
    return [statement.encode() for statement in await person.user_keys.statements("user", str(details.user.address))]


async def _traces(person: Person, details: Details) -> AsyncIterator[JSON]:
    for address in (str(details.user.address), *details.aliases):
        for trace in await person.timeline.trace(address, _TRACES):
            events = [{"time": iso(event.time), "event": event.event, **event.facts} for event in trace.events]
            yield {"id": trace.envelope, "events": events}


async def _changes(person: Person, details: Details) -> AsyncIterator[JSON]:
    async for entries in person.audit.export(Filter(target=str(details.user.address))):
        for entry in entries:
            yield described(entry)


async def _mailbox(person: Person, details: Details, box: Mailbox) -> AsyncIterator[bytes]:
    """One mailbox as a Maildir."""
    place = f"mail/{folder(box.name)}"
    for name in ("cur", "new", "tmp"):
        yield directory(f"{place}/{name}", box.uidvalidity)
    try:
        view = await person.mailboxes.select(details.user, box.name, read_only=True)
    except MailboxError:
        return  # it was deleted meanwhile
    lines: list[bytes] = []
    try:
        async for rows in person.mailboxes.fetch(view, list(view.uids), Need.CONTENT):
            for row in rows:
                assert row.content is not None
                if not await person.mailboxes.there(row.content):
                    continue  # it was expunged meanwhile
                name = file_name(row, box.uidvalidity)
                lines.append(_told(view, row, name))
                async for part in _message(person, row, f"{place}/cur/{name}"):
                    yield part
    finally:
        view.close()
    yield member(f"{place}/messages.jsonl", b"".join(lines), box.uidvalidity)


async def _message(person: Person, row: Row, path: str) -> AsyncIterator[bytes]:
    """One message as a member; long ones in pieces."""
    assert row.content is not None
    if isinstance(row.content, bytes):
        yield member(path, row.content, row.received)
        return
    yield head(path, row.size, row.received)
    for offset in range(0, row.size, _PIECE):
        yield await person.mailboxes.read(row.content, offset, min(_PIECE, row.size - offset))
    yield bytes(-row.size % _BLOCK)


def _told(view: Selected, row: Row, name: str) -> bytes:
    value = {"file": name, "uid": row.uid, "flags": list(view.names(row.flags)), "received": iso(row.received), "saved": iso(row.saved)}
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


async def _listed(path: str, values: AsyncIterator[JSON], at: int) -> AsyncIterator[bytes]:
    """Values as one JSON list. A member's size stands before it, so its text is gathered: it is bounded by what logs keep."""
    texts = [json.dumps(value, ensure_ascii=False, default=str) async for value in values]
    yield member(path, ("[\n" + ",\n".join(texts) + "\n]\n").encode(errors="replace"), at)


def _json(path: str, value: JSON, at: int) -> bytes:
    return member(path, (json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n").encode(errors="replace"), at)


# Names and the format


def file_name(row: Row, uidvalidity: int) -> str:
    """The name of a message in a Maildir: unique, rising, with its size and flags."""
    return maildir.name(f"{row.received}.V{uidvalidity}U{row.uid}.mailx", row.size, row.flags, (), {})


def folder(name: str) -> str:
    """The path of a mailbox: its name, with %XX for what file systems or a Maildir want for themselves."""
    return "/".join(map(_component, name.split("/")))


def _component(text: str) -> str:
    if text.lower() in ("cur", "new", "tmp", "messages.jsonl") or text.startswith("."):
        return f"%{ord(text[0]):02X}{_plain(text[1:])}"
    return _plain(text) or "%20"


def _plain(text: str) -> str:
    kept = "".join([letter if letter.isprintable() and letter not in '%\\:*?"<>|' else _escaped(letter) for letter in text])
    if len(kept.encode()) <= _COMPONENT:
        return kept
    return f"{kept[:50]}%~{sha256(text.encode(errors='replace')).hexdigest()[:24]}"  # no other name has %~


def _escaped(letter: str) -> str:
    return "".join(f"%{octet:02X}" for octet in letter.encode("utf-8", "replace"))


def head(path: str, size: int, at: int) -> bytes:
    """What stands before a file's octets."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size, at, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def member(path: str, content: bytes, at: int) -> bytes:
    """A whole file."""
    return b"".join([head(path, len(content), at), content, bytes(-len(content) % _BLOCK)])


def directory(path: str, at: int) -> bytes:
    """An empty directory."""
    info = tarfile.TarInfo(path)
    info.type, info.mtime, info.mode = tarfile.DIRTYPE, at, 0o700
    return info.tobuf(tarfile.PAX_FORMAT)

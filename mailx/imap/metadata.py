"""GETMETADATA and SETMETADATA (RFC 5464), and the METADATA that LIST returns (RFC 9590)."""

from collections.abc import Iterable, Mapping

from mailx.imap import text
from mailx.imap.arrival import Command
from mailx.imap.metadata_grammar import Get, Set
from mailx.imap.session import Session
from mailx.mail.mailbox import Mailbox


async def get(session: Session, command: Command, asked: Get) -> bytes | None:
    """An entry without a value is NIL, unless what lies below it was asked for; values too long for MAXSIZE are left out (RFC 5464 4.2)."""
    name, values = await session.services.mailboxes.metadata.get(session.owner(), asked.mailbox)
    chosen = {key: value for key, value in sorted(values.items()) if any(_beneath(key, entry, asked.depth) for entry in asked.entries)}
    absent = [] if asked.depth else [entry for entry in asked.entries if entry not in values]
    longest = 0
    if asked.max_size is not None:
        longest = max([len(value) for value in chosen.values() if len(value) > asked.max_size], default=0)
        chosen = {key: value for key, value in chosen.items() if len(value) <= asked.max_size}
    pairs = [b"%b %b" % (text.astring(key.encode()), _value(value)) for key, value in chosen.items()]
    pairs += [text.astring(entry.encode()) + b" NIL" for entry in absent]
    if pairs:
        session.peer.write(_line(session, name, pairs))
    return b"[METADATA LONGENTRIES %d] GETMETADATA completed" % longest if longest else None


async def put(session: Session, command: Command, asked: Set) -> None:
    await session.services.mailboxes.metadata.put(session.owner(), asked.mailbox, dict(asked.values))


async def listed(session: Session, mailbox: Mailbox, entries: Iterable[str]) -> bytes:
    """The METADATA response of a mailbox that is listed: NIL for an entry without a value (RFC 9590 3)."""
    values: Mapping[str, bytes] = await session.services.mailboxes.metadata.of(session.owner(), mailbox)
    pairs = []
    for entry in entries:
        value = values.get(entry)
        pairs.append(b"%b %b" % (text.astring(entry.encode()), b"NIL" if value is None else _value(value)))
    return _line(session, mailbox.name, pairs)


def _line(session: Session, name: str, pairs: Iterable[bytes]) -> bytes:
    return b"* METADATA %b (%b)\r\n" % (session.name(name) if name else b'""', b" ".join(pairs))


def _value(value: bytes) -> bytes:
    """Values with NUL can only be binary literals (RFC 5464 5)."""
    return b"~{%d}\r\n%b" % (len(value), value) if b"\0" in value else text.string(value)


def _beneath(key: str, entry: str, depth: int) -> bool:
    """Whether ``key`` is ``entry``, or lies at most ``depth`` levels (-1: any number) under it."""
    if key == entry:
        return True
    if not depth or not key.startswith(entry + "/"):
        return False
    return depth < 0 or "/" not in key[len(entry) + 1 :]

"""Commands that take messages out of a mailbox or into another: EXPUNGE, UID EXPUNGE, COPY, MOVE (RFC 4315, RFC 6851)."""

from mailx.core.mailboxes import Copied
from mailx.imap import message_limit, updates
from mailx.imap.answers import No, tagged
from mailx.imap.arrival import Command
from mailx.imap.commands import Copy
from mailx.imap.session import Session
from mailx.imap.sets import compact
from mailx.imap.tokens import Ranges


async def expunge(session: Session, command: Command, _: None) -> bytes | None:
    """The EXPUNGE responses come with everything else that changed, before the tagged answer."""
    _writable(session)
    removed = await session.services.mailboxes.expunge(session.view(), None)
    return await _told(session, b"EXPUNGE completed") if removed else None


async def _told(session: Session, text: bytes) -> bytes:
    """Tell what was removed; returns the tagged answer, with the mod-sequence that the client knows then (RFC 7162 3.2.7)."""
    await updates.tell(session, True, own=True)
    return b"[HIGHESTMODSEQ %d] %b" % (session.view().modseq, text) if session.condstore else text


async def uid_expunge(session: Session, command: Command, ranges: Ranges) -> bytes | None:
    _writable(session)
    view = session.view()
    uids, answer = message_limit.limited(session, message_limit.deleted(session, session.uids(ranges, True)), command.name)
    removed = await session.services.mailboxes.expunge(view, uids)
    told = await _told(session, b"UID EXPUNGE completed") if removed else None
    return told if answer is None else message_limit.with_code(session, answer, told)


async def copy(session: Session, command: Command, asked: Copy) -> bytes:
    view = session.view()
    uids = session.uids(asked.ranges, command.name.startswith(b"UID"))
    if not uids:
        return b"Nothing to copy"
    message_limit.all_or_nothing(session, uids, command.name)  # RFC 9051 6.4.7
    copied = await session.services.mailboxes.copy(view, uids, asked.mailbox)
    _any_left(copied)
    return b"[%b] COPY completed" % _code(copied)


async def move(session: Session, command: Command, asked: Copy) -> bytes:
    """COPYUID goes before the EXPUNGE responses (RFC 6851 4.3)."""
    _writable(session)
    view = session.view()
    uids = session.uids(asked.ranges, command.name.startswith(b"UID"))
    if not uids:
        return b"Nothing to move"
    uids, answer = message_limit.limited(session, uids, command.name)
    moved = await session.services.mailboxes.move(view, uids, asked.mailbox)
    _any_left(moved)
    session.peer.write(tagged(b"*", b"OK", b"Moved", _code(moved)))
    told = await _told(session, b"MOVE completed")
    return told if answer is None else message_limit.with_code(session, answer, told)


def _writable(session: Session) -> None:
    if session.view().read_only:
        raise No(b"Mailbox is read-only", b"READ-ONLY")


def _any_left(copied: Copied) -> None:
    """Raises No if another session has removed all the messages, which this one was not told yet (RFC 2180 4.4.1)."""
    if not copied.source:
        raise No(b"Messages are expunged already", b"EXPUNGEISSUED")


def _code(copied: Copied) -> bytes:
    return b"COPYUID %d %b %b" % (copied.uidvalidity, compact(copied.source), compact(copied.target))

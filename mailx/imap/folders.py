"""Commands on mailboxes as wholes: SELECT, EXAMINE, CREATE, DELETE, RENAME, SUBSCRIBE, CLOSE, UNSELECT (RFC 9051 6.3, 6.4)."""

from mailx.core.selected import Selected
from mailx.imap import updates
from mailx.imap.answers import Bad
from mailx.imap.arrival import Command
from mailx.imap.commands import Create, Rename
from mailx.imap.session import Session
from mailx.imap.sync_grammar import Select
from mailx.mail.mailbox import DELIMITER, Flag

_SEEN = int(Flag.SEEN)


async def select(session: Session, command: Command, chosen: Select) -> bytes:
    return await _open(session, chosen, read_only=False)


async def examine(session: Session, command: Command, chosen: Select) -> bytes:
    return await _open(session, chosen, read_only=True)


async def _open(session: Session, chosen: Select, read_only: bool) -> bytes:
    """A failed SELECT leaves no mailbox selected (RFC 9051 6.3.2)."""
    if chosen.known is not None and not session.qresync:
        raise Bad(b"QRESYNC is not enabled")
    if chosen.known is not None and chosen.known.matches and session.uidonly:  # RFC 9586 3.7
        raise Bad(b"Message numbers are not allowed after ENABLE UIDONLY", b"UIDREQUIRED")
    if session.selected is not None:
        session.unselect()
        session.peer.write(b"* OK [CLOSED] Previous mailbox is closed\r\n")
    selected = await session.services.mailboxes.select(session.owner(), chosen.mailbox, read_only)
    if chosen.condstore:
        session.enabled.add(b"CONDSTORE")
    session.select(selected)
    session.peer.write(session.flag_lines() + _state(session, selected, chosen.mailbox))
    if chosen.known is not None:
        await updates.resynchronize(session, chosen.known)
    if read_only:
        return b"[READ-ONLY] EXAMINE completed"
    # A guest that may change nothing has it read-only (RFC 4314 5.2).
    return b"[READ-ONLY] SELECT completed" if selected.rights.isdisjoint("stwei") else b"[READ-WRITE] SELECT completed"


def _state(session: Session, selected: Selected, asked: str) -> bytes:
    """RECENT and UNSEEN are of IMAP4rev1, LIST is of IMAP4rev2 (RFC 9051 6.3.2); UNSEEN is a sequence number (RFC 9586 3)."""
    lines = [b"* %d EXISTS\r\n" % len(selected.uids)]
    if session.rev2:
        lines.append(_listed(session, selected.mailbox.name, asked))
    else:
        lines.append(b"* %d RECENT\r\n" % len(selected.recent))
        unseen = 0 if session.uidonly else next((number for number, flags in enumerate(selected.flags, 1) if not flags & _SEEN), 0)
        if unseen:
            lines.append(b"* OK [UNSEEN %d] First unseen\r\n" % unseen)
    lines.append(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % selected.mailbox.uidvalidity)
    lines.append(b"* OK [MAILBOXID (%b)] Its name for good\r\n" % session.mailbox_id(selected.mailbox))
    lines.append(b"* OK [UIDNEXT %d] Predicted next UID\r\n" % selected.uidnext)
    lines.append(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % selected.modseq)
    if selected.viewer == selected.mailbox.account:
        lines.append(b"* OK [URLMECH INTERNAL] How URLs are signed\r\n")  # RFC 4467 8
    return b"".join(lines)


def _listed(session: Session, name: str, asked: str) -> bytes:
    """The name as the store has it; with the one that was asked for where that is another spelling (RFC 9051 6.3.9.7)."""
    old = b"" if asked == name else b' ("OLDNAME" (%b))' % session.name(asked)
    return b'* LIST () "%b" %b%b\r\n' % (DELIMITER.encode("ascii"), session.name(name), old)


async def create(session: Session, command: Command, new: Create) -> bytes:
    made = await session.services.mailboxes.create(session.owner(), new.mailbox, new.special_use)
    return b"[MAILBOXID (%b)] CREATE completed" % session.mailbox_id(made)


async def delete(session: Session, command: Command, name: str) -> None:
    """Deleting the selected mailbox, whatever it was called when it was selected, leaves the session without one."""
    deleted = await session.services.mailboxes.delete(session.owner(), name)
    if session.selected is not None and session.selected.mailbox.id == deleted:
        session.unselect()


async def rename(session: Session, command: Command, names: Rename) -> None:
    await session.services.mailboxes.rename(session.owner(), names.old, names.new)


async def subscribe(session: Session, command: Command, name: str) -> None:
    await session.services.mailboxes.subscribe(session.owner(), name)


async def unsubscribe(session: Session, command: Command, name: str) -> None:
    await session.services.mailboxes.unsubscribe(session.owner(), name)


async def close(session: Session, command: Command, _: None) -> None:
    """Expunge without telling, and leave; a read-only mailbox is only left (RFC 9051 6.4.1).

    The mod-sequence is not told: the client does not know what was removed (RFC 7162 3.2.8).
    """
    view = session.view()
    if not view.read_only and "e" in view.rights:
        await session.services.mailboxes.expunge(view, None)
    session.unselect()


async def unselect(session: Session, command: Command, _: None) -> None:
    session.unselect()

"""Commands on mailboxes as wholes: SELECT, EXAMINE, CREATE, DELETE, RENAME, SUBSCRIBE, CLOSE, UNSELECT (RFC 9051 6.3, 6.4)."""

from mailx.core.selected import Selected
from mailx.imap.arrival import Command
from mailx.imap.commands import Create, Rename, Select
from mailx.imap.session import Session
from mailx.mail.mailbox import Flag

_SEEN = int(Flag.SEEN)


async def select(session: Session, command: Command, chosen: Select) -> bytes:
    return await _open(session, chosen, read_only=False)


async def examine(session: Session, command: Command, chosen: Select) -> bytes:
    return await _open(session, chosen, read_only=True)


async def _open(session: Session, chosen: Select, read_only: bool) -> bytes:
    """A failed SELECT leaves no mailbox selected (RFC 9051 6.3.2)."""
    if session.selected is not None:
        session.unselect()
        session.peer.write(b"* OK [CLOSED] Previous mailbox is closed\r\n")
    selected = await session.services.mailboxes.select(session.owner(), chosen.mailbox, read_only)
    if chosen.condstore:
        session.enabled.add(b"CONDSTORE")
    session.select(selected)
    session.peer.write(session.flag_lines() + _state(selected))
    return b"[READ-ONLY] EXAMINE completed" if read_only else b"[READ-WRITE] SELECT completed"


def _state(selected: Selected) -> bytes:
    lines = [b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(selected.uids), len(selected.recent))]
    unseen = next((number for number, flags in enumerate(selected.flags, 1) if not flags & _SEEN), 0)
    if unseen:
        lines.append(b"* OK [UNSEEN %d] First unseen\r\n" % unseen)
    lines.append(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % selected.mailbox.uidvalidity)
    lines.append(b"* OK [UIDNEXT %d] Predicted next UID\r\n" % selected.uidnext)
    lines.append(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % selected.modseq)
    return b"".join(lines)


async def create(session: Session, command: Command, new: Create) -> None:
    await session.services.mailboxes.create(session.owner(), new.mailbox, new.special_use)


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
    """Expunge without telling, and leave; a read-only mailbox is only left (RFC 9051 6.4.1)."""
    view = session.view()
    if not view.read_only:
        await session.services.mailboxes.expunge(view, None)
    session.unselect()


async def unselect(session: Session, command: Command, _: None) -> None:
    session.unselect()

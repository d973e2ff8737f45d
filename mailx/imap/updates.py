"""What changed in the selected mailbox, told to the client (RFC 9051 7.5): removed, new, and differently flagged messages.

Flags come with the UID, and with the mod-sequence for a client that knows those (RFC 7162 3.2.4). Removed messages are
EXPUNGE responses, or VANISHED for a client that has enabled QRESYNC or UIDONLY (RFC 7162 3.2.10, RFC 9586 3.4).
"""

from collections.abc import Sequence

from mailx.core.resync import Spans, merged, spans
from mailx.imap import contexts
from mailx.imap.answers import Bad
from mailx.imap.commands import Data, Fetch
from mailx.imap.fetch import Batch, Rendering
from mailx.imap.session import Session
from mailx.imap.sync_grammar import Known
from mailx.imap.tokens import SAVED

_SLICE = 1500
_SPANS = 5000  # ranges of one VANISHED response
_FLAGS = Rendering((Data.UID, Data.FLAGS))
_FLAGS_MODSEQ = Rendering((Data.UID, Data.FLAGS, Data.MODSEQ))
_ONLY_FLAGS = Rendering((Data.FLAGS,))
_ONLY_FLAGS_MODSEQ = Rendering((Data.FLAGS, Data.MODSEQ))


async def tell(session: Session, expunge: bool, own: bool = False) -> bool:
    """Send what is pending, removed messages only with ``expunge``; False if the mailbox itself is gone.

    ``own``: the session itself has removed messages, so it is told even if it wants to hear nothing (RFC 5465 5.3).
    """
    view, peer, notify = session.selected, session.peer, session.notify
    if view is None or not view.news:
        return True
    if view.barred:
        return False
    if notify is not None and not notify.messages and not own:
        return not view.gone
    known = len(view.uids)
    updates = view.updates(expunge)
    flagged = updates.flagged
    if updates.expunged:
        if session.contexts:
            peer.write(contexts.without(session, updates.vanished, updates.expunged))
        await _expunged(session, updates.expunged, updates.vanished)
    if updates.exists is not None:
        peer.write(b"* %d EXISTS\r\n" % updates.exists)
        if not session.rev2:
            peer.write(b"* %d RECENT\r\n" % updates.recent)
        if notify is not None:
            await notify.fetch_new(known - len(updates.expunged))
    if flagged and (notify is None or notify.flags):
        await tell_flags(session, flagged)
    if session.contexts and not updates.gone:
        await contexts.refresh(session)
    return not updates.gone


async def tell_flags(session: Session, indexes: Sequence[int]) -> None:
    """Send the flags of messages without being asked."""
    peer = session.peer
    peer.write(session.new_keywords())
    if session.uidonly:
        rendering = _ONLY_FLAGS_MODSEQ if session.condstore else _ONLY_FLAGS
    else:
        rendering = _FLAGS_MODSEQ if session.condstore else _FLAGS
    for start in range(0, len(indexes), _SLICE):
        peer.write(rendering.lines(Batch(session, indexes[start : start + _SLICE])))
        await peer.ready()


async def tell_vanished(session: Session, asked: Fetch, by_uid: bool) -> None:
    """What UID FETCH (CHANGEDSINCE n VANISHED) says of removed messages (RFC 7162 3.2.6)."""
    if not by_uid or not session.qresync:
        raise Bad(b"VANISHED needs UID FETCH, and QRESYNC enabled")
    view = session.view()
    within = spans(session.saved) if asked.ranges == SAVED else merged(asked.ranges, view.uidnext - 1)
    assert asked.changed_since is not None
    await _earlier(session, await session.services.mailboxes.vanished(view, asked.changed_since, within))


async def resynchronize(session: Session, known: Known) -> None:
    """What SELECT (QRESYNC ...) says after the mailbox's state: nothing if the mailbox is another one by now (RFC 7162 3.2.5)."""
    view = session.view()
    if known.uidvalidity != view.mailbox.uidvalidity:
        return
    within = None if known.uids is None else merged(known.uids, 0)
    await _earlier(session, await session.services.mailboxes.vanished(view, known.modseq, within, known.matches))
    modseqs = view.modseqs
    if within is None:
        changed = [index for index, modseq in enumerate(modseqs) if modseq > known.modseq]
    else:
        changed = [index for _, index in view.indexes(view.uids_of_uids(within)) if modseqs[index] > known.modseq]
    if changed:
        await tell_flags(session, changed)


async def _expunged(session: Session, numbers: Sequence[int], uids: Sequence[int]) -> None:
    peer = session.peer
    if session.qresync or session.uidonly:
        await _vanished(session, b"* VANISHED %b\r\n", spans(uids))
        return
    for start in range(0, len(numbers), _SLICE):
        peer.write(b"".join(map(b"* %d EXPUNGE\r\n".__mod__, numbers[start : start + _SLICE])))
        await peer.ready()


async def _earlier(session: Session, lost: Spans) -> None:
    await _vanished(session, b"* VANISHED (EARLIER) %b\r\n", lost)


async def _vanished(session: Session, line: bytes, lost: Spans) -> None:
    for start in range(0, len(lost), _SPANS):
        texts = [b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in lost[start : start + _SPANS]]
        session.peer.write(line % b",".join(texts))
        await session.peer.ready()

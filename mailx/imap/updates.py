"""What changed in the selected mailbox, told to the client (RFC 9051 7.5): removed, new, and differently flagged messages.

Flags come with the UID, and with the mod-sequence for a client that knows those (RFC 7162 3.2.4).
"""

from mailx.imap.commands import Data
from mailx.imap.fetch import Batch, Rendering
from mailx.imap.session import Session

_SLICE = 1500
_FLAGS = Rendering((Data.UID, Data.FLAGS))
_FLAGS_MODSEQ = Rendering((Data.UID, Data.FLAGS, Data.MODSEQ))


async def tell(session: Session, expunge: bool) -> bool:
    """Send what is pending, removed messages only with ``expunge``; False if the mailbox itself is gone."""
    view, peer = session.selected, session.peer
    if view is None or not view.news:
        return True
    updates = view.updates(expunge)
    expunged, flagged = updates.expunged, updates.flagged
    for start in range(0, len(expunged), _SLICE):
        peer.write(b"".join(map(b"* %d EXPUNGE\r\n".__mod__, expunged[start : start + _SLICE])))
        await peer.ready()
    if updates.exists is not None:
        peer.write(b"* %d EXISTS\r\n* %d RECENT\r\n" % (updates.exists, updates.recent))
    if flagged:
        peer.write(session.new_keywords())
        rendering = _FLAGS_MODSEQ if session.condstore else _FLAGS
        for start in range(0, len(flagged), _SLICE):
            peer.write(rendering.lines(Batch(session, flagged[start : start + _SLICE])))
            await peer.ready()
    return not updates.gone

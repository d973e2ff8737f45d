"""STORE (RFC 9051 6.4.6, RFC 7162 3.1.3)."""

from mailx.imap import message_limit
from mailx.imap.answers import No
from mailx.imap.arrival import Command
from mailx.imap.commands import Data, Item, StoreFlags
from mailx.imap.fetch import Batch, compiled
from mailx.imap.session import Session
from mailx.imap.sets import compact, indexes, sequence_numbers

_SLICE = 1500


async def store(session: Session, command: Command, asked: StoreFlags) -> bytes | None:
    view = session.view()
    by_uid = command.name.startswith(b"UID")
    if view.read_only:
        raise No(b"Mailbox is read-only", b"READ-ONLY")
    if asked.unchanged_since is not None:
        session.learn_modseqs()
    uids, answer = message_limit.limited(session, session.uids(asked.ranges, by_uid), command.name)
    stored = await session.services.mailboxes.store(view, uids, asked.mode, asked.flags, asked.keywords, asked.unchanged_since)
    items: list[Item] = [Data.UID] if (by_uid or session.condstore) and not session.uidonly else []
    if not asked.silent:
        items.append(Data.FLAGS)
    if session.condstore:
        items.append(Data.MODSEQ)
    if session.condstore or not asked.silent:
        if not asked.silent:
            session.peer.write(session.new_keywords())
        rendering = compiled(tuple(items))
        places = indexes(view, stored.changed)
        for start in range(0, len(places), _SLICE):
            session.peer.write(rendering.lines(Batch(session, places[start : start + _SLICE])))
            await session.peer.ready()
    if stored.failed:
        numbers = stored.failed if by_uid else sequence_numbers(view, stored.failed)
        told = b"[MODIFIED %b] Conditional STORE failed for some" % compact(numbers)
        return told if answer is None else message_limit.with_code(session, answer, told)
    return answer

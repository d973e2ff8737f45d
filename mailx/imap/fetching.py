"""The FETCH command: batches from the core, responses to the client, never more in memory than a batch.

What lies in a file is written piece by piece, each piece read when the client has taken the one before. When such
a read fails inside a literal, the connection is the only thing that can still say so: it ends.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.threads import deferToThreadPool

from mailx.core.fetch import BATCH, Blob, Need, Row, picked
from mailx.imap import message_limit, sections, updates
from mailx.imap.answers import Bad, Ended, No
from mailx.imap.arrival import Command
from mailx.imap.binary_sections import decoding, measured, pieces
from mailx.imap.commands import BinarySize, Data, Fetch, Item, Section, Text
from mailx.imap.esearch import within
from mailx.imap.fetch import Batch, Rendering, Unrendered, compiled, literal
from mailx.imap.sections import Extent
from mailx.imap.session import Session
from mailx.imap.sets import indexes
from mailx.mail.mailbox import Flag
from mailx.mail.names import MailboxError

if TYPE_CHECKING:
    from mailx.core.prepared import Prepared

PIECE = 262144  # octets written before the client is waited for
_HERE = 4096  # octets of a header section that is rewritten without a thread
HEADER = 65536  # octets in which a header is looked for that must be shown otherwise
_SEEN = int(Flag.SEEN)
_SUMMARIES = 1048576  # octets of summaries rendered in one go
_KEPT = 64  # messages of a batch that are worth keeping what was rendered of them
_SLICE = 1500  # messages rendered from memory in one go
_ROWS = 250  # messages rendered from the store in one go


async def fetch(session: Session, command: Command, asked: Fetch) -> bytes | None:
    view = session.view()
    by_uid = command.name.startswith(b"UID")
    if asked.changed_since is not None or Data.MODSEQ in asked.items:
        session.learn_modseqs()
    if asked.vanished:
        await updates.tell_vanished(session, asked, by_uid)
    uids = session.uids(asked.ranges, by_uid)
    if asked.partial is not None:
        if not by_uid:
            raise Bad(b"PARTIAL is for UID FETCH")
        uids = list(within(asked.partial, uids))
        message_limit.refuse_more(session, len(uids), command.name)
    if asked.changed_since is not None:  # within the window (RFC 9394 3.4)
        modseqs = view.modseqs
        uids = [view.uids[index] for index in indexes(view, uids) if modseqs[index] > asked.changed_since]
    uids, answer = message_limit.limited(session, uids, command.name)
    await send(session, compiled(_items(session, asked, by_uid)), uids)
    return answer


async def send(session: Session, rendering: Rendering, uids: Sequence[int]) -> None:
    """The responses for ``uids``, which the session knows and which rise."""
    if rendering.in_memory:
        await _from_memory(session, rendering, indexes(session.view(), uids))
    elif rendering.of_summaries:
        await _from_summaries(session, rendering, uids)
    else:
        await _from_store(session, rendering, uids)


async def announce(session: Session, rendering: Rendering, uids: Sequence[int]) -> None:
    """As ``send``, of messages that no command asks for: where they cannot be sent, the client hears why when it asks."""
    try:
        await send(session, rendering, uids)
    except (Ended, MailboxError):
        if session.inside_response:
            raise


def _items(session: Session, asked: Fetch, by_uid: bool) -> tuple[Item, ...]:
    """The items to send: UID FETCH always has UID (RFC 9051 6.4.9), CHANGEDSINCE always MODSEQ (RFC 7162 3.1.4.1).

    UIDFETCH begins with the UID, so that nothing need be added there.
    """
    items = list(asked.items)
    if by_uid and Data.UID not in items and not session.uidonly:
        items.insert(0, Data.UID)
    if Data.MODSEQ not in items and (asked.changed_since is not None or session.condstore and Data.FLAGS in items):
        items.append(Data.MODSEQ)
    return tuple(items)


async def _from_memory(session: Session, rendering: Rendering, places: Sequence[int]) -> None:
    for start in range(0, len(places), _SLICE):
        session.peer.write(rendering.lines(Batch(session, places[start : start + _SLICE])))
        await session.peer.ready()


async def _from_summaries(session: Session, rendering: Rendering, uids: Sequence[int]) -> None:
    mailboxes, view = session.services.mailboxes, session.view()
    for part in _portions(uids):
        kept = mailboxes.prepared(view) if len(part) >= _KEPT else None
        if kept is not None:
            places = indexes(view, part)
            text = kept.get(_key(session, rendering, places))
            if text is not None:
                session.peer.write(rendering.filled(text, Batch(session, places)))
                await session.peer.ready()
                continue
        await _rendered(session, rendering, part, kept)


async def _rendered(session: Session, rendering: Rendering, uids: Sequence[int], kept: "Prepared | None") -> None:
    """The responses out of the summaries; what lasts of them is ``kept``."""
    async for places, summaries in session.services.mailboxes.summarised(session.view(), uids):
        batch = Batch(session, places, summaries=summaries)
        try:
            if sum([summary.size for summary in summaries]) > _SUMMARIES:
                raise Unrendered
            if kept is None:
                lines = rendering.lines(batch)
            else:
                text = rendering.prepared(batch)
                key = _key(session, rendering, places)
                kept.put(key, text, len(key[-1]))
                lines = rendering.filled(text, batch)
        except Unrendered:  # there is more to it
            known = session.view().uids
            await _from_store(session, rendering, [known[place] for place in places])
            continue
        session.peer.write(lines)
        await session.peer.ready()


def _key(session: Session, rendering: Rendering, places: Sequence[int]) -> tuple[tuple[Item, ...], bool, bool, bytes]:
    """What a text that may be kept depends on."""
    ids = array("q", picked(session.view().message_ids, places))
    return rendering.items, session.seven_bit, session.uidonly, ids.tobytes()


def _portions(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    """``uids`` in batches that mostly are the same ones again when some messages are gone: they end where 256 UIDs do."""
    start = 0
    while start < len(uids):
        end = start + BATCH
        if end < len(uids):
            cut = bisect_left(uids, uids[end] // BATCH * BATCH, start, end)
            end = cut if cut - start >= BATCH // 2 else end
        yield uids[start:end]
        start = end


async def _from_store(session: Session, rendering: Rendering, uids: Sequence[int]) -> None:
    async for rows in session.services.mailboxes.fetch(session.view(), uids, rendering.need):
        current = rendering
        if rendering.sets_seen and await _mark_seen(session, rows):
            current = _with_flags(session, rendering)
        for group in _groups(rows, rendering.with_content):
            await _write(session, current, group)


def _groups(rows: list[Row], with_content: bool) -> Iterator[list[Row]]:
    """``rows`` in portions that take a short time and little memory to render; what lies in a file is one of its own."""
    if with_content:
        yield from _by_content(rows)
        return
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        if sum([row.summary.size for row in part if row.summary is not None]) <= _SUMMARIES:
            yield part
        else:
            yield from ([row] for row in part)


def _by_content(rows: list[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    room = PIECE
    for row in rows:
        room -= row.size
        if room < 0 and group:
            yield group
            group, room = [], PIECE - row.size
        if isinstance(row.content, Blob):
            if group:
                yield group
                group = []
            yield [row]
            room = PIECE
        else:
            group.append(row)
    if group:
        yield group


async def _write(session: Session, rendering: Rendering, rows: "list[Row]") -> None:
    try:
        lines = rendering.lines(Batch(session, [row.index for row in rows], rows))
    except Unrendered:
        for row in rows:
            await _stream(session, rendering, row)
        return
    session.peer.write(lines)
    await session.peer.ready()


async def _mark_seen(session: Session, rows: Sequence[Row]) -> bool:
    """Set \\Seen on those of ``rows`` that lack it, unless the mailbox is read-only; whether any did."""
    view = session.view()
    if view.read_only or "s" not in view.rights:
        return False
    uids = [row.uid for row in rows if not view.flags[row.index] & _SEEN]
    if uids:
        await session.services.mailboxes.store(view, uids, "add", _SEEN, ())
    return bool(uids)


def _with_flags(session: Session, rendering: Rendering) -> Rendering:
    """The client learns what its fetch has set (RFC 9051 6.4.5), and of which message if it knows mod-sequences (RFC 7162 3.2.4)."""
    extra: list[Item] = [Data.FLAGS, Data.MODSEQ] if session.condstore else [Data.FLAGS]
    if session.condstore and not session.uidonly:
        extra.insert(0, Data.UID)
    return compiled(rendering.items + tuple(item for item in extra if item not in rendering.items))


async def _stream(session: Session, rendering: Rendering, row: Row) -> None:
    """The response for one message whose content lies in a file, or was not read because the summary should have had it all."""
    if row.content is None or not await session.services.mailboxes.there(row.content):
        row = await _with_content(session, row)
    peer = session.peer
    batch = Batch(session, [row.index], [row])
    for item in rendering.items:  # what has an unknown encoding is refused before anything is said of the message
        if isinstance(item, BinarySize) or isinstance(item, Section) and item.decoded:
            decoding(item.section if isinstance(item, BinarySize) else item, row.summary)
    peer.write(rendering.opening(batch))
    session.inside_response = True
    for place, item in enumerate(rendering.items):
        if place:
            peer.write(b" ")
        if isinstance(item, Section):
            peer.write(item.label + b" ")
            await (_stream_decoded if item.decoded else _stream_section)(session, item, row)
        elif isinstance(item, BinarySize):
            peer.write(b"%b %d" % (item.section.label, (await _measured(session, item.section, row))[0]))
        else:
            peer.write(compiled((item,)).bare(batch))
        await peer.ready()
    peer.write(b")\r\n")
    session.inside_response = False
    await peer.ready()


async def _with_content(session: Session, row: Row) -> Row:
    """``row`` as the store has it now; raises No if it has it no more."""
    async for rows in session.services.mailboxes.fetch(session.view(), [row.uid], Need.SUMMARY | Need.CONTENT):
        for found in rows:
            return found
    # Another session has expunged it since the view was taken; this one is told behind the answer (RFC 2180 4.1.2).
    raise No(b"Some messages are expunged already", b"EXPUNGEISSUED")


async def _stream_section(session: Session, section: Section, row: Row) -> None:
    content = row.content
    assert content is not None
    size = content.size if isinstance(content, Blob) else len(content)
    found = sections.extent(section, row.summary, size)
    if found is None:
        session.peer.write(b"NIL")
        return
    read = session.services.mailboxes.read
    if sections.selects_fields(section):
        block = await read(content, found.start, found.size)
        if len(block) <= PIECE:
            fields = sections.select(section, block, session.seven_bit)
        else:
            reactor = session.services.reactor
            fields = await deferToThreadPool(reactor, reactor.getThreadPool(), sections.select, section, block, session.seven_bit)
        session.peer.write(literal(fields))
        return
    if session.seven_bit and section.text is not Text.TEXT:
        head = await read(content, found.start, min(found.size, HEADER))
        if sections.header_end(head) <= _HERE:
            instead = sections.shown(section, head)
        else:  # a stranger's: it may take a tenth of a second
            reactor = session.services.reactor
            instead = await deferToThreadPool(reactor, reactor.getThreadPool(), sections.shown, section, head)
        if instead is not None:
            await _stream_shown(session, section, content, Extent(found.start + sections.header_end(head), found.end), instead)
            return
    found = sections.cut(section, found)
    session.peer.write(b"{%d}\r\n" % found.size)
    await _stream_octets(session, content, found)


async def _stream_shown(session: Session, section: Section, content: bytes | Blob, rest: Extent, head: bytes) -> None:
    """The ``rest`` of a section behind a ``head`` that stands in for its own."""
    end = section.offset + section.count if section.count is not None else len(head) + rest.size
    first = head[section.offset : end]
    start = rest.start + max(0, section.offset - len(head))
    stop = min(rest.end, rest.start + max(0, end - len(head)))
    session.peer.write(b"{%d}\r\n%b" % (len(first) + max(0, stop - start), first))
    await _stream_octets(session, content, Extent(start, max(start, stop)))


async def _stream_decoded(session: Session, section: Section, row: Row) -> None:
    content = row.content
    assert content is not None
    size = content.size if isinstance(content, Blob) else len(content)
    if decoding(section, row.summary) is None or sections.extent(section, row.summary, size) is None:
        session.peer.write(b"NIL")
        return
    octets, nul = await _measured(session, section, row)
    session.peer.write(b"%b{%d}\r\n" % (b"~" * nul, octets))
    async for piece in pieces(section, row.summary, size, partial(session.services.mailboxes.read, content)):
        session.peer.write(piece)
        await session.peer.ready()


async def _measured(session: Session, section: Section, row: Row) -> tuple[int, bool]:
    """How many octets a decoded part has, and whether NUL is among them."""
    content = row.content
    assert content is not None
    size = content.size if isinstance(content, Blob) else len(content)
    if decoding(section, row.summary) is None or sections.extent(section, row.summary, size) is None:
        return 0, False
    return await measured(section, row.summary, size, partial(session.services.mailboxes.read, content))


async def _stream_octets(session: Session, content: bytes | Blob, extent: Extent) -> None:
    for start in range(extent.start, extent.end, PIECE):
        size = min(PIECE, extent.end - start)
        octets = await session.services.mailboxes.read(content, start, size)
        if len(octets) != size:
            raise OSError("a content is shorter than its message")
        session.peer.write(octets)
        await session.peer.ready()

"""The SEARCH and SORT commands: the core finds UIDs, here they become responses (RFC 9051 6.4.4, RFC 4731, RFC 5256)."""

from collections.abc import Sequence

from mailx.imap import text
from mailx.imap.arrival import Command
from mailx.imap.search import Search, Sort
from mailx.imap.session import Session
from mailx.imap.sets import compact, indexes, sequence_numbers


async def search(session: Session, command: Command, asked: Search) -> None:
    by_uid = command.name.startswith(b"UID")
    if asked.modseq:
        session.learn_modseqs()
    view = session.view()
    uids = await session.services.mailboxes.search(view, asked.query)
    await session.peer.ready()
    numbers = uids if by_uid else sequence_numbers(view, uids)
    highest = _highest(session, uids) if asked.modseq else 0
    if asked.results is None:
        session.peer.write(_plain(b"SEARCH", numbers, highest))
    else:
        session.peer.write(_extended(command.tag, by_uid, asked.results, numbers, _modseq(session, asked, uids)))


async def sort(session: Session, command: Command, asked: Sort) -> None:
    if asked.modseq:
        session.learn_modseqs()
    view = session.view()
    uids = await session.services.mailboxes.sort(view, asked.keys, asked.query)
    await session.peer.ready()
    numbers = uids if command.name.startswith(b"UID") else sequence_numbers(view, uids)
    highest = _highest(session, sorted(uids)) if asked.modseq else 0
    session.peer.write(_plain(b"SORT", numbers, highest))


def _highest(session: Session, uids: Sequence[int]) -> int:
    """The highest mod-sequence among ``uids``, rising; 0 for none."""
    view = session.view()
    return max((view.modseqs[index] for index in indexes(view, uids)), default=0)


def _modseq(session: Session, asked: Search, uids: Sequence[int]) -> int:
    """What MODSEQ says in an ESEARCH response (RFC 7162 3.1.10): of what MIN and MAX return if only they are asked for."""
    if not asked.modseq or not uids:
        return 0
    results = asked.results or frozenset()
    if results <= {b"MIN", b"MAX"}:
        uids = ([uids[0]] if b"MIN" in results else []) + ([uids[-1]] if b"MAX" in results else [])
    return max(_highest(session, [uid]) for uid in uids) if len(uids) < 3 else _highest(session, uids)


def _plain(word: bytes, numbers: Sequence[int], highest: int) -> bytes:
    found = b" %d" * len(numbers) % tuple(numbers)
    modseq = b" (MODSEQ %d)" % highest if highest else b""
    return b"* %b%b%b\r\n" % (word, found, modseq)


def _extended(tag: bytes, by_uid: bool, results: frozenset[bytes], numbers: Sequence[int], highest: int) -> bytes:
    """An ESEARCH response; without a result it has neither MIN, MAX nor ALL (RFC 4731 3.1)."""
    parts = [b"* ESEARCH (TAG %b)" % text.string(tag)]
    if by_uid:
        parts.append(b"UID")
    if numbers:
        if b"MIN" in results:
            parts.append(b"MIN %d" % numbers[0])
        if b"MAX" in results:
            parts.append(b"MAX %d" % numbers[-1])
        if b"ALL" in results:
            parts.append(b"ALL " + compact(numbers))
    if b"COUNT" in results:
        parts.append(b"COUNT %d" % len(numbers))
    if highest:
        parts.append(b"MODSEQ %d" % highest)
    return b" ".join(parts) + b"\r\n"

"""SEARCH, SORT and THREAD: the core finds UIDs, here they become responses (RFC 9051 6.4.4, RFC 4731, RFC 5256, RFC 5267)."""

from array import array
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.threads import deferToThreadPool

from mailx.core import search as keys
from mailx.core.search import Query
from mailx.core.turns import Turns
from mailx.imap import contexts, esearch, fetching, message_limit, threads
from mailx.imap.answers import Bad
from mailx.imap.arrival import Command
from mailx.imap.fetch import compiled
from mailx.imap.notify import announced
from mailx.imap.search import EVERYTHING, Returns, Search, Sort, Thread
from mailx.imap.session import Session
from mailx.imap.sets import indexes, runs, sequence_numbers
from mailx.imap.tokens import SAVED

if TYPE_CHECKING:
    from mailx.core.selected import Selected

_SPELT = 4096  # numbers written between two turns
_HERE = 200  # messages whose threads need no thread to be written


async def search(session: Session, command: Command, asked: Search) -> bytes | None:
    returns = asked.returns
    if returns is None and session.rev2:
        returns = EVERYTHING  # RFC 9051 6.4.4
    try:
        query, text = message_limit.searched(session, prepared(session, asked))
        uids, relevancies = await found(session, session.view(), returns, query)
    except Bad:
        raise
    except Exception:
        _failed(session, returns)
        raise
    await session.peer.ready()
    if returns is not None and returns.update:
        contexts.begin(session, live(session, command, returns, query), uids)
    await _answer(session, command, asked, returns, uids, relevancies, b"SEARCH")
    return text


async def sort(session: Session, command: Command, asked: Sort) -> None:
    returns = asked.search.returns
    try:
        query = prepared(session, asked.search)
        view = session.view()
        by_relevancy = any(key.by == "relevancy" for key in asked.keys)
        if by_relevancy and not asked.search.fuzzy:
            raise Bad(b"RELEVANCY goes with FUZZY")
        relevancies: dict[int, int] = {}
        if by_relevancy or returns is not None and returns.relevancy:
            relevancies = dict(await session.services.mailboxes.ranked(view, query))
            uids: Sequence[int] = await session.services.mailboxes.sort(view, asked.keys, keys.Uid(runs(list(relevancies))), relevancies)
        else:
            uids = await session.services.mailboxes.sort(view, asked.keys, query)
        if returns is not None and returns.update and by_relevancy:
            contexts.refuse(session, command.tag)  # how relevant a message is changes with those that come
        elif returns is not None and returns.update:
            await contexts.begin_sorted(session, live(session, command, returns, query), asked.keys, uids)
    except Bad:
        raise
    except Exception:
        _failed(session, returns)
        raise
    await session.peer.ready()
    await _answer(session, command, asked.search, returns, uids, [relevancies.get(uid, 0) for uid in uids], b"SORT")


async def found(session: Session, view: "Selected", returns: Returns | None, query: Query) -> tuple[list[int], list[int]]:
    """UIDs, rising, and how relevant each message is if that was asked for."""
    mailboxes = session.services.mailboxes
    if returns is None or not returns.relevancy:
        return await mailboxes.search(view, query), []
    ranked = await mailboxes.ranked(view, query)
    return [uid for uid, _ in ranked], [relevancy for _, relevancy in ranked]


async def thread(session: Session, command: Command, asked: Thread) -> None:
    query = prepared(session, asked.search)
    view = session.view()
    forest = await session.services.mailboxes.thread(view, asked.algorithm, query)
    numbers = None if command.name.startswith(b"UID") else dict(zip(view.uids, range(1, len(view.uids) + 1), strict=True))
    if len(view.uids) <= _HERE:
        line = threads.response(forest, numbers)
    else:
        reactor = session.services.reactor
        line = await deferToThreadPool(reactor, reactor.getThreadPool(), threads.response, forest, numbers)
    del forest  # much larger than its line, which waits for the client
    await session.peer.ready()
    session.peer.write(line)


async def cancel_update(session: Session, command: Command, tags: tuple[bytes, ...]) -> None:
    contexts.cancel(session, tags)


def live(session: Session, command: Command, returns: Returns, query: Query) -> contexts.Asked:
    """What is to be kept of a search with UPDATE; of messages that come to match, the items named are sent (RFC 5465 6)."""
    announce = partial(fetching.announce, session, compiled(announced(session, returns.items))) if returns.items else None
    return contexts.Asked(command.tag, not command.name.startswith((b"SEARCH", b"SORT")), query, announce)


def prepared(session: Session, asked: Search) -> Query:
    """The query as the core takes it: with ``$`` resolved, and numbers that stay true if it is asked again.

    Raises No and Bad for what cannot be asked.
    """
    if asked.refusal is not None:
        raise asked.refusal
    if asked.charset and b"UTF8=ACCEPT" in session.enabled:  # RFC 6855 3
        raise Bad(b"CHARSET has no place after ENABLE UTF8=ACCEPT")
    if asked.numbers and session.uidonly:
        raise Bad(b"Message numbers are not in use", b"UIDREQUIRED")
    if asked.returns is not None and asked.returns.relevancy and not asked.fuzzy:
        raise Bad(b"RELEVANCY goes with FUZZY")  # RFC 6203 4
    if asked.modseq:
        session.learn_modseqs()
    lasting = asked.returns is not None and asked.returns.update
    return _bound(session, asked.query, lasting) if asked.saved or lasting else asked.query


def _bound(session: Session, query: Query, lasting: bool) -> Query:
    """``query`` with UIDs instead of ``$`` and, if it is ``lasting``, of all numbers (RFC 5267 4.3)."""
    match query:
        case keys.And(children):
            return keys.And(tuple(_bound(session, child, lasting) for child in children))
        case keys.Or(a, b):
            return keys.Or(_bound(session, a, lasting), _bound(session, b, lasting))
        case keys.Not(a):
            return keys.Not(_bound(session, a, lasting))
        case keys.Fuzzy(a):
            return keys.Fuzzy(_bound(session, a, lasting))
        case keys.Sequence(ranges) | keys.Uid(ranges) if ranges == SAVED:
            return keys.Uid(runs(session.saved))
        case keys.Sequence(ranges) if lasting:
            view = session.view()
            count = len(view.uids)
            spans = [sorted((count if a is None else a, count if b is None else b)) for a, b in ranges]
            inside = [(max(1, low), min(high, count)) for low, high in spans if low <= count and high >= 1]
            return keys.Uid(runs(view.uids_of_sequence(inside) or ()))
    return query


async def _answer(
    session: Session,
    command: Command,
    asked: Search,
    returns: Returns | None,
    uids: Sequence[int],
    relevancies: Sequence[int],
    word: bytes,
) -> None:
    by_uid = command.name.startswith(b"UID")
    view = session.view()
    if returns is not None and returns.save:
        session.saved = array("L", esearch.kept(returns, uids))
        if returns.silent:
            return
    modseq = esearch.highest(returns, uids, lambda some: highest(view, some)) if asked.modseq else 0
    if returns is None:
        spelt, turns = [], Turns(session.services.reactor)
        step = _SPELT if word == b"SEARCH" else len(uids) or 1  # the numbers of what does not rise are found all at once
        for start in range(0, len(uids), step):
            part = uids[start : start + step]
            spelt.append(esearch.spelt(part if by_uid else sequence_numbers(view, part)))
            await turns.spare()
        session.peer.write(esearch.plain(word, spelt, modseq))
    else:
        numbers = uids if by_uid else sequence_numbers(view, uids)
        session.peer.write(esearch.response(esearch.tagged_by(command.tag), by_uid, returns, numbers, modseq, relevancies))


def _failed(session: Session, returns: Returns | None) -> None:
    """A search that was to be kept and failed leaves nothing (RFC 5182 2.1)."""
    if returns is not None and returns.save:
        session.saved = ()


def highest(view: "Selected", uids: Sequence[int]) -> int:
    """The highest mod-sequence among ``uids``, rising; 0 for none."""
    return max((view.modseqs[index] for index in indexes(view, uids)), default=0)

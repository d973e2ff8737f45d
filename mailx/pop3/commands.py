"""The commands of a session that is logged in (RFC 1939 5, 7), and the table of all of them.

A command that takes no argument is refused with one, and numbers are decimal digits: whatever else comes is ``-ERR``, and the
session goes on.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice

from attrs import frozen

from mailx.core import metrics
from mailx.core.input import Hangup
from mailx.core.reading_connection import Farewell
from mailx.core.reading_session import OVER
from mailx.mail.reply import Unavailable
from mailx.pop3 import login
from mailx.pop3.answers import Refusal, Wrong, ok
from mailx.pop3.retrieval import Lines, Top, pieces
from mailx.pop3.session import AUTHORIZATION, TRANSACTION, Session, log

_SLICE = 1000  # lines of a listing written in one go
_NUMBER = re.compile(rb"[0-9]{1,10}")
_ANYWHERE = frozenset((AUTHORIZATION, TRANSACTION))
_OUT = frozenset((AUTHORIZATION,))
_IN = frozenset((TRANSACTION,))

Run = Callable[[Session, bytes], Awaitable[None]]


async def stat(session: Session, _: bytes) -> None:
    maildrop = session.maildrop
    session.peer.write(b"+OK %d %d\r\n" % (maildrop.count, maildrop.octets))


async def listing(session: Session, argument: bytes) -> None:
    maildrop = session.maildrop
    if argument:
        place = maildrop.place(_number(argument))
        session.peer.write(b"+OK %d %d\r\n" % (place + 1, maildrop.size(place)))
        return
    lines = (b"%d %d\r\n" % (place + 1, maildrop.size(place)) for place in maildrop.places())
    await _list(session, b"%d messages (%d octets)" % (maildrop.count, maildrop.octets), lines)


async def unique_listing(session: Session, argument: bytes) -> None:
    maildrop = session.maildrop
    if argument:
        place = maildrop.place(_number(argument))
        session.peer.write(b"+OK %d %b\r\n" % (place + 1, maildrop.unique(place)))
        return
    await _list(session, b"Unique ids follow", (b"%d %b\r\n" % (place + 1, maildrop.unique(place)) for place in maildrop.places()))


async def _list(session: Session, text: bytes, lines: Iterable[bytes]) -> None:
    session.inside_response = True
    session.peer.write(ok(text))
    every: Iterator[bytes] = iter(lines)
    while some := b"".join(islice(every, _SLICE)):
        session.peer.write(some)
        await session.peer.ready()
    session.peer.write(b".\r\n")
    session.inside_response = False


async def retrieve(session: Session, argument: bytes) -> None:
    place = session.maildrop.place(_number(argument))
    await _send(session, place, None, b"%d octets" % session.maildrop.size(place))
    session.maildrop.was_read(place)


async def top(session: Session, argument: bytes) -> None:
    number, _, lines = argument.partition(b" ")
    place = session.maildrop.place(_number(number))
    await _send(session, place, Top(_number(lines.strip(b" "), least=0)), b"Top of the message follows")


async def _send(session: Session, place: int, cut: Top | None, text: bytes) -> None:
    row = await session.maildrop.row(place)
    content = row.content
    assert content is not None
    peer, mailboxes, lines = session.peer, session.services.mailboxes, Lines()
    if not await mailboxes.there(content):
        raise Refusal(b"The message was removed by another session")
    peer.write(ok(text))
    session.inside_response = True
    async for piece in pieces(mailboxes.read, content, not session.utf8, session.services.reactor):
        peer.write(lines.feed(piece if cut is None else cut.feed(piece)))
        await peer.ready()
        if cut is not None and cut.done:
            break
    peer.write(lines.finish())
    session.inside_response = False


async def delete(session: Session, argument: bytes) -> None:
    maildrop = session.maildrop
    place = maildrop.place(_number(argument))
    maildrop.mark(place)
    session.peer.write(ok(b"Message %d marked as deleted" % (place + 1)))


async def noop(session: Session, _: bytes) -> None:
    session.peer.write(ok(b"Nothing done"))


async def reset(session: Session, _: bytes) -> None:
    session.maildrop.reset()
    session.peer.write(ok(b"%d messages (%d octets)" % (session.maildrop.count, session.maildrop.octets)))


async def leave(session: Session, _: bytes) -> None:
    """QUIT; from a session that is logged in it makes the marks come true (RFC 1939 6)."""
    if session.state == AUTHORIZATION:
        raise Farewell(ok(b"Goodbye"))
    marked = session.maildrop.marked
    try:
        await session.update()
    except Unavailable as unavailable:
        _unavailable(session, unavailable)
        raise Farewell(Refusal(b"Some deleted messages were not removed", b"SYS/TEMP").line()) from None
    except Hangup:
        raise
    except Exception:
        _blame(session, b"QUIT")
        raise Farewell(Refusal(b"Some deleted messages were not removed", b"SYS/PERM").line()) from None
    raise Farewell(ok(b"%d messages deleted, goodbye" % marked if marked else b"Goodbye"))


def _number(argument: bytes, least: int = 1) -> int:
    if not _NUMBER.fullmatch(argument):
        raise Wrong(b"A number is missing" if not argument else b"That is no number")
    number = int(argument)
    if number < least:
        raise Wrong(b"Messages are numbered from 1")
    return number


@frozen
class Verb:
    """One command. ``bare``: it takes no argument."""

    run: Run
    states: frozenset[str]
    bare: bool = False


VERBS: dict[bytes, Verb] = {
    b"CAPA": Verb(login.capa, _ANYWHERE, bare=True),
    b"STLS": Verb(login.start_tls, _OUT, bare=True),
    b"UTF8": Verb(login.utf8, _OUT, bare=True),
    b"USER": Verb(login.user, _OUT),
    b"PASS": Verb(login.password, _OUT),
    b"AUTH": Verb(login.authenticate, _OUT),
    b"STAT": Verb(stat, _IN, bare=True),
    b"LIST": Verb(listing, _IN),
    b"UIDL": Verb(unique_listing, _IN),
    b"RETR": Verb(retrieve, _IN),
    b"TOP": Verb(top, _IN),
    b"DELE": Verb(delete, _IN),
    b"NOOP": Verb(noop, _IN, bare=True),
    b"RSET": Verb(reset, _IN, bare=True),
    b"QUIT": Verb(leave, _ANYWHERE, bare=True),
}
_COUNTERS = {
    (name, outcome): metrics.COMMANDS.labels("pop3", name.decode("ascii").lower(), outcome) for name in VERBS for outcome in ("ok", "err")
}
_UNKNOWN = metrics.COMMANDS.labels("pop3", "unknown", "err")
_SECONDS = metrics.COMMAND_SECONDS.labels("pop3")


async def run(session: Session, line: bytes) -> Refusal | None:
    """Run one command and write its answer; the refusal, if it was one. Raises Farewell and Hangup."""
    word, _, argument = line.partition(b" ")
    name = word.upper()
    verb = VERBS.get(name)
    if session.services.tracing:
        _trace(session, name if verb is not None else b"?")
    clock = session.services.reactor.seconds
    started = clock()
    refusal: Refusal | None = None
    try:
        await _run(session, name, verb, argument)
    except Refusal as refused:
        refusal = refused
        session.peer.write(refused.line())
    finally:
        _SECONDS.observe(clock() - started)
        if verb is None:
            _UNKNOWN.inc()
        else:
            _COUNTERS[name, "ok" if refusal is None else "err"].inc()
    return refusal


async def _run(session: Session, name: bytes, verb: Verb | None, argument: bytes) -> None:
    if verb is None:
        raise Wrong(b"Unknown command")
    if session.state not in verb.states:
        raise Wrong(b"Session is over" if session.state == OVER else b"Log in first" if verb.states == _IN else b"Already logged in")
    if name != b"PASS":
        argument = argument.strip(b" ")
    if verb.bare and argument:
        raise Wrong(b"The command takes no argument")
    try:
        await verb.run(session, argument)
    except (Refusal, Farewell, Hangup):
        raise
    except Exception as error:
        if isinstance(error, Unavailable):
            _unavailable(session, error)
        else:
            _blame(session, name)
        if session.inside_response:
            raise Farewell(b"") from None
        if isinstance(error, Unavailable):
            raise Refusal(b"Temporarily unavailable, try again later", b"SYS/TEMP") from None
        raise Refusal(b"Internal error", b"SYS/PERM") from None


def _trace(session: Session, name: bytes) -> None:
    """Only the command's name: its arguments are the client's affair."""
    log.debug("POP3 command received", event="pop3.command", command=name.decode("ascii", "replace"), **session.who)


def _unavailable(session: Session, error: Unavailable) -> None:
    log.warn(
        "POP3 command met an unavailable store", event="pop3.unavailable", reason=error.reason, connection_id=session.origin.connection
    )


def _blame(session: Session, name: bytes) -> None:
    log.failure(
        "POP3 command failed", event="pop3.command_failed", command=name.decode("ascii", "replace"), connection_id=session.origin.connection
    )

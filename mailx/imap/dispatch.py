"""The table of commands, and how one is run: state, arguments, work, what changed meanwhile, tagged answer.

Every command ends in exactly one tagged response. A refusal of the core becomes NO with a response code; whatever
nobody foresaw is logged and becomes ``NO [SERVERBUG]``.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from mailx.core import metrics
from mailx.core.input import Hangup
from mailx.core.reading_session import OVER
from mailx.imap import (
    acl,
    append,
    append_grammar,
    compress,
    expunge,
    fetch_grammar,
    fetching,
    flags,
    folders,
    grammar,
    idle,
    listing,
    listing_grammar,
    login,
    metadata,
    metadata_grammar,
    multisearch,
    notify,
    notify_grammar,
    progress,
    quota,
    search,
    searching,
    sync_grammar,
    uidbatches,
    updates,
    urlauth,
)
from mailx.imap.answers import Bad, Ended, No, tagged
from mailx.imap.arrival import Command, Farewell, skip
from mailx.imap.session import AUTHENTICATED, BEFORE, SELECTED, Session, log
from mailx.imap.tokens import Tokens, remembered
from mailx.mail.names import MailboxError
from mailx.mail.reply import Refused, Unavailable

Run = Callable[[Session, Command, Any], Awaitable[bytes | None]]

_ANY = frozenset((BEFORE, AUTHENTICATED, SELECTED))
_OUT = frozenset((BEFORE,))
_IN = frozenset((AUTHENTICATED, SELECTED))
_OPEN = frozenset((SELECTED,))


@frozen
class Verb:
    """One command. ``expunges``: removed messages may be told after it (RFC 9051 7.5.1)."""

    parse: Callable[[Tokens], Any]
    run: Run
    states: frozenset[str]
    expunges: bool = True
    answers_itself: bool = False  # writes its tagged OK
    numbers: bool = False  # takes or gives sequence numbers, so that there is none in UIDONLY mode (RFC 9586 3.1)


VERBS: dict[bytes, Verb] = {
    b"CAPABILITY": Verb(grammar.nothing, login.capability, _ANY),
    b"NOOP": Verb(grammar.nothing, login.noop, _ANY),
    b"LOGOUT": Verb(grammar.nothing, login.logout, _ANY),
    b"ID": Verb(grammar.identity, login.identity, _ANY),
    b"STARTTLS": Verb(grammar.nothing, login.start_tls, _OUT, answers_itself=True),
    b"COMPRESS": Verb(compress.mechanism, compress.compress, _IN, answers_itself=True),
    b"LOGIN": Verb(grammar.login, login.login, _OUT),
    b"AUTHENTICATE": Verb(grammar.authenticate, login.authenticate, _OUT),
    b"ENABLE": Verb(grammar.enable, login.enable, _IN),
    b"SELECT": Verb(sync_grammar.select, folders.select, _IN),
    b"EXAMINE": Verb(sync_grammar.select, folders.examine, _IN),
    b"CREATE": Verb(grammar.create, folders.create, _IN),
    b"DELETE": Verb(grammar.mailbox, folders.delete, _IN),
    b"RENAME": Verb(grammar.rename, folders.rename, _IN),
    b"SUBSCRIBE": Verb(grammar.mailbox, folders.subscribe, _IN),
    b"UNSUBSCRIBE": Verb(grammar.mailbox, folders.unsubscribe, _IN),
    b"LIST": Verb(remembered(listing_grammar.listing), listing.listing, _IN),
    b"LSUB": Verb(grammar.lsub, listing.lsub, _IN),
    b"STATUS": Verb(remembered(grammar.status), listing.status, _IN),
    b"NAMESPACE": Verb(grammar.nothing, listing.namespace, _IN),
    b"APPEND": Verb(append_grammar.unread, append.append, _IN),
    b"REPLACE": Verb(append_grammar.unread, append.replace, _OPEN, numbers=True),
    b"UID REPLACE": Verb(append_grammar.unread, append.replace, _OPEN),
    b"GENURLAUTH": Verb(urlauth.generate, urlauth.genurlauth, _IN),
    b"RESETKEY": Verb(urlauth.reset, urlauth.resetkey, _IN),
    b"URLFETCH": Verb(urlauth.fetched, urlauth.urlfetch, _IN),
    b"GETJMAPACCESS": Verb(grammar.nothing, login.jmap_access, _IN),
    b"IDLE": Verb(grammar.nothing, idle.idle, _IN),
    b"NOTIFY": Verb(notify_grammar.notify, notify.notify, _IN),
    b"SETACL": Verb(acl.set_line, acl.set_acl, _IN),
    b"DELETEACL": Verb(acl.line, acl.delete_acl, _IN),
    b"GETACL": Verb(grammar.mailbox, acl.get_acl, _IN),
    b"LISTRIGHTS": Verb(acl.line, acl.list_rights, _IN),
    b"MYRIGHTS": Verb(grammar.mailbox, acl.my_rights, _IN),
    b"GETMETADATA": Verb(metadata_grammar.get, metadata.get, _IN),
    b"SETMETADATA": Verb(metadata_grammar.put, metadata.put, _IN),
    b"GETQUOTA": Verb(quota.root, quota.get_quota, _IN),
    b"GETQUOTAROOT": Verb(grammar.mailbox, quota.get_quota_root, _IN),
    b"SETQUOTA": Verb(quota.limits, quota.set_quota, _IN),
    b"CHECK": Verb(grammar.nothing, login.noop, _OPEN),
    b"CLOSE": Verb(grammar.nothing, folders.close, _OPEN),
    b"UNSELECT": Verb(grammar.nothing, folders.unselect, _OPEN),
    b"EXPUNGE": Verb(grammar.nothing, expunge.expunge, _OPEN),
    b"UID EXPUNGE": Verb(grammar.uid_expunge, expunge.uid_expunge, _OPEN),
    b"SEARCH": Verb(search.search, searching.search, _OPEN, expunges=False, numbers=True),
    b"UID SEARCH": Verb(search.search, searching.search, _OPEN),
    b"SORT": Verb(search.sort, searching.sort, _OPEN, expunges=False, numbers=True),
    b"UID SORT": Verb(search.sort, searching.sort, _OPEN),
    b"THREAD": Verb(search.thread, searching.thread, _OPEN, expunges=False, numbers=True),
    b"UID THREAD": Verb(search.thread, searching.thread, _OPEN),
    b"CANCELUPDATE": Verb(search.cancel_update, searching.cancel_update, _OPEN),
    b"ESEARCH": Verb(multisearch.multisearch, multisearch.run, _IN),
    b"UIDBATCHES": Verb(uidbatches.uid_batches, uidbatches.run, _OPEN),
    b"FETCH": Verb(fetch_grammar.fetch, fetching.fetch, _OPEN, expunges=False, numbers=True),
    b"UID FETCH": Verb(fetch_grammar.fetch, fetching.fetch, _OPEN),
    b"STORE": Verb(grammar.store, flags.store, _OPEN, expunges=False, numbers=True),
    b"UID STORE": Verb(grammar.store, flags.store, _OPEN),
    b"COPY": Verb(grammar.copy, expunge.copy, _OPEN, numbers=True),
    b"UID COPY": Verb(grammar.copy, expunge.copy, _OPEN),
    b"MOVE": Verb(grammar.copy, expunge.move, _OPEN, numbers=True),
    b"UID MOVE": Verb(grammar.copy, expunge.move, _OPEN),
}
# What may take so long that the client should hear of it (RFC 9585); FETCH is heard anyway.
_SLOW = frozenset(
    (
        *(b"SEARCH", b"UID SEARCH", b"SORT", b"UID SORT", b"THREAD", b"UID THREAD", b"ESEARCH"),
        *(b"COPY", b"UID COPY", b"MOVE", b"UID MOVE", b"EXPUNGE", b"UID EXPUNGE", b"CLOSE", b"DELETE", b"RENAME"),
    )
)
_DONE = {name: b"%b completed" % name for name in VERBS}
_COUNTERS = {
    (name, status): metrics.COMMANDS.labels("imap", name.decode("ascii").lower(), status.decode("ascii").lower())
    for name in VERBS
    for status in (b"OK", b"NO", b"BAD")
}
_UNKNOWN = metrics.COMMANDS.labels("imap", "unknown", "bad")
_SECONDS = metrics.COMMAND_SECONDS.labels("imap")


async def run(session: Session, command: Command) -> Ended | None:
    """Run one command and write its answer, which is returned if it is not OK. Raises Farewell and Hangup."""
    verb = VERBS.get(command.name)
    if session.services.tracing:
        _trace(session, command)
    clock = session.services.reactor.seconds
    started = clock()
    answer = await _answer(session, command, verb)
    _SECONDS.observe(clock() - started)
    if verb is None:
        _UNKNOWN.inc()
    else:
        status = b"OK" if isinstance(answer, bytes) else answer.status
        _COUNTERS[command.name, status].inc()
    expunges = verb is None or verb.expunges
    if isinstance(answer, Ended):
        if not isinstance(answer, Bad) and not await updates.tell(session, expunges):
            raise Farewell(session.lost)
        session.peer.write(answer.line(command.tag))
        return answer
    view = session.selected
    alive = view is None or not view.news or await updates.tell(session, expunges)
    if answer:
        session.peer.write(tagged(command.tag, b"OK", answer))
    if not alive:
        raise Farewell(session.lost)
    return None


def _trace(session: Session, command: Command) -> None:
    """Only the command's name: its arguments are the client's affair."""
    log.debug(
        "IMAP command received",
        event="imap.command",
        command=command.name.decode("ascii", "replace"),
        mailbox=session.selected.mailbox.id if session.selected is not None else None,
        **session.who,
    )


async def _answer(session: Session, command: Command, verb: Verb | None) -> bytes | Ended:
    """The text of the tagged OK (nothing if it was written already), or the refusal."""
    try:
        if verb is None:
            raise Bad(b"Unknown command")
        if session.state not in verb.states:
            if command.unread:
                await skip(session.peer.input, session.limits, command.unread)
            raise Bad(_out_of_place(session, verb))
        if verb.numbers and session.uidonly:
            if command.unread:
                await skip(session.peer.input, session.limits, command.unread)
            raise Bad(b"Message numbers are not allowed after ENABLE UIDONLY", b"UIDREQUIRED")
        command.tokens.utf8 = session.utf8
        argument = verb.parse(command.tokens)
        work = verb.run(session, command, argument)
        done = await (progress.reporting(session, command.tag, work) if command.name in _SLOW else work)
        return b"" if verb.answers_itself else done or _DONE[command.name]
    except Ended as ended:
        return ended
    except (Hangup, Farewell):
        raise
    except Exception as error:
        if session.inside_response:
            # Whatever were written now would be part of the literal that stands open.
            _blame(session, command)
            session.peer.abort()
            raise Hangup from None
        return _refusal(session, command, error)


def _blame(session: Session, command: Command) -> None:
    log.failure(
        "IMAP command failed",
        event="imap.command_failed",
        command=command.name.decode("ascii", "replace"),
        connection_id=session.origin.connection,
    )


def _out_of_place(session: Session, verb: Verb) -> bytes:
    if session.state == OVER:
        return b"Session is over"
    if session.state == BEFORE:
        return b"Log in first"
    return b"Already logged in" if verb.states == _OUT else b"No mailbox selected"


def _refusal(session: Session, command: Command, error: Exception) -> No:
    """What the core raised, in the terms of IMAP; to be called while ``error`` is being handled."""
    if isinstance(error, MailboxError):
        return No(_plain(error.text), error.code.encode("ascii"))
    if not isinstance(error, Refused):
        _blame(session, command)
        return No(b"Internal error", b"SERVERBUG")
    reply = error.reply
    if isinstance(error, Unavailable) or reply.temporary:
        log.warn(
            "IMAP command met an unavailable store",
            event="imap.unavailable",
            reason=error.reason,
            connection_id=session.origin.connection,
        )
        return No(b"Temporarily unavailable, try again later", b"UNAVAILABLE")
    code = {"5.2.2": b"OVERQUOTA", "5.3.4": b"TOOBIG"}.get(reply.enhanced, b"CANNOT")
    return No(_plain(reply.text), code)


def _plain(sentence: str) -> bytes:
    """A sentence of the core as response text: one line of printable ASCII (RFC 9051 9, resp-text)."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in sentence).encode("ascii")

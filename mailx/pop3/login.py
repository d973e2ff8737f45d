"""Getting in: CAPA, STLS, USER, PASS, AUTH, UTF8 (RFC 1939 7, RFC 2449, RFC 2595, RFC 5034, RFC 6856)."""

from mailx.core import metrics
from mailx.core.reading_connection import Farewell
from mailx.core.reading_login import FAILURES, NoResponse, converse
from mailx.core.sasl import LoginRefused, written
from mailx.core.users import User
from mailx.mail.names import MailboxError
from mailx.mail.reply import Unavailable
from mailx.pop3.answers import Refusal, Wrong, ok
from mailx.pop3.maildrop import Maildrop
from mailx.pop3.session import AUTHORIZATION, Session, log

LOGIN_SECONDS = 60  # that a client may take between two steps of a login


def capabilities(session: Session) -> list[bytes]:
    """What CAPA answers in the present state (RFC 2449 5)."""
    words = [b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"EXPIRE NEVER", b"UTF8 USER"]
    if session.state == AUTHORIZATION:
        if session.may_log_in:
            words.append(b"USER")
            words.append(b"SASL " + b" ".join(name.encode("ascii") for name in session.mechanisms()))
        if session.peer.can_start_tls:
            words.append(b"STLS")
    return [*words, b"IMPLEMENTATION MailX"]


async def capa(session: Session, _: bytes) -> None:
    lines = b"".join(word + b"\r\n" for word in capabilities(session))
    session.peer.write(ok(b"Capabilities follow") + lines + b".\r\n")


async def start_tls(session: Session, _: bytes) -> None:
    if session.peer.secure:
        raise Wrong(b"TLS is active already")
    if not session.peer.can_start_tls:
        raise Refusal(b"TLS is not available")
    session.username = None
    session.peer.write(ok(b"Begin TLS negotiation"))
    session.peer.start_tls()


async def utf8(session: Session, _: bytes) -> None:
    session.utf8 = True
    session.peer.write(ok(b"UTF-8 enabled"))


async def user(session: Session, argument: bytes) -> None:
    """USER says yes to every name: which ones exist is nobody's business (RFC 1939 7)."""
    _check_secure(session)
    if not argument:
        raise Wrong(b"A name is missing")
    session.username = _text(argument)
    session.peer.write(ok(b"Send PASS"))


async def password(session: Session, argument: bytes) -> None:
    """PASS; the rest of the line is the password, spaces and all (RFC 1939 7)."""
    _check_secure(session)
    username, session.username = session.username, None
    if username is None:
        raise Wrong(b"USER comes first")
    try:
        found = await session.services.access.login(username, _text(argument), session.origin)
    except LoginRefused as refused:
        raise _refused(session, refused, username, "LOGIN") from None
    await _welcome(session, found, "LOGIN")


async def authenticate(session: Session, argument: bytes) -> None:
    _check_secure(session)
    name, _, initial = argument.partition(b" ")
    mechanism = name.decode("ascii", "replace").upper()
    if mechanism not in session.mechanisms():
        raise Wrong(b"No such mechanism; CAPA lists them" if name else b"A mechanism is missing; CAPA lists them")
    exchange = session.services.access.begin(mechanism, session.origin, session.peer.bindings())
    try:
        found = await converse(session.peer, exchange, initial or None, LOGIN_SECONDS)
    except NoResponse as wrong:
        raise Wrong(wrong.text) from None
    except LoginRefused as refused:
        raise _refused(session, refused, "", mechanism) from None
    await _welcome(session, found, mechanism)


def _check_secure(session: Session) -> None:
    if not session.may_log_in:
        raise Refusal(b"Logging in is disabled before STLS", counts=True)


def _text(argument: bytes) -> str:
    try:
        return argument.decode("utf-8")
    except UnicodeDecodeError:
        raise Wrong(b"Names and passwords are UTF-8") from None


def _refused(session: Session, refused: LoginRefused, username: str, method: str) -> Exception:
    """What to raise for a login that failed: -ERR, or the end after too many."""
    metrics.LOGINS.labels("pop3", refused.outcome).inc()
    log.warn(
        "POP3 authentication failed",
        event="pop3.auth_failed",
        username=written(username),
        auth_method=method,
        error_code=refused.outcome,
        **session.who,
    )
    session.failures += 1
    if refused.temporary:
        refusal = Refusal(b"Temporary authentication failure, try again later", b"SYS/TEMP")
    else:
        refusal = Refusal(b"Authentication failed", b"AUTH")
    return Farewell(refusal.line()) if session.failures >= FAILURES else refusal


async def _welcome(session: Session, found: User, method: str) -> None:
    """Open the maildrop. The password was right, so what hinders now may be said (RFC 3206 4, RFC 2449 8.1.2)."""
    if not session.enter(found):
        raise Refusal(b"Another session has this mailbox open", b"IN-USE")
    try:
        session.opened(await Maildrop.open(session.services.mailboxes, found))
    except (MailboxError, Unavailable):
        session.not_opened()
        raise Refusal(b"The mailbox cannot be opened now, try again later", b"SYS/TEMP") from None
    except BaseException:
        session.not_opened()
        raise
    metrics.LOGINS.labels("pop3", "ok").inc()
    log.info("POP3 authentication successful", event="pop3.auth_ok", username=str(found.address), auth_method=method, **session.who)
    maildrop = session.maildrop
    session.peer.write(ok(b"%d messages (%d octets)" % (maildrop.count, maildrop.octets)))

"""Commands that need no mailbox: CAPABILITY, NOOP, LOGOUT, ID, ENABLE, STARTTLS, LOGIN, AUTHENTICATE (RFC 9051 6.1, 6.2)."""

from mailx import __version__
from mailx.core import metrics
from mailx.core.reading_login import FAILURES, NoResponse, converse
from mailx.core.reading_session import OVER
from mailx.core.sasl import LoginRefused, written
from mailx.core.users import User
from mailx.imap import capabilities, text
from mailx.imap.answers import Bad, No, tagged
from mailx.imap.arrival import Command, Farewell
from mailx.imap.commands import Authenticate, Login
from mailx.imap.session import Session, log


async def capability(session: Session, command: Command, _: None) -> None:
    session.peer.write(b"* CAPABILITY %b\r\n" % b" ".join(session.capabilities()))


async def noop(session: Session, command: Command, _: None) -> None:
    """NOOP and CHECK: what changed is told after every command anyway."""


async def logout(session: Session, command: Command, _: None) -> None:
    session.unselect()
    session.peer.write(b"* BYE Logging out\r\n")
    session.state = OVER


async def identity(session: Session, command: Command, _: None) -> None:
    session.peer.write(b'* ID ("name" "MailX" "version" "%b")\r\n' % __version__.encode("ascii"))


async def enable(session: Session, command: Command, names: frozenset[bytes]) -> None:
    """ENABLE (RFC 5161): what is unknown is ignored; what is enabled already is not told again."""
    fresh = [name for name in capabilities.ENABLE if name in names and name not in session.enabled]
    session.peer.write(b"* ENABLED%b\r\n" % b"".join(b" " + capabilities.ENABLE[name] for name in fresh))
    if b"QRESYNC" in fresh or b"CONDSTORE" in fresh:  # RFC 7162 3.2.3: QRESYNC is CONDSTORE too
        session.learn_modseqs()
    session.enabled.update(fresh)
    if b"IMAP4REV2" in fresh and session.selected is not None:
        session.recent_texts = session.flag_texts  # RFC 9051 2.3.2: \Recent is no more


async def jmap_access(session: Session, command: Command, _: None) -> None:
    """GETJMAPACCESS (RFC 9698 3): where the same mail is had by JMAP."""
    url = session.services.settings.jmap_url
    if not url:
        raise Bad(b"Unknown command")
    session.peer.write(b"* JMAPACCESS %b\r\n" % text.string(url.encode("ascii", "replace")))


async def start_tls(session: Session, command: Command, _: None) -> None:
    """STARTTLS: answered in the clear, so it writes its own tagged response."""
    if session.peer.secure:
        raise Bad(b"TLS is active already")
    if not session.peer.can_start_tls:
        raise No(b"TLS is not available", b"CANNOT")
    session.peer.write(tagged(command.tag, b"OK", b"Begin TLS negotiation now"))
    session.peer.start_tls()


async def login(session: Session, command: Command, given: Login) -> bytes:
    if not session.may_log_in:
        raise No(b"LOGIN is disabled before STARTTLS", b"PRIVACYREQUIRED")
    try:
        user = await session.services.access.login(given.username, given.password, session.origin)
    except LoginRefused as refused:
        raise _refused(session, refused, given.username, "LOGIN") from None
    return _welcome(session, user, "LOGIN")


async def authenticate(session: Session, command: Command, given: Authenticate) -> bytes:
    if given.mechanism not in session.mechanisms():
        if not session.may_log_in:
            raise No(b"Authentication is disabled before STARTTLS", b"PRIVACYREQUIRED")
        raise No(b"Mechanism not supported", b"CANNOT")
    exchange = session.services.access.begin(given.mechanism, session.origin, session.peer.bindings())
    try:
        user = await converse(session.peer, exchange, given.initial, session.services.settings.command_timeout)
    except NoResponse as wrong:
        raise Bad(wrong.text) from None
    except LoginRefused as refused:
        raise _refused(session, refused, "", given.mechanism) from None
    return _welcome(session, user, given.mechanism)


def _refused(session: Session, refused: LoginRefused, username: str, method: str) -> Exception:
    """What to raise for a login that failed: NO, or BYE after too many."""
    metrics.LOGINS.labels("imap", refused.outcome).inc()
    log.warn(
        "IMAP authentication failed",
        event="imap.auth_failed",
        username=written(username),
        auth_method=method,
        error_code=refused.outcome,
        **session.who,
    )
    session.failures += 1
    if session.failures >= FAILURES:
        return Farewell(b"Too many authentication failures")
    if refused.temporary:
        return No(b"Temporary authentication failure", b"UNAVAILABLE")
    return No(b"Authentication failed", b"AUTHENTICATIONFAILED")


def _welcome(session: Session, user: User, method: str) -> bytes:
    if not session.enter(user):
        raise No(b"Too many sessions of this account", b"LIMIT")
    metrics.LOGINS.labels("imap", "ok").inc()
    log.info("IMAP authentication successful", event="imap.auth_ok", username=str(user.address), auth_method=method, **session.who)
    return b"[CAPABILITY %b] Logged in" % b" ".join(session.capabilities())

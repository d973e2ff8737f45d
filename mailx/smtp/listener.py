"""One port: what its sessions share, how many there may be, when they are overdue, and how they end together."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from prometheus_client import Counter
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITLSTransport
from twisted.logger import Logger
from twisted.mail.smtp import SMTPFactory

from mailx.config import SMTP, Server
from mailx.core import metrics
from mailx.core.connections import Gate
from mailx.core.listening import TLSProvider
from mailx.core.tracing import Tracing
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.reply import Reply
from mailx.smtp import replies
from mailx.smtp.authentication import Access
from mailx.smtp.door import Door
from mailx.smtp.incoming import Content
from mailx.smtp.session import Session
from mailx.smtp.wire import Answer

log = Logger()

SWEEP = 1.0  # seconds between two looks at the deadlines

Command = Callable[[Session, bytes], Answer]

_COMMANDS: dict[bytes, Command] = {
    b"MAIL": Session.do_MAIL,
    b"RCPT": Session.do_RCPT,
    b"DATA": Session.do_DATA,
    b"BDAT": Session.do_BDAT,
    b"RSET": Session.do_RSET,
    b"NOOP": Session.do_NOOP,
    b"QUIT": Session.do_QUIT,
    b"HELP": Session.do_HELP,
    b"VRFY": Session.do_VRFY,
    b"EXPN": Session.do_EXPN,
    b"EHLO": Session.do_EHLO,
    b"HELO": Session.do_HELO,
    b"STARTTLS": Session.ext_STARTTLS,
}


class Reception(Protocol):
    """What a session needs of :class:`mailx.core.reception.Reception`."""

    async def sender(self, origin: Origin, address: Address | None, size: int | None) -> None: ...

    async def recipient(self, origin: Origin, sender: Address | None, address: Address, size: int | None) -> Address: ...

    def content(self, origin: Origin, head: bytes, limit: int, submitted: bool) -> Content: ...

    async def accept(self, envelope: Envelope, each: bool = False) -> Mapping[Address, Reply]: ...


class SMTPListener(SMTPFactory):
    """The factory of one port's sessions. ``tracing`` turns the debug line of every command on."""

    noisy = False

    def __init__(
        self, door: Door, port: int, settings: SMTP, server: Server, reception: Reception, access: Access, tls: TLSProvider, reactor: Any
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.door = door
        self.port = port
        self.settings = settings
        self.reception = reception
        self.access = access
        self.tls = tls
        self.hostname = server.hostname
        self.domain = server.hostname.encode()
        self.gate = Gate(settings.max_connections, settings.max_per_address)
        self.sessions: set[Session] = set()
        self.tracing: bool | Tracing = False
        self._draining = False
        self.commands = dict(_COMMANDS)
        if door.lmtp:
            self.commands[b"LHLO"] = Session.do_LHLO
        if door.submission:
            self.commands[b"AUTH"] = Session.ext_AUTH
        else:
            self.commands[b"AUTH"] = Session.do_EXPN  # not implemented here: only our own users authenticate
        self.greeting = b"220 %s %s MailX\r\n" % (self.domain, door.label.encode())
        self.helo_reply = b"250 %s\r\n" % self.domain
        self.farewell = b"221 2.0.0 %s closing connection\r\n" % self.domain
        self._hello = {tls: self._render_hello(tls) for tls in (False, True)}
        self._reactor: IReactorTime = reactor
        self._seconds = reactor.seconds
        self._sweeping: Any = None
        self._empty: Deferred[None] | None = None
        self._accepted: Counter = metrics.CONNECTIONS.labels(door.name)
        self._open = metrics.CONNECTIONS_OPEN.labels(door.name)
        # By command (b"" is an unknown one) and the reply's first octet, ready to be counted on.
        self.counts: dict[tuple[bytes, int], Counter] = {
            (verb, digit): metrics.COMMANDS.labels(door.name, verb.decode().lower() or "unknown", f"{chr(digit)}xx")
            for verb in (b"", *self.commands)
            for digit in b"2345"
        }

    def soon(self, call: Callable[[], None]) -> object:
        """Call in the reactor's next step."""
        return self._reactor.callLater(0, call)

    def buildProtocol(self, addr: IAddress | None) -> Session:
        session = Session(self, self._seconds)
        session.factory = self
        return session

    # What sessions say and may do.

    def hello(self, tls: bool) -> bytes:
        """The reply to EHLO or LHLO."""
        return self._hello[tls]

    def _render_hello(self, tls: bool) -> bytes:
        words = [self.hostname, f"SIZE {self.settings.message_size}", "8BITMIME", "PIPELINING", "CHUNKING"]
        if not tls:
            words.append("STARTTLS")
        else:
            words.append("REQUIRETLS")  # RFC 8689 2: only under TLS
        words += ["ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN", f"LIMITS RCPTMAX={self.settings.recipients}"]
        if tls and self.door.submission:
            words.append("AUTH " + " ".join(self.mechanisms()))
        lines = [f"250-{word}\r\n" for word in words[:-1]] + [f"250 {words[-1]}\r\n"]
        return "".join(lines).encode()

    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms offered under TLS."""
        return self.access.mechanisms(True, False)

    def can_start_tls(self, transport: object) -> bool:
        return ITLSTransport.providedBy(transport) and not self.door.implicit_tls

    def tls_options(self) -> Any:
        return self.tls.server_options()

    # Who is here.

    def enter(self, session: Session) -> bytes:
        """Take the session in; or the reply that sends it away."""
        self.sessions.add(session)
        if self._sweeping is None:
            self._sweeping = self._reactor.callLater(SWEEP, self._sweep)
        if self._draining:
            return replies.SHUTTING_DOWN
        if not self.gate.enter(session.address):
            full = self.gate.full
            metrics.CONNECTIONS_REFUSED.labels(self.door.name, "limit" if full else "address_limit").inc()
            log.error(
                "SMTP connection limit reached",
                event="smtp.limit",
                port=self.port,
                current_connections=self.gate.count,
                rejected_ip=session.address,
                max_connections=self.gate.max_connections if full else self.gate.max_per_address,
            )
            return replies.TOO_MANY_CONNECTIONS if full else replies.TOO_MANY_FROM_ADDRESS
        self._accepted.inc()
        self._open.inc()
        log.info(
            "SMTP connection accepted",
            event="smtp.connection",
            port=self.port,
            client_ip=session.address,
            connection_id=session.connection,
            tls_active=self.door.implicit_tls,
            protocol="SMTPS" if self.door.implicit_tls else self.door.label,
        )
        return b""

    @property
    def crowded(self) -> bool:
        """Whether so many of those sent away are still here (under TLS a reply waits for the handshake) that no more may wait."""
        return len(self.sessions) > 2 * self.gate.max_connections

    def leave(self, session: Session, entered: bool) -> None:
        """The session's connection is gone."""
        self.sessions.discard(session)
        if entered:
            self.gate.leave(session.address)
            self._open.dec()
        if self._empty is not None and not self.sessions:
            self._empty.callback(None)
            self._empty = None

    def revoke(self, account: int) -> None:
        """The sessions of ``account`` end."""
        for session in tuple(self.sessions):
            if session.user is not None and session.user.id == account:
                session.revoke()

    def _sweep(self) -> None:
        self._sweeping = None
        now = self._reactor.seconds()
        for session in tuple(self.sessions):
            session.check(now)
        if self.sessions:
            self._sweeping = self._reactor.callLater(SWEEP, self._sweep)

    # Counting.

    def handshake(self, version: str) -> None:
        metrics.HANDSHAKES.labels(self.door.name, version).inc()

    def login(self, outcome: str) -> None:
        """Count an AUTH command: ok, refused, throttled, unavailable."""
        metrics.LOGINS.labels(self.door.name, outcome).inc()

    def refused(self, reply: Reply) -> None:
        metrics.REFUSED.labels(self.door.name, str(reply.code)).inc()

    # The end.

    def drain(self) -> "Deferred[None]":
        """Let open transactions finish, end everything else; fires when no session is left."""
        self._draining = True
        empty: Deferred[None] = Deferred()
        self._empty = empty
        for session in tuple(self.sessions):
            session.drain()
        if not self.sessions and self._empty is not None:
            self._empty = None
            empty.callback(None)
        return empty

    def cut(self) -> None:
        """The time is over: 421 to what is left, wherever it stands."""
        for session in tuple(self.sessions):
            session.cut()

    def abort(self) -> None:
        """Nobody is waited for any longer."""
        for session in tuple(self.sessions):
            session.transport.abortConnection()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

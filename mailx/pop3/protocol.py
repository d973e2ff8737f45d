"""One POP3 connection: lines in, answers out, deadlines, TLS, and the loop that runs commands one after the other.

Commands that a client pipelines (RFC 2449 6.6) run in the order they came. What a failure inside a command says goes to the
log and never to the client. A session that ends by anything but QUIT changes nothing (RFC 1939 3, 6).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, ITCPTransport, ITLSTransport
from twisted.internet.protocol import Protocol as BaseProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.core import metrics, sasl
from mailx.core.input import BareLine, Hangup, Input, LongLine
from mailx.core.output import Output
from mailx.mail.envelope import Origin, new_id
from mailx.pop3 import commands, login
from mailx.pop3.answers import Farewell, Refusal, Wrong, ok
from mailx.pop3.session import AUTHORIZATION, OVER, Services, Session, log

WRONG = 20  # commands that make no sense before the connection is given up
LINE_LIMIT = 512  # octets of a command; RFC 2449 4 asks for 255
LOGIN_LINE_LIMIT = login.RESPONSE_LIMIT + 64  # AUTH may bring its first response along
LINGER_SECONDS = 10  # how long a closed connection may take to go


class Listener(Protocol):
    """The port that a connection came in by; see :class:`mailx.pop3.server.POP3Listener`."""

    name: str  # "pop3" or "pop3s"
    port: int

    @property
    def crowded(self) -> bool: ...

    def enter(self, protocol: "POP3Server", address: str) -> bool: ...

    def leave(self, protocol: "POP3Server", address: str, entered: bool) -> None: ...


@implementer(IHandshakeListener)
class POP3Server(BaseProtocol):
    """The protocol of one connection."""

    transport: Any

    def __init__(self, services: Services, tls_context: Any, listener: Listener) -> None:
        """``tls_context``: for STLS, or None."""
        self._services = services
        self._context = tls_context
        self._listener = listener
        self._entered = False
        self._reactor = services.reactor
        self._seconds = services.reactor.seconds
        self._deadline: float | None = None
        self._timer: Any = None
        self._encrypted = False
        self._resting = False  # no command is running
        self._stopping = False
        self._over = False
        self._wrong = 0
        self.output: Output
        self.input: Input
        self.session: Session

    # What the transport calls

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        peer = transport.getPeer()
        self.output = Output(transport, self._reactor)
        self.input = Input(transport.pauseProducing, transport.resumeProducing, self.output.flush)
        origin = Origin("POP3", new_id(), getattr(peer, "host", "") or "", self._listener.port, tls="TLS" if self.secure else "")
        self.session = Session(self._services, self, origin)
        self._entered = self._listener.enter(self, origin.address)
        if not self._entered:
            self.end(Refusal(b"Too many connections, try again later", b"SYS/TEMP").line())
            if self._listener.crowded:
                self.abort()
            return
        log.info(
            "POP3 connection accepted",
            event="pop3.connection",
            connection_id=origin.connection,
            client_ip=origin.address,
            port=origin.port,
            tls_active=self.secure,
            protocol=self._listener.name.upper(),
        )
        self.write(ok(b"%b ready" % self._services.server.hostname.encode("idna")))
        Deferred.fromCoroutine(self._serve())

    def dataReceived(self, data: bytes) -> None:
        self.input.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.output.stopProducing()
        self.input.close()
        self.session.leave()
        self._listener.leave(self, self.session.origin.address, self._entered)

    def handshakeCompleted(self) -> None:
        connection = self.transport.getHandle()
        version = connection.get_protocol_version_name()
        session = self.session
        session.origin = evolve(session.origin, tls=f"{version} {connection.get_cipher_name()}")
        metrics.HANDSHAKES.labels(self._listener.name, version).inc()

    # What commands use (mailx.pop3.session.Peer)

    @property
    def secure(self) -> bool:
        return self._encrypted or ISSLTransport.providedBy(self.transport)

    @property
    def can_start_tls(self) -> bool:
        return self._context is not None and ITLSTransport.providedBy(self.transport) and not self.secure

    def write(self, data: bytes) -> None:
        self.output.write(data)

    async def ready(self) -> None:
        await self.output.ready()

    def start_tls(self) -> None:
        self.input.clear()
        self.output.encrypted()
        self.transport.startTLS(self._context)
        self._encrypted = True

    def bindings(self) -> Mapping[str, bytes]:
        return sasl.channel_bindings(self.transport) if self.secure else {}

    def patience(self, seconds: float) -> None:
        if self._over:
            return
        self._deadline = deadline = self._seconds() + seconds
        if self._timer is None:
            self._timer = self._reactor.callLater(seconds, self._late)
        elif self._timer.getTime() > deadline:
            self._timer.reset(seconds)

    def no_deadline(self) -> None:
        self._deadline = None

    # Deadlines and the end

    @property
    def _rest(self) -> int:
        """How many seconds the client may say nothing: the autologout timer, and less before a login."""
        rest = self._services.settings.idle_timeout
        return min(rest, login.LOGIN_SECONDS) if self.session.state == AUTHORIZATION else rest

    def _late(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self._seconds()
        if left > 0:
            self._timer = self._reactor.callLater(left, self._late)
            return
        origin = self.session.origin
        log.warn("POP3 idle timeout", event="pop3.idle_timeout", connection_id=origin.connection, client_ip=origin.address)
        self.end(b"")  # without a word (RFC 1939 3)

    def stop(self) -> None:
        """The server shuts down: end now, or after the command that runs."""
        self._stopping = True
        if self._resting:
            self._goodbye()

    def _goodbye(self) -> None:
        self.end(Refusal(b"Server shutting down", b"SYS/TEMP").line())

    def revoke(self) -> None:
        """The account may no longer be here: end now, whatever runs; inside an answer there is no room for a word."""
        inside = self.session.inside_response
        self.end(b"" if inside else Refusal(b"Account or password changed; log in again", b"AUTH").line())
        if inside:
            self.abort()

    def abort(self) -> None:
        """Give the connection up without another word."""
        self.output.flush()
        self.output.discard()
        self.transport.abortConnection()

    def end(self, line: bytes) -> None:
        """Say ``line``, close the connection, and leave the maildrop as it is. May be called again, or too late."""
        if self._over:
            return
        self._over = True
        self.write(line)
        self.no_deadline()
        self.output.close()
        self.session.leave()
        self.input.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.callLater(LINGER_SECONDS, self._linger)
        self.transport.loseConnection()

    def _linger(self) -> None:
        self._timer = None
        self.abort()

    # The loop

    async def _serve(self) -> None:
        try:
            while self.session.state != OVER:
                await self._next()
        except Hangup:
            pass
        except Farewell as farewell:
            self.end(farewell.line)
        except Exception:
            log.failure("POP3 session failed", event="pop3.session_failed", connection_id=self.session.origin.connection)
            self.end(b"")
            self.abort()

    async def _next(self) -> None:
        """Wait for one command and answer it."""
        if self._stopping:
            self._goodbye()
            raise Hangup
        self._resting = True
        self.patience(self._rest)
        refusal: Refusal | None
        try:
            line = await self.input.line(LOGIN_LINE_LIMIT if self.session.state == AUTHORIZATION else LINE_LIMIT)
        except (LongLine, BareLine) as wrong:
            self._resting = False
            refusal = Wrong(b"Line too long" if isinstance(wrong, LongLine) else b"Lines end in CRLF")
            self.write(refusal.line())
        else:
            self._resting = False
            self.no_deadline()
            self.output.start_turn()
            refusal = await commands.run(self.session, line)
        self._judge(refusal)
        if self.input.pending:
            self.output.flush()
            await self.ready()
        await self.output.room()

    def _judge(self, refusal: Refusal | None) -> None:
        """Count the nonsense."""
        self._wrong += refusal is not None and refusal.counts
        if self._wrong > WRONG:
            raise Farewell(Refusal(b"Too many invalid commands").line())

"""One IMAP connection: bytes in, bytes out, deadlines, TLS, and the loop that runs commands one after the other.

``IMAPServer`` is Twisted's ``IMAP4Server`` by type; tokenizer, command queue and rendering are this package's.
Commands that a client pipelines run in the order they came. What a failure inside a command says goes to the log
and never to the client.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, ITCPTransport, ITLSTransport
from twisted.internet.protocol import connectionDone
from twisted.mail.imap4 import IMAP4Server
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.core import metrics, sasl
from mailx.core.inflating import Inflating
from mailx.core.output import Output
from mailx.imap import arrival, dispatch, idle
from mailx.imap.answers import Bad, Ended, tagged
from mailx.imap.arrival import Farewell, Refusal
from mailx.imap.input import Hangup, Input
from mailx.imap.session import BEFORE, OVER, Services, Session, log
from mailx.mail.envelope import Origin, new_id

BAD_BEFORE_LOGIN = 20  # commands that make no sense before the connection is given up
IDLE_TIMEOUT = b"Idle timeout"
LINGER_SECONDS = 10  # how long a closed connection may take to go


class Listener(Protocol):
    """The port that a connection came in by; see :class:`mailx.imap.server.IMAPListener`."""

    name: str  # "imap" or "imaps"
    port: int

    @property
    def crowded(self) -> bool: ...

    def enter(self, protocol: "IMAPServer", address: str) -> bool: ...

    def leave(self, protocol: "IMAPServer", address: str, entered: bool) -> None: ...


@implementer(IHandshakeListener)
class IMAPServer(IMAP4Server):
    """The protocol of one connection."""

    transport: Any

    def __init__(self, services: Services, tls_context: Any, listener: Listener) -> None:
        """``tls_context``: for STARTTLS, or None."""
        super().__init__(contextFactory=tls_context)  # type: ignore[no-untyped-call]
        self._services = services
        self._listener = listener
        self._entered = False
        self._reactor = services.reactor
        self._seconds = services.reactor.seconds
        self._deadline: float | None = None
        self._farewell = b""
        self._timer: Any = None
        self._arriving = False
        self._interruptible = False
        self._stopping = False
        self._over = False
        self._bad = 0
        self._inflating: Inflating | None = None
        self.output: Output
        self.input: Input
        self.session: Session

    # What the transport calls

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)  # or the end of an answer waits 40 ms for a delayed acknowledgement
            transport.setTcpKeepAlive(True)
        peer = transport.getPeer()
        self.canStartTLS = ITLSTransport.providedBy(transport)
        self.output = Output(transport, self._reactor)
        self.input = Input(transport.pauseProducing, transport.resumeProducing, self._waits)
        origin = Origin("IMAP", new_id(), getattr(peer, "host", "") or "", self._listener.port, tls="TLS" if self.secure else "")
        self.session = Session(self._services, self, origin)
        self._entered = self._listener.enter(self, origin.address)
        if not self._entered:
            self.end(Farewell(b"Maximum connections reached", b"LIMIT"))
            if self._listener.crowded:
                self.abort()
            return
        log.info(
            "IMAP connection accepted",
            event="imap.connection",
            connection_id=origin.connection,
            client_ip=origin.address,
            port=origin.port,
            tls_active=self.secure,
            protocol=self._listener.name.upper(),
        )
        self.write(tagged(b"*", b"OK", b"%b ready" % self._services.server.hostname.encode("idna"), self._capability()))
        Deferred.fromCoroutine(self._serve())

    def dataReceived(self, data: bytes) -> None:
        if self._inflating is None:
            self.input.feed(data)
        else:
            self._inflating.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.output.stopProducing()
        self._read_no_more()
        self.session.leave()
        self._listener.leave(self, self.session.origin.address, self._entered)

    def handshakeCompleted(self) -> None:
        connection = self.transport.getHandle()
        version = connection.get_protocol_version_name()
        session = self.session
        session.origin = evolve(session.origin, tls=f"{version} {connection.get_cipher_name()}")
        metrics.HANDSHAKES.labels(self._listener.name, version).inc()
        if self._services.tracing:
            log.debug(
                "TLS handshake completed",
                event="imap.tls",
                connection_id=session.origin.connection,
                client_ip=session.origin.address,
                tls_version=version,
                cipher_suite=connection.get_cipher_name(),
            )

    # What commands use (mailx.imap.session.Peer)

    @property
    def secure(self) -> bool:
        return self.startedTLS or ISSLTransport.providedBy(self.transport)

    @property
    def can_start_tls(self) -> bool:
        return self.ctx is not None and self.canStartTLS and not self.secure

    def write(self, data: bytes) -> None:
        self.output.write(data)

    def flush(self) -> None:
        self.output.flush()

    async def ready(self) -> None:
        await self.output.ready()

    async def room(self) -> None:
        await self.output.room()

    def start_tls(self) -> None:
        self.input.clear()
        self.output.encrypted()
        self.transport.startTLS(self.ctx)
        self.startedTLS = True

    @property
    def compressed(self) -> bool:
        return self._inflating is not None

    def start_compression(self) -> None:
        self.output.compress()
        transport = self.transport
        unread = self.input.taken_back()
        self._inflating = Inflating(self.input, transport.pauseProducing, transport.resumeProducing, self._reactor, self._not_compressed)
        if unread:
            self._inflating.feed(unread)

    def _not_compressed(self) -> None:
        self.end(Farewell(b"Invalid compressed data"))

    def _read_no_more(self) -> None:
        self.input.close()
        if self._inflating is not None:
            self._inflating.close()

    def bindings(self) -> Mapping[str, bytes]:
        return sasl.channel_bindings(self.transport) if self.secure else {}

    def patience(self, seconds: float, farewell: bytes) -> None:
        if self._over:
            return
        self._deadline = deadline = self._seconds() + seconds
        self._farewell = farewell
        if self._timer is None:
            self._timer = self._reactor.callLater(seconds, self._late)
        elif self._timer.getTime() > deadline:
            self._timer.reset(seconds)

    def no_deadline(self) -> None:
        self._deadline = None

    def interruptible(self, yes: bool) -> None:
        """Whether the server may end the session now without cutting a command short."""
        self._interruptible = yes
        if yes and self._stopping:
            raise Farewell(b"Server shutting down", b"UNAVAILABLE")

    # Deadlines and the end

    @property
    def _rest(self) -> int:
        """How many seconds the client may say nothing."""
        settings = self._services.settings
        return settings.command_timeout if self.session.state == BEFORE else settings.idle_timeout

    def _waits(self) -> None:
        self.output.flush()
        if self._arriving:
            self._arriving = False
            self.patience(self._services.settings.command_timeout, b"Command timeout")

    def _late(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self._seconds()
        if left > 0:
            self._timer = self._reactor.callLater(left, self._late)
            return
        origin = self.session.origin
        who = {"connection_id": origin.connection, "session_id": origin.connection, "client_ip": origin.address}
        if self._farewell == IDLE_TIMEOUT:
            log.warn("IMAP idle timeout", event="imap.idle_timeout", idle_duration=f"{self._rest // 60}m", **who)
        else:
            log.warn("IMAP command timeout", event="imap.command_timeout", **who)
        self.end(Farewell(self._farewell))

    def stop(self) -> None:
        """The server shuts down: end now, or after the command that runs."""
        self._stopping = True
        if self._interruptible and not self.session.inside_response:
            self.end(Farewell(b"Server shutting down", b"UNAVAILABLE"))

    def revoke(self) -> None:
        """The account may no longer be here: end now, whatever runs; inside a response there is no room for a word."""
        inside = self.session.inside_response
        self.end(None if inside else Farewell(b"Account or password changed; log in again"))
        if inside:
            self.abort()

    def abort(self) -> None:
        """Give the connection up without another word."""
        self.output.flush()
        self.output.discard()
        self.transport.abortConnection()

    def end(self, farewell: Farewell | None) -> None:
        """Say ``farewell``, close the connection, and leave the mailbox. May be called again, or too late."""
        if self._over:
            return
        self._over = True
        if farewell is not None:
            self.write(tagged(b"*", b"BYE", farewell.text, farewell.code))
        self.no_deadline()
        self.output.close()
        self.session.leave()
        self._read_no_more()
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
            self.end(None)
        except Hangup:
            pass
        except Farewell as farewell:
            self.end(farewell)
        except Exception:
            log.failure("IMAP session failed", connection_id=self.session.origin.connection)
            self.end(None)
            self.abort()

    async def _next(self) -> None:
        """Wait for one command and answer it."""
        if not self.input.pending:
            self.patience(self._rest, IDLE_TIMEOUT)
            self.interruptible(True)
            if self.session.notify is None:
                await self.input.wait()
            else:
                await idle.between(self.session, self.input.wait)
            self.output.start_turn()
        self.interruptible(True)
        self._interruptible = False
        self._arriving = True
        try:
            command = await arrival.receive(self.input, self.session.limits, self._ask, streams=self.session.state != BEFORE)
        except Refusal as refusal:
            self._arriving = False
            self.write(refusal.answer.line(refusal.tag))
            self._judge(refusal.answer)
        else:
            self._arriving = False
            self.no_deadline()
            answer = await dispatch.run(self.session, command)
            self._judge(answer)
        if self.input.pending:
            self.output.flush()
            await self.ready()
        await self.room()

    def _judge(self, answer: Ended | None) -> None:
        """Count the nonsense of a client that has not logged in."""
        self._bad += isinstance(answer, Bad)
        if self.session.state == BEFORE and self._bad > BAD_BEFORE_LOGIN:
            raise Farewell(b"Too many invalid commands")

    def _ask(self) -> None:
        self.write(b"+ Ready for literal data\r\n")

    def _capability(self) -> bytes:
        return b"CAPABILITY " + b" ".join(self.session.capabilities())

    # What twisted.mail.imap4 offers and this class answers differently

    def listCapabilities(self) -> list[bytes]:
        return self.session.capabilities()

    def timeoutConnection(self) -> None:
        self.end(Farewell(IDLE_TIMEOUT))

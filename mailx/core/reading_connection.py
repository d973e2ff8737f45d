"""One connection of a protocol by which people read their mail, below its commands: what IMAP and POP3 do alike.

Octets in and out, TLS, deadlines, the loop that runs commands one after the other, and every way to an end. What a failure
inside a command says goes to the log and never to the client.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, ITCPTransport, ITLSTransport
from twisted.internet.protocol import Protocol as BaseProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.config import Server
from mailx.core import metrics, sasl
from mailx.core.input import Hangup, Input
from mailx.core.output import Output
from mailx.core.reading_session import OVER, ReadingSession
from mailx.mail.envelope import Origin, new_id

if TYPE_CHECKING:
    from mailx.core.reading import ReadingListener

LINGER_SECONDS = 10  # how long a closed connection may take to go


class Farewell(Exception):
    """The session ends after one more line, or, with an empty one, without a word."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line)
        self.line = line


class Services(Protocol):
    """What every connection of a server shares."""

    @property
    def server(self) -> Server: ...

    @property
    def reactor(self) -> Any: ...


@implementer(IHandshakeListener)
class ReadingConnection(BaseProtocol):
    """The protocol of one connection. The edge says what a session, a greeting, a command and a last line are."""

    transport: Any
    protocol: ClassVar[str]  # "IMAP" or "POP3"
    full: ClassVar[bytes]  # the last line where there is no room for the connection
    stopping: ClassVar[bytes]  # where the server shuts down
    revoked: ClassVar[bytes]  # where the account may no longer be here

    def __init__(self, services: Services, tls_context: Any, listener: "ReadingListener[Any]") -> None:
        """``tls_context``: for TLS on request, or None."""
        self._services = services
        self._context = tls_context
        self._listener = listener
        self._entered = False
        self._reactor = services.reactor
        self._seconds = services.reactor.seconds
        self._deadline: float | None = None
        self._idle = False  # the deadline is for a client that gives no command
        self._timer: Any = None
        self._encrypted = False  # on request
        self._interruptible = False
        self._stopping = False
        self._over = False
        self.output: Output
        self.input: Input
        self.session: ReadingSession

    # What the edge fills in

    @abstractmethod
    def begin(self, origin: Origin) -> ReadingSession:
        """The session of a connection that was made just now."""

    @abstractmethod
    def accepted(self) -> None:
        """There is room for the connection: for the log, and the greeting."""

    @abstractmethod
    async def serve_command(self) -> None:
        """Wait for one command and answer it; raises Farewell and Hangup."""

    @abstractmethod
    def too_late(self, idle: bool) -> bytes:
        """A deadline has passed, with ``idle`` that of a client which gives no command: for the log; the last line."""

    @abstractmethod
    def failed(self) -> None:
        """The session meets its end in the exception that is being handled: for the log."""

    def waits(self) -> None:
        """The session waits for its client."""
        self.output.flush()

    def read_no_more(self) -> None:
        """What arrives from here on is nobody's. May be called again."""
        self.input.close()

    # What the transport calls

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)  # or the end of an answer waits 40 ms for a delayed acknowledgement
            transport.setTcpKeepAlive(True)
        self.output = Output(transport, self._reactor)
        self.input = Input(transport.pauseProducing, transport.resumeProducing, self.waits)
        address = getattr(transport.getPeer(), "host", "") or ""
        self.session = self.begin(Origin(self.protocol, new_id(), address, self._listener.port, tls="TLS" if self.secure else ""))
        self._entered = self._listener.enter(self, address)
        if not self._entered:
            self.end(self.full)
            if self._listener.crowded:
                self.abort()
            return
        self.accepted()
        Deferred.fromCoroutine(self._serve())

    def dataReceived(self, data: bytes) -> None:
        self.input.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.output.stopProducing()
        self.read_no_more()
        self.session.leave()
        self._listener.leave(self, self.session.origin.address, self._entered)

    def handshakeCompleted(self) -> None:
        connection = self.transport.getHandle()
        version = connection.get_protocol_version_name()
        self.session.origin = evolve(self.session.origin, tls=f"{version} {connection.get_cipher_name()}")
        metrics.HANDSHAKES.labels(self._listener.name, version).inc()

    # What commands use (mailx.core.reading_session.Peer)

    @property
    def secure(self) -> bool:
        return self._encrypted or ISSLTransport.providedBy(self.transport)

    @property
    def can_start_tls(self) -> bool:
        return self._context is not None and ITLSTransport.providedBy(self.transport) and not self.secure

    def write(self, data: bytes) -> None:
        self.output.write(data)

    def flush(self) -> None:
        self.output.flush()

    async def ready(self) -> None:
        await self.output.ready()

    def start_tls(self) -> None:
        self.input.clear()
        self.output.encrypted()
        self.transport.startTLS(self._context)
        self._encrypted = True

    def bindings(self) -> Mapping[str, bytes]:
        return sasl.channel_bindings(self.transport) if self.secure else {}

    def patience(self, seconds: float, idle: bool = False) -> None:
        if self._over:
            return
        self._deadline = deadline = self._seconds() + seconds
        self._idle = idle
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
            raise Farewell(self.stopping)

    # Deadlines and the end

    def _late(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self._seconds()
        if left > 0:
            self._timer = self._reactor.callLater(left, self._late)
        else:
            self.end(self.too_late(self._idle))

    def stop(self) -> None:
        """The server shuts down: end now, or after the command that runs."""
        self._stopping = True
        if self._interruptible and not self.session.inside_response:
            self.end(self.stopping)

    def revoke(self) -> None:
        """The account may no longer be here: end now, whatever runs; inside a response there is no room for a word."""
        self.end(self.revoked)
        if self.session.inside_response:
            self.abort()

    def abort(self) -> None:
        """Give the connection up without another word."""
        self.output.flush()
        self.output.discard()
        self.transport.abortConnection()

    def end(self, line: bytes) -> None:
        """Say ``line``, close the connection, and leave the session. May be called again, or too late.

        Inside a response nothing is said: it would be part of a message.
        """
        if self._over:
            return
        self._over = True
        if not self.session.inside_response:
            self.write(line)
        self.no_deadline()
        self.output.close()
        self.session.leave()
        self.read_no_more()
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
                await self.serve_command()
            self.end(b"")
        except Hangup:
            pass
        except Farewell as farewell:
            self.end(farewell.line)
        except Exception:
            self.failed()
            self.end(b"")
            self.abort()

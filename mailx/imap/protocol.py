"""One IMAP connection: its greeting, how a command is awaited and answered, compression, and its last words.

``IMAPServer`` is Twisted's ``IMAP4Server`` by type; tokenizer, command queue and rendering are this package's, and what is
below commands is :mod:`mailx.core.reading_connection`'s. Commands that a client pipelines run in the order they came.
"""

from typing import Any

from twisted.mail.imap4 import IMAP4Server

from mailx.core.inflating import Inflating
from mailx.core.reading import ReadingListener
from mailx.core.reading_connection import ReadingConnection
from mailx.imap import arrival, dispatch, idle
from mailx.imap.answers import Bad, Ended, tagged
from mailx.imap.arrival import Farewell, Refusal
from mailx.imap.session import BEFORE, Services, Session, log
from mailx.mail.envelope import Origin

BAD_BEFORE_LOGIN = 20  # commands that make no sense before the connection is given up
_IDLE_TIMEOUT = Farewell(b"Idle timeout").line
_COMMAND_TIMEOUT = Farewell(b"Command timeout").line


class IMAPServer(ReadingConnection, IMAP4Server):
    """The protocol of one connection."""

    protocol = "IMAP"
    full = Farewell(b"Maximum connections reached", b"LIMIT").line
    stopping = Farewell(b"Server shutting down", b"UNAVAILABLE").line
    revoked = Farewell(b"Account or password changed; log in again").line
    session: Session

    def __init__(self, services: Services, tls_context: Any, listener: "ReadingListener[IMAPServer]") -> None:
        """``tls_context``: for STARTTLS, or None."""
        IMAP4Server.__init__(self, contextFactory=tls_context)
        super().__init__(services, tls_context, listener)
        self._services: Services = services
        self._arriving = False
        self._bad = 0
        self._inflating: Inflating | None = None

    def begin(self, origin: Origin) -> Session:
        return Session(self._services, self, origin)

    def accepted(self) -> None:
        log.info(
            "IMAP connection accepted",
            event="imap.connection",
            connection_id=self.session.origin.connection,
            client_ip=self.session.origin.address,
            port=self.session.origin.port,
            tls_active=self.secure,
            protocol=self._listener.name.upper(),
        )
        capability = b"CAPABILITY " + b" ".join(self.session.capabilities())
        self.write(tagged(b"*", b"OK", b"%b ready" % self._services.server.hostname.encode("idna"), capability))

    def dataReceived(self, data: bytes) -> None:
        if self._inflating is None:
            self.input.feed(data)
        else:
            self._inflating.feed(data)

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        if self._services.tracing:
            version, _, cipher = self.session.origin.tls.partition(" ")
            log.debug(
                "TLS handshake completed",
                event="imap.tls",
                connection_id=self.session.origin.connection,
                client_ip=self.session.origin.address,
                tls_version=version,
                cipher_suite=cipher,
            )

    # What commands use (mailx.imap.session.Peer)

    async def room(self) -> None:
        await self.output.room()

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
        self.end(Farewell(b"Invalid compressed data").line)

    def read_no_more(self) -> None:
        super().read_no_more()
        if self._inflating is not None:
            self._inflating.close()

    # Deadlines

    @property
    def _rest(self) -> int:
        """How many seconds the client may say nothing."""
        settings = self._services.settings
        return settings.command_timeout if self.session.state == BEFORE else settings.idle_timeout

    def waits(self) -> None:
        self.output.flush()
        if self._arriving:
            self._arriving = False
            self.patience(self._services.settings.command_timeout)

    def too_late(self, idle: bool) -> bytes:
        if idle:
            log.warn("IMAP idle timeout", event="imap.idle_timeout", idle_duration=f"{self._rest // 60}m", **self.session.who)
            return _IDLE_TIMEOUT
        log.warn("IMAP command timeout", event="imap.command_timeout", **self.session.who)
        return _COMMAND_TIMEOUT

    def failed(self) -> None:
        log.failure("IMAP session failed", connection_id=self.session.origin.connection)

    # Commands

    async def serve_command(self) -> None:
        """Wait for one command and answer it."""
        if not self.input.pending:
            self.patience(self._rest, idle=True)
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

    # What twisted.mail.imap4 offers and this class answers differently

    def listCapabilities(self) -> list[bytes]:
        return self.session.capabilities()

    def timeoutConnection(self) -> None:
        self.end(_IDLE_TIMEOUT)

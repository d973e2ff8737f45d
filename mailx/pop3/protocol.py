"""One POP3 connection: its greeting, how a command is awaited and answered, and its last words.

Commands that a client pipelines (RFC 2449 6.6) run in the order they came. A session that ends by anything but QUIT changes
nothing (RFC 1939 3, 6). What is below commands is :mod:`mailx.core.reading_connection`'s.
"""

from typing import Any

from mailx.core.input import BareLine, LongLine
from mailx.core.reading import ReadingListener
from mailx.core.reading_connection import Farewell, ReadingConnection
from mailx.core.reading_login import RESPONSE_LIMIT
from mailx.mail.envelope import Origin
from mailx.pop3 import commands, login
from mailx.pop3.answers import Refusal, Wrong, ok
from mailx.pop3.session import AUTHORIZATION, Services, Session, log

WRONG = 20  # commands that make no sense before the connection is given up
LINE_LIMIT = 512  # octets of a command; RFC 2449 4 asks for 255
LOGIN_LINE_LIMIT = RESPONSE_LIMIT + 64  # AUTH may bring its first response along


class POP3Server(ReadingConnection):
    """The protocol of one connection."""

    protocol = "POP3"
    full = Refusal(b"Too many connections, try again later", b"SYS/TEMP").line()
    stopping = Refusal(b"Server shutting down", b"SYS/TEMP").line()
    revoked = Refusal(b"Account or password changed; log in again", b"AUTH").line()
    session: Session

    def __init__(self, services: Services, tls_context: Any, listener: "ReadingListener[POP3Server]") -> None:
        """``tls_context``: for STLS, or None."""
        super().__init__(services, tls_context, listener)
        self._services: Services = services
        self._wrong = 0

    def begin(self, origin: Origin) -> Session:
        return Session(self._services, self, origin)

    def accepted(self) -> None:
        log.info(
            "POP3 connection accepted",
            event="pop3.connection",
            connection_id=self.session.origin.connection,
            client_ip=self.session.origin.address,
            port=self.session.origin.port,
            tls_active=self.secure,
            protocol=self._listener.name.upper(),
        )
        self.write(ok(b"%b ready" % self._services.server.hostname.encode("idna")))

    @property
    def _rest(self) -> int:
        """How many seconds the client may say nothing: the autologout timer, and less before a login."""
        rest = self._services.settings.idle_timeout
        return min(rest, login.LOGIN_SECONDS) if self.session.state == AUTHORIZATION else rest

    def too_late(self, idle: bool) -> bytes:
        origin = self.session.origin
        log.warn("POP3 idle timeout", event="pop3.idle_timeout", connection_id=origin.connection, client_ip=origin.address)
        return b""  # without a word (RFC 1939 3)

    def failed(self) -> None:
        log.failure("POP3 session failed", event="pop3.session_failed", connection_id=self.session.origin.connection)

    async def serve_command(self) -> None:
        """Wait for one command and answer it."""
        self.interruptible(True)
        self.patience(self._rest)
        refusal: Refusal | None
        try:
            line = await self.input.line(LOGIN_LINE_LIMIT if self.session.state == AUTHORIZATION else LINE_LIMIT)
        except (LongLine, BareLine) as wrong:
            self._interruptible = False
            refusal = Wrong(b"Line too long" if isinstance(wrong, LongLine) else b"Lines end in CRLF")
            self.write(refusal.line())
        else:
            self._interruptible = False
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

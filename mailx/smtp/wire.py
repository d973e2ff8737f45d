"""The byte layer of a session: octets in, command lines and bodies out, replies gathered and written together.

``Wire`` stands in for the line receiver of :class:`twisted.mail.smtp.ESMTP`. It owns the input buffer, the order of
pipelined commands (RFC 2920), back-pressure in both directions, and every deadline. It knows no SMTP command:
:mod:`mailx.smtp.session` does. Commands run strictly one after the other; while one waits for an answer, what
arrives behind it waits in the buffer, and the socket is not read beyond ``PIPELINE_LIMIT`` octets.
"""

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from socket import socket as Socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.smtp import replies

log = Logger()

COMMAND_LIMIT = 2048  # octets of a command line: 512 (RFC 5321 4.5.3.1.4) and room for every extension's parameters
AUTH_LIMIT = 12288  # octets of an AUTH command or response: RFC 4954 4
PIPELINE_LIMIT = 65536  # octets that wait behind a running command before the socket is no longer read
UNREAD_LIMIT = 65536  # octets of replies after which the wire watches whether the client reads them
SLICE = 64  # pipelined commands in one step of the reactor; other sessions come in between
LINGER = 10.0  # seconds a closed session may take to read its last reply
ERRORS_LIMIT = 10  # bad commands in a row that end a session
MINIMUM_RATE = 1000.0  # octets a second that a body must keep up on average, once the idle time is used up

_DONE = Failure(ConnectionDone())

Answer = bytes | Coroutine[Any, Any, bytes] | None
"""What a command returns: its reply, a coroutine that will return it, or None if a later event replies."""


@implementer(IPushProducer)
class Wire(ESMTP):
    """One connection's octets. ``seconds`` tells the time; ``soon`` calls a function in the reactor's next step."""

    transport: Any
    noisy = False
    connection = ""  # the id of the connection in every log line of its session

    def __init__(self, seconds: Callable[[], float], soon: Callable[[Callable[[], None]], object], idle: float, patience: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seconds = seconds
        self._soon = soon
        self._idle = idle
        self._patience = patience
        self._buffer = b""
        self._offset = 0
        self._sink: Callable[[bytes], None] | None = None  # takes a body; None: lines are commands
        self._busy = False  # a command waits for its answer
        self._stalled = False  # the client does not read its replies
        self._paused = False
        self._producing = False
        self._overlong = False  # discarding a command line to its end
        self._closed = False
        self._out: list[bytes] = []
        self._written = 0
        self._socket: Socket | None = None
        self._errors = 0
        self._heard = self._since = seconds()  # last octet; begin of the current wait or line
        self._line_open = False
        self._body_began = 0.0
        self._body_octets = 0
        self.last_words = b""  # the reply with which the session ends as soon as no transaction is open
        self.long_lines = False  # a SASL response is awaited
        self.handshaking = False  # TLS was begun and is not yet there

    # What the session fills in.

    @abstractmethod
    def command(self, line: bytes) -> Answer:
        """Execute one command line, given without its CRLF."""

    def closing(self) -> None:
        """The session ends: give back what a transaction holds. Called once."""

    def answered(self, reply: bytes) -> None:
        """A command got ``reply``: for those who count."""

    def settled(self) -> bool:
        """Whether no transaction is open: a session that drains may end."""
        return True

    # Octets in.

    def connectionMade(self) -> None:
        if isinstance(self.transport, Connection):
            self._socket = self.transport.getHandle()

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        self._heard = self._seconds()
        if self._buffer:
            data = self._buffer[self._offset :] + data
        self._buffer = data
        self._offset = 0
        if not (self._busy or self._stalled):
            self._run()
        elif len(data) > PIPELINE_LIMIT and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _run(self) -> None:
        """Execute what the buffer holds, as far as it goes, and write the replies."""
        slice_left = SLICE
        while not (self._busy or self._stalled or self._closed):
            if self._sink is not None:
                data = self.rest()
                if not data:
                    break
                self._body_octets += len(data)
                try:
                    self._sink(data)
                except Exception:  # the body's end may be lost: nothing that follows may be taken for commands
                    log.failure("SMTP body failed", event="smtp.failed", connection_id=self.connection)
                    self.close(replies.FAILED)
            elif not self._next_line():
                break
            else:
                slice_left -= 1
                if not slice_left and self._offset < len(self._buffer):
                    self.wait()
                    self._soon(self._resume)
        if self._out:
            self._flush()
        if self._paused and not (self._busy or self._stalled or self._closed):
            self._paused = False
            self.transport.resumeProducing()

    def _next_line(self) -> bool:
        """Take one line from the buffer and answer it; False if no whole line is there."""
        offset = self._offset
        end = self._buffer.find(b"\n", offset)
        if end < 0:
            if offset == len(self._buffer):
                self._buffer = b""
                self._offset = 0
            else:
                self._partial()
            return False
        line = self._buffer[offset:end]
        self._offset = end + 1
        self._line_open = False
        if self._overlong or (len(line) >= COMMAND_LIMIT and len(line) >= self._limit(line)):
            self._overlong = False
            self.answer(self.bad_line(replies.COMMAND_TOO_LONG))
        elif line[-1:] != b"\r" or line.find(b"\r") != len(line) - 1:
            self.answer(self.bad_line(replies.BARE_LINE))
        elif b"\0" in line:
            self.answer(self.bad_line(replies.BAD_OCTETS))
        else:
            self.answer(self._command(line[:-1]))
        return True

    def _command(self, line: bytes) -> Answer:
        try:
            return self.command(line)
        except Exception:
            return self._failed(Failure())

    def bad_line(self, reply: bytes) -> bytes:
        """A line that is refused before it is looked at; the session may drop what it waited for."""
        return reply

    def _partial(self) -> None:
        """Keep the beginning of a line, within bounds, and note when it began."""
        rest = self._buffer[self._offset :]
        self._offset = 0
        if not self._line_open:
            self._line_open = True
            self._since = self._heard
        if self._overlong or (len(rest) >= COMMAND_LIMIT and len(rest) >= self._limit(rest)):
            self._overlong = True
            rest = b""
        self._buffer = rest

    def _limit(self, line: bytes) -> int:
        return AUTH_LIMIT if self.long_lines or line[:5].upper() == b"AUTH " else COMMAND_LIMIT

    def rest(self) -> bytes:
        """All octets not yet used; they leave the buffer."""
        data = self._buffer[self._offset :] if self._offset else self._buffer
        self._buffer = b""
        self._offset = 0
        return data

    def body(self, sink: Callable[[bytes], None]) -> None:
        """From here on octets go to ``sink``, until it calls :meth:`lines`."""
        self._sink = sink
        self._body_began = self._seconds()
        self._body_octets = 0

    def endless(self, limit: int) -> bool:
        """Whether the body is so far beyond ``limit`` octets that it is not even worth discarding."""
        return self._body_octets > 2 * limit

    def lines(self, rest: bytes) -> None:
        """The body has ended; ``rest`` is what followed it."""
        self._sink = None
        self._body_octets -= len(rest)
        self._buffer = rest

    def start_tls(self, reply: bytes, options: object) -> None:
        """Say ``reply`` in the clear, then begin the handshake."""
        self.say(reply)
        self._socket = None
        self.handshaking = True
        self._since = self._seconds()
        self.transport.startTLS(options)

    # Waiting.

    @property
    def waiting(self) -> bool:
        """Whether a command or a body is under way."""
        return self._busy or self._sink is not None

    def wait(self) -> None:
        """Nothing further is executed until :meth:`_resume`."""
        self._busy = True
        self._since = self._seconds()

    def hold(self, blocked: "Deferred[Any] | None") -> None:
        """Take no further octets of a body until ``blocked`` fires. The failure is the body's to report."""
        if blocked is not None and not blocked.called and not (self._busy or self._closed):
            self.wait()
            if not self._paused:
                self._paused = True
                self.transport.pauseProducing()
            blocked.addBoth(lambda _: self._resume())

    def _resume(self) -> None:
        self._busy = False
        self._heard = self._since = self._seconds()
        if not self._closed:
            self._run()

    # Answers.

    def answer(self, answer: Answer) -> None:
        """Queue a reply, now or when its coroutine returns. A coroutine that never waits costs no Deferred."""
        if answer is None:
            return
        if isinstance(answer, bytes):
            self._reply(answer)
            return
        try:
            answer.send(None)
        except StopIteration as stop:
            self._reply(stop.value)
        except Exception:
            self._reply(self._failed(Failure()))
        else:
            self.wait()
            Deferred.fromCoroutine(answer).addErrback(self._failed).addCallback(self._reply).addBoth(self._answered)

    def _answered(self, result: object) -> None:
        if isinstance(result, Failure):
            log.failure("SMTP reply failed", result, event="smtp.failed", connection_id=self.connection)
        self._resume()

    def _failed(self, failure: Failure) -> bytes:
        log.failure("SMTP command failed", failure, event="smtp.failed", connection_id=self.connection)
        return replies.render(replies.LOCAL_ERROR)

    def _reply(self, reply: bytes) -> None:
        if self._closed:
            return
        self._out.append(reply)
        self.answered(reply)
        if reply[:3] in replies.BAD:
            self._errors += 1
            if self._errors >= ERRORS_LIMIT:
                self.close(replies.TOO_MANY_ERRORS)
                return
        else:
            self._errors = 0
        if self.last_words and self.settled():
            self.close(self.last_words)

    def say(self, text: bytes) -> None:
        """Write what is no reply to a command."""
        self._out.append(text)
        self._flush()

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        self._written += len(data)
        if self._written > UNREAD_LIMIT and not self._producing and not self._closed:
            self._producing = True
            self.transport.registerProducer(self, True)
        if self._socket is not None:
            data = self._send(self._socket, data)
        if data:
            self.transport.write(data)

    def _send(self, socket: Socket, data: bytes) -> bytes:
        """Send at once what the socket takes; what is left goes through the transport, and so does all that follows.

        The transport would wait for the reactor's next round and change its interest in the socket twice: a third of
        what a small message costs. Only for plain connections whose transport holds nothing back.
        """
        try:
            sent = socket.send(data)
        except OSError:  # full, or broken: the transport finds out
            sent = 0
        if sent < len(data):
            self._socket = None
        return data[sent:]

    def close(self, reply: bytes = b"") -> None:
        """End the session after ``reply``; further input is ignored."""
        if self._closed:
            return
        self._closed = True
        self._since = self._seconds()
        if reply:
            self._out.append(reply)
        if self._out:
            self._flush()
        self._drop()
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()
        if self._paused:  # TLS must read the peer's close_notify
            self._paused = False
            self.transport.resumeProducing()
        if self._socket is not None:  # all is sent: the transport would wait for room to send once more
            self.transport.connectionLost(_DONE)
        else:
            self.transport.loseConnection()

    def _drop(self) -> None:
        self._sink = None
        self._buffer = b""
        self._offset = 0
        self.closing()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if not self._closed:
            self._closed = True
            self._drop()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    # The client reads its replies, or does not: IPushProducer.

    def pauseProducing(self) -> None:
        self._stalled = True

    def resumeProducing(self) -> None:
        self._stalled = False
        if not (self._busy or self._closed):
            self._run()

    def stopProducing(self) -> None:
        self._stalled = True

    # Deadlines: the listener looks at every session once a second.

    def check(self, now: float) -> None:
        """End the session if it is overdue at ``now``."""
        if self._closed:
            if now - self._since > LINGER:
                self.transport.abortConnection()
            return
        if self._overdue(now):
            log.info("SMTP session timed out", event="smtp.timeout", connection_id=self.connection)
            self.close(replies.TIMEOUT)

    def _overdue(self, now: float) -> bool:
        if self._busy:
            return now - self._since > (self._idle if self.accepting() else self._patience)
        if self.handshaking:
            return now - self._since > self._patience
        if now - self._heard > self._idle:
            return True
        if self._sink is not None:
            return now - self._body_began > self._idle + self._body_octets / MINIMUM_RATE
        return self._line_open and not self._stalled and now - self._since > self._patience

    def accepting(self) -> bool:
        """Whether the command that is waited for takes responsibility for a message: it gets more time."""
        return False

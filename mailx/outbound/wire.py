"""The byte layer of the client: commands out, answers in, content streamed, every wait bounded.

``Wire`` stands in for the line receiver of :class:`twisted.mail.smtp.ESMTPClient`. It owns one connection's octets, matches
answers to what was asked strictly one to one, and knows no command. Whoever asks waits on a Deferred; all failures arrive there
as ``Broken``, whose reply is ours, safe to show, and always temporary. Deadlines are looked at once a second by the pool.
"""

from collections.abc import Callable, Iterator
from math import inf
from socket import socket as Socket
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.mail.reply import Reply
from mailx.outbound.answers import Answer, AnswerReader, Babble

BLOCK_TIME = 180.0  # seconds until a block of content must have gone (RFC 5321 4.5.3.2.5)
END_TIME = 600.0  # seconds until the end of the content must be answered (RFC 5321 4.5.3.2.6)
LINGER = 10.0  # seconds that a polite end may take
MINIMUM_RATE = 4096.0  # octets a second that a server must take on average, once BLOCK_TIME is used up
GROUP_FACTOR = 3.0  # a group of answers may take so many times what one may: a server cannot drip them one by one

LOST = Reply(451, "4.4.2", "Connection lost")
SLOW = Reply(451, "4.4.2", "No answer in time")
STUCK = Reply(451, "4.4.2", "The server does not take the message")
BABBLE = Reply(451, "4.5.0", "The server does not speak SMTP")
EARLY = Reply(451, "4.5.0", "The server answered before it was asked")
CLOSING = 421
_FAULTS = frozenset((LOST, SLOW, STUCK, BABBLE, EARLY))


def broken_off(reply: Reply) -> bool:
    """Whether ``reply`` to a message says that the session ended before it was taken: another server may take it at once."""
    return reply.code == CLOSING or reply in _FAULTS


class Broken(Exception):
    """The connection is of no more use. ``answers`` came before that, to what was asked last."""

    def __init__(self, reply: Reply, answers: list[Answer], asked: bool = True) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.answers = answers
        self.asked = asked  # False: nothing was written


@implementer(IPushProducer, IHandshakeListener)
class Wire(Protocol):
    """One connection. ``seconds`` tells the time, ``gone`` is called once when the connection is no longer."""

    transport: Any

    def __init__(self, seconds: Callable[[], float], gone: Callable[["Wire"], None]) -> None:
        self._seconds = seconds
        self._gone = gone
        self._reader = AnswerReader()
        self._early: list[Answer] = []  # answers to nothing that was asked
        self._waiting: Deferred[list[Answer]] | None = None
        self._answers: list[Answer] = []
        self._wanted = 0
        self._patience = 0.0  # for the next answer
        self._due = inf
        self._most = inf  # for all answers
        self._socket: Socket | None = None
        self._content: Iterator[bytes] | None = None
        self._paused = False
        self._handshaking = False
        self.fault: Reply | None = None  # why the connection is of no more use
        self.closing = False  # the server said 421, or we said QUIT: nothing further can be asked

    # What the session uses.

    @property
    def usable(self) -> bool:
        """Whether something can be asked."""
        return self.fault is None and not self.closing and not self._early and not self._reader.pending

    def ask(self, data: bytes, count: int, patience: float) -> "Deferred[list[Answer]]":
        """Write ``data`` and wait for ``count`` answers to it, up to ``patience`` seconds for each; fails with Broken.

        A 421 ends the session: it stands for all answers that would have followed (RFC 5321 4.2.4.2).
        """
        waiting = self._expect(count, patience)
        if waiting is None:
            return self._refused()
        if data:
            self.write(data)
        return waiting

    def pour(self, content: Iterator[bytes], size: int) -> "Deferred[list[Answer]]":
        """Write what ``content`` yields as fast as the server takes it, and wait for the one answer to it; fails with Broken.

        ``size`` is about what it yields in all. An answer that comes before the end can only be a refusal, and ends the session.
        """
        waiting = self._expect(1, BLOCK_TIME)
        if waiting is None:
            return self._refused()
        self._most = self._seconds() + END_TIME + BLOCK_TIME + size / MINIMUM_RATE
        self._content = content
        self._socket = None
        self._paused = False
        self.transport.registerProducer(self, True)
        self._pump()
        return waiting

    def start_tls(self, creator: IOpenSSLClientConnectionCreator, patience: float) -> "Deferred[list[Answer]]":
        """Begin TLS; fires when the handshake is done, fails with Broken. What came in the clear before it is refused (RFC 3207 6)."""
        waiting = self._expect(1, patience)
        if waiting is None:
            return self._refused()
        self._socket = None
        self._handshaking = True
        self.transport.startTLS(creator)
        return waiting

    def rest(self) -> None:
        """The server has said "yes" to all that was written, so it has read it: the next octets may go straight to the socket."""
        if self._socket is None and isinstance(self.transport, Connection):
            handle = self.transport.getHandle()
            self._socket = handle if isinstance(handle, Socket) else None  # of TLS it is no socket

    def quit(self) -> None:
        """Say goodbye and close; waits for the answer a little while."""
        if not self.usable or self._waiting is not None:
            self.abort()
            return
        self.closing = True
        self._due = self._seconds() + LINGER
        self.write(b"QUIT\r\n")

    def abort(self) -> None:
        """Close at once."""
        self._break(LOST)

    def check(self, now: float) -> None:
        """Give up what is overdue at ``now``."""
        if now > self._due or now > self._most:
            if self.fault is not None:  # it was told to close, and does not
                self.transport.abortConnection()
            self._break(STUCK if self._content is not None else SLOW)

    # Octets out.

    def write(self, data: bytes) -> None:
        """Send at once what the socket takes; the transport would wait for the reactor's next round."""
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError:  # full, or broken: the transport finds out
                sent = 0
            if sent == len(data):
                return
            self._socket = None
            data = data[sent:]
        self.transport.write(data)

    def _pump(self) -> None:
        content = self._content
        while content is not None and not self._paused and self.fault is None:
            piece = next(content, None)
            if piece is None:
                self._content = content = None
                self._due = self._seconds() + END_TIME
                self.transport.unregisterProducer()
            else:
                self._due = self._seconds() + BLOCK_TIME
                self.transport.write(piece)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        self._paused = True

    # Octets in.

    def connectionMade(self) -> None:
        if isinstance(self.transport, Connection):
            self.transport.setTcpNoDelay(True)  # a last part of a segment would wait for the acknowledgement of what went before
        self.rest()

    def dataReceived(self, data: bytes) -> None:
        if self.fault is not None:
            return
        try:
            answers = self._reader.feed(data)
        except Babble:
            self._break(BABBLE)
            return
        if self._reader.babbled and len(self._answers) + len(answers) < self._wanted:
            self._answers = []  # nobody knows which were true
            self._break(BABBLE)
        elif answers:
            self._take(answers)
            if self._reader.babbled:
                self._break(BABBLE)
        elif self._waiting is None and not self.closing:
            self._close(EARLY)

    def _take(self, answers: list[Answer]) -> None:
        if self.closing and self._waiting is None:  # the answer to QUIT
            self._close(LOST)
            return
        if self._waiting is None or self._handshaking:
            self._early += answers
            self._close(EARLY)
            return
        got = self._answers
        missing = self._wanted - len(got)
        got += answers[:missing]
        self._early += answers[missing:]
        if any(each.code == CLOSING for each in answers[:missing]):
            place = next(place for place, each in enumerate(got) if each.code == CLOSING)
            got[place:] = [got[place]] * (self._wanted - place)
            self.closing = True
        if self._content is not None:
            self._interrupted(got)
        elif len(got) == self._wanted:
            self._fire()
        else:
            self._due = self._seconds() + self._patience

    def _interrupted(self, got: list[Answer]) -> None:
        """An answer while content still flows: a refusal counts, a "yes" to half a message does not."""
        if got[0].code >= 400:
            self.closing = True
            self._fire()
        self._break(EARLY)

    def handshakeCompleted(self) -> None:
        self._handshaking = False
        self._fire()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._break(LOST)
        self._gone(self)

    # Waiting.

    def _expect(self, count: int, patience: float) -> "Deferred[list[Answer]] | None":
        if not self.usable or self._waiting is not None:
            return None
        now = self._seconds()
        self._answers = []
        self._wanted = count
        self._patience = patience
        self._due = now + patience
        self._most = now + patience * GROUP_FACTOR
        self._waiting = waiting = Deferred[list[Answer]](self._cancelled)
        return waiting

    def _cancelled(self, waiting: "Deferred[list[Answer]]") -> None:
        """Whoever asked does not want to know any more: nobody can go on from here."""
        self._waiting = None
        self._break(LOST)

    def _refused(self) -> "Deferred[list[Answer]]":
        """Why nothing can be asked; a 421 that came meanwhile is the answer."""
        if self._early and self._early[0].code == CLOSING:
            fault = self._early[0].reply()
        else:
            fault = self.fault or (EARLY if self._early or self._reader.pending else LOST)
        self._close(fault)
        return fail(Broken(fault, [], asked=False))

    def _fire(self) -> None:
        waiting, self._waiting = self._waiting, None
        self._due = self._most = inf
        if waiting is not None:
            waiting.callback(self._answers)

    def _break(self, fault: Reply) -> None:
        """The connection ends now, and so does every wait."""
        if self.fault is None:
            self.fault = fault
            self._stop_pouring()
            self.transport.abortConnection()
        waiting, self._waiting = self._waiting, None
        self._due = self._most = inf
        if waiting is not None:
            waiting.errback(Broken(self.fault, self._answers))

    def _close(self, fault: Reply) -> None:
        """Nobody waits, and nothing further can be asked: close."""
        if self.fault is None:
            self.fault = fault
            self.transport.loseConnection()
            self._due = self._seconds() + LINGER

    def _stop_pouring(self) -> None:
        if self._content is not None:
            self._content = None
            self.transport.unregisterProducer()

"""The receiver's side of HTTP: connections within limits, each request read whole and answered once.

Twisted parses and pipelines; here is what it leaves open: how long a request may take to arrive, how much memory bodies
may hold, how many connections there may be, and how they end. A body beyond the limit is answered while it still comes. Nothing a
caller sends reaches a log or an answer from here.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPFactory, Request, datetimeToString

from mailx.core.backpressure import PressedChannel
from mailx.core.connections import Gate
from mailx.mail.networks import plain
from mailx.web.webhook.answers import JSON, Answer
from mailx.web.webhook.receiver import Receiver
from mailx.web.webhook.request import Asked

log = Logger()

CONNECTIONS = 1000
PER_ADDRESS = 200  # connections of one client that is no proxy
ARRIVAL_SECONDS = 30.0  # for a request, from its first octet to its last
IDLE_SECONDS = 75.0  # between requests
LINGER_SECONDS = 2.0  # for a caller to read an answer that came before its body had ended
HELD = 128 << 20  # octets of bodies in memory, of all connections together
SMALL = 65536  # octets of a body that is taken even then
SWEEP = 1.0

_AUTHORITY = re.compile(rb"\Ahttps?://[^/?#]*", re.IGNORECASE)  # before the path of a target in absolute form (RFC 9112 3.2.2)
_REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
_MALFORMED = Answer(400, {"ok": False, "error": "bad request"})
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Call(Request):
    """One request."""

    channel: "Channel"

    def begin(self, method: bytes, target: bytes, version: bytes) -> None:
        """The header is whole."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._answered = False
        self._early: Answer | None = None
        if not target.startswith(b"/"):
            target = _AUTHORITY.sub(b"", target)
        path = target.partition(b"?")[0].decode("latin-1")
        self.asked = Asked(method.decode("latin-1"), path, self._values)
        if len(self._values("Host") or ()) == 1 or version == b"HTTP/1.0":
            self._early = self.channel.factory.receiver.door(self.asked, self.channel.peer)
        else:
            self._early = _MALFORMED

    def _values(self, name: str) -> Sequence[bytes] | None:
        return self.requestHeaders.getRawHeaders(name.encode())

    def parseCookies(self) -> None:
        """There are none."""

    def gotLength(self, length: int | None) -> None:
        factory = self.channel.factory
        if self._early is None and length is not None:
            self._weigh(length, factory)
        if self._early is not None and (length is None or length > SMALL or self.requestHeaders.hasHeader("Expect")):
            self._answer_at_once()

    def handleContentChunk(self, data: bytes) -> None:
        if self._early is not None:
            return
        self._size += len(data)
        self.channel.factory.held += len(data)
        self._weigh(self._size, self.channel.factory)
        if self._early is None:
            self._pieces.append(data)
        else:
            self._let_go()
            self._answer_at_once()

    def _weigh(self, length: int, factory: "Listener") -> None:
        """Refuse a body of ``length`` octets or more if that is too much."""
        if length > factory.receiver.body_size:
            self._early = factory.receiver.too_large(self.asked)
        elif length > SMALL and factory.held + length - self._size > HELD:
            self._early = factory.receiver.overloaded(self.asked)

    def _let_go(self) -> None:
        """The body is needed no longer."""
        self.channel.factory.held -= self._size
        self._size = 0
        self._pieces.clear()

    def _answer_at_once(self) -> None:
        """The rest of the body is read and thrown away, for a moment, so that the caller gets to the answer."""
        assert self._early is not None
        self.requestHeaders.removeHeader("Expect")
        self.channel.persistent = 0
        self._answered = True
        self.channel.transport.write(_rendered(self._early, self.asked.method == "HEAD", True))
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is whole."""
        if self._answered:
            self._finish()
        elif self._early is not None:
            self._send(self._early)
        else:
            self.asked.body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            Deferred.fromCoroutine(self.channel.factory.receiver.answer(self.asked)).addCallback(self._send).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        log.failure("A call was not answered", failure, event="webhook.failed")
        connection: Any = self.transport
        connection.abortConnection()

    def _send(self, answer: Answer) -> None:
        self._let_go()
        if not self._disconnected:
            self.channel.transport.write(_rendered(answer, self.asked.method == "HEAD", not self.channel.persistent))
            self._finish()

    def _finish(self) -> None:
        self.startedWriting = self.finished = 1
        self.content = None
        self._cleanup()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        """Nobody waits for the answer any more. What was begun goes on."""
        if getattr(self, "_pieces", None) is not None and not self.asked.body:
            self._let_go()
        self._disconnected = True
        self.notifications = []


class Channel(PressedChannel):
    """One connection."""

    requestFactory = Call
    totalHeadersSize = 16384
    maxHeaders = 100
    timeOut = None  # the listener looks after all deadlines together
    factory: "Listener"
    transport: Any
    counted: str | None = None  # the address that the gate has let in

    def connectionMade(self) -> None:
        self.peer: str = plain(getattr(self.transport.getPeer(), "host", ""))
        self.since = self.factory.seconds()
        self.arriving = False  # part of a request is here
        self._lingering = False
        self.entered = self.factory.enter(self)
        super().connectionMade()  # type: ignore[no-untyped-call]
        if not self.entered:
            self.transport.write(_FULL)
            self.loseConnection()  # type: ignore[no-untyped-call]
            self.linger()

    def dataReceived(self, data: bytes) -> None:
        if not self.entered:
            return
        if not self.arriving and not self._handlingRequest:
            self.arriving = True
            self.since = self.factory.seconds()
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def allHeadersReceived(self) -> None:
        self.requests[-1].begin(self._command, self._path, self._version)
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        self.arriving = False
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Request) -> None:
        self.arriving = False
        self.since = self.factory.seconds()
        if self.factory.draining:
            self.persistent = 0
        super().requestDone(request)  # type: ignore[no-untyped-call]

    @property
    def busy(self) -> bool:
        """Whether a request is here, whole or in part."""
        return self.arriving or self._handlingRequest

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What came is not HTTP, and nothing after it can be."""
        self.entered = False
        self.clearLineBuffer()  # type: ignore[no-untyped-call]
        if not self._lingering:  # else the request has its answer already
            self.write(_rendered(_MALFORMED, False, True))  # type: ignore[no-untyped-call]
        self.loseConnection()  # type: ignore[no-untyped-call]
        self.linger()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A header beyond all measure."""
        self._respondToBadRequestAndDisconnect()

    def linger(self) -> None:
        """Close soon."""
        self._lingering = True
        self.since = self.factory.seconds()

    def look(self, now: float) -> None:
        """End the connection if it has had its time."""
        age = now - self.since
        if self._lingering:
            if age > LINGER_SECONDS:
                self.transport.abortConnection()
        elif self._handlingRequest:
            return
        elif self.arriving:
            if age > ARRIVAL_SECONDS:
                self.transport.write(_LATE)
                self.transport.loseConnection()
                self.linger()
        elif age > IDLE_SECONDS:
            self.transport.loseConnection()
            self.linger()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.factory.leave(self)


class Listener(HTTPFactory):
    """The port: its connections, and what they share."""

    noisy = False

    def __init__(self, receiver: Receiver, reactor: Any) -> None:
        super().__init__(timeout=0, reactor=reactor)
        self.receiver = receiver
        self.sessions: set[Channel] = set()
        self.held = 0
        self.draining = False
        self.seconds = reactor.seconds
        self._gate = Gate(CONNECTIONS, PER_ADDRESS)
        self._sweeping: Any = None
        self._empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # type: ignore[override]
        channel = Channel()  # type: ignore[no-untyped-call]
        channel.factory = self
        return channel

    def startFactory(self) -> None:
        """There is no access log."""

    def stopFactory(self) -> None:
        """There is no access log."""

    def log(self, request: Request) -> None:
        """There is no access log."""

    def enter(self, channel: Channel) -> bool:
        """Take the connection in, if there is room."""
        self.sessions.add(channel)
        if self._sweeping is None:
            self._sweeping = self.reactor.callLater(SWEEP, self._sweep)
        counted = "" if self.receiver.is_proxy(channel.peer) else channel.peer
        if self.draining or not self._gate.enter(counted):
            return False
        channel.counted = counted
        return True

    def leave(self, channel: Channel) -> None:
        """The connection is gone."""
        if channel not in self.sessions:
            return
        self.sessions.discard(channel)
        if channel.counted is not None:
            self._gate.leave(channel.counted)
        if not self.sessions:
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweeping = None
            if self._empty is not None:
                self._empty.callback(None)
                self._empty = None

    def _sweep(self) -> None:
        self._sweeping = self.reactor.callLater(SWEEP, self._sweep)
        now = self.seconds()
        for channel in list(self.sessions):
            channel.look(now)

    # How it ends.

    def revoke(self, account: int) -> None:
        """No connection belongs to an account."""

    def drain(self) -> "Deferred[None]":
        """Let requests that are here be answered; fires when no connection is left."""
        self.draining = True
        drained: Deferred[None] = Deferred()
        if self.sessions:
            self._empty = drained
            for channel in list(self.sessions):
                if not channel.busy:
                    channel.transport.loseConnection()
        else:
            drained.callback(None)
        return drained

    def cut(self) -> None:
        """End what is left."""
        for channel in list(self.sessions):
            channel.transport.loseConnection()

    def abort(self) -> None:
        """Give up what is left after that."""
        for channel in list(self.sessions):
            channel.transport.abortConnection()


@lru_cache(maxsize=4)
def _date(now: int) -> bytes:
    date: bytes = datetimeToString(now)
    return date


def _rendered(answer: Answer, head: bool, close: bool) -> bytes:
    """The whole answer as octets."""
    body = answer.body()
    lines = [
        b"HTTP/1.1 %d %b" % (answer.status, _REASONS[answer.status]),
        b"Date: " + _date(int(time())),
        b"Content-Type: " + JSON.encode(),
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
        b"X-Content-Type-Options: nosniff",
    ]
    if answer.allow:
        lines.append(b"Allow: " + answer.allow.encode())
    if answer.retry_after:
        lines.append(b"Retry-After: %d" % answer.retry_after)
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join((*lines, b"", b"" if head else body))

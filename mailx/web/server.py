"""The HTTP server under every page: bodies and times within limits, and requests as values.

Twisted would put a body of any size into a file, parse forms on the event loop, and wait for a client as long as it sends
an octet now and then. Here a body stays in memory and ends at the limit (413), a request must have arrived whole within
PATIENCE seconds, idle connections end, and no client holds more than its share of connections. A client that does not take
its answer is cut off.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from mailx.core.backpressure import PressedChannel
from mailx.core.connections import Gate
from mailx.core.streaming import STALLED, Stream
from mailx.mail.networks import within
from mailx.web.protection import headers, host_name
from mailx.web.requests import Answer, Asked
from mailx.web.sources import caller

__all__ = ["IDLE", "PATIENCE", "STALLED", "Stream", "WebSite"]

PATIENCE = 30.0  # seconds from the first octet of a request to its last
IDLE = 60  # seconds that a connection may say nothing
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
_PARAMETERS = 100  # of a query string
_COOKIES = 50


class Channel(PressedChannel):
    """One connection."""

    site: "WebSite"
    transport: Any
    _deadline: Any = None
    _entered: str | None = None

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        address = getattr(self.getPeer(), "host", "")  # type: ignore[no-untyped-call]
        counted = "" if within(address, self.site.proxies) else address
        if not self.site.gate.enter(counted):
            self.transport.abortConnection()
            return
        self._entered = counted

    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None and not self._handlingRequest:
            self._deadline = self.callLater(PATIENCE, self._too_slow)  # type: ignore[no-untyped-call]
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        self._on_time()
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        self._on_time()
        if self._entered is not None:
            self.site.gate.leave(self._entered)
            self._entered = None
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def timeoutConnection(self) -> None:
        """Nothing was said for a while: not worth a line in the log."""
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)  # type: ignore[no-untyped-call]
        self.loseConnection()  # type: ignore[no-untyped-call]

    def forceAbortClient(self) -> None:
        self._abortingCall = None
        self.transport.abortConnection()

    def _on_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout")

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of the head is too long, most likely the first."""
        self._refuse(b"431 Request Header Fields Too Large")

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(b"400 Bad Request")

    def _refuse(self, status: bytes) -> None:
        """The answer to what has not become a request."""
        lines = [b"HTTP/1.1 " + status, b"connection: close", b"content-length: 0"]
        lines += [f"{name}: {value}".encode() for name, value in headers(False).items()]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        self.loseConnection()  # type: ignore[no-untyped-call]


class WebRequest(Request):
    """A request with its body in memory."""

    site: "WebSite"
    channel: Any
    too_large = False

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > self.channel.site.body_limit:
            self.too_large = True

    def handleContentChunk(self, data: bytes) -> None:
        assert self.content is not None
        if self.too_large:
            return  # what is still on its way is thrown away, so that the answer is read
        if self.content.tell() + len(data) > self.channel.site.body_limit:
            self.too_large = True
            self.content.seek(0)
            self.content.truncate()
        else:
            self.content.write(data)

    def process(self) -> None:
        """Answer what is no request to any of our resources; the others go their way."""
        asked = self.asked()
        if asked is None or self.method not in _METHODS or self.uri == b"*":
            refusal: Answer | None = Answer(400 if asked is None else 501, b"", {})
        elif self.too_large:
            refusal = self.channel.site.too_large(asked)
        else:
            refusal = None
        if refusal is None:
            super().process()  # type: ignore[no-untyped-call]
            return
        self.channel.persistent = False
        self.setHeader(b"connection", b"close")  # type: ignore[no-untyped-call]
        self.answer(refusal)
        self.finish()  # type: ignore[no-untyped-call]

    def asked(self) -> Asked | None:
        """The request as a value; None when its path, headers or query are no text."""
        try:
            return self._asked()
        except ValueError:
            return None

    def _asked(self) -> Asked:
        fields: dict[str, str] = {}
        for name, values in self.requestHeaders.getAllRawHeaders():
            fields[name.decode("ascii").lower()] = b", ".join(values).decode("utf-8", "strict")
        if len(self.requestHeaders.getRawHeaders(b"host", [])) != 1:
            raise ValueError("no host, or several")  # RFC 9112 3.2
        if fields.get("transfer-encoding", "chunked").lower() != "chunked":
            raise ValueError("a proxy may see the end of the body elsewhere")  # RFC 9112 11.2
        site: WebSite = self.channel.site
        peer = getattr(self.getClientAddress(), "host", "")  # type: ignore[no-untyped-call]
        trusted = within(peer, site.proxies)
        if len(self.args) > _PARAMETERS or len(self.received_cookies) > _COOKIES:
            raise ValueError("too many parameters")
        path = b"/".join([b"", *self.path_segments()]).decode("utf-8")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
            raise ValueError("control characters in the path")
        assert self.content is not None
        return Asked(
            self.method.decode("ascii"),
            path,
            {name.decode(): values[-1].decode() for name, values in self.args.items()},
            fields,
            {name.decode("ascii"): value.decode("ascii") for name, value in self.received_cookies.items() if value.isascii()},
            self.content.getvalue() if isinstance(self.content, BytesIO) else self.content.read(),
            caller(peer, fields.get("x-forwarded-for", ""), site.proxies),
            fields.get("x-forwarded-proto", "").lower() == "https" if trusted else bool(self.isSecure()),  # type: ignore[no-untyped-call]
            host_name(fields["host"]),
            trusted,
        )

    def path_segments(self) -> list[bytes]:
        """The decoded segments of the path."""
        return [unquote_to_bytes(part) for part in self.path.split(b"/")[1:]]

    def answer(self, answer: Answer, secure: bool = False) -> None:
        """Set status, headers and cookies, and write a body that is there whole; the caller finishes."""
        self.setResponseCode(answer.status)
        self.responseHeaders.removeHeader(b"server")  # nobody needs to know what answers
        for name, value in {**headers(secure), **answer.headers}.items():
            self.setHeader(name.encode("ascii"), value.encode("utf-8"))  # type: ignore[no-untyped-call]
        for cookie in answer.cookies:
            self.responseHeaders.addRawHeader(b"set-cookie", cookie.encode("ascii"))
        if isinstance(answer.body, bytes):
            self.setHeader(b"content-length", str(len(answer.body)).encode())  # type: ignore[no-untyped-call]
            if self.method != b"HEAD":
                self.write(answer.body)  # type: ignore[no-untyped-call]


class WebSite(Site):
    """The factory of connections. ``too_large`` makes the answer to a request whose body is over ``body_limit``."""

    noisy = False
    displayTracebacks = False
    protocol = Channel  # type: ignore[assignment]

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        *,
        body_limit: int,
        too_large: Callable[[Asked], Answer],
        proxies: tuple[str, ...] = (),
        gate: Gate | None = None,
    ) -> None:
        # The built-in parser of multipart forms would hold the event loop.
        super().__init__(resource, requestFactory=WebRequest, parsePOSTFormSubmission=False, timeout=IDLE, reactor=reactor)  # type: ignore[no-untyped-call]
        self.body_limit = body_limit
        self.too_large = too_large
        self.proxies = proxies
        self.gate = gate or Gate(512, 64)

    def buildProtocol(self, addr: Any) -> Any:
        channel: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        channel.timeOut = self.timeOut
        return channel

    def log(self, request: Any) -> None:
        """Who asks is not logged; what a request changes is in the audit log."""

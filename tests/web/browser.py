"""A browser in memory: requests go through the real site, over a transport that is a list of octets."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import Factory, define, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure


@frozen
class Page:
    """An answer as a browser has it."""

    status: int
    headers: Mapping[str, str]
    cookies: tuple[str, ...]  # Set-Cookie, whole
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    def json(self) -> Any:
        return json.loads(self.body)


class Transport(StringTransport):
    """Collects what is written; ``closed`` fires when the server ends the connection."""

    def __init__(self, address: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", address, 40000))
        self.closed: Deferred[None] = Deferred()

    def loseConnection(self) -> None:
        super().loseConnection()
        self._close()

    def abortConnection(self) -> None:
        super().abortConnection()
        self._close()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)

    def _close(self) -> None:
        if not self.closed.called:
            self.closed.callback(None)


@define
class Browser:
    """Keeps cookies, as a browser does; ``headers`` go with every request."""

    site: Any
    host: str = "localhost"
    address: str = "127.0.0.1"
    cookies: dict[str, str] = Factory(dict)
    headers: dict[str, str] = Factory(dict)

    async def get(self, path: str, **headers: str) -> Page:
        return await self.ask("GET", path, b"", headers)

    async def send(self, path: str, fields: Mapping[str, Any], **headers: str) -> Page:
        """POST a form as it is: without a CSRF token of its own."""
        body = urlencode(fields, doseq=True).encode()
        return await self.ask("POST", path, body, {"content-type": "application/x-www-form-urlencoded", **headers})

    async def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Page:
        """One request on a connection of its own. Underscores in names of headers stand for hyphens."""
        page = await self.raw(self._octets(method, path, body, headers))
        for cookie in page.cookies:
            name, _, rest = cookie.partition("=")
            value = rest.partition(";")[0]
            if "Max-Age=0" in rest:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return page

    async def octets(self, method: str, path: str) -> bytes:
        """What comes back, as it is."""
        return await self._exchange(self._octets(method, path, b"", {}))

    def _octets(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        given = {"host": self.host, **self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body or method == "POST":
            given["content-length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "connection: close", "", ""]
        return "\r\n".join(lines).encode() + body

    async def raw(self, octets: bytes) -> Page:
        """The answer to these octets, whatever they are."""
        return parse(await self._exchange(octets))

    async def _exchange(self, octets: bytes) -> bytes:
        channel = self.site.buildProtocol(IPv4Address("TCP", self.address, 40000))
        transport = Transport(self.address)
        channel.makeConnection(transport)
        channel.dataReceived(octets)
        await transport.closed
        channel.connectionLost(Failure(ConnectionDone()))
        return transport.value()


def parse(octets: bytes) -> Page:
    """One answer."""
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers: dict[str, str] = {}
    cookies = []
    for line in lines:
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            cookies.append(value)
        else:
            headers[name.lower()] = value
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Page(int(first.split(" ")[1]), headers, tuple(cookies), body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole

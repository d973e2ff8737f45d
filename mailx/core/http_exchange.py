"""One HTTP exchange with a server whose address was chosen and checked before: what is shared by whoever fetches or posts.

A redirect is an answer like any other. What is received is bounded, and ``end`` cuts the connection whatever goes on.
Failures are those of the connection and of :mod:`twisted.web.client`; ``TooLarge`` when the body exceeds its limit.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import treq
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, NoRouteError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import Agent, FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from mailx import __version__
from mailx.core.resolver import Resolver, system_addresses

Connect = Callable[[IProtocolFactory], Awaitable[IProtocol]]

ADDRESSES = 4  # of one host that are tried
CONNECT_TIMEOUT = 5.0  # seconds for each


async def first_connection(addresses: Sequence[str], port: int, factory: IProtocolFactory, tls: Any, reactor: Any) -> IProtocol:
    """A connection to the first of ``addresses`` that answers, by TLS unless ``tls`` is None. Raises ConnectError, OSError."""
    failure: Exception = NoRouteError("no usable address")
    for address in addresses[:ADDRESSES]:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        endpoint: Any = kind(reactor, address, port, timeout=CONNECT_TIMEOUT)
        try:
            made: IProtocol = await (endpoint if tls is None else wrapClientTLS(tls, endpoint)).connect(factory)
        except (ConnectError, OSError) as error:
            failure = error
        else:
            return made
    raise failure


async def addresses_of(host: str, literal: bool, resolver: Resolver, reactor: Any) -> Sequence[str]:
    """What ``host`` stands for, none of it checked: an address (``literal``), or a name; raises DNSFailure."""
    if literal:
        return [host]
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
        return ["127.0.0.1", "::1"]
    found: list[str] = await deferToThreadPool(reactor, reactor.getThreadPool(), system_addresses, host)
    return found or await resolver.addresses(host)


class TooLarge(Exception):
    """The body exceeds the limit."""


@frozen
class Answer:
    """The beginning of an answer; the body is had by ``Exchange.body``."""

    status: int
    kind: str  # media type, lower case, without parameters
    response: Any


class Exchange:
    """``connect`` makes the connection; of the answer's body at most ``limit`` octets are taken."""

    def __init__(self, reactor: Any, connect: Connect, limit: int) -> None:
        self._reactor = reactor
        self._limit = limit
        self.answer: Answer | None = None  # once its header is here
        self._way = _Way(connect, 2 * limit)  # with header fields and the marks of chunks

    async def ask(self, method: str, url: str, fields: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        """Send a request; the answer when its header is here."""
        agent: Any = Agent.usingEndpointFactory(self._reactor, self._way)
        headers = Headers({b"User-Agent": [f"MailX/{__version__}".encode()]})
        for name, value in (fields or {}).items():
            headers.setRawHeaders(name.encode("ascii"), [value.encode("ascii")])
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        response = await agent.request(method.encode(), url.encode("ascii"), headers, producer)
        kind: bytes = (response.headers.getRawHeaders(b"Content-Type") or [b""])[0]
        self.answer = Answer(response.code, kind.partition(b";")[0].strip().lower().decode("latin-1"), response)
        return self.answer

    async def body(self, answer: Answer) -> bytes:
        """The whole body; raises TooLarge."""
        received = bytearray()

        def take(data: bytes) -> None:
            if len(received) + len(data) > self._limit:
                self.end()
                raise TooLarge
            received.extend(data)

        await treq.collect(answer.response, take)
        return bytes(received)

    def end(self) -> None:
        """Close what is open."""
        self._way.end()


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Way:
    """The connection of one exchange, whatever the agent asks for."""

    def __init__(self, connect: Connect, limit: int) -> None:
        self._connect = connect
        self._limit = limit
        self._connections: list[_Bounded] = []

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self._connected(protocolFactory))

    async def _connected(self, inner: IProtocolFactory) -> IProtocol:
        wrapper: Any = await self._connect(_Bounding(inner, self._connections, self._limit))
        made: IProtocol = wrapper.wrappedProtocol
        return made

    def end(self) -> None:
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abortConnection()


class _Bounded(ProtocolWrapper):
    """Passes on so many octets, then ends the connection."""

    transport: Any
    left = 0

    def dataReceived(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self.transport.abortConnection()
        else:
            ProtocolWrapper.dataReceived(self, data)


class _Bounding(WrappingFactory):
    """Makes bounded connections and adds them to ``made``."""

    noisy = False

    def __init__(self, inner: IProtocolFactory, made: list[_Bounded], limit: int) -> None:
        super().__init__(inner)  # type: ignore[no-untyped-call]
        self._made = made
        self._limit = limit

    def buildProtocol(self, addr: object) -> _Bounded:
        bounded = _Bounded(self, self.wrappedFactory.buildProtocol(addr))  # type: ignore[arg-type]
        bounded.left = self._limit
        self._made.append(bounded)
        return bounded

"""One HTTP exchange with a server whose address was chosen and checked before: what is shared by whoever fetches or posts.

A redirect is an answer like any other. What is received is bounded, and ``end`` cuts the connection whatever goes on.
Failure is :class:`Failed`, with one of a few reasons, and :class:`TooLarge` when the body exceeds its limit.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from io import BytesIO
from typing import Any

import treq
from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, NoRouteError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import Agent, FileBodyProducer, RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from mailx import __version__
from mailx.core.resolver import DNSFailure, Resolver, system_addresses

Connect = Callable[[IProtocolFactory], Awaitable[IProtocol]]

ADDRESSES = 4  # of one host that are tried
CONNECT_TIMEOUT = 5.0  # seconds for each


class Trouble(Enum):
    """Why there is no answer, or no whole one."""

    NAME = "its name cannot be looked up now"
    NO_ADDRESS = "its name has no address"
    FORBIDDEN = "its address is not of the public Internet"
    NO_CERTIFICATE = "no certificate can have its name"
    TLS = "the certificate or TLS is not in order"
    CONNECTION = "no connection"
    BROKEN = "the connection broke without an answer"


class Failed(Exception):
    """There is no answer, or no whole one; the text is in words of our own."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


class TooLarge(Exception):
    """The body exceeds the limit."""


def verified(host: str, trust: Any) -> Any:
    """TLS that verifies ``host`` by the authorities of ``trust``; raises Failed."""
    try:
        return optionsForClientTLS(host, trust)
    except ValueError:  # IDNA knows no such name
        raise Failed(Trouble.NO_CERTIFICATE) from None


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
        """Send a request; the answer when its header is here. Raises Failed, and what ``connect`` raises besides."""
        agent: Any = Agent.usingEndpointFactory(self._reactor, self._way)
        headers = Headers({b"User-Agent": [f"MailX/{__version__}".encode()]})
        for name, value in (fields or {}).items():
            headers.setRawHeaders(name.encode("ascii"), [value.encode("ascii")])
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        with _told():
            response = await agent.request(method.encode(), url.encode("ascii"), headers, producer)
        kind: bytes = (response.headers.getRawHeaders(b"Content-Type") or [b""])[0]
        self.answer = Answer(response.code, kind.partition(b";")[0].strip().lower().decode("latin-1"), response)
        return self.answer

    async def body(self, answer: Answer) -> bytes:
        """The whole body; raises TooLarge, Failed."""
        received = bytearray()

        def take(data: bytes) -> None:
            if len(received) + len(data) > self._limit:
                self.end()
                raise TooLarge
            received.extend(data)

        with _told():
            await treq.collect(answer.response, take)
        return bytes(received)

    def end(self) -> None:
        """Close what is open."""
        self._way.end()


@contextmanager
def _told() -> Iterator[None]:
    """What the connection and the client raise becomes Failed; a cancellation stays what it is."""
    try:
        yield
    except (ResponseFailed, RequestGenerationFailed, RequestTransmissionFailed) as error:
        causes = [failure.value for failure in error.reasons]
        if any(isinstance(cause, CancelledError) for cause in causes):
            raise CancelledError from None
        tls = any(isinstance(cause, SSL.Error | VerificationError) for cause in causes)
        raise Failed(Trouble.TLS if tls else Trouble.BROKEN) from None
    except DNSFailure:
        raise Failed(Trouble.NAME) from None
    except (ConnectError, ConnectionClosed, NoRouteError, OSError):
        raise Failed(Trouble.CONNECTION) from None


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

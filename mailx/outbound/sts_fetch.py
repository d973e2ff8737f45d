"""MTA-STS policies fetched over HTTPS (RFC 8461 3.3): certificate verified, no redirects, bounded in size and time.

Names are looked up by this server's own resolver. Failure is :class:`NotFetched`.
"""

from typing import Any

import treq
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, NoRouteError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from mailx import __version__
from mailx.core.resolver import DNSFailure, Resolver
from mailx.outbound.mx import reachable
from mailx.outbound.sts import FETCH_ERROR, INVALID, WEBPKI_INVALID, NotFetched

PORT = 443
TIMEOUT = 20.0  # seconds for all of it; RFC 8461 3.3 suggests a minute
OCTETS_LIMIT = 65536  # of a policy
_RECEIVED_LIMIT = 2 * OCTETS_LIMIT  # with header fields and the marks of chunks
_ADDRESSES = 4  # tried
_CONNECT_TIMEOUT = 5.0  # seconds for each


class Fetcher:
    """Fetches policies. ``trust`` are the authorities believed; another ``port`` and ``loopback`` addresses are for tests."""

    def __init__(self, resolver: Resolver, reactor: Any, *, loopback: bool = False, port: int = PORT, trust: Any = None) -> None:
        self._resolver = resolver
        self._reactor = reactor
        self._loopback = loopback
        self._port = port
        self._trust = trust if trust is not None else platformTrust()

    async def fetch(self, domain: str) -> str:
        """The text at the well-known place of ``domain`` (A-labels); raises NotFetched."""
        host = f"mta-sts.{domain}"
        way = _Way(host, self._port, self)
        running = Deferred.fromCoroutine(self._get(host, way))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            raise NotFetched(FETCH_ERROR, "timeout") from None
        finally:
            way.end()

    async def _get(self, host: str, way: "_Way") -> str:
        agent = Agent.usingEndpointFactory(self._reactor, way)
        url = f"https://{host}/.well-known/mta-sts.txt".encode()
        try:
            response: Any = await agent.request(b"GET", url, Headers({b"User-Agent": [f"MailX/{__version__}".encode()]}))
            if response.code != 200:
                raise NotFetched(FETCH_ERROR, f"status {response.code}")
            kind = (response.headers.getRawHeaders(b"Content-Type") or [b""])[0].partition(b";")[0].strip().lower()
            if kind != b"text/plain":
                raise NotFetched(INVALID, "not text/plain")
            received = bytearray()

            def take(data: bytes) -> None:
                if len(received) + len(data) > OCTETS_LIMIT:
                    way.end()
                    raise NotFetched(INVALID, "too large")
                received.extend(data)

            await treq.collect(response, take)
            return received.decode("utf-8")
        except UnicodeDecodeError:
            raise NotFetched(INVALID, "not UTF-8") from None
        except ResponseFailed as error:
            causes = [failure.value for failure in error.reasons]
            if any(isinstance(cause, SSL.Error | VerificationError) for cause in causes):
                raise NotFetched(WEBPKI_INVALID, "the certificate or TLS") from None
            raise NotFetched(FETCH_ERROR, "no response") from None
        except (ConnectError, ConnectionClosed, DNSFailure, NoRouteError, OSError) as error:
            raise NotFetched(FETCH_ERROR, type(error).__name__) from None

    async def connect(self, host: str, port: int, factory: IProtocolFactory) -> IProtocol:
        """A connection to ``host`` by the first of its addresses that answers; raises ConnectError, DNSFailure, NotFetched."""
        failure: Exception = NoRouteError("no usable address")
        try:
            options = optionsForClientTLS(host, self._trust)
        except ValueError:  # IDNA knows no such name
            raise NotFetched(WEBPKI_INVALID, "no certificate can have this name") from None
        addresses = [each for each in await self._resolver.addresses(host) if reachable(each, self._loopback)]
        for address in addresses[:_ADDRESSES]:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = wrapClientTLS(options, kind(self._reactor, address, port, timeout=_CONNECT_TIMEOUT))
            try:
                made: IProtocol = await endpoint.connect(factory)
            except (ConnectError, OSError) as error:
                failure = error
            else:
                return made
        raise failure


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Way:
    """The one connection of a fetch, which is ended when the server has sent too much."""

    def __init__(self, host: str, port: int, fetcher: Fetcher) -> None:
        self._host = host
        self._port = port
        self._fetcher = fetcher
        self._connections: list[_Bounded] = []

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self._connected(protocolFactory))

    async def _connected(self, inner: IProtocolFactory) -> IProtocol:
        factory = _Bounding(inner, self._connections)
        wrapper: Any = await self._fetcher.connect(self._host, self._port, factory)
        made: IProtocol = wrapper.wrappedProtocol
        return made

    def end(self) -> None:
        """Close what is open."""
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abortConnection()


class _Bounded(ProtocolWrapper):
    """Passes on so many octets, then ends the connection."""

    transport: Any
    _left = _RECEIVED_LIMIT

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.abortConnection()
        else:
            ProtocolWrapper.dataReceived(self, data)


class _Bounding(WrappingFactory):
    """Makes bounded connections and adds them to ``made``."""

    noisy = False

    def __init__(self, inner: IProtocolFactory, made: list[_Bounded]) -> None:
        super().__init__(inner)  # type: ignore[no-untyped-call]
        self._made = made

    def buildProtocol(self, addr: object) -> _Bounded:
        bounded = _Bounded(self, self.wrappedFactory.buildProtocol(addr))  # type: ignore[arg-type]
        self._made.append(bounded)
        return bounded

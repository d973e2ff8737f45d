"""MTA-STS policies fetched over HTTPS (RFC 8461 3.3): certificate verified, no redirects, bounded in size and time.

Names are looked up by this server's own resolver. Failure is :class:`NotFetched`.
"""

from functools import partial
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, NoRouteError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.web.client import ResponseFailed

from mailx.core.http_exchange import Exchange, TooLarge, first_connection
from mailx.core.resolver import DNSFailure, Resolver
from mailx.outbound.mx import reachable
from mailx.outbound.sts import FETCH_ERROR, INVALID, WEBPKI_INVALID, NotFetched

PORT = 443
TIMEOUT = 20.0  # seconds for all of it; RFC 8461 3.3 suggests a minute
OCTETS_LIMIT = 65536  # of a policy


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
        exchange = Exchange(self._reactor, partial(self.connect, host, self._port), OCTETS_LIMIT)
        running = Deferred.fromCoroutine(self._get(host, exchange))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            raise NotFetched(FETCH_ERROR, "timeout") from None
        finally:
            exchange.end()

    async def _get(self, host: str, exchange: Exchange) -> str:
        try:
            answer = await exchange.ask("GET", f"https://{host}/.well-known/mta-sts.txt")
            if answer.status != 200:
                raise NotFetched(FETCH_ERROR, f"status {answer.status}")
            if answer.kind != "text/plain":
                raise NotFetched(INVALID, "not text/plain")
            return (await exchange.body(answer)).decode("utf-8")
        except TooLarge:
            raise NotFetched(INVALID, "too large") from None
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
        try:
            options = optionsForClientTLS(host, self._trust)
        except ValueError:  # IDNA knows no such name
            raise NotFetched(WEBPKI_INVALID, "no certificate can have this name") from None
        addresses = [each for each in await self._resolver.addresses(host) if reachable(each, self._loopback)]
        return await first_connection(addresses, port, factory, options, self._reactor)

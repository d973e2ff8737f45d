"""MTA-STS policies fetched over HTTPS (RFC 8461 3.3): certificate verified, no redirects, bounded in size and time.

Names are looked up by this server's own resolver. Failure is :class:`NotFetched`.
"""

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.ssl import platformTrust

from mailx.core.http_exchange import Exchange, Failed, TooLarge, Trouble, first_connection, verified
from mailx.core.resolver import Resolver
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
        exchange = Exchange(self._reactor, partial(self._connect, host), OCTETS_LIMIT)
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
        except Failed as error:
            tls = error.trouble in (Trouble.TLS, Trouble.NO_CERTIFICATE)
            raise NotFetched(WEBPKI_INVALID if tls else FETCH_ERROR, str(error)) from None

    async def _connect(self, host: str, factory: IProtocolFactory) -> IProtocol:
        """A connection to ``host`` by the first of its addresses that answers."""
        tls = verified(host, self._trust)
        addresses = [each for each in await self._resolver.addresses(host) if reachable(each, self._loopback)]
        return await first_connection(addresses, self._port, factory, tls, self._reactor)

"""Shared block lists fetched by URL: bounded in size and time, no redirects, and from nowhere but the public Internet.

A name is looked up by this server's own resolver, each address is checked, and the connection goes to the checked one. Networks
that are not of the public Internet must be in ``contacts.list_networks``. Failure is :class:`NotFetched` in words for administrators.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, NoRouteError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from mailx.core.http_exchange import Exchange, TooLarge, first_connection
from mailx.core.posting import Target, permitted, target
from mailx.core.resolver import DNSFailure, Resolver
from mailx.core.shared_lists import OCTETS_LIMIT

TIMEOUT = 30.0  # seconds for all of it


class NotFetched(Exception):
    """The list was not had; the text says why."""


class ListFetcher:
    """Fetches lists. ``trust`` are the authorities believed, those of the system unless tests give others."""

    def __init__(self, resolver: Resolver, networks: tuple[str, ...], reactor: Any, *, trust: Any = None) -> None:
        self._resolver = resolver
        self._networks = networks
        self._reactor = reactor
        self._trust = trust if trust is not None else platformTrust()

    async def fetch(self, url: str) -> bytes:
        """What lies at ``url``. Raises NotFetched."""
        try:
            to = target(url)
        except ValueError as error:
            raise NotFetched(f"the URL is wrong: {error}") from None
        exchange = Exchange(self._reactor, partial(self._connect, to), OCTETS_LIMIT)
        running = Deferred.fromCoroutine(self._got(exchange, to))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            raise NotFetched(f"it did not come within {TIMEOUT:.0f} seconds") from None
        finally:
            exchange.end()

    async def _got(self, exchange: Exchange, to: Target) -> bytes:
        try:
            answer = await exchange.ask("GET", to.url, {"Accept": "text/plain, */*;q=0.1"})
            if 300 <= answer.status < 400:
                raise NotFetched("its server answers with a redirect; give the URL that it leads to")
            if answer.status != 200:
                raise NotFetched(f"its server answers {answer.status if 100 <= answer.status <= 599 else 'no HTTP'}")
            return await exchange.body(answer)
        except TooLarge:
            raise NotFetched(f"it is longer than {OCTETS_LIMIT} octets") from None
        except (ResponseNeverReceived, ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed) as error:
            causes = [failure.value for failure in error.reasons]
            if any(isinstance(cause, CancelledError) for cause in causes):
                raise CancelledError from None
            if any(isinstance(cause, SSL.Error | VerificationError) for cause in causes):
                raise NotFetched("the certificate or TLS of its server is not in order") from None
            raise NotFetched("the connection broke") from None
        except DNSFailure:
            raise NotFetched("its name cannot be looked up now") from None
        except (ConnectError, ConnectionClosed, NoRouteError, OSError):
            raise NotFetched("there is no connection to its server") from None

    async def _connect(self, to: Target, factory: IProtocolFactory) -> IProtocol:
        """A connection to the first checked address of ``to`` that answers."""
        tls = None
        if to.scheme == "https":
            try:
                tls = optionsForClientTLS(to.host, self._trust)
            except ValueError:
                raise NotFetched("no certificate can have its name") from None
        found = await self._addresses(to)
        addresses = [each for each in found if permitted(each, self._networks)]
        if not addresses:
            raise NotFetched(
                "its address is not of the public Internet; `contacts.list_networks` can allow it" if found else "its name has no address"
            )
        return await first_connection(addresses, to.port, factory, tls, self._reactor)

    async def _addresses(self, to: Target) -> Sequence[str]:
        """What the name stands for; raises DNSFailure."""
        if to.literal:
            return [to.host]
        if to.host == "localhost" or to.host.endswith(".localhost"):  # RFC 6761 6.3
            return ["127.0.0.1", "::1"]
        return await self._resolver.addresses(to.host)

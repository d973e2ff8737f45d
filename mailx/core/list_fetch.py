"""Shared block lists fetched by URL: bounded in size and time, no redirects, and from nowhere but the public Internet.

:mod:`mailx.core.urls` says where a URL may lead; networks that are not of the public Internet must be in
``contacts.list_networks``. Failure is :class:`NotFetched` in words for administrators.
"""

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.ssl import platformTrust

from mailx.core.http_exchange import Exchange, Failed, TooLarge, Trouble
from mailx.core.resolver import Resolver
from mailx.core.shared_lists import OCTETS_LIMIT
from mailx.core.urls import connection, target

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
        connect = partial(connection, to, self._networks, self._trust, self._resolver, self._reactor)
        exchange = Exchange(self._reactor, connect, OCTETS_LIMIT)
        running = Deferred.fromCoroutine(_got(exchange, to.url))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            raise NotFetched(f"it did not come within {TIMEOUT:.0f} seconds") from None
        finally:
            exchange.end()


async def _got(exchange: Exchange, url: str) -> bytes:
    try:
        answer = await exchange.ask("GET", url, {"Accept": "text/plain, */*;q=0.1"})
        if 300 <= answer.status < 400:
            raise NotFetched("its server answers with a redirect; give the URL that it leads to")
        if answer.status != 200:
            raise NotFetched(f"its server answers {answer.status if 100 <= answer.status <= 599 else 'no HTTP'}")
        return await exchange.body(answer)
    except TooLarge:
        raise NotFetched(f"it is longer than {OCTETS_LIMIT} octets") from None
    except Failed as error:
        remedy = "; `contacts.list_networks` can allow it" if error.trouble is Trouble.FORBIDDEN else ""
        raise NotFetched(f"{error}{remedy}") from None

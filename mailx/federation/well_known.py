"""The documents of other domains, fetched over HTTPS: certificates verified, addresses checked, size, time and redirects bounded.

:mod:`mailx.core.urls` says where each URL on the way may lead; networks that are not of the public Internet must be in
``federation.networks``. Failure is :class:`NotFetched` in words of our own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urljoin

from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.ssl import platformTrust
from zope.interface import implementer

from mailx.core.discovery import ABSENT, FAILED, OK, NotFetched
from mailx.core.http_exchange import Answer, Exchange, Failed, TooLarge, Trouble
from mailx.core.peer import REFUSED, Step
from mailx.core.resolver import Resolver
from mailx.core.settings import Settings
from mailx.core.urls import URL_LIMIT, Target, connection, target
from mailx.identity.documents import DOCUMENT_LIMIT, PATH

TIMEOUT = 15.0  # seconds for all of it
REDIRECTS = 3
_PORT = 443
_REDIRECT = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_OUTCOMES = {  # FAILED: it may be otherwise later
    Trouble.NO_ADDRESS: ABSENT,
    Trouble.FORBIDDEN: REFUSED,
    Trouble.NO_CERTIFICATE: REFUSED,
    Trouble.TLS: REFUSED,
}
_KINDS = (
    "application/json",
    "application/octet-stream",
    "text/plain",
    "",
)  # a web server may not know the type of a file without extension


class WellKnown:
    """Fetches documents. The port and the authorities are those of the settings unless ``trust`` is given."""

    def __init__(self, resolver: Resolver, settings: Settings, reactor: Any, *, trust: Any = None) -> None:
        self._resolver = resolver
        self._settings = settings
        self._reactor = reactor
        self._trust = trust if trust is not None else _trust(settings.current.federation.authorities)

    async def fetch(self, domain: str, told: Callable[[Step], None]) -> bytes:
        """The octets at the well-known place of ``domain`` (A-labels); ``told`` of each step. Raises NotFetched."""
        port = self._settings.current.federation.well_known_port
        place = domain if port == _PORT else f"{domain}:{port}"
        running = Deferred.fromCoroutine(self._fetched(f"https://{place}{PATH}", told))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            raise NotFetched(FAILED, f"no whole answer within {TIMEOUT:.0f} seconds") from None

    async def _fetched(self, url: str, told: Callable[[Step], None]) -> bytes:
        """Follow redirects to the document."""
        seen: set[str] = set()
        while True:
            try:
                to = target(url)
            except ValueError as error:
                raise NotFetched(REFUSED, f"it redirects to what cannot be asked for: {error}") from None
            if to.scheme != "https":
                raise NotFetched(REFUSED, "it redirects to a place without TLS")
            if to.url in seen:
                raise NotFetched(REFUSED, "it redirects in a circle")
            if len(seen) > REDIRECTS:
                raise NotFetched(REFUSED, f"it redirects more than {REDIRECTS} times")
            seen.add(to.url)
            answered = await self._asked(to)
            if isinstance(answered, bytes):
                told(Step("https", OK, f"{to.origin}: {len(answered)} octets"))
                return answered
            told(Step("https", OK, f"{to.origin} redirects"))
            url = urljoin(to.url, answered)

    async def _asked(self, to: Target) -> bytes | str:
        """The document, or where it is said to be. Raises NotFetched."""
        networks = self._settings.current.federation.networks
        exchange = Exchange(self._reactor, partial(connection, to, networks, self._trust, self._resolver, self._reactor), DOCUMENT_LIMIT)
        try:
            answer = await exchange.ask("GET", to.url, {"Accept": "application/json"})
            if answer.status in _REDIRECT:
                return _location(answer)
            if answer.status in _GONE:
                raise NotFetched(ABSENT, f"status {answer.status}: there is no document")
            if answer.status != 200:
                raise NotFetched(FAILED if answer.status >= 500 or answer.status == 429 else REFUSED, f"status {answer.status}")
            if answer.kind not in _KINDS:
                raise NotFetched(REFUSED, "the document is not application/json")
            return await exchange.body(answer)
        except TooLarge:
            raise NotFetched(REFUSED, f"the document is larger than {DOCUMENT_LIMIT} octets") from None
        except Failed as error:
            raise NotFetched(_OUTCOMES.get(error.trouble, FAILED), str(error)) from None
        finally:
            exchange.end()


def _location(answer: Answer) -> str:
    """Where a redirect leads; raises NotFetched."""
    values: list[bytes] = answer.response.headers.getRawHeaders(b"Location") or []
    if len(values) != 1 or len(values[0]) > URL_LIMIT or not values[0].isascii():
        raise NotFetched(REFUSED, "it redirects to nowhere")
    return values[0].decode("ascii").strip()


@implementer(IOpenSSLTrustRoot)
class _Authorities:
    """The system's authorities, and those of one PEM file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _addCACertsToContext(self, context: Any) -> None:
        context.set_default_verify_paths()
        context.load_verify_locations(self._path)


def _trust(authorities: str) -> Any:
    return _Authorities(authorities) if authorities else platformTrust()

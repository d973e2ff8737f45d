"""Posting to URLs that others chose: callbacks and alerts, kept away from what only this machine and its neighbours may reach.

A name is looked up by this server's own resolver, every address is checked, and the connection goes to the checked one, so
that an answer which changes in between helps nobody (SSRF, DNS rebinding). Addresses that are not of the public Internet are
refused unless they lie in ``webhook.callback_networks``. TLS is verified against the name of the URL. Redirects are not
followed; time and size are bounded. Failure is :class:`NotPosted` in words that tell nothing of the inside.
"""

import hmac
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, NoRouteError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from mailx.core.http_exchange import Exchange, TooLarge, addresses_of, first_connection
from mailx.core.resolver import DNSFailure, Resolver, ascii_name
from mailx.core.settings import Settings
from mailx.mail.networks import is_address, within
from mailx.mail.times import iso

TIMEOUT = 15.0  # seconds for all of it
OCTETS_LIMIT = 65536  # of an answer
URL_LIMIT = 2000  # characters
_LATE = "no answer in time"
_PORTS = {"http": 80, "https": 443}

_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'(*+,;=%)-]+\Z")  # RFC 3986 2
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\.?\Z")

# Of IPv4 what is not the public Internet (RFC 6890, RFC 5735), with an address that a cloud keeps for its own.
_REFUSED_4 = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
# Of IPv6 only what is given out (RFC 4291 2.4): so no loopback, mapped, NAT64, unique local, link-local or multicast address.
_PUBLIC_6 = ip_network("2000::/3")
_REFUSED_6 = tuple(ip_network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))  # with IPv4 inside, or for texts


class NotPosted(Exception):
    """Nothing was posted, or nobody knows whether it was. ``unreachable``: the server as a whole does not work now."""

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unreachable = unreachable


@frozen
class Target:
    """Where a URL leads. ``host`` is lower case, in A-labels, or an address without brackets."""

    url: str
    scheme: str
    host: str
    port: int
    literal: bool

    @property
    def origin(self) -> str:
        """What URLs of one server share."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@lru_cache(maxsize=1000)
def target(url: str) -> Target:
    """Where ``url`` leads; raises ValueError with what is wrong, in words for whoever wrote it."""
    if len(url) > URL_LIMIT:
        raise ValueError(f"longer than {URL_LIMIT} characters")
    if not _CHARACTERS.match(url):
        raise ValueError("not a URL in ASCII; write international names in their xn-- form")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL that can be read") from None
    if parts.scheme not in _PORTS:
        raise ValueError("not an http or https URL")
    if "@" in parts.netloc:
        raise ValueError("names and passwords do not belong in it")
    if "#" in url:
        raise ValueError("a fragment (#) does not belong in it")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("the port is not between 1 and 65535")
    host = parts.hostname or ""
    literal = parts.netloc.startswith("[") or is_address(host)
    if literal:
        if not is_address(host) or "%" in host:
            raise ValueError("the address in it is none")
        host = str(ip_address(host))
    elif not _NAME.match(host) or host.rstrip(".").rpartition(".")[2].isdigit() or ascii_name(host) is None:
        raise ValueError("the host in it is none")
    port = port or _PORTS[parts.scheme]
    place = f"[{host}]" if ":" in host else host
    netloc = place if port == _PORTS[parts.scheme] else f"{place}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return Target(f"{parts.scheme}://{netloc}{parts.path or '/'}{query}", parts.scheme, host.rstrip("."), port, literal)


def permitted(address: str, networks: tuple[str, ...] = ()) -> bool:
    """Whether one may post to ``address``: it is of the public Internet, or in one of ``networks``."""
    ip = ip_address(address)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        return False  # an IPv4 address has its own records, and its own rules
    if within(address, networks):
        return True
    if ip.version == 4:
        return not any(ip in network for network in _REFUSED_4)
    return ip in _PUBLIC_6 and not any(ip in network for network in _REFUSED_6)


def signed(prefix: str, secret: str, body: bytes, now: float) -> dict[str, str]:
    """The header fields that sign ``body`` as calls of the webhook are signed; none without a secret."""
    if not secret:
        return {}
    timestamp = iso(now)
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()
    return {f"{prefix}-Timestamp": timestamp, f"{prefix}-Signature": signature}


class Posting:
    """Posts. ``trust`` are the authorities believed, those of the system unless tests give others."""

    def __init__(self, resolver: Resolver, settings: Settings, reactor: Any, *, trust: Any = None) -> None:
        self._resolver = resolver
        self._settings = settings
        self._reactor = reactor
        self._trust = trust if trust is not None else platformTrust()

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> int:
        """POST ``body``, JSON, with more header ``fields``; the status of the answer, whatever it is. Raises NotPosted."""
        try:
            to = target(url)
        except ValueError as error:
            raise NotPosted(f"the URL is wrong: {error}") from None
        exchange = Exchange(self._reactor, partial(self._connect, to), OCTETS_LIMIT)
        running = Deferred.fromCoroutine(self._exchanged(exchange, to, body, fields))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            if exchange.answer is not None:
                return exchange.answer.status
            raise NotPosted(_LATE, unreachable=True) from None
        finally:
            exchange.end()

    async def _exchanged(self, exchange: Exchange, to: Target, body: bytes, fields: Mapping[str, str]) -> int:
        try:
            answer = await exchange.ask("POST", to.url, {"Content-Type": "application/json", **fields}, body)
        except (ResponseNeverReceived, ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed) as error:
            causes = [failure.value for failure in error.reasons]
            if any(isinstance(cause, CancelledError) for cause in causes):
                raise NotPosted(_LATE, unreachable=True) from None
            if any(isinstance(cause, SSL.Error | VerificationError) for cause in causes):
                raise NotPosted("the certificate or TLS is not in order", unreachable=True) from None
            raise NotPosted("the connection broke without an answer", unreachable=True) from None
        except DNSFailure:
            raise NotPosted("the name cannot be looked up now", unreachable=True) from None
        except (ConnectError, ConnectionClosed, NoRouteError, OSError):
            raise NotPosted("no connection", unreachable=True) from None
        if not 100 <= answer.status <= 599:  # RFC 9110 15
            raise NotPosted("the answer is no HTTP")
        try:
            await exchange.body(answer)
        except (TooLarge, ResponseFailed, ConnectionClosed):
            pass  # what was decided stands in the status
        return answer.status

    async def _connect(self, to: Target, factory: IProtocolFactory) -> IProtocol:
        """A connection to the first checked address of ``to`` that answers."""
        tls = None
        if to.scheme == "https":
            try:
                tls = optionsForClientTLS(to.host, self._trust)
            except ValueError:
                raise NotPosted("no certificate can have this name") from None
        networks = self._settings.current.webhook.callback_networks
        found = await addresses_of(to.host, to.literal, self._resolver, self._reactor)
        addresses = [each for each in found if permitted(each, networks)]
        if not addresses:
            raise NotPosted("the address is not one that may be posted to" if found else "the name has no address")
        return await first_connection(addresses, to.port, factory, tls, self._reactor)

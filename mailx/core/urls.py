"""Where a URL leads, and whether this server goes there: what keeps URLs that others chose from what only its neighbours may reach.

A name is looked up, every address is checked, and the connection goes to the checked one, so that an answer which changes in
between helps nobody (SSRF, DNS rebinding). Addresses that are not of the public Internet are refused unless a setting names
their network. TLS is verified against the name of the URL. Failure is :class:`mailx.core.http_exchange.Failed`.
"""

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from mailx.core.http_exchange import Failed, Trouble, addresses_of, first_connection, verified
from mailx.core.resolver import Resolver, ascii_name
from mailx.mail.networks import is_address, within

URL_LIMIT = 2000  # characters
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
    """Whether one may go to ``address``: it is of the public Internet, or in one of ``networks``."""
    ip = ip_address(address)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        return False  # an IPv4 address has its own records, and its own rules
    if within(address, networks):
        return True
    if ip.version == 4:
        return not any(ip in network for network in _REFUSED_4)
    return ip in _PUBLIC_6 and not any(ip in network for network in _REFUSED_6)


async def connection(
    to: Target, networks: tuple[str, ...], trust: Any, resolver: Resolver, reactor: Any, factory: IProtocolFactory
) -> IProtocol:
    """A connection to the first permitted address of ``to`` that answers; raises as Exchange.ask. ``trust``: the authorities believed."""
    tls = verified(to.host, trust) if to.scheme == "https" else None
    found = await addresses_of(to.host, to.literal, resolver, reactor)
    good = [each for each in found if permitted(each, networks)]
    if not good:
        raise Failed(Trouble.FORBIDDEN if found else Trouble.NO_ADDRESS)
    return await first_connection(good, to.port, factory, tls, reactor)

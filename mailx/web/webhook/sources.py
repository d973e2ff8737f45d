"""Where calls come from: the caller's address, whether it may call, and how often.

Behind a reverse proxy that the settings name, X-Forwarded-For tells the address: the last one in it that is not such a
proxy's. From anybody else the field says nothing.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mailx.core.limits import MINUTE, Budgets
from mailx.core.throttle import network

_HOPS = 20  # entries of X-Forwarded-For that are looked at, from the end


class Rates:
    """How many calls each address may still make; its limit may change at any time."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._budgets = Budgets([])
        self._limit = 0

    def take(self, address: str, limit: int) -> int:
        """Count one call; 0, or the seconds to wait if ``limit`` a minute (0: none) are used up."""
        if not limit:
            return 0
        if limit != self._limit:
            self._limit, self._budgets = limit, Budgets([(limit, MINUTE)])
        key, now = network(address), self._seconds()
        (bucket,) = self._budgets.get(key, now) or self._budgets.begin(key, now)
        wait = bucket.lacks(1)
        if not wait:
            bucket.take(1)
        return wait


@lru_cache(maxsize=16)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)


@lru_cache(maxsize=4096)
def within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether ``address`` lies in one of ``networks``."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in one for one in _networks(networks))


@lru_cache(maxsize=4096)
def plain(address: str) -> str:
    """``address`` without scope, and as IPv4 where it stands for such; as it is when it is none."""
    parsed = _parsed(address)
    return address if parsed is None else str(parsed)


def caller(peer: str, forwarded: Sequence[bytes], proxies: tuple[str, ...]) -> str:
    """The address that a call comes from. ``forwarded`` are the values of X-Forwarded-For."""
    address = plain(peer)
    if not forwarded or not within(address, proxies):
        return address
    entries = b",".join(forwarded).decode("latin-1").split(",")
    for entry in entries[: -_HOPS - 1 : -1]:
        found = _parsed(_bare(entry.strip()))
        if found is None:
            break
        address = str(found)
        if not within(address, proxies):
            break
    return address


def _bare(text: str) -> str:
    """An entry without the port that some proxies add."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed

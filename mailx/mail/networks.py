"""IP addresses, and the networks that settings list. Pure; what is no address lies in no network."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


def is_address(text: str) -> bool:
    """Whether ``text`` is an IP address, and nothing else."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address without its scope, as IPv4 where it stands for such (RFC 4291 2.5.5.2); None when it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """The address as ``parsed`` reads it; ``text`` itself when it is none."""
    address = parsed(text)
    return text if address is None else str(address)


@lru_cache(maxsize=4096)
def within(text: str, networks: tuple[str, ...]) -> bool:
    """Whether the address ``text`` lies in one of ``networks``, which are in order, as those of settings are."""
    address = parsed(text)
    return address is not None and any(address in network for network in _networks(networks))


@lru_cache(maxsize=32)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)

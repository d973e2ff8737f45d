"""Where the mail of a domain goes: its mail exchangers in the order in which they are tried (RFC 5321 5.1).

However much DNS says, at most ``HOSTS_LIMIT`` hosts are looked up and ``TARGETS_LIMIT`` addresses come out. Failure is
:class:`Refused`: with a 5xx reply when the domain takes no mail as far as DNS knows, with 4xx when DNS did not say.
"""

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from itertools import zip_longest
from random import shuffle
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults

from mailx.core.resolver import MX, Answer, DNSFailure, ascii_name
from mailx.mail.reply import Refused, Reply

HOSTS_LIMIT = 10  # RFC 5321 5.1 lets a sender limit them
ADDRESSES_LIMIT = 4  # of one host
TARGETS_LIMIT = 16
_TTL_OF_LITERALS = 3600

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")  # never an address: RFC 5321 5.1 wants a name, RFC 1123 2.1 says which
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_COMPATIBLE = 96  # bits of zeroes before an address in ::/96

_NULL_MX = "."


class Lookups(Protocol):
    """What is needed of :class:`mailx.core.resolver.Resolver`."""

    async def query(self, name: str, kind: str) -> Answer: ...


@frozen
class Exchanger:
    """One mail exchanger with the addresses that are tried."""

    name: str  # as the MX record has it (A-labels); of an address literal the address
    preference: int
    addresses: tuple[str, ...] = ()
    secure: bool = False  # DNSSEC vouches for every one of ``addresses``
    canonical: str = ""  # behind the CNAMEs, if DNSSEC vouches for them; otherwise ``name``


@frozen
class Exchangers:
    """The mail exchangers of a domain, most preferred first; at least one, each with an address."""

    domain: str
    hosts: tuple[Exchanger, ...]
    secure: bool  # DNSSEC vouches for the MX records, or for there being none
    ttl: int
    literal: bool = False


class Own:
    """What is this server: its names, and the ``listeners`` (interface, port) by which mail comes in."""

    def __init__(self, hostname: str, listeners: Iterable[tuple[str, int]]) -> None:
        self._hostname = ascii_name(hostname)
        self._listeners = [(ip_address(interface), port) for interface, port in listeners if port]

    def named(self, host: str) -> bool:
        return host == self._hostname

    def at(self, address: str, port: int) -> bool:
        """Whether a connection to ``address``, ``port`` would come in here."""
        return any(
            port == listening and (ip_address(address) == interface or (interface.is_unspecified and is_local(address)))
            for interface, listening in self._listeners
        )


def is_local(address: str) -> bool:
    """Whether ``address`` is one of this machine's: a socket can be bound to it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def reachable(address: str, loopback: bool) -> bool:
    """Whether mail may go to ``address`` at all: never to what can only be this machine or its wire, except ``loopback`` if set."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return reachable(str(ip.ipv4_mapped), loopback)
        if int(ip) > 1 and int(ip) >> 128 - _COMPATIBLE == 0:
            return False
    elif ip in _THIS_NETWORK or ip.is_reserved:
        return False
    if ip.is_loopback:
        return loopback
    return not (ip.is_unspecified or ip.is_multicast or ip.is_link_local)


async def exchangers(
    domain: str, resolver: Lookups, own: Own, port: int, loopback: bool = False, mix: Callable[[list[Exchanger]], None] = shuffle
) -> Exchangers:
    """The exchangers of ``domain``, or of an address literal; ``mix`` shuffles those of one preference. Raises Refused."""
    if domain.startswith("["):
        return _literal(domain, own, port, loopback)
    name = ascii_name(domain)
    if name is None:
        raise Refused(Reply(550, "5.1.2", "The domain of the recipient is malformed"))
    answer = await _ask(resolver, name, "MX")
    if not answer.exists:
        raise Refused(Reply(550, "5.1.2", f"Domain {name} does not exist"))
    if [record.host for record in answer.records] == [_NULL_MX]:
        raise Refused(Reply(556, "5.1.10", f"Domain {name} does not accept mail"))  # RFC 7505
    hosts = _hosts(answer.records, mix) if answer.records else [Exchanger(name, 0)]
    if not hosts:
        raise Refused(Reply(550, "5.4.4", f"Domain {name} names no usable mail server"))
    if any(own.named(host.name) for host in hosts):
        hosts = _better_than(hosts, min(host.preference for host in hosts if own.named(host.name)), name)
    found, ttl, unknown = await _located(hosts[:HOSTS_LIMIT], resolver, implicit=not answer.records, domain=name)
    try:
        usable = _usable(found, own, port, loopback, name)
    except Refused:
        if unknown:
            raise _unknown(name) from None
        raise
    return Exchangers(name, tuple(_limited(usable)), answer.secure, min(answer.ttl, ttl))


def _usable(found: list[Exchanger], own: Own, port: int, loopback: bool, domain: str) -> list[Exchanger]:
    """Those of ``found`` that mail may go to, with the addresses that it may go to; raises Refused if there are none."""
    ours = [host.preference for host in found if any(own.at(address, port) for address in host.addresses)]
    if ours:
        found = _better_than(found, min(ours), domain)
    usable = [evolve(host, addresses=tuple(one for one in host.addresses if reachable(one, loopback))) for host in found]
    usable = [host for host in usable if host.addresses]
    if not usable:
        raise Refused(Reply(550, "5.4.4", f"The mail servers of {domain} have no usable address"))
    return usable


def _literal(domain: str, own: Own, port: int, loopback: bool) -> Exchangers:
    """RFC 5321 4.1.3: ``[192.0.2.1]``, ``[IPv6:2001:db8::1]``."""
    text = domain[1:-1] if domain.endswith("]") else ""
    try:
        address = str(IPv6Address(text[5:]) if text[:5].lower() == "ipv6:" else IPv4Address(text))
    except ValueError:
        raise Refused(Reply(550, "5.1.2", "The address literal of the recipient is malformed")) from None
    if own.at(address, port):
        raise _loop(domain)
    if "%" in address or not reachable(address, loopback):
        raise Refused(Reply(550, "5.4.4", "Mail to this address literal is not possible"))
    return Exchangers(domain, (Exchanger(address, 0, (address,)),), False, _TTL_OF_LITERALS, literal=True)


def _hosts(records: Sequence[MX], mix: Callable[[list[Exchanger]], None]) -> list[Exchanger]:
    """The usable hosts of ``records``, most preferred first, ties mixed. One named twice counts where it is preferred."""
    best: dict[str, int] = {}
    for record in records:
        if _HOST.match(record.host) and len(record.host) <= 253:
            best[record.host] = min(record.preference, best.get(record.host, record.preference))
    hosts = [Exchanger(name, preference) for name, preference in best.items()]
    mix(hosts)
    return sorted(hosts, key=lambda host: host.preference)


def _better_than(hosts: Iterable[Exchanger], preference: int, domain: str) -> list[Exchanger]:
    """Those before us: what is not better than ourselves would send the mail back (RFC 5321 5.1)."""
    better = [host for host in hosts if host.preference < preference]
    if not better:
        raise _loop(domain)
    return better


def _loop(domain: str) -> Refused:
    return Refused(Reply(550, "5.4.6", f"Mail for {domain} leads back to this server, which does not serve it"))


async def _located(hosts: Sequence[Exchanger], resolver: Lookups, *, implicit: bool, domain: str) -> tuple[list[Exchanger], int, bool]:
    """``hosts`` with their addresses, those without any left out, for how long that holds, whether a look-up failed; raises Refused."""
    located = await gatherResults([Deferred.fromCoroutine(_addresses(host, resolver)) for host in hosts])
    found = [host for host, _, _ in located if host.addresses]
    unknown = any(failed for _, _, failed in located)
    if not found:
        if unknown:
            raise _unknown(domain)
        if implicit:
            raise Refused(Reply(550, "5.1.2", f"Domain {domain} has no mail server"))
        raise Refused(Reply(550, "5.4.4", f"The mail servers of {domain} have no address"))
    # A host that could not be looked up is looked up again soon.
    return found, min(ttl for _, ttl, _ in located), unknown


def _unknown(domain: str) -> Refused:
    return Refused(Reply(451, "4.4.3", f"The mail servers of {domain} could not be looked up"))


async def _addresses(host: Exchanger, resolver: Lookups) -> tuple[Exchanger, int, bool]:
    """``host`` with its addresses, seconds that they hold, and whether a look-up failed."""
    asked = [Deferred.fromCoroutine(_told(resolver, host.name, kind)) for kind in ("AAAA", "A")]
    told = [await deferred for deferred in asked]
    answers = [answer for answer in told if answer is not None]
    families: list[list[str]] = []
    for answer in answers:
        addresses = list(answer.records)
        shuffle(addresses)
        families.append(addresses)
    mixed = [one for pair in zip_longest(*families) for one in pair if one is not None]
    given = [answer for answer in answers if answer.records]
    secure = bool(given) and all(answer.secure for answer in given)
    canonical = given[0].name if secure and len({answer.name for answer in given}) == 1 else host.name
    ttl = min((answer.ttl for answer in answers), default=0)
    return evolve(host, addresses=tuple(mixed), secure=secure, canonical=canonical), ttl, len(answers) < len(asked)


async def _told(resolver: Lookups, name: str, kind: str) -> Answer | None:
    """The answer, or None for a failure, which nobody may be there to hear of."""
    try:
        return await resolver.query(name, kind)
    except DNSFailure:
        return None


def _limited(hosts: Sequence[Exchanger]) -> Iterable[Exchanger]:
    left = TARGETS_LIMIT
    for host in hosts:
        addresses = host.addresses[: min(ADDRESSES_LIMIT, left)]
        if not addresses:
            return
        left -= len(addresses)
        yield evolve(host, addresses=addresses)


async def _ask(resolver: Lookups, name: str, kind: str) -> Answer:
    try:
        return await resolver.query(name, kind)
    except DNSFailure:
        raise Refused(Reply(451, "4.4.3", f"Domain {name} could not be looked up")) from None

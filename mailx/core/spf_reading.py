"""Whether a published SPF record lets a given address send (RFC 7208), for the page of DNS records.

It reads what a record says about one address of ours; checking mail from others is another part's work. What hangs on
the message itself (macros, exists, ptr) counts as unknown. Raises DNSFailure when DNS does not answer.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from mailx.core.resolver import Resolver

PASS, FAIL, SOFTFAIL, NEUTRAL, NONE = "pass", "fail", "softfail", "neutral", "none"
BROKEN = "permerror"
UNKNOWN = "unknown"

_QUALIFIERS = {"+": PASS, "-": FAIL, "~": SOFTFAIL, "?": NEUTRAL}
_LOOKUPS = 10  # RFC 7208 4.6.4
_HOSTS = 10
_VOID = 2
IP: TypeAlias = IPv4Address | IPv6Address


class _Broken(Exception):
    """The record is no SPF, or asks for more than is allowed."""


def is_spf(text: bytes) -> bool:
    """Whether a TXT record is an SPF record (RFC 7208 4.5)."""
    return text.lower() == b"v=spf1" or text.lower().startswith(b"v=spf1 ")


async def authorises(resolver: Resolver, domain: str, address: str) -> str:
    """What the SPF record of ``domain`` says of mail from the IP ``address``: one of the words above."""
    try:
        return await _Reading(resolver, ip_address(address)).check(domain)
    except _Broken:
        return BROKEN


class _Reading:
    def __init__(self, resolver: Resolver, address: IP) -> None:
        self._resolver = resolver
        self._address = address
        self._left = _LOOKUPS
        self._void = 0

    async def check(self, domain: str) -> str:
        records = [text for text in await self._resolver.texts(domain) if is_spf(text)]
        if not records:
            return NONE
        if len(records) > 1:
            raise _Broken("several records")
        redirect = ""
        unknown = False
        for term in records[0].decode("latin-1").lower().split()[1:]:
            name, equals, value = term.partition("=")
            if equals and ":" not in name and "/" not in name:
                redirect = value if name == "redirect" else redirect
                continue
            matches = await self._matches(term[1:] if term[0] in _QUALIFIERS else term, domain)
            if matches is None:
                unknown = True
            elif matches:
                result = _QUALIFIERS.get(term[0], PASS)
                return UNKNOWN if unknown and result != PASS else result
        if redirect and "%" not in redirect:
            self._count()
            result = await self.check(redirect)
            if result == NONE:
                raise _Broken("redirect to nothing")  # RFC 7208 6.1
            return UNKNOWN if unknown and result != PASS else result
        return UNKNOWN if unknown or redirect else NEUTRAL

    async def _matches(self, mechanism: str, domain: str) -> bool | None:
        """Whether the address fits; None if that cannot be told from here."""
        name, _, rest = mechanism.partition(":")
        name, slash, length = name.partition("/")
        if name == "all":
            return True
        if name in ("ip4", "ip6"):
            return self._in(rest, int(name[2]))
        if name in ("exists", "ptr"):
            self._count()
            return None
        if name not in ("a", "mx", "include"):
            raise _Broken(name)
        self._count()
        target, more, lengths = rest.partition("/")
        if "%" in target:
            return None
        if name == "include":
            result = await self.check(target)
            if result in (NONE, BROKEN):
                raise _Broken("include of nothing")  # RFC 7208 5.2
            return None if result == UNKNOWN else result == PASS
        hosts: Sequence[str] = [target or domain]
        if name == "mx":
            hosts = [record.host for record in await self._resolver.mx(hosts[0]) if record.host != "."]
            self._answered(hosts)
            if len(hosts) > _HOSTS:
                raise _Broken("too many hosts")
        return await self._among(hosts, lengths if more else length if slash else "")

    async def _among(self, hosts: Sequence[str], lengths: str) -> bool:
        """Whether the address is one of the hosts', to the prefix lengths ``24//64`` (RFC 7208 5.6)."""
        four, _, six = lengths.partition("//") if not lengths.startswith("/") else ("", "", lengths.removeprefix("/"))
        kind, length = ("AAAA", six) if self._address.version == 6 else ("A", four)
        for host in hosts:
            addresses = (await self._resolver.query(host, kind)).records
            self._answered(addresses)
            if any(self._in(f"{address}/{length}" if length else address, self._address.version) for address in addresses):
                return True
        return False

    def _in(self, network: str, version: int) -> bool:
        try:
            there = ip_network(network, strict=False)
        except ValueError:
            raise _Broken(network) from None
        if there.version != version:
            raise _Broken(network)
        return self._address in there

    def _answered(self, records: Sequence[object]) -> None:
        """Count the questions that DNS has nothing for (RFC 7208 4.6.4)."""
        self._void += not records
        if self._void > _VOID:
            raise _Broken("too many void lookups")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _Broken("too many lookups")

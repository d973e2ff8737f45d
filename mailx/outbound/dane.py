"""Which key DNSSEC vouches for at a mail exchanger: TLSA records (RFC 7672).

They are asked for only where the MX records and the addresses of the host are secure, and count only if they are secure
themselves. A look-up that fails is :class:`DNSFailure`: no mail may go to that host then, for an attacker could have made it
fail (RFC 7672 2.1.2).
"""

from collections.abc import Iterable

from attrs import frozen

from mailx.core.resolver import TLSA, ascii_name
from mailx.outbound.mx import Exchanger, Lookups

RECORDS_LIMIT = 50  # compared with one certificate
_TRUST_ANCHOR, _END_ENTITY = 2, 3  # usages
_LENGTHS = {1: 32, 2: 64}  # of SHA-256 and SHA-512, by matching type


@frozen
class Vouched:
    """Secure TLSA records exist for a host. Without a usable one TLS must be, but nobody is authenticated (RFC 7672 2.2)."""

    base: str  # the name they stand at, which is the name to ask the server for (RFC 7672 8.1)
    records: tuple[TLSA, ...]  # the usable ones


async def vouched(host: Exchanger, port: int, resolver: Lookups) -> Vouched | None:
    """What DNSSEC says of ``host``, whose MX records are secure; None: nothing. Raises DNSFailure."""
    if not host.secure:
        return None
    for base in dict.fromkeys((host.canonical, host.name)):  # RFC 7672 2.2.3: behind the CNAMEs first
        name = ascii_name(f"_{port}._tcp.{base}")
        if name is None:
            continue
        answer = await resolver.query(name, "TLSA")
        if answer.secure and answer.records:
            return Vouched(base, usable(answer.records))
    return None


def usable(records: Iterable[TLSA]) -> tuple[TLSA, ...]:
    """The records that mail can be checked by: usages 2 and 3 (RFC 7672 3.1), well-formed, at most RECORDS_LIMIT."""
    found = [
        record
        for record in dict.fromkeys(records)
        if record.usage in (_TRUST_ANCHOR, _END_ENTITY)
        and record.selector in (0, 1)
        and (len(record.data) == _LENGTHS[record.matching] if record.matching in _LENGTHS else record.matching == 0 and record.data)
    ]
    return tuple(found[:RECORDS_LIMIT])

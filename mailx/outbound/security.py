"""What TLS a message must have on its way to one host: the strongest of what DNSSEC, the domain's policy, its sender and we ask for.

DANE comes before MTA-STS (RFC 8461 2). REQUIRETLS asks for an authenticated server whose name can be trusted (RFC 8689 4.2.1);
``TLS-Required: No`` lifts what the recipient's domain asks for, not what our configuration does (RFC 8689 5). Pure.
"""

import re
from enum import Enum

from attrs import frozen

from mailx.mail.reply import Reply
from mailx.outbound.dane import Vouched
from mailx.outbound.hop import DANE, ENCRYPT, NONE, OPPORTUNISTIC, VERIFY, Security
from mailx.outbound.mx import Exchanger, Exchangers
from mailx.outbound.sts import ENFORCE, TESTING, Policy
from mailx.outbound.sts import NONE as NO_MODE

_HEADER_LIMIT = 65536  # octets looked through
_NOT_REQUIRED = re.compile(rb"^tls-required:[ \t]*no[ \t]*\r?$", re.M)


class Asked(Enum):
    """What the message asks for."""

    NOTHING = "nothing"
    REQUIRED = "required"  # REQUIRETLS
    OPTIONAL = "optional"  # TLS-Required: No


class Unfit(Exception):
    """The host must not have the message; ``reply`` says so if no other host may."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@frozen
class Known:
    """What is known of a destination besides its hosts."""

    tls: str  # outbound.tls
    policy: Policy | None = None  # MTA-STS
    offers_tls: bool = False  # it has taken mail by TLS for a while


def security(host: Exchanger, of: Exchangers, dane: Vouched | None, known: Known, asked: Asked) -> Security:
    """What TLS must be with ``host``; raises Unfit."""
    policy = known.policy if known.policy is not None and known.policy.mode != NO_MODE else None
    if asked is Asked.REQUIRED:
        return _required(host, of, dane, policy, known.tls)
    if known.tls == "off":
        return Security(NONE)
    least = ENCRYPT if known.tls == "required" else OPPORTUNISTIC
    if asked is Asked.OPTIONAL:
        return Security(least)
    if dane is not None and dane.records:
        return _dane(host, of, dane)
    if policy is not None and policy.mode == ENFORCE:
        if not policy.matches(host.name):
            raise Unfit(Reply(451, "4.7.5", f"The MTA-STS policy of {of.domain} does not name its mail server {host.name}"))
        return Security(VERIFY)
    if dane is not None or known.offers_tls:
        least = ENCRYPT
    return Security(least, verify=policy is not None and policy.mode == TESTING)


def _required(host: Exchanger, of: Exchangers, dane: Vouched | None, policy: Policy | None, tls: str) -> Security:
    if tls != "off":
        if dane is not None and dane.records:
            return _dane(host, of, dane)
        if of.secure or (policy is not None and policy.matches(host.name)):
            return Security(VERIFY)
    raise Unfit(Reply(550, "5.7.10", f"No protected way to {of.domain}, as the sender requires"))


def _dane(host: Exchanger, of: Exchangers, dane: Vouched) -> Security:
    names = tuple(dict.fromkeys((dane.base, host.name, of.domain)))  # RFC 7672 3.2.2
    return Security(DANE, names, dane.records)


def waives(content: bytes) -> bool:
    """Whether the header of ``content`` (its first octets suffice) says ``TLS-Required: No``."""
    end = content.find(b"\r\n\r\n", 0, _HEADER_LIMIT)
    header = content[: end + 2 if end >= 0 else _HEADER_LIMIT].lower()
    return b"tls-required:" in header and _NOT_REQUIRED.search(header) is not None

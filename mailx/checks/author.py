"""The author's domains: those of the addresses in From (RFC 5322 3.6.2), as DMARC and signatures compare them. Pure.

Exactly one is the rule. Whoever writes several hopes that a check looks at one and a reader at another, so all are found,
also those of a second From field and those that the grammar makes no address of.
"""

import re

from mailx.core.resolver import ascii_name
from mailx.mail.addresses import parse
from mailx.mail.canonical import Mail
from mailx.mail.header import decode, unfold

DOMAINS = 5  # looked at; more are no author's
_HEADER_OCTETS = 65536
_AT = re.compile(r"@[ \t]*([^\x00-\x20\x7f()<>\[\]:;@\\,\"]{1,253})")


def domains(mail: Mail) -> list[str]:
    """The distinct domains of From as A-labels, in their order, at most DOMAINS + 1; empty when no domain can be found."""
    found: dict[str, None] = {}
    for place in mail.places.get(b"from", ())[: DOMAINS + 1]:
        value = mail.fields[place][2][:_HEADER_OCTETS]
        entries = parse(value)
        hosts = [entry.host.decode("utf-8", "replace") for entry in entries if entry.host]
        if not hosts:
            hosts = _AT.findall(decode(unfold(value)))
        for host in hosts:
            name = ascii_name(host.strip())
            if name is not None:
                found[name] = None
            if len(found) > DOMAINS:
                break
    return list(found)[: DOMAINS + 1]

"""The author's domains: those of the addresses in From (RFC 5322 3.6.2), as DMARC and signatures compare them. Pure.

Exactly one is the rule. Whoever writes several hopes that a check looks at one and a reader at another, so all are found,
also those of a second From field and those that the grammar makes no address of. Where readers may see another domain than
those found, the field is not clear, and nobody answers for it.
"""

import re

from attrs import frozen

from mailx.core.resolver import ascii_name
from mailx.mail.addresses import Entry, parse
from mailx.mail.canonical import Mail
from mailx.mail.header import decode, unfold
from mailx.mail.parameters import without_comments

DOMAINS = 5  # looked at; more are no author's
_OCTETS = 1024  # of all From fields: reading one made to cost takes a microsecond for each
_AT = re.compile(r"@[ \t]*([^\x00-\x20\x7f()<>\[\]:;@\\,\"]{1,253})")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z")
_QUOTED = re.compile(rb'"(?>(?:[^"\\]++|\\[\s\S])*)(?:"|\Z)')
_BEHIND = re.compile(rb">[^<,;]*@")  # an address behind that in angle brackets


@frozen
class Authors:
    """``domains`` are A-labels, each once, in their order."""

    domains: tuple[str, ...] = ()
    clear: bool = False  # whether every reader sees these domains and no other


def authors(mail: Mail) -> Authors:
    """Who claims to have written ``mail``."""
    places = mail.places.get(b"from", ())
    clear = len(places) == 1
    found: dict[str, None] = {}
    left = _OCTETS
    for place in places[:DOMAINS]:
        value = mail.fields[place][2]
        clear = clear and len(value) <= left
        value, left = unfold(value[:left]), max(0, left - len(value))
        entries = [entry for entry in parse(value) if entry.host]
        hosts = [(entry.host or b"").decode("utf-8", "replace") for entry in entries]
        if not hosts:
            hosts = _AT.findall(decode(value))
        names = [ascii_name(host.strip()) for host in hosts]
        found.update((name, None) for name in names if name is not None)
        clear = clear and all(name is not None and _NAME.match(name) for name in names) and not _ambiguous(value, entries)
    return Authors(tuple(found)[:DOMAINS], clear and 0 < len(found) <= DOMAINS)


def _ambiguous(value: bytes, entries: list[Entry]) -> bool:
    """Whether ``value`` may be read in another way than that which made ``entries`` of it."""
    if any(b"@" in (entry.mailbox or b"") or (entry.host or b"") not in value for entry in entries):
        return True  # a@one@two, and a domain that is put together from pieces: a@one.example two.example
    if value.count(b"<") < 2 and b">" not in value and value.count(b"@") <= len(entries):
        return False
    outside = without_comments(_QUOTED.sub(b"", value))
    if b"<" not in outside and outside.count(b"@") > len(entries):
        return True  # a@one.example b@two.example
    return outside.count(b"<") > max(1, len(entries)) or _BEHIND.search(outside) is not None

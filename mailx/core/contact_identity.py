"""Who wrote a message, as contacts and block lists know people, and whether that is proved.

The author is the one address in From. A message with several, with none, or with a field that readers may understand in different ways
has no author: nobody is believed to have written it, so it is a stranger's.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from mailx.core.author import authors
from mailx.core.content import Threads
from mailx.core.users import canonical_domain
from mailx.mail.address import Address, AddressError
from mailx.mail.addresses import parse
from mailx.mail.canonical import Mail
from mailx.mail.envelope import FEDERATION, Origin
from mailx.mail.header import unfold
from mailx.mail.message import Message

_HEAD = 65536  # octets of a message in which its From is looked for
_CLAIMS = 10  # addresses in From that are compared with blocks
_OCTETS = 4096  # of a From field in which they are looked for


async def author(message: Message, threads: Threads) -> Address | None:
    """The author of ``message``; what lies in a file is read by ``threads``."""
    return author_in(await _head(message, threads))


async def claimed(message: Message, threads: Threads) -> tuple[Address, ...]:
    """Everybody whom some reader may take for the author of ``message``: who is blocked does not come in beside another name."""
    head = await _head(message, threads)
    found = author_in(head)
    return (found,) if found is not None else tuple(_claimed_in(head))


async def _head(message: Message, threads: Threads) -> bytes:
    content = message.content
    return content[:_HEAD] if isinstance(content, bytes) else await threads(content.read, _HEAD)


def _claimed_in(head: bytes) -> Iterator[Address]:
    mail = Mail(head)
    entries = (entry for place in mail.places.get(b"from", ())[:_CLAIMS] for entry in parse(unfold(mail.fields[place][2][:_OCTETS])))
    pairs = ((entry.mailbox, entry.host) for entry in entries if entry.mailbox and entry.host)
    for mailbox, host in islice(pairs, _CLAIMS):
        try:
            yield Address.parse(str(Address(mailbox.decode("utf-8"), host.decode("utf-8"))))
        except (AddressError, UnicodeDecodeError):
            continue


def author_in(head: bytes) -> Address | None:
    """The author, by the header in ``head``."""
    mail = Mail(head)
    found = authors(mail)
    if not found.clear or len(found.domains) != 1:
        return None
    entries = [entry for entry in parse(unfold(mail.fields[mail.places[b"from"][0]][2])) if entry.host]
    if len(entries) != 1 or not entries[0].mailbox:
        return None
    try:
        return Address.parse(str(Address(entries[0].mailbox.decode("utf-8"), found.domains[0])))
    except (AddressError, UnicodeDecodeError):
        return None


def proved(origin: Origin, author: Address, verdicts: Mapping[str, str]) -> bool:
    """Whether ``author`` has really written what came from ``origin`` with these ``verdicts`` of the checks.

    By federation the channel's key proves the domain. By SMTP it is DMARC; where a domain publishes no policy, SPF or DKIM of
    exactly its name prove as much (RFC 9989 4.4, strict alignment).
    """
    domain = canonical_domain(author.domain)
    if origin.protocol == FEDERATION:
        return bool(origin.domain) and canonical_domain(origin.domain) == domain
    if verdicts.get("dmarc", "").partition(" ")[0] == "pass":
        return True
    if verdicts.get("dmarc", "none").partition(" ")[0] != "none":
        return False
    passed = f"pass {domain}"
    return verdicts.get("spf") == passed or passed in verdicts.get("dkim", "").split(", ")

"""Who wrote a message, as contacts and block lists know people, and whether that is proved.

The author is the one address in From. A message with several, with none, or with a field that readers may understand in different ways
has no author: nobody is believed to have written it, so it is a stranger's.
"""

from collections.abc import Mapping

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


async def author(message: Message, threads: Threads) -> Address | None:
    """The author of ``message``; what lies in a file is read by ``threads``."""
    content = message.content
    return author_in(content[:_HEAD] if isinstance(content, bytes) else await threads(content.read, _HEAD))


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

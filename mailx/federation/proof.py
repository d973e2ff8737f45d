"""Which domain answers for a message: that of its envelope sender and of its author, who must be of the same.

A channel proves one domain, so a message may pass it only if that domain is whom readers see behind it. A report without an
envelope sender (RFC 3464, RFC 8098) is written by a server: it may name the server, too. Pure.
"""

from collections.abc import Callable, Collection

from mailx.core.author import authors
from mailx.core.headers import end
from mailx.core.users import canonical_domain
from mailx.mail.address import Address
from mailx.mail.canonical import Mail
from mailx.mail.reply import Reply

HEADER = 262144  # octets of header fields at most

NOT_PROVED = Reply(550, "5.7.1", "Sender and author must be of the domain that this connection proves")
ONLY_REPORTS = Reply(550, "5.7.1", "Only delivery reports have no sender")
NO_HEADER = Reply(554, "5.6.0", "Header section too large, or none")

_REPORT = b"multipart/report"


def fields(content: bytes) -> bytes | None:
    """The header fields at the beginning of ``content``; empty: it has none, None: they do not end there."""
    found = end(content[:HEADER])
    return None if found is None else content[:found]


def objection(header: bytes, sender: Address | None, domain: str, hosts: Collection[str]) -> Reply | None:
    """Why a message with these header fields may not pass a channel that proves ``domain``, whose servers are ``hosts``."""
    if sender is not None and canonical_domain(sender.domain) != domain:
        return NOT_PROVED
    mail = Mail(header)
    found = authors(mail)
    if not found.clear or len(found.domains) != 1:
        return NOT_PROVED
    author = found.domains[0]
    if sender is not None:
        return None if author == domain else NOT_PROVED
    if not _report(mail):
        return ONLY_REPORTS
    return None if author == domain or author.endswith(f".{domain}") or author in hosts else NOT_PROVED


def speaker(header: bytes, sender: Address | None, local: Callable[[str], bool], hostname: str, first: Callable[[], str]) -> str:
    """The domain of ours that answers for a message with these header fields; empty: none does.

    Reports are written by the server ``hostname``: any of our domains answers for them, ``first()`` if none is above it.
    """
    mail = Mail(header)
    found = authors(mail)
    if not found.clear or len(found.domains) != 1:
        return ""
    author = found.domains[0]
    if sender is not None:
        return author if author == canonical_domain(sender.domain) and local(author) else ""
    if not _report(mail):
        return ""
    name = author
    while name and not local(name):
        name = name.partition(".")[2]
    return name or (first() if author == hostname else "")


def _report(mail: Mail) -> bool:
    places = mail.places.get(b"content-type", ())
    return len(places) == 1 and mail.fields[places[0]][2].strip().lower().startswith(_REPORT)

"""What the service ``delivery`` and those who call it say to each other, besides the statements of :mod:`mailx.identity.transfers`.

A small message goes in one call (``send``), a larger one in pieces: ``begin``, ``chunk`` after ``chunk``, ``commit``. Either way
the answer has a reply for each recipient and the signed acknowledgement of those who took the message. ``status`` says what
became of a transfer whose answer was lost. Nothing here decides anything.
"""

from collections.abc import Mapping
from typing import Protocol

from mailx.federation.service import Fields, Plain, items, malformed, number, octets, spoken, text
from mailx.identity.transfers import LIMIT, RECIPIENTS
from mailx.mail.address import Address, AddressError
from mailx.mail.reply import Reply

SERVICE = "delivery"


class Counts(Protocol):
    """What goes between this server and each other; :class:`mailx.core.peer_figures.PeerCounting`."""

    def count(self, domain: str, **amounts: int) -> None:
        """Add to the figures of ``domain``, which has proved itself."""


INLINE = 262144  # octets of a message that goes in one call
CHUNK = 262144  # octets of a piece
TAKEN, UNDER_WAY, RECEIVING, UNKNOWN = "taken", "under way", "receiving", "unknown"  # what ``status`` says

BEGIN_AGAIN = Reply(451, "4.5.0", "Nothing of that transfer is here; begin again")

_ADDRESS = 330  # characters
_TEXT = 500


def answer(replies: Mapping[Address, Reply], acknowledgement: bytes) -> dict[str, Plain]:
    """What became of each recipient, as fields; ``acknowledgement`` is empty when nobody took the message."""
    told: list[Plain] = [[str(address), reply.code, reply.enhanced, reply.text] for address, reply in replies.items()]
    return {"replies": told, "acknowledgement": acknowledgement}


def answered(fields: Fields) -> tuple[dict[Address, Reply], bytes]:
    """What ``answer`` made. Raises Refused when the peer says something else."""
    replies = {}
    for each in items(fields, "replies", RECIPIENTS):
        if not isinstance(each, list) or len(each) != 4:
            raise malformed("replies")
        one: Fields = dict(zip(("address", "code", "enhanced", "text"), each, strict=True))
        code = number(one, "code", 200, 599)
        if code // 100 == 3:
            raise malformed("code")  # neither yes nor no
        replies[address(text(one, "address", _ADDRESS))] = spoken(code, text(one, "enhanced", 20), text(one, "text", _TEXT))
    return replies, octets(fields, "acknowledgement", LIMIT)


def decided(fields: Fields) -> bool:
    """Whether ``fields`` are an answer, rather than word of how far the transfer is."""
    return "replies" in fields


def address(written: str) -> Address:
    """Raises Refused."""
    try:
        return Address.parse(written)
    except AddressError:
        raise malformed("address") from None

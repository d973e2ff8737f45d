"""Rights to mailboxes (RFC 4314), and the names under which other people's mailboxes appear. Pure.

A right is a letter. Of an owner's mailbox ``Projects`` other people see ``Users/anna@example.test/Projects``.
"""

from collections.abc import Iterable

from attrs import frozen

from mailx.mail.mailbox import DELIMITER, OWNER_RIGHTS
from mailx.mail.names import MailboxError, normal

ORDER = "lrswipkxtea"  # as responses write them
ALL = OWNER_RIGHTS
OTHERS = "Users"  # the first level of other people's mailboxes (RFC 2342)
ANYONE = "anyone"
_ATTRIBUTES = {"c": "k", "d": "etx"}  # rights of RFC 2086 and what they stand for (RFC 4314 2.1.1)


class RightsError(ValueError):
    """There is no such right; the text may be shown to the client."""


@frozen
class Place:
    """A mailbox of somebody else: the owner's address, and the name that the mailbox has there (in normal form)."""

    local: str
    domain: str
    name: str

    @property
    def prefix(self) -> str:
        """What stands before the owner's names."""
        return prefix(f"{self.local}@{self.domain}")


def prefix(address: str) -> str:
    return f"{OTHERS}{DELIMITER}{address}{DELIMITER}"


def elsewhere(name: str) -> Place | None:
    """Whose mailbox ``name`` (in normal form) is, if it is not in the client's own namespace.

    ``Users/`` alone is a name like any other: only with an address behind it does it lead to somebody else.
    """
    if not name.startswith(OTHERS + DELIMITER):
        return None
    address, _, rest = name[len(OTHERS) + 1 :].partition(DELIMITER)
    local, at, domain = address.rpartition("@")
    return Place(local.lower(), domain.lower(), normal(rest)) if at else None


def own_only(name: str) -> None:
    """Raise MailboxError "NOPERM" for a ``name`` in other people's namespace."""
    if elsewhere(normal(name)) is not None:
        raise MailboxError("NOPERM", "That name is in another account's namespace")


def parse(text: str) -> frozenset[str]:
    """The rights in ``text``; raises RightsError. Rights of RFC 2086 become those that replaced them."""
    rights: set[str] = set()
    for letter in text:
        meant = _ATTRIBUTES.get(letter, letter)
        if not ALL.issuperset(meant):
            raise RightsError("No such right")
        rights.update(meant)
    return frozenset(rights)


def spell(rights: Iterable[str]) -> str:
    """``rights`` in the order of the RFC."""
    held = frozenset(rights)
    return "".join([letter for letter in ORDER if letter in held])


def shown(rights: Iterable[str]) -> str:
    """As :func:`spell`, with the rights of RFC 2086 for clients that know only those (RFC 4314 2.1.1)."""
    held = frozenset(rights)
    return spell(held) + "".join([letter for letter, meant in _ATTRIBUTES.items() if held.intersection(meant)])

"""Mailbox names: what one may be called, and what two spellings of one name share.

A name is its full path, levels apart by "/", in Unicode NFC; INBOX is written in capitals whatever the client
wrote (RFC 9051 5.1). A name that is not allowed raises :class:`MailboxError`.
"""

import unicodedata

from mailx.mail.mailbox import DELIMITER

NAME_LIMIT = 255  # octets of a full name in UTF-8: what clients that mirror folders can store as one file name
DEPTH_LIMIT = 20  # levels: deeper trees are mistakes, and each missing parent becomes a row
MAILBOXES_LIMIT = 2000  # mailboxes of one account: LIST answers them in one go

INBOX = "INBOX"
REQUESTS = "Requests"  # where strangers' mail waits


class MailboxError(Exception):
    """A command on mailboxes was refused; nothing of it was done.

    ``code`` is a response code of RFC 9051 7.1 without brackets ("NONEXISTENT", "ALREADYEXISTS", "CANNOT",
    "OVERQUOTA", "LIMIT", "NOPERM", "HASCHILDREN", "TRYCREATE", "EXPUNGEISSUED"); ``text`` may be shown to the client.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"[{code}] {text}")
        self.code = code
        self.text = text


def normal(name: str) -> str:
    """The one spelling under which ``name`` is known. Takes any text, allowed as a new name or not."""
    name = unicodedata.normalize("NFC", name)
    head, delimiter, rest = name.partition(DELIMITER)
    if head.isascii() and head.upper() == INBOX:
        return INBOX + delimiter + rest
    return name


def new(name: str) -> str:
    """The normal form of a name about to be made; raises MailboxError "CANNOT" or "LIMIT".

    One trailing delimiter is dropped: it only announces that children will follow (RFC 9051 6.3.4).
    """
    name = normal(name).removesuffix(DELIMITER)
    if not name or any(not level for level in name.split(DELIMITER)):
        raise MailboxError("CANNOT", "A mailbox name has no empty level")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise MailboxError("CANNOT", "A mailbox name has no control characters")
    if any(character in "%*" for character in name):
        raise MailboxError("CANNOT", "A mailbox name has no wildcards")
    if any(level != level.strip() for level in name.split(DELIMITER)):
        raise MailboxError("CANNOT", "A level of a mailbox name does not begin or end with a space")
    if len(name.encode()) > NAME_LIMIT:
        raise MailboxError("LIMIT", f"A mailbox name has at most {NAME_LIMIT} octets")
    if name.count(DELIMITER) >= DEPTH_LIMIT:
        raise MailboxError("LIMIT", f"A mailbox name has at most {DEPTH_LIMIT} levels")
    return name


def parents(name: str) -> list[str]:
    """The names above ``name``, the highest first."""
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]


def order(name: str) -> tuple[bool, str]:
    """The sorting key of lists: INBOX first, then by name, children behind their parent."""
    head, _, _ = name.partition(DELIMITER)
    return head != INBOX, name.replace(DELIMITER, "\0")

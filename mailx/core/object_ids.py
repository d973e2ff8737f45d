"""Object identifiers of messages, threads and mailboxes (RFC 8474): what names them for good, wherever they are shown.

A message keeps its identifier in every mailbox that it is copied or moved to, a thread and a mailbox keep theirs for
life. Those of threads and mailboxes are keyed hashes, so that nobody counts what others have. All methods are pure;
what is no identifier of ours reads as None.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

from mailx.store.messages import scope

if TYPE_CHECKING:
    from mailx.store.cipher import Cipher

_GUID = 16  # octets of a message's guid
_THREAD, _MAILBOX = b"thread id", b"mailbox id"


def _encoded(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def email_id(guid: bytes) -> str:
    """EMAILID of the message with this guid."""
    return "M" + _encoded(guid)


def guid_of(email_id: str) -> bytes | None:
    """The guid that an EMAILID names; None if it is no EMAILID of this server."""
    if len(email_id) != 23 or email_id[0] != "M" or not email_id.isascii():
        return None
    try:
        guid = urlsafe_b64decode(email_id[1:] + "==")
    except ValueError:
        return None
    # Other spellings, with letters that decoding skips or bits that it drops, are not what was given out.
    return guid if len(guid) == _GUID and "M" + _encoded(guid) == email_id else None


class ObjectIds:
    """Makes the identifiers of threads and mailboxes."""

    def __init__(self, cipher: "Cipher") -> None:
        self._cipher = cipher

    def thread_id(self, account: int, thread: int) -> str:
        """THREADID of a thread of ``account``."""
        return "T" + _encoded(self._cipher.hash(_THREAD, scope(account), thread.to_bytes(8, "big")))

    def mailbox_id(self, account: int, mailbox: int) -> str:
        """MAILBOXID of a mailbox of ``account``, its owner."""
        return "F" + _encoded(self._cipher.hash(_MAILBOX, scope(account), mailbox.to_bytes(8, "big")))

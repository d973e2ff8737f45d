"""What is accepted: who sends what to whom, and how it came."""

import random

from attrs import field, frozen

from mailx.mail.address import Address
from mailx.mail.message import Message


def new_id() -> str:
    """A fresh identifier for an envelope or a connection: 16 hexadecimal digits.

    It is a name, not a secret, so it needs no draw from the system, which would let go of the interpreter's lock.
    """
    return f"{random.getrandbits(64):016x}"


@frozen
class Origin:
    """How something came: through which door, from where, by whom, under which protection."""

    protocol: str  # "SMTP", "ESMTP", "ESMTPS", "ESMTPSA", "LMTP", "IMAP", ...: RFC 3848 keywords
    connection: str  # id of the connection, in every log line of its session
    address: str = ""  # the client's IP address
    port: int = 0  # the port it came in by
    helo: str = ""
    account: int | None = None  # id of the authenticated account
    tls: str = ""  # "TLSv1.3 TLS_AES_256_GCM_SHA384" or ""


@frozen
class Filing:
    """Where an owner puts a message in person (IMAP APPEND): mailbox, flags, internal date."""

    mailbox: str
    flags: int = 0  # system flags, see mailx.mail.mailbox
    keywords: tuple[str, ...] = ()
    received: int | None = None  # seconds since 1970; None: now


@frozen
class Envelope:
    """One accepted message with its sender (None is the null reverse-path) and recipients.

    With ``filing`` the only recipient is the account itself.
    """

    id: str
    sender: Address | None
    recipients: tuple[Address, ...]
    message: Message
    origin: Origin
    filing: Filing | None = field(default=None, kw_only=True)

"""What is accepted: who sends what to whom, how it came, and what its sender asks of those who pass it on."""

import os
from collections.abc import Mapping
from enum import IntFlag
from hashlib import blake2b
from itertools import count

from attrs import Factory, field, frozen

from mailx.mail.address import Address
from mailx.mail.message import Message

_key, _numbers = os.urandom(32), count()


def new_id() -> str:
    """A fresh identifier for an envelope or a connection: 16 hexadecimal digits.

    Nobody can tell the next one from those before: a report that names one is believed to answer that mail. It needs no draw from the
    system, which would let go of the interpreter's lock.
    """
    return blake2b(b"%d" % next(_numbers), digest_size=8, key=_key).hexdigest()


@frozen
class Origin:
    """How something came: through which door, from where, by whom, under which protection."""

    protocol: str  # "SMTP", "ESMTP", "ESMTPS", "ESMTPSA", "LMTP", "IMAP", ...: RFC 3848 keywords; or one of those below
    connection: str  # id of the connection, in every log line of its session
    address: str = ""  # the client's IP address
    port: int = 0  # the port it came in by
    helo: str = ""
    account: int | None = None  # id of the authenticated account
    tls: str = ""  # "TLSv1.3 TLS_AES_256_GCM_SHA384" or ""
    domain: str = ""  # the domain whose key this channel has proved (federation)

    @property
    def ours(self) -> bool:
        """Whether who brings it may speak for a domain of this server, and send mail anywhere: an account, or this server itself."""
        return self.account is not None or self.protocol == GENERATED or self.protocol == WEBHOOK


@frozen
class Filing:
    """Where an owner puts a message in person (IMAP APPEND): mailbox, flags, internal date."""

    mailbox: str
    flags: int = 0  # system flags, see mailx.mail.mailbox
    keywords: tuple[str, ...] = ()
    received: int | None = None  # seconds since 1970; None: now


class Notify(IntFlag):
    """When the sender wants to hear of a recipient (NOTIFY of RFC 3461 4.1)."""

    UNSAID = 0  # failures, and delays as this server sees fit
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


@frozen
class Wish:
    """What the sender says of one recipient (RFC 3461 4.1, 4.2)."""

    notify: int = 0  # of Notify
    original: str = ""  # ORCPT, decoded: "rfc822;someone@example.org"


@frozen
class Demands:
    """What the sender asks of whoever passes the message on."""

    utf8: bool = False  # SMTPUTF8 (RFC 6531)
    require_tls: bool = False  # REQUIRETLS (RFC 8689)
    returns: str = ""  # RET (RFC 3461 4.3): "FULL", "HDRS" or "" for not said
    id: str = ""  # ENVID, decoded


@frozen
class Forwarding:
    """An alias with a remote target passes the message on: ``domain`` seals it (ARC) with what was found at its arrival."""

    domain: str  # of the alias
    results: str = ""  # the value of our Authentication-Results field, without the name of the server


WISHES_NOTHING = Wish()
DEMANDS_NOTHING = Demands()
WEBHOOK = "HTTP"  # Origin.protocol of what a program posts to the webhook receiver
FEDERATION = "MAILX"  # Origin.protocol of what another MailX server delivers over federation
GENERATED = "local"  # Origin.protocol of what this server writes itself: delivery reports


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
    demands: Demands = field(default=DEMANDS_NOTHING, kw_only=True)
    wishes: Mapping[Address, Wish] = field(default=Factory(dict), kw_only=True)  # of those recipients that have some
    forwarding: Forwarding | None = field(default=None, kw_only=True)
    dispatch: bytes = field(default=b"", kw_only=True)  # what the queue calls the message at each attempt, of one that leaves
    form: int = field(default=0, kw_only=True)  # which of the forms that were made of a dispatch when it was delivered

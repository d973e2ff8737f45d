"""One SMTP session as a client: what was greeted, encrypted and logged in, and the messages sent over it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from mailx.core.courier import Attempt
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope


class Rendering(Protocol):
    """Makes the octets to send: :class:`mailx.core.outgoing.Outgoing`."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes | Sequence[bytes] | None:
        """The message as it goes out, CRLF, dots not stuffed; raises Refused, or None when it cannot be made 7 bit."""


class Connection:
    """A session that is ready for messages. Made by :class:`mailx.outbound.pool.Pool`."""

    key: Hashable
    host: str  # "mx.example.org [192.0.2.1]:25"
    tls: str  # "TLSv1.3 TLS_AES_256_GCM_SHA384" or ""
    security: str  # of mailx.core.courier: PLAIN, ENCRYPTED, VERIFIED, DANE
    tls_failure: str  # what is wrong with the certificate although the session goes on: a result type of RFC 8460 4.3, or ""
    starttls: bool  # whether the server announced STARTTLS (True for implicit TLS): for the memory against downgrades
    extensions: Mapping[str, str]  # what EHLO announced: {"SIZE": "1000", "PIPELINING": ""}; upper case

    async def send(self, envelope: Envelope, recipients: Sequence[Address], outgoing: Rendering) -> Mapping[Address, Attempt]:
        """Send the message to ``recipients``; what came of it for each. Never raises for a mail reason."""
        raise NotImplementedError

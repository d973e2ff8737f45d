"""What the store keeps of mail that goes out, sealed and opened: the message's details, its recipients, their attempts.

The values are short JSON lists. Failure to open is CipherError: the row was damaged, moved, or sealed under a key that
is not here; so is JSON of another shape, which only a damaged program can have written.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from mailx.core.courier import Attempt
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Demands, Envelope, Forwarding, Origin, Wish
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from mailx.store.cipher import Cipher, CipherError
from mailx.store.queue import Claimed
from mailx.store.queue_upkeep import Listed

_HISTORY = 12  # attempts of a recipient that are kept; the first and the last ones
_TEXT = 500  # characters of a reply that are kept; it is another server's, and may hold anything
_NAME = 300  # characters of a host's name

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@frozen
class Consignee:
    """One recipient elsewhere, as stored. ``original`` is the address before an alias forwarded it, or the same."""

    address: Address
    original: Address
    wish: Wish


@frozen
class Past:
    """One attempt that was made, ``time`` in seconds since 1970."""

    time: int
    attempt: Attempt


def new_guid() -> bytes:
    """16 octets that bind seals to one dispatch: a name, not a secret, so no draw from the system is needed."""
    return random.randbytes(16)


class Parcels:
    """Seals and opens."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def destination(self, lane: str) -> bytes:
        """The hash of a lane's name (``Way.lane``)."""
        return self._cipher.hash(b"destination", b"", lane.encode())

    def seal_details(self, guid: bytes, envelope: Envelope) -> bytes:
        """What the courier and a report need to know of ``envelope`` besides its content."""
        sender, demands, forwarding, origin = envelope.sender, envelope.demands, envelope.forwarding, envelope.origin
        details = [
            None if sender is None else (sender.local, sender.domain),
            origin.protocol,
            origin.connection,
            envelope.message.eight_bit,
            (demands.utf8, demands.require_tls, demands.returns, demands.id),
            None if forwarding is None else (forwarding.domain, forwarding.results),
        ]
        return self._cipher.seal(b"dispatch", guid, _encode(details).encode())

    def open_envelope(self, row: Claimed | Listed, message: Message) -> Envelope:
        """The envelope of a dispatch around ``message``, without recipients. Raises CipherError."""
        try:
            sender, protocol, connection, eight_bit, demands, forwarding = json.loads(self._cipher.open(b"dispatch", row.guid, row.details))
            return Envelope(
                row.envelope,
                None if sender is None else Address(*sender),
                (),
                evolve(message, eight_bit=eight_bit),
                Origin(protocol, connection, account=row.account),
                demands=Demands(*demands),
                forwarding=None if forwarding is None else Forwarding(*forwarding),
            )
        except (ValueError, TypeError):
            raise CipherError("the details of a dispatch have another shape") from None

    def seal_recipient(self, guid: bytes, address: Address, original: Address, wish: Wish) -> bytes:
        """One recipient."""
        values: list[Any] = [address.local, address.domain]
        if wish is not WISHES_NOTHING or original is not address:
            values += [wish.notify, wish.original, original.local, original.domain]
        return self._cipher.seal(b"recipient", guid, _encode(values).encode())

    def open_recipient(self, guid: bytes, sealed: bytes) -> Consignee:
        """What ``seal_recipient`` sealed; raises CipherError."""
        try:
            local, domain, *rest = json.loads(self._cipher.open(b"recipient", guid, sealed))
            address = Address(local, domain)
            if not rest:
                return Consignee(address, address, WISHES_NOTHING)
            notify, wished, *original = rest
            return Consignee(address, Address(*original), Wish(notify, wished))
        except (ValueError, TypeError):
            raise CipherError("a recipient has another shape") from None

    def seal_history(self, guid: bytes, history: Sequence[Past]) -> bytes:
        """The attempts of one recipient: the first few, and the last ones."""
        kept = history if len(history) <= _HISTORY else (*history[:2], *history[2 - _HISTORY :])
        return self._cipher.seal(b"history", guid, _encode([_packed(past) for past in kept]).encode(errors="replace"))

    def open_history(self, guid: bytes, sealed: bytes) -> list[Past]:
        """What ``seal_history`` sealed; nothing for a row that was not tried. Raises CipherError."""
        try:
            return [_unpacked(*values) for values in json.loads(self._cipher.open(b"history", guid, sealed))] if sealed else []
        except (ValueError, TypeError):
            raise CipherError("a history has another shape") from None

    def seal_word(self, destination: bytes, past: Past) -> bytes:
        """The last attempt at a destination as a whole."""
        return self._cipher.seal(b"word", destination, _encode(_packed(past)).encode(errors="replace"))

    def open_word(self, destination: bytes, sealed: bytes) -> Past | None:
        """What ``seal_word`` sealed; raises CipherError."""
        try:
            return _unpacked(*json.loads(self._cipher.open(b"word", destination, sealed))) if sealed else None
        except (ValueError, TypeError):
            raise CipherError("a last word has another shape") from None


def _packed(past: Past) -> tuple[Any, ...]:
    attempt = past.attempt
    reply = attempt.reply
    return past.time, reply.code, reply.enhanced[:_NAME], reply.text[:_TEXT], attempt.host[:_NAME], attempt.security, attempt.tls[:_NAME]


def _unpacked(time: int, code: int, enhanced: str, text: str, host: str, security: str, tls: str) -> Past:
    return Past(time, Attempt(Reply(code, enhanced, text), host, security, tls))

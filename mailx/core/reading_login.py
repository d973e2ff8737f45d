"""Logging in where people read their mail: the dialogue around one SASL exchange, which IMAP and POP3 hold alike.

Challenges are lines behind "+ ", responses are lines, both in base64 (RFC 9051 6.2.2, RFC 5034 4).
"""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from mailx.core.input import BareLine, LongLine
from mailx.core.reading_session import Peer
from mailx.core.sasl import Exchange, Malformed
from mailx.core.users import User

FAILURES = 5  # failed logins before the connection ends: who is throttled and goes on guessing only fills the log
RESPONSE_LIMIT = 12288  # octets of one SASL response in base64


class NoResponse(Exception):
    """The client cancels, or what it sent is no SASL response; ``text`` is for its eyes."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


async def converse(peer: Peer, exchange: Exchange, initial: bytes | None, seconds: float) -> User:
    """The user with whom ``exchange`` ends.

    ``initial`` is the initial response as it stands in the command, "=" for an empty one; ``seconds`` are what the client may
    take for each response. Raises LoginRefused, NoResponse, Hangup.
    """
    if initial is None:
        response = await _ask(peer, exchange.first(), seconds)
    else:
        response = b"" if initial == b"=" else _decoded(initial)
    try:
        while not isinstance(answer := await exchange.step(response), User):
            response = await _ask(peer, answer, seconds)
    except Malformed:
        raise NoResponse(b"Invalid SASL response") from None
    return answer


async def _ask(peer: Peer, challenge: bytes, seconds: float) -> bytes:
    peer.write(b"+ %b\r\n" % b2a_base64(challenge, newline=False))
    peer.patience(seconds)
    try:
        line = await peer.input.line(RESPONSE_LIMIT)
    except (LongLine, BareLine):
        raise NoResponse(b"Invalid SASL response") from None
    finally:
        peer.no_deadline()
    if line == b"*":
        raise NoResponse(b"Authentication cancelled")
    return _decoded(line)


def _decoded(line: bytes) -> bytes:
    try:
        return a2b_base64(line, strict_mode=True) if line else b""
    except Base64Error:
        raise NoResponse(b"Invalid base64") from None

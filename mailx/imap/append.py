"""APPEND (RFC 9051 6.3.12): the message goes from the connection into the core as it arrives, never held here.

Line ends become CRLF on the way; a NUL refuses the message (RFC 9051 4.3.1 allows it in literal8 only).
"""

from mailx.core.content import Content
from mailx.imap.answers import Bad, Ended, No
from mailx.imap.arrival import Command, skip
from mailx.imap.commands import Append, Literal
from mailx.imap.input import BareLine, LongLine
from mailx.imap.session import Session
from mailx.imap.tokens import LITERAL, Tokens
from mailx.mail.envelope import Envelope, Filing, new_id
from mailx.mail.message import Message

PIECE = 65536
LEAST_RATE = 4096  # octets a second; a slower client is cut off


class LineEnds:
    """Makes every line end of a message in pieces CRLF, and notices NUL."""

    def __init__(self) -> None:
        self.nul = False
        self._after_cr = False  # the last octet was a CR that was passed on as CRLF

    def convert(self, piece: bytes) -> bytes:
        """The next piece, converted; it is returned unchanged where nothing is wrong with it."""
        self.nul = self.nul or b"\0" in piece
        if self._after_cr:
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if piece.endswith(b"\r"):
            self._after_cr = True
            piece += b"\n"
        pairs = piece.count(b"\r\n")
        if piece.count(b"\n") != pairs or piece.count(b"\r") != pairs:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        return piece


def unread(tokens: Tokens) -> None:
    """The arguments were taken while the command arrived: one without a message to come is incomplete."""


async def append(session: Session, command: Command, _: None) -> bytes:
    arguments, literal = command.append, command.message
    if arguments is None or literal is None:
        raise Bad(b"APPEND needs a mailbox and a literal")
    limit = session.services.settings.append_size
    if literal.size == 0 or literal.size > limit:
        if not literal.waits:
            await skip(session.peer.input, session.limits, b"{%d+}" % literal.size)
        raise No(b"Message is empty", b"CANNOT") if not literal.size else No(b"Message too large", b"TOOBIG")
    content = session.services.reception.content(session.origin, b"", limit, submitted=False)
    try:
        refusal = await _take(session, content, literal)
        if refusal is not None:
            raise refusal
        message = await content.finish()
    finally:
        content.abort()
    return await _file(session, arguments, message)


async def _take(session: Session, content: Content, literal: Literal) -> Ended | None:
    """Read the message and the rest of the command; what is wrong with it, if anything."""
    peer = session.peer
    if literal.waits:
        peer.write(b"+ Ready for literal data\r\n")
    patience = session.services.settings.command_timeout + literal.size / LEAST_RATE
    peer.patience(patience, b"Command timeout")
    lines = LineEnds()
    left = literal.size
    while left:
        piece = await peer.input.some(min(left, PIECE))
        left -= len(piece)
        wait = content.write(lines.convert(piece))
        if wait is not None:
            await wait
    refusal: Ended | None = await _end(session)
    peer.no_deadline()
    if refusal is None and lines.nul:
        refusal = No(b"NUL is not allowed in a message", b"CANNOT")
    return refusal


async def _end(session: Session) -> Bad | None:
    """Take the line end behind the literal."""
    source, limits = session.peer.input, session.limits
    try:
        line = await source.line(limits.line)
    except LongLine as long:
        line = long.tail or b" "
    except BareLine as bare:
        line = bare.line.removesuffix(b"\r") or b" "
    if not line:
        return None
    await skip(source, limits, line)
    return Bad(b"One message at a time" if LITERAL.search(line) else b"Too many arguments")


async def _file(session: Session, arguments: Append, message: Message) -> bytes:
    user = session.owner()
    filing = Filing(arguments.mailbox, arguments.flags, arguments.keywords, arguments.received)
    envelope = Envelope(new_id(), None, (user.address,), message, session.origin, filing=filing)
    filed = await session.services.reception.file(user, [envelope])
    return b"[APPENDUID %d %d] APPEND completed" % (filed.uidvalidity, filed.uids[0])

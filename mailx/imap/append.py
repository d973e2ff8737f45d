"""APPEND with all its extensions (RFC 9051 6.3.12, RFC 3502, RFC 3516, RFC 4469, RFC 6855) and REPLACE (RFC 8508).

Messages go from the connection into the core as they arrive; all of one command are filed together, or none. A command
that is refused half-way is read to its end where the client sends on without waiting.
"""

from collections.abc import AsyncIterator

from mailx.core.content import Content
from mailx.core.input import BareLine, LongLine
from mailx.imap import append_grammar, catenate, message_limit
from mailx.imap.answers import Bad, No
from mailx.imap.append_grammar import Opening
from mailx.imap.arrival import Command, skip
from mailx.imap.session import Session
from mailx.imap.sets import compact
from mailx.imap.tokens import Announced, Tokens
from mailx.mail import binary
from mailx.mail.envelope import Envelope, Filing, new_id
from mailx.mail.message import Message
from mailx.mail.names import MailboxError

PIECE = 65536
LEAST_RATE = 4096  # octets a second; a slower client is cut off
MESSAGES_LIMIT = 250  # of one command
PIECES_LIMIT = 1000  # of one CATENATE
_TOTAL = 2  # times the largest message: octets of all messages of one command
_IN_MEMORY = 4194304  # octets of messages of one command that may lie in memory; of what follows no more than
_CRUMB = 16384  # each


class LineEnds:
    """Makes every line end of a message in pieces CRLF, or only looks at pieces that are binary."""

    def __init__(self) -> None:
        self.nul = False
        self._after_cr = False  # the last octet was a CR that was passed on as CRLF
        self._uneven = False  # a binary piece has line ends that are not CRLF
        self._open = False  # the last octet was a CR of a binary piece

    def convert(self, piece: bytes) -> bytes:
        """The next piece, converted; it is returned unchanged where nothing is wrong with it."""
        self.nul = self.nul or b"\0" in piece
        if self._after_cr:
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if piece.endswith(b"\r"):
            self._after_cr = True
            piece += b"\n"
        return binary.lines(piece)

    @property
    def loose(self) -> bool:
        """Whether binary pieces have line ends that are not CRLF."""
        return self._uneven or self._open

    def keep(self, piece: bytes) -> bytes:
        """The next piece as it is."""
        self._after_cr = False
        self.nul = self.nul or b"\0" in piece
        if not self._uneven:
            whole = b"\r" + piece if self._open else piece
            self._open = piece.endswith(b"\r")
            self._uneven = binary.uneven(whole[:-1] if self._open else whole)
        return piece


class Upload:
    """The messages of one command while they arrive."""

    def __init__(self, session: Session, command: Command) -> None:
        self._session = session
        self._tokens = command.tokens
        self._unread = command.unread
        self._limit = session.services.settings.append_size
        self._left = self._limit * _TOTAL
        self._held = 0
        self.messages: list[tuple[Opening, Message]] = []
        self._was_binary = False  # octets of the message came in binary literals

    async def mailbox(self) -> str:
        """The mailbox it is for, which must be there."""
        name = append_grammar.mailbox(self._tokens)
        try:
            await self._session.services.mailboxes.status(self._session.owner(), name, "i")
        except MailboxError as error:
            if error.code == "NONEXISTENT":
                raise MailboxError("TRYCREATE", error.text) from None
        return name

    async def take(self, several: bool) -> None:
        """The messages, to the end of the command."""
        while True:
            await self._message()
            if self._tokens.at_end():
                return
            if not several:
                raise Bad(b"One message at a time")
            message_limit.refuse_more(self._session, len(self.messages) + 1, b"APPEND")
            if len(self.messages) == MESSAGES_LIMIT:
                raise No(b"Too many messages at once", b"LIMIT")

    async def refused(self) -> None:
        """Read what the client sends on without waiting."""
        unread, self._unread = self._unread, b""
        if unread:
            await skip(self._session.peer.input, self._session.limits, unread)

    async def discard(self) -> None:
        """Keep nothing of what has arrived."""
        messages, self.messages = self.messages, []
        await self._session.services.reception.discard([message for _, message in messages])

    async def _message(self) -> None:
        opening = append_grammar.opening(self._tokens)
        self._was_binary = False
        held = None if self._held < _IN_MEMORY else _CRUMB
        content = self._session.services.reception.content(self._session.origin, b"", self._limit, submitted=False, hold=held)
        lines = LineEnds()
        try:
            if opening.catenate:
                await self._catenated(content, lines)
            else:
                announced = self._tokens.announced()
                if opening.utf8 and not announced.binary:
                    raise Bad(b"UTF8 needs a binary literal")
                if not announced.size:
                    raise No(b"Message is empty", b"CANNOT")
                await self._literal(announced, content, lines)
                if opening.utf8:
                    self._tokens.expect(b")")
            if not content.size:
                raise No(b"Message is empty", b"CANNOT")
            self._left -= content.size
            message = await content.finish()
        finally:
            content.abort()
        self.messages.append((opening, message))  # theirs to discard from here on
        if lines.nul or lines.loose:
            if not self._was_binary:
                raise No(b"NUL is not allowed in a message", b"CANNOT")
            message = await self._session.services.reception.storable(message)
            self.messages[-1] = opening, message
        if isinstance(message.content, bytes):
            self._held += message.size

    async def _catenated(self, content: Content, lines: LineEnds) -> None:
        """The pieces of a CATENATE, put together; the list that holds them ends."""
        for _ in range(PIECES_LIMIT):
            kind = append_grammar.piece(self._tokens)
            if kind is append_grammar.URL:
                await self._url(content, lines)
            else:
                announced = self._tokens.announced()
                if kind is append_grammar.UTF8 and not announced.binary:
                    raise Bad(b"UTF8 needs a binary literal")
                await self._literal(announced, content, lines)
                if kind is append_grammar.UTF8:
                    self._tokens.expect(b")")
            if self._tokens.take(b")"):
                return
            self._tokens.space()
        raise No(b"Too many pieces", b"LIMIT")

    async def _url(self, content: Content, lines: LineEnds) -> None:
        if self._tokens.arriving:  # the URL itself is a literal
            announced = self._tokens.announced()
            if announced.size > self._session.limits.literal or announced.binary:
                raise Bad(b"URL too long", b"TOOBIG")
            url = b"".join([piece async for piece in self._octets(announced)])
        else:
            url = self._tokens.astring()
        async for piece in catenate.octets(self._session, url, min(self._limit - content.size, self._left - content.size)):
            await _write(content, lines.convert(piece))

    async def _literal(self, announced: Announced, content: Content, lines: LineEnds) -> None:
        """Read a literal of the message and the line behind it."""
        if announced.size > min(self._limit, self._left) - content.size:
            raise No(b"Message too large", b"TOOBIG")
        change = lines.keep if announced.binary else lines.convert
        self._was_binary = self._was_binary or announced.binary
        async for piece in self._octets(announced):
            await _write(content, change(piece))

    async def _octets(self, announced: Announced) -> AsyncIterator[bytes]:
        peer = self._session.peer
        if announced.waits:
            peer.write(b"+ Ready for literal data\r\n")
        self._unread = b""
        peer.patience(self._session.services.settings.command_timeout + announced.size / LEAST_RATE)
        left = announced.size
        while left:
            piece = await peer.input.some(min(left, PIECE))
            left -= len(piece)
            yield piece
        line = await self._line()
        peer.no_deadline()
        self._unread = line
        tokens = Tokens([line])
        tokens.utf8 = self._tokens.utf8
        self._tokens = tokens

    async def _line(self) -> bytes:
        """The line behind a literal."""
        source, limits = self._session.peer.input, self._session.limits
        try:
            return await source.line(limits.line)
        except LongLine as long:
            self._unread = long.tail
            raise Bad(b"Command line too long", b"LIMIT") from None
        except BareLine as bare:
            self._unread = bare.line.removesuffix(b"\r")
            raise Bad(b"Lines end in CRLF") from None


async def _write(content: Content, octets: bytes) -> None:
    wait = content.write(octets)
    if wait is not None:
        await wait


async def append(session: Session, command: Command, _: Tokens) -> bytes:
    upload = Upload(session, command)
    try:
        mailbox = await upload.mailbox()
        await upload.take(several=True)
        envelopes = _envelopes(session, mailbox, upload)
    except BaseException:
        await upload.discard()
        await upload.refused()
        raise
    filed = await session.services.reception.file(session.owner(), envelopes)
    return b"[APPENDUID %d %b] APPEND completed" % (filed.uidvalidity, compact(filed.uids))


async def replace(session: Session, command: Command, tokens: Tokens) -> bytes:
    """REPLACE and UID REPLACE: the new message comes and the old one goes in one step, or neither."""
    upload = Upload(session, command)
    try:
        view = session.view()
        uids = session.uids(append_grammar.replaced(tokens), command.name.startswith(b"UID"))
        mailbox = await upload.mailbox()
        if view.read_only:
            raise No(b"Mailbox is read-only", b"READ-ONLY")
        if len(uids) != 1:
            raise No(b"REPLACE is about one message", b"CANNOT")
        await upload.take(several=False)
        envelopes = _envelopes(session, mailbox, upload)
    except BaseException:
        await upload.discard()
        await upload.refused()
        raise
    filed = await session.services.reception.file(session.owner(), envelopes, replaces=(view, uids[0]))
    session.peer.write(b"* OK [APPENDUID %d %d] Replacement is there\r\n" % (filed.uidvalidity, filed.uids[0]))
    return b"REPLACE completed"


def _envelopes(session: Session, mailbox: str, upload: Upload) -> list[Envelope]:
    recipients = (session.owner().address,)
    return [
        Envelope(
            new_id(), None, recipients, message, session.origin,
            filing=Filing(mailbox, opening.flags, opening.keywords, opening.received),
        )
        for opening, message in upload.messages
    ]  # fmt: skip

"""One SMTP session as a client: the messages sent over it, and what came of them for each recipient.

A session that breaks is never an exception here: every recipient gets an Attempt. The one doubtful case, a connection that ends
after the whole message went and before the answer came, is a temporary failure whose text says so.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Protocol

from mailx.core.courier import Attempt
from mailx.core.metrics import SENT_UNCERTAIN
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.lines import DotStuffer, dot_stuff
from mailx.mail.reply import Refused, Reply
from mailx.outbound import commands
from mailx.outbound.answers import Answer, clean
from mailx.outbound.dialogue import Opened
from mailx.outbound.wire import CLOSING, END_TIME, SLOW, Broken, Wire

COMMAND_TIME = 300.0  # seconds, MAIL and RCPT: RFC 5321 4.5.3.2.2, 4.5.3.2.3
DATA_TIME = 120.0  # RFC 5321 4.5.3.2.4
SMALL = 65536  # octets of a message that are written at once
PIECE = 65536  # octets of a larger one that are written at a time
WANTS_TLS = 530  # RFC 3207 4; with RFC 4954 6 it asks for a login
RECIPIENTS = 100  # of one transaction: what every server must take (RFC 5321 4.5.3.1.8)

UNCERTAIN = Reply(451, "4.4.2", "Connection lost after the message had gone: whether the server took it is not known")
NOT_SEVEN_BIT = Reply(554, "5.6.3", "The next server takes 7-bit messages only, and this one cannot be converted")
OUT_OF_PLACE = Reply(451, "4.5.0", "The server answered out of place")


class Rendering(Protocol):
    """Makes the octets to send: :class:`mailx.core.outgoing.Outgoing`."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes | Sequence[bytes] | None:
        """The message as it goes out, CRLF, dots not stuffed; raises Refused, or None when it cannot be made 7 bit."""


class Connection:
    """A session that is ready for messages. Made by :class:`mailx.outbound.pool.Pool`."""

    def __init__(self, key: Hashable, wire: Wire, opened: Opened) -> None:
        self.key = key
        self.wire = wire
        self.hop = opened.hop
        self.host = str(opened.hop)  # "mx.example.org [192.0.2.1]:25"
        self.tls = opened.tls  # "TLSv1.3 TLS_AES_256_GCM_SHA384" or ""
        self.security = opened.security  # of mailx.core.courier: PLAIN, ENCRYPTED, VERIFIED, DANE
        self.tls_failure = opened.tls_failure  # what is wrong with a certificate that need not be right (RFC 8460 4.3)
        self.starttls = opened.starttls  # whether TLS was offered: for the memory against downgrades
        self.extensions = opened.extensions  # what EHLO announced: {"SIZE": "1000", "PIPELINING": ""}
        self.messages = 0  # sent over this session so far
        self.stale = False  # the last message met a session that had ended before it: nothing of it was answered
        self.unfinished = False  # a transaction was left open
        self.pipelining = "PIPELINING" in opened.extensions
        self.chunking = "CHUNKING" in opened.extensions
        self._eight_bit = "8BITMIME" in opened.extensions
        self._dsn = "DSN" in opened.extensions
        self._utf8 = "SMTPUTF8" in opened.extensions
        self._size = _number(opened.extensions.get("SIZE", ""))
        limits = _limits(opened.extensions.get("LIMITS", ""))
        self._recipients = min(limits.get("RCPTMAX") or RECIPIENTS, RECIPIENTS)
        self._domains = limits.get("RCPTDOMAINMAX", 0)  # 0: not said
        self.most_messages = limits.get("MAILMAX", 0)  # RFC 9422 4.1; 0: not said

    @property
    def usable(self) -> bool:
        """Whether another message can be sent."""
        return self.wire.usable

    async def send(self, envelope: Envelope, recipients: Sequence[Address], outgoing: Rendering) -> Mapping[Address, Attempt]:
        """Send the message to ``recipients``; what came of it for each. Never raises for a mail reason."""
        reused = self.messages > 0
        self.messages += 1
        self.stale = False
        try:
            pieces, size = await self._content(envelope, outgoing)
            utf8 = self._wants_utf8(envelope, recipients, pieces)
            eight_bit = self._eight_bit and envelope.message.eight_bit
            mail = commands.mail(envelope, self.extensions, size, eight_bit, utf8)
        except Refused as refused:
            return dict.fromkeys(recipients, self.attempt(refused.reply))
        found: dict[Address, Attempt] = {}
        lines: dict[Address, bytes] = {}
        wishes = envelope.wishes
        for recipient in recipients:
            try:
                lines[recipient] = commands.rcpt(recipient, wishes.get(recipient), self._dsn, utf8)
            except Refused as refused:
                found[recipient] = self.attempt(refused.reply)
        left = list(lines)
        while left:
            some, left = self._parted(left)
            transaction = _Transaction(self, mail, {one: lines[one] for one in some}, pieces, size)
            brought = await transaction.run()
            self.stale |= reused and len(left) + len(some) == len(lines) and transaction.silent
            found.update(brought)
            if any(attempt.reply.done for attempt in brought.values()):
                left += [one for one in some if _too_many(brought[one].reply)]
        return {recipient: found[recipient] for recipient in recipients}

    def _parted(self, left: list[Address]) -> tuple[list[Address], list[Address]]:
        """Who goes into the next transaction, as many as the server takes, of as many domains (RFC 9422 4.2, 4.3); and who does not."""
        if not self._domains:
            return left[: self._recipients], left[self._recipients :]
        domains = frozenset(list(dict.fromkeys(recipient.domain for recipient in left))[: self._domains])
        some = [recipient for recipient in left if recipient.domain in domains][: self._recipients]
        taken = set(some)
        return some, [recipient for recipient in left if recipient not in taken]

    async def _content(self, envelope: Envelope, outgoing: Rendering) -> tuple[Sequence[bytes], int]:
        """The octets to send and their number; raises Refused."""
        refusal = commands.lacking(envelope.demands, self.extensions, self.security)
        if refusal is not None:
            raise Refused(refusal)
        content = await outgoing.render(envelope, self._eight_bit)
        if content is None:
            raise Refused(NOT_SEVEN_BIT)
        pieces = (content,) if isinstance(content, bytes) else tuple(piece for piece in content if piece)
        if not pieces or not pieces[-1].endswith(b"\r\n"):
            pieces += (b"\r\n",)
        size = sum(map(len, pieces))
        if self._size and size > self._size:  # RFC 1870 6.1: not worth trying
            raise Refused(commands.TOO_LARGE)
        return pieces, size

    def _wants_utf8(self, envelope: Envelope, recipients: Sequence[Address], pieces: Sequence[bytes]) -> bool:
        """Whether the message goes as internationalised mail; raises Refused when it must and the server cannot (RFC 6531 3.2)."""
        sender = envelope.sender
        if envelope.demands.utf8 or not all(each.ascii for each in recipients) or not (sender is None or sender.ascii):
            if self._utf8:
                return True
            if envelope.message.eight_bit and not _header(pieces).isascii():
                raise Refused(commands.NO_UTF8)
        return False

    def attempt(self, reply: Reply) -> Attempt:
        """``reply`` with where and how it came about."""
        if reply.code == WANTS_TLS and self.starttls and not self.tls:  # it may be possible to begin it another time
            reply = Reply(454, "4.7.0", clean(f"TLS, which the server wants, could not be begun: {reply}"))
        return Attempt(reply, self.host, self.security, self.tls, reports=self._dsn)


class _Transaction:
    """One MAIL, its recipients, one message. ``run`` says what came of it."""

    def __init__(self, connection: Connection, mail: bytes, lines: dict[Address, bytes], pieces: Sequence[bytes], size: int) -> None:
        self._connection = connection
        self._wire = connection.wire
        self._mail = mail
        self._lines = lines
        self._pieces = pieces
        self._size = size
        self._resets = b"RSET\r\n" if connection.unfinished else b""
        self._found: dict[Address, Attempt] = {}
        self._grouped = False  # answers to MAIL and what follows it are awaited
        self._gone = False  # the whole message has been written
        self.silent = True  # the session had ended before: the server took notice of nothing

    async def run(self) -> dict[Address, Attempt]:
        try:
            if self._connection.pipelining:
                await self._at_once()
            else:
                await self._step_by_step()
        except Broken as broken:
            self._broke(broken)
        if not self._connection.unfinished:
            self._wire.rest()
        return self._found

    async def _at_once(self) -> None:
        """MAIL, all RCPT and the data command in one write (RFC 2920); a small message too where it can be (RFC 3030 4.2)."""
        connection = self._connection
        group = [self._resets, self._mail, *self._lines.values()]
        if connection.chunking and self._size <= SMALL:
            group += [b"BDAT %d LAST\r\n" % self._size, *self._pieces]
            self._gone = True
        elif not connection.chunking:
            group.append(b"DATA\r\n")
        connection.unfinished = self._grouped = True
        count = len(group) - (not self._resets) - self._gone * len(self._pieces)
        answers = await self._wire.ask(b"".join(group), count, END_TIME if self._gone else COMMAND_TIME)  # they may come together
        self._grouped = False
        accepted = self._envelope(self._reset(answers) if self._resets else answers)
        if self._gone:
            self._settle(accepted, answers[-1])
        elif not connection.chunking:
            await self._data(accepted, answers[-1])
        elif accepted:
            await self._chunk(accepted)

    async def _step_by_step(self) -> None:
        """For servers that take one command at a time."""
        connection = self._connection
        if self._resets:
            self._reset(await self._wire.ask(self._resets, 1, COMMAND_TIME))
        connection.unfinished = True
        answers = await self._wire.ask(self._mail, 1, COMMAND_TIME)
        self.silent = False
        if answers[0].good:
            for line in self._lines.values():
                answers += await self._wire.ask(line, 1, COMMAND_TIME)
                if self._wire.closing:
                    break
        missing = 1 + len(self._lines) - len(answers)
        accepted = self._envelope(answers + answers[-1:] * missing)
        if accepted and connection.chunking:
            await self._chunk(accepted)
        elif accepted:
            await self._data(accepted, (await self._wire.ask(b"DATA\r\n", 1, DATA_TIME))[0])

    def _reset(self, answers: Sequence[Answer]) -> Sequence[Answer]:
        """The answers behind the one to RSET. If that was no "yes" the others are not about this message: the session ends."""
        if not answers[0].good and not self._wire.closing:
            self._wire.abort()
            self.silent = not self._gone
            raise Broken(OUT_OF_PLACE, [])
        return answers[1:]

    def _envelope(self, answers: Sequence[Answer]) -> list[Address]:
        """Judge the answers to MAIL and each RCPT; the recipients that are accepted."""
        mail, accepted = answers[0], []
        self.silent = mail.code == CLOSING
        for recipient, answer in zip(self._lines, answers[1:], strict=False):
            if not mail.good:
                self._judge(recipient, mail)
            elif answer.good:
                accepted.append(recipient)
            else:
                self._judge(recipient, answer)
        return accepted

    async def _data(self, accepted: list[Address], answer: Answer) -> None:
        """After DATA: the content, or an empty one when nobody would get it (RFC 2920 3.1)."""
        if answer.code != 354:
            self._settle(accepted, answer, final=False)
        elif not accepted:
            await self._wire.ask(b".\r\n", 1, END_TIME)
        elif self._size <= SMALL:
            self._gone = True
            (answer,) = await self._wire.ask(dot_stuff(b"".join(self._pieces)) + b".\r\n", 1, END_TIME)
            self._settle(accepted, answer)
        else:
            (answer,) = await self._wire.pour(self._stuffed(), self._size)
            self._settle(accepted, answer)

    async def _chunk(self, accepted: list[Address]) -> None:
        """The content as one chunk (RFC 3030 2)."""
        if self._size > SMALL:
            (answer,) = await self._wire.pour(self._chunked(), self._size)
        else:
            self._gone = True
            (answer,) = await self._wire.ask(b"BDAT %d LAST\r\n" % self._size + b"".join(self._pieces), 1, END_TIME)
        self._settle(accepted, answer)

    def _stuffed(self) -> Iterator[bytes]:
        stuffer = DotStuffer()
        for piece in self._slices():
            yield stuffer.feed(piece)
        self._gone = True
        yield stuffer.finish()

    def _chunked(self) -> Iterator[bytes]:
        yield b"BDAT %d LAST\r\n" % self._size
        left = self._size
        for piece in self._slices():
            left -= len(piece)
            self._gone = not left
            yield piece

    def _slices(self) -> Iterator[bytes]:
        for piece in self._pieces:
            for start in range(0, len(piece), PIECE):
                yield piece[start : start + PIECE]

    def _settle(self, accepted: list[Address], answer: Answer, final: bool = True) -> None:
        """The answer to the message as a whole, or (not ``final``) to a command to which "yes" is none."""
        if final and answer.good:
            self._connection.unfinished = False
            self._found.update(dict.fromkeys(accepted, self._connection.attempt(answer.reply())))
            return
        for recipient in accepted:
            self._judge(recipient, answer)

    def _judge(self, recipient: Address, answer: Answer) -> None:
        """A refusal. A "yes" where none can be means that we have lost each other: the session ends."""
        reply = answer.reply()
        if answer.code < 400:
            reply = OUT_OF_PLACE
            self._wire.abort()
        self._found[recipient] = self._connection.attempt(reply)

    def _broke(self, broken: Broken) -> None:
        """The session ended in the middle: refusals that were said for good count, the rest is to be tried again."""
        said: Sequence[Answer] = ()
        if self._grouped:
            said = broken.answers[1:] if self._resets else broken.answers
            if said and said[0].code >= 500:
                said = said[:1] * (1 + len(self._lines))
            for recipient, answer in zip(self._lines, said[1:], strict=False):
                if answer.code >= 500:
                    self._judge(recipient, answer)
            self.silent = not broken.answers
        if broken.reply == SLOW:  # it may only be slow: whoever asks another at once may send twice
            self.silent = False
        gone = self._gone and broken.asked
        open_ones = [recipient for recipient in self._lines if recipient not in self._found]
        if gone and open_ones:
            SENT_UNCERTAIN.inc()
        reply = UNCERTAIN if gone else broken.reply
        self._found.update(dict.fromkeys(open_ones, self._connection.attempt(reply)))


def _too_many(reply: Reply) -> bool:
    """Whether a recipient was refused because others had been taken: it goes into the next transaction (RFC 5321 4.5.3.1.10)."""
    return reply.code in (452, 552) and reply.enhanced in ("", "4.5.3", "5.5.3")


def _number(text: str) -> int:
    """A number that a server announced; 0 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _limits(text: str) -> dict[str, int]:
    """The parameters of LIMITS (RFC 9422)."""
    return {name.upper(): _number(value) for name, _, value in (word.partition("=") for word in text.split())}


def _header(pieces: Sequence[bytes]) -> bytes:
    """The header section, as far as it lies in the first piece that shows its end."""
    head = b""
    for piece in pieces:
        head += piece[:SMALL]
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            return head[:end]
    return head

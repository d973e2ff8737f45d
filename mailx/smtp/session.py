"""One SMTP or LMTP session: its commands, in the order RFC 5321 4.1.4 asks for.

The session decides what may come when; what is accepted, the reception decides. A refusal is a reply and the session
goes on; an unexpected failure is logged and answered 451, never shown. A session that ends in the middle of a
transaction leaves nothing behind.
"""

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.core import sasl, trace
from mailx.core.users import User
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Origin, Wish, new_id
from mailx.mail.lines import DotReader
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply
from mailx.smtp import replies, syntax
from mailx.smtp.authentication import Dialogue
from mailx.smtp.incoming import Incoming
from mailx.smtp.transaction import Transaction
from mailx.smtp.wire import Answer, Wire

if TYPE_CHECKING:
    from mailx.smtp.listener import SMTPListener

log = Logger()

_AUTH_FAILURES = 5  # failed logins that end a session
_HTTP = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"HOST:", b"USER-AGENT:"})  # cross-protocol attacks


@implementer(IHandshakeListener)
class Session(Wire):
    """The server side of one connection; ``listener`` holds what all sessions of one port share."""

    def __init__(self, listener: "SMTPListener", seconds: Callable[[], float]) -> None:
        super().__init__(seconds, listener.soon, listener.settings.idle_timeout, listener.settings.command_timeout)
        self.listener = listener
        self.door = listener.door
        self.connection = new_id()
        self.address = ""
        self.name = ""  # what EHLO, HELO or LHLO gave
        self.extended = False  # EHLO or LHLO, not HELO
        self.tls = ""
        self.user: User | None = None
        self.transaction: Transaction | None = None
        self._dialogue: Dialogue | None = None
        self._auth_failures = 0
        self._origin: Origin | None = None
        self._chunk_left = 0
        self._chunk_last = False
        self._chunk_refusal = b""
        self._accepting = False
        self._entered = False
        self._verb = b""  # the command being answered; empty: an unknown one
        self._refused_recipients = 0

    # The connection.

    def connectionMade(self) -> None:
        super().connectionMade()
        self.address = getattr(self.transport.getPeer(), "host", "")
        refusal = self.listener.enter(self)
        self._entered = not refusal
        if refusal:
            self.close(refusal)
            if self.listener.crowded:
                self.transport.abortConnection()
            return
        if self.door.implicit_tls:
            self.handshaking = True
        self.say(self.listener.greeting)

    def handshakeCompleted(self) -> None:
        self.handshaking = False
        handle = self._tls_handle()
        self.tls = f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"
        self._origin = None
        self.listener.handshake(handle.get_protocol_version_name())
        if self.listener.tracing:
            log.debug("TLS negotiated", event="smtp.tls", connection_id=self.connection, tls=self.tls, client_ip=self.address)

    def _tls_handle(self) -> Any:
        return self.transport.getHandle()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        try:
            super().connectionLost(reason)
        finally:
            self.listener.leave(self, self._entered)
            if self.user is not None:
                self.listener.access.release(self.user)

    def closing(self) -> None:
        self._dialogue = None
        if self.transaction is not None and not self._accepting:
            self.transaction.abort()
        self.transaction = None

    def drain(self) -> None:
        """The server shuts down: end now, or as soon as the open transaction is over."""
        self.last_words = replies.SHUTTING_DOWN
        if self.settled() and not self.waiting:
            self.close(replies.SHUTTING_DOWN)

    def revoke(self) -> None:
        """The account may no longer be here: end now, or with the reply to a message that is being stored."""
        if self._accepting:
            self.last_words = replies.REVOKED
        else:
            self.close(replies.REVOKED)

    def cut(self) -> None:
        """The time for a graceful end is over."""
        self.close(replies.SHUTTING_DOWN)

    def answered(self, reply: bytes) -> None:
        self.listener.counts[self._verb, reply[0]].inc()

    def settled(self) -> bool:
        return self.transaction is None

    def accepting(self) -> bool:
        return self._accepting

    # Commands.

    def command(self, line: bytes) -> Answer:
        if self._dialogue is not None:
            return self._respond(self._dialogue, line)
        verb, _, argument = line.partition(b" ")
        verb = verb.rstrip().upper()
        execute = self.listener.commands.get(verb)
        self._verb = verb if execute is not None else b""  # an unknown one may be anything, a password too
        if self.listener.tracing:
            known = self._verb.decode() or "unknown"
            log.debug("SMTP command received", event="smtp.command", connection_id=self.connection, command=known, client_ip=self.address)
        if execute is None:
            if verb in _HTTP:
                self.close(replies.CLOSING_NOT_SMTP)
                return None
            return replies.UNKNOWN
        try:
            return execute(self, argument.strip())
        except syntax.SyntaxFault as fault:
            return fault.reply
        except Refused as refused:
            return self._refuse(refused.reply, refused.reason)

    def bad_line(self, reply: bytes) -> bytes:
        self._dialogue = None
        self.long_lines = False
        self._verb = b""
        return reply

    def do_EHLO(self, rest: bytes) -> Answer:
        if self.door.lmtp:
            return replies.NEED_LHLO
        return self._hello(rest, True)

    def do_LHLO(self, rest: bytes) -> Answer:
        return self._hello(rest, True)

    def do_HELO(self, rest: bytes) -> Answer:
        if self.door.lmtp:
            return replies.NEED_LHLO
        return self._hello(rest, False)

    def _hello(self, rest: bytes, extended: bool) -> bytes:
        self.name = syntax.host(rest)
        self.extended = extended
        self._origin = None
        self._reset()
        return self.listener.hello(bool(self.tls)) if extended else self.listener.helo_reply

    def do_MAIL(self, rest: bytes) -> Answer:
        if not self.name:
            return replies.SAY_LHLO if self.door.lmtp else replies.SAY_HELLO
        if self.door.submission and self.user is None:
            return replies.NEED_AUTH if self.tls else replies.NEED_TLS
        if self.transaction is not None:
            return replies.NESTED_MAIL
        path = syntax.mail(rest, self.extended, self.door.submission, bool(self.tls))
        if path.size is not None and path.size > self.listener.settings.message_size:
            return self._refuse(replies.TOO_LARGE)
        return self._mail(path)

    async def _mail(self, path: syntax.Path) -> bytes:
        try:
            await self.listener.reception.sender(self.origin(path.demands.utf8), path.address, path.size)
        except Refused as refused:
            return self._refuse(refused.reply, refused.reason)
        self.transaction = Transaction(path)
        return replies.SENDER_OK

    def do_RCPT(self, rest: bytes) -> Answer:
        transaction = self.transaction
        if transaction is None:
            return replies.NEED_MAIL
        if transaction.chunked:
            return replies.IN_CHUNKS
        address, wish = syntax.rcpt(rest, self.extended, transaction.utf8)
        if len(transaction.recipients) >= self.listener.settings.recipients:
            return replies.TOO_MANY_RECIPIENTS
        return self._rcpt(transaction, address, wish)

    async def _rcpt(self, transaction: Transaction, address: Address, wish: Wish) -> bytes:
        try:
            recipient = await self.listener.reception.recipient(
                self.origin(transaction.utf8), transaction.sender, address, transaction.size
            )
        except Refused as refused:
            self._refused_recipients += 1
            reply = self._refuse(refused.reply, refused.reason)
            if self._refused_recipients >= self.listener.settings.recipients:  # somebody guesses addresses
                self.close(reply + replies.TOO_MANY_ERRORS)
            return reply
        transaction.recipients.append(recipient)
        if wish is not WISHES_NOTHING:
            transaction.wishes[recipient] = wish
        return replies.RECIPIENT_OK

    def do_DATA(self, rest: bytes) -> Answer:
        transaction = self.transaction
        if rest:
            return replies.NO_ARGUMENT
        if transaction is None:
            return replies.NEED_MAIL
        if transaction.chunked:
            return replies.IN_CHUNKS
        if not transaction.recipients:
            return replies.NEED_RCPT
        transaction.incoming = self._incoming(transaction)
        transaction.reader = DotReader()
        self.body(self._take_data)
        return replies.START_INPUT

    def do_BDAT(self, rest: bytes) -> Answer:
        """RFC 3030. The octets of a refused chunk are taken all the same: they are not commands."""
        try:
            size, last = syntax.chunk(rest)
        except syntax.SyntaxFault as fault:  # where the chunk ends is unknown: nothing behind it can be trusted
            self.close(fault.reply)
            return None
        transaction = self.transaction
        refusal = b""
        if transaction is None:
            refusal = replies.NEED_MAIL
        elif not transaction.recipients:
            refusal = replies.NEED_RCPT
        elif not transaction.chunked:
            transaction.chunked = True
            try:
                transaction.incoming = self._incoming(transaction)
            except Exception:  # the chunk is on its way all the same, and must not be taken for commands
                log.failure("SMTP body failed", event="smtp.failed", connection_id=self.connection)
                self.close(replies.FAILED)
                return None
        self._chunk_left, self._chunk_last, self._chunk_refusal = size, last, refusal
        if not size:
            return self._chunk_end()
        self.body(self._take_chunk)
        return None

    def do_RSET(self, rest: bytes) -> Answer:
        if rest:
            return replies.NO_ARGUMENT
        self._reset()
        return replies.RESET

    def do_NOOP(self, rest: bytes) -> Answer:
        return replies.OK

    def do_HELP(self, rest: bytes) -> Answer:
        return replies.HELP

    def do_VRFY(self, rest: bytes) -> Answer:
        return replies.CANNOT_VERIFY if rest else replies.SYNTAX

    def do_EXPN(self, rest: bytes) -> Answer:
        return replies.NOT_IMPLEMENTED

    def do_QUIT(self, rest: bytes) -> Answer:
        if rest:
            return replies.NO_ARGUMENT
        self.close(self.listener.farewell)
        return None

    def ext_STARTTLS(self, rest: bytes) -> Answer:
        if rest:
            return replies.NO_ARGUMENT
        if self.tls:
            return replies.TLS_ACTIVE
        if not self.listener.can_start_tls(self.transport):
            return replies.TLS_MISSING
        if self.rest():  # came in the clear: RFC 3207 6 (no injection into the protected session)
            self.close(replies.TLS_INJECTION)
            return None
        self._reset()
        self.name = ""  # RFC 3207 4.2: forget all the client said
        self.start_tls(replies.START_TLS, self.listener.tls_options())
        return None

    def ext_AUTH(self, rest: bytes) -> Answer:
        if not self.name:
            return replies.SAY_HELLO
        if not self.tls:
            return replies.NEED_TLS_AUTH
        if self.user is not None:
            return replies.ALREADY_AUTHENTICATED
        if self.transaction is not None:
            return replies.IN_TRANSACTION
        word, _, initial = rest.partition(b" ")
        mechanism = word.decode("ascii", "replace").upper()
        if mechanism not in self.listener.mechanisms():
            return replies.NO_MECHANISM
        origin = self.origin(False)
        exchange = self.listener.access.begin(mechanism, origin, sasl.channel_bindings(self.transport))
        self._dialogue = dialogue = Dialogue(exchange, mechanism, origin)
        self.long_lines = True
        return self._judge(dialogue, dialogue.begin(initial.strip() or None))

    def _respond(self, dialogue: Dialogue, line: bytes) -> Answer:
        return self._judge(dialogue, dialogue.respond(line))

    async def _judge(self, dialogue: Dialogue, reply: Any) -> bytes:
        try:
            answer: bytes = await reply
        finally:
            if dialogue.over:
                self._dialogue = None
                self.long_lines = False
        if dialogue.user is not None:
            self.user = dialogue.user
            self.listener.access.hold(self.user)
            self._origin = None
        if dialogue.over:
            self.listener.login(dialogue.outcome)
            if answer in (replies.AUTH_FAILED, replies.AUTH_LATER):  # who is throttled and goes on guessing only fills the log
                self._auth_failures += 1
                if self._auth_failures >= _AUTH_FAILURES:
                    self.close(answer + replies.TOO_MANY_ERRORS)
        return answer

    # The message.

    def origin(self, utf8: bool) -> Origin:
        """How the message comes in; made once a session unless something changes."""
        if self._origin is not None and not utf8:
            return self._origin
        keyword = "LMTP" if self.door.lmtp else "SMTP"
        if utf8:
            keyword = f"UTF8{keyword}"  # RFC 6531 4.3
        elif self.extended and not self.door.lmtp:
            keyword = "ESMTP"
        origin = Origin(
            protocol=keyword + ("S" if self.tls else "") + ("A" if self.user is not None else ""),
            connection=self.connection,
            address=self.address,
            port=self.listener.port,
            helo=self.name,
            account=None if self.user is None else self.user.id,
            tls=self.tls,
        )
        if not utf8:
            self._origin = origin
        return origin

    def _incoming(self, transaction: Transaction) -> Incoming:
        listener = self.listener
        transaction.id = new_id()
        head = trace.received(
            listener.hostname, self.origin(transaction.utf8), transaction.id, transaction.sender, transaction.recipients, time()
        )
        limit = listener.settings.message_size
        content = listener.reception.content(self.origin(transaction.utf8), head, limit, self.door.submission)
        return Incoming(content, limit, listener.settings.line_octets)

    def _take_data(self, data: bytes) -> None:
        transaction = self.transaction
        assert transaction is not None and transaction.reader is not None and transaction.incoming is not None
        content, rest = transaction.reader.feed(data)
        blocked = transaction.incoming.write(content)
        if rest is not None:
            self.lines(rest)
            self.answer(self._deliver(transaction))
        elif self.endless(self.listener.settings.message_size):
            self.close(replies.render(replies.TOO_LARGE))
        else:
            self.hold(blocked)

    def _take_chunk(self, data: bytes) -> None:
        left = self._chunk_left
        self._chunk_left = max(0, left - len(data))
        blocked: Deferred[None] | None = None
        if not self._chunk_refusal and self.transaction is not None and self.transaction.incoming is not None:
            blocked = self.transaction.incoming.write(data[:left])
        if not self._chunk_left:
            self.lines(data[left:])
            self.answer(self._chunk_end())
        elif self.endless(self.listener.settings.message_size):
            self.close(replies.render(replies.TOO_LARGE))
        self.hold(blocked)

    def _chunk_end(self) -> Answer:
        """The reply to a BDAT whose octets have all come."""
        transaction = self.transaction
        if self._chunk_refusal or transaction is None or transaction.incoming is None:
            return self._chunk_refusal or replies.NEED_MAIL
        if self._chunk_last:
            return self._deliver(transaction)
        if transaction.incoming.refused is not None:  # further chunks get 503: RFC 3030 3
            reply = self._refuse(transaction.incoming.refused)
            self._reset()
            return reply  # in LMTP, too, only the last chunk has a reply for each recipient: RFC 2033 4.3
        return replies.CHUNK_OK

    async def _deliver(self, transaction: Transaction) -> bytes:
        """Hand the whole message over; the reply, or in LMTP the replies, that follow it."""
        listener = self.listener
        began = self._seconds()
        incoming = transaction.incoming
        assert incoming is not None
        try:
            message = await incoming.finish()
            if self._closed:
                _discard(message)
                return b""
            self._accepting = True
            envelope = transaction.envelope(message, self.origin(transaction.utf8))
            try:
                verdicts = await listener.reception.accept(envelope, self.door.lmtp)
            finally:
                self._accepting = False
        except Refused as refused:
            return self._verdict(transaction, self._refuse(refused.reply, refused.reason))
        except Exception:
            log.failure("Message could not be accepted", event="smtp.failed", connection_id=self.connection)
            return self._verdict(transaction, replies.render(replies.LOCAL_ERROR))
        self.transaction = None
        accepted = replies.render(Reply(250, "2.0.0", f"Message accepted for delivery {transaction.id}"))
        log.info(
            "Message accepted for delivery",
            event="smtp.accepted",
            connection_id=self.connection,
            message_id=transaction.id,
            recipients_count=len(transaction.recipients),
            size_bytes=message.size,
            duration_ms=round((self._seconds() - began) * 1000, 1),
            client_ip=self.address,
            **{"from": str(transaction.sender or "")},
        )
        if not self.door.lmtp:
            return accepted
        return b"".join(accepted if verdicts[recipient].done else self._refuse(verdicts[recipient]) for recipient in transaction.recipients)

    def _verdict(self, transaction: Transaction, reply: bytes) -> bytes:
        """``reply`` ends the transaction, in LMTP once for each recipient (RFC 2033 4.2)."""
        self._reset()
        return reply * len(transaction.recipients) if self.door.lmtp else reply

    def _refuse(self, reply: Reply, reason: str = "") -> bytes:
        self.listener.refused(reply)
        log.info(
            "SMTP request refused",
            event="smtp.refused",
            connection_id=self.connection,
            error_code=reply.code,
            reason=reason or reply.text,
            client_ip=self.address,
        )
        return replies.render(reply)

    def _reset(self) -> None:
        if self.transaction is not None:
            self.transaction.abort()
            self.transaction = None


def _discard(message: Message) -> None:
    if not isinstance(message.content, bytes):
        message.content.discard()

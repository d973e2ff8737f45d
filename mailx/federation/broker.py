"""Perspective Broker on one connection: calls, answers and refusals as octets, and nothing else of PB.

Spoken are the dialect "pb" of Banana, protocol version 6, and the messages ``version``, ``message``, ``answer`` and ``error``.
Objects are named (``root``, ``delivery``); none is ever passed by reference, copied or cached, so the messages about
references are refused like everything unknown. An error is a dictionary of a code, an enhanced code, a text and perhaps
``retry_after``, never an exception.

What breaks these rules is a violation: the :class:`Party` is told, and the connection is for it to end. Before :meth:`Broker.begin`
nothing is decoded; what comes early is kept, and more than EARLY octets of it are a violation.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet import protocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from mailx.federation import jelly
from mailx.federation.banana import Expression, Reader, integer, string
from mailx.federation.banana_limits import FIRST, BananaLimits, Violation
from mailx.federation.service import REPLY, Fields, Plain, spoken
from mailx.mail.reply import Reply

EARLY = 256 * 1024  # octets that may come while the transport is paused: one reading may be under way
VERSION = 6
_IDENTIFIER = 2**53  # of calls; no connection lives that long
_WORD = 64  # octets of the name of an object or method
_DIALECTS = b"\x02\x80\x02\x82pb\x04\x82none"
_DIALECT = b"\x02\x82pb"
_VERSION = b"\x02\x80\x13\x87\x06\x81"
_MESSAGE = b"\x07\x80\x1a\x87"
_ANSWER = b"\x03\x80\x1b\x87"
_ERROR = b"\x03\x80\x1c\x87"
_ONE, _ZERO = b"\x01\x81", b"\x00\x81"
_UNCLEAR = Reply(451, "4.5.0", "The answer of the other server is not clear")


class Party(Protocol):
    """Who speaks through a broker."""

    def opened(self) -> None:
        """Both sides know that they speak PB; calls may be made."""

    def called(self, identifier: int, name: str, method: str, fields: dict[str, Plain], size: int) -> None:
        """The peer calls; ``identifier`` 0: it wants no answer. ``size``: octets on the wire."""

    def answered(self, identifier: int, fields: dict[str, Plain]) -> None:
        """The answer to our call."""

    def refused(self, identifier: int, reply: Reply, retry_after: int) -> None:
        """The peer refused our call."""

    def busy(self, go_on: Callable[[], None]) -> None:
        """More has come than is read at once: ``go_on`` is to be called at another turn, and nothing received until then."""

    def violated(self, reason: str) -> None:
        """The peer broke the rules; nothing more is read."""

    def lost(self) -> None:
        """The connection has ended."""


class Broker(protocol.Protocol):
    """One connection's octets. ``client``: our side connected."""

    def __init__(self, client: bool, party: Party | None = None) -> None:
        self.party = party
        self.octets_read = 0
        self._busy = False
        self.expressions = 0  # that have come whole
        self._client = client
        self._reader = Reader(FIRST)
        self._begun = self._dialect = self._version = self._ended = self._lost = False
        self._early: list[bytes] = []
        self._early_octets = 0

    @property
    def within(self) -> bool:
        """Whether the peer is in the middle of an expression."""
        return self._reader.within

    @property
    def wire(self) -> Any:
        """The transport; typed by its users."""
        return self.transport

    def begin(self, party: Party) -> None:
        """The peer is proved (or about to be told why not): speak PB from now on."""
        self.party = party
        if self._lost:
            party.lost()
            return
        self._begun = True
        if not self._client:
            self.wire.write(_DIALECTS)
        early, self._early, self._early_octets = self._early, [], 0
        for data in early:
            self._take(data)

    def trust(self, limits: BananaLimits) -> None:
        """The peer has said hello: larger expressions may come."""
        self._reader.limits = limits

    def end(self) -> None:
        """Whatever comes from now on is not looked at."""
        self._ended = True
        self._early.clear()

    # What comes

    def dataReceived(self, data: bytes) -> None:
        self.octets_read += len(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._ended:
            return
        if self._begun and not self._busy:
            self._read(data)
        else:
            self._keep(data)

    def _go_on(self) -> None:
        """Read what was left."""
        self._busy = False
        kept, self._early, self._early_octets = self._early, [], 0
        if not self._ended:
            self._read(b"".join(kept))

    def _read(self, data: bytes) -> None:
        try:
            for expression, size in self._reader.feed(data):
                self.expressions += 1
                self._expression(expression, size)
                if self._ended:
                    return
        except Violation as trouble:
            self._violation(str(trouble))
        else:
            if self._reader.more:
                self._busy = True
                self._party.busy(self._go_on)

    def _keep(self, data: bytes) -> None:
        self._early_octets += len(data)
        if self._early_octets > EARLY:
            self._violation("too much was sent while nothing is read")
        else:
            self._early.append(data)

    def _violation(self, reason: str) -> None:
        self.end()
        if self.party is None:
            self.wire.abortConnection()
        else:
            self.party.violated(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end()
        self._lost = True
        if self.party is not None:
            self.party.lost()

    def _expression(self, expression: Expression, size: int) -> None:
        if not self._dialect:
            self._choose(expression)
            return
        if not isinstance(expression, list) or not expression:
            raise Violation("an expression is no list")
        kind = expression[0]
        if not self._version:
            if expression != [b"version", VERSION]:
                raise Violation("another version of PB")
            self._version = True
            self._party.opened()
        elif kind == b"message":
            self._message(expression, size)
        elif kind == b"answer" and len(expression) == 3:
            self._party.answered(_identifier(expression[1]), jelly.decode(expression[2]))
        elif kind == b"error" and len(expression) == 3:
            self._party.refused(_identifier(expression[1]), *refusal(jelly.decode(expression[2])))
        else:
            raise Violation("an expression is no call and no answer")

    @property
    def _party(self) -> Party:
        return cast(Party, self.party)

    def _choose(self, expression: Expression) -> None:
        """The dialect: the server offers a list, the client takes one of it."""
        self._dialect = True
        if self._client:
            if not isinstance(expression, list) or b"pb" not in expression:
                raise Violation("the dialect pb of Banana is not offered")
            self.wire.write(_DIALECT + _VERSION)
        elif expression != b"pb":
            raise Violation("another dialect than pb was chosen")
        else:
            self.wire.write(_VERSION)

    def _message(self, expression: list[Expression], size: int) -> None:
        if len(expression) != 7:
            raise Violation("a call has not six parts")
        if expression[4] not in (0, 1):
            raise Violation("a call does not say whether it wants an answer")
        identifier = _identifier(expression[1]) if expression[4] else 0
        name, method = _word(expression[2]), _word(expression[3])
        if not jelly.empty(expression[5]):
            raise Violation("a call has arguments without names")
        fields = jelly.decode(expression[6])
        self._party.called(identifier, name, method, fields, size)

    # What goes

    def call(self, identifier: int, name: str, method: str, fields: Fields, answer: bool = True) -> int:
        """Send a call; its size. Raises TypeError or ValueError (nothing was sent) for fields that are not plain or too large."""
        begin = _MESSAGE + integer(identifier) + string(name.encode()) + string(method.encode()) + (_ONE if answer else _ZERO)
        return self._send(jelly.encode(fields, begin + jelly.NOTHING))

    def answer(self, identifier: int, fields: Fields) -> int:
        """Send the answer to a call of the peer's; its size. Raises as ``call`` does."""
        return self._send(jelly.encode(fields, _ANSWER + integer(identifier)))

    def refuse(self, identifier: int, reply: Reply, retry_after: int = 0) -> int:
        """Refuse a call of the peer's."""
        fields: dict[str, Plain] = {"code": reply.code, "enhanced": reply.enhanced, "text": reply.text[:REPLY]}
        if retry_after:
            fields["retry_after"] = retry_after
        return self._send(jelly.encode(fields, _ERROR + integer(identifier)))

    def bye(self, reply: Reply) -> None:
        """Say why the connection ends; no answer is wanted. Not said before PB is spoken."""
        if self._version:
            self.call(0, "root", "goodbye", {"code": reply.code, "enhanced": reply.enhanced, "text": reply.text[:REPLY]}, answer=False)

    def _send(self, data: bytes) -> int:
        self.wire.write(data)
        return len(data)


def _identifier(value: Expression) -> int:
    if isinstance(value, int) and 0 < value < _IDENTIFIER:
        return value
    raise Violation("a call has no number")


def _word(value: Expression) -> str:
    if isinstance(value, bytes) and 0 < len(value) <= _WORD and value.isascii():
        return value.decode()
    raise Violation("the name of an object or method is not as it must be")


def refusal(fields: Fields) -> tuple[Reply, int]:
    """What the peer said no with, made clear if it is not, and after how many seconds it may be tried again."""
    code, enhanced, text, retry = (fields.get(name) for name in ("code", "enhanced", "text", "retry_after"))
    after = retry if isinstance(retry, int) and 0 < retry < 2**31 else 0
    if not isinstance(code, int) or not 400 <= code < 600 or not isinstance(text, str):
        return _UNCLEAR, after
    return spoken(code, enhanced, text), after

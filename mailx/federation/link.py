"""A channel over a broker: who calls what, how long it may take, and how the connection ends.

A :class:`Link` is made when the peer is proved. The side that connected says hello (:meth:`Link.open`); the other side
answers, and only then are its services there. The calling side keeps at most as many calls under way as the peer said; more
than we said is a violation, which ends the connection with a word to the peer and a line in the log.

Time is bounded everywhere: calls, the peer's calls, an expression that has begun, answers that the peer does not read, an
unused connection, the words of parting.
"""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.core.metrics import FEDERATION_CHANNELS, FEDERATION_OPEN
from mailx.federation import hello
from mailx.federation.banana_limits import BananaLimits, Violation
from mailx.federation.broker import Broker, refusal
from mailx.federation.calls import Calls, Clock
from mailx.federation.channel import CallTimeout, Channel, ChannelFailure, ChannelLost, Greeter, PeerRefused, Trust, Unreachable
from mailx.federation.load import Load
from mailx.federation.refusals import (
    BLOCKED,
    CERTIFICATE,
    LIMIT,
    NOT_BELIEVED,
    PROTOCOL,
    STALLED,
    VERSION,
    OnRefusal,
    Refusal,
    meaning,
    note,
)
from mailx.federation.service import Fields, Plain, Service
from mailx.federation.serving import Serving
from mailx.mail.reply import Refused, Reply

log = Logger()

ROOT = "root"
PING = 30.0  # seconds of silence on an unused connection after which the peer is asked whether it is there
PARTING = 5.0  # seconds that closing a connection may take
CHECK = 60.0  # seconds between questions whether the peer's key is still believed
_PACE = 5.0  # seconds between looks at the times
_REVOKED = Reply(550, NOT_BELIEVED, "The key that opened the channel is not the domain's any more")
_UNKNOWN = Reply(502, "5.5.1", "No such method here")


@frozen
class LinkLimits:
    """Times are seconds."""

    timeout: float = 30.0  # of one call, ours or theirs
    idle: float = 60.0  # an unused connection
    calls: int = 32  # of the peer's, not answered yet
    message_size: int = 39321600
    banana: BananaLimits = BananaLimits()


@frozen
class Proved:
    """Who is at the other end, as its certificate and domain key proved; domains are A-labels."""

    local: str
    remote: str
    key: bytes
    address: str
    tls: str


class Link:
    """See :class:`mailx.federation.channel.Channel`, which it is, and :class:`mailx.federation.broker.Party`."""

    def __init__(
        self,
        broker: Broker,
        proved: Proved,
        services: Mapping[str, Service],
        reactor: Clock,
        *,
        incoming: bool,
        limits: LinkLimits = LinkLimits(),
        capabilities: frozenset[str] = frozenset(),
        greeter: Greeter | None = None,
        load: Load | None = None,
        trust: Trust | None = None,
        on_refusal: OnRefusal = note,
    ) -> None:
        """``capabilities`` are ours, besides the names of ``services``. ``trust`` is asked now and then whether the peer's key is
        still believed: a channel outlives neither a revoked key nor a block."""
        self.local, self.remote, self.key = proved.local, proved.remote, proved.key
        self.address, self.tls, self.incoming = proved.address, proved.tls, incoming
        self.capabilities: frozenset[str] = frozenset()
        self.hello: Mapping[str, Plain] = {}
        self.message_size = 0
        self.ready: Deferred[None] = Deferred()  # an incoming channel's peer has said hello; errback: it never will
        self._broker, self._reactor, self._limits, self._greeter = broker, reactor, limits, greeter
        self._ours = capabilities | services.keys()
        self._load = load or Load()
        self._trust, self._on_refusal = trust, on_refusal
        self._calls = Calls(broker, reactor, self._stalled)
        self._serving = Serving(broker, services, reactor, most=limits.calls, timeout=limits.timeout, load=self._load, idle=self._none_left)
        self._opened: Deferred[None] = Deferred()
        self._said_hello = self._greeted = self._closing = self._closed = False
        self._on_close: list[Callable[[Channel], None]] = []
        self._idle = 2 * limits.idle + PING if incoming else limits.idle  # the calling side knows better when to go
        self._used = self._heard = self._checked = reactor.seconds()
        self._unread: float | None = None  # since when the peer does not read our answers
        self._within: tuple[int, float] | None = None  # which expression of the peer's has not ended, and since when that is known
        self._holds = 0  # reasons not to read
        self._parting: Any = None
        self._turn: Any = None
        self._watch: Any = reactor.callLater(self._pace, self._look)

    # The channel

    @property
    def closed(self) -> bool:
        return self._closed or self._closing

    @property
    def outstanding(self) -> int:
        return self._calls.outstanding

    @property
    def running(self) -> int:
        """Calls of the peer's that are being answered."""
        return self._serving.running

    async def call(self, service: str, method: str, fields: Fields, timeout: float | None = None) -> dict[str, Plain]:
        if self.incoming:
            raise TypeError("only the side that connected calls")
        if self.closed:
            raise ChannelLost("the connection has ended")
        self._used = self._reactor.seconds()
        try:
            return await self._calls.call(service, method, fields, timeout or self._limits.timeout)
        finally:
            self._used = self._reactor.seconds()
            if self._closing and not self._calls.outstanding:
                self._part()

    @property
    def unused(self) -> float:
        """Seconds since the last call; 0 while one comes in or is being answered."""
        return 0.0 if self._busy or self._broker.within else self._reactor.seconds() - self._used

    def on_close(self, call: Callable[[Channel], None]) -> None:
        if self._closed:
            call(self)
        else:
            self._on_close.append(call)

    def close(self) -> None:
        if self.closed:
            return
        self._closing = self._serving.draining = True
        if not self._calls.outstanding and not self._serving.running:
            self._part()

    def abort(self) -> None:
        if self._closed:
            return
        self._broker.end()
        self._broker.wire.abortConnection()
        self._end()

    # Opening

    async def open(self, timeout: float) -> None:
        """Say hello to the side we connected to, and hear it; ``timeout`` for each. Raises Unreachable."""
        timer = self._reactor.callLater(timeout, self._stalled)
        try:
            await self._opened
            timer.cancel()
            said = hello.say(self._ours, self._limits.message_size, 0, 0, await self._greeting())
            answer = await self._calls.call(ROOT, "hello", {**said, "versions": list(hello.VERSIONS)}, timeout)
            self._hear(hello.answered(answer))
        except PeerRefused as no:
            otherwise = VERSION if no.reply.code == 554 else LIMIT if no.reply.temporary else PROTOCOL
            self._note(meaning(no.reply, otherwise), str(no.reply), by_peer=True)
            self.close()
            security = no.reply.enhanced.startswith("5.7.")
            raise Unreachable(f"the other server refused: {no.reply}", security, no.reply, no.retry_after) from None
        except Refused as refused:
            self._note(VERSION, refused.reason)
            self.goodbye(refused.reply)
            raise Unreachable(f"its hello is refused: {refused.reason}") from None
        except ChannelFailure as failure:
            self.abort()
            raise Unreachable(f"no hello: {failure}") from None
        finally:
            if timer.active():
                timer.cancel()
        FEDERATION_CHANNELS.labels("out").inc()
        Deferred.fromCoroutine(self._tell_greeter())

    def opened(self) -> None:
        self._opened.callback(None)

    async def _greeting(self) -> Fields:
        """What is said besides; nothing when that cannot be told, for mail is worth more."""
        if self._greeter is not None:
            try:
                return await self._greeter.greeting(self.local, self.remote)
            except Refused as refused:
                log.warn("A hello says less", event="federation.hello_reduced", remote=self.remote, reason=refused.reason)
            except Exception:
                log.failure("A hello says less", event="federation.hello_failed", remote=self.remote)
        return {}

    def _hear(self, said: hello.Hello) -> None:
        """The peer's hello is good: from now on the channel may be used."""
        self._greeted = True
        self.capabilities, self.message_size, self.hello = said.capabilities, said.message_size, said.fields
        self._calls.most = said.calls
        if said.idle and not self.incoming:
            self._idle = min(self._idle, float(said.idle))
        self._broker.trust(self._limits.banana)
        FEDERATION_OPEN.labels(self._direction).inc()

    async def _tell_greeter(self) -> None:
        if self._greeter is not None:
            try:
                await self._greeter.greeted(self, self.hello)
            except Exception:
                log.failure("What a peer said in its hello was not understood", event="federation.greeting_failed", remote=self.remote)

    async def _answer_hello(self, identifier: int, fields: dict[str, Plain]) -> None:
        try:
            version = hello.offered(fields)
            said = hello.heard(fields, version)
        except Refused as refused:
            self._note(VERSION, refused.reason)
            self._broker.refuse(identifier, refused.reply)
            self.close()
            return
        more = await self._greeting()
        if self.closed:
            return
        self._hear(said)
        self.ready.callback(None)
        FEDERATION_CHANNELS.labels("in").inc()
        Deferred.fromCoroutine(self._tell_greeter())
        limits = self._limits
        answer = hello.say(self._ours, limits.message_size, limits.calls, int(2 * limits.idle), more)
        self._broker.answer(identifier, {**answer, "version": version})

    # What the peer says

    def called(self, identifier: int, name: str, method: str, fields: dict[str, Plain], size: int) -> None:
        self._heard = self._reactor.seconds()
        if not self.incoming:
            if (name, method, identifier) != (ROOT, "goodbye", 0):
                raise Violation("only the side that connected calls")
            self._goodbye(fields)
        elif name == ROOT:
            self._root(identifier, method, fields)
        elif not self._greeted:
            raise Violation("a call before the hello")
        else:
            self._used = self._heard
            self._serving.called(self, identifier, name, method, fields, size)

    def _root(self, identifier: int, method: str, fields: dict[str, Plain]) -> None:
        if method == "goodbye":
            self._goodbye(fields)
        elif not identifier:
            raise Violation("a call has no number of its own")
        elif method == "ping":
            self._broker.answer(identifier, {})
        elif method != "hello":
            self._broker.refuse(identifier, _UNKNOWN)
        elif self._said_hello:
            raise Violation("hello was said")
        else:
            self._said_hello = True
            Deferred.fromCoroutine(self._answer_hello(identifier, fields))

    def answered(self, identifier: int, fields: dict[str, Plain]) -> None:
        self._heard = self._reactor.seconds()
        self._calls.answered(identifier, fields)

    def refused(self, identifier: int, reply: Reply, retry_after: int) -> None:
        self._heard = self._reactor.seconds()
        self._calls.refused(identifier, reply, retry_after)

    def busy(self, go_on: Callable[[], None]) -> None:
        self.hold_reading()
        self._turn = self._reactor.callLater(0, self._next_turn, go_on)

    def _next_turn(self, go_on: Callable[[], None]) -> None:
        go_on()
        self.resume_reading()

    def violated(self, reason: str) -> None:
        self._note(PROTOCOL, reason)
        self.goodbye(Reply(554, "5.5.2", f"Not what is spoken here: {reason}"))

    def _goodbye(self, fields: dict[str, Plain]) -> None:
        """The peer ends the connection, and says why."""
        reply, _ = refusal(fields)
        if not reply.temporary:
            self._note(meaning(reply, PROTOCOL), reply.text, by_peer=True)
        self._closing = True
        self._calls.fail(f"the other server ended the connection: {reply}")
        self._part()

    def goodbye(self, reply: Reply) -> None:
        """End the connection with a word to the peer."""
        if not self._closed and not self._parting:
            self._broker.end()
            self._broker.bye(reply)
            self._closing = True
            self._calls.fail(f"the connection was ended: {reply}")
            self._part()

    # Ending

    def _none_left(self) -> None:
        if self._closing and not self._calls.outstanding:
            self._part()

    def _part(self) -> None:
        """Nothing more is to be said; what is written still goes out."""
        if self._parting is None and not self._closed:
            self._parting = self._reactor.callLater(PARTING, self.abort)
            self._broker.end()
            wire = self._broker.wire
            wire.unregisterProducer()  # TLS does not end before
            wire.resumeProducing()  # the end of the other side is to be seen
            wire.loseConnection()

    def lost(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in (self._watch, self._parting, self._turn):
            if timer is not None and timer.active():
                timer.cancel()
        if self._greeted:
            FEDERATION_OPEN.labels(self._direction).dec()
        self._serving.end()
        self._load.forget(self)
        self._calls.fail("the connection ended before the answer")
        for waiting in (self._opened, self.ready):
            if not waiting.called:
                waiting.errback(ChannelLost("the connection ended"))
                waiting.addErrback(lambda _: None)
        listeners, self._on_close = self._on_close, []
        for call in listeners:
            call(self)

    def _stalled(self) -> None:
        self._note(STALLED, "the peer is silent")
        self.abort()

    # Watching over times

    @property
    def _direction(self) -> str:
        return "in" if self.incoming else "out"

    @property
    def _pace(self) -> float:
        return max(0.5, min(_PACE, self._limits.timeout / 4, self._limits.idle / 4))

    def _look(self) -> None:
        self._watch = self._reactor.callLater(self._pace, self._look)
        now, timeout = self._reactor.seconds(), self._limits.timeout
        if self._unread is not None and now - max(self._unread, self._heard) >= timeout:
            self._note(STALLED, "the peer does not read")
            self.abort()
        elif self._too_long_within(now, timeout):
            self._note(STALLED, "what the peer began to send does not end")
            self.abort()
        elif not self._busy and now - self._used >= self._idle:
            self.close()
        elif self._greeted and not self.incoming and not self._busy and now - self._heard >= PING:
            self._heard = now
            Deferred.fromCoroutine(self._ping())
        if self._greeted and not self.closed and now - self._checked >= CHECK:
            self._checked = now
            Deferred.fromCoroutine(self._check_again())

    @property
    def _busy(self) -> bool:
        return bool(self._calls.outstanding or self._serving.running)

    def _too_long_within(self, now: float, timeout: float) -> bool:
        """Whether one expression of the peer's takes longer than a call may; not while we do not read."""
        if not self._broker.within or self._holds:
            self._within = None
        elif self._within is None or self._within[0] != self._broker.expressions:
            self._within = (self._broker.expressions, now)
        else:
            return now - self._within[1] >= timeout
        return False

    async def _check_again(self) -> None:
        """End the channel if the peer's key is believed no more. When that cannot be told now, it stays."""
        if self._trust is None:
            return
        try:
            keys = await self._trust.keys(self.remote, self.key)
        except Refused as refused:
            if not refused.reply.temporary:
                self._note(BLOCKED, refused.reason)
                self.goodbye(refused.reply)
        except Exception:
            log.failure("A peer could not be checked", event="federation.check_failed", address=self.address)
        else:
            if self.key not in keys:
                self._note(CERTIFICATE, _REVOKED.text)
                self.goodbye(_REVOKED)

    async def _ping(self) -> None:
        try:
            await self._calls.call(ROOT, "ping", {}, self._limits.timeout)
        except CallTimeout:
            self._stalled()
        except ChannelFailure:
            pass  # the connection ended meanwhile, which is what was asked

    # Reading and writing: the transport tells when it is full; whose answers are not read is not listened to

    def hold_reading(self) -> None:
        self._holds += 1
        self._broker.wire.pauseProducing()

    def resume_reading(self) -> None:
        self._holds -= 1
        if not self._holds and not self._closed:
            self._broker.wire.resumeProducing()

    def pauseProducing(self) -> None:
        if self._unread is None:
            self._unread = self._reactor.seconds()
            if self.incoming:
                self.hold_reading()

    def resumeProducing(self) -> None:
        if self._unread is not None:
            self._unread = None
            if self.incoming:
                self.resume_reading()

    def stopProducing(self) -> None:
        """The connection ends; :meth:`lost` follows."""

    def _note(self, reason: str, detail: str, by_peer: bool = False) -> None:
        self._on_refusal(Refusal(reason, detail, self.address, self.local, self.remote, self.incoming, True, by_peer))

"""Two ends of a channel in memory, without TLS: what one end writes the other reads at once, in order, until nothing is left.

    pair = await channels({"delivery": service})
    answer = await pair.calling.call("delivery", "begin", {...})

``pair.wire`` cuts, holds and counts; every end runs the real code of brokers and links. With a
:class:`twisted.internet.task.Clock` for ``reactor`` time stands still unless the test moves it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailx.federation.broker import Broker
from mailx.federation.channel import Channel, Greeter
from mailx.federation.link import Link, LinkLimits, Proved
from mailx.federation.load import Load
from mailx.federation.service import Service

LIMITS = LinkLimits()
RECORD = 16384  # octets that arrive at once, as with TLS
CALLING_KEY, ANSWERING_KEY = b"c" * 32, b"a" * 32


class Wire:
    """What carries octets between two transports. ``held``: nothing arrives; ``octets`` counts what the calling end wrote."""

    def __init__(self) -> None:
        self.held = False
        self.octets = [0, 0]
        self.before: Callable[[int, bytes], bool] | None = None  # (end, data) -> whether it may arrive; False cuts
        self.ends: list[Transport] = []
        self._queue: deque[Callable[[], None]] = deque()
        self._running = False

    def put(self, step: Callable[[], None]) -> None:
        self._queue.append(step)
        self.run()

    def run(self) -> None:
        """Let everything arrive that may."""
        if self._running or self.held:
            return
        self._running = True
        try:
            while self._queue and not self.held:
                self._queue.popleft()()
        finally:
            self._running = False

    def hold(self) -> None:
        """Nothing arrives until :meth:`release`."""
        self.held = True

    def release(self) -> None:
        self.held = False
        self.run()

    def cut(self) -> None:
        """The connection is gone, with all that was under way."""
        self._queue.clear()
        for end in self.ends:
            end.lose(ConnectionLost())


class Transport:
    """One end's transport, number ``end`` of ``wire``."""

    disconnecting = False

    def __init__(self, wire: Wire, end: int) -> None:
        self.wire, self.end = wire, end
        self.protocol: Any = None
        self.lost = False
        self.paused = False
        self._waiting: list[bytes] = []
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        if self.disconnecting or self.lost or not data:
            return
        self.wire.octets[self.end] += len(data)
        other = self.wire.ends[1 - self.end]
        for at in range(0, len(data), RECORD):
            self.wire.put(partial(self._arrive, other, data[at : at + RECORD]))

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def _arrive(self, other: "Transport", data: bytes) -> None:
        if self.wire.before is not None and not self.wire.before(self.end, data):
            self.wire.cut()
        elif other.paused:
            other._waiting.append(data)
        elif not other.lost:
            other.protocol.dataReceived(data)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.wire.put(lambda data=data: self._arrive_here(data))

    def _arrive_here(self, data: bytes) -> None:
        if self.paused:
            self._waiting.append(data)
        elif not self.lost:
            self.protocol.dataReceived(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        if not self.disconnecting and not self.lost:
            self.disconnecting = True
            self.wire.put(lambda: [end.lose(ConnectionDone()) for end in self.wire.ends] and None)

    def abortConnection(self) -> None:
        self.wire.put(self.wire.cut)

    def lose(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason))


def wired(first: Any, second: Any) -> Wire:
    """Connect two protocols."""
    wire = Wire()
    wire.ends = [Transport(wire, 0), Transport(wire, 1)]
    for end, protocol in zip(wire.ends, (first, second), strict=True):
        end.protocol = protocol
    for end in wire.ends:
        end.protocol.makeConnection(end)
    return wire


@frozen
class Pair:
    """Both ends of one channel."""

    calling: Channel
    answering: Channel
    wire: Wire
    clock: Any


async def channels(
    services: Mapping[str, Service] | Iterable[Service] = (),
    *,
    calling: str = "here.example",
    answering: str = "there.example",
    calling_key: bytes = CALLING_KEY,
    answering_key: bytes = ANSWERING_KEY,
    reactor: Any = None,
    limits: LinkLimits = LIMITS,
    calling_greeter: Greeter | None = None,
    answering_greeter: Greeter | None = None,
    load: Load | None = None,
) -> Pair:
    """An open channel from the domain ``calling`` to ``answering``, where ``services`` answer. Without a ``reactor``, on a Clock."""
    offered = services if isinstance(services, Mapping) else {service.name: service for service in services}
    clock = reactor if reactor is not None else Clock()
    near, far = Broker(client=True), Broker(client=False)
    wire = wired(near, far)
    tls = "TLSv1.3 TLS_AES_256_GCM_SHA384"
    out = Link(
        *(near, Proved(calling, answering, answering_key, "127.0.0.2", tls), {}, clock),
        **{"incoming": False, "limits": limits, "greeter": calling_greeter},
    )
    into = Link(
        *(far, Proved(answering, calling, calling_key, "127.0.0.1", tls), offered, clock),
        **{"incoming": True, "limits": limits, "greeter": answering_greeter, "load": load},
    )
    wire.hold()
    far.begin(into)
    near.begin(out)
    wire.release()
    await out.open(5.0)
    return Pair(out, into, wire, clock)

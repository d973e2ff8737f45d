"""Hostile octets for channels, made from a seed: random ones, tokens without sense, and honest sessions with damage.

:func:`run` feeds each to a fresh end of a channel, answering or calling, in pieces of any size. The end must survive it: no
exception, nothing logged as a failure, and when the connection is gone, nothing left that would run later.
"""

import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from resource import getpagesize
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailx.federation.banana import integer
from mailx.federation.broker import Broker
from mailx.federation.channel import ChannelFailure, Unreachable
from mailx.federation.link import Link, LinkLimits, Proved
from mailx.federation.load import Load
from mailx.federation.refusals import Refusal
from mailx.federation.service import Fields
from tests.federation.hostile import DIALECT, HELLO, banana, fields, message

PROVED = Proved("there.example", "here.example", b"k" * 32, "127.0.0.1", "TLSv1.3")
LIMITS = LinkLimits(calls=4)
_OFFER = b"\x02\x80\x02\x82pb\x04\x82none" + banana([b"version", 6])
_WORDS = (b"list", b"dictionary", b"tuple", b"unicode", b"boolean", b"None", b"true", b"message", b"answer", b"error", b"version")
_HOSTILE = (b"reference", b"dereference", b"instance", b"class", b"function", b"module", b"remote", b"copy", b"cache", b"persistent")
_NAMES = (b"root", b"echo", b"hello", b"ping", b"goodbye", b"wait", b"fields", b"", b"\xff", b"__class__")
_SIZES = (0, 1, 2, 127, 128, 255, 8191, 8192, 655360, 655361, 2**20, 2**31, 2**63, 2**64, 2**70)


class Echo:
    """A service that gives back what it got."""

    name = "echo"

    def __init__(self) -> None:
        self.methods = {"echo": self.echo}

    async def echo(self, channel: object, fields: Fields) -> Fields:
        return fields


class Sink:
    """A transport that counts and drops what is written."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.octets = 0
        self.over = False

    def write(self, data: bytes) -> None:
        self.octets += len(data)

    def loseConnection(self) -> None:
        if not self.over:
            self.over = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    abortConnection = loseConnection

    def pauseProducing(self) -> None:
        """Nothing to do."""

    resumeProducing = unregisterProducer = pauseProducing


@define
class Tally:
    """What became of all of them."""

    inputs: int = 0
    refused: int = 0
    octets: int = 0
    answered: int = 0  # octets


def value(random: Random, depth: int = 0) -> Any:
    """A value as nested lists, of whatever sense."""
    kind = random.randrange(9 if depth < 6 else 4)
    if kind == 0:
        return random.choice(_SIZES) * random.choice((1, -1))
    if kind == 1:
        return random.choice(_WORDS + _HOSTILE)
    if kind == 2:
        return random.randbytes(random.randrange(40))
    if kind == 3:
        return random.choice(_NAMES)
    if kind in (4, 5):
        return [b"unicode", random.choice((b"text", b"\xff", "Zürich".encode()))]
    head = [random.choice(_WORDS + _HOSTILE)] if kind < 8 else []
    count = random.randrange(5)
    if head == [b"dictionary"]:
        return head + [[value(random, depth + 2), value(random, depth + 2)] for _ in range(count)]
    return head + [value(random, depth + 1) for _ in range(count)]


def token(random: Random) -> bytes:
    """One token, its number from among those where limits lie."""
    number = integer(random.choice(_SIZES) + random.randrange(3))[:-1]
    return number + bytes((random.choice((*range(0x80, 0x88), random.randrange(256))),)) + random.randbytes(random.randrange(8))


def session(random: Random) -> list[bytes]:
    """What an honest client says, and calls of any sense after it."""
    said = [DIALECT, HELLO]
    for number in range(2, 2 + random.randrange(4)):
        arguments = fields(a=value(random)) if random.randrange(2) else value(random)
        name, method = (random.choice(_NAMES), random.choice(_NAMES)) if random.randrange(2) else (b"echo", b"echo")
        said.append(message(number, name, method, arguments, random.choice((1, 1, 1, 0, 2))))
    return said


def answers(random: Random) -> list[bytes]:
    """What an honest server says, and answers of any sense."""
    said = [_OFFER]
    if random.randrange(3):
        said.append(banana([b"answer", 1, fields(version=1, calls=4)]))
    for _ in range(random.randrange(4)):
        said.append(banana([random.choice((b"answer", b"error")), random.choice((1, 2, 3)), value(random)]))
    return said


def damaged(random: Random, said: bytes) -> bytes:
    """``said`` with a little harm."""
    octets = bytearray(said)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(octets) + 1)
        kind = random.randrange(5)
        if kind == 0 and at < len(octets):
            octets[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del octets[at : at + random.randrange(20)]
        elif kind == 2:
            octets[at:at] = random.randbytes(random.randrange(1, 20))
        elif kind == 3:
            octets[at:at] = token(random)
        else:
            octets[at:at] = octets[random.randrange(len(octets) + 1) :][:50]
    return bytes(octets)


def made(random: Random, client: bool) -> bytes:
    """One input for an end that called (``client``) or was called."""
    kind = random.randrange(8)
    if kind == 0:
        return random.randbytes(random.randrange(1, 200))
    if kind == 1:
        return b"".join(token(random) for _ in range(random.randrange(1, 30)))
    if kind == 2:
        return (_OFFER if client else DIALECT + HELLO) + b"".join(token(random) for _ in range(random.randrange(1, 30)))
    said = b"".join(answers(random) if client else session(random))
    return said if kind < 5 else damaged(random, said)


def pieces(random: Random, said: bytes) -> Iterator[bytes]:
    """``said`` as it may arrive."""
    step = random.choice((1, 3, 17, 100, len(said))) or 1
    for at in range(0, len(said), step):
        yield said[at : at + step]


def run(seed: int, count: int, tally: Tally) -> None:
    """Feed ``count`` inputs made from ``seed``. Raises whatever an end does not survive."""
    random = Random(seed)
    load = Load()
    for _ in range(count):
        client = random.randrange(4) == 0
        _one(random, client, load, tally)
        if load.octets:
            raise AssertionError("octets of calls were not given back")


def _one(random: Random, client: bool, load: Load, tally: Tally) -> None:
    clock, sink, refusals = Clock(), Sink(), list[Refusal]()
    broker = Broker(client)
    services = {} if client else {"echo": Echo()}
    link = Link(broker, PROVED, services, clock, incoming=not client, limits=LIMITS, load=load, on_refusal=refusals.append)
    sink.protocol = broker
    broker.makeConnection(sink)
    broker.begin(link)
    trouble: list[Failure] = []
    if client:
        Deferred.fromCoroutine(_calling(link)).addErrback(trouble.append)
    said = made(random, client)
    for piece in pieces(random, said):
        if sink.over:
            break
        broker.dataReceived(piece)
    link.abort()
    sink.loseConnection()
    if trouble:
        trouble[0].raiseException()
    if clock.getDelayedCalls():
        raise AssertionError("something would still run")
    tally.inputs += 1
    tally.octets += len(said)
    tally.answered += sink.octets
    tally.refused += bool(refusals)


async def _calling(link: Link) -> None:
    """What a caller does: open, and call."""
    with suppress(Unreachable, ChannelFailure):
        await link.open(30.0)
        await link.call("echo", "echo", {})


def resident() -> int:
    """Octets of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()

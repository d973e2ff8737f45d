"""Federation on 127.0.0.1 with real TLS: domains with keys, the port of a server, and connectors to it."""

from collections.abc import Mapping
from time import time
from typing import Any

from nacl.signing import SigningKey
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import TestCase

from mailx.config_federation import Federation
from mailx.core.peer import PeerSettings
from mailx.federation.buckets import Buckets
from mailx.federation.certificates import Certificates
from mailx.federation.channel import Channel
from mailx.federation.connect import Connector
from mailx.federation.link import LinkLimits
from mailx.federation.listener import PeerListener
from mailx.federation.refusals import Refusal, note
from mailx.federation.service import Service
from mailx.mail.reply import Refused

LIMITS = LinkLimits()


class Key:
    """A domain key in memory."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)

    @property
    def public(self) -> bytes:
        return bytes(self._key.verify_key)

    def sign(self, data: bytes) -> bytes:
        return bytes(self._key.sign(data).signature)


class Book:
    """Which keys are believed: what was put in. ``trouble``: the answer is this refusal."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[bytes, ...]] = {}
        self.trouble: Refused | None = None
        self.wait: Deferred[None] | None = None
        self.asked: list[tuple[str, bytes]] = []

    async def keys(self, domain: str, presented: bytes) -> tuple[bytes, ...]:
        self.asked.append((domain, presented))
        if self.wait is not None:
            await self.wait
        if self.trouble is not None:
            raise self.trouble
        return self.known.get(domain, ())


class NoNames:
    """A resolver that knows nothing."""

    async def addresses(self, name: str) -> list[str]:
        return []


class Side:
    """One server's domains and what it believes. ``refusals`` are those that it noted."""

    def __init__(self, *domains: str) -> None:
        self.keys = {domain: Key(bytes([number + 1]) * 16 + domain.encode().ljust(16, b"-")[:16]) for number, domain in enumerate(domains)}
        self.now = 0.0  # added to the time
        self.certificates = Certificates(self.keys.__getitem__, self.seconds)
        self.book = Book()
        self.refusals: list[Refusal] = []
        self._expected: list[Deferred[None]] = []

    def seconds(self) -> float:
        return time() + self.now

    def believe(self, other: "Side") -> None:
        """The keys of ``other`` are known."""
        self.book.known |= {domain: (key.public,) for domain, key in other.keys.items()}

    def note(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)
        note(refusal)
        expected, self._expected = self._expected, []
        for each in expected:
            each.callback(None)

    async def noted(self, text: str) -> Refusal:
        """The first refusal whose detail holds ``text``, as soon as there is one."""
        while True:
            for refusal in self.refusals:
                if text in refusal.detail:
                    return refusal
            expected: Deferred[None] = Deferred()
            self._expected.append(expected)
            await expected


class Loopback(TestCase):
    """Server ``there`` (there.example, also.example), and ``here`` (here.example) that connects to it; each knows the other."""

    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.here, self.there = Side("here.example"), Side("there.example", "also.example")
        self.here.believe(self.there)
        self.there.believe(self.here)
        self.settings = Federation()
        self.own: dict[str, PeerSettings] = {}
        self.channels: list[Channel] = []

    def listen(self, services: Mapping[str, Service] | None = None, limits: LinkLimits = LIMITS, **more: Any) -> PeerListener:
        """Open the port of ``there``."""
        self.listener = PeerListener(
            services=services or {},
            trust=self.there.book,
            identities=self.there.certificates,
            buckets=Buckets(lambda: self.settings, lambda domain: self.own.get(domain, PeerSettings()), self.reactor.seconds),
            limits=limits,
            seconds=self.there.seconds,
            on_refusal=self.there.note,
            **{"max_connections": 50, "reactor": self.reactor, **more},
        )
        self.port = self.reactor.listenTCP(0, self.listener, interface="127.0.0.1")
        self.addCleanup(self.close)
        return self.listener

    def connector(self, side: Side | None = None, limits: LinkLimits = LIMITS, **more: Any) -> Connector:
        side = side or self.here
        return Connector(
            identities=side.certificates,
            resolver=NoNames(),
            networks=lambda: ("127.0.0.0/8",),
            limits=limits,
            seconds=side.seconds,
            on_refusal=side.note,
            **{"reactor": self.reactor, "trust": side.book, **more},
        )

    async def connect(self, local: str = "here.example", remote: str = "there.example", side: Side | None = None, **more: Any) -> Channel:
        """A channel to the port. Raises Unreachable."""
        channel = await self.connector(side, **more).connect(local, remote, self.servers)
        self.channels.append(channel)
        return channel

    @property
    def servers(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.port.getHost().port)]

    async def close(self) -> None:
        """Nothing stays open."""
        await maybeDeferred(self.port.stopListening)
        gone = [self.gone(channel) for channel in self.channels]
        for channel in self.channels:
            channel.abort()
        drained = self.listener.drain()
        self.listener.abort()
        await drained
        for each in gone:
            await each

    async def turn(self) -> None:
        """Let the reactor go round once."""
        turn: Deferred[None] = Deferred()
        self.reactor.callLater(0, turn.callback, None)
        await turn

    def gone(self, channel: Channel) -> "Deferred[None]":
        """Fires when ``channel`` has ended."""
        gone: Deferred[None] = Deferred()
        channel.on_close(lambda _: gone.callback(None))
        return gone

"""Two servers in memory: one sends for example.test, the other takes mail for other.test, over channels of tests.federation.pairs."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.config import Config
from mailx.core.accounts import User
from mailx.core.choosing import Choosing
from mailx.core.outgoing import Outgoing
from mailx.core.peer import Peer
from mailx.core.routes import Routes
from mailx.core.signing import Signing
from mailx.core.transfers import Transfers
from mailx.federation.channel import Channel, Unreachable
from mailx.federation.courier import PeerCourier
from mailx.federation.pool import Pool
from mailx.federation.receiving import Delivery
from mailx.identity.statements import SeedSigner
from tests.core.mail_out import Office, office
from tests.federation.pairs import Pair, channels
from tests.scenery import World, world

HERE, THERE = "example.test", "other.test"
KEYS = {HERE: SeedSigner(b"h" * 32), THERE: SeedSigner(b"t" * 32)}


@define
class Book:
    """What is known of MailX servers: one, in ``peers``."""

    peers: dict[str, Any] = Factory(dict)
    pinned: list[str] = Factory(list)

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None:
        found = self.peers.get(domain)
        if isinstance(found, Exception):
            raise found
        return found

    async def reached(self, channel: Channel) -> None:
        self.pinned.append(channel.remote)

    async def keys(self, domain: str, presented: bytes) -> tuple[bytes, ...]:
        return (KEYS[domain].public,)

    def known(self, domain: str) -> bool:
        return domain in self.peers


@define
class Wires:
    """Makes channels to the services of ``there``. ``trouble`` is raised instead; ``made`` is told of each that was made."""

    services: Sequence[Any]
    reactor: Any
    trouble: Unreachable | None = None
    made: Callable[[Pair], None] | None = None
    pairs: list[Pair] = Factory(list)

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Channel:
        if self.trouble is not None:
            raise self.trouble
        keys = {"calling_key": KEYS[local].public, "answering_key": KEYS[remote].public}
        pair = await channels(self.services, calling=local, answering=remote, reactor=self.reactor, **keys)
        self.pairs.append(pair)
        if self.made is not None:
            self.made(pair)
        return pair.calling


@define
class Post:
    """Both. ``direct`` is the courier of SMTP, which answers as the test says."""

    here: Office
    there: World
    you: User
    book: Book
    wires: Wires
    delivery: Delivery
    courier: PeerCourier
    direct: Any
    admission: list[int]

    async def arrived(self) -> list[bytes]:
        """What lies in your INBOX."""
        return await self.there.contents(self.you)


def peer(**fields: Any) -> Peer:
    """The server of THERE."""
    return evolve(Peer(THERE, (KEYS[THERE].public,), (("mx.other.test", 2590),), "https", 0, 0, 0), **fields)


def receiver(there: World, admission: list[int]) -> Delivery:
    """The service of ``there``; ``admission`` are the seconds that it asks for, one a message, then none."""

    class Admission:
        def take(self, domain: str, count: int = 1) -> int:
            return admission.pop(0) if admission else 0

        def give_back(self, domain: str, count: int = 1) -> None:
            pass

    return Delivery(
        there.reception,
        Transfers(there.store, there.cipher, there.reactor),
        KEYS.__getitem__,
        Book(),
        there.reactor,
        hostname="mx.other.test",
        settings=lambda: there.config.federation,
        admission=Admission(),
    )


async def post(
    case: TestCase, *, engine: str = "", there: dict[str, Any] | None = None, sender_engine: str = "", **sections: dict[str, Any]
) -> Post:
    """Both servers, the queue not started. ``engine`` and the sections ``there`` are those of the receiver."""
    here = await office(case, engine=sender_engine, **sections)
    here.clock[0] = time.time()
    other = await world(case, engine=engine, **(there or {}))
    you = await other.user(f"you@{THERE}")
    admission: list[int] = []
    delivery = receiver(other, admission)
    case.addCleanup(delivery.stop)
    book = Book({THERE: peer()})
    wires = Wires([delivery], here.world.reactor)
    courier, direct = carrier(here, book, wires), here.courier
    choosing = Choosing(book, courier, direct)
    rerouted(here, book, {"": choosing, "smart": here.relay})

    async def cut() -> None:
        for pair in wires.pairs:
            pair.wire.cut()

    case.addCleanup(lambda: Deferred.fromCoroutine(cut()))
    return Post(here, other, you, book, wires, delivery, courier, direct, admission)


def carrier(here: Office, book: Book, wires: Wires) -> PeerCourier:
    """The courier of ``here``."""
    made = here.world
    signing = Signing(made.store, made.cipher, made.accounts, made.reactor)
    return PeerCourier(
        Pool(wires, lambda: 16),
        book,
        Transfers(made.store, made.cipher, made.reactor),
        Outgoing(signing, "mail.example.test", made.reception._threads),
        KEYS.__getitem__,
        made.reactor,
        local=made.accounts.local,
        domains=lambda: [HERE],
        hostname="mail.example.test",
    )


def rerouted(here: Office, book: Book, couriers: dict[str, Any]) -> None:
    """Let ``here`` send by ``couriers``, with the schedule of MailX servers for those of ``book``."""
    config: Config = here.config
    routes = Routes(config.outbound, config.queue, config.smarthost, federated=book.known, retry=config.federation.retry)
    queue = here.queue
    queue._routes = queue._sending._routes = queue.ledger._routes = routes
    queue.reroute(config.outbound, config.queue, config.smarthost, couriers, None)

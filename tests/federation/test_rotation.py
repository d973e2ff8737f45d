"""Keys that change while mail flows, and keys that a thief brings: real keys, certificates, peers, courier and service, channels in memory.

The wire is that of tests.federation.pairs, which has no TLS: the certificates of both sides are made and checked here as the
handshake does it.
"""

from collections.abc import Sequence
from functools import partial
from time import time
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.alerts import PEER_KEY
from mailx.core.choosing import Choosing
from mailx.core.domain_keys import DomainKeys
from mailx.core.keystore import SealedKeystore
from mailx.core.outgoing import Outgoing
from mailx.core.peer import HTTPS, MAILX, Found
from mailx.core.peers import Peers
from mailx.core.publication import Publication
from mailx.core.signing import Signing
from mailx.core.transfers import Transfers
from mailx.federation.certificates import Certificates, Untrusted, claim, verify
from mailx.federation.channel import Channel, Unreachable
from mailx.federation.courier import PeerCourier
from mailx.federation.pool import Pool
from mailx.federation.receiving import Delivery
from mailx.identity.documents import ServerDocument
from mailx.identity.domain_keys import first, rotated
from mailx.identity.encoding import canonical
from mailx.mail.reply import Refused
from tests.core.mail_out import Office, office
from tests.core.peer_scene import Alerts
from tests.federation.pairs import Pair, channels
from tests.federation.post import HERE, KEYS, THERE, Book, peer, rerouted
from tests.identity.signers import signer
from tests.scenery import World, world

HOUR = 3600


@define
class Site:
    """What the receiver finds when it looks for the sender: ``document``, or nothing while it is down."""

    keys: DomainKeys
    document: bytes | None = None  # in place of the domain's own
    down: bool = False
    looks: int = 0

    async def look(self, domain: str, anew: bool = False) -> Found:
        self.looks += 1
        data = self.document or self.keys.published(domain)
        if self.down or data is None:
            return Found("unsure", ttl=300, reason="no answer")
        found = ServerDocument.parse(data, domain, int(time()) + 1)
        return Found(
            MAILX, ttl=HOUR, source=HTTPS, evidence=True, key=found.key, history=found.history, servers=found.servers, until=found.expires
        )


@define
class Handshakes:
    """Makes channels to ``services`` between those who prove themselves to each other."""

    own: Sequence[Certificates]  # the current one, and that of the key before
    peers: Peers  # of the receiver
    services: Sequence[Any]
    reactor: Any
    pairs: list[Pair] = Factory(list)
    refused: list[str] = Factory(list)

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Channel:
        for certificates in self.own:
            try:
                key = await self.proved(certificates.of(local).chain, local)
            except KeyError:
                continue
            except (Untrusted, Refused) as error:
                self.refused.append(str(error))
                continue
            pair = await channels(
                self.services, calling=local, answering=remote, reactor=self.reactor, calling_key=key, answering_key=KEYS[remote].public
            )
            self.pairs.append(pair)
            return pair.calling
        raise Unreachable("the other side refused our proof", True)

    async def proved(self, chain: Sequence[bytes], domain: str) -> bytes:
        """As the listener of the receiver proves whoever connects."""
        return verify(chain, domain, await self.peers.keys(domain, claim(chain).key), time(), server=False)

    def cut(self) -> None:
        """All connections are gone."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            pair.wire.cut()


class Scene(TestCase):
    """``here`` sends for HERE, whose keys are real; ``there`` takes mail for THERE and believes what it may."""

    async def scene(self) -> None:
        self.here: Office = await office(self)
        self.here.clock[0] = time()
        made = self.here.world
        self.keys = DomainKeys(made.store, SealedKeystore(made.cipher), made.accounts, Publication(made.settings), made.reactor)
        self.recovery = (await self.keys.ensure_all())[HERE]
        self.addCleanup(self.keys.stop)
        self.there: World = await world(self)
        self.you = await self.there.user(f"you@{THERE}")
        self.later = 0  # seconds that the receiver's clock is ahead
        self.site = Site(self.keys)
        self.peers = Peers(
            self.there.store,
            self.there.cipher,
            self.there.settings,
            self.there.reactor,
            discoverer=self.site,
            local=lambda domain: domain == THERE,
            now=lambda: time() + self.later,
        )
        self.peers.alerts = self.alerts = Alerts()  # type: ignore[assignment]
        await self.peers.load()
        self.addCleanup(self.peers.stop)
        transfers = Transfers(self.there.store, self.there.cipher, self.there.reactor)
        delivery = Delivery(
            *(self.there.reception, transfers, KEYS.__getitem__, self.peers, self.there.reactor),
            **{"hostname": "mx.other.test", "settings": lambda: self.there.config.federation},
        )
        self.addCleanup(delivery.stop)
        own = [Certificates(self.keys.signer, time), Certificates(self.keys.latest_former, time)]
        self.handshakes = Handshakes(own, self.peers, [delivery], made.reactor)
        self.addCleanup(self.handshakes.cut)
        await self.sending(made)

    async def sending(self, made: World) -> None:
        book = Book({THERE: peer()})
        courier = PeerCourier(
            Pool(self.handshakes, lambda: 16),
            book,
            Transfers(made.store, made.cipher, made.reactor),
            Outgoing(Signing(made.store, made.cipher, made.accounts, made.reactor), "mail.example.test", made.reception._threads),
            self.keys.signer,
            made.reactor,
            local=made.accounts.local,
            domains=lambda: [HERE],
            former=self.keys.former,
            hostname="mail.example.test",
        )
        rerouted(self.here, book, {"": Choosing(book, courier, self.here.courier), "smart": self.here.relay})
        await self.here.start()

    async def send(self, number: int) -> None:
        content = f"From: <me@{HERE}>\r\nTo: <you@{THERE}>\r\nSubject: {number}\r\n\r\nHello\r\n".encode()
        await self.here.send(f"you@{THERE}", content=content)

    async def numbers(self) -> list[int]:
        """The messages in your INBOX."""
        return sorted(int(content.partition(b"Subject: ")[2].partition(b"\r\n")[0]) for content in await self.there.contents(self.you))

    async def announce(self) -> None:
        """What the sender tells over its channels."""
        for key in self.keys.history(HERE)[1:]:
            await self.peers.announced(HERE, key.statement)

    async def retried(self) -> None:
        """What waits is tried again."""
        self.here.clock[0] += HOUR
        await self.here.queue.hasten(THERE)
        self.here.queue.wake()


class Traffic(Scene):
    """Bar: rotation under traffic, no message lost or refused."""

    async def test_rotations_while_messages_go(self) -> None:
        """Connections drop all the time, and the receiver cannot look: it knows what it was told, or only the key before."""
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        self.site.down = True
        count = 1
        for step in range(3):
            sending = [Deferred.fromCoroutine(self.send(count + number)) for number in range(10)]
            rotating = Deferred.fromCoroutine(self.keys.rotate(HERE))
            for each in sending[:5]:
                await each
            self.handshakes.cut()
            await rotating
            for each in sending[5:]:
                await each
            count += 10
            await self.here.until(partial(self.done, count))
            self.assertEqual(await self.numbers(), list(range(count)), f"step {step}")
            await self.announce()
        self.assertEqual(self.here.courier.tried, [])  # nothing went by SMTP
        self.assertEqual(self.alerts.told, [])
        self.assertEqual((await self.peers.keys(HERE, b""))[0], self.keys.signer(HERE).public)

    async def done(self, count: int) -> bool:
        """All are sent; those whose connection was cut are tried again."""
        counts = await self.here.queue.ledger.counts()
        if counts["deferred"]:
            await self.retried()
        self.assertEqual(counts["failed"], 0)
        return bool(counts["sent"] == count)

    async def test_a_peer_that_looks_follows_by_itself(self) -> None:
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        await self.keys.rotate(HERE)
        self.handshakes.cut()
        self.later = 120  # what it saw is not from this very moment any more
        await self.send(1)
        await self.here.settled(sent=2)
        self.assertEqual((self.handshakes.refused, self.site.looks), ([], 2))
        self.assertEqual((await self.peers.keys(HERE, b""))[0], self.keys.signer(HERE).public)

    async def test_after_a_recovery_the_new_key_is_followed_and_the_former_one_refused(self) -> None:
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        stolen = self.keys.signer(HERE)
        await self.keys.recover(HERE, self.recovery)
        self.handshakes.cut()
        self.later = 120
        await self.send(1)
        await self.here.settled(sent=2)
        with self.assertRaises(Untrusted):
            await self.handshakes.proved(Certificates({HERE: stolen}.__getitem__, time).of(HERE).chain, HERE)


class Stolen(Scene):
    """Bar: an unannounced key is refused and alerted."""

    def thief(self) -> Certificates:
        return Certificates({HERE: signer("thief")}.__getitem__, time)

    async def test_a_key_that_nobody_announced_opens_nothing_and_is_told(self) -> None:
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        self.later = 120
        with self.assertRaises(Untrusted) as caught:
            await self.handshakes.proved(self.thief().of(HERE).chain, HERE)
        self.assertIn("not the domain's", caught.exception.reason)
        self.assertEqual(self.alerts.told, [(PEER_KEY, HERE)])
        await self.send(1)  # the owner's mail goes on
        await self.here.settled(sent=2)

    async def test_nor_does_a_thief_who_has_the_site_too(self) -> None:
        """DNS and site say what the thief wants, with a history of its own or one that only seems to follow."""
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        now, thief = int(time()), signer("thief")
        own = first(HERE, signer("thief's recovery").public, now - 10, thief)
        following = rotated(self.keys.history(HERE)[0], signer("somebody"), thief, now - 5)
        for history in ((own,), (following,)):
            self.later += 120
            document = ServerDocument(
                HERE, (("mx.thief.example", 2590),), thief.public, history, history[-1].recovery, frozenset(), 1, now, now + HOUR
            )
            self.site.document = canonical(document.signed(thief).encode())
            with self.assertRaises((Untrusted, Refused)):
                await self.handshakes.proved(self.thief().of(HERE).chain, HERE)
        self.assertEqual(set(self.alerts.told), {(PEER_KEY, HERE)})
        found = await self.peers.state(HERE)
        self.assertEqual(found.key, self.keys.signer(HERE).public)

    async def test_an_announcement_that_nobody_signed_is_refused_and_told(self) -> None:
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        forged = rotated(self.keys.history(HERE)[0], signer("somebody"), signer("thief"), int(time()))
        with self.assertRaises(Refused):
            await self.peers.announced(HERE, forged.statement)
        self.assertEqual(self.alerts.told, [(PEER_KEY, HERE)])

    async def test_the_owner_takes_back_what_a_thief_with_the_key_announced(self) -> None:
        """The thief had the domain key itself and rotated it: nobody could tell. The recovery key ends it."""
        await self.scene()
        await self.send(0)
        await self.here.settled(sent=1)
        thief = signer("thief")
        await self.peers.announced(HERE, rotated(self.keys.history(HERE)[0], self.keys.signer(HERE), thief, int(time())).statement)
        self.assertEqual((await self.peers.keys(HERE, b""))[0], thief.public)
        await self.keys.recover(HERE, self.recovery)
        await self.announce()
        self.assertEqual(await self.peers.keys(HERE, b""), (self.keys.signer(HERE).public,))
        self.handshakes.cut()
        await self.send(1)
        await self.here.settled(sent=2)
        with self.assertRaises(Untrusted):
            await self.handshakes.proved(self.thief().of(HERE).chain, HERE)

"""Servers of a simulation: the program's own classes over a clock, names and connections that live in memory.

Real are discovery, what is known of peers (with its rows), keys and documents with their signatures, the choice of the way,
the courier, its channels' pool, manifests and acknowledgements, lanes, retry schedules and the limits of receivers. Stood in
for are: the wire (a call takes a fixed time, and is lost when the two cannot reach each other), DNS and HTTPS (records and
documents, each question counted), the store (SQLite in memory, without threads) and the queue's rows.
"""

import heapq
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define, field
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from mailx.config import Config
from mailx.core.choosing import Choosing
from mailx.core.courier import Attempt
from mailx.core.discovery import FAILED, Discovery, NotFetched
from mailx.core.peer import PeerSettings
from mailx.core.peers import Peers
from mailx.core.resolver import Answer, DNSFailure
from mailx.core.transfers import Transfers
from mailx.federation.buckets import Buckets
from mailx.federation.channel import CallTimeout, ChannelLost, PeerRefused, Unreachable
from mailx.federation.courier import PeerCourier
from mailx.federation.pool import Pool
from mailx.federation.transfers import TAKEN, UNKNOWN, answer
from mailx.identity import domain_keys
from mailx.identity.documents import VALID_SECONDS, ServerDocument, record_text
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import canonical
from mailx.identity.statements import SeedSigner
from mailx.identity.transfers import Acknowledgement, Manifest, Taken
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Refused, Reply
from mailx.store.cipher import Cipher, Keys
from mailx.store.sqlite import SQLiteTxn

START = 1_767_225_600  # 2026-01-01
TTL = 3600  # of DNS answers
DNS, HTTPS, CONNECT, CALL = 0.03, 0.15, 0.1, 0.05  # seconds that each takes
LOST = 10.0  # seconds until a connection that cannot be made is given up
IDLE = 60.0  # seconds after which an unused channel ends
TIMEOUT = 30.0  # seconds of a call
ADDRESS = "198.51.100.1"  # of every server (RFC 5737)
_SCHEMA = Path(__file__).parent.parent / "mailx" / "store" / "schema" / "0015.sqlite.sql"
_OK = Reply(250, "2.0.0", "OK")
_LIMITED = Reply(450, "4.7.1", "Too many messages from your domain; come back later")


class Time:
    """A reactor that has nothing but time; what is due runs in the order of its time, then of its making."""

    def __init__(self) -> None:
        self.now = float(START)
        self._due: list[tuple[float, int, DelayedCall]] = []
        self._number = count()

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any, **options: Any) -> DelayedCall:
        made = DelayedCall(self.now + delay, call, args, options, lambda _: None, self._push, self.seconds)
        self._push(made)
        return made

    def _push(self, call: DelayedCall) -> None:
        heapq.heappush(self._due, (call.getTime(), next(self._number), call))

    def run(self, until: float) -> None:
        """Let pass what is due until then."""
        while self._due and self._due[0][0] <= until:
            at, _, call = heapq.heappop(self._due)
            if call.cancelled or call.called:
                continue
            if call.getTime() > at:  # it was put off
                self._push(call)
                continue
            self.now = max(self.now, at)
            call.called = 1
            call.func(*call.args, **call.kw)
        self.now = max(self.now, until)

    def pending(self, call: Callable[..., Any]) -> list[DelayedCall]:
        """The calls of ``call`` that are to come."""
        return [each for _, _, each in self._due if each.active() and each.func is call]

    # What deferToThreadPool needs: the work is done at once.

    def getThreadPool(self) -> "Time":
        return self

    def callInThreadWithCallback(self, told: Callable[[bool, Any], None], call: Callable[..., Any], *args: Any, **options: Any) -> None:
        try:
            result: Any = call(*args, **options)
        except Exception as error:
            told(False, Failure(error))
            return
        told(True, result)

    def callFromThread(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        call(*args, **options)


class Rows:
    """A store without threads."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA.read_text(encoding="utf-8"))

    def read(self, job: Callable[..., Any], *args: Any, **options: Any) -> "Deferred[Any]":
        try:
            return succeed(job(SQLiteTxn(self._connection), *args, **options))
        except Exception as error:
            return fail(error)

    write = read

    def close(self) -> None:
        self._connection.close()


@define
class Network:
    """All servers, and who reaches whom. ``counts`` is what was done; ``moments`` when a server was tried to be reached."""

    time: Time
    config: Config
    servers: "dict[str, Server]" = field(factory=dict)
    down: set[str] = field(factory=set)
    side: dict[str, int] = field(factory=dict)  # of a partition
    counts: Counter[str] = field(factory=Counter)
    moments: dict[str, list[float]] = field(factory=dict)

    def reaches(self, one: str, other: str) -> bool:
        return one not in self.down and other not in self.down and self.side.get(one, 0) == self.side.get(other, 0)

    async def wait(self, seconds: float) -> None:
        await deferLater(self.time, seconds, lambda: None)  # type: ignore[arg-type]


class Names:
    """DNS as one server sees it: answers are kept as long as they may be."""

    def __init__(self, network: Network, domain: str) -> None:
        self._network, self._domain = network, domain
        self._kept: dict[str, tuple[float, Answer]] = {}

    async def query(self, name: str, kind: str) -> Answer:
        kept = self._kept.get(name)
        if kept is not None and kept[0] > self._network.time.now:
            return kept[1]
        self._network.counts["dns"] += 1
        await self._network.wait(DNS)
        there = self._network.servers.get(name.removeprefix("_mailx."))
        # Name servers stand elsewhere than the server whose name they hold: only a partition hides them.
        if there is not None and self._network.side.get(there.domain, 0) != self._network.side.get(self._domain, 0):
            raise DNSFailure("no answer")
        records = () if there is None or not there.record else (there.record.encode(),)
        found = Answer(name, records, False, TTL, there is not None)
        self._kept[name] = self._network.time.now + TTL, found
        return found

    async def addresses(self, host: str) -> Sequence[str]:
        return [ADDRESS]

    def forget(self, name: str, kind: str) -> None:
        self._kept.pop(name, None)


class Sites:
    """The documents of others over HTTPS."""

    def __init__(self, network: Network, domain: str) -> None:
        self._network, self._domain = network, domain

    async def fetch(self, domain: str, told: Callable[[Any], None]) -> bytes:
        self._network.counts["https"] += 1
        if not self._network.reaches(self._domain, domain):
            await self._network.wait(LOST)
            raise NotFetched(FAILED, "no connection")
        await self._network.wait(HTTPS)
        document = self._network.servers[domain].document()
        self._network.counts["https octets"] += len(document)
        return document


class Wire:
    """One channel, of the side that opened it."""

    def __init__(self, network: Network, here: "Server", there: "Server") -> None:
        self.local, self.remote, self.key = here.domain, there.domain, there.signer.public
        self.address, self.tls, self.incoming = ADDRESS, "TLSv1.3", False
        self.capabilities: frozenset[str] = frozenset()
        self.hello: Mapping[str, Any] = {}
        self.message_size = 0
        self.closed, self.outstanding = False, 0
        self._network, self._there = network, there
        self._on_close: list[Callable[[Any], None]] = []
        self._idle = network.time.callLater(IDLE, self.close)

    async def call(self, service: str, method: str, fields: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        network = self._network
        if self.closed:
            raise ChannelLost("it is closed")
        network.counts["calls"] += 1
        self.outstanding += 1
        self._idle.reset(IDLE + TIMEOUT)
        try:
            await network.wait(CALL / 2)
            if not network.reaches(self.local, self.remote):
                await self._lost()
            result = await self._there.called(self, method, fields)
            await network.wait(CALL / 2)
            if not network.reaches(self.local, self.remote):  # it was done, and nobody hears of it
                network.counts["answers lost"] += 1
                await self._lost()
            return result
        except Refused as refused:
            raise PeerRefused(refused.reply, getattr(refused, "retry_after", 0)) from None
        finally:
            self.outstanding -= 1
            if not self.closed:
                self._idle.reset(IDLE)

    async def _lost(self) -> None:
        await self._network.wait(TIMEOUT)
        self.abort()
        raise CallTimeout("no answer")

    def on_close(self, call: Callable[[Any], None]) -> None:
        self._on_close.append(call)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._idle.active():
                self._idle.cancel()
            for call in self._on_close:
                call(self)

    abort = close


class Connector:
    """Opens channels: each side proves its domain key, and believes that of the other or not."""

    def __init__(self, network: Network, here: "Server") -> None:
        self._network, self._here = network, here

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Any:
        network, here, there = self._network, self._here, self._network.servers[remote]
        network.counts["connections tried"] += 1
        network.moments.setdefault(remote, []).append(network.time.now)
        if not network.reaches(local, remote):
            await network.wait(LOST)
            raise Unreachable("no connection")
        await network.wait(CONNECT)
        if there.signer.public not in await here.peers.keys(remote, there.signer.public):
            network.counts["keys refused"] += 1
            raise Unreachable("the domain key is not believed", security=True)
        try:
            if here.signer.public not in await there.peers.keys(local, here.signer.public):
                network.counts["keys refused"] += 1
                raise Unreachable("the peer does not believe the domain key", security=True)
        except Refused as refused:
            raise Unreachable(str(refused.reply), reply=refused.reply) from None
        network.counts["connections"] += 1
        there.woken(local)
        return Wire(network, here, there)


class Plain:
    """The way without federation, which counts what it is given."""

    def __init__(self, network: Network, domain: str) -> None:
        self._network, self._domain = network, domain

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Any]:
        if not self._network.reaches(self._domain, destination):
            return dict.fromkeys(recipients, Attempt(Reply(451, "4.4.1", "no connection"), unreachable=True))
        self._network.counts["by SMTP"] += len(recipients)
        return dict.fromkeys(recipients, Attempt(_OK, "mx", "plain"))


class Rendering:
    """Messages are made as they are."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes:
        content = envelope.message.content
        assert isinstance(content, bytes)
        return content


def cipher() -> Cipher:
    """One for all: what each keeps of the others is its own rows."""
    return Cipher(Keys({1: bytes(32)}, 1, bytes(32)))


class Server:
    """One domain with a MailX server, or without one (``federated`` false)."""

    def __init__(self, network: Network, domain: str, number: int, sealing: Cipher, *, federated: bool = True) -> None:
        time: Any = network.time
        self.network, self.domain = network, domain
        self.signer = SeedSigner(sha256(b"key %d" % number).digest())
        self.history: list[DomainKey] = [
            domain_keys.first(domain, SeedSigner(sha256(b"recovery %d" % number).digest()).public, START, self.signer)
        ]
        self.hosts = ((f"mx.{domain}", 2590),)
        self.record = record_text(self.signer.public, self.hosts) if federated else ""
        self.taken: Counter[tuple[bytes, str]] = Counter()
        self.sources: list[tuple[str, float]] = []  # from whom, when
        self._acknowledged: dict[bytes, bytes] = {}
        self._document: tuple[float, bytes] = (0.0, b"")
        self.rows = Rows()
        settings: Any = SimpleNamespace(current=network.config, watch=lambda sections, call: None)
        store: Any = self.rows
        names: Any = Names(network, domain)
        discovery = Discovery(names, Sites(network, domain), settings, time, now=time.seconds)
        self.peers = Peers(store, sealing, settings, time, discoverer=discovery, local=lambda name: name == domain, now=time.seconds)
        connector: Any = Connector(network, self)
        self.pool = Pool(connector, lambda: network.config.federation.transfers)
        self.buckets = Buckets(lambda: network.config.federation, lambda domain: PeerSettings(), time.seconds)
        courier = PeerCourier(
            self.pool,
            self.peers,
            Transfers(store, sealing, time, time.seconds),
            Rendering(),
            lambda name: self.signer,
            time,
            local=lambda name: name == domain,
            domains=lambda: [domain],
            hostname=f"mx.{domain}",
            now=time.seconds,
        )
        self.choosing = Choosing(self.peers, courier, Plain(network, domain), now=time.seconds)
        self.woken: Callable[[str], None] = lambda remote: None

    async def start(self) -> None:
        """Nobody else writes to this database, so nothing needs to be read again and again."""
        await self.peers.load()
        self.peers.stop()

    def document(self) -> bytes:
        """The signed document, made anew once a day."""
        now = self.network.time.now
        if now - self._document[0] > 86400:
            made = ServerDocument(
                self.domain,
                self.hosts,
                self.signer.public,
                tuple(self.history),
                self.history[-1].recovery,
                frozenset(),
                self.network.config.federation.message_size,
                int(now),
                int(now) + VALID_SECONDS,
            )
            self._document = now, canonical(made.signed(self.signer).encode())
        return self._document[1]

    def rotate(self, number: int, announced: bool = True) -> None:
        """Another key; without an announcement it is that of a thief. DNS follows when ``publish`` is called."""
        fresh, now = SeedSigner(sha256(b"fresh %d" % number).digest()), int(self.network.time.now)
        if announced:
            self.history.append(domain_keys.rotated(self.history[-1], self.signer, fresh, now))
        else:
            self.history = [domain_keys.first(self.domain, SeedSigner(sha256(b"thief %d" % number).digest()).public, now, fresh)]
        self.signer, self._document = fresh, (0.0, b"")

    def restore(self, signer: SeedSigner, history: Sequence[DomainKey]) -> None:
        """The keys of before."""
        self.signer, self.history, self._document = signer, list(history), (0.0, b"")

    def publish(self) -> None:
        """The TXT record is that of the key of now."""
        self.record = record_text(self.signer.public, self.hosts)

    # The other side of channels: what the Delivery service does, with nothing but memory behind it.

    async def called(self, channel: Wire, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if method == "status":
            known = self._acknowledged.get(fields["id"])
            if known is None:
                return {"state": UNKNOWN}
            return {"state": TAKEN, **answer({Address.parse(each): _OK for each in fields["recipients"]}, known)}
        manifest, statement = Manifest.read(fields["manifest"])
        content: bytes = fields["content"]
        if not any(statement.signed_by(key) for key in await self.peers.keys(channel.local, statement.signatures[0].key)):
            raise Refused(Reply(550, "5.7.1", "not signed"))
        if sha256(content).digest() != manifest.digest:
            raise Refused(Reply(550, "5.6.0", "another content"))
        known = self._acknowledged.get(manifest.id)
        if known is not None:
            self.network.counts["repeats"] += 1
            return answer(dict.fromkeys(manifest.recipients, _OK), known)
        wait = self.buckets.take(channel.local)
        if wait:
            self.network.counts["told to wait"] += 1
            refused = Refused(_LIMITED)
            refused.retry_after = wait  # type: ignore[attr-defined]
            raise refused
        return self._stored(manifest, fields["manifest"], content)

    def _stored(self, manifest: Manifest, octets: bytes, content: bytes) -> dict[str, Any]:
        now = int(self.network.time.now)
        for each in manifest.recipients:
            self.taken[manifest.id, str(each)] += 1
        self.sources.append((manifest.source, self.network.time.now))
        taken = {each: Taken(now, manifest.digest, manifest.size) for each in manifest.recipients}
        acknowledgement = Acknowledgement(manifest.id, manifest.source, manifest.destination, taken).signed(self.signer)
        self._acknowledged[manifest.id] = acknowledgement
        self.network.counts["signed octets"] += len(octets) + len(acknowledgement)
        return answer(dict.fromkeys(manifest.recipients, _OK), acknowledgement)

    def knows(self, domain: str) -> Sequence[bytes]:
        """The keys of ``domain`` that are believed here."""
        found: list[Any] = []
        Deferred.fromCoroutine(self.peers.state(domain)).addCallback(found.append)  # the rows answer at once
        keys: Sequence[bytes] = found[0].keys(self.network.time.now)
        return keys

    def believes(self, other: "Server") -> bool:
        """Whether the key of now of another is believed here already."""
        return other.signer.public in self.knows(other.domain)

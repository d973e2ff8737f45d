"""A courier over real look-ups on loopback, for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, define
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailx.config import Outbound
from mailx.core.courier import Attempt
from mailx.core.remembered import Remembered
from mailx.core.resolver import Resolver
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Envelope, Origin, new_id
from mailx.mail.message import Message
from mailx.outbound.courier import SMTPCourier
from mailx.outbound.pool import Pool
from mailx.outbound.sts import NotFetched
from mailx.outbound.tls import Contexts
from tests import dns
from tests.outbound.servers import root
from tests.scenery import world

SENDER = Address.parse("ada@example.test")
RECIPIENT = Address.parse("bob@example.org")
CONTENT = b"Return-Path: <ada@example.test>\r\nSubject: Hello\r\n\r\nIt works.\r\n"


class Outgoing:
    """Renders nothing anew."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes:
        content = envelope.message.content
        content = content if isinstance(content, bytes) else (content.content or b"")  # type: ignore[attr-defined]
        return content.partition(b"\r\n")[2]


class Spool:
    """Content in a file, which does not open if it is None."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.size = len(content or b"")
        self.lengths: list[int | None] = []

    def read(self, length: int | None = None) -> bytes:
        self.lengths.append(length)
        if self.content is None:
            raise OSError("damaged")
        return self.content[:length]

    def discard(self) -> None:
        raise AssertionError


class Policies:
    """Policies as HTTPS would give them."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.fetched: list[str] = []

    async def fetch(self, domain: str) -> str:
        self.fetched.append(domain)
        if domain not in self.texts:
            raise NotFetched("sts-policy-fetch-error", "status 404")
        return self.texts[domain]


@define
class Scene:
    """A courier with everything around it. ``clock`` counts seconds since 1970."""

    test_case: TestCase
    authority: dns.Authority
    resolver: Resolver
    remembered: Remembered
    policies: Policies
    time: list[float]
    port: int
    courier: Any = None
    pool: Any = None
    noting: list[Deferred[None]] = Factory(list)  # what the memory against downgrades does behind the mail

    def make(self, **settings: Any) -> None:
        """A courier anew, as after a restart."""
        outbound = Outbound(**{"port": self.port, "loopback": True, "connect_timeout": 2, **settings})
        self.pool = Pool(outbound, "mx.here.test", reactor, believing(self.test_case))
        self.courier = SMTPCourier(
            outbound,
            "mx.here.test",
            self.pool,
            Outgoing(),
            self.resolver,
            self.remembered,
            [("127.0.0.9", self.port)],
            reactor,
            fetcher=self.policies,  # type: ignore[arg-type]
            now=lambda: self.time[0],
        )
        self.test_case.patch(self.courier._downgrades, "_run", lambda job: self.noting.append(Deferred.fromCoroutine(job)))
        self.test_case.addCleanup(lambda courier, pool: Deferred.fromCoroutine(closed(courier, pool)), self.courier, self.pool)

    async def send(
        self, to: Address = RECIPIENT, destination: str = "", content: bytes | Spool = CONTENT, require_tls: bool = False
    ) -> Attempt:
        envelope = Envelope(
            new_id(),
            SENDER,
            (to,),
            Message(content, len(content) if isinstance(content, bytes) else content.size),
            Origin("ESMTPSA", "c"),
            demands=Demands(require_tls=require_tls),
        )
        found: Mapping[Address, Attempt] = await self.courier.deliver(envelope, [to], destination or to.domain)
        noting, self.noting[:] = gatherResults(self.noting), []
        await noting
        await self.remembered.put("test", "", None, 0)  # behind what the courier is writing down
        return found[to]

    async def fresh(self, to: Address = RECIPIENT, **options: Any) -> Attempt:
        """Send over a new connection and with nothing remembered in memory but what outlives a restart."""
        self.resolver.clear()
        self.make(**options)
        return await self.send(to)


def believing(test_case: TestCase) -> Contexts:
    path = Path(test_case.mktemp())
    path.write_bytes(root().pem)
    return Contexts(str(path))


async def closed(courier: SMTPCourier, pool: Pool) -> None:
    await courier.stop()
    pool.abort()
    await deferLater(reactor, 0)  # type: ignore[arg-type]


ZONE = {("example.org", "MX"): ["10 mx.example.org."], ("mx.example.org", "A"): ["127.0.0.1"]}
POLICY = "version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n"
ANNOUNCED = {("_mta-sts.example.org", "TXT"): ["v=STSv1; id=1;"]}
REPORTED = {("_smtp._tls.example.org", "TXT"): ["v=TLSRPTv1; rua=mailto:tls@example.org"]}
DAY = 86400.0


async def scene(test_case: TestCase, port: int, zone: dns.Zone, secure: Any = (), **settings: Any) -> Scene:
    """A courier that knows ``zone``; a resolver that validates if any name is ``secure``."""
    here = await world(test_case)
    authority = await dns.serve(test_case, zone, secure)
    resolver = dns.ask(test_case, authority, validating=bool(secure), timeout=1)
    time = [1_800_000_000.0]
    remembered = Remembered(here.store, here.cipher, lambda: time[0])
    made = Scene(test_case, authority, resolver, remembered, Policies(), time, port)
    made.make(**settings)
    return made


def day(here: Scene) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(here.time[0], UTC).date().isoformat()

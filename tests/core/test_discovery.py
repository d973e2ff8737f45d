"""Looking for MailX servers: DNS and document must agree, and what is wrong is told step by step."""

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from mailx.core.discovery import ABSENT, FAILED, TTL_LEAST, Discovery, NotFetched
from mailx.core.peer import DNSSEC, HTTPS, MAILX, NONE, REFUSED, UNSURE, Found, Step
from mailx.core.settings import Settings
from mailx.identity import domain_keys
from mailx.identity.documents import ServerDocument, record_text
from mailx.identity.encoding import canonical
from mailx.identity.statements import SeedSigner
from tests import dns
from tests.scenery import configured

reactor: Any = _reactor

THERE = "there.example"
NOW = 1_800_000_000
DAY = 86400
RECOVERY = SeedSigner(b"r" * 32)
FIRST, SECOND = SeedSigner(b"1" * 32), SeedSigner(b"2" * 32)
SERVERS = (("mx.there.example", 2590),)
ADDRESSES = {("mx.there.example", "A"): ["127.0.0.1"]}


def document(*, rotated: int | None = None, domain: str = THERE, **values: Any) -> bytes:
    """What THERE publishes; ``rotated``: its first key was replaced so many seconds ago."""
    keys = [domain_keys.first(domain, RECOVERY.public, NOW - 100 * DAY, FIRST)]
    signer = FIRST
    if rotated is not None:
        keys.append(domain_keys.rotated(keys[0], FIRST, SECOND, NOW - rotated))
        signer = SECOND
    given = {
        "domain": domain,
        "servers": SERVERS,
        "key": signer.public,
        "history": tuple(keys),
        "recovery": RECOVERY.public,
        "capabilities": frozenset(("sealed",)),
        "message_size": 1 << 25,
        "issued": NOW - 60,
        "expires": NOW + 7 * DAY,
    }
    return canonical(ServerDocument(**{**given, **values}).signed(signer).encode())


@define
class Site:
    """Gives ``answer``, or raises it."""

    answer: bytes | NotFetched

    async def fetch(self, domain: str, told: Callable[[Step], None]) -> bytes:
        if isinstance(self.answer, NotFetched):
            raise self.answer
        return self.answer


class Looking(TestCase):
    async def look(
        self,
        texts: Any,
        answer: bytes | NotFetched,
        *,
        secure: bool = False,
        zone: Any = ADDRESSES,
        networks: tuple[str, ...] = ("127.0.0.0/8",),
    ) -> Found:
        """What looking for THERE brings when DNS says ``texts``."""
        records = {} if texts is None else {(f"_mailx.{THERE}", "TXT"): texts}
        authority = await dns.serve(self, {**records, **zone}, secure)
        resolver = dns.ask(self, authority, validating=secure)
        settings = Settings(configured(federation={"networks": networks}))
        return await Discovery(resolver, Site(answer), settings, reactor, now=lambda: NOW).look(THERE)

    async def refused(self, reason: str, texts: Any, answer: bytes | NotFetched, **options: Any) -> None:
        found = await self.look(texts, answer, **options)
        self.assertEqual((found.outcome, found.reason), (REFUSED, reason))
        self.assertEqual(found.steps[-1].outcome, REFUSED)
        self.assertTrue(found.evidence)

    async def test_found(self) -> None:
        found = await self.look(["v=spf1 -all", record_text(FIRST.public, SERVERS)], document())
        self.assertEqual((found.outcome, found.source, found.key, found.servers), (MAILX, HTTPS, FIRST.public, SERVERS))
        self.assertEqual((found.capabilities, found.message_size, found.ttl), (("sealed",), 1 << 25, TTL_LEAST))
        self.assertEqual(found.until, NOW + 7 * DAY)
        self.assertEqual([step.name for step in found.steps], ["dns", "document", "agreement", "server", "key"])

    async def test_none(self) -> None:
        for texts in (None, ["v=spf1 -all"], dns.NXDOMAIN):
            self.assertEqual((await self.look(texts, document())).outcome, NONE)

    async def test_nobody_can_say(self) -> None:
        self.assertEqual((await self.look(dns.SERVFAIL, document())).outcome, UNSURE)
        found = await self.look([record_text(FIRST.public, SERVERS)], NotFetched(FAILED, "no connection"))
        self.assertEqual((found.outcome, found.reason, found.evidence), (UNSURE, "its site: no connection", True))

    async def test_an_unsigned_record_is_only_a_hint(self) -> None:
        record = [record_text(FIRST.public, SERVERS)]
        await self.refused("its site: nothing", record, NotFetched(ABSENT, "nothing"))
        await self.refused("its site: the certificate", record, NotFetched(REFUSED, "the certificate"))

    async def test_a_record_that_dnssec_proves_is_enough(self) -> None:
        record = [record_text(FIRST.public, SERVERS)]
        for outcome in (ABSENT, FAILED, REFUSED):
            found = await self.look(record, NotFetched(outcome, "no"), secure=True)
            self.assertEqual((found.outcome, found.source, found.key, found.history), (MAILX, DNSSEC, FIRST.public, ()))
        found = await self.look(record, document(), secure=True)
        self.assertEqual((found.outcome, found.source, len(found.history)), (MAILX, DNSSEC, 1))

    async def test_both_must_agree(self) -> None:
        keys = "its TXT record and its document name different keys"
        servers = "its TXT record and its document name different servers"
        for secure in (False, True):
            await self.refused(keys, [record_text(SECOND.public, SERVERS)], document(), secure=secure)
            await self.refused(servers, [record_text(FIRST.public, (("mx.there.example", 2591),))], document(), secure=secure)
            await self.refused(keys, [record_text(FIRST.public, SERVERS)], document(rotated=31 * DAY), secure=secure)

    async def test_the_record_may_lag_behind_a_rotation(self) -> None:
        found = await self.look([record_text(FIRST.public, SERVERS)], document(rotated=DAY))
        self.assertEqual((found.outcome, found.key), (MAILX, SECOND.public))

    async def test_records_that_are_wrong(self) -> None:
        good = record_text(FIRST.public, SERVERS)
        for texts in (
            [good, good + "; x=y"],
            ["v=mailx1"],
            ["v=mailx1; key=ed25519:x; servers=a:1"],
            [good.replace(":2590", ":0")],
            ["v=mailx1; " + "a" * 2000],
        ):
            found = await self.look(texts, document())
            self.assertEqual((found.outcome, found.steps[-1].name), (REFUSED, "dns"), texts)

    async def test_documents_that_are_wrong(self) -> None:
        record = [record_text(FIRST.public, SERVERS)]
        for answer in (
            b"",
            b"{}",
            b"[" * 100000,
            b"\xff" * 10,
            document(domain="other.example"),
            document(expires=NOW - 1),
            document(issued=NOW + DAY, expires=NOW + 2 * DAY),
            document().replace(b"2590", b"2591"),
        ):
            found = await self.look(record, answer)
            self.assertEqual((found.outcome, found.steps[-1].name), (REFUSED, "document"), answer[:40])

    async def test_servers_that_may_not_be_connected_to(self) -> None:
        reason = "no server of its has an address that may be connected to"
        record = [record_text(FIRST.public, SERVERS)]
        for zone in (ADDRESSES, {("mx.there.example", "A"): ["10.0.0.1"]}, {("mx.there.example", "AAAA"): ["::1"]}, {}):
            await self.refused(reason, record, document(), zone=zone, networks=())
        for host in ("127.0.0.1", "169.254.169.254", "::1", "localhost"):
            servers = ((host, 25),)
            await self.refused(reason, [record_text(FIRST.public, servers)], document(servers=servers), networks=(), secure=True)

    async def test_what_dns_cannot_say_of_a_server_is_left_to_the_connection(self) -> None:
        found = await self.look([record_text(FIRST.public, SERVERS)], document(), zone={("mx.there.example", "A"): dns.SERVFAIL})
        self.assertEqual((found.outcome, found.steps[-2].outcome), (MAILX, FAILED))

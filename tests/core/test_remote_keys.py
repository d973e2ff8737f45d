"""Keys of users elsewhere: asked for, verified, kept; serials never go back; and never an error for mail."""

from collections.abc import Mapping
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.peer import HTTPS, Peer, Undecided
from mailx.core.remote_keys import AT_ONCE, FRESH, FRESH_NONE, LONGEST_REST, REST, STALE, RemoteKeys
from mailx.identity import user_keys
from mailx.identity.encoding import canonical
from mailx.identity.statements import SeedSigner
from mailx.identity.user_keys import CLIENT, Attestation
from mailx.mail.address import Address
from mailx.store import peers as peer_rows
from tests.scenery import world

START = 1_700_000_000
DAY = 86400
ADA, BOB, TAGGED = (Address.parse(text) for text in ("ada@there.example", "bob@there.example", "ada+shop@there.example"))
KEY, OTHER = SeedSigner(b"k" * 32), SeedSigner(b"o" * 32)
PEER = Peer("there.example", (KEY.public,), (("mx.there.example", 2590),), HTTPS, START, START + DAY, 0)


def attested(address: Address = ADA, serial: int = 1, key: SeedSigner = KEY, at: int = START, **more: Any) -> Attestation:
    return user_keys.attested(address, bytes([serial]) * 32, OTHER.public, serial, at, CLIENT, key, **more)


def encoded(attestation: Attestation) -> bytes:
    """As the discovery service gives it."""
    return canonical(attestation.statement.encode())


@define
class Peers:
    """Knows one peer, or says what it is told to."""

    peer: Peer | None | Exception = PEER

    def hash(self, domain: str) -> bytes:
        return domain.encode()

    def absent(self, domain: str) -> bool:
        return False

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None:
        if isinstance(self.peer, Exception):
            raise self.peer
        return self.peer if self.peer is not None and domain == self.peer.domain else None


@define
class Domain:
    """The other side: what it says of each address; ``fails``: it cannot be asked."""

    says: dict[str, Any] = field(factory=dict)
    asked: list[tuple[str, str, list[str]]] = field(factory=list)
    fails: Exception | None = None
    waits: Deferred[None] | None = None
    answer: Any = None

    async def ask(
        self, sender: str, domain: str, service: str, method: str, fields: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any]:
        assert (service, method) == ("discovery", "keys")
        self.asked.append((sender, domain, fields["addresses"]))
        if self.waits is not None:
            await self.waits
        if self.fails is not None:
            raise self.fails
        return self.answer or {"keys": [self.says.get(address) for address in fields["addresses"]]}


class Alerts:
    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, kind: str, subject: str, text: str) -> None:
        self.told.append(kind)


class Keys(TestCase):
    engine = ""

    async def scene(self) -> None:
        self.world = await world(self, engine=self.engine)
        self.clock = Clock()
        self.clock.advance(START)
        self.peers, self.domain = Peers(), Domain()
        self.keys = self.opened()

    def opened(self) -> RemoteKeys:
        made = RemoteKeys(self.world.store, self.world.cipher, self.peers, self.clock, asking=self.domain, now=self.clock.seconds)
        made.alerts = self.alerts = Alerts()  # type: ignore[assignment]
        return made

    async def serial(self, address: Address = ADA, keys: RemoteKeys | None = None) -> int:
        """The number of the statement that is in use; 0: none."""
        found = (await (keys or self.keys).find([address], 3)).get(address)
        return 0 if found is None else found.serial

    async def test_found_and_kept(self) -> None:
        await self.scene()
        self.domain.says = {str(ADA): encoded(attested())}
        found = await self.keys.find([ADA, BOB, ADA, Address.parse("you@elsewhere.example")], 3, "here.example")
        self.assertEqual({address: each.sealing for address, each in found.items()}, {ADA: b"\1" * 32})
        self.assertEqual(self.domain.asked, [("here.example", "there.example", [str(ADA), str(BOB)])])
        self.assertEqual(await self.serial(), 1)
        self.assertEqual(await self.serial(keys=self.opened()), 1)
        self.assertEqual(await self.serial(BOB, self.opened()), 0)
        self.assertEqual(len(self.domain.asked), 1)

    async def test_asked_again_in_time(self) -> None:
        await self.scene()
        self.assertEqual(await self.serial(), 0)
        self.domain.says = {str(ADA): encoded(attested())}
        self.clock.advance(FRESH_NONE)
        self.assertEqual(await self.serial(), 1)
        self.domain.says = {str(ADA): encoded(attested(serial=2))}
        self.assertEqual(await self.serial(), 1)
        self.clock.advance(FRESH)
        self.assertEqual(await self.serial(), 2)
        self.assertEqual([each.serial for each in await self.keys.history(ADA)], [1, 2])
        self.assertEqual([each.serial for each in await self.keys.signers(ADA, 3)], [2, 1])

    async def test_what_a_clock_that_was_ahead_noted_counts_no_more(self) -> None:
        await self.scene()
        self.clock.advance(900 * DAY)
        self.assertEqual(await self.serial(), 0)
        self.clock.rightNow -= 900 * DAY
        self.domain.says = {str(ADA): encoded(attested())}
        for keys in (self.opened(), self.keys):  # in the store, and in memory
            self.assertEqual(await self.serial(keys=keys), 1)
        self.assertEqual(len(self.domain.asked), 3)
        self.clock.advance(900 * DAY)
        self.domain.fails = RuntimeError("away")
        await self.serial(BOB)
        self.clock.rightNow -= 900 * DAY
        self.domain.fails = None
        await self.serial(BOB)
        self.assertEqual(len(self.domain.asked), 5)

    async def test_one_that_does_not_answer_is_not_waited_for_each_time(self) -> None:
        """Its network drops what is sent there: mail for it is accepted without waiting, except once in a while."""
        await self.scene()
        self.domain.fails = RuntimeError("no answer")
        for _ in range(360):  # a message every ten seconds, for an hour
            await self.serial()
            self.clock.advance(10)
        self.assertLess(len(self.domain.asked), 12)
        self.domain.fails = None
        self.domain.says = {str(ADA): encoded(attested())}
        found = await self.keys.find([ADA], 3, anew=True)  # what is being delivered is sealed if it can be
        self.assertEqual(list(found), [ADA])
        self.assertEqual(await self.serial(BOB), 0)
        self.domain.fails = RuntimeError("no answer")
        asked = len(self.domain.asked)
        for seconds in (FRESH, REST - 1, 1, 2 * REST - 1, 1, LONGEST_REST):
            self.clock.advance(seconds)
            self.assertEqual(await self.serial(), 1)
        self.assertEqual(len(self.domain.asked), asked + 4)

    async def test_forgotten(self) -> None:
        await self.scene()
        self.domain.says = {str(ADA): encoded(attested(serial=2))}
        self.assertEqual((await self.serial(), await self.serial(BOB)), (2, 0))
        await self.world.store.write(peer_rows.forget, self.peers.hash("there.example"))
        self.keys.forget("there.example")
        self.domain.says = {str(ADA): encoded(attested(serial=1)), str(BOB): encoded(attested(BOB))}
        self.assertEqual((await self.serial(), await self.serial(BOB)), (1, 1))
        self.assertEqual(self.alerts.told, [])

    async def test_not_believed(self) -> None:
        for says in (
            b"",
            b"{}",
            b"x" * 10000,
            "text",
            7,
            encoded(attested(key=OTHER)),
            encoded(attested(BOB)),
            encoded(attested(at=START + DAY)),
            encoded(attested(at=START - 400 * DAY)),
            encoded(evolve(attested(), statement=evolve(attested().statement, body={**attested().statement.body, "serial": 9}))),
        ):
            await self.scene()
            self.domain.says = {str(ADA): says}
            self.assertEqual(await self.serial(), 0)
            self.assertEqual(await self.keys.history(ADA), ())

    async def test_answers_to_something_else(self) -> None:
        for answer in ({"keys": []}, {"keys": None}, {"other": 1}, {"keys": [None, None]}):
            await self.scene()
            self.domain.answer = answer
            self.assertEqual(await self.serial(), 0)

    async def test_a_subaddress_has_the_keys_of_its_address(self) -> None:
        await self.scene()
        self.domain.says = {str(TAGGED): encoded(attested())}
        self.assertEqual(await self.serial(TAGGED), 1)

    async def test_revoked(self) -> None:
        await self.scene()
        self.domain.says = {str(ADA): encoded(attested())}
        await self.serial()
        self.domain.says = {str(ADA): encoded(attested(serial=2, revoked=True))}
        self.clock.advance(FRESH)
        self.assertEqual(await self.serial(), 0)
        self.assertEqual(self.alerts.told, [])
        self.domain.says = {}
        self.clock.advance(FRESH)
        self.assertEqual(await self.serial(), 0)
        self.assertEqual(self.alerts.told, [])

    async def test_what_goes_back_is_not_followed(self) -> None:
        for says in (None, encoded(attested(serial=1)), encoded(user_keys.attested(ADA, b"z" * 32, OTHER.public, 2, START, CLIENT, KEY))):
            await self.scene()
            self.domain.says = {str(ADA): encoded(attested(serial=2))}
            await self.serial()
            self.domain.says = {str(ADA): says}
            self.clock.advance(FRESH)
            self.assertEqual(await self.serial(), 2)
            self.assertEqual(self.alerts.told, ["security.remote_key"])
            self.assertEqual((await self.opened().history(ADA))[-1].sealing, b"\2" * 32)

    async def test_used_for_a_while_when_the_domain_cannot_be_asked(self) -> None:
        await self.scene()
        self.domain.says = {str(ADA): encoded(attested())}
        await self.serial()
        self.domain.fails = RuntimeError("internals")
        self.clock.advance(FRESH)
        self.assertEqual((await self.serial(), await self.serial(BOB)), (1, 0))
        self.clock.advance(STALE)
        self.assertEqual(await self.serial(), 0)

    async def test_a_key_of_the_domain_that_is_believed_no_more(self) -> None:
        await self.scene()
        self.domain.says = {str(ADA): encoded(attested())}
        await self.serial()
        self.peers.peer = evolve(PEER, keys=(OTHER.public,))
        self.assertEqual(await self.serial(), 0)
        self.domain.says = {str(ADA): encoded(attested(serial=2, key=OTHER))}
        self.assertEqual(await self.serial(), 2)

    async def test_never_an_error(self) -> None:
        await self.scene()
        for peer in (None, Undecided("no", True), evolve(PEER, blocked=True), RuntimeError("internals")):
            self.peers.peer = peer
            self.assertEqual(await self.keys.find([ADA], 3), {})
        self.flushLoggedErrors()
        self.assertEqual(self.domain.asked, [])

    async def test_no_answer_in_time(self) -> None:
        await self.scene()
        self.domain.waits = Deferred()
        finding = ensureDeferred(self.keys.find([ADA], 3))
        while not self.domain.asked:
            await self.world.store.read(lambda txn: None)
        self.clock.advance(4)
        self.assertEqual(await finding, {})

    async def test_many(self) -> None:
        await self.scene()
        many = [Address.parse(f"user{number}@there.example") for number in range(2 * AT_ONCE + 1)]
        self.domain.says = {str(address): encoded(attested(address)) for address in many}
        self.assertEqual(len(await self.keys.find(many, 3)), len(many))
        self.assertEqual([len(asked[2]) for asked in self.domain.asked], [AT_ONCE, AT_ONCE, 1])


class PostgreSQLKeys(Keys):
    engine = "postgresql"

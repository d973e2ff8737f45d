"""The Contact service and what calls it, over channels in memory."""

from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.peer import Peer
from mailx.federation.channel import Channel, PeerRefused, Unreachable
from mailx.federation.contact_calls import AT_ONCE, LIMIT, WAITS, ContactCalls
from mailx.federation.contact_service import NOTICES, ContactService
from mailx.identity.encoding import canonical
from mailx.identity.statements import SeedSigner, Statement, signed
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Reply
from tests.federation.pairs import Pair, channels

ADA = Address.parse("ada@a.example")
BOB = Address.parse("bob@b.example")


@define
class Listener:
    """Takes what comes: both protocols of the service."""

    keys: list[tuple[str, Statement]] = Factory(list)
    notices: list[tuple[str, str, bool]] = Factory(list)
    refuses: bool = False

    async def announced(self, domain: str, statement: Statement) -> None:
        if self.refuses:
            raise Refused(Reply(550, "5.7.5", "The announced key does not follow from the one that is known"))
        self.keys.append((domain, statement))

    async def noticed(self, account: Address, by: Address, blocked: bool) -> None:
        self.notices.append((str(account), str(by), blocked))


class Base(TestCase):
    listener: Listener
    clock: Clock
    pair: Pair

    async def begin(self) -> None:
        self.clock, self.listener = Clock(), Listener()
        service = ContactService(self.listener, self.listener, self.clock)
        self.pair = await channels([service], calling="a.example", answering="b.example", reactor=self.clock)


class ServiceTests(Base):
    async def refused(self, method: str, fields: dict[str, Any]) -> int:
        try:
            await self.pair.calling.call("contact", method, fields)
        except PeerRefused as error:
            return error.reply.code
        return 250

    async def test_a_key_is_announced(self) -> None:
        await self.begin()
        statement = signed("domain-key", {"domain": "a.example", "serial": 2}, SeedSigner(b"s" * 32))
        await self.pair.calling.call("contact", "announce", {"statement": canonical(statement.encode())})
        self.assertEqual(self.listener.keys, [("a.example", statement)])
        self.listener.refuses = True
        self.assertEqual(await self.refused("announce", {"statement": canonical(statement.encode())}), 550)

    async def test_what_is_no_announcement(self) -> None:
        await self.begin()
        other = canonical(signed("tree-head", {"domain": "a.example"}, SeedSigner(b"s" * 32)).encode())
        for statement in (b"", b"{}", b"\xff", b"[" * 5000, other, b"x" * 20000, "text", None, 5):
            self.assertEqual(await self.refused("announce", {"statement": statement}), 501, statement)
        self.assertEqual(await self.refused("announce", {}), 501)
        self.assertEqual(self.listener.keys, [])

    async def test_a_notice_is_of_the_callers_user_about_ours(self) -> None:
        await self.begin()
        notice = {"user": "ada@a.example", "sender": "bob@b.example", "blocked": True}
        self.assertEqual(await self.refused("notice", notice), 250)
        self.assertEqual(self.listener.notices, [("bob@b.example", "ada@a.example", True)])
        for wrong in (
            {"user": "ada@c.example"},
            {"sender": "bob@c.example"},
            {"user": "bob@b.example", "sender": "ada@a.example"},
        ):
            self.assertEqual(await self.refused("notice", {**notice, **wrong}), 550)
        for wrong in ({"user": "ada"}, {"sender": "b" * 1000}, {"blocked": 1}, {"blocked": None}, {"user": 7}):
            self.assertEqual(await self.refused("notice", {**notice, **wrong}), 501)
        self.assertEqual(len(self.listener.notices), 1)

    async def test_notices_are_counted(self) -> None:
        await self.begin()
        notice = {"user": "ada@a.example", "sender": "bob@b.example", "blocked": True}
        codes = [await self.refused("notice", notice) for _ in range(NOTICES + 5)]
        self.assertEqual(codes.count(450), 5)
        self.clock.advance(2)
        self.assertEqual(await self.refused("notice", notice), 250)


@define
class Line:
    """Peers and channels of the calls: b.example is a MailX server, reached by ``channel``."""

    channel: Channel | None
    domains: tuple[str, ...] = ("b.example",)
    static: tuple[str, ...] = ()
    blocked: bool = False
    leased: list[tuple[str, str]] = Factory(list)
    released: int = 0

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None:
        if domain not in self.domains:
            return None
        return Peer(domain, (b"k" * 32,), ((domain, 2590),), "static", 0, 0, 0, blocked=self.blocked)

    async def every(self) -> list[Any]:
        return [await self.find(domain) for domain in self.domains]

    def pinned(self, known: Any) -> bool:
        return bool(known.domain != "unpinned.example")

    async def lease(self, local: str, peer: Peer) -> Channel:
        self.leased.append((local, peer.domain))
        if self.channel is None:
            raise Unreachable("no connection")
        return self.channel

    def release(self, channel: Channel) -> None:
        self.released += 1


class CallsTests(Base):
    async def calls(self, **line: Any) -> ContactCalls:
        await self.begin()
        self.line = Line(self.pair.calling, **line)
        made = ContactCalls(self.line, self.line, self.clock)
        self.addCleanup(made.stop)
        return made

    async def test_blocks_are_told(self) -> None:
        calls = await self.calls()
        calls.tell(ADA, ["bob@b.example"], True)
        calls.tell(ADA, ["bob@b.example"], False)
        self.assertEqual(self.listener.notices, [("bob@b.example", "ada@a.example", True), ("bob@b.example", "ada@a.example", False)])
        self.assertEqual((calls.waiting, self.line.released), (0, 2))

    async def test_nobody_is_told_who_is_no_mailx_server_or_our_own(self) -> None:
        calls = await self.calls()
        calls.tell(ADA, ["x@elsewhere.example", "x@a.example"], True)
        self.line.blocked = True
        calls.tell(ADA, ["bob@b.example"], True)
        self.assertEqual((self.line.leased, calls.waiting), ([], 0))

    async def test_pinned_peers_hear_of_a_new_key(self) -> None:
        calls = await self.calls(domains=("b.example", "unpinned.example"))
        statement = signed("domain-key", {"domain": "a.example"}, SeedSigner(b"s" * 32))
        key = type("Key", (), {"statement": statement})
        calls.announce("a.example", key)  # type: ignore[arg-type]
        self.assertEqual(self.listener.keys, [("a.example", statement)])
        self.assertEqual(self.line.leased, [("a.example", "b.example")])

    async def test_those_that_the_configuration_names_hear_of_a_new_key_before_mail_went_there(self) -> None:
        calls = await self.calls(domains=("unpinned.example", "b.example"), static=("unpinned.example", "b.example"))
        statement = signed("domain-key", {"domain": "a.example"}, SeedSigner(b"s" * 32))
        calls.announce("a.example", type("Key", (), {"statement": statement}))  # type: ignore[arg-type]
        self.assertEqual(self.line.leased, [("a.example", "b.example"), ("a.example", "unpinned.example")])

    async def test_what_fails_is_tried_again_and_given_up(self) -> None:
        calls = await self.calls()
        self.line.channel = None
        calls.tell(ADA, ["bob@b.example"], True)
        for wait in WAITS:
            self.assertEqual(calls.waiting, 1)
            self.clock.advance(wait)
        self.assertEqual((calls.waiting, len(self.line.leased)), (0, len(WAITS) + 1))

    async def test_a_no_is_a_no(self) -> None:
        calls = await self.calls()
        self.listener.refuses = True
        key = type("Key", (), {"statement": signed("domain-key", {"domain": "a.example"}, SeedSigner(b"s" * 32))})
        calls.announce("a.example", key)  # type: ignore[arg-type]
        self.assertEqual((calls.waiting, len(self.line.leased)), (0, 1))

    async def test_few_at_once_and_bounded(self) -> None:
        calls = await self.calls()
        held: list[Deferred[Channel]] = []

        async def lease(local: str, peer: Peer) -> Channel:
            held.append(Deferred())
            return await held[-1]

        self.patch(Line, "lease", lambda line, local, peer: lease(local, peer))
        calls.tell(ADA, [f"b{number}@b.example" for number in range(LIMIT + 10)], True)
        self.assertEqual((len(held), calls.waiting), (AT_ONCE, LIMIT))
        calls.stop()
        self.assertEqual(calls.waiting, 0)

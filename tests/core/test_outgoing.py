"""What goes over the wire: nothing more, 7-bit where it must be, signed and sealed."""

from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import outgoing as module
from mailx.core.outgoing import Outgoing, author_domain, without_return_path
from mailx.core.signing import Signing
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Envelope, Forwarding, Origin, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Unavailable
from tests.core import test_dkim
from tests.core.test_arc import validate
from tests.core.test_dkim import SIGNERS, verify
from tests.scenery import World, world

DOMAIN = test_dkim.DOMAIN
PLAIN = b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nHello\r\n"
EIGHT = PLAIN.replace(b"Hello", b"Gr\xc3\xbc\xc3\x9fe")


class Spool:
    """Content in a file, as far as anybody can tell."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)
        self.reads = 0

    def read(self, length: int | None = None) -> bytes:
        self.reads += 1
        return self._content[:length]

    def discard(self) -> None:
        raise AssertionError("it is not ours")


class Signers:
    """The keys of one domain, in place of Signing."""

    def __init__(self, there: bool = True) -> None:
        self.there = there

    def any(self) -> bool:
        return self.there

    async def speaks_for(self, envelope: Envelope, author: str) -> str:
        return author if author == DOMAIN else ""

    async def signers(self, domain: str) -> Any:
        return SIGNERS if domain == DOMAIN else ()


class Rendering(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.signing = Signers()
        self.calls = 0
        pool = partial(deferToThreadPool, reactor, reactor.getThreadPool())  # type: ignore[attr-defined]

        def threads(*args: Any) -> Any:
            self.calls += 1
            return pool(*args)

        self.outgoing = Outgoing(self.signing, "mx.example.org", threads)  # type: ignore[arg-type]

    def envelope(self, content: Any, account: int | None = 1, **fields: Any) -> Envelope:
        if isinstance(content, bytes):
            content = b"Return-Path: <ann@example.org>\r\n" + content
        message = Message(content, len(content) if isinstance(content, bytes) else content.size, eight_bit=fields.pop("eight_bit", False))
        origin = Origin(fields.pop("protocol", "ESMTPSA"), "0", account=account)
        return Envelope(new_id(), Address.parse("ann@example.org"), (Address.parse("bob@example.net"),), message, origin, **fields)

    async def test_without_keys(self) -> None:
        self.signing.there = False
        envelope = self.envelope(PLAIN)
        self.assertEqual(self.outgoing.plain(envelope, False), PLAIN)
        self.assertEqual(await self.outgoing.render(envelope, False), PLAIN)
        self.assertEqual(self.calls, 0)

    async def test_signed(self) -> None:
        for envelope in (self.envelope(PLAIN), self.envelope(PLAIN, None, protocol=GENERATED), self.envelope(Spool(PLAIN))):
            self.assertIsNone(self.outgoing.plain(envelope, True))
            made = await self.outgoing.render(envelope, True)
            self.assertTrue(made.endswith(PLAIN))
            self.assertEqual(verify(made), [True, True])

    async def test_each_form_of_a_message(self) -> None:
        """One that is sealed for some is not sent to the others, nor the readable one to those for whom it was sealed."""
        envelope = self.envelope(PLAIN, dispatch=b"1")
        content = PLAIN.replace(b"Hello", b"Sealed")
        sealed = evolve(envelope, message=Message(content, len(content)), dispatch=b"2")
        late = evolve(sealed, dispatch=b"1", form=1)
        for _ in range(2):  # while they are made, and when they are kept
            made = await gatherResults([Deferred.fromCoroutine(self.outgoing.render(each, True)) for each in (envelope, sealed, late)])
            self.assertEqual([b"Sealed" in each for each in made], [False, True, True])

    async def test_dated_by_the_time_of_day(self) -> None:
        """Not by the event loop's clock, which goes its own way when that of the system is put right."""
        self.patch(self.outgoing, "_now", lambda: 1_800_000_000.5)
        made = await self.outgoing.render(self.envelope(PLAIN), True)
        self.assertIn(b"t=1800000000;", made)

    async def test_nobody_of_ours(self) -> None:
        for envelope in (self.envelope(PLAIN, None), self.envelope(PLAIN.replace(b"example.org", b"example.com"))):
            self.assertEqual(await self.outgoing.render(envelope, True), envelope.message.content.partition(b"\r\n")[2])  # type: ignore[union-attr]

    async def test_downgraded_before_it_is_signed(self) -> None:
        envelope = self.envelope(EIGHT, eight_bit=True)
        made = await self.outgoing.render(envelope, False)
        self.assertIn(b"Gr=C3=BC=C3=9Fe", made)
        self.assertEqual(verify(made), [True, True])
        other = await self.outgoing.render(envelope, True)
        self.assertTrue(other.endswith(EIGHT))
        self.assertEqual(verify(other), [True, True])

    async def test_what_cannot_be_downgraded(self) -> None:
        self.signing.there = False
        broken = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xa4\r\n--b\r\n\r\nsignature\r\n--b--\r\n"
        for content in (broken, Spool(broken)):
            with self.assertRaises(Refused) as caught:
                await self.outgoing.render(self.envelope(content, eight_bit=True), False)
            self.assertEqual((caught.exception.reply.code, caught.exception.reply.enhanced), (554, "5.6.3"))

    async def test_forwarded(self) -> None:
        for domain, verdict in ((DOMAIN, b"pass"), ("example.net", b"none")):
            envelope = self.envelope(PLAIN, None, forwarding=Forwarding(domain, "spf=pass; dkim=none"))
            made = await self.outgoing.render(envelope, True)
            self.assertEqual(validate(made), verdict)
            self.assertEqual(verify(made), [])

    async def test_submitted_and_forwarded(self) -> None:
        made = await self.outgoing.render(self.envelope(PLAIN, forwarding=Forwarding(DOMAIN)), True)
        self.assertEqual((validate(made), verify(made)), (b"pass", [True, True]))

    async def test_several_destinations_share_it(self) -> None:
        spool = Spool(PLAIN)
        envelope = self.envelope(spool)
        parts = [evolve(envelope, recipients=(Address.parse(f"{name}@example.net"),)) for name in "abc"]
        made = await gatherResults([Deferred.fromCoroutine(self.outgoing.render(part, True)) for part in parts])
        self.assertEqual(len(set(made)), 1)
        self.assertIs(await self.outgoing.render(envelope, True), made[0])
        self.assertEqual(spool.reads, 1)

    async def test_little_is_kept(self) -> None:
        self.patch(module, "_KEPT", 3)
        for _ in range(10):
            await self.outgoing.render(self.envelope(PLAIN), True)
        self.assertEqual(len(self.outgoing._kept), 3)
        self.assertEqual(self.outgoing._octets, sum(map(len, self.outgoing._kept.values())))
        self.patch(module, "_KEPT_OCTETS", 100)
        await self.outgoing.render(self.envelope(PLAIN), True)
        self.assertEqual((len(self.outgoing._kept), self.outgoing._octets, len(self.outgoing._waiting)), (0, 0, 0))

    async def test_a_file_that_is_gone(self) -> None:
        """It is tried again, as the disk may come back; the log tells why."""

        class Gone(Spool):
            def read(self, length: int | None = None) -> bytes:
                raise FileNotFoundError("it is gone")

        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        envelope = self.envelope(Gone(PLAIN))
        with self.assertRaises(Unavailable):
            await self.outgoing.render(envelope, True)
        (event,) = [event for event in events if event.get("event") == "queue.unreadable"]
        self.assertEqual(event["message_id"], envelope.id)
        self.assertIn("it is gone", event["reason"])

    async def test_what_cannot_be_signed_goes_unsigned(self) -> None:
        odd = b"To: ,\r\n" * 300 + PLAIN
        self.assertEqual(await self.outgoing.render(self.envelope(odd), True), odd)

    async def test_a_large_one(self) -> None:
        large = PLAIN + b"line of text\r\n" * 200000
        made = await self.outgoing.render(self.envelope(large), True)
        self.assertEqual(verify(made), [True, True])
        self.assertEqual(len(self.outgoing._kept), 0)


class Real(TestCase):
    """With real keys of a real directory."""

    world: World

    async def test_a_submitted_message(self) -> None:
        self.world = here = await world(self)
        user = await here.user("ann@example.org")
        signing = Signing(here.store, here.cipher, here.accounts, here.reactor)
        await signing.load()
        (key,) = await signing.create(DOMAIN, ["ed25519-sha256"])
        await signing.activate(DOMAIN)
        pool = partial(deferToThreadPool, here.reactor, here.reactor.getThreadPool())
        outgoing = Outgoing(signing, "mx.example.org", pool)
        content = b"Return-Path: <>\r\n" + PLAIN
        origin = here.origin(account=user.id)
        envelope = Envelope(new_id(), user.address, (), Message(content, len(content)), origin)
        self.patch(test_dkim, "RECORDS", {key.name: key.record})
        self.assertEqual(verify(await outgoing.render(envelope, True)), [True])
        await signing.retire(DOMAIN, key.selector)
        self.assertEqual(await outgoing.render(evolve(envelope, id=new_id()), True), PLAIN)


class Pure(SynchronousTestCase):
    def test_return_path(self) -> None:
        for content in (PLAIN, b"Return-Path: <>\r\n" + PLAIN, b"return-path: <a@b>\r\n\t(folded)\r\n" + PLAIN, PLAIN[:-2]):
            self.assertEqual(without_return_path(content), PLAIN)
        self.assertEqual(without_return_path(b"Return-Path: <>\r\n"), b"")
        self.assertIs(without_return_path(PLAIN), PLAIN)

    def test_authors(self) -> None:
        for value, domain in (
            (b"ann@Example.ORG", "example.org"),
            ("Ann <ann@bücher.example>".encode(), "xn--bcher-kva.example"),
            (b"ann@example.org, bob@example.org", "example.org"),
            (b"ann@example.org, bob@example.net", ""),
            (b"Ann", ""),
            (b"", ""),
            (b"ann@example.org\r\nFrom: bob@example.org", ""),
            (b'"x@example.net" <ann@example.org>', "example.org"),
            (b"group: ann@example.org;", "example.org"),
        ):
            self.assertEqual(author_domain(b"Subject: x\r\nFROM: " + value + b"\r\n\r\nFrom: y@example.com\r\n"), domain, value)
        self.assertEqual(author_domain(b"Subject: x\r\n\r\nFrom: y@example.com\r\n"), "")

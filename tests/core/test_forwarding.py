"""Mail for other servers through reception: who may send it, what leaves, what comes back, and what is stored together."""

from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailx.core.bounces import Bounces
from mailx.core.courier import Attempt, ICourier
from mailx.core.policy import Findings, IPolicy, Policy
from mailx.core.queue import Queue
from mailx.core.reception import HOPS, Reception
from mailx.core.routes import Routes
from mailx.core.srs import SRS
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Demands, Envelope, Forwarding, Notify, Origin, Wish, new_id
from mailx.mail.mailbox import Change
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store.blobs import BlobFile
from tests.scenery import SENDER, World, world

MAIL = b"Return-Path: <x@example.org>\r\nFrom: a@example.org\r\nSubject: s\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"
FAR = Address("bob", "example.net")
ALL = int(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY)


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(Address.parse(text) for text in texts)


@implementer(ICourier)
class Recorder:
    """A courier that delivers everything, and keeps what it was given."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[tuple[Envelope, tuple[Address, ...]]] = []
        self.reply = Reply(250, "2.0.0", "OK")
        self._waiting: list[tuple[int, Deferred[None]]] = []

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        self.sent.append((envelope, tuple(recipients)))
        reply = self.reply  # a test that waits may change it
        for count, waiter in self._waiting:
            if count == len(self.sent):
                waiter.callback(None)
        return {recipient: Attempt(reply, "mx.example.net [192.0.2.9]:25") for recipient in recipients}

    async def stop(self) -> None:
        pass

    async def after(self, count: int) -> tuple[Envelope, tuple[Address, ...]]:
        """The delivery number ``count``, once it was tried."""
        if len(self.sent) < count:
            waiter: Deferred[None] = Deferred()
            self._waiting.append((count, waiter))
            await waiter
        return self.sent[count - 1]


class Notes:
    """A timeline that keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, list[str], dict[str, Any]]] = []

    def note(self, envelope: str, event: str, keys: Sequence[str] = (), **facts: Any) -> None:
        self.notes.append((envelope, event, list(keys), facts))

    def of(self, event: str) -> dict[str, Any]:
        """The facts of the only note of ``event``."""
        ((_, _, _, facts),) = [note for note in self.notes if note[1] == event]
        return facts


class Finding(Policy):
    """A policy that finds what it is told to find."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.undone = 0

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        findings.fields, findings.results, findings.junk = self.findings.fields, self.findings.results, self.findings.junk
        findings.verdicts.update(self.findings.verdicts)
        findings.undo.append(self._undo)
        return None

    def _undo(self) -> None:
        self.undone += 1


class Base(TestCase):
    engine = "sqlite"
    world: World
    _changed: Deferred[None] | None = None

    async def begin(self, *names: str, policies: Sequence[IPolicy] = (), **sections: Any) -> list[Any]:
        here = self.world = await world(self, engine=self.engine, **sections)
        here.store.listen(self._heard)
        self.courier = Recorder(here)
        self.notes = Notes()
        self.srs = SRS(here.store, here.cipher)
        config = here.config
        timeline: Any = self.notes
        self.queue = Queue(
            here.store,
            here.cipher,
            here.blobs,
            {"": self.courier},
            Routes(config.outbound, config.queue),
            config.queue,
            config.outbound,
            timeline,
            here.reactor,
        )
        self.reception = Reception(
            here.store,
            here.cipher,
            here.blobs,
            here.accounts,
            policies,
            here.reactor,
            hostname="mx.example.test",
            default_quota=config.accounts.quota,
            file_above=config.store.file_above,
            spool_above=config.store.spool_above,
            queue=self.queue,
            timeline=timeline,
            srs=self.srs,
        )
        bounces = Bounces("mx.example.test", here.accounts, timeline, here.reactor)
        self.reception.bounce_with(bounces)
        await self.queue.start(bounces, self.reception.accept)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.queue.stop()))
        return [await here.user(f"{name}@example.test") for name in names]

    def envelope(self, *recipients: str, content: bytes = MAIL, origin: Origin | None = None, **fields: Any) -> Envelope:
        message = fields.pop("message", None) or Message(content, len(content))
        return evolve(Envelope(new_id(), SENDER, addresses(*recipients), message, origin or self.world.origin()), **fields)

    async def reply(self, waiting: Any) -> str:
        with self.assertRaises(Refused) as caught:
            await waiting
        return str(caught.exception.reply)

    async def rows(self, sql: str) -> list[Any]:
        return await self.world.store.read(lambda txn: txn.all(sql))

    async def arrived(self, user: Any, count: int, mailbox: str = "INBOX") -> list[bytes]:
        """The contents of a mailbox once there are ``count``."""
        while True:
            changed: Deferred[None] = Deferred()
            self._changed = changed
            found = await self.world.contents(user, mailbox)
            if len(found) >= count:
                return found
            await changed

    def _heard(self, change: Change) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.callback(None)


class SubmissionTests(Base):
    async def test_out(self) -> None:
        """An account's mail for another server is stored, acknowledged, and given to the courier as it came."""
        (ann,) = await self.begin("ann")
        origin = self.world.origin(account=ann.id, protocol="ESMTPSA")
        demands, wish = Demands(returns="HDRS", id="x"), Wish(ALL, "rfc822;bob@example.net")
        self.assertEqual(await self.reception.recipient(origin, ann.address, FAR, None), FAR)
        sent = self.envelope(str(FAR), origin=origin, sender=ann.address, demands=demands, wishes={FAR: wish})
        replies = await self.reception.accept(sent)
        self.assertEqual([reply.code for reply in replies.values()], [250])
        envelope, recipients = await self.courier.after(1)
        self.assertEqual((envelope.id, envelope.sender, recipients), (sent.id, ann.address, (FAR,)))
        self.assertEqual((envelope.demands, dict(envelope.wishes), envelope.forwarding), (demands, {FAR: wish}, None))
        self.assertEqual(envelope.message.content, MAIL)
        self.assertEqual(envelope.origin, origin)

    async def test_one_message_for_all(self) -> None:
        """Recipients here and elsewhere share one message; each is counted."""
        ann, _ = await self.begin("ann", "bob")
        self.courier.reply = Reply(450, "4.2.0", "later")
        origin = self.world.origin(account=ann.id)
        to = ("bob@example.test", "x@example.net", "y@example.net", "z@example.com", "x@example.net")
        await self.reception.accept(self.envelope(*to, sender=ann.address, origin=origin))
        self.assertEqual(await self.rows("SELECT refs FROM messages"), [(2,)])
        self.assertEqual(await self.rows("SELECT open, account_id FROM dispatches"), [(3, ann.id)])
        self.assertEqual(await self.rows("SELECT count(*) FROM queue"), [(3,)])
        await self.courier.after(2)

    async def test_large(self) -> None:
        """A spooled message is read by the courier from its file."""
        (ann,) = await self.begin("ann", store={"file_above": 1024, "spool_above": 65536})
        content = MAIL + b"0123456789abcd\r\n" * 10_000
        intake = self.reception.content(self.world.origin(), b"Return-Path: <>\r\n", 10_000_000, False)
        waiting = intake.write(content)
        assert waiting is None or await waiting is None
        message = await intake.finish()
        assert isinstance(message.content, BlobFile)
        await self.reception.accept(self.envelope(str(FAR), sender=ann.address, origin=self.world.origin(account=ann.id), message=message))
        envelope, _ = await self.courier.after(1)
        found = envelope.message.content
        self.assertIn(b"0123456789abcd\r\n" * 10, found if isinstance(found, bytes) else found.read())
        self.assertEqual(len(self.world.files()), 1)

    async def test_not_stored(self) -> None:
        """When the store fails nothing is sent, and what policies counted is given back."""
        finding = Finding(Findings())
        (ann,) = await self.begin("ann", policies=[finding])
        sent = self.envelope(str(FAR), sender=ann.address, origin=self.world.origin(account=ann.id))
        with (
            mock.patch.object(self.world.store, "write", lambda *args: fail(Unavailable("disk full"))),
            mock.patch.object(self.queue, "dropped", wraps=self.queue.dropped) as dropped,
        ):
            self.assertEqual((await self.reply(self.reception.accept(sent)))[:3], "451")
        self.assertEqual((dropped.call_count, finding.undone, self.courier.sent), (1, 1, []))

    async def test_trouble_after_the_commit(self) -> None:
        """What is stored is acknowledged, whatever fails then: the client must not send it again."""
        (ann,) = await self.begin("ann")
        sent = self.envelope(str(FAR), sender=ann.address, origin=self.world.origin(account=ann.id))
        with mock.patch.object(self.queue, "placed", side_effect=RuntimeError("a mistake")):
            replies = await self.reception.accept(sent)
        self.assertEqual([reply.code for reply in replies.values()], [250])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(await self.rows("SELECT count(*) FROM queue"), [(1,)])

    async def test_too_many(self) -> None:
        """Aliases cannot make one message arbitrarily many."""
        (ann,) = await self.begin("ann")
        names = [f"list{n}@example.test" for n in range(51)]
        for name in names:
            await self.world.accounts.add_alias(name, [f"a{n}@{name.partition('@')[0]}.example" for n in range(100)])
        text = await self.reply(self.reception.accept(self.envelope(*names)))
        self.assertEqual(text, "452 4.5.3 Too many recipients on other servers; send to fewer at a time")
        self.assertEqual(await self.rows("SELECT id FROM messages"), [])


class NoRelayTests(Base):
    async def test_strangers(self) -> None:
        """Nobody but our accounts reaches other servers, at RCPT or with a whole message, whatever the sender says."""
        await self.begin("ann")
        for protocol in ("SMTP", "ESMTP", "ESMTPS", "UTF8SMTP", "LMTP", "LMTPS"):
            origin = self.world.origin(protocol=protocol)
            for sender in (SENDER, None, Address("ann", "example.test"), FAR):
                for recipient in addresses(
                    "bob@example.net", "ann%example.net@example.org", '"bob@example.net"@example.org', "bob@[192.0.2.1]"
                ):
                    self.assertEqual(
                        await self.reply(self.reception.recipient(origin, sender, recipient, None)), "550 5.7.1 Relaying denied"
                    )
                    envelope = self.envelope(str(recipient), sender=sender, origin=origin)
                    self.assertEqual(await self.reply(self.reception.accept(envelope)), "550 5.7.1 Relaying denied")
                    replies = await self.reception.accept(envelope, each=True)
                    self.assertEqual([reply.code for reply in replies.values()], [550])
        self.assertEqual(await self.rows("SELECT id FROM messages"), [])
        self.assertEqual(self.courier.sent, [])

    async def test_no_way_out(self) -> None:
        """Without a queue nothing leaves, not by an alias either."""
        ann, _ = await self.begin("ann", "bob")
        await self.world.accounts.add_alias("away@example.test", [str(FAR)])
        await self.world.accounts.add_alias("both@example.test", [str(FAR), "bob@example.test"])
        here = self.world.reception
        origin = self.world.origin(account=ann.id)
        for recipient in addresses(str(FAR), "away@example.test"):
            self.assertEqual(await self.reply(here.recipient(origin, ann.address, recipient, None)), "550 5.7.1 Relaying denied")
        await here.accept(self.envelope("both@example.test"))
        self.assertEqual(await self.rows("SELECT refs FROM messages"), [(1,)])


class AliasTests(Base):
    async def test_forwarded(self) -> None:
        """A stranger's mail to an alias goes on under an address of ours that leads back, with what was found at its arrival."""
        findings = Findings(results="spf=pass smtp.mailfrom=example.org", fields=b"X-Found: 1\r\n", verdicts={"spf": "pass"})
        (ann,) = await self.begin("ann", policies=[Finding(findings)])
        await self.world.accounts.add_alias("all@example.test", ["ann@example.test", str(FAR), "Eve.X@example.com"])
        recipient = Address("all", "example.test")
        self.assertEqual(await self.reception.recipient(self.world.origin(), SENDER, recipient, None), recipient)
        await self.reception.accept(self.envelope("all@example.test"))
        await self.courier.after(2)
        self.assertEqual({recipients for _, recipients in self.courier.sent}, {(FAR,), (Address("Eve.X", "example.com"),)})
        for envelope, _ in self.courier.sent:
            assert envelope.sender is not None
            self.assertRegex(str(envelope.sender), r"\ASRS0=.{8}=..=example\.org=sender@example\.test\Z")
            self.assertEqual(await self.srs.reverse(envelope.sender), SENDER)
            self.assertEqual(envelope.forwarding, Forwarding("example.test", "spf=pass smtp.mailfrom=example.org"))
        (content,) = await self.world.contents(ann)
        self.assertTrue(content.startswith(b"Return-Path: <x@example.org>\r\nX-Found: 1\r\nFrom:"), content)
        self.assertEqual(self.notes.of("accepted")["checks"], {"spf": "pass"})
        self.assertEqual(self.notes.of("stored")["accounts"], ["ann@example.test"])
        queued = self.notes.of("queued")
        self.assertEqual((set(queued["recipients"]), queued["forwarder"]), ({str(FAR), "Eve.X@example.com"}, "example.test"))

    async def test_senders_that_stay(self) -> None:
        """A report stays one, and a sender of ours stays itself: SPF holds for it anyway."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.add_alias("away@example.test", [str(FAR)])
        await self.reception.accept(self.envelope("away@example.test", sender=None))
        await self.reception.accept(self.envelope("away@example.test", sender=ann.address))
        own = self.world.origin(account=ann.id)
        await self.reception.accept(self.envelope("away@example.test", sender=ann.address, origin=own))
        await self.courier.after(3)
        found = {(envelope.sender, envelope.forwarding) for envelope, _ in self.courier.sent}
        forwarded = Forwarding("example.test", "")
        self.assertEqual(found, {(None, forwarded), (ann.address, forwarded), (ann.address, None)})

    async def test_each_once(self) -> None:
        """Who is reached several ways gets one copy, under the name that the sender wrote if he wrote it."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.add_alias("one@example.test", [str(FAR)])
        await self.world.accounts.add_alias("two@example.test", [str(FAR)])
        wish = Wish(int(Notify.NEVER))
        to = ("one@example.test", "two@example.test", str(FAR))
        origin = self.world.origin(account=ann.id)
        await self.reception.accept(self.envelope(*to, sender=ann.address, origin=origin, wishes={FAR: wish}))
        envelope, recipients = await self.courier.after(1)
        self.assertEqual((recipients, dict(envelope.wishes)), ((FAR,), {FAR: wish}))
        self.assertEqual(await self.rows("SELECT count(*) FROM queue"), [(1,)])

    async def test_suspended_and_blocked_accounts(self) -> None:
        """What keeps an account from taking the mail does not keep it from the others of the alias."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.add_alias("both@example.test", ["ann@example.test", str(FAR)])
        await self.world.accounts.set_state("ann@example.test", "suspended")
        await self.reception.accept(self.envelope("both@example.test"))
        _, recipients = await self.courier.after(1)
        self.assertEqual((recipients, await self.world.contents(ann)), ((FAR,), []))

    async def test_full_beside_one_elsewhere(self) -> None:
        """The sender hears that the alias accepted; so a full account of it takes the message, by LMTP too."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.add_alias("both@example.test", ["ann@example.test", str(FAR)])
        await self.world.accounts.set_quota(ann.address, 10)
        await self.world.accounts.set_quota(bob.address, 10)
        await self.reception.accept(self.envelope("both@example.test"))
        replies = await self.reception.accept(self.envelope("both@example.test", "bob@example.test"), each=True)
        self.assertEqual([reply.code for reply in replies.values()], [250, 552])
        self.assertEqual((len(await self.world.contents(ann)), len(await self.world.contents(bob))), (2, 0))
        await self.courier.after(2)

    async def test_domain_became_local(self) -> None:
        """What an alias reaches may be here by now: then nothing leaves. Aliases that lead to each other are told so."""
        await self.begin("ann")
        await self.world.accounts.add_alias("a@example.test", ["a@example.net"])
        await self.world.accounts.add_alias("b@example.test", ["b@example.net"])
        await self.world.accounts.add_alias("c@example.test", ["c@example.net"])
        await self.world.accounts.add_domain("example.net")
        await self.world.accounts.add_alias("a@example.net", ["ann@example.test", "far@example.com"])
        await self.world.store.write(_loop, self.world.cipher)
        self.world.accounts._forget()
        await self.reception.accept(self.envelope("a@example.test"))
        envelope, recipients = await self.courier.after(1)
        self.assertEqual(recipients, addresses("far@example.com"))
        self.assertEqual(len(await self.rows("SELECT uid FROM entries")), 1)
        for recipient in ("b@example.test", "b@example.net", "c@example.test"):
            text = await self.reply(self.reception.recipient(self.world.origin(), SENDER, Address.parse(recipient), None))
            self.assertEqual(text, "554 5.4.6 Aliases lead to each other and to nobody", recipient)

    async def test_hops(self) -> None:
        """A message that went through too many servers goes round in a loop."""
        (ann,) = await self.begin("ann")

        async def take(hops: int, submitted: bool) -> Message:
            content = self.reception.content(self.world.origin(), b"Received: own\r\n", 100_000, submitted)
            content.write(b"Received: from somewhere\r\n\tby elsewhere\r\n" * hops + b"Subject: Received: x\r\n\r\ntext\r\n")
            return await content.finish()

        for submitted in (False, True):
            await take(HOPS, submitted)
            self.assertEqual(await self.reply(take(HOPS + 1, submitted)), "554 5.4.6 Too many hops: the message goes round in a loop")


def _loop(txn: Any, cipher: Any) -> None:
    """Make b@example.net lead back to b@example.test, as an alias from before the domain was ours would."""
    from mailx.store import aliases

    aliases.add(txn, cipher, "b", "example.net", [], ["b@example.test"], 0)


class BounceTests(Base):
    async def test_back_to_the_sender(self) -> None:
        """A report to an address that we made goes to whom it stands for; nothing else does, and no made-up address does."""
        await self.begin("ann")
        made = await self.srs.rewrite(SENDER, "example.test")
        await self.reception.recipient(self.world.origin(), None, made, None)
        await self.reception.accept(self.envelope(str(made), sender=None))
        envelope, recipients = await self.courier.after(1)
        self.assertEqual((envelope.sender, recipients), (None, (SENDER,)))
        for sender, address, want in (
            (SENDER, made, "550 5.7.1 This address takes delivery reports only"),
            (None, Address(made.local[:-1] + "x", "example.test"), "550 5.1.1 No such mailbox here"),
            (None, Address("SRS0=AAAAAAAA=AA=example.org=victim", "example.test"), "550 5.1.1 No such mailbox here"),
            (None, Address(made.local, "example.net"), "550 5.7.1 Relaying denied"),
        ):
            self.assertEqual(await self.reply(self.reception.recipient(self.world.origin(), sender, address, None)), want)
        self.assertEqual(len(self.courier.sent), 1)

    async def test_sender_here_by_now(self) -> None:
        (ann,) = await self.begin("ann")
        made = await self.srs.rewrite(ann.address, "example.test")
        await self.reception.accept(self.envelope(str(made), sender=None))
        self.assertEqual(len(await self.world.contents(ann)), 1)

    async def test_a_name_like_that(self) -> None:
        """An account may be called like an address that SRS makes."""
        (user,) = await self.begin("srs0-fan")
        await self.reception.accept(self.envelope("srs0-fan@example.test"))
        self.assertEqual(len(await self.world.contents(user)), 1)

    async def test_full_circle(self) -> None:
        """Forwarded mail that is refused there comes back to its sender as a report."""
        await self.begin("ann")
        await self.world.accounts.add_alias("away@example.test", [str(FAR)])
        self.courier.reply = Reply(550, "5.1.1", "Unknown")
        await self.reception.accept(self.envelope("away@example.test"))
        await self.courier.after(1)
        self.courier.reply = Reply(250, "2.0.0", "OK")
        envelope, recipients = await self.courier.after(2)
        self.assertEqual((envelope.sender, recipients, envelope.origin.protocol), (None, (SENDER,), GENERATED))


class PostgreSQLSubmissionTests(SubmissionTests):
    engine = "postgresql"


class PostgreSQLAliasTests(AliasTests):
    engine = "postgresql"

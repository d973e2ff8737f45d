"""Reports and findings through reception: what is stored with them, what they tell, and what stands in the timeline."""

from unittest import mock

from mailx.core.policy import Findings
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Envelope, Notify, Origin, Wish, new_id
from mailx.mail.reply import Reply
from mailx.store.delivery import Consignment, Delivery, deliver
from mailx.store.queue import FAILED, SENDING, Parcel, Settled, Settlement, Waiting
from tests.core.test_forwarding import ALL, FAR, MAIL, Base, Finding
from tests.scenery import SENDER


class GeneratedTests(Base):
    def report(self, to: str) -> Envelope:
        return self.envelope(to, sender=None, origin=Origin(GENERATED, new_id()))

    async def test_over_quota(self) -> None:
        """A report reaches its reader with room or without; it may go to other servers."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.set_quota(ann.address, 10)
        self.assertEqual((await self.reply(self.reception.accept(self.envelope("ann@example.test"))))[:9], "552 5.2.2")
        await self.reception.accept(self.report("ann@example.test"))
        self.assertEqual(len(await self.world.contents(ann)), 1)
        await self.reception.accept(self.report(str(FAR)))
        _, recipients = await self.courier.after(1)
        self.assertEqual(recipients, (FAR,))

    async def settlement(self) -> Settlement:
        """A row that is being sent, and its failure."""
        waiting = Waiting(bytes(16), b"r", SENDING, 0, 1)
        parcel = Parcel("e", bytes(16), b"d", None, 10, 0, (waiting,), "elsewhere")
        delivery = Delivery(bytes(16), 10, b"s", b"c", None, 0, 0, (), parcel=parcel)
        (outcomes,) = await self.world.store.write(deliver, Consignment((delivery,)))
        return Settlement((Settled(outcomes.rows[0], FAILED, 5, 1, bytes(16), b"h"),), "elsewhere", 7)

    async def test_settled_together(self) -> None:
        """What a report settles is written with it, to a mailbox here or a row of the queue, and not without it."""
        (ann,) = await self.begin("ann")
        for number, to in enumerate(("ann@example.test", str(FAR)), 1):
            settlement = await self.settlement()
            await self.reception.accept(self.report(to), settling=settlement)
            (row,) = await self.rows(f"SELECT state, finished, attempts FROM queue WHERE id = {settlement.rows[0].id}")
            self.assertEqual(row, (FAILED, 7, 1), number)
        self.assertEqual(len(await self.world.contents(ann)), 1)
        settlement = await self.settlement()
        await self.reply(self.reception.accept(self.report("nobody@example.test"), settling=settlement))
        self.assertEqual(await self.rows(f"SELECT state FROM queue WHERE id = {settlement.rows[0].id}"), [(SENDING,)])
        await self.courier.after(1)

    async def test_failure_tells_the_sender(self) -> None:
        """Mail of an account that is refused elsewhere comes back as a report."""
        (ann,) = await self.begin("ann")
        self.courier.reply = Reply(550, "5.1.1", "Unknown")
        await self.reception.accept(self.envelope(str(FAR), sender=ann.address, origin=self.world.origin(account=ann.id)))
        (report,) = await self.arrived(ann, 1)
        self.assertIn(b"Return-Path: <>\r\n", report)
        self.assertIn(b"Unknown", report)
        self.assertEqual(await self.rows("SELECT state FROM queue"), [(FAILED,)])


class FindingsTests(Base):
    async def test_junk(self) -> None:
        """Junk goes into the mailbox for it, whatever it is called now; without one into INBOX."""
        ann, bob, eve = await self.begin("ann", "bob", "eve", policies=[Finding(Findings(junk=True))])
        await self.world.mailboxes.rename(bob, "Spam", "Old/Rubbish")
        await self.world.mailboxes.delete(eve, "Spam")
        await self.reception.accept(self.envelope("ann@example.test", "bob@example.test", "eve@example.test"))
        for user, mailbox in ((ann, "Spam"), (bob, "Old/Rubbish"), (eve, "INBOX")):
            self.assertEqual(len(await self.world.contents(user, mailbox)), 1, mailbox)
        self.assertEqual(self.notes.of("stored")["mailbox"], "junk")

    async def test_fields_before_a_spooled_message(self) -> None:
        finding = Finding(Findings(fields=b"X-Found: 1\r\nX-More: 2\r\n"))
        (ann,) = await self.begin("ann", policies=[finding], store={"file_above": 1024, "spool_above": 65536})
        rest = b"From: a@example.org\r\n\r\n" + b"0123456789abcd\r\n" * 10_000
        intake = self.reception.content(self.world.origin(), b"Return-Path: <a@b.example>\r\nReceived: x\r\n", 10_000_000, False)
        waiting = intake.write(rest)
        assert waiting is None or await waiting is None
        await self.reception.accept(self.envelope("ann@example.test", message=await intake.finish()))
        (content,) = await self.world.contents(ann)
        self.assertEqual(content, b"Return-Path: <a@b.example>\r\nX-Found: 1\r\nX-More: 2\r\nReceived: x\r\n" + rest)
        self.assertEqual(len(self.world.files()), 1, "the first file is gone")
        self.assertEqual(await self.rows("SELECT size FROM messages"), [(len(content),)])

    async def test_full_disk_while_fields_are_put(self) -> None:
        finding = Finding(Findings(fields=b"X-Found: 1\r\n"))
        (ann,) = await self.begin("ann", policies=[finding], store={"file_above": 1024, "spool_above": 65536})
        intake = self.reception.content(self.world.origin(), b"Received: x\r\n", 10_000_000, False)
        waiting = intake.write(b"A: b\r\n\r\n" + b"x\r\n" * 50_000)
        assert waiting is None or await waiting is None
        envelope = self.envelope("ann@example.test", message=await intake.finish())
        with mock.patch("mailx.store.blobs.BlobWriter.write", side_effect=OSError(28, "No space left on device")):
            self.assertEqual(await self.reply(self.reception.accept(envelope)), "452 4.3.1 Insufficient system storage")
        self.assertEqual((self.world.files(), finding.undone), ([], 1))
        self.assertEqual(self.notes.of("refused")["reply"], "452 4.3.1 Insufficient system storage")

    async def test_our_name_in_the_results_of_others(self) -> None:
        """Authentication-Results in our name are taken from strangers and users, not from the front server that we trust."""
        await self.begin("ann")
        ours = b"Authentication-Results: mx.example.test; spf=pass\r\n"
        for protocol, submitted, kept in (("ESMTP", False, False), ("ESMTPSA", True, False), ("LMTP", False, True)):
            intake = self.reception.content(self.world.origin(protocol=protocol), b"Received: x\r\n", 1000, submitted)
            intake.write(ours + b"Date: x\r\nMessage-ID: <1@x>\r\n\r\n")
            content = (await intake.finish()).content
            assert isinstance(content, bytes)
            self.assertEqual(ours in content, kept, protocol)


class SuccessTests(Base):
    async def sent(self, to: str, notify: int = int(Notify.SUCCESS), original: str = "") -> None:
        recipient = Address.parse(to)
        origin = self.world.origin(account=self.ann.id)
        envelope = self.envelope(to, sender=self.ann.address, origin=origin, wishes={recipient: Wish(notify, original)})
        await self.reception.accept(envelope)

    async def open(self) -> None:
        self.ann, self.bob = await self.begin("ann", "bob")

    async def test_delivered_here(self) -> None:
        await self.open()
        await self.sent("bob@example.test", original="rfc822;robert@example.org")
        (report,) = await self.arrived(self.ann, 1)
        for line in (b"Action: delivered", b"Status: 2.", b"Original-Recipient: rfc822;robert@example.org"):
            self.assertIn(line, report.replace(b"; ", b";"))

    async def test_not_asked(self) -> None:
        await self.open()
        for notify in (0, int(Notify.NEVER), int(Notify.FAILURE | Notify.DELAY)):
            await self.sent("bob@example.test", notify)
        await self.sent("bob@example.test")
        (report,) = await self.arrived(self.ann, 1)
        self.assertEqual(len(await self.world.contents(self.bob)), 4)

    async def test_alias_for_one_elsewhere(self) -> None:
        """The wishes go on with the message, with the alias as the original recipient."""
        await self.open()
        await self.world.accounts.add_alias("away@example.test", [str(FAR)])
        await self.sent("away@example.test", ALL)
        envelope, _ = await self.courier.after(1)
        self.assertEqual(dict(envelope.wishes), {FAR: Wish(ALL, "rfc822;away@example.test")})

    async def test_alias_for_several(self) -> None:
        """This server tells of the success: the alias was expanded; no other tells of more."""
        await self.open()
        await self.world.accounts.add_alias("both@example.test", [str(FAR), "bob@example.test"])
        await self.sent("both@example.test", ALL)
        envelope, _ = await self.courier.after(1)
        self.assertEqual(dict(envelope.wishes), {FAR: Wish(int(Notify.FAILURE | Notify.DELAY), "rfc822;both@example.test")})
        (report,) = await self.arrived(self.ann, 1)
        self.assertIn(b"Action: expanded", report)
        self.assertNotIn(str(FAR).encode(), report.replace(MAIL, b""))
        await self.sent("both@example.test", int(Notify.SUCCESS))
        envelope, _ = await self.courier.after(2)
        self.assertEqual(dict(envelope.wishes)[FAR].notify, int(Notify.NEVER))

    async def test_null_sender(self) -> None:
        """Nobody is told when there is nobody to tell."""
        await self.open()
        recipient = Address("bob", "example.test")
        await self.reception.accept(self.envelope(str(recipient), sender=None, wishes={recipient: Wish(int(Notify.SUCCESS))}))
        self.assertEqual(len(await self.world.contents(self.bob)), 1)
        self.assertEqual(await self.rows("SELECT count(*) FROM messages"), [(1,)])


class TimelineTests(Base):
    async def test_notes(self) -> None:
        """Where a message came from and where it went; found by its addresses and its Message-ID."""
        (ann,) = await self.begin("ann")
        origin = self.world.origin(tls="TLSv1.3 X")
        await self.reception.accept(self.envelope("ann@example.test", origin=origin))
        (_, _, keys, facts), (_, event, _, _) = self.notes.notes
        self.assertEqual(set(keys), {str(SENDER), "ann@example.test", "1@example.org"})
        self.assertEqual(
            (facts["protocol"], facts["client"], facts["helo"], facts["tls"]), ("ESMTP", "192.0.2.1", "client.example.org", "TLSv1.3 X")
        )
        self.assertEqual(
            (facts["sender"], facts["recipients"], facts["size"], event), (str(SENDER), ["ann@example.test"], len(MAIL), "stored")
        )

    async def test_refused(self) -> None:
        (ann,) = await self.begin("ann")
        await self.world.accounts.set_quota(ann.address, 10)
        await self.reply(self.reception.accept(self.envelope("ann@example.test")))
        self.assertEqual(self.notes.of("refused")["reply"], "552 5.2.2 Mailbox full")


class PostgreSQLGeneratedTests(GeneratedTests):
    engine = "postgresql"


class PostgreSQLFindingsTests(FindingsTests):
    engine = "postgresql"

"""Reception over a real store: verdicts, deliveries, filing, and what survives crashes and full disks."""

import gc
import os
import shutil
from typing import Any
from unittest import mock

from attrs import evolve
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailx.core.blocking import Blocking
from mailx.core.policy import Findings, IPolicy, MessageSize, Policy
from mailx.core.reception import Reception
from mailx.core.sweep import Sweep
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.keys import load_or_create
from mailx.store.messages import charge
from mailx.store.sqlite import open_store
from tests.scenery import SENDER, World, world

MAIL = b"From: a@example.org\r\nSubject: s\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"
BIG = MAIL + b"0123456789abcd\r\n" * 20_000
HUGE = MAIL + b"0123456789abcd\r\n" * 100_000


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(Address.parse(text) for text in texts)


class ReceptionTestCase(TestCase):
    world: World
    engine = "sqlite"

    async def begin(self, *names: str, **sections: Any) -> list[Any]:
        self.world = await world(self, engine=self.engine, **sections)
        return [await self.world.user(f"{name}@example.test") for name in names]

    def envelope(self, *recipients: str, content: bytes = MAIL, **fields: Any) -> Envelope:
        message = Message(content, len(content))
        return evolve(Envelope(new_id(), SENDER, addresses(*recipients), message, self.world.origin()), **fields)

    async def reply(self, waiting: Any) -> str:
        with self.assertRaises(Refused) as caught:
            await waiting
        return str(caught.exception.reply)

    async def rows(self, sql: str) -> list[Any]:
        return await self.world.store.read(lambda txn: txn.all(sql))


class SenderTests(ReceptionTestCase):
    async def test_stranger(self) -> None:
        """A stranger may give any sender, or none."""
        await self.begin()
        await self.world.reception.sender(self.world.origin(), SENDER, 1000)
        await self.world.reception.sender(self.world.origin(), None, None)

    async def test_size(self) -> None:
        """An announced size over the limit is refused at once."""
        await self.begin(smtp={"message_size": 65536})
        await self.world.reception.sender(self.world.origin(), SENDER, 65536)
        self.assertEqual(
            await self.reply(self.world.reception.sender(self.world.origin(), SENDER, 65537)),
            "552 5.3.4 Message size exceeds fixed maximum message size",
        )

    async def test_own_addresses(self) -> None:
        """An account sends as itself, as its aliases, from its subaddresses, and with the null sender; as nobody else."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.add_alias("sales@example.test", ["ann@example.test"])
        origin = self.world.origin(account=ann.id)
        for sender in addresses("ann@example.test", "Ann@EXAMPLE.test", "sales@example.test", "ann+x@example.test"):
            await self.world.reception.sender(origin, sender, None)
        await self.world.reception.sender(origin, None, None)
        for sender in addresses("bob@example.test", "nobody@example.test", "ann@example.org"):
            self.assertEqual(await self.reply(self.world.reception.sender(origin, sender, None)), "550 5.7.1 Sender address is not yours")


class RecipientTests(ReceptionTestCase):
    async def verdict(self, recipient: str, size: int | None = None, sender: Address | None = SENDER, **origin: Any) -> str:
        address = Address.parse(recipient)
        try:
            found = await self.world.reception.recipient(self.world.origin(**origin), sender, address, size)
        except Refused as refused:
            return str(refused.reply)
        self.assertEqual(found, address)
        return "ok"

    async def test_addresses(self) -> None:
        """Accounts, aliases, subaddresses are found; other names are unknown; other domains are not relayed to, not even for owners."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.add_alias("sales@example.test", ["ann@example.test"])
        for recipient in ("ann@example.test", "ANN@Example.Test", "ann+lists@example.test", "sales@example.test", "sales+a@example.test"):
            self.assertEqual(await self.verdict(recipient), "ok", recipient)
        self.assertEqual(await self.verdict("bob@example.test"), "550 5.1.1 No such mailbox here")
        self.assertEqual(await self.verdict("ann@example.org"), "550 5.7.1 Relaying denied")
        self.assertEqual(await self.verdict("ann@example.org", account=ann.id), "550 5.7.1 Relaying denied")

    async def test_catch_all(self) -> None:
        """With a catch-all every name of the domain reaches somebody."""
        await self.begin("ann")
        await self.world.accounts.add_alias("*@example.test", ["ann@example.test"])
        self.assertEqual(await self.verdict("anything@example.test"), "ok")

    async def test_postmaster(self) -> None:
        """Postmaster is always there, also without a domain (RFC 5321 4.5.1), and is the admin."""
        (ann,) = await self.begin("ann")
        self.assertEqual(await self.verdict("Postmaster@example.test"), "ok")
        bare = Address("Postmaster", "")
        self.assertEqual(await self.world.reception.recipient(self.world.origin(), None, bare, None), bare)
        await self.world.reception.accept(evolve(self.envelope(), recipients=(bare,)))
        self.assertEqual(len(await self.world.contents(ann)), 1)
        with self.assertRaises(Refused):
            await self.world.reception.recipient(self.world.origin(), None, Address("ann", ""), None)

    async def test_suspended(self) -> None:
        """A suspended account takes nothing; an alias that also reaches another one does."""
        await self.begin("ann", "bob")
        await self.world.accounts.add_alias("both@example.test", ["ann@example.test", "bob@example.test"])
        await self.world.accounts.set_state("ann@example.test", "suspended")
        self.assertEqual(await self.verdict("ann@example.test"), "550 5.2.1 Mailbox disabled")
        self.assertEqual(await self.verdict("both@example.test"), "ok")

    async def test_blocked(self) -> None:
        """A blocked sender, or one of a blocked domain, does not reach the one who blocked; the null sender always does."""
        await self.begin("ann", "bob", "eve")
        await self.world.accounts.block("ann@example.test", str(SENDER))
        await self.world.accounts.block("bob@example.test", "@example.org")
        for recipient in ("ann@example.test", "bob@example.test"):
            self.assertEqual(await self.verdict(recipient), "550 5.7.1 Sender not accepted by recipient")
            self.assertEqual(await self.verdict(recipient, sender=None), "ok")
        self.assertEqual(await self.verdict("eve@example.test"), "ok")

    async def test_quota(self) -> None:
        """A mailbox without room for the announced size is full; without an announcement only one that has no room at all."""
        await self.begin("ann", accounts={"quota": 1050})
        self.assertEqual(await self.verdict("ann@example.test", 1000), "ok")
        self.assertEqual(await self.verdict("ann@example.test", 1001), "552 5.2.2 Mailbox full")
        self.assertEqual(await self.verdict("ann@example.test"), "ok")
        await self.world.store.write(lambda txn: txn.execute("UPDATE accounts SET used = 1050"))
        self.world.accounts.note_used(1, 1050)
        self.assertEqual(await self.verdict("ann@example.test"), "552 5.2.2 Mailbox full")

    async def test_room_made_meanwhile(self) -> None:
        """What the cache takes for full is looked up before it is refused."""
        (ann,) = await self.begin("ann", accounts={"quota": 1050})
        self.assertEqual(await self.verdict("ann@example.test", 1000), "ok")
        self.world.accounts.note_used(ann.id, 1050)
        self.assertEqual(await self.verdict("ann@example.test", 1000), "ok")


class AcceptTests(ReceptionTestCase):
    async def test_octets(self) -> None:
        """The message is stored as it came, behind Return-Path and Received; a stale Return-Path is gone."""
        (ann,) = await self.begin("ann")
        id = await self.world.deliver("ann@example.test", b"Return-Path: <x@y.z>\r\n" + MAIL)
        (content,) = await self.world.contents(ann)
        head, _, rest = content.partition(b"From:")
        self.assertEqual(b"From:" + rest, MAIL)
        lines = head.replace(b"\r\n\t", b" ").split(b"\r\n")
        self.assertEqual((lines[0], len(lines)), (b"Return-Path: <sender@example.org>", 3))
        self.assertIn(f"id {id} for <ann@example.test>;".encode(), lines[1])

    async def test_attempts_are_separate(self) -> None:
        """The same message twice is two messages."""
        (ann,) = await self.begin("ann")
        await self.world.deliver("ann@example.test", MAIL)
        await self.world.deliver("ann@example.test", MAIL)
        self.assertEqual(len(await self.world.contents(ann)), 2)
        self.assertEqual(len(await self.rows("SELECT id FROM messages")), 2)

    async def test_everybody_once(self) -> None:
        """However many addresses reach an account, it gets the message once."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.add_alias("all@example.test", ["ann@example.test", "bob@example.test"])
        given = ("ann@example.test", "all@example.test", "ANN@example.test", "ann+x@example.test", "ann@example.test")
        replies = await self.world.reception.accept(self.envelope(*given))
        self.assertEqual(set(replies), set(addresses(*given)))
        self.assertEqual({str(reply) for reply in replies.values()}, {"250 2.0.0 Message accepted for delivery"})
        self.assertEqual((len(await self.world.contents(ann)), len(await self.world.contents(bob))), (1, 1))
        self.assertEqual(await self.rows("SELECT refs FROM messages"), [(2,)])

    async def test_threads(self) -> None:
        """An answer joins the thread of what it answers, by In-Reply-To before References."""
        await self.begin("ann")
        for own, more in (
            ("1", ""),
            ("2", ""),
            ("3", "In-Reply-To: <2@x>\r\nReferences: <1@x> <2@x>\r\n"),
            ("4", "References: <1@x>\r\n <2@x>\r\n"),
        ):
            await self.world.deliver("ann@example.test", f"Message-ID: <{own}@x>\r\n{more}\r\n".encode())
        threads = [thread for (thread,) in await self.rows("SELECT thread_id FROM entries ORDER BY uid")]
        self.assertEqual((threads[2], threads[3]), (threads[1], threads[0]))
        self.assertNotEqual(threads[0], threads[1])

    async def test_nothing_plain(self) -> None:
        """No text of a message is to be read in the database's files."""
        await self.begin("ann")
        await self.world.deliver(
            "ann@example.test", MAIL.replace(b"hello", b"PLAINTEXT-BODY").replace(b"Subject: s", b"Subject: PLAINTEXT-SUBJECT")
        )
        for name in os.listdir(self.world.directory):
            path = os.path.join(self.world.directory, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    self.assertNotIn(b"PLAINTEXT", file.read(), name)

    async def test_refused_by_policy(self) -> None:
        """A policy's reply is what the client gets; nothing is stored, no file stays."""
        await self.begin("ann", store={"file_above": 1024})

        class Never(Policy):
            async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
                return Reply(550, "5.7.1", "No")

        verifyObject(IPolicy, Never())
        verifyObject(IPolicy, MessageSize(1))
        verifyObject(IPolicy, Blocking(self.world.accounts))
        reception = Reception(
            self.world.store, self.world.cipher, self.world.blobs, self.world.accounts, [Never()], self.world.reactor, hostname="h"
        )
        content = reception.content(self.world.origin(), b"T: 1\r\n", 10_000_000, False)
        waiting = content.write(HUGE)
        assert waiting is None or await waiting is None
        message = await content.finish()
        self.assertEqual(await self.reply(reception.accept(self.envelope("ann@example.test", message=message))), "550 5.7.1 No")
        self.assertEqual(self.world.files(), [])
        self.assertEqual(await self.rows("SELECT id FROM messages"), [])

    async def test_changed_recipients(self) -> None:
        """One recipient gone since RCPT: try again. All gone: the reason. With a verdict for each: to each its own."""
        ann, _ = await self.begin("ann", "bob")
        await self.world.accounts.set_state("bob@example.test", "suspended")
        both = self.envelope("ann@example.test", "bob@example.test")
        self.assertEqual(await self.reply(self.world.reception.accept(both)), "451 4.3.0 Recipients have changed; try again")
        alone = self.envelope("bob@example.test", "eve@example.test")
        self.assertEqual(await self.reply(self.world.reception.accept(alone)), "550 5.2.1 Mailbox disabled")
        self.assertEqual(await self.world.contents(ann), [])
        replies = await self.world.reception.accept(both, each=True)
        self.assertEqual(
            [str(replies[each]) for each in both.recipients], ["250 2.0.0 Message accepted for delivery", "550 5.2.1 Mailbox disabled"]
        )
        self.assertEqual(len(await self.world.contents(ann)), 1)
        replies = await self.world.reception.accept(alone, each=True)
        self.assertEqual([reply.code for reply in replies.values()], [550, 550])

    async def test_full_meanwhile(self) -> None:
        """Full accounts are served beside one with room; all full is refused; with a verdict for each only the full ones are."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.set_quota(ann.address, 10)
        both = self.envelope("ann@example.test", "bob@example.test")
        self.assertEqual(await self.reply(self.world.reception.accept(self.envelope("ann@example.test"))), "552 5.2.2 Mailbox full")
        replies = await self.world.reception.accept(both, each=True)
        self.assertEqual([reply.code for reply in replies.values()], [552, 250])
        self.assertEqual(await self.world.contents(ann), [])
        replies = await self.world.reception.accept(both)
        self.assertEqual([reply.code for reply in replies.values()], [250, 250])
        self.assertEqual((len(await self.world.contents(ann)), len(await self.world.contents(bob))), (1, 2))

    async def test_full_beside_another(self) -> None:
        """What is accepted for an alias is lost for none of its accounts, also with a verdict for each recipient."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.add_alias("team@example.test", ["ann@example.test", "bob@example.test"])
        await self.world.accounts.set_quota(ann.address, 10)
        replies = await self.world.reception.accept(self.envelope("team@example.test"), each=True)
        self.assertEqual([reply.code for reply in replies.values()], [250])
        self.assertEqual((len(await self.world.contents(ann)), len(await self.world.contents(bob))), (1, 1))
        await self.world.accounts.set_quota(bob.address, 10)
        replies = await self.world.reception.accept(self.envelope("team@example.test"), each=True)
        self.assertEqual([reply.code for reply in replies.values()], [552])

    async def test_used(self) -> None:
        """What is charged is size and 5 %, and the directory knows at once."""
        (ann,) = await self.begin("ann")
        self.assertEqual((await self.world.accounts.user(ann.id)).used, 0)
        await self.world.deliver("ann@example.test", MAIL)
        (content,) = await self.world.contents(ann)
        self.assertEqual((await self.world.accounts.user(ann.id)).used, charge(len(content)))
        self.assertEqual(await self.rows("SELECT used FROM accounts"), [(charge(len(content)),)])

    async def test_store_unavailable(self) -> None:
        """A store that cannot answer is 451, not a refusal."""
        await self.begin("ann")
        with mock.patch.object(self.world.store, "write", side_effect=Unavailable("locked")):
            self.assertEqual(
                await self.reply(self.world.reception.accept(self.envelope("ann@example.test"))),
                "451 4.3.0 Requested action aborted: local error",
            )

    async def test_many_at_once(self) -> None:
        """Deliveries that meet in one commit are all there, each once, UIDs without gaps."""
        users = await self.begin("ann", "bob", "eve")
        sent = [MAIL.replace(b"hello", b"hello %d" % number) for number in range(60)]
        await gatherResults(
            [Deferred.fromCoroutine(self.world.deliver(str(users[number % 3].address), content)) for number, content in enumerate(sent)]
        )
        found = []
        for user in users:
            contents = await self.world.contents(user)
            self.assertEqual(len(contents), 20)
            found += [content[content.index(b"From:") :] for content in contents]
        self.assertEqual(sorted(found), sorted(sent))
        uids = await self.rows("SELECT uid FROM entries ORDER BY mailbox_id, uid")
        self.assertEqual([uid for (uid,) in uids], [*range(1, 21)] * 3)


class LargeTests(ReceptionTestCase):
    async def spooled(self, octets: bytes) -> Message:
        content = self.world.reception.content(self.world.origin(), b"T: 1\r\n", 100_000_000, False)
        waiting = content.write(octets)
        if waiting is not None:
            await waiting
        return await content.finish()

    async def test_file(self) -> None:
        """A large message lies in a file, and the database holds only its summary."""
        (ann,) = await self.begin("ann")
        await self.world.deliver("ann@example.test", BIG)
        self.assertTrue((await self.world.contents(ann))[0].endswith(BIG))
        self.assertEqual([name for (name,) in await self.rows("SELECT file FROM messages")], self.world.files())
        self.assertEqual(await self.rows("SELECT message_id FROM bodies"), [])

    async def test_spool_becomes_the_file(self) -> None:
        """What was spooled is never written again: the spool is the file that the message names."""
        (ann,) = await self.begin("ann")
        message = await self.spooled(HUGE)
        before = self.world.files()
        await self.world.reception.accept(self.envelope("ann@example.test", message=message))
        self.assertEqual(self.world.files(), before)
        self.assertEqual(await self.world.contents(ann), [b"T: 1\r\n" + HUGE])

    async def test_file_is_durable_before_the_commit(self) -> None:
        """The file and its directory are fsynced before the transaction that names it is asked for."""
        await self.begin("ann")
        steps: list[str] = []
        real_fsync, real_write = os.fsync, self.world.store.write

        def fsync(descriptor: int) -> None:
            steps.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
            real_fsync(descriptor)

        def write(*args: Any) -> Any:
            steps.append("commit")
            return real_write(*args)

        for content in (BIG, HUGE):
            with mock.patch("os.fsync", fsync), mock.patch.object(self.world.store, "write", write):
                await self.world.deliver("ann@example.test", content)
            self.assertEqual(steps[-3:], ["file", "directory", "commit"])

    async def test_full_disk(self) -> None:
        """No space for the file is 452, and nothing stays."""
        await self.begin("ann")
        with mock.patch.object(Blobs, "put", side_effect=OSError(28, "No space left on device")):
            self.assertEqual(await self.reply(self.world.deliver("ann@example.test", BIG)), "452 4.3.1 Insufficient system storage")
        self.assertEqual(self.world.files(), [])
        self.assertEqual(await self.rows("SELECT id FROM messages"), [])

    async def test_failed_transaction(self) -> None:
        """When the transaction fails for certain, the file that it would have named goes; on PostgreSQL only the sweep can tell."""
        await self.begin("ann")
        with mock.patch.object(self.world.store, "write", lambda *args: fail(Unavailable("database or disk is full"))):
            for content in (BIG, HUGE):
                delivering = self.world.deliver("ann@example.test", content)
                self.assertEqual(await self.reply(delivering), "451 4.3.0 Requested action aborted: local error")
        self.assertEqual(len(self.world.files()), 0 if self.engine == "sqlite" else 2)
        gc.collect()  # the traceback held the files
        await self.world.sweep.orphans()
        self.assertEqual(self.world.files(), [])

    async def test_commit_in_doubt(self) -> None:
        """A file that a commit did name, although its answer was lost, stays."""
        (ann,) = await self.begin("ann")
        real = self.world.store.write

        async def lost(*args: Any) -> None:
            await real(*args)
            raise Unavailable("the connection was lost")

        with mock.patch.object(self.world.store, "write", lambda *args: Deferred.fromCoroutine(lost(*args))):
            await self.reply(self.world.deliver("ann@example.test", BIG))
        self.assertTrue((await self.world.contents(ann))[0].endswith(BIG))

    async def test_full_mailbox(self) -> None:
        """A large message that nobody took leaves no file."""
        await self.begin("ann", accounts={"quota": 1000})
        for content in (BIG, HUGE):
            message = await self.spooled(content)
            accepting = self.world.reception.accept(self.envelope("ann@example.test", message=message))
            self.assertEqual(await self.reply(accepting), "552 5.2.2 Mailbox full")
        self.assertEqual(self.world.files(), [])

    async def test_damaged_spool(self) -> None:
        """A spool that does not open is no reason to lose the message: try again."""
        await self.begin("ann")
        message = await self.spooled(HUGE)
        (name,) = self.world.files()
        path = os.path.join(self.world.directory, "blobs", name[:2], name)
        with open(path, "r+b") as file:
            file.seek(500_000)
            file.write(b"xxxx")
        accepting = self.world.reception.accept(self.envelope("ann@example.test", message=message))
        self.assertEqual(await self.reply(accepting), "451 4.3.0 Requested action aborted: local error")


class CrashTests(ReceptionTestCase):
    async def crashed(self) -> tuple[Any, Cipher, Blobs]:
        """The world as a crash at this moment would leave it, opened again."""
        copy = self.mktemp()
        shutil.copytree(self.world.directory, copy)
        os.unlink(os.path.join(copy, "mailx.db.lock"))
        store = await open_store(os.path.join(copy, "mailx.db"), 1, self.world.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        cipher = Cipher(await load_or_create(os.path.join(copy, "secret"), store))
        return store, cipher, Blobs(os.path.join(copy, "blobs"), cipher)

    async def test_accepted_is_there(self) -> None:
        """Whatever was acknowledged is there after a crash: small, in a file, spooled."""
        (ann,) = await self.begin("ann")
        for content in (MAIL, BIG, HUGE):
            await self.world.deliver("ann@example.test", content)
        store, cipher, blobs = await self.crashed()
        self.world.store, self.world.cipher, self.world.blobs, original = store, cipher, blobs, self.world
        found = await original.contents(ann)
        self.assertEqual([content[content.index(b"From:") :] for content in found], [MAIL, BIG, HUGE])

    async def test_unacknowledged_file(self) -> None:
        """A crash between the file and its commit leaves an orphan, which the sweep of the next start removes."""
        await self.begin("ann")
        await self.world.deliver("ann@example.test", BIG)
        left: list[Any] = []

        def write(*args: Any) -> Any:
            left.append(Deferred.fromCoroutine(self.crashed()))
            return Deferred()

        with mock.patch.object(self.world.store, "write", write):
            pending = Deferred.fromCoroutine(self.world.deliver("ann@example.test", HUGE))
            while not left:
                await self.world.reception._threads(lambda: None)
        store, _, blobs = await left[0]
        self.assertEqual(len(list(blobs.names())), 2)
        self.assertEqual(await Sweep(store, blobs, self.world.reactor).orphans(), 1)
        ((kept,),) = await store.read(lambda txn: txn.all("SELECT file FROM messages"))
        self.assertEqual(list(blobs.names()), [kept])
        pending.addErrback(lambda failure: None).cancel()


class PostgreSQLRecipientTests(RecipientTests):
    engine = "postgresql"


class PostgreSQLAcceptTests(AcceptTests):
    engine = "postgresql"


class PostgreSQLLargeTests(LargeTests):
    engine = "postgresql"

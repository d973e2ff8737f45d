"""Imports: what comes, what is known, what is proven, on both engines; and for accounts that only their owners open."""

from functools import partial
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import TestCase

from mailx.core.audit import Actor, acting
from mailx.core.import_check import Check
from mailx.core.importing import Folder, Imports, Item
from mailx.core.mailboxes import Mailboxes
from mailx.core.reception import Reception
from mailx.core.users import DirectoryError, User
from mailx.mail.mailbox import Flag
from mailx.mail.reply import Unavailable
from mailx.store import imports
from mailx.store.messages import charge
from tests.core.sealed_scene import Scene, scene
from tests.scenery import World, world

ME = "me@example.test"
SEEN, FLAGGED, DELETED = int(Flag.SEEN), int(Flag.FLAGGED), int(Flag.DELETED)


def content(number: int, octets: int = 0) -> bytes:
    return b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\nHello\r\n%b" % (number, number, b"x" * 70 * (octets // 70))


def item(number: int, mailbox: str = "INBOX", **fields: Any) -> Item:
    return Item(b"%016d" % number, mailbox, **{"content": content(number), "received": 1000 + number, **fields})


def importing(made: World, reception: Reception | None = None, mailboxes: Mailboxes | None = None, keyring: Any = None) -> Imports:
    threads = partial(deferToThreadPool, made.reactor, made.reactor.getThreadPool())
    check = Check(made.store, made.cipher, made.blobs, keyring, threads)
    boxes, way_in = mailboxes or made.mailboxes, reception or made.reception
    return Imports(made.store, made.cipher, made.accounts, boxes, way_in, check, made.reactor, 10_000_000)


class Importing(TestCase):
    engine = "sqlite"

    async def begin(self, **sections: Any) -> tuple[World, User, Imports, int]:
        made = await world(self, engine=self.engine, **sections)
        user = await made.user(ME)
        found = importing(made)
        self.addCleanup(lambda: Deferred.fromCoroutine(found.stop()))
        return made, user, found, (await found.begin("maildir", "/old", ME, [Folder("INBOX")]))[0]

    async def used(self, made: World, user: User) -> int:
        fresh = await made.accounts.fresh(user.id)
        assert fresh is not None
        return fresh.used

    async def test_what_comes_is_there_once(self) -> None:
        made, user, found, id = await self.begin()
        items = [item(number) for number in range(5)]
        self.assertEqual(await found.bring(id, items), (5, 0))
        self.assertEqual(await made.contents(user), [content(number) for number in range(5)])
        self.assertEqual(await found.known(id, [each.key for each in items] + [b"another"]), {each.key for each in items})
        used = await self.used(made, user)
        self.assertEqual(await found.bring(id, [*items, item(5), item(5)]), (1, 0))
        self.assertEqual(len(await made.contents(user)), 6)
        self.assertEqual(await self.used(made, user), used + charge(len(content(5))))

    async def test_two_at_once(self) -> None:
        """What meets in one commit, and what overlaps, comes once."""
        made, user, found, id = await self.begin()
        batches = [[item(number) for number in range(start, start + 10)] for start in (0, 5, 0, 10)]
        added = await gatherResults([Deferred.fromCoroutine(found.bring(id, batch)) for batch in batches])
        self.assertEqual(sum(count for count, _ in added), 20)
        self.assertEqual(sorted(await made.contents(user)), sorted(content(number) for number in range(20)))

    async def test_outrun_twice(self) -> None:
        """Others bring more of the same each time that it has looked at what is missing."""
        made, user, found, id = await self.begin()
        await found.bring(id, [item(0)])
        read, others = made.store.read, [item(1), item(2)]

        async def outrun(job: Any, *arguments: Any) -> Any:
            answer = await read(job, *arguments)
            if job is imports.known and others:
                await found.bring(id, [others.pop()])
            return answer

        self.patch(made.store, "read", outrun)
        self.assertEqual(await found.bring(id, [item(number) for number in range(5)]), (2, 0))
        self.assertEqual(sorted(await made.contents(user)), [content(number) for number in range(5)])

    async def test_forgotten_meanwhile(self) -> None:
        made, user, found, id = await self.begin()
        read = made.store.read

        async def forgetting(job: Any, *arguments: Any) -> Any:
            answer = await read(job, *arguments)
            if job is imports.find:
                await made.store.write(imports.forget, id)
            return answer

        self.patch(made.store, "read", forgetting)
        with self.assertRaises(Unavailable):
            await found.bring(id, [item(1)])
        self.assertEqual((await made.contents(user), made.files()), ([], []))

    async def test_dates_flags_and_keywords(self) -> None:
        made, user, found, id = await self.begin()
        keywords = ("$Forwarded", "work", "not an atom", "caf\u00e9")
        self.assertEqual(await found.bring(id, [item(1, flags=SEEN, keywords=keywords)]), (1, 2))
        view = await made.mailboxes.select(user, "INBOX", read_only=True)
        self.addCleanup(view.close)
        self.assertEqual((list(view.received), sorted(view.names(view.flags[0]))), ([1001], ["$Forwarded", "\\Seen", "work"]))

    async def test_more_keywords_than_there_are(self) -> None:
        made, user, found, id = await self.begin()
        names = tuple(f"k{number}" for number in range(70))
        self.assertEqual(await found.bring(id, [item(1, keywords=names)]), (1, 12))

    async def test_all_or_none(self) -> None:
        made, user, found, id = await self.begin()
        with self.assertRaises(DirectoryError) as caught:
            await found.bring(id, [item(1), item(2, "Nowhere")])
        self.assertEqual(caught.exception.code, "in_use")
        self.assertEqual((await made.contents(user), await found.known(id, [item(1).key])), ([], set()))

    async def test_over_quota(self) -> None:
        made, user, found, id = await self.begin(accounts={"quota": charge(len(content(0))) * 2})
        with self.assertRaises(DirectoryError) as caught:
            await found.bring(id, [item(number) for number in range(3)])
        self.assertIn("mailxctl user quota me@example.test", caught.exception.remedy)
        self.assertEqual(await self.used(made, user), 0)
        self.assertEqual(await found.bring(id, [item(1), item(2)]), (2, 0))

    async def test_a_large_message_in_pieces(self) -> None:
        made, user, found, id = await self.begin()
        whole = content(1, 3_000_000)
        for start in range(0, len(whole), 500_000):
            await found.upload(id, "big", whole[start : start + 500_000], len(whole))
        self.assertEqual(await found.bring(id, [item(0), item(1, content=None, upload="big")]), (2, 0))
        self.assertEqual(await made.contents(user), [content(0), whole])
        self.assertEqual((await found.check(id, [item(1).key]))[item(1).key][0].digest, sha256(whole).digest())
        with self.assertRaises(DirectoryError):
            await found.bring(id, [item(2, content=None, upload="big")])
        await found.upload(id, "short", b"x", 2)
        with self.assertRaises(DirectoryError):
            await found.bring(id, [item(3, content=None, upload="short")])
        with self.assertRaises(DirectoryError):
            await found.upload(id, "huge", b"x", 10_000_001)
        await found.upload(id, "left", b"x", 2)

    async def test_threads(self) -> None:
        made, user, found, id = await self.begin()
        answer = b"In-Reply-To: <1@x>\r\n\r\nyes\r\n"
        await found.bring(id, [item(1), item(2), item(3, content=answer)])
        rows = await made.store.read(lambda txn: txn.all("SELECT thread_id FROM entries ORDER BY uid"))
        self.assertEqual([rows[0] == rows[1], rows[0] == rows[2]], [False, True])

    async def test_folders(self) -> None:
        made, user, found, _ = await self.begin()
        folders = [Folder("INBOX"), Folder("Gesendet", "\\Sent"), Folder("Work/2024"), Folder("Users/a@b.c/d"), Folder("Alle", "\\Archive")]
        names = ["INBOX", "Sent", "Work/2024", "Users_/a@b.c/d", "Archive"]
        planned = await found.plan(ME, folders)
        self.assertEqual([name for name, _ in planned], names)
        self.assertEqual([there for _, there in planned], [True, True, False, False, True])
        self.assertEqual((await found.begin("mbox", "/x", ME, folders))[1], names)
        self.assertEqual([there for _, there in await found.plan(ME, folders)], [True] * 5)
        self.assertIn("Work/2024", await made.mailboxes.subscriptions(user))
        self.assertEqual((await found.begin("mbox", "/x", ME, folders[:3], "Old"))[1], ["Old", "Old/Gesendet", "Old/Work/2024"])
        with self.assertRaises(DirectoryError):
            await found.begin("mbox", "/x", ME, [Folder("a//b")])
        with self.assertRaises(DirectoryError):
            await found.begin("mbox", "/x", "nobody@example.test", folders)

    async def test_a_special_use_that_nobody_has(self) -> None:
        made, user, found, _ = await self.begin()
        await made.mailboxes.delete(user, "Archive")
        self.assertEqual((await found.begin("mbox", "/x", ME, [Folder("Alle", "\\Archive")]))[1], ["Alle"])
        self.assertEqual((await made.mailboxes.status(user, "Alle")).special_use, "\\Archive")

    async def test_the_proof(self) -> None:
        made, user, found, id = await self.begin()
        items = [item(number, flags=SEEN) for number in range(3)]
        await found.bring(id, items)
        view = await made.mailboxes.select(user, "INBOX", read_only=False)
        self.addCleanup(view.close)
        await made.mailboxes.store(view, [1], "add", DELETED, ())
        await made.mailboxes.expunge(view)
        await made.mailboxes.store(view, [2], "add", FLAGGED, ("work",))
        checked = await found.check(id, [each.key for each in items] + [b"another"])
        self.assertEqual(sorted(checked), [each.key for each in items])
        self.assertEqual(checked[items[0].key][0].state, "removed")
        one, names = checked[items[1].key]
        self.assertEqual((one.state, one.digest, one.same, one.received), ("there", sha256(content(1)).digest(), True, 1001))
        self.assertEqual((one.flags & 31, names), (SEEN | FLAGGED, ["work"]))
        self.assertEqual(checked[items[2].key][0].flags, SEEN)

    async def test_what_was_removed_does_not_come_back(self) -> None:
        made, user, found, id = await self.begin()
        await found.bring(id, [item(1)])
        view = await made.mailboxes.select(user, "INBOX", read_only=False)
        self.addCleanup(view.close)
        await made.mailboxes.store(view, [1], "add", DELETED, ())
        await made.mailboxes.expunge(view)
        self.assertEqual(await found.bring(id, [item(1)]), (0, 0))

    async def test_flags_three_ways(self) -> None:
        """What changed at the source since it was last looked at comes; what the owner changed here stays."""
        made, user, found, id = await self.begin()
        await found.bring(id, [item(1, flags=FLAGGED, keywords=("old",)), item(2), item(3)])
        view = await made.mailboxes.select(user, "INBOX", read_only=False)
        self.addCleanup(view.close)
        await made.mailboxes.store(view, [1], "add", DELETED, ("mine",))
        now = [item(1, flags=SEEN, keywords=("new",)), item(2), item(3, flags=SEEN), item(4, flags=SEEN)]
        self.assertEqual(await found.flag(id, now), 2)
        await view.settle()
        view.updates(True)
        self.assertEqual(sorted(view.names(view.flags[0])), ["\\Deleted", "\\Seen", "mine", "new"])
        box = await made.mailboxes.status(user, "INBOX")
        self.assertEqual((box.unseen, box.deleted, box.messages), (1, 1, 3))
        self.assertEqual(await found.flag(id, now), 0)
        await made.mailboxes.store(view, [3], "remove", SEEN, ())
        self.assertEqual(await found.flag(id, now), 0)
        await view.settle()
        view.updates(True)
        self.assertEqual(view.flags[2], 0)

    async def test_a_mailbox_that_is_gone(self) -> None:
        made, user, found, _ = await self.begin()
        id, _ = await found.begin("mbox", "/x", ME, [Folder("Work")])
        await found.bring(id, [item(1, "Work")])
        await made.mailboxes.delete(user, "Work")
        self.assertEqual(await found.flag(id, [item(1, flags=SEEN)]), 0)
        self.assertEqual((await found.check(id, [item(1).key]))[item(1).key][0].state, "removed")

    async def test_listed_and_forgotten(self) -> None:
        made, user, found, id = await self.begin()
        await found.bring(id, [item(number) for number in range(3)])
        self.assertEqual((await found.begin("maildir", "/old", ME, []))[0], id)
        self.assertNotEqual((await found.begin("mbox", "/old", ME, []))[0], id)
        await found.finish(id, {"added": 3})
        one = (await found.list())[1]
        self.assertEqual((one.address, one.kind, one.label, one.messages, one.last), (ME, "maildir", "/old", 3, {"added": 3}))
        self.assertIsNotNone(one.finished)
        with self.assertRaises(DirectoryError):
            await found.bring(id, [item(9)])
        self.assertEqual((await found.begin("maildir", "/old", ME, []))[0], id)
        self.assertIsNone((await found.list())[1].finished)
        self.patch(imports, "SLICE", 2)
        await found.forget(id)
        with self.assertRaises(DirectoryError):
            await found.known(id, [b"x"])
        with self.assertRaises(DirectoryError):
            await found.bring(id, [item(9)])
        self.assertEqual(await made.store.read(lambda txn: txn.all("SELECT * FROM imported")), [])
        self.assertEqual(len(await made.contents(user)), 3)

    async def test_forgotten_under_way(self) -> None:
        """An import that was forgotten meanwhile takes nothing more."""
        made, user, found, id = await self.begin()
        with self.assertRaises(Unavailable):
            await found.bring(id, [item(1)]) if await self.gone(made, id) else None
        self.assertEqual(await made.contents(user), [])

    async def gone(self, made: World, id: int) -> bool:
        """Let the import vanish between its look-up and its commit."""
        reception = made.reception
        bring = reception.bring

        async def late(*arguments: Any) -> int:
            await made.store.write(imports.forget, id)
            return await bring(*arguments)

        self.patch(reception, "bring", late)
        return True

    async def test_erased_with_the_account(self) -> None:
        made, user, found, id = await self.begin()
        await found.bring(id, [item(1)])
        await made.accounts.erase_user(ME)
        self.assertEqual(await made.store.read(lambda txn: txn.all("SELECT id FROM imports")), [])

    async def test_at_rest(self) -> None:
        """Neither where it came from nor what names its messages lies readable."""
        made, user, found, id = await self.begin()
        await found.bring(id, [item(1)])
        rows = await made.store.read(lambda txn: txn.all("SELECT sealed, source, key, digest FROM imports JOIN imported ON import_id = id"))
        lying = b"".join([bytes(value) for row in rows for value in row])
        for told in (b"/old", item(1).key, sha256(content(1)).digest()):
            self.assertNotIn(told, lying)

    async def test_audited(self) -> None:
        made, user, found, id = await self.begin()
        with acting(Actor("mailxctl", "mailxctl"), "import.finish") as act:
            await found.finish(id, {"added": 7})
        self.assertEqual((act.target, act.after), (ME, {"from": "/old", "added": 7}))


class ImportingOnPostgreSQL(Importing):
    engine = "postgresql"


class Sealed(TestCase):
    """Accounts whose mail only their owners open."""

    def parts(self, made: Scene) -> Imports:
        inner = made.ring.world
        mailboxes = Mailboxes(inner.store, inner.cipher, inner.blobs, inner.changes, inner.reactor, 0, made.keyring)
        reception = Reception(
            inner.store, inner.cipher, inner.blobs, inner.accounts, [], inner.reactor, hostname="mail.example.test",
            arrivals=made.arrivals, keyring=made.keyring,
        )  # fmt: skip
        return importing(inner, reception, mailboxes, made.keyring)

    async def test_whose_owner_is_here(self) -> None:
        made = await scene(self)
        await made.ring.world.user("ann@example.test")
        await made.held.seal("ann@example.test", "secret")
        found = self.parts(made)
        id, _ = await found.begin("maildir", "/old", "ann@example.test", [])
        large = content(2, 400_000)
        self.assertEqual(await found.bring(id, [item(1), item(2, content=large)]), (2, 0))
        checked = await found.check(id, [item(1).key, item(2).key])
        self.assertEqual([checked[item(n).key][0].digest for n in (1, 2)], [sha256(content(1)).digest(), sha256(large).digest()])
        user = (await made.ring.world.accounts.find("ann@example.test")).user
        made.keyring.drop(user.id)
        self.assertEqual((await found.check(id, [item(1).key]))[item(1).key][0].state, "sealed")
        rows = await made.ring.world.store.read(lambda txn: txn.all("SELECT vault FROM messages"))
        self.assertEqual(rows, [(1,), (1,)])

    async def test_whose_owner_is_away(self) -> None:
        made = await scene(self)
        user, private = await made.server_held("ann@example.test")
        found = self.parts(made)
        id, _ = await found.begin("maildir", "/old", "ann@example.test", [])
        self.assertEqual(await found.bring(id, [item(1, flags=SEEN), item(2)]), (2, 0))
        self.assertEqual(await found.bring(id, [item(1)]), (0, 0))
        rows = await made.ring.world.store.read(lambda txn: txn.all("SELECT flags, received, account_id FROM waiting ORDER BY id"))
        self.assertEqual(rows, [(SEEN, 1001, user.id), (0, 1002, user.id)])
        self.assertEqual((await found.check(id, [item(1).key]))[item(1).key][0].state, "sealed")
        self.assertEqual(await found.flag(id, [item(1)]), 0)

    async def test_that_only_its_program_opens(self) -> None:
        made = await scene(self)
        user, private = await made.client_held("ann@example.test")
        found = self.parts(made)
        id, _ = await found.begin("maildir", "/old", "ann@example.test", [])
        self.assertEqual(await found.bring(id, [item(1, content=b"From: <me@example.test>\r\n\r\nHello\r\n")]), (1, 0))
        (stored,) = await made.ring.world.contents(user)
        self.assertNotIn(b"Hello", stored)
        unsealed, inner = await made.unsealed(stored, private)
        self.assertTrue(inner.endswith(b"Hello\r\n"))
        self.assertEqual(unsealed.verdict.sealed, "arrival", "our own word that it came, not that its author sent it")

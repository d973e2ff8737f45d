"""Two nodes on one PostgreSQL database, each with its services: what one does the other's clients hear, by IMAP and by POP3."""

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.access import Access
from mailx.core.accounts import Accounts
from mailx.core.changes import Changes
from mailx.core.mailboxes import Mailboxes
from mailx.imap.server import IMAPService
from mailx.pop3.server import POP3Service
from mailx.store.postgres import open_store
from tests.imap.wire import Certificate, Client
from tests.pop3.wire import ask
from tests.scenery import World, world
from tests.store import postgresql

ANNA, BEN = "anna@example.test", "ben@example.test"
TEAM = b"Users/anna@example.test/Team"
MESSAGE = b"Subject: x\r\n\r\ntext\r\n"


class Node:
    """One process: its directory, mailboxes and services."""

    def __init__(self, made: World) -> None:
        self.world = made
        config, tls = made.config, Certificate()
        self.imap = IMAPService(config.imap, config.server, made.mailboxes, made.reception, made.access, tls, made.reactor)  # type: ignore[arg-type]
        self.pop3 = POP3Service(config.pop3, config.server, made.mailboxes, made.access, tls, made.reactor)  # type: ignore[arg-type]
        self.imap.listeners.append(self.imap.listener("imaps", None))
        self.pop3.listeners.append(self.pop3.listener("pop3s", None))
        self.clients: list[Client] = []

    async def login(self, user: str, password: str = "secret") -> Client:
        client = self._connect(self.imap.listeners[0])
        await client.line()
        answer = await client.command(b"LOGIN %b %b" % (user.encode(), password.encode()))
        assert answer[-1].startswith(b"t OK"), answer
        return client

    async def maildrop(self, user: str) -> Client:
        client = self._connect(self.pop3.listeners[0])
        await client.line()
        for line in (b"USER " + user.encode(), b"PASS secret"):
            answer = await ask(client, line)
            assert answer.startswith(b"+OK"), answer
        return client

    def _connect(self, listener: Any) -> Client:
        client = Client(listener.buildProtocol(None), self.world.reactor)
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.disconnect()


class TwoNodes(TestCase):
    timeout = 240

    async def setUp(self) -> None:
        postgresql.binaries()
        made = await world(self, engine="postgresql")
        self.anna, self.ben = await made.user(ANNA), await made.user(BEN)
        self.here, self.there = Node(made), Node(await self.another(made))
        for node in (self.here, self.there):
            self.addCleanup(node.close)

    async def another(self, made: World) -> World:
        [database] = await made.store.read(lambda txn: txn.one("SELECT current_database()"))
        store = await open_store(postgresql.server().url(database), "", 2, made.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        accounts = Accounts(store, made.cipher, made.config.accounts, made.passwords, made.reactor)
        await accounts.load()
        access = Access(accounts, made.config.accounts, made.passwords, made.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(access.stop()))
        changes = Changes(store)
        mailboxes = Mailboxes(store, made.cipher, made.blobs, changes, made.reactor, made.config.accounts.quota)
        return evolve(made, store=store, accounts=accounts, access=access, changes=changes, mailboxes=mailboxes)

    async def say(self, client: Client, *commands: bytes) -> None:
        for command in commands:
            answer = await client.command(command)
            self.assertTrue(answer[-1].startswith(b"t OK"), (command, answer))

    async def append(self, client: Client, mailbox: bytes) -> None:
        await self.say(client, b"APPEND %b {%d+}\r\n%b" % (mailbox, len(MESSAGE), MESSAGE))

    async def test_rights_and_notify(self) -> None:
        """What the owner gives, does and takes on one node, the guest on the other hears in NOTIFY and in IDLE."""
        owner, watcher = await self.here.login(ANNA), await self.there.login(BEN)
        events = b"MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange"
        await self.say(watcher, b"NOTIFY SET STATUS (subtree Users (%b)) (personal (MailboxName))" % events)
        await self.say(owner, b"CREATE Secret", b"CREATE Team", b"SETACL Team %b lrs" % BEN.encode())
        self.assertEqual(await watcher.line(), b'* LIST (\\HasNoChildren) "/" ' + TEAM)
        self.assertRegex(await watcher.line(), rb"\* STATUS %b \(MESSAGES 0 UIDNEXT 1 " % TEAM)
        await self.append(owner, b"Secret")
        await self.append(owner, b"Team")
        told = await watcher.line()
        self.assertRegex(told, rb"\* STATUS %b \(MESSAGES 1 UIDNEXT 2 " % TEAM)

        guest = await self.there.login(BEN)
        await self.say(guest, b"SELECT " + TEAM)
        guest.send(b"i IDLE\r\n")
        await guest.until(b"+ ")
        await self.say(owner, b"SELECT Team", b"STORE 1 +FLAGS (\\Answered)")
        self.assertRegex((await guest.until(b"* 1 FETCH"))[-1], rb"\* 1 FETCH \(UID 1 FLAGS \(.*\\Answered\)\)")
        await self.append(owner, b"Team")
        await guest.until(b"* 2 EXISTS")
        await self.say(owner, b"STORE 1 +FLAGS.SILENT (\\Deleted)", b"EXPUNGE")
        await guest.until(b"* 1 EXPUNGE")
        guest.send(b"DONE\r\n")
        await guest.until(b"i OK")

        # Made by the guest's node, heard by the owner's.
        await self.say(owner, b"NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))")
        await self.say(guest, b"STORE 1 +FLAGS (\\Seen)")
        self.assertRegex(await owner.line(), rb"\* 1 FETCH \(UID 2 FLAGS \(.*\\Seen")

        guest.send(b"i IDLE\r\n")
        await guest.until(b"+ ")
        for old, new in ((b"Team", b"Group"), (b"Group", b"Team")):
            await self.say(owner, b"RENAME %b %b" % (old, new))
            home = TEAM.removesuffix(b"Team")
            await watcher.until(b'* LIST (\\HasNoChildren) "/" %b%b ("OLDNAME" (%b%b))' % (home, new, home, old))
        await self.say(owner, b"DELETEACL Team " + BEN.encode())
        self.assertRegex((await guest.until(b"* BYE"))[-1], rb"\* BYE ")
        await guest.gone()
        heard = await watcher.until(b'* LIST (\\NonExistent \\HasNoChildren) "/" ' + TEAM)
        self.assertFalse([line for line in heard if b"Secret" in line], heard)
        again = await self.there.login(BEN)
        absent = await again.command(b"SELECT Users/anna@example.test/Nowhere")
        self.assertEqual(await again.command(b"SELECT " + TEAM), absent)
        await self.append(owner, b"Team")
        self.assertEqual(await watcher.command(b"NOOP"), [b"t OK NOOP completed"])

    async def sessions(self) -> list[Client]:
        return [await self.there.login(ANNA), await self.there.maildrop(ANNA)]

    async def test_sessions_end(self) -> None:
        """With the password, by whatever protocol, on whatever node; those of others stay."""
        other = await self.there.login(BEN)
        for client in await self.sessions():
            await self.here.world.accounts.set_password(ANNA, "another")
            await client.gone()
            await self.here.world.accounts.set_password(ANNA, "secret")
        await self.say(other, b"NOOP")

    async def test_sessions_end_after_a_word_was_lost(self) -> None:
        """The connection that brings the other node's word was away when the sessions should have ended."""
        notices = self.there.world.store._notices
        for undone in (False, True):
            mail, maildrop = await self.sessions()
            other = await self.there.login(BEN)
            notices._close()
            if not undone:
                await self.here.world.accounts.set_state(ANNA, "suspended")
                await self.here.world.accounts.set_state(ANNA, "active")
                await self.here.world.accounts.set_password(ANNA, "another")
                await self.here.world.accounts.set_password(ANNA, "secret")
            heard: Deferred[None] = Deferred()
            self.there.world.store.listen(lambda change, heard=heard: heard.called or heard.callback(None))
            notices._retry()
            await heard
            if not undone:
                await mail.gone()
                await maildrop.gone()
            else:
                await self.say(mail, b"NOOP")
                self.assertTrue((await ask(maildrop, b"NOOP")).startswith(b"+OK"))
            await self.say(other, b"NOOP")

    async def test_a_maildrop_open_on_both(self) -> None:
        """The lock is one node's (RFC 1939 4): what both delete goes once, and nothing else goes."""
        for number in range(5):
            await self.here.world.file(self.anna, b"Subject: %d\r\n\r\n%d\r\n" % (number, number))
        quota = await self.here.world.mailboxes.quota(self.anna)
        one, two = await self.here.maildrop(ANNA), await self.there.maildrop(ANNA)
        for client, marked in ((one, (1, 2)), (two, (2, 3))):
            for number in marked:
                self.assertTrue((await ask(client, b"DELE %d" % number)).startswith(b"+OK"))
        await self.here.world.file(self.anna, MESSAGE)
        self.assertEqual(await ask(one, b"QUIT"), b"+OK 2 messages deleted, goodbye")
        await one.gone()
        self.assertTrue((await ask(two, b"UIDL 4")).startswith(b"+OK 4 "))
        self.assertTrue((await ask(two, b"QUIT")).startswith(b"+OK"))
        await two.gone()
        left = await self.here.world.contents(self.anna)
        self.assertEqual(left, [b"Subject: 3\r\n\r\n3\r\n", b"Subject: 4\r\n\r\n4\r\n", MESSAGE])
        for node in (self.here, self.there):
            now = await node.world.mailboxes.quota(self.anna)
            self.assertEqual(now.messages, 3)
            self.assertLess(now.used, quota.used)
            inbox = await node.world.mailboxes.status(self.anna, "INBOX")
            self.assertEqual((inbox.messages, inbox.unseen, inbox.uidnext), (3, 3, 7))

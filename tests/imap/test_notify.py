"""NOTIFY while several changes overlap."""

from typing import Any

from twisted.internet.defer import Deferred

from mailx.imap import updates
from tests.imap.messages import PLAIN
from tests.imap.test_protocol import EdgeTestCase, coroutine


class NotifyTests(EdgeTestCase):
    @coroutine
    async def test_the_right_to_read_goes_while_mail_comes(self) -> None:
        """Mail that comes while the session reads which rights it has left is told of by those rights (RFC 5465 5)."""
        edge = await self.edge()
        await self.world.user("you@example.test")
        owner = await edge.login()
        await owner.command(b"CREATE Open")
        await owner.command(b"SETACL Open you@example.test lr")
        guest = await edge.login("you@example.test")
        await guest.command(b"NOTIFY SET (SUBTREE Users (MessageNew MessageExpunge))")
        gate: Deferred[None] = Deferred()
        reading: Deferred[None] = Deferred()
        shared = self.world.mailboxes.sharing.list

        async def slow(*args: Any) -> Any:
            found = await shared(*args)
            if not reading.called:
                reading.callback(None)
                await gate
            return found

        self.patch(self.world.mailboxes.sharing, "list", slow)
        await owner.command(b"SETACL Open you@example.test -r")
        await reading
        await self.world.file(self.user, PLAIN, "Open")
        gate.callback(None)
        self.assertEqual(await guest.command(b"NOOP"), [b"t OK NOOP completed"])

    @coroutine
    async def test_a_message_of_which_not_all_can_be_sent(self) -> None:
        """Whoever sends such a message ends nobody's session."""
        edge = await self.edge()
        client = await edge.login(select="INBOX")
        await client.command(b"NOTIFY SET (SELECTED (MessageNew (UID BINARY.PEEK[1]) MessageExpunge))")
        unknown = b"Content-Transfer-Encoding: x-strange\r\n" + PLAIN
        await self.world.file(self.user, unknown)
        self.assertEqual(await client.until(b"* 1 EXISTS"), [b"* 1 EXISTS"])
        self.assertEqual((await client.command(b"NOOP"))[-1], b"t OK NOOP completed")
        client.send(b"i IDLE\r\n")
        await client.until(b"+ ")
        await self.world.file(self.user, unknown)
        await client.until(b"* 2 EXISTS")
        client.send(b"DONE\r\n")
        self.assertEqual((await client.until(b"i "))[-1], b"i OK IDLE completed")
        await client.command(b"NOTIFY SET (SELECTED (MessageNew MessageExpunge))")
        await client.command(b"SEARCH RETURN (UPDATE (UID BINARY.PEEK[1]) COUNT) ALL", b"s")
        await self.world.file(self.user, unknown)
        self.assertEqual((await client.until(b"* ESEARCH"))[-1], b'* ESEARCH (TAG "s") ADDTO (0 3)')
        self.assertIn(b"[UNKNOWN-CTE]", (await client.command(b"UID FETCH 3 BINARY.PEEK[1]"))[-1])

    @coroutine
    async def test_the_right_to_read_goes_while_a_new_message_is_sent(self) -> None:
        edge = await self.edge()
        await self.world.user("you@example.test")
        owner = await edge.login()
        await owner.command(b"CREATE Open")
        await owner.command(b"SETACL Open you@example.test lr")
        guest = await edge.login("you@example.test", select="Users/me@example.test/Open")
        await guest.command(b"NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[]) MessageExpunge))")
        guest.send(b"i IDLE\r\n")
        await guest.until(b"+ ")
        fetch = self.world.mailboxes._reader._texts

        async def withdrawn(*args: Any) -> Any:
            found = await fetch(*args)
            await owner.command(b"SETACL Open you@example.test -r")
            return found

        self.patch(self.world.mailboxes._reader, "_texts", withdrawn)
        await self.world.file(self.user, PLAIN, "Open")
        self.assertEqual((await guest.until(b"* BYE"))[-1], b"* BYE You may not read the selected mailbox any more")

    @coroutine
    async def test_the_right_to_read_goes_while_flags_are_told(self) -> None:
        edge = await self.edge()
        await self.world.user("you@example.test")
        owner = await edge.login(select="INBOX")
        for _ in range(2):
            await self.world.file(self.user, PLAIN)
        await owner.command(b"SETACL INBOX you@example.test lr")
        guest = await edge.login("you@example.test", select="Users/me@example.test/INBOX")
        guest.send(b"i IDLE\r\n")
        await guest.until(b"+ ")
        self.patch(updates, "_SLICE", 1)
        grant = self.world.mailboxes.sharing.grant
        self.patch(guest.protocol, "ready", lambda: grant(self.user, "INBOX", "you@example.test", "-r"))
        await owner.command(b"STORE 1:2 +FLAGS (\\Flagged)", b"s")
        self.assertEqual((await guest.until(b"* BYE"))[-1], b"* BYE You may not read the selected mailbox any more")

"""What coming back costs: octets in proportion to what has changed, not to the mailbox (RFC 7162 3.2)."""

from twisted.trial.unittest import TestCase

from mailx.core.mailboxes import Selected
from tests.imap.wire import Client, Edge
from tests.scenery import world

SIZE = 16_384
CHANGES = 10_000


class ResyncTests(TestCase):
    """A mailbox of many messages, and a client that was away."""

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        made = await world(self)
        self.user = await made.user("me@example.test")
        await made.file(self.user, b"Subject: a\r\n\r\nb\r\n", flags=1)
        self.mailboxes = made.mailboxes
        self.edge = Edge(made)
        self.addCleanup(self.edge.close)
        view = await self.view()
        while len(view.uids) < SIZE:
            await made.mailboxes.copy(view, view.uids.tolist(), "INBOX")
            view.updates(True)
        view.close()

    async def view(self) -> Selected:
        return await self.mailboxes.select(self.user, "INBOX", False)

    async def change(self, uids: list[int]) -> None:
        """Half of ``uids`` get a flag, the others go; every second UID of the mailbox stays as it is."""
        view = await self.view()
        await self.mailboxes.store(view, uids[::2], "add", 4, ())
        await self.mailboxes.store(view, uids[1::2], "add", 8, ())
        await self.mailboxes.expunge(view, uids[1::2])
        view.close()

    async def octets(self, client: Client, known: bytes) -> tuple[int, int, int]:
        """(octets, messages that vanished, messages whose flags came) of a SELECT with QRESYNC."""
        lines = await client.command(b"SELECT INBOX (QRESYNC (%b))" % known)
        self.assertTrue(lines[-1].startswith(b"t OK"), lines[-1])
        vanished = 0
        for line in lines:
            if b" VANISHED " in line:
                for part in line.split(b" ")[-1].split(b","):
                    low, _, high = part.partition(b":")
                    vanished += int(high or low) - int(low) + 1
        return sum(len(line) + 2 for line in lines), vanished, sum(b" FETCH " in line for line in lines)

    async def test_in_proportion(self) -> None:
        client = await self.edge.login()
        await client.command(b"ENABLE QRESYNC")
        view = await self.view()
        validity, start = view.mailbox.uidvalidity, view.modseq
        view.close()
        nothing, _, _ = await self.octets(client, b"%d %d" % (validity, start))
        await self.change(list(range(1, 201, 2)))
        few, vanished, flagged = await self.octets(client, b"%d %d" % (validity, start))
        self.assertEqual((vanished, flagged), (50, 50))
        view = await self.view()
        middle = view.modseq
        view.close()
        await self.change(list(range(201, 201 + CHANGES)))
        many, vanished, flagged = await self.octets(client, b"%d %d" % (validity, middle))
        self.assertEqual((vanished, flagged), (CHANGES // 2, CHANGES // 2))
        self.assertLess(few - nothing, 100 * 50)
        self.assertLess(many - nothing, CHANGES * 50)
        again, _, _ = await self.octets(client, b"%d %d 1:300" % (validity, middle))
        self.assertLess(again - nothing, 100 * 50)

"""NOTIFY while several changes overlap."""

from typing import Any

from twisted.internet.defer import Deferred

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

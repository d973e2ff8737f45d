"""What dialogues cannot show: deadlines, limits, back-pressure, other sessions, failures."""

from collections.abc import Awaitable, Callable
from threading import current_thread, main_thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from mailx.mail.reply import Unavailable
from mailx.pop3 import retrieval
from mailx.pop3.plain_header import in_ascii
from tests.imap.messages import PLAIN
from tests.pop3.wire import Edge, ask, ask_lines
from tests.scenery import World, world


class EdgeTestCase(TestCase):
    """Tests over a real store; what they do is in coroutines."""

    timeout = 240

    async def edge(self, clock: Any = None, **config: Any) -> Edge:
        self.world: World = await world(self)
        self.user = await self.world.user("me@example.test")
        edge = Edge(self.world, clock, **config)
        self.addCleanup(edge.close)
        return edge


def coroutine(test: Callable[..., Awaitable[None]]) -> Callable[..., "Deferred[None]"]:
    def run(self: TestCase) -> "Deferred[None]":
        return Deferred.fromCoroutine(test(self))  # type: ignore[arg-type]

    run.__doc__ = test.__doc__
    run.__name__ = test.__name__
    return run


class SessionTests(EdgeTestCase):
    @coroutine
    async def test_deadlines(self) -> None:
        """A minute without a word before the login, then the autologout timer, and no line when it is over (RFC 1939 3)."""
        clock = Clock()
        edge = await self.edge(clock, idle_timeout=600)
        early, late = edge.connect(), await edge.login()
        await early.line()
        clock.advance(59)
        self.assertFalse(early.ended)
        clock.advance(1)
        await early.gone()
        self.assertEqual(bytes(early.data), b"")
        clock.advance(539)
        self.assertFalse(late.ended)
        clock.advance(1)
        await late.gone()
        self.assertEqual(bytes(late.data), b"")

    @coroutine
    async def test_connections(self) -> None:
        """One connection more than there is room for hears so, and goes."""
        edge = await self.edge(max_connections=1)
        first, second = edge.connect(), edge.connect()
        self.assertTrue((await first.line()).startswith(b"+OK"))
        self.assertEqual(await second.line(), b"-ERR [SYS/TEMP] Too many connections, try again later")
        await second.gone()

    @coroutine
    async def test_failed_logins(self) -> None:
        """The fifth wrong password is the last."""
        edge = await self.edge()
        client = edge.connect()
        await client.line()
        for _ in range(5):
            await ask(client, b"USER me@example.test")
            self.assertEqual(await ask(client, b"PASS wrong"), b"-ERR [AUTH] Authentication failed")
        await client.gone()

    @coroutine
    async def test_long_lines(self) -> None:
        """A line of any length costs no memory, and is refused."""
        edge = await self.edge()
        client = await edge.login()
        for _ in range(100):
            client.send(b"x" * 60000)
        client.send(b"\r\nNOOP\r\n")
        self.assertEqual(await client.line(), b"-ERR Line too long")
        self.assertEqual(await client.line(), b"+OK Nothing done")

    @coroutine
    async def test_a_large_header_is_rewritten_in_a_thread(self) -> None:
        """It may take a tenth of a second; nobody else waits for it."""
        edge = await self.edge()
        content = b"Subject: " + "\N{LATIN SMALL LETTER O WITH DIAERESIS} ".encode() * 5000 + b"\r\n\r\nbody\r\n"
        await self.world.file(self.user, content)
        here: list[bool] = []

        def watched(head: bytes) -> bytes:
            here.append(current_thread() is main_thread())
            return in_ascii(head)

        self.patch(retrieval, "in_ascii", watched)
        client = await edge.login()
        client.send(b"RETR 1\r\n")
        while not client.data.endswith(b"\r\n.\r\n"):
            await deferLater(reactor, 0)
        self.assertEqual(here, [False])
        self.assertTrue(bytes(client.data).isascii())

    @coroutine
    async def test_back_pressure(self) -> None:
        """Large messages go in pieces, no more than the client takes."""
        edge = await self.edge()
        content = b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 25000
        for _ in range(12):
            await self.world.file(self.user, content)
        client = await edge.login()
        output = client.protocol.output
        held = taken = 0
        write = client.transport.write

        def watch(data: bytes) -> None:
            write(data)
            if len(client.data) - taken > 65536:
                output.pauseProducing()

        client.transport.write = watch  # type: ignore[method-assign]
        client.send(b"".join(b"RETR %d\r\n" % number for number in range(1, 13)) + b"NOOP\r\n")
        while not client.data.endswith(b"+OK Nothing done\r\n"):
            await deferLater(reactor, 0)
            held = max(held, len(client.data) - taken)
            if output._full:
                taken = len(client.data)
                output.resumeProducing()
        self.assertEqual(bytes(client.data).count(content + b".\r\n"), 12)
        self.assertLess(held, 400000)

    @coroutine
    async def test_one_command_after_the_other_and_nothing_taken(self) -> None:
        """Before the login too: a client that reads none of its answers gets no more of them, however slowly it asks."""
        edge = await self.edge()
        client = edge.connect()
        await client.line()
        client.protocol.output.pauseProducing()
        for _ in range(20):
            client.send(b"CAPA\r\n")
            await deferLater(reactor, 0)
        self.assertEqual(client.data.count(b"+OK"), 1)
        client.protocol.output.resumeProducing()
        while client.data.count(b"+OK") < 20:
            await deferLater(reactor, 0)

    @coroutine
    async def test_marks_come_true(self) -> None:
        """At QUIT other sessions learn what was read and what went; numbers stay the same until then."""
        edge = await self.edge()
        for _ in range(3):
            await self.world.file(self.user, PLAIN)
        view = await self.world.mailboxes.select(self.user, "INBOX", False)
        client = await edge.login()
        await self.world.file(self.user, PLAIN)
        self.assertEqual(await ask(client, b"STAT"), b"+OK 3 %d" % (3 * len(PLAIN)))
        self.assertEqual(b"\r\n".join(await ask_lines(client, b"RETR 3")) + b"\r\n", PLAIN)
        await ask(client, b"DELE 1")
        self.assertEqual(list(view.flags), [0, 0, 0])
        self.assertEqual(await ask(client, b"QUIT"), b"+OK 1 messages deleted, goodbye")
        await client.gone()
        await view.settle()
        updates = view.updates(True)
        self.assertEqual((updates.expunged, updates.exists), ([1], 3))
        self.assertEqual([bool(flags & 1) for flags in view.flags], [False, True, False])
        view.close()

    @coroutine
    async def test_expunged_meanwhile(self) -> None:
        """What another session removed is refused, and does not hinder the rest."""
        edge = await self.edge()
        for _ in range(2):
            await self.world.file(self.user, PLAIN)
        client = await edge.login()
        view = await self.world.mailboxes.select(self.user, "INBOX", False)
        await self.world.mailboxes.update(view, [], [1])
        view.close()
        await self.world.sweep.messages()
        self.assertEqual(await ask(client, b"RETR 1"), b"-ERR The message was removed by another session")
        self.assertEqual(await ask(client, b"TOP 1 0"), b"-ERR The message was removed by another session")
        self.assertEqual(len(await ask_lines(client, b"RETR 2")), 8)
        await ask(client, b"DELE 1")
        self.assertEqual(await ask(client, b"QUIT"), b"+OK 1 messages deleted, goodbye")
        self.assertEqual(await self.world.contents(self.user), [PLAIN])

    @coroutine
    async def test_gone_while_updating(self) -> None:
        """A client that does not wait for the answer to QUIT loses nothing of it, and nobody has the maildrop meanwhile."""
        edge = await self.edge()
        await self.world.file(self.user, PLAIN)
        client = await edge.login()
        gate: Deferred[None] = Deferred()
        update = self.world.mailboxes.update

        async def slow(*args: Any) -> None:
            await gate
            await update(*args)

        self.patch(self.world.mailboxes, "update", slow)
        client.send(b"DELE 1\r\nQUIT\r\n")
        await client.line()
        client.disconnect()
        other = edge.connect()
        await other.line()
        await ask(other, b"USER me@example.test")
        self.assertEqual(await ask(other, b"PASS secret"), b"-ERR [IN-USE] Another session has this mailbox open")
        gate.callback(None)
        while edge.services.locks._held:
            await deferLater(reactor, 0)
        self.assertEqual(await self.world.contents(self.user), [])

    @coroutine
    async def test_utf8(self) -> None:
        """Who did not say UTF8 gets headers in ASCII (RFC 6856 3.1); the body is never touched."""
        edge = await self.edge()
        content = "Subject: Grüße\r\n\r\nGrüße\r\n".encode()
        await self.world.file(self.user, content)
        client = await edge.login()
        self.assertEqual(await ask_lines(client, b"RETR 1"), [b"Subject: =?utf-8?B?R3LDvMOfZQ==?=", b"", "Grüße".encode()])
        self.assertEqual(await ask_lines(client, b"TOP 1 0"), [b"Subject: =?utf-8?B?R3LDvMOfZQ==?=", b""])
        await ask(client, b"QUIT")
        client = edge.connect()
        await client.line()
        await ask(client, b"UTF8")
        await ask(client, b"USER me@example.test")
        await ask(client, b"PASS secret")
        self.assertEqual(b"\r\n".join(await ask_lines(client, b"RETR 1")) + b"\r\n", content)

    @coroutine
    async def test_unavailable(self) -> None:
        """A store that does not answer is said before the answer has begun; a broken file inside one ends the connection."""
        edge = await self.edge()
        await self.world.file(self.user, b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 25000)
        client = await edge.login()

        async def away(*args: Any) -> Any:
            raise Unavailable("away")

        self.patch(self.world.mailboxes, "there", away)
        self.assertEqual(await ask(client, b"RETR 1"), b"-ERR [SYS/TEMP] Temporarily unavailable, try again later")

        async def there(*args: Any) -> bool:
            return True

        async def short(*args: Any) -> bytes:
            return b""

        self.patch(self.world.mailboxes, "there", there)
        self.patch(self.world.mailboxes, "read", short)
        await ask(client, b"RETR 1")
        await client.gone()
        self.assertNotIn(b"\r\n.\r\n", client.data)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    @coroutine
    async def test_revoked_and_stopped(self) -> None:
        """A suspended account's session ends; a stopping server lets the others go."""
        edge = await self.edge()
        await self.world.user("you@example.test")
        mine, other = await edge.login(), await edge.login("you@example.test")
        self.world.accounts.on_revocation(edge.secure.revoke)
        await self.world.accounts.set_state("me@example.test", "suspended")
        self.assertEqual(await mine.line(), b"-ERR [AUTH] Account or password changed; log in again")
        await mine.gone()
        drained = edge.secure.drain()
        self.assertEqual(await other.line(), b"-ERR [SYS/TEMP] Server shutting down")
        await drained

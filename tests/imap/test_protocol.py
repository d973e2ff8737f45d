"""A connection as such: deadlines, limits, pipelining, chunks, back-pressure, shutdown, and failures of the store."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import Config
from mailx.core.input import Hangup
from mailx.core.output import STALL_SECONDS, Output
from mailx.core.sasl import LoginRefused
from mailx.imap.server import IMAPListener
from mailx.imap.session import Services, Sessions
from mailx.mail.reply import Unavailable
from tests.imap.messages import MULTIPART, PLAIN
from tests.imap.wire import Client, Edge
from tests.scenery import World, world


class EdgeTestCase(TestCase):
    """Tests over a real store; what they do is in coroutines."""

    timeout = 240

    async def edge(self, clock: Any = None, sections: dict[str, Any] | None = None, **config: Any) -> Edge:
        self.world: World = await world(self, **(sections or {}))
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


class DeadlineTests(EdgeTestCase):
    @coroutine
    async def test_before_login(self) -> None:
        """A client that says nothing before it logs in is not kept."""
        clock = Clock()
        client = (await self.edge(clock)).connect()
        await client.line()
        clock.advance(59)
        self.assertFalse(client.ended)
        clock.advance(1)
        self.assertEqual(await client.line(), b"* BYE Idle timeout")
        await self._gone(client, clock)

    async def _gone(self, client: Client, clock: Clock) -> None:
        self.assertTrue(client.ended)
        clock.advance(0)

    @coroutine
    async def test_idle(self) -> None:
        """After login the client may rest for half an hour, counted from its last command."""
        clock = Clock()
        client = await (await self.edge(clock)).login()
        clock.advance(1700)
        await client.command(b"NOOP")
        clock.advance(1799)
        self.assertFalse(client.ended)
        clock.advance(1)
        self.assertEqual(await client.line(), b"* BYE Idle timeout")
        await self._gone(client, clock)

    @coroutine
    async def test_slow_command(self) -> None:
        """A command has a minute to arrive, one octet a second or not."""
        clock = Clock()
        client = await (await self.edge(clock)).login()
        for octet in b"a NOOP" + b"P" * 53:
            client.send(bytes([octet]))
            clock.advance(1)
        self.assertFalse(client.ended)
        clock.advance(1)
        self.assertEqual(await client.line(), b"* BYE Command timeout")
        await self._gone(client, clock)

    @coroutine
    async def test_slow_message(self) -> None:
        """A message may take longer, by its size."""
        clock = Clock()
        client = await (await self.edge(clock)).login()
        client.send(b"a APPEND INBOX {40960}\r\n")
        self.assertEqual(await client.line(), b"+ Ready for literal data")
        clock.advance(69)
        self.assertFalse(client.ended)
        clock.advance(1)
        self.assertEqual(await client.line(), b"* BYE Command timeout")
        await self._gone(client, clock)

    @coroutine
    async def test_inside_a_literal(self) -> None:
        """Whatever the connection ends by while a literal stands open, a last line would be part of it."""
        for end in (
            lambda client, clock: clock.advance(1800),
            lambda client, clock: client.protocol._not_compressed(),
            lambda client, clock: client.protocol.revoke(),
        ):
            clock = Clock()
            client = await (await self.edge(clock)).login()
            client.protocol.session.inside_response = True
            end(client, clock)
            self.assertEqual(bytes(client.data), b"")
            await self._gone(client, clock)

    @coroutine
    async def test_idle_command(self) -> None:
        """IDLE has no timeout; the client hears of the server every 29 minutes."""
        clock = Clock()
        client = await (await self.edge(clock)).login(select="INBOX")
        client.send(b"a IDLE\r\n")
        self.assertEqual(await client.line(), b"+ idling")
        for _ in range(3):
            clock.advance(29 * 60)
            self.assertEqual(await client.line(), b"* OK Still here")
        client.protocol.session.inside_response = True  # a literal stands open
        clock.advance(29 * 60)
        self.assertEqual(bytes(client.data), b"")
        client.protocol.session.inside_response = False
        clock.advance(29 * 60)
        self.assertEqual(await client.line(), b"* OK Still here")
        client.send(b"done\r\n")
        self.assertEqual(await client.line(), b"a OK IDLE completed")
        clock.advance(29 * 60)
        self.assertEqual(bytes(client.data), b"")

    @coroutine
    async def test_linger(self) -> None:
        """A client that does not close its side after BYE is cut off."""
        clock = Clock()
        client = (await self.edge(clock)).connect()
        await client.line()
        cut: list[bool] = []
        client.transport.abortConnection = lambda: cut.append(True)  # type: ignore[method-assign]
        client.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        client.send(b"a LOGOUT\r\n")
        clock.advance(9)
        self.assertEqual(cut, [])
        clock.advance(1)
        self.assertEqual(cut, [True])


class LimitTests(EdgeTestCase):
    @coroutine
    async def test_connections(self) -> None:
        """The connection beyond the limit hears why it may not stay; one that goes makes room."""
        edge = await self.edge(max_connections=2)
        first, _ = edge.connect(), edge.connect()
        third = edge.connect()
        self.assertEqual(await third.line(), b"* BYE [LIMIT] Maximum connections reached")
        await third.gone()
        third.disconnect()
        first.disconnect()
        self.assertTrue((await edge.connect().line()).startswith(b"* OK"))

    @coroutine
    async def test_connections_of_an_address(self) -> None:
        """One client cannot take all places."""
        edge = await self.edge(max_connections=9, max_per_address=1)
        first = edge.connect()
        self.assertTrue((await first.line()).startswith(b"* OK"))
        self.assertEqual(await edge.connect().line(), b"* BYE [LIMIT] Maximum connections reached")
        first.disconnect()
        self.assertTrue((await edge.connect().line()).startswith(b"* OK"))

    @coroutine
    async def test_sessions_of_an_account(self) -> None:
        edge = await self.edge(max_per_account=2)
        first, _ = await edge.login(), await edge.login()
        client = edge.connect()
        await client.line()
        answer = await client.command(b"LOGIN me@example.test secret")
        self.assertEqual(answer, [b"t NO [LIMIT] Too many sessions of this account"])
        await first.command(b"LOGOUT")
        first.disconnect()
        self.assertTrue((await client.command(b"LOGIN me@example.test secret"))[-1].startswith(b"t OK"))

    @coroutine
    async def test_failed_logins(self) -> None:
        edge = await self.edge()
        client = edge.connect()
        await client.line()
        for _ in range(4):
            self.assertEqual(await client.command(b"LOGIN me@example.test x"), [b"t NO [AUTHENTICATIONFAILED] Authentication failed"])
        client.send(b"a LOGIN me@example.test x\r\n")
        self.assertEqual(await client.line(), b"* BYE Too many authentication failures")
        await client.gone()

    @coroutine
    async def test_throttled_logins(self) -> None:
        """Guesses that are not even judged end the session like those that are."""
        edge = await self.edge()
        client = edge.connect()
        await client.line()

        async def throttled(*args: object) -> None:
            raise LoginRefused(temporary=True, outcome="throttled")

        self.patch(self.world.access, "login", throttled)
        for _ in range(4):
            answer = await client.command(b"LOGIN me@example.test x")
            self.assertEqual(answer, [b"t NO [UNAVAILABLE] Temporary authentication failure"])
        client.send(b"a LOGIN me@example.test x\r\n")
        self.assertEqual(await client.line(), b"* BYE Too many authentication failures")

    @coroutine
    async def test_nonsense_before_login(self) -> None:
        client = (await self.edge()).connect()
        await client.line()
        for _ in range(20):
            self.assertEqual(await client.command(b"((("), [b"t BAD Atom expected"])
        client.send(b"t " + b"(" * 40000 + b"\r\n")
        self.assertEqual(await client.line(), b"t BAD [LIMIT] Command line too long")
        self.assertEqual(await client.line(), b"* BYE Too many invalid commands")
        await client.gone()

    @coroutine
    async def test_long_lines(self) -> None:
        """A line too long is refused as a whole; the literal behind it is no command either."""
        client = await (await self.edge()).login()
        client.send(b"a SEARCH TEXT " + b"x" * 100000 + b"\r\nb NOOP\r\n")
        self.assertEqual(await client.line(), b"a BAD [LIMIT] Command line too long")
        self.assertEqual(await client.line(), b"b OK NOOP completed")
        client.send(b"c SEARCH TEXT " + b"x" * 100000 + b" {12+}\r\nx1 LOGOUT\r\n\r\n\r\nd NOOP\r\n")
        self.assertEqual(await client.line(), b"c BAD [LIMIT] Command line too long")
        self.assertEqual(await client.line(), b"* BAD Invalid tag")
        self.assertEqual(await client.line(), b"d OK NOOP completed")

    @coroutine
    async def test_longest_identity(self) -> None:
        """RFC 2971 3.3: thirty fields of 30 octets, values of 1,024."""
        client = (await self.edge()).connect()
        await client.line()
        pairs = b" ".join(b'"%030d" "%01024d"' % (number, number) for number in range(30))
        client.send(b"a ID (%b)\r\n" % pairs)
        self.assertTrue((await client.line()).startswith(b"* ID "))
        self.assertEqual(await client.line(), b"a OK ID completed")

    @coroutine
    async def test_many_literals(self) -> None:
        """The literals of one command are bounded together."""
        client = await (await self.edge()).login(select="INBOX")
        client.send(b"a SEARCH" + b" TEXT {8000+}\r\n" + (b"x" * 8000 + b" TEXT {8000+}\r\n") * 20 + b"x" * 8000 + b"\r\nb NOOP\r\n")
        self.assertEqual(await client.line(), b"a BAD [TOOBIG] Literal too large")
        self.assertEqual(await client.line(), b"b OK NOOP completed")


class ScramTests(EdgeTestCase):
    @coroutine
    async def test_scram(self) -> None:
        """SCRAM-SHA-256 (RFC 7677) with an initial response, and the server proves that it knows the password too."""
        client = (await self.edge()).connect()
        await client.line()
        bare = b"n=me@example.test,r=abc"
        client.send(b"a AUTHENTICATE SCRAM-SHA-256 %b\r\n" % b64encode(b"n,," + bare))
        challenge = b64decode((await client.line())[2:])
        nonce, salt, rounds = (field[2:] for field in challenge.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", b"secret", b64decode(salt), int(rounds))
        final = b"c=biws,r=" + nonce
        message = b",".join((bare, challenge, final))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        client.send(b64encode(final + b",p=" + b64encode(proof)) + b"\r\n")
        proven = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        self.assertEqual(await client.line(), b"+ " + b64encode(b"v=" + b64encode(proven)))
        client.send(b"\r\n")
        self.assertRegex(await client.line(), rb"a OK \[CAPABILITY .*\] Logged in")


class PipelineTests(EdgeTestCase):
    @coroutine
    async def test_pipeline(self) -> None:
        """Commands sent in one go run one after the other."""
        edge = await self.edge()
        await self.world.deliver("me@example.test", PLAIN)
        client = edge.connect()
        client.send(
            b"a LOGIN me@example.test {6+}\r\nsecret\r\nb SELECT INBOX\r\nc FETCH 1 (UID)\r\nd STORE 1 +FLAGS.SILENT (\\Deleted)\r\n"
            b"e EXPUNGE\r\nf STATUS INBOX (MESSAGES)\r\ng IDLE\r\nDONE\r\nh LOGOUT\r\n"
        )
        lines = await client.until(b"h OK")
        self.assertEqual(
            [line.split(b" ")[0] for line in lines if not line.startswith(b"*")], [b"a", b"b", b"c", b"d", b"e", b"f", b"+", b"g", b"h"]
        )
        for line in (b"* 1 FETCH (UID 1)", b"* 1 EXPUNGE", b"* STATUS INBOX (MESSAGES 0)"):
            self.assertIn(line, lines)

    @coroutine
    async def test_fairness(self) -> None:
        """Many commands at once do not keep the reactor from others."""
        client = await (await self.edge()).login()
        client.send(b"a NOOP\r\n" * 20000 + b"last NOOP\r\n")
        turns = 0
        while b"last OK" not in client.data:
            await deferLater(reactor, 0)
            turns += 1
        self.assertGreater(turns, 5)

    @coroutine
    async def test_append_in_any_chunks(self) -> None:
        """A message arrives as it was sent, whatever pieces it came in; small, spooled, with and without waiting."""
        edge = await self.edge()
        client = await edge.login(select="INBOX")
        big = MULTIPART + b"x" * 70 + b"\r\n" + b"0123456789abcde\r\n" * 100000
        for content, step in ((PLAIN, 1), (MULTIPART, 7), (big, 50000)):
            command = b"a APPEND INBOX (\\Flagged) {%d+}\r\n%b\r\n" % (len(content), content)
            for start in range(0, len(command), step):
                client.send(command[start : start + step])
            lines = await client.until(b"a ")
            self.assertRegex(lines[-1], rb"a OK \[APPENDUID \d+ \d+\] APPEND completed")
            client.send(b"b FETCH * (FLAGS RFC822.SIZE BODY.PEEK[])\r\n")
            head = await client.line()
            self.assertEqual(
                head.split(b" FETCH ")[1], b"(FLAGS (\\Recent \\Flagged) RFC822.SIZE %d BODY[] {%d}" % (len(content), len(content))
            )
            rest = await client.until(b"b OK")
            self.assertEqual(b"\r\n".join(rest[:-1]), content + b")")
        self.assertEqual(len(self.world.files()), 1)

    @coroutine
    async def test_append_broken_off(self) -> None:
        """A client that goes in the middle of a message leaves nothing behind."""
        edge = await self.edge()
        whole = b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(PLAIN), PLAIN)
        for cut in (1, 10, 24, 30, len(whole) // 2, len(whole) - 3):
            client = await edge.login()
            client.send(whole[:cut])
            client.disconnect()
        client = await edge.login()
        big = b"x" * 3000000
        client.send(b"a APPEND INBOX {%d+}\r\n%b" % (len(big) + 10, big))
        client.disconnect()
        client = await edge.login()
        self.assertIn(b"* STATUS INBOX (MESSAGES 0)", await client.command(b"STATUS INBOX (MESSAGES)"))
        await self.eventually(lambda: self.world.files() == [])

    async def eventually(self, holds: Callable[[], bool]) -> None:
        """Threads that were at work when a client went have ended soon."""
        while not holds():
            await deferToThread(lambda: None)
            await deferLater(reactor, 0.001)

    @coroutine
    async def test_append_too_large(self) -> None:
        edge = await self.edge(append_size=70000)
        client = await edge.login()
        client.send(b"a APPEND INBOX {70001}\r\n")
        self.assertEqual(await client.line(), b"a NO [TOOBIG] Message too large")
        client.send(b"b APPEND INBOX {70001+}\r\n" + b"x" * 70001 + b"\r\nc NOOP\r\n")
        self.assertEqual(await client.line(), b"b NO [TOOBIG] Message too large")
        self.assertEqual(await client.line(), b"c OK NOOP completed")
        client.send(b"d APPEND Nowhere {5+}\r\nx: y\n\r\n")
        self.assertEqual(await client.line(), b"d NO [TRYCREATE] No such mailbox")

    @coroutine
    async def test_append_over_quota(self) -> None:
        edge = await self.edge(sections={"accounts": {"quota": 1000}})
        client = await edge.login()
        answer = await client.command(b"APPEND INBOX {2000+}\r\n" + b"x" * 1998 + b"\r\n")
        self.assertEqual(answer, [b"t NO [OVERQUOTA] Quota exceeded"])
        self.assertIn(b"(STORAGE 0 0 ", (await client.command(b'GETQUOTA ""'))[0])


class StreamTests(EdgeTestCase):
    @coroutine
    async def test_back_pressure(self) -> None:
        """Of many messages only a few are written before the client takes them; a large one goes in pieces."""
        edge = await self.edge()
        content = b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 25000
        for _ in range(12):
            await self.world.file(self.user, content)
        client = await edge.login(select="INBOX")
        output = client.protocol.output
        largest, taken = 0, 0
        write = client.transport.write

        def watch(data: bytes) -> None:
            nonlocal largest
            largest = max(largest, len(data))
            write(data)
            if len(client.data) - taken > 65536:
                output.pauseProducing()

        client.transport.write = watch  # type: ignore[method-assign]
        client.send(b"a FETCH 1:* BODY.PEEK[]\r\n")
        held = 0
        while b"a OK" not in client.data[-40:]:
            await deferLater(reactor, 0)
            held = max(held, len(client.data) - taken)
            if output._full:
                taken = len(client.data)
                output.resumeProducing()
        self.assertEqual(bytes(client.data).count(content), 12)
        self.assertLess(held, 700000)
        self.assertLess(largest, 300000)

    @coroutine
    async def test_one_command_after_the_other_and_nothing_taken(self) -> None:
        """Before the login too: a client that reads none of its answers gets no more of them, however slowly it asks."""
        edge = await self.edge()
        for select in ("", "INBOX"):
            client = await edge.login(select=select) if select else edge.connect()
            answers = len(client.data)
            client.protocol.output.pauseProducing()
            for _ in range(20):
                client.send(b"a CAPABILITY\r\n")
                await deferLater(reactor, 0)
            self.assertEqual(client.data[answers:].count(b"a OK"), 1)
            client.protocol.output.resumeProducing()
            while client.data.count(b"a OK") < 20:
                await deferLater(reactor, 0)

    @coroutine
    async def test_idle_and_nothing_taken(self) -> None:
        """What happens while an idling client does not read is told when it does, together."""
        edge = await self.edge()
        client = await edge.login(select="INBOX")
        client.send(b"a IDLE\r\n")
        await client.until(b"+ ")
        client.protocol.output.pauseProducing()
        for _ in range(12):
            await self.world.file(self.user, PLAIN)
            await deferLater(reactor, 0)
        self.assertLess(client.data.count(b"EXISTS"), 2)
        client.protocol.output.resumeProducing()
        await client.until(b"* 12 EXISTS")
        client.send(b"DONE\r\n")
        await client.until(b"a OK")

    @coroutine
    async def test_large_header(self) -> None:
        """The fields of a header that is larger than a piece, and lies in a file."""
        edge = await self.edge()
        await self.world.file(self.user, b"".join(b"X-%05d: %b\r\n" % (number, b"v" * 300) for number in range(2000)) + b"\r\nbody\r\n")
        client = await edge.login(select="INBOX")
        lines = await client.command(b"FETCH 1 (BODY.PEEK[HEADER.FIELDS (X-01500)] BODY.PEEK[TEXT] BODY.PEEK[HEADER.FIELDS (Subject)])")
        self.assertEqual(lines[1], b"X-01500: " + b"v" * 300)
        self.assertEqual(lines[2:-1], [b"", b" BODY[TEXT] {6}", b"body", b" BODY[HEADER.FIELDS (Subject)] {2}", b"", b")"])

    @coroutine
    async def test_large_header_among_others(self) -> None:
        """Fields that are too many for a summary are told in their turn, those of the messages around them too."""
        edge = await self.edge()
        large = b"".join(b"References: <%05d@example.net>\r\n" % number for number in range(2500))
        for number in range(3):
            await self.world.file(self.user, b"Subject: %d\r\n%b\r\nbody\r\n" % (number, large if number == 1 else b""))
        client = await edge.login(select="INBOX")
        await client.command(b"FETCH 1:3 ENVELOPE")
        lines = await client.command(b"FETCH 1:3 (UID BODY.PEEK[HEADER.FIELDS (Subject References)])")
        told = [line for line in lines if line.startswith((b"* ", b"Subject"))]
        sizes = (14, 14 + len(large), 14)
        opening = b"* %d FETCH (UID %d BODY[HEADER.FIELDS (Subject References)] {%d}"
        self.assertEqual(told[::2], [opening % (number + 1, number + 1, size) for number, size in enumerate(sizes)])
        self.assertEqual(told[1::2], [b"Subject: 0", b"Subject: 1", b"Subject: 2"])
        self.assertEqual(sum(line.startswith(b"References") for line in lines), 2500)

    @coroutine
    async def test_client_goes(self) -> None:
        """A client that goes while it is written to ends the command."""
        edge = await self.edge()
        await self.world.file(self.user, b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 50000)
        client = await edge.login(select="INBOX")
        client.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        client.protocol.output.pauseProducing()
        await client.line()
        client.disconnect()
        self.assertEqual(client.protocol.session.state, "logout")

    @coroutine
    async def test_unreadable_file(self) -> None:
        """A content that cannot be read inside a literal ends the connection: nothing else would be true."""
        edge = await self.edge()
        await self.world.file(self.user, b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 50000)

        async def broken(*args: object) -> bytes:
            raise OSError("disk on fire")

        async def short(*args: object) -> bytes:
            return b"x"

        async def away(*args: object) -> bytes:
            raise Unavailable("disk on fire")

        for failure in (broken, short, away):
            client = await edge.login(select="INBOX")
            self.patch(self.world.mailboxes, "read", failure)
            client.send(b"a FETCH 1 BODY.PEEK[]\r\n")
            await client.gone()
            self.assertRegex(bytes(client.data), rb"\* 1 FETCH \(BODY\[\] (\{\d+\}\r\n)?\Z")
            self.assertEqual(len(self.flushLoggedErrors(OSError, Unavailable)), 1)

    @coroutine
    async def test_expunged_meanwhile(self) -> None:
        """A file goes with its message: a fetch that comes too late says so and tells of the expunge, and the session goes on."""
        edge = await self.edge()
        uid = await self.world.file(self.user, b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 50000)
        await self.world.file(self.user, b"Subject: y\r\n\r\nsmall\r\n")
        client = await edge.login(select="INBOX")
        other = await edge.login(select="INBOX")
        found = self.world.mailboxes.there

        async def late(content: object) -> bool:
            self.patch(self.world.mailboxes, "there", found)
            await other.command(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
            await other.command(b"UID EXPUNGE %d" % uid)
            await self.world.sweep.messages()
            return await found(content)  # type: ignore[arg-type]

        self.patch(self.world.mailboxes, "there", late)
        lines = await client.command(b"FETCH 1 BODY.PEEK[]")
        self.assertEqual(lines[-1], b"t NO [EXPUNGEISSUED] Some messages are expunged already")
        self.assertIn(b"* 1 EXPUNGE", await client.command(b"NOOP"))
        self.assertIn(b"small", await client.command(b"FETCH 1 BODY.PEEK[TEXT]"))


class BrokenOffTests(EdgeTestCase):
    COMMANDS = (
        b"SELECT INBOX",
        b"FETCH 1:* (FLAGS ENVELOPE BODY[])",
        b"FETCH 1:* (FLAGS INTERNALDATE)",
        b"STORE 1:* +FLAGS (\\Flagged $New)",
        b"COPY 1:* Archive",
        b"MOVE 1 Trash",
        b"STORE 1:* +FLAGS.SILENT (\\Deleted)\r\nt EXPUNGE",
        b"SEARCH TEXT hello",
        b"SORT (SUBJECT) UTF-8 ALL",
        b"STATUS INBOX (MESSAGES DELETED-STORAGE)",
        b"IDLE",
        b'LIST "" * RETURN (STATUS (UNSEEN))',
        b"CLOSE",
        b"APPEND INBOX {5+}\r\nx: y\n",
        b"LOGOUT",
    )

    @coroutine
    async def test_any_moment(self) -> None:
        """A client may go at any moment of any command: nothing goes wrong, and the account has its place again."""
        edge = await self.edge(max_per_account=2)
        for _ in range(4):
            await self.world.deliver("me@example.test", MULTIPART)
        other = await edge.login(select="INBOX")
        for command in self.COMMANDS:
            for turns in (0, 1, 2, 4):
                client = await edge.login(select="INBOX")
                client.send(b"t " + command + b"\r\n")
                for _ in range(turns):
                    await deferLater(reactor, 0.0002)
                client.disconnect()
                self.assertTrue((await other.command(b"NOOP"))[-1].startswith(b"t OK"))
        self.assertEqual(self.flushLoggedErrors(), [])

    @coroutine
    async def test_in_login(self) -> None:
        """A client that goes while its password is checked takes no place of the account's."""
        edge = await self.edge(max_per_account=1)
        for _ in range(3):
            client = edge.connect()
            await client.line()
            client.send(b"a LOGIN me@example.test secret\r\nb SELECT INBOX\r\n")
            client.disconnect()
        await edge.login(select="INBOX")


class FailureTests(EdgeTestCase):
    @coroutine
    async def test_store_away(self) -> None:
        """A store that cannot answer is NO [UNAVAILABLE]; the session goes on and learns nothing of the reason."""
        client = await (await self.edge()).login(select="INBOX")

        async def away(*args: object) -> None:
            raise Unavailable("database is locked at /secret/place")

        self.patch(self.world.mailboxes, "list", away)
        answer = await client.command(b'LIST "" *')
        self.assertEqual(answer, [b"t NO [UNAVAILABLE] Temporarily unavailable, try again later"])
        self.assertEqual(await client.command(b"NOOP"), [b"t OK NOOP completed"])

    @coroutine
    async def test_unforeseen(self) -> None:
        """An exception nobody foresaw is logged and is NO [SERVERBUG]."""
        client = await (await self.edge()).login()

        async def broken(*args: object) -> None:
            raise ZeroDivisionError("secret")

        self.patch(self.world.mailboxes, "status", broken)
        self.assertEqual(await client.command(b"STATUS INBOX (MESSAGES)"), [b"t NO [SERVERBUG] Internal error"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(await client.command(b"NOOP"), [b"t OK NOOP completed"])

    @coroutine
    async def test_shutdown(self) -> None:
        """Idle sessions hear BYE at once, one with a running command after its answer."""
        edge = await self.edge()
        resting, idling, busy = await edge.login(), await edge.login(select="INBOX"), await edge.login()
        idling.send(b"a IDLE\r\n")
        await idling.line()
        gate: Deferred[None] = Deferred()
        status = self.world.mailboxes.status

        async def slow(*args: Any) -> Any:
            await gate
            return await status(*args)

        self.patch(self.world.mailboxes, "status", slow)
        busy.send(b"a STATUS INBOX (MESSAGES)\r\nb NOOP\r\n")
        drained = edge.secure.drain()
        for client in (resting, idling):
            self.assertEqual(await client.line(), b"* BYE [UNAVAILABLE] Server shutting down")
        self.assertFalse(busy.ended)
        gate.callback(None)
        self.assertEqual(
            await busy.until(b"* BYE"),
            [b"* STATUS INBOX (MESSAGES 0)", b"a OK STATUS completed", b"* BYE [UNAVAILABLE] Server shutting down"],
        )
        await drained

    @coroutine
    async def test_password_in_the_wrong_place(self) -> None:
        """The log names the address that failed, and nothing that is no address."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        client = (await self.edge()).connect()
        await client.line()
        for name in (b"hunter2", b"me@example.test"):
            await client.command(b"LOGIN %b x" % name)
        self.assertEqual([event["username"] for event in events if event.get("event") == "imap.auth_failed"], ["", "me@example.test"])
        self.assertNotIn("hunter2", repr(events))

    @coroutine
    async def test_revoked_account(self) -> None:
        """The sessions of an account that may no longer be here end, whatever they do; the others stay."""
        edge = await self.edge()
        await self.world.user("you@example.test")
        resting, idling, busy, other = [await edge.login(select="INBOX") for _ in range(3)] + [await edge.login("you@example.test")]
        idling.send(b"a IDLE\r\n")
        await idling.line()
        gate: Deferred[None] = Deferred()
        status = self.world.mailboxes.status

        async def slow(*args: Any) -> Any:
            await gate
            return await status(*args)

        self.patch(self.world.mailboxes, "status", slow)
        busy.send(b"a STATUS INBOX (MESSAGES)\r\n")
        self.world.accounts.on_revocation(edge.secure.revoke)
        await self.world.accounts.set_state("me@example.test", "suspended")
        for client in (resting, idling, busy):
            self.assertEqual(await client.line(), b"* BYE Account or password changed; log in again")
            await client.gone()
        gate.callback(None)
        self.assertEqual(bytes(busy.data), b"")
        self.assertEqual(await other.command(b"NOOP"), [b"t OK NOOP completed"])


class OutputTests(SynchronousTestCase):
    def test_stall(self) -> None:
        """A client that takes nothing for five minutes is cut off."""

        class Transport:
            aborted = False

            def registerProducer(self, producer: object, streaming: bool) -> None: ...

            def unregisterProducer(self) -> None: ...

            def abortConnection(self) -> None:
                self.aborted = True

        clock, transport = Clock(), Transport()
        output = Output(transport, clock)
        output.pauseProducing()
        waiting = Deferred.fromCoroutine(output.ready())
        clock.advance(STALL_SECONDS - 1)
        self.assertFalse(transport.aborted)
        clock.advance(1)
        self.assertTrue(transport.aborted)
        output.stopProducing()
        self.failureResultOf(waiting, Hangup)
        self.failureResultOf(Deferred.fromCoroutine(output.ready()), Hangup)


class Nobody:
    """An access that lets nobody in, at once."""

    def mechanisms(self, tls: bool, plaintext: bool) -> tuple[str, ...]:
        return ("PLAIN",)

    async def login(self, *args: object) -> None:
        raise LoginRefused

    def begin(self, *args: object) -> "Nobody":
        return self

    def first(self) -> bytes:
        return b""

    async def step(self, response: bytes) -> None:
        raise LoginRefused


def conversation(chunks: list[bytes]) -> bytes:
    """Everything the server says to ``chunks`` before login."""
    config = Config()
    clock = Clock()
    services = Services(evolve(config.imap), config.server, None, None, Nobody(), clock, Sessions(5))  # type: ignore[arg-type]
    listener = IMAPListener("imaps", services, None)
    client = Client(listener.buildProtocol(None), clock)
    for chunk in chunks:
        client.send(chunk)
        clock.advance(0)
    said = bytes(client.data)
    client.disconnect()
    return said


PIECES = st.sampled_from(
    [
        *(
            b"a ",
            b"b NOOP",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"CAPABILITY",
            b"LOGIN x ",
            b"AUTHENTICATE PLAIN",
            b"ID NIL",
            b"LOGOUT",
        ),
        *(
            b"AUTHENTICATE PLAIN",
            b"ID NIL",
            b"{3+}",
            b"{3}",
            b"{2000+}",
            b"{99999999999+}",
            b"~{3}",
            b"APPEND INBOX {5}",
            b"UID ",
            b"x" * 9000,
        ),
        *(b"APPEND INBOX {5}", b"(", b'"', b"\\", b"\x00", b"\xff", b"*", b"="),
    ]
)


class FuzzTests(SynchronousTestCase):
    @given(st.lists(PIECES, max_size=25).map(b"".join), st.data())
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_chunks_do_not_matter(self, octets: bytes, data: st.DataObject) -> None:
        """Nonsense before login: the same answer in whatever chunks it comes, and nothing goes wrong inside."""
        cuts = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=10)))
        chunks = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
        self.assertEqual(conversation(chunks), conversation([octets]))
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.binary(max_size=200))
    @settings(deadline=None)
    def test_octets(self, octets: bytes) -> None:
        self.assertEqual(conversation([octets[i : i + 1] for i in range(len(octets))]), conversation([octets]))
        self.assertEqual(self.flushLoggedErrors(), [])

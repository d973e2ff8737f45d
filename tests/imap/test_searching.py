"""Searches that stay live follow every change; long ones say that they are worked on; what a session may hold is bounded."""

import random
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.imap import contexts
from mailx.imap.esearch import kept, response, within
from mailx.imap.search import Partial, Returns
from mailx.imap.uidbatches import UidBatches, batches
from tests.imap.messages import PLAIN
from tests.imap.wire import Client, Edge
from tests.scenery import world

UPDATE = re.compile(rb"(ADDTO|REMOVEFROM) \(([^)]*)\)")
COUNTED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE)\Z")


def numbers(text: bytes) -> list[int]:
    """A sequence set in its order."""
    found: list[int] = []
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        found += range(int(first), int(last or first) + 1)
    return found


class Follower:
    """What a client makes of ADDTO and REMOVEFROM."""

    def __init__(self, tag: bytes, result: list[int], by_position: bool) -> None:
        self.tag = tag
        self.result = result
        self.by_position = by_position

    def heard(self, line: bytes) -> None:
        if line.startswith(b'* ESEARCH (TAG "%b")' % self.tag):
            for word, items in UPDATE.findall(line):
                pairs = items.split(b" ")
                for position, uids in zip(map(int, pairs[::2]), map(numbers, pairs[1::2]), strict=True):
                    self._apply(word, position, uids)

    def _apply(self, word: bytes, position: int, uids: list[int]) -> None:
        if word == b"REMOVEFROM":
            for uid in uids:
                assert not self.by_position or self.result[position - 1] == uid, (position, uid, self.result)
                self.result.remove(uid)
            return
        assert not set(uids) & set(self.result), (uids, self.result)
        if self.by_position:
            self.result[position - 1 : position - 1] = uids
        else:
            self.result = sorted(self.result + uids)


async def found(client: Client, command: bytes) -> list[int]:
    """The UIDs of a SEARCH or SORT response."""
    lines = await client.command(command)
    assert lines[-1].startswith(b"t OK"), lines
    line = next(line for line in lines if line.startswith((b"* SEARCH", b"* SORT")))
    return [int(number) for number in line.split()[2:]]


class LiveTests(TestCase):
    timeout = 240

    async def play(self, seed: int) -> None:
        made = await world(self)
        await made.user("me@example.test")
        edge = Edge(made)
        self.addCleanup(edge.close)
        for number in range(8):
            await made.deliver("me@example.test", PLAIN.replace(b"Plain", b"subject %d" % (number % 3)))
        one, other = await edge.login(select="INBOX"), await edge.login(select="INBOX")
        dice = random.Random(seed)
        followers = []
        for tag, command, keys in (
            (b"s1", b"UID SEARCH", b"UNSEEN"),
            (b"s2", b"UID SEARCH", b"OR FLAGGED SUBJECT 1"),
            (b"s3", b"UID SORT", b"(REVERSE SUBJECT ARRIVAL) UTF-8 UNFLAGGED"),
        ):
            options = b"%b RETURN (UPDATE ALL) %b" % (command, keys)
            lines = await one.command(options, tag)
            match = re.search(rb" ALL ([0-9:,]+)", lines[0])
            follower = Follower(tag, numbers(match[1]) if match else [], command.endswith(b"SORT"))
            followers.append((follower, b"%b %b" % (command, keys)))
        for _ in range(40):
            who = dice.choice((one, other))
            uid = dice.randint(1, 12)
            flag = dice.choice((b"\\Seen", b"\\Flagged", b"\\Deleted"))
            command = dice.choice(
                (
                    b"UID STORE %d:%d %bFLAGS (%b)" % (uid, uid + 2, dice.choice((b"+", b"-", b"")), flag),
                    b"UID STORE %d +FLAGS.SILENT (%b)" % (uid, flag),
                    b"EXPUNGE",
                    b"FETCH 1:* (FLAGS)",
                    b"APPEND INBOX (%b) {%d+}\r\n%b" % (flag, len(PLAIN), PLAIN),
                )
            )
            lines = await who.command(command)
            if who is one:
                self.told(followers, lines)
        self.told(followers, await one.command(b"NOOP"))
        for follower, search in followers:
            self.assertEqual(follower.result, await found(one, search), search)
        self.assertEqual(self.flushLoggedErrors(), [])

    def told(self, followers: "list[tuple[Follower, bytes]]", lines: list[bytes]) -> None:
        for line in lines:
            for follower, _ in followers:
                follower.heard(line)


def _test(seed: int) -> Any:
    return lambda self: Deferred.fromCoroutine(self.play(seed))


for _seed in range(6):
    setattr(LiveTests, f"test_seed_{_seed}", _test(_seed))


class LimitsTests(TestCase):
    timeout = 240

    async def setUp(self) -> None:
        self.world = await world(self)
        await self.world.user("me@example.test")
        await self.world.deliver("me@example.test", PLAIN)

    async def client(self, reactor: Any = None) -> Client:
        edge = Edge(self.world, reactor)
        self.addCleanup(edge.close)
        return await edge.login(select="INBOX")

    async def test_so_many_live_searches_and_no_more(self) -> None:
        client = await self.client()
        for number in range(contexts.CONTEXTS_LIMIT):
            lines = await client.command(b"SEARCH RETURN (UPDATE) ALL", b"t%d" % number)
            self.assertEqual(len(lines), 2)
        lines = await client.command(b"SEARCH RETURN (UPDATE COUNT) ALL", b"more")
        self.assertEqual(lines[0], b'* NO [NOUPDATE "more"] Too much to keep up with')
        self.assertEqual(lines[1:], [b'* ESEARCH (TAG "more") COUNT 1', b"more OK SEARCH completed"])

    async def test_so_many_messages_in_live_searches_and_no_more(self) -> None:
        self.patch(contexts, "MESSAGES_LIMIT", 2)
        self.patch(contexts, "SORTED_LIMIT", 1)
        client = await self.client()
        await client.command(b"SEARCH RETURN (UPDATE) ALL", b"a")
        await client.command(b"SORT RETURN (UPDATE) (SUBJECT) UTF-8 ALL", b"b")
        await self.world.deliver("me@example.test", PLAIN)
        lines = await client.command(b"NOOP")
        self.assertEqual(
            [line for line in lines if b"NOUPDATE" in line],
            [b'* NO [NOUPDATE "a"] Too much to keep up with'] + [b'* NO [NOUPDATE "b"] Too much to keep up with'],
        )
        self.assertEqual((await client.command(b'CANCELUPDATE "a"'))[-1], b"t NO No such context")

    async def test_a_long_search_says_that_it_is_worked_on(self) -> None:
        clock = Clock()
        client = await self.client(clock)
        waiting: Deferred[list[int]] = Deferred()

        async def search(*arguments: Any) -> list[int]:
            return await waiting

        self.patch(self.world.mailboxes, "search", search)
        client.send(b"long SEARCH TEXT x\r\n")
        clock.advance(4)
        self.assertEqual(bytes(client.data), b"")
        clock.advance(1)
        self.assertEqual(await client.line(), b'* OK [INPROGRESS ("long" NIL NIL)] Still working')
        client.protocol.session.progress = 3, 10
        clock.advance(10)
        self.assertEqual(await client.line(), b'* OK [INPROGRESS ("long" 3 10)] Still working')
        waiting.callback([])
        clock.pump([0] * 5)
        self.assertEqual(await client.until(b"long "), [b"* SEARCH", b"long OK SEARCH completed"])
        clock.advance(60)
        self.assertEqual(bytes(client.data), b"")

    async def test_rev2_has_no_search_response(self) -> None:
        client = await self.client()
        await client.command(b"UNSELECT")
        await client.command(b"ENABLE IMAP4rev2")
        await client.command(b"SELECT INBOX")
        self.assertEqual((await client.command(b"SEARCH ALL"))[0], b'* ESEARCH (TAG "t") ALL 1')

    async def test_without_sequence_numbers(self) -> None:
        client = await self.client()
        await client.command(b"UNSELECT")
        await client.command(b"ENABLE UIDONLY")
        await client.command(b"SELECT INBOX")
        for command in (b"SEARCH ALL", b"SORT (SIZE) UTF-8 ALL", b"THREAD REFS UTF-8 ALL", b"UID SEARCH 1"):
            self.assertTrue((await client.command(command))[-1].startswith(b"t BAD [UIDREQUIRED]"), command)
        self.assertEqual((await client.command(b"UID SEARCH RETURN (SAVE ALL) UID 1"))[0], b'* ESEARCH (TAG "t") UID ALL 1')
        self.assertEqual((await client.command(b"UID SEARCH $"))[0], b"* SEARCH 1")


class PartsTests(SynchronousTestCase):
    def test_windows(self) -> None:
        results = [4, 9, 2, 7]
        self.assertEqual(list(within(Partial(2, 3), results)), [9, 2])
        self.assertEqual(list(within(Partial(3, 9), results)), [2, 7])
        self.assertEqual(list(within(Partial(5, 9), results)), [])
        self.assertEqual(list(within(Partial(1, 2, True), results)), [2, 7])
        self.assertEqual(list(within(Partial(3, 9, True), results)), [4, 9])
        self.assertEqual(list(within(Partial(5, 9, True), results)), [])

    def test_what_is_kept(self) -> None:
        results = [4, 9, 2, 7]
        everything = [2, 4, 7, 9]
        for numbers_asked, partial, uids in (
            (b"", None, everything),
            (b"MIN", None, [4]),
            (b"MIN MAX", None, [4, 7]),
            (b"MIN COUNT", None, everything),
            (b"ALL MAX", None, everything),
            (b"", Partial(2, 3), [2, 9]),
            (b"MAX", Partial(1, 1), [4, 7]),
            (b"COUNT", Partial(1, 1), everything),
        ):
            returns = Returns(frozenset(numbers_asked.split()), partial, save=True)
            self.assertEqual(list(kept(returns, results)), uids)
        self.assertEqual(list(kept(Returns(frozenset((b"MIN",)), save=True), [])), [])

    def test_tags_are_quoted(self) -> None:
        self.assertEqual(response(b'TAG "a"', True, Returns(frozenset((b"ALL",))), []), b'* ESEARCH (TAG "a") UID\r\n')

    def test_batches(self) -> None:
        class View:
            uids = [*range(1, 1001), 2000, 3000]

        def told(size: int, first: int = 1, last: int | None = None) -> bytes:
            return b",".join(batches(View(), UidBatches(size, first, last)))  # type: ignore[arg-type]

        self.assertEqual(told(500), b"3000:503,502:3,2:1")
        self.assertEqual(told(1001), b"3000:2,1:1")
        self.assertEqual(told(500, 2, 2), b"502:3")
        self.assertEqual(told(500, 3, 4294967295), b"2:1")
        self.assertEqual(told(500, 4, 9), b"")
        self.assertEqual(told(4294967295), b"3000:1")

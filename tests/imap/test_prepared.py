"""Lists of many messages that are fetched again and again: what was rendered before says the same as what is rendered now."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.fetch import Reader
from mailx.core.prepared import Prepared
from tests.imap.wire import Client, Edge
from tests.scenery import world

_NUMBER = 300  # messages: two batches and a part of one
_LISTS = (
    b"FETCH 1:* (UID FLAGS ENVELOPE RFC822.SIZE BODYSTRUCTURE)",
    b"UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (Subject From)] MODSEQ)",
    b"UID FETCH 1:* (PREVIEW BODY.PEEK[HEADER.FIELDS (Subject)]<3.9>)",
)


def _message(number: int) -> bytes:
    subject = "100 % %d %b %%b \u00dcbersicht" if number % 7 == 0 else f"%{number}"
    return f"From: Ann <ann@example.org>\r\nSubject: {subject}\r\nContent-Type: text/plain\r\n\r\n{number} %s\r\n".encode()


class PreparedLists(TestCase):
    timeout = 240

    async def test_lists_are_those_of_single_messages(self) -> None:
        made = await world(self)
        user = await made.user("me@example.test")
        for number in range(_NUMBER):
            await made.file(user, _message(number))
        edge = Edge(made)
        self.addCleanup(edge.close)
        client, other = await edge.login(select="INBOX"), await edge.login(select="INBOX")
        await other.command(b"ENABLE UTF8=ACCEPT")
        await self.alike(client)
        await self.alike(other)
        await client.command(b"STORE 5,290 +FLAGS.SILENT (\\Flagged %b)")
        await self.alike(client)
        await client.command(b"STORE 1,7:8,260 +FLAGS.SILENT (\\Deleted)")
        await client.command(b"EXPUNGE")
        await other.command(b"NOOP")
        await self.alike(client)
        await self.alike(other)
        await client.command(b"ENABLE UIDONLY")
        for command in _LISTS[1:]:
            many = await self.rows(client, command)
            self.assertEqual(many, await self.rows(client, command))
            for place in (0, 100, -1):
                uid = many[place].split()[1]
                self.assertEqual(many[place : place + 1 or None], await self.rows(client, command.replace(b"1:*", uid)))

    async def alike(self, client: Client) -> None:
        """All of a list at once, at first and once more, is what each message says alone."""
        for command in _LISTS:
            many = await self.rows(client, command)
            self.assertEqual(many, await self.rows(client, command))
            one_by_one = command.removeprefix(b"UID ")
            if one_by_one == command:
                alone = [
                    row for number in range(1, len(many) + 1) for row in await self.rows(client, command.replace(b"1:*", b"%d" % number))
                ]
            else:
                alone = [
                    row
                    for start in range(1, _NUMBER + 1, 20)
                    for row in await self.rows(client, command.replace(b"1:*", b"%d:%d" % (start, start + 19)))
                ]
            self.assertEqual(many, alone)

    async def rows(self, client: Client, command: bytes) -> Sequence[bytes]:
        """The responses of a command, each with its literals."""
        *lines, last = await client.command(command)
        self.assertTrue(last.startswith(b"t OK"), last)
        found: list[bytes] = []
        for line in lines:
            if b"FETCH (" in line:
                found.append(line)
            elif not line.startswith(b"* OK"):
                found[-1] += b"\r\n" + line
        return found


class Keeping(SynchronousTestCase):
    def test_it_has_bounds(self) -> None:
        kept = Prepared(100_000)
        for number in range(300):
            kept.put(number, bytes(1000), 16)
            self.assertLessEqual(kept.octets, 100_000)
            self.assertEqual(kept.get(number), bytes(1000))
        there = [number for number in range(300) if kept.get(number) is not None]
        self.assertEqual(len(there), 100_000 // 1416)
        before = kept.octets
        kept.put(there[0], bytes(1000), 16)
        kept.put("large", bytes(100_000))
        self.assertEqual((kept.octets, kept.get("large")), (before, None))

    def test_who_reads_more_than_there_is_room_for_finds_some_of_it(self) -> None:
        kept = Prepared(100_000)
        found = 0
        for _ in range(10):
            for number in range(100):
                found += kept.get(number) is not None
                kept.put(number, bytes(1000), 16)
        self.assertGreater(found, 300)

    def test_it_goes_with_the_keys_of_a_sealed_account(self) -> None:
        keys = Keys()
        unneeded: Any = None
        reader = Reader(unneeded, unneeded, unneeded, unneeded, cast(Any, keys))
        reader.prepared(1).put("list", b"of the owner alone")
        reader.prepared(2).put("list", b"of anybody")
        self.assertEqual(reader.prepared(1).get("list"), b"of the owner alone")
        for forget in keys.forget:
            forget(1)
        self.assertIsNone(reader.prepared(1).get("list"))
        self.assertEqual(reader.prepared(2).get("list"), b"of anybody")
        reader.forget()  # an account is sealed now
        self.assertIsNone(reader.prepared(2).get("list"))


class Keys:
    """A keyring with the key of account 1."""

    def __init__(self) -> None:
        self.forget: list[Callable[[int], None]] = []

    def on_close(self, forget: Callable[[int], None]) -> None:
        self.forget.append(forget)

    def vault(self, account: int) -> object | None:
        return self if account == 1 else None

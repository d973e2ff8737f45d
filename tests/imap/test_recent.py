"""What RFC 3501 has of \\Recent (2.3.2, 7.3.2) and of EXPUNGE (5.5, 7.4.1), in random walks of three sessions over one mailbox."""

import random
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.imap.wire import Client, Edge
from tests.scenery import world

STEPS = 120
_FETCH = re.compile(rb"\* (\d+) FETCH \(.*UID (\d+) FLAGS \(([^)]*)\)\)\Z")
_TOLD = re.compile(rb"\* (\d+) (EXISTS|RECENT|EXPUNGE)\Z")


class Viewer:
    """A client that counts its messages by what it is told, and knows which are recent by FETCH."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.selections = 0
        self.leave()

    def leave(self) -> None:
        self.selected = self.writes = False
        self.count = 0
        self.recent: set[int] = set()
        self.told_recent: int | None = None  # by the last answer

    async def say(self, command: bytes) -> list[bytes]:
        """The answer's lines, checked; EXISTS, RECENT and EXPUNGE are taken in."""
        assert not self.client.data, f"told without being asked: {bytes(self.client.data)!r}"
        lines = await self.client.command(command)
        assert lines[-1].startswith(b"t OK"), (command, lines)
        told = [(int(match[1]), match[2]) for match in map(_TOLD.match, lines) if match]
        numbered = command.startswith((b"FETCH", b"STORE", b"SEARCH"))
        for number, what in told:
            if what == b"EXISTS":
                assert number >= self.count, (command, lines)
                self.count = number
            elif what == b"EXPUNGE":
                assert not numbered and 1 <= number <= self.count, (command, lines)
                self.count -= 1
        # 7.3.1 and 7.3.2: the sizes come together.
        sizes = [what for _, what in told if what != b"EXPUNGE"]
        assert sizes in ([], [b"EXISTS", b"RECENT"]), (command, lines)
        self.told_recent = next((number for number, what in told if what == b"RECENT"), None)
        return lines

    async def open(self, writes: bool) -> None:
        self.leave()
        lines = await self.say(b"SELECT INBOX" if writes else b"EXAMINE INBOX")
        assert (b"[READ-WRITE]" in lines[-1]) == writes
        self.selected, self.writes = True, writes
        self.selections += 1

    async def look(self) -> dict[int, bool]:
        """The UIDs, each with whether it is recent here; what was told just before must fit."""
        told = self.told_recent
        found = {}
        for place, line in enumerate((await self.say(b"FETCH 1:* (UID FLAGS)"))[:-1] if self.count else (), 1):
            match = _FETCH.match(line)
            assert match is not None and int(match[1]) == place, line
            found[int(match[2])] = rb"\Recent" in match[3].split()
        assert len(found) == self.count
        recent = {uid for uid, is_recent in found.items() if is_recent}
        assert told is None or told == len(recent), (told, recent)
        assert self.recent & found.keys() <= recent, "a message was recent in this session, and is not any more"
        self.recent = recent
        return found


class Recent(TestCase):
    timeout = 60

    async def walk(self, seed: int) -> None:
        made = await world(self)
        user = await made.user("me@example.test")
        edge = Edge(made)
        self.addCleanup(edge.close)
        dice = random.Random(seed)
        viewers = [Viewer(await edge.login()) for _ in range(3)]
        first: dict[int, tuple[int, int]] = {}  # the selection in which a message was recent

        async def look(number: int) -> dict[int, bool]:
            viewer = viewers[number]
            found = await viewer.look()
            for uid in viewer.recent if viewer.writes else ():
                self.assertEqual(first.setdefault(uid, (number, viewer.selections)), (number, viewer.selections), f"{uid} is recent twice")
            for uid in found.keys() - viewer.recent if viewer.writes else ():
                self.assertTrue(uid in first or any(other.writes for other in viewers if other is not viewer), f"{uid} was never recent")
            return found

        for _ in range(STEPS):
            number = dice.randrange(3)
            viewer = viewers[number]
            match dice.choice(("deliver", "deliver", "open", "open", "leave", "delete", "expunge", "number")):
                case "deliver":
                    await made.file(user, b"Subject: x\r\n\r\nx\r\n")
                case "open":
                    await viewer.open(dice.random() < 0.7)
                    await look(number)
                case "leave" if viewer.selected:  # perhaps without having been told of what has come
                    await viewer.say(b"UNSELECT")
                    viewer.leave()
                case "delete" if viewer.writes and viewer.count:
                    await viewer.say(rb"STORE %d +FLAGS (\Deleted)" % dice.randint(1, viewer.count))
                case "expunge" if viewer.writes:
                    await viewer.say(b"EXPUNGE")
                case "number" if viewer.count:
                    await viewer.say(dice.choice((b"SEARCH ALL", b"FETCH 1 (UID)", b"FETCH 1:* (FLAGS)")))
            if viewer.selected and dice.random() < 0.7 or viewer.told_recent is not None:
                await viewer.say(b"NOOP")
                await look(number)
        for viewer in viewers:
            if viewer.selected:
                await viewer.say(b"NOOP")
                await look(viewers.index(viewer))
                await viewer.say(b"UNSELECT")
                viewer.leave()
        await viewers[0].open(False)
        seen = await viewers[0].look()
        await viewers[0].open(True)
        self.assertEqual(await look(0), seen, "EXAMINE has taken nothing")
        self.assertLessEqual(seen.keys(), first.keys())
        await viewers[1].open(True)
        await look(1)
        self.assertEqual(viewers[1].recent, set())
        for command in (rb"STORE 1:* -FLAGS (\Recent)", rb"STORE 1:* FLAGS (\Recent)"):  # it is not the client's to change
            if seen:
                await viewers[0].say(command)
                await viewers[1].say(command)
        self.assertEqual(await look(0), seen)
        self.assertEqual(set((await look(1)).values()) - {False}, set())


def _test(seed: int) -> Any:
    return lambda self: Deferred.fromCoroutine(self.walk(seed))


for _seed in range(8):
    setattr(Recent, f"test_seed_{_seed}", _test(_seed))

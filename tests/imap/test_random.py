"""Random commands of two sessions on one account, over a real store: every command ends in one tagged answer, nothing goes wrong inside,
and what the sessions were told adds up to what is there."""

import random
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.imap.messages import BY_NAME
from tests.imap.wire import Client, Edge
from tests.scenery import world

SETS = ("1", "$", "1:*", "*", "2:4", "3:1", "1,2,*:3", "99", "0", "4294967295", "1:4294967295")
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "$Kw", "Kw2", "\\Nope", "\\Recent")
MAILBOXES = ("INBOX", "Archive", "Trash", "Sent/Sub", "a/b/c", "&APw-", "&Jjo!", '""', "Nowhere", "%", "inbox/x")
ITEMS = (
    *("ALL", "FULL", "FAST", "(UID FLAGS)", "(ENVELOPE BODY BODYSTRUCTURE)", "RFC822", "(RFC822.SIZE INTERNALDATE MODSEQ)", "BODY[]"),
    *("BODY[TEXT]", "BODY.PEEK[1.MIME]", "BODY[2.1]<3.7>", "BODY.PEEK[HEADER.FIELDS (To Received)]", "BODY[9.9.9]", "X"),
    "BODY.PEEK[2.HEADER.FIELDS.NOT (To)]<0.9>",
)
KEYS = (
    *("ALL", "UNSEEN", "NEW", "OLD", "DELETED", "KEYWORD $Kw", "UNKEYWORD Kw2", "SUBJECT plain", "FROM ann", "BODY hello", "TEXT köln"),
    *("UID 1:3", "2:3", "LARGER 200", "SINCE 1-Jan-2020", "SENTBEFORE 3-Nov-2026", 'HEADER Message-ID ""', "MODSEQ 3", "NOT SEEN"),
    *("OR SEEN DELETED", "(ALL UNSEEN)", "X", "$", "NOT UID $", "OLDER 5", "FUZZY TEXT helo", "EMAILID M1", "SAVEDSINCE 1-Jan-2020"),
)
MODES = ("FLAGS", "+FLAGS", "-FLAGS", "FLAGS.SILENT", "+FLAGS.SILENT")
PLAIN_COMMANDS = ("CLOSE", "UNSELECT", "NOOP", "CHECK", "IDLE\r\nDONE", "ENABLE CONDSTORE", "NAMESPACE")
SORTS = ("ARRIVAL", "REVERSE DATE", "SUBJECT FROM", "SIZE", "TO CC", "X")
RETURNS = ("SAVE", "UPDATE ALL", "PARTIAL 1:2 SAVE", "PARTIAL -1:-3", "MIN MAX", "COUNT UPDATE (FLAGS)", "RELEVANCY ALL", "")
SOURCES = ("selected", "personal", "mailboxes (INBOX Archive)", "subtree a", "selected subtree-one (a Sent)", "inboxes ()", "x")
STATUS = ("MESSAGES", "UIDNEXT UNSEEN RECENT", "SIZE HIGHESTMODSEQ DELETED", "UIDVALIDITY APPENDLIMIT")
COUNTED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE)\Z")


class Player:
    """One session that sends random commands and keeps count of its messages."""

    def __init__(self, client: Client, dice: random.Random, name: str) -> None:
        self.client = client
        self.dice = dice
        self.name = name
        self.selected = ""
        self.count = 0
        self.sent = 0

    def command(self) -> str:
        pick = self.dice.choice
        uid = pick(("", "", "UID "))
        numbers, mailbox = pick(SETS), pick(MAILBOXES)
        literal = BY_NAME[pick(list(BY_NAME))].decode()
        return pick(
            (
                f"{uid}FETCH {numbers} {pick(ITEMS)}{pick(('', '', ' (CHANGEDSINCE 3)'))}",
                f"{uid}FETCH {numbers} {pick(ITEMS)}",
                f"{uid}STORE {numbers} {pick(('', '(UNCHANGEDSINCE 5) '))}{pick(MODES)} ({pick(FLAGS)} {pick(FLAGS)})",
                f"{uid}COPY {numbers} {mailbox}",
                f"{uid}MOVE {numbers} {mailbox}",
                f"{uid}SEARCH {pick(('', 'RETURN (MIN MAX COUNT ALL) ', 'RETURN () '))}{pick(KEYS)} {pick(KEYS)}",
                f"{uid}SORT ({pick(SORTS)}) UTF-8 {pick(KEYS)}",
                f"{uid}{pick(('SEARCH', 'SORT'))} RETURN ({pick(RETURNS)}) {pick(('', '(SIZE FROM) UTF-8 '))}{pick(KEYS)}",
                f"{uid}THREAD {pick(('REFERENCES', 'ORDEREDSUBJECT', 'REFS'))} UTF-8 {pick(KEYS)}",
                f"ESEARCH IN ({pick(SOURCES)}) RETURN ({pick(RETURNS)}) {pick(KEYS)}",
                f'CANCELUPDATE "{self.name}{self.dice.randint(1, 150)}"',
                f"APPEND {mailbox} ({pick(FLAGS)}) {{{len(literal)}+}}\r\n{literal}",
                f"APPEND INBOX {{{len(literal)}+}}\r\n{literal}",
                pick(
                    (
                        "EXPUNGE",
                        f"UID EXPUNGE {numbers}",
                        "CLOSE",
                        "UNSELECT",
                        "NOOP",
                        "CHECK",
                        "IDLE\r\nDONE",
                        "ENABLE CONDSTORE",
                        "NAMESPACE",
                    )
                ),
                f"{pick(('SELECT', 'EXAMINE'))} {pick(('INBOX', 'INBOX', mailbox))}",
                f"{pick(('CREATE', 'DELETE', 'SUBSCRIBE', 'UNSUBSCRIBE', 'GETQUOTAROOT'))} {mailbox}",
                f"RENAME {mailbox} {pick(MAILBOXES)}",
                f'{pick(("LIST", "LSUB"))} "" {pick(("*", "%", "INB%", "*b*"))}',
                f'LIST (SUBSCRIBED RECURSIVEMATCH) "" (* %) RETURN (CHILDREN STATUS ({pick(STATUS)}))',
                f"STATUS {mailbox} ({pick(STATUS)})",
            )
        )

    async def play(self) -> None:
        self.sent += 1
        tag = f"{self.name}{self.sent}".encode()
        command = self.command()
        lines = await self.client.command(command.encode(), tag)
        self.told(lines, command)
        if lines[-1].startswith(tag + b" OK"):
            if command.startswith(("SELECT", "EXAMINE")):
                self.selected = command
            elif command in ("CLOSE", "UNSELECT") or command.startswith("DELETE") and self.selected.endswith(command[6:]):
                self.selected = ""
        elif command.startswith(("SELECT", "EXAMINE")) and b"BAD" not in lines[-1]:
            self.selected = ""
        assert b"SERVERBUG" not in lines[-1], (command, lines[-1])

    def told(self, lines: list[bytes], command: str) -> None:
        for line in lines:
            match = COUNTED.match(line)
            if match is None:
                continue
            number = int(match[1])
            if match[2] == b"EXISTS":
                assert number >= self.count or command.startswith(("SELECT", "EXAMINE")), (command, line)
                self.count = number
            else:
                assert not command.startswith(("FETCH", "STORE", "SEARCH", "SORT", "THREAD")), (command, line)
                assert 1 <= number <= self.count, (command, line)
                self.count -= 1

    async def check(self) -> None:
        """What was told adds up to what a fresh look finds."""
        if not self.selected:
            return
        self.told(await self.client.command(b"NOOP"), "NOOP")
        seen = await self.client.command(b"FETCH 1:* (UID FLAGS)")
        uids = [int(line.split(b"UID ")[1].split(b" ")[0]) for line in seen[:-1]]
        assert len(uids) == self.count, (uids, self.count)
        assert uids == sorted(set(uids)), uids


class RandomTests(TestCase):
    timeout = 240

    async def play(self, seed: int) -> None:
        made = await world(self)
        await made.user("me@example.test")
        edge = Edge(made)
        self.addCleanup(edge.close)
        dice = random.Random(seed)
        for content in BY_NAME.values():
            await made.deliver("me@example.test", content)
        players = [await self.player(edge, dice, number) for number in range(2)]
        for _ in range(150):
            number = dice.randrange(2)
            if players[number].client.ended:  # the other one deleted what it had selected
                players[number] = await self.player(edge, dice, number)
            await players[number].play()
        for player in players:
            if not player.client.ended:
                await player.check()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def player(self, edge: Edge, dice: random.Random, number: int) -> Player:
        player = Player(await edge.login(), dice, "ab"[number])
        player.told(await player.client.command(b"SELECT INBOX"), "SELECT")
        player.selected = "SELECT INBOX"
        return player


def _test(seed: int) -> Any:
    return lambda self: Deferred.fromCoroutine(self.play(seed))


for _seed in range(12):
    setattr(RandomTests, f"test_seed_{_seed}", _test(_seed))

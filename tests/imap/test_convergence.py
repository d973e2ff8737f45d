"""Clients of four kinds walk at random through one account, and always end up with what the server has.

Plain ones count sequence numbers, CONDSTORE and QRESYNC ones come back with what they remember, and one is told of names
and counters by NOTIFY alone. Hypothesis chooses what they do, and shortens a walk that went wrong.
"""

import re
from typing import Any

from attrs import define, field
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from mailx.core.users import User
from tests.imap.wire import Client, Closed, Edge
from tests.scenery import World, world

BOXES = ("INBOX", "Archive", "Other", "Other/Below")
KINDS = ("plain", "condstore", "qresync")
MESSAGE = b"Subject: walk\r\n\r\nstep\r\n"
_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\Z")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_NUMBER = re.compile(rb"(UID|MODSEQ) \(?(\d+)")


def numbers(text: bytes) -> list[int]:
    """A sequence set without ``*``."""
    found: list[int] = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        found.extend(range(int(low), int(high or low) + 1))
    return found


@define
class Memory:
    """What a client remembers of a mailbox between connections."""

    uidvalidity: int = 0
    modseq: int = 0
    flags: dict[int, frozenset[bytes]] = field(factory=dict)


@define
class Program:
    """A mail program: one connection at a time, and a memory."""

    edge: Edge
    user: str
    kind: str = "plain"
    client: Client | None = None
    box: str = ""
    uids: list[int | None] = field(factory=list)  # by sequence number; None: not known yet
    memory: dict[str, Memory] = field(factory=dict)
    seen: int = 0  # the highest MODSEQ met
    highest: int = 0  # HIGHESTMODSEQ of the last SELECT
    found: set[int] = field(factory=set)  # by the last SEARCH

    @property
    def known(self) -> Memory:
        return self.memory.setdefault(self.box, Memory())

    async def connect(self, kind: str, box: str) -> None:
        if self.client is not None:
            self.client.disconnect()
        self.kind, self.client = kind, await self.edge.login(self.user)
        if kind == "qresync":
            await self.say(b"ENABLE QRESYNC")
        await self.open(box)

    async def open(self, box: str) -> None:
        """Select a mailbox, and be as the server is then."""
        self.box, self.uids, self.seen = "", [], 0
        known = self.memory.setdefault(box, Memory())
        parameter = b""
        if self.kind == "condstore":
            parameter = b" (CONDSTORE)"
        elif self.kind == "qresync" and known.modseq:
            parameter = b" (QRESYNC (%d %d))" % (known.uidvalidity, known.modseq)
        before = known.uidvalidity
        self.box = box
        answer = await self.say(b"SELECT %b%b" % (box.encode(), parameter))
        if b" OK " not in answer:
            self.box = ""
            return
        if known.uidvalidity != before or not known.modseq or self.kind == "plain":
            known.flags.clear()
            known.modseq = 0
            await self.say(b"UID FETCH 1:* (FLAGS)")
        elif self.kind == "condstore":
            there = await self.search()
            known.flags = {uid: flags for uid, flags in known.flags.items() if uid in there}
            await self.say(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % known.modseq)
        if self.kind != "plain":
            # What is known by number follows from what is known by UID: the order is the same.
            self.uids = [*sorted(known.flags)] + [None] * (len(self.uids) - len(known.flags))
            known.modseq = max(known.modseq, self.highest)
        await self.settle()

    async def search(self) -> set[int]:
        await self.say(b"UID SEARCH ALL")
        return self.found

    async def settle(self) -> None:
        """Learn what came, and remember how far."""
        await self.say(b"NOOP")
        if self.client is not None and self.client.ended:  # BYE came behind the answer: its mailbox was deleted
            self.box = ""
        if self.box and None in self.uids:
            last = max([uid for uid in self.uids[: self.uids.index(None)] if uid is not None], default=0)
            await self.say(b"UID FETCH %d:* (FLAGS)" % (last + 1))
        if self.box:
            self.known.modseq = max(self.known.modseq, self.seen)

    async def say(self, *commands: bytes) -> bytes:
        """Send commands, all at once; returns the last answer. A mailbox that was deleted ends the connection."""
        assert self.client is not None
        tags = [b"t%d" % number for number in range(len(commands))]
        self.client.send(b"".join(b"%b %b\r\n" % each for each in zip(tags, commands, strict=True)))
        answer = b""
        try:
            for tag in tags:
                while not (answer := await self.client.line()).startswith(tag + b" "):
                    self.hear(answer)
                assert b" BAD " not in answer, (commands, answer)
                assert b"SERVERBUG" not in answer, (commands, answer)
                if (code := re.search(rb"\[HIGHESTMODSEQ (\d+)\]", answer)) is not None and self.box:
                    self.known.modseq = max(self.known.modseq, int(code[1]))
        except Closed:
            self.box, self.client = "", None
            await self.connect(self.kind, "INBOX")
            return b" NO "
        return answer

    def hear(self, line: bytes) -> None:
        words = line.split(b" ")
        if (match := _FETCH.match(line)) is not None:
            self.fetched(int(match[1]), match[2])
        elif words[1] == b"VANISHED":
            self.vanished(numbers(words[-1]), words[2] == b"(EARLIER)")
        elif words[-1] == b"EXISTS":
            self.uids.extend([None] * (int(words[1]) - len(self.uids)))
        elif words[-1] == b"EXPUNGE":
            self.known.flags.pop(self.uids.pop(int(words[1]) - 1) or 0, None)
        elif (code := re.match(rb"\* OK \[(UIDVALIDITY|HIGHESTMODSEQ) (\d+)\]", line)) is not None and self.box:
            if code[1] == b"UIDVALIDITY":
                self.known.uidvalidity = int(code[2])
            else:
                self.highest = int(code[2])
        elif words[1] == b"SEARCH":
            self.found = {int(word) for word in words[2:]}

    def fetched(self, number: int, items: bytes) -> None:
        values = {name: int(value) for name, value in _NUMBER.findall(items)}
        self.seen = max(self.seen, values.get(b"MODSEQ", 0))
        uid = values.get(b"UID")
        if uid is None:
            uid = self.uids[number - 1]
        else:
            assert number <= len(self.uids), "a message number above EXISTS"
            assert self.uids[number - 1] in (None, uid), "a message has changed its UID"
            self.uids[number - 1] = uid
        flags = _FLAGS.search(items)
        if uid is not None and flags is not None:
            self.known.flags[uid] = frozenset(flags[1].split()) - {rb"\Recent"}

    def vanished(self, uids: list[int], earlier: bool) -> None:
        for uid in uids:
            self.known.flags.pop(uid, None)
        if not earlier:
            gone = set(uids)
            for uid in gone - set(self.uids):
                self.uids.remove(None)  # came and went before its UID was known
                assert uid > 0
            self.uids = [uid for uid in self.uids if uid not in gone]


class Watcher:
    """A client that is told of names and counters, and never asks."""

    def __init__(self) -> None:
        self.counters: dict[str, tuple[int, ...]] = {}

    async def start(self, edge: Edge, user: str) -> None:
        self.client = await edge.login(user)
        answer = await self.client.command(b"NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange MailboxName))")
        assert answer[-1] == b"t OK NOTIFY completed", answer
        self.hear(answer)

    async def settle(self) -> None:
        self.hear(await self.client.command(b"NOOP"))

    def hear(self, lines: list[bytes]) -> None:
        for line in lines:
            if (status := re.match(rb"\* STATUS (\S+) \((.*)\)", line)) is not None:
                self.counters[status[1].decode()] = tuple(int(word) for word in status[2].split()[1::2])
            elif (listed := re.match(rb"\* LIST \(([^)]*)\) \"/\" (\S+)(?: \(\"OLDNAME\" \((\S+)\)\))?", line)) is not None:
                if rb"\NonExistent" in listed[1]:
                    self.counters.pop(listed[2].decode(), None)
                if listed[3]:
                    old = listed[3].decode()  # and what is below it, of which nothing is said
                    self.counters = {name: held for name, held in self.counters.items() if not f"{name}/".startswith(f"{old}/")}


class Walk(RuleBasedStateMachine):
    """One walk. It runs in a thread; what it does runs in the reactor."""

    made: World
    edge: Edge
    walks = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).walks += 1
        self.address = f"walker{type(self).walks}@example.test"
        self.user: User = self.run(self.made.user(self.address))
        self.programs = [Program(self.edge, self.address) for _ in range(3)]
        self.watcher = Watcher()

    def run(self, work: Any) -> Any:
        return blockingCallFromThread(reactor, Deferred.fromCoroutine, work)  # type: ignore[arg-type]

    @initialize()
    def start(self) -> None:
        for _ in range(6):
            self.run(self.made.file(self.user, MESSAGE))
        for program, kind in zip(self.programs, KINDS, strict=True):
            self.run(program.connect(kind, "INBOX"))
        self.run(self.watcher.start(self.edge, self.address))

    who = st.integers(0, 2)
    box = st.sampled_from(BOXES)
    some = st.lists(st.integers(0, 9), min_size=1, max_size=4)

    @rule(who=who, box=box, flag=st.sampled_from((b"", rb"\Seen", rb"\Deleted", b"$Kw")))
    def append(self, who: int, box: str, flag: bytes) -> None:
        self.run(self.programs[who].say(b"APPEND %b (%b) {%d+}\r\n%b" % (box.encode(), flag, len(MESSAGE), MESSAGE)))

    @rule(
        who=who,
        some=some,
        mode=st.sampled_from((b"+FLAGS", b"-FLAGS", b"FLAGS", b"+FLAGS.SILENT")),
        flag=st.sampled_from((rb"\Seen", rb"\Deleted", b"$Kw")),
    )
    def store(self, who: int, some: list[int], mode: bytes, flag: bytes) -> None:
        program = self.programs[who]
        chosen = self.chosen(program, some)
        if chosen:
            if mode.endswith(b"SILENT"):  # the client knows what it does
                for uid in chosen:
                    program.known.flags[uid] = program.known.flags.get(uid, frozenset()) | {flag}
            self.run(program.say(b"UID STORE %b %b (%b)" % (b",".join(b"%d" % uid for uid in chosen), mode, flag)))

    @rule(who=who, some=some)
    def store_by_number(self, who: int, some: list[int]) -> None:
        program = self.programs[who]
        count = len(program.uids)
        if program.box and count:
            places = {each % count + 1 for each in some}
            self.run(program.say(b"STORE %b +FLAGS (\\Flagged)" % b",".join(b"%d" % place for place in sorted(places))))

    @rule(who=who)
    def expunge(self, who: int) -> None:
        if self.programs[who].box:
            self.run(self.programs[who].say(b"EXPUNGE"))

    @rule(who=who, some=some, box=box, verb=st.sampled_from((b"MOVE", b"COPY")))
    def transfer(self, who: int, some: list[int], box: str, verb: bytes) -> None:
        program = self.programs[who]
        chosen = self.chosen(program, some)
        if chosen and (box != program.box or verb == b"COPY"):
            self.run(program.say(b"UID %b %b %b" % (verb, b",".join(b"%d" % uid for uid in chosen), box.encode())))

    @rule(who=who, box=st.sampled_from(BOXES[2:]))
    def create(self, who: int, box: str) -> None:
        self.run(self.programs[who].say(b"CREATE %b" % box.encode()))

    @rule(who=who, box=st.sampled_from(BOXES[2:]))
    def delete(self, who: int, box: str) -> None:
        program = self.programs[who]
        answer = self.run(program.say(b"DELETE %b" % box.encode()))
        if b" OK " in answer and program.box == box:
            program.box = ""

    @rule(who=who, pair=st.sampled_from((("Other", "Archive/New"), ("Archive/New", "Other"), ("Other/Below", "Other/Deep"))))
    def rename(self, who: int, pair: tuple[str, str]) -> None:
        old, new = pair
        answer = self.run(self.programs[who].say(b"RENAME %b %b" % (old.encode(), new.encode())))
        if b" OK " in answer:  # every program learns by LIST what it is called now
            for program in self.programs:
                self.moved(program, old, new)

    @rule(who=who, kind=st.sampled_from(KINDS), box=box)
    def reconnect(self, who: int, kind: str, box: str) -> None:
        self.run(self.programs[who].connect(kind, box))
        self.check(self.programs[who])

    @rule(who=who, box=box)
    def select(self, who: int, box: str) -> None:
        self.run(self.programs[who].open(box))

    @rule(who=who)
    def leave(self, who: int) -> None:
        program = self.programs[who]
        if program.box:
            answer = self.run(program.say(b"CLOSE"))
            if b" OK " in answer:
                # What CLOSE has removed is not told; those that know mod-sequences hear of it when they come back.
                program.box, program.uids = "", []

    @precondition(lambda self: any(program.box for program in self.programs))
    @rule(who=who, some=some)
    def pipeline(self, who: int, some: list[int]) -> None:
        program = self.programs[who]
        chosen = self.chosen(program, some)
        if chosen:
            uids = b",".join(b"%d" % uid for uid in chosen)
            self.run(
                program.say(
                    b"UID STORE %b +FLAGS (\\Deleted)" % uids,
                    b"UID FETCH 1:* (FLAGS)",
                    b"UID EXPUNGE %b" % uids,
                    b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE),
                    b"NOOP",
                )
            )

    @rule(who=who)
    def settle(self, who: int) -> None:
        self.run(self.programs[who].settle())
        self.check(self.programs[who])

    @invariant()
    def watcher_knows(self) -> None:
        if hasattr(self.watcher, "client"):
            self.run(self.watcher.settle())
            there = {
                box.name: (box.messages, box.uidnext, box.uidvalidity, box.modseq) for box in self.run(self.made.mailboxes.list(self.user))
            }
            assert self.watcher.counters == there, (self.watcher.counters, there)

    def teardown(self) -> None:
        for program in self.programs:
            if program.client is not None:
                self.run(program.settle())
                self.check(program)
        for client in self.edge.clients:
            blockingCallFromThread(reactor, client.disconnect)  # type: ignore[arg-type]
        self.edge.clients.clear()

    # The rest is no step.

    def chosen(self, program: Program, some: list[int]) -> list[int]:
        """UIDs that the program knows."""
        uids = sorted(uid for uid in program.uids if uid is not None) if program.box else []
        return sorted({uids[each % len(uids)] for each in some}) if uids else []

    def moved(self, program: Program, old: str, new: str) -> None:
        for name in [*program.memory]:
            if name == old or name.startswith(old + "/"):
                program.memory[new + name[len(old) :]] = program.memory.pop(name)
        if program.box == old or program.box.startswith(old + "/"):
            program.box = new + program.box[len(old) :]

    def check(self, program: Program) -> None:
        """The program knows what the server has."""
        if program.box:
            truth = self.run(self.truth(program.box))
            assert program.known.flags == truth, (program.kind, program.box, program.known.flags, truth)
            assert program.uids == sorted(truth), (program.kind, program.uids, truth)

    async def truth(self, box: str) -> dict[int, frozenset[bytes]]:
        view = await self.made.mailboxes.select(self.user, box, True)
        try:
            return {uid: frozenset(name.encode() for name in view.names(flags)) for uid, flags in zip(view.uids, view.flags, strict=True)}
        finally:
            view.close()


class ConvergenceTests(TestCase):
    timeout = 300

    async def test_walks(self) -> None:
        """Whatever three programs do at the same time, each knows in the end what is there."""
        made = await world(self)
        edge = Edge(made)
        self.addCleanup(edge.close)

        class Here(Walk):
            pass

        Here.made, Here.edge = made, edge
        chosen = settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            report_multiple_bugs=False,
        )
        await deferToThread(run_state_machine_as_test, Here, settings=chosen)
        self.assertEqual(self.flushLoggedErrors(), [])

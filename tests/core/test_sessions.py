"""Two sessions do whatever they like to one mailbox, and changes get lost on the way: what they see stays true.

Each session is watched through the eyes of an IMAP client that knows only what it was told.
"""

from typing import Any

from attrs import define, evolve, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from mailx.core import feed as feeds
from mailx.core.fetch import Need
from mailx.core.mailboxes import Selected
from mailx.mail.mailbox import Change, Flag
from mailx.store import Txn
from mailx.store.messages import charge
from tests.scenery import World, world

CONTENT = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"

who = st.integers(0, 1)
flags = st.sampled_from([0, Flag.SEEN, Flag.DELETED, Flag.FLAGGED, Flag.SEEN | Flag.DELETED])
picks = st.lists(st.integers(0, 30), min_size=1, max_size=6)


@define
class Client:
    """What the far end of a session believes: the UIDs it has been told of, in the order of sequence numbers."""

    session: Selected
    uids: list[int] = field(factory=list)

    def tell(self, expunge: bool) -> None:
        """Take the updates as an IMAP client would."""
        updates = self.session.updates(expunge)
        assert expunge or not updates.expunged
        gone = []
        for number in updates.expunged:
            gone.append(self.uids.pop(number - 1))
        assert sorted(gone) == updates.vanished
        if updates.exists is not None:
            assert updates.exists >= len(self.uids)
            self.uids += self.session.uids[len(self.uids) : updates.exists]
        assert updates.recent == len(self.session.recent)
        assert self.uids == list(self.session.uids), "the numbers of client and server agree"
        assert self.uids == sorted(set(self.uids))
        assert all(0 <= index < len(self.uids) for index in updates.flagged)


async def made(scene: World, number: int) -> Any:
    user = await scene.user(f"u{number}@example.test")
    sessions = [await scene.mailboxes.select(user, "INBOX", False) for _ in range(2)]
    return user, sessions


def truth(txn: Txn, account: int) -> Any:
    """The mailboxes, entries and messages of an account as they stand in the database."""
    boxes = txn.all("SELECT id, messages, unseen, deleted, size, uidnext, modseq FROM mailboxes WHERE account_id = ?", (account,))
    entries = {
        box[0]: txn.all("SELECT uid, flags, modseq, size, message_id FROM entries WHERE mailbox_id = ? ORDER BY uid", (box[0],))
        for box in boxes
    }
    used = txn.one("SELECT used FROM accounts WHERE id = ?", (account,))
    wrong = txn.all(
        "SELECT g.id FROM messages g LEFT JOIN copies c ON c.message_id = g.id"
        " WHERE refs + coalesce(c.count, 0) <> (SELECT count(*) FROM entries e WHERE e.message_id = g.id)"
        " AND g.id > (SELECT coalesce(max(id), 0) - 50 FROM messages)"
    )
    return boxes, entries, used, wrong


class Machine(RuleBasedStateMachine):
    scene: World
    number = 0
    losing = ""  # "", "lost" or "partial": what becomes of the next Change

    def on_reactor(self, call: Any, *args: Any) -> Any:
        return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(call(*args)))

    @initialize()
    def begin(self) -> None:
        Machine.number += 1
        Machine.losing = ""
        self.lost = False
        self.user, sessions = self.on_reactor(made, self.scene, Machine.number)
        self.clients = [Client(session) for session in sessions]
        self.highest = 0

    def uids(self, client: Client, chosen: list[int]) -> list[int]:
        return sorted({client.uids[pick % len(client.uids)] for pick in chosen}) if client.uids else []

    @rule(count=st.integers(1, 4), given=flags)
    def arrive(self, count: int, given: int) -> None:
        async def file() -> None:
            for _ in range(count):
                uid = await self.scene.file(self.user, CONTENT, flags=given)
                assert uid > self.highest, "a UID is never used again"
                self.highest = uid

        self.on_reactor(file)

    @rule(who=who, chosen=picks, mode=st.sampled_from(["add", "remove", "replace"]), given=flags, old=st.booleans(), word=st.booleans())
    def store(self, who: int, chosen: list[int], mode: Any, given: int, old: bool, word: bool) -> None:
        client = self.clients[who]
        uids = self.uids(client, chosen)
        since = client.session.modseq if old else None
        words = ("$Forwarded",) if word else ()
        stored = self.on_reactor(self.scene.mailboxes.store, client.session, uids, mode, given, words, since)
        assert set(stored.changed).isdisjoint(stored.failed) and set(stored.changed) | set(stored.failed) <= set(uids)
        if mode == "replace" and not self.lost:
            names = [client.session.names(client.session.flags[client.session.index(uid)]) for uid in stored.changed]
            assert all(("$Forwarded" in each) == word for each in names), "a session sees its own STORE"

    @rule(who=who, chosen=st.none() | picks)
    def expunge(self, who: int, chosen: list[int] | None) -> None:
        client = self.clients[who]
        self.on_reactor(self.scene.mailboxes.expunge, client.session, None if chosen is None else self.uids(client, chosen))

    @rule(who=who, chosen=picks, move=st.booleans(), name=st.sampled_from(["INBOX", "Archive"]))
    def copy(self, who: int, chosen: list[int], move: bool, name: str) -> None:
        client = self.clients[who]
        act = self.scene.mailboxes.move if move else self.scene.mailboxes.copy
        copied = self.on_reactor(act, client.session, self.uids(client, chosen), name)
        assert len(copied.source) == len(copied.target)
        if name == "INBOX" and copied.target:
            assert copied.target[0] > self.highest
            self.highest = copied.target[-1]

    @rule(who=who, expunge=st.booleans())
    def tell(self, who: int, expunge: bool) -> None:
        blockingCallFromThread(reactor, self.clients[who].tell, expunge)

    @rule(who=who)
    def select_again(self, who: int) -> None:
        async def select() -> Selected:
            self.clients[who].session.close()
            return await self.scene.mailboxes.select(self.user, "INBOX", False)

        session = self.on_reactor(select)
        self.clients[who] = Client(session, list(session.uids))

    @rule(how=st.sampled_from(["lost", "partial"]))
    def lose(self, how: str) -> None:
        Machine.losing = how
        self.lost = True

    @rule()
    def fetch(self) -> None:
        async def rows() -> None:
            for client in self.clients:
                found = [row async for rows in self.scene.mailboxes.fetch(client.session, client.uids, Need.CONTENT) for row in rows]
                assert all(row.content.endswith(CONTENT) for row in found)
                assert all(client.session.uids[row.index] == row.uid for row in found)

        self.on_reactor(rows)

    @invariant()
    def counters_are_true(self) -> None:
        listed = {mailbox.id: mailbox for mailbox in self.on_reactor(self.scene.mailboxes.list, self.user)}
        boxes, entries, used, wrong = blockingCallFromThread(reactor, self.scene.store.read, truth, self.user.id)
        assert not wrong
        total = 0
        for id, messages, unseen, deleted, size, uidnext, modseq in boxes:
            rows = entries[id]
            total += sum(charge(row[3]) for row in rows)
            assert messages == len(rows)
            shown = listed[id]
            assert (shown.messages, shown.unseen, shown.deleted) == (messages, unseen, deleted)
            assert (shown.size, shown.uidnext, shown.modseq) == (size, uidnext, modseq)
            assert unseen == sum(not row[1] & Flag.SEEN for row in rows)
            assert deleted == sum(bool(row[1] & Flag.DELETED) for row in rows)
            assert size == sum(row[3] for row in rows)
            assert all(row[0] < uidnext and row[2] <= modseq for row in rows)
        assert used == (total,)

    def teardown(self) -> None:
        if not hasattr(self, "clients"):
            return
        Machine.losing = ""
        self.arrive(1, 0)  # shows the gap where the last change was lost

        async def settle() -> Any:
            for client in self.clients:
                await client.session.settle()
                client.tell(True)
            return await self.scene.store.read(truth, self.user.id)

        boxes, entries, _, _ = self.on_reactor(settle)
        for client in self.clients:
            session = client.session
            rows = entries[session.mailbox.id]
            assert list(session.uids) == [row[0] for row in rows]
            assert list(session.flags) == [row[1] for row in rows]
            assert list(session.sizes) == [row[3] for row in rows]
            assert list(session.modseqs) == [row[2] for row in rows]
            blockingCallFromThread(reactor, session.close)


class SessionsTests(TestCase):
    timeout = 240
    engine = "sqlite"
    examples = 40

    async def test_sessions_converge(self) -> None:
        hear = feeds.Feed.hear

        def lossy(feed: feeds.Feed, change: Change) -> None:
            how, Machine.losing = Machine.losing, ""
            if how == "partial":
                hear(feed, evolve(change, added=(), flagged=(), flags=(), removed=(), partial=True))
            elif how != "lost":
                hear(feed, change)

        self.patch(feeds.Feed, "hear", lossy)
        Machine.scene = await world(self, engine=self.engine)
        checks = settings(
            max_examples=self.examples, stateful_step_count=25, deadline=None, database=None, print_blob=False,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        await deferToThread(run_state_machine_as_test, Machine, settings=checks)


class PostgreSQLSessionsTests(SessionsTests):
    engine = "postgresql"
    examples = 15

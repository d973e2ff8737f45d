"""How the sessions of one mailbox keep up: gaps, foreign changes, a store that does not answer."""

from array import array
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.changes import Changes
from mailx.core.columns import Columns, Kept, brought_up
from mailx.core.feed import Feed
from mailx.core.keywords import Keywords
from mailx.core.mailboxes import Mailboxes
from mailx.core.selected import Selected
from mailx.mail.mailbox import Change, Flag, Mailbox
from mailx.mail.reply import Unavailable
from mailx.store.blobs import Blobs
from mailx.store.entries import Since
from tests.scenery import SENDER, World, world
from tests.store import postgresql

CONTENT = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"


class NoStore:
    """Where nothing is listened to."""

    def listen(self, listener: Any) -> None:
        self.listener = listener


def row(uid: int, flags: int = 0, modseq: int = 1) -> tuple[int, ...]:
    return uid, flags, modseq, 100, uid, 1000, 1000, uid


class FeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = NoStore()
        self.changes = Changes(self.store)
        self.clock = Clock()
        self.reads: list[tuple[int, Deferred[Any]]] = []
        self.left: list[Selected] = []
        self.feed = Feed(7, 10, Keywords(), self.changes, self.clock, self.read, lambda feed, session: self.left.append(session))
        self.session = self.joined()
        self.told = 0
        self.session.on_change = self.tell

    def tell(self) -> None:
        self.told += 1

    def joined(self, modseq: int = 10, missed: tuple[Change, ...] = ()) -> Selected:
        mailbox = Mailbox(7, 1, "INBOX", 1, 4, modseq, 3, 3, 0, 300, 4)
        session = Selected(self.feed, mailbox, Columns([row(1), row(2), row(3)]), False)
        self.feed.join(session, 4, list(missed))
        return session

    def read(self, mailbox: int, modseq: int) -> "Deferred[Any]":
        deferred: Deferred[Any] = Deferred()
        self.reads.append((modseq, deferred))
        return deferred

    def hear(self, modseq: int, **what: Any) -> None:
        self.store.listener(Change(7, modseq, **what))

    def test_one_call_until_the_updates_are_taken(self) -> None:
        self.hear(11, flagged=(2,), flags=(Flag.SEEN,))
        self.hear(12, added=((4, 0, 100),))
        self.assertEqual(self.told, 1)
        updates = self.session.updates(True)
        self.assertEqual((updates.flagged, updates.exists), ([1], 4))
        self.hear(13, removed=(4,))
        self.assertEqual(self.told, 2)

    def test_what_comes_and_goes_untold_is_never_told(self) -> None:
        self.hear(11, added=((4, 0, 100),))
        self.hear(12, flagged=(4,), flags=(Flag.DELETED,))
        self.hear(13, removed=(4,))
        updates = self.session.updates(True)
        self.assertEqual((updates.exists, updates.expunged, updates.recent), (None, [], 0))

    def test_many_expunges_at_once(self) -> None:
        self.hear(11, added=tuple((uid, 0, 100) for uid in range(4, 34)))
        self.session.updates(True)
        gone = tuple(range(2, 30, 2))
        self.hear(12, removed=gone)
        updates = self.session.updates(True)
        self.assertEqual(updates.vanished, list(gone))
        self.assertEqual(list(self.session.uids), [uid for uid in range(1, 34) if uid not in gone])
        self.assertEqual(updates.expunged, [uid for uid in reversed(gone)])

    def test_a_gap_is_read_and_what_comes_meanwhile_waits(self) -> None:
        self.hear(13, added=((5, 0, 100),))
        self.hear(14, flagged=(5,), flags=(Flag.SEEN,))
        self.assertEqual(self.told, 0)
        [(since, answer)] = self.reads
        self.assertEqual(since, 10)
        answer.callback((Since(13, 6, [row(2, Flag.FLAGGED, 11), row(4, 0, 12), row(5, 0, 13)], [1]), {}, 1))
        self.assertEqual(self.told, 1)
        updates = self.session.updates(True)
        self.assertEqual((updates.expunged, updates.exists, updates.vanished), ([1], 4, [1]))
        self.assertEqual(list(self.session.uids), [2, 3, 4, 5])
        self.assertEqual(list(self.session.flags), [Flag.FLAGGED, 0, 0, Flag.SEEN])
        self.assertEqual(updates.flagged, [0])
        self.assertEqual(self.session.modseq, 14)

    def test_changes_out_of_order(self) -> None:
        self.hear(12, added=((5, 0, 100),))
        self.hear(11, added=((4, 0, 100),))
        self.reads[0][1].callback((Since(10, 4, [], []), {}, 1))
        self.assertEqual(self.session.updates(True).exists, 5)
        self.assertEqual(len(self.reads), 1)

    def test_a_store_that_does_not_answer_is_asked_again(self) -> None:
        self.hear(11, partial=True)
        settled = Deferred.fromCoroutine(self.session.settle())
        self.assertNoResult(settled)
        self.reads[0][1].errback(Unavailable("the disk is full"))
        self.successResultOf(settled)
        self.clock.advance(5)
        self.assertEqual(len(self.reads), 2)
        self.reads[1][1].callback((Since(11, 4, [row(1, Flag.SEEN, 11)], []), {}, 1))
        self.assertEqual(self.session.updates(True).flagged, [0])

    def test_a_closed_feed_asks_no_more(self) -> None:
        self.hear(11, partial=True)
        self.reads[0][1].errback(Unavailable("the disk is full"))
        self.session.close()
        self.assertEqual(self.left, [self.session])
        self.feed.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_flag_without_a_name_has_the_names_read(self) -> None:
        self.hear(11, flagged=(1,), flags=(1 << 5,))
        self.reads[0][1].callback((Since(11, 4, [row(1, 1 << 5, 11)], []), {5: "$Work"}, 1))
        self.assertEqual(self.session.names(self.session.flags[0]), ("$Work",))
        self.hear(12, flagged=(2,), flags=(1 << 5,))
        self.assertEqual(len(self.reads), 1)

    def test_a_session_that_joins_late_hears_what_it_missed(self) -> None:
        one, two = Change(7, 11, added=((4, 0, 100),)), Change(7, 12, flagged=(4,), flags=(Flag.SEEN,))
        self.hear(11, added=((4, 0, 100),))
        self.hear(12, flagged=(4,), flags=(Flag.SEEN,))
        self.assertEqual(self.session.updates(True).recent, 1)
        late = self.joined(10, (one, two))
        self.assertEqual(late.updates(True).exists, 4)
        self.assertEqual(list(late.flags), [0, 0, 0, Flag.SEEN])
        self.assertEqual(late.recent, set(), "it is recent in the session that was told of it first")
        ahead = self.joined(12)
        self.assertEqual(ahead.updates(True).exists, None)

    def test_a_session_that_missed_too_much_is_caught_up(self) -> None:
        self.hear(11, removed=(1,))
        late = self.joined(10)
        self.assertEqual([since for since, _ in self.reads], [10])
        self.reads[0][1].callback((Since(11, 4, [], [1]), {}, 1))
        self.assertEqual(late.updates(True).vanished, [1])
        self.assertEqual(self.session.updates(True).vanished, [1])

    def test_a_session_that_joins_behind_what_is_being_read(self) -> None:
        """The reading under way began after what it missed, so that there is another one."""
        other = Change(7, 11, partial=True)
        self.hear(11, partial=True)
        self.reads[0][1].callback((Since(11, 4, [row(1, Flag.SEEN, 11)], [2]), {}, 1))
        self.hear(12, partial=True)
        late = self.joined(10, (other,))
        self.reads[1][1].callback((Since(12, 4, [row(3, Flag.FLAGGED, 12)], []), {}, 2))
        for session in (self.session, late):
            session.updates(True)
        self.assertEqual([since for since, _ in self.reads], [10, 11, 10])
        self.reads[2][1].callback((Since(12, 4, [row(1, Flag.SEEN, 11), row(3, Flag.FLAGGED, 12)], [2]), {}, 3))
        late.updates(True)
        self.assertEqual([*late.uids], [1, 3])
        self.assertEqual([*late.flags], [*self.session.flags])
        self.assertEqual([*late.modseqs], [*self.session.modseqs])
        self.assertEqual(self.session.updates(True).flagged, [])

    def test_a_session_that_joins_beyond_what_is_being_read(self) -> None:
        """What was read is older than what it has: what came since was not removed."""
        self.hear(12, partial=True)
        ahead = Selected(self.feed, Mailbox(7, 1, "INBOX", 1, 5, 13, 4, 4, 0, 400, 5), Columns([row(1), row(3), row(4, 0, 13)]), False)
        self.feed.join(ahead, 5, [])
        self.reads[0][1].callback((Since(12, 4, [], [], array("L", [1, 3])), {}, 1))
        self.assertEqual(ahead.updates(True).vanished, [])
        self.assertEqual(self.session.updates(True).vanished, [2])

    def test_a_deleted_mailbox(self) -> None:
        self.hear(11, gone=True)
        self.assertEqual(self.told, 1)
        self.assertTrue(self.session.updates(True).gone)

    def test_a_session_that_fails_disturbs_no_other(self) -> None:
        other = self.joined()
        self.session.on_change = lambda: 1 // 0
        heard: list[int] = []
        other.on_change = lambda: heard.append(1)
        self.hear(11, added=((4, 0, 100),))
        self.assertEqual(heard, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_silent_session_holds_little(self) -> None:
        for number in range(2000):
            self.hear(11 + number, flagged=(1 + number % 3,), flags=(number % 2,))
        self.assertLess(len(self.session._pending), 300)
        self.assertEqual(self.session.updates(True).flagged, [0, 1, 2])


class ColumnsTests(SynchronousTestCase):
    def test_brought_up(self) -> None:
        columns = Columns([row(uid) for uid in range(1, 20)])
        since = Since(9, 22, [row(3, 5, 7), row(20, 1, 8), row(21, 0, 9)], [1, *range(5, 17)])
        made = brought_up(columns, since)
        self.assertEqual(list(made.uids), [2, 3, 4, 17, 18, 19, 20, 21])
        self.assertEqual(list(made.flags), [0, 5, 0, 0, 0, 0, 1, 0])
        self.assertEqual(list(made.modseqs), [1, 7, 1, 1, 1, 1, 8, 9])
        self.assertEqual(len(columns), 19, "the kept ones are as they were")

    def test_kept_within_bounds(self) -> None:
        kept = Kept(capacity=3 * (1000 + 64 * 2))
        for mailbox in range(5):
            kept.put(mailbox, 1, Columns([row(1), row(2)]))
        self.assertEqual([kept.get(mailbox) is not None for mailbox in range(5)], [False, False, True, True, True])
        kept.put(9, 1, Columns([row(uid) for uid in range(1, 1000)]))
        self.assertIsNone(kept.get(9))


class TwoNodesTests(TestCase):
    """Two processes on one PostgreSQL, played by two stores: what one writes the other's sessions see."""

    timeout = 240

    async def setUp(self) -> None:
        postgresql.binaries()
        self.here = await world(self, engine="postgresql")
        self.user = await self.here.user("me@example.test")
        self.there = await self.node(self.here)

    async def node(self, first: World) -> Mailboxes:
        from twisted.internet import reactor

        from mailx.store.postgres import open_store

        [database] = await first.store.read(lambda txn: txn.one("SELECT current_database()"))
        store = await open_store(postgresql.server().url(database), "", 1, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        return Mailboxes(store, first.cipher, Blobs(first.directory + "/blobs", first.cipher), Changes(store), reactor)

    async def test_sessions_follow_the_other_node(self) -> None:
        session = await self.there.select(self.user, "INBOX", False)
        self.addCleanup(session.close)
        for change in range(3):
            waiting: Deferred[None] = Deferred()
            session.on_change = lambda waiting=waiting: waiting.called or waiting.callback(None)
            if change == 0:
                await self.here.deliver("me@example.test", CONTENT, SENDER)
            else:
                mine = await self.here.mailboxes.select(self.user, "INBOX", False)
                if change == 1:
                    await self.here.mailboxes.store(mine, [1], "add", Flag.DELETED, ("$Work",))
                else:
                    await self.here.mailboxes.expunge(mine)
                mine.close()
            await waiting
            updates = session.updates(True)
            if change == 0:
                self.assertEqual((updates.exists, updates.recent), (1, 1))
            elif change == 1:
                self.assertEqual(updates.flagged, [0])
                self.assertEqual(session.names(session.flags[0]), ("\\Deleted", "$Work"))
            else:
                self.assertEqual(updates.vanished, [1])

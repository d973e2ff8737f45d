"""The search index: a search with it finds what a search without it finds, whatever happened before."""

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from mailx.core import search as keys
from mailx.core.index import Index
from mailx.core.indexer import Indexer
from mailx.core.mailboxes import Selected
from mailx.core.matching import Search
from mailx.core.merging import FAN, FINAL, plan
from mailx.core.search import Query
from mailx.mail.mailbox import Flag
from mailx.store import segments, sqlite, unindexed
from mailx.store.cipher import CipherError
from mailx.store.migrate import INDEX
from mailx.store.segments import Place
from tests.core.lacking import lacking
from tests.scenery import World, world


def plain(body: str, subject: str = "none") -> bytes:
    head = f"From: Ann <ann@example.org>\r\nTo: me@example.test\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}\r\n{body}\r\n".encode()


class Indexed(TestCase):
    """A world with an index beside it."""

    engine = "sqlite"

    async def setUp(self) -> None:
        self.world: World = await world(self, engine=self.engine)
        self.user = await self.world.user("me@example.test")
        self.path = os.path.join(self.world.directory, "index.db")
        await self.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def open(self, **options: Any) -> None:
        """The index, as after a start of the server."""
        self.database: Any = self.world.store
        if self.engine == "sqlite":
            self.database = await sqlite.open_store(self.path, 1, self.world.reactor, INDEX)
        self.index = Index(self.database, self.world.cipher)
        self.indexer = Indexer(
            self.world.store, self.database, self.index, self.world.cipher, self.world.blobs, self.world.reactor, **options
        )
        self.world.mailboxes.search_with(self.index)

    async def close(self) -> None:
        await self.indexer.stop()
        if self.database is not self.world.store:
            await self.database.close()

    async def catch_up(self) -> None:
        if not self.indexer._pool.started:
            self.indexer.start()
        await self.indexer.caught_up()

    async def select(self) -> Selected:
        session = await self.world.mailboxes.select(self.user, "INBOX", False)
        self.addCleanup(session.close)
        return session

    async def both(self, query: Query) -> list[int]:
        """What a search finds, with the index and without: the same."""
        session = await self.select()
        with_index = await self.world.mailboxes.search(session, query)
        plain_search: Search = self.world.mailboxes._search
        plain_search.index, kept = None, plain_search.index
        try:
            self.assertEqual(with_index, await self.world.mailboxes.search(session, query), query)
        finally:
            plain_search.index = kept
        return with_index


class Searches(Indexed):
    async def test_only_what_may_match_is_opened(self) -> None:
        for number in range(30):
            await self.world.file(self.user, plain(f"common word{number} zymurgy" if number % 10 == 3 else f"common word{number}"))
        await self.catch_up()
        looked: list[int] = []
        scan = self.world.mailboxes._search.scan

        async def watched(account: int, ids: list[int], probe: Any) -> set[int]:
            looked.extend(ids)
            return await scan(account, ids, probe)

        self.patch(self.world.mailboxes._search, "scan", watched)
        session = await self.select()
        self.assertEqual(await self.world.mailboxes.search(session, keys.Text("ZYMURG")), [4, 14, 24])
        self.assertEqual(looked, [])
        self.assertEqual(await self.world.mailboxes.search(session, keys.Body("common word2")), [3, *range(21, 31)])
        self.assertEqual(await self.world.mailboxes.search(session, keys.Body("mon word29")), [30])
        self.assertEqual(await self.world.mailboxes.search(session, keys.Body("no such thing")), [])
        self.assertEqual(looked, [])  # words with one blank between them are known to stand so
        self.assertEqual(await self.world.mailboxes.search(session, keys.Body("29\r\n")), [30])
        self.assertEqual(len(looked), 1)
        await self.world.file(self.user, plain("zymurgy is new"))  # not indexed yet
        session.updates(True)
        await self.indexer.stop()
        self.assertEqual(await self.world.mailboxes.search(session, keys.Text("zymurgy")), [4, 14, 24, 31])

    async def test_what_a_phrase_found_is_kept_with_the_segments(self) -> None:
        for number in range(40):
            await self.world.file(self.user, plain(f"red green word{number} blue" if number % 4 else "green red"))
        await self.catch_up()
        read: list[int] = []
        opening = segments.open_places

        def counted(txn: Any, cipher: Any, segment: int, word: int) -> Any:
            read.append(segment)
            return opening(txn, cipher, segment, word)

        self.patch(segments, "open_places", counted)
        found = await self.both(keys.Text("red green"))
        self.assertEqual(len(found), 30)
        before = len(read)
        self.assertGreater(before, 0)
        self.assertEqual(await self.both(keys.Text("red green")), found)
        self.assertEqual(len(await self.both(keys.Text("green red"))), 10)
        self.assertGreater(len(read), before)
        await self.world.file(self.user, plain("red green again"))
        await self.catch_up()
        self.assertEqual(await self.both(keys.Text("red green")), [*found, 41])

    async def test_long_strings_are_not_kept(self) -> None:
        """Whoever searches chooses them, and they may be much larger than what they found."""
        await self.world.file(self.user, plain("red green blue"))
        await self.catch_up()
        await self.both(keys.Text("red green"))
        before = self.index.opened.octets
        for text in ("red green " * 100, f"red {'x' * 5000}"):
            self.assertEqual(await self.both(keys.Text(text)), [])
        self.assertEqual(self.index.opened.octets, before)

    async def test_a_search_with_the_index_is_a_search(self) -> None:
        """Deliveries, deletions, indexing, rebuilding and starts in any order; then searches for anything, and for what is there."""
        letters = "abc 1.@\u00df\u00e9\u0130\u6f22\u5b57"
        texts = st.text(st.sampled_from(letters), min_size=5, max_size=25)
        steps = st.lists(st.one_of(texts, texts, st.sampled_from([1, 1, 2, 3, 4])), min_size=3, max_size=12)
        cuts = st.tuples(st.integers(0, 1000), st.integers(0, 24), st.integers(1, 6))
        cases: list[tuple[list[Any], list[str], list[tuple[int, int, int]]]] = []

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(steps, st.lists(st.text(st.sampled_from(letters), max_size=3), max_size=2), st.lists(cuts, min_size=2, max_size=4))
        def collect(chosen: list[Any], needles: list[str], parts: list[tuple[int, int, int]]) -> None:
            cases.append((chosen, needles, parts))

        collect()
        delivered = ["nothing yet"]
        for chosen, needles, parts in cases:
            for step in chosen:
                await self.perform(step)
            delivered += [step for step in chosen if isinstance(step, str)]
            for which, start, length in parts:
                text = delivered[-1 - which % min(len(delivered), 12)]
                needles = [*needles, text[start % len(text) :][:length]]
            for needle in needles:
                await self.both(keys.Text(needle))
                await self.both(keys.Body(needle))

    async def perform(self, step: Any) -> None:
        if isinstance(step, str):
            await self.world.file(self.user, plain(step, step))
        elif step == 1:
            await self.catch_up()
        elif step == 2:  # a start of the server
            await self.close()
            await self.open(forget_after=0)
        elif step == 3:
            session = await self.select()
            await self.world.mailboxes.store(session, list(session.uids)[:2], "add", Flag.DELETED, ())
            await self.world.mailboxes.expunge(session)
            await self.world.sweep.messages()
        else:
            self.indexer.rebuild()

    async def test_accounts_have_their_own_words(self) -> None:
        other = await self.world.user("other@example.test")
        await self.world.deliver(["me@example.test", "other@example.test"], plain("shared zymurgy"))
        await self.world.deliver("other@example.test", plain("nothing"))
        await self.catch_up()
        self.assertEqual(await self.both(keys.Text("zymurgy")), [1])
        places = await self.database.read(segments.places, other.id)
        self.assertEqual(sum(place.documents for place in places), 2)

    async def test_too_much_text_is_looked_into(self) -> None:
        await self.world.file(self.user, plain("long line\r\n" * 210_000 + "zymurgy"))
        await self.catch_up()
        self.assertEqual(await self.both(keys.Text("zymurgy")), [1])


class Keeping(Indexed):
    async def words_of(self) -> set[bytes]:
        """Every word in the index."""
        found: set[bytes] = set()
        for account in await self.database.read(segments.accounts, 0, 100):
            for place in await self.database.read(segments.places, account):
                segment = await self.database.read(segments.open_words, self.world.cipher, place.id)
                found.update((segment._vocabulary.octets + segment._rare.octets).split(b"\n"))
        return found

    async def test_nothing_is_readable_on_disk(self) -> None:
        if self.engine != "sqlite":
            raise SkipTest("the bytes of files")
        for body in ("zymurgy withinbody", "deletedword zymurgy"):
            await self.world.file(self.user, plain(body, "subjectword"))
        await self.catch_up()
        self.assertIn(b"deletedword", await self.words_of())
        session = await self.select()
        await self.world.mailboxes.store(session, [2], "add", Flag.DELETED, ())
        await self.world.mailboxes.expunge(session)
        files = [name for name in os.listdir(self.world.directory) if name.startswith("index.db")]
        self.assertIn("index.db-wal", files)
        for name in files:
            with open(os.path.join(self.world.directory, name), "rb") as file:
                octets = file.read()
            for word in (b"zymurgy", b"withinbody", b"deletedword", b"subjectword", b"example"):
                self.assertNotIn(word, octets.lower(), name)

    async def test_deleted_messages_are_forgotten(self) -> None:
        await self.close()
        await self.open(forget_after=0)
        await self.world.file(self.user, plain("deletedword"))
        await self.world.file(self.user, plain("keptword"))
        await self.catch_up()
        session = await self.select()
        await self.world.mailboxes.store(session, [1], "add", Flag.DELETED, ())
        await self.world.mailboxes.expunge(session)
        await self.catch_up()
        left = await self.words_of()
        self.assertNotIn(b"deletedword", left)
        self.assertIn(b"keptword", left)
        self.assertEqual(await self.both(keys.Text("word")), [2])

    async def test_segments_are_merged(self) -> None:
        for number in range(FAN + 1):
            await self.world.file(self.user, plain(f"word{number}"))
            await self.catch_up()
        status = await self.indexer.status()
        self.assertEqual((status.segments, status.documents, status.behind), (2, FAN + 1, 0))
        self.assertEqual(await self.both(keys.Text("word7")), [8])

    async def test_a_crash_costs_a_batch_and_nothing_else(self) -> None:
        """Rows and how far they reach are one transaction: what failed is done again, once."""
        await self.world.file(self.user, plain("zymurgy"))
        failing = True
        add = segments.add

        def crash(*args: Any) -> None:
            nonlocal failing
            add(*args)
            if failing:
                failing = False
                raise segments.Overtaken

        self.patch(segments, "add", crash)
        await self.catch_up()
        self.assertFalse(failing)
        self.assertEqual((await self.indexer.status()).documents, 1)

    async def test_a_damaged_index_is_built_anew(self) -> None:
        await self.world.file(self.user, plain("zymurgy"))
        await self.catch_up()
        await self.close()
        await self.open()
        await self.database.write(lambda txn: txn.execute("UPDATE index_segments SET words = postings"))
        await self.catch_up()
        self.assertEqual(await self.both(keys.Text("zymurgy")), [1])
        await self.catch_up()
        self.assertIn(b"zymurgy", await self.words_of())
        self.assertEqual(await self.both(keys.Text("zymurg")), [1])

    async def test_an_index_of_another_state_of_the_database_is_built_anew(self) -> None:
        await self.world.file(self.user, plain("zymurgy"))
        await self.catch_up()
        await self.close()
        await self.open()
        if self.engine == "sqlite":  # as if a backup of the mail had been put back
            await self.database.write(lambda txn: txn.execute("UPDATE index_state SET position = 1000"))
        else:
            await self.database.write(lambda txn: txn.execute("UPDATE index_state SET anchor = ?", (b"x" * 16,)))
        await self.world.file(self.user, plain("another zymurgy"))
        self.assertEqual(await lacking(self.index, self.user.id, "nosuchword"), set())  # not believed before it was looked at
        await self.catch_up()
        status = await self.indexer.status()
        self.assertEqual((status.documents, status.behind), (2, 0))
        self.assertEqual(await self.both(keys.Text("zymurgy")), [1, 2])

    async def test_a_clearing_that_was_cut_short_goes_on(self) -> None:
        await self.world.file(self.user, plain("zymurgy"))
        await self.catch_up()
        await self.close()
        await self.open()
        await self.database.write(segments.condemn)
        self.assertEqual((await self.indexer.status()).documents, 1)
        await self.catch_up()
        status = await self.indexer.status()
        self.assertEqual((status.documents, status.behind), (1, 0))
        self.assertEqual(await lacking(self.index, self.user.id, "nosuchword"), {1})

    async def test_while_mail_comes_in_fast_it_waits_but_not_for_ever(self) -> None:
        await self.close()
        await self.open(patience=1.0)
        head = 0

        def arriving(txn: Any) -> int:
            nonlocal head
            head += 1000
            return head

        self.patch(unindexed, "head", arriving)
        await self.world.file(self.user, plain("zymurgy"))
        began = self.world.reactor.seconds()
        self.indexer.start()
        while not (await self.database.read(segments.size)).documents:
            await deferLater(self.world.reactor, 0.02)
        self.assertGreater(self.world.reactor.seconds() - began, 0.9)

    async def test_deleted_accounts_are_forgotten(self) -> None:
        other = await self.world.user("other@example.test")
        await self.close()
        await self.open(forget_after=0)
        await self.world.deliver("other@example.test", plain("zymurgy"))
        await self.catch_up()
        self.assertEqual(await self.database.read(segments.accounts, 0, 10), [other.id])
        await self.world.accounts.erase_user("other@example.test")
        await self.catch_up()
        self.assertEqual(await self.database.read(segments.accounts, 0, 10), [])

    async def test_a_moved_segment_does_not_open(self) -> None:
        await self.world.file(self.user, plain("zymurgy"))
        await self.catch_up()
        place = (await self.database.read(segments.places, self.user.id))[0]
        await self.database.write(lambda txn: txn.execute("UPDATE index_segments SET account_id = account_id + 1"))
        await self.assertFailure(self.database.read(segments.open_words, self.world.cipher, place.id), CipherError)

    async def test_the_lag_is_told(self) -> None:
        await self.world.file(self.user, plain("zymurgy"))
        self.assertEqual((await self.indexer.status()).behind, 1)
        await self.catch_up()
        status = await self.indexer.status()
        self.assertEqual((status.behind, status.seconds, status.segments), (0, 0.0, 1))
        self.assertGreater(status.octets, 100)

    async def test_what_is_read_next_is_settled_and_in_order(self) -> None:
        for body in ("one", "two", "three"):
            await self.world.file(self.user, plain(body))
        found = await self.world.store.read(unindexed.after, 0, 2, 10**6)
        self.assertEqual([one.accounts for one in found], [(self.user.id,)] * 2)
        rest = await self.world.store.read(unindexed.after, found[-1].id, 10, 1)
        self.assertEqual(len(rest), 1)


class SearchesPostgreSQL(Searches):
    engine = "postgresql"


class KeepingPostgreSQL(Keeping):
    engine = "postgresql"


class Plans(TestCase):
    def places(self, *sizes: int) -> list[Place]:
        return [Place(number, 1, number, size) for number, size in enumerate(sizes)]

    def test_few_are_left_alone(self) -> None:
        self.assertEqual(plan(self.places(1, 1, 9, 9, 70, FINAL, FINAL)), [])

    def test_segments_of_one_size_are_merged(self) -> None:
        places = self.places(70, *[1] * FAN, 9)
        self.assertEqual(plan(places), places[1 : FAN + 1])

    def test_final_ones_are_not_made_larger_than_needed(self) -> None:
        places = self.places(*[FINAL * 3 // 5] * FAN)
        self.assertEqual(plan(places), places[:2])
        self.assertEqual(plan(self.places(*[FINAL] * 20)), [])

"""The search index of accounts that their owners open: the same results, under the account's key, and only while that is here."""

import os
from typing import Any, ClassVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailx.core import indexing_apart
from mailx.core import search as keys
from mailx.core.index import Index
from mailx.core.indexer import Indexer, Status
from mailx.core.merging import FAN
from mailx.core.search import Query
from mailx.core.users import User
from mailx.mail.mailbox import Flag
from mailx.store import index_accounts, segments, sqlite
from mailx.store.cipher import CipherError
from mailx.store.index_accounts import Followed
from mailx.store.migrate import INDEX
from mailx.store.segments import Overtaken, Place
from mailx.store.vault import Vault
from tests.core.lacking import lacking
from tests.core.owners_scene import ADDRESS, PASSWORD
from tests.core.test_index import plain
from tests.core.test_sealed_accounts import Case

ORDINARY = "bob@example.test"


class Scene(Case):
    """A sealed account and an ordinary one, with an index."""

    async def setUp(self) -> None:
        await super().setUp()
        self.world = self.here.world
        self.user = await self.here.sealed_user(logged_in=True)
        self.user = await self.here.login(self.user)
        self.other = await self.world.user(ORDINARY)
        await self.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def open(self, **options: Any) -> None:
        """The index, as after a start of the server."""
        world = self.world
        self.database: Any = world.store
        if self.options.get("engine") != "postgresql":
            self.database = await sqlite.open_store(os.path.join(world.directory, "index.db"), 1, world.reactor, INDEX)
        self.index = Index(self.database, world.cipher, self.here.keyring)
        self.indexer = Indexer(world.store, self.database, self.index, world.cipher, world.blobs, world.reactor, **options)
        world.mailboxes.search_with(self.index)
        self.here.conversion._index = self.index

    async def close(self) -> None:
        await self.indexer.stop()
        if self.database is not self.world.store:
            await self.database.close()

    async def catch_up(self) -> None:
        if not self.indexer._pool.started:
            self.indexer.start()
        await self.indexer.caught_up()

    async def status(self) -> Status:
        return await self.indexer.status()

    async def places(self, user: User) -> list[Place]:
        return list(await self.database.read(segments.places, user.id))

    async def file(self, *bodies: str) -> None:
        """The same mail for both."""
        for body in bodies:
            for user in (self.user, self.other):
                await self.world.file(user, plain(body, body[:20]))

    async def search(self, user: User, query: Query) -> list[int]:
        session = await self.world.mailboxes.select(user, "INBOX", True)
        try:
            return await self.world.mailboxes.search(session, query)
        finally:
            session.close()

    async def same(self, query: Query) -> list[int]:
        """What both find, with the index and without."""
        found = await self.search(self.user, query)
        self.assertEqual(found, await self.search(self.other, query), query)
        search: Any = self.world.mailboxes._search
        search.index, kept = None, search.index
        try:
            self.assertEqual(found, await self.search(self.user, query), query)
        finally:
            search.index = kept
        return found

    async def lacking(self, needle: str = "nosuchword") -> set[int]:
        return await lacking(self.index, self.user.id, needle)

    async def expunge(self, user: User, *uids: int) -> None:
        session = await self.world.mailboxes.select(user, "INBOX", False)
        await self.world.mailboxes.store(session, list(uids), "add", Flag.DELETED, ())
        await self.world.mailboxes.expunge(session)
        session.close()

    def away(self) -> None:
        self.here.logout(self.user)

    async def back(self) -> None:
        self.user = await self.here.login(self.user)


class Searching(Scene):
    """Results."""

    async def test_it_finds_what_an_ordinary_account_finds(self) -> None:
        """Mail, logins, deletions, rebuilding and starts in any order; searches for anything, and for what is there."""
        letters = "abc 1.@\u00df\u00e9\u0130\u6f22\u5b57"
        texts = st.text(st.sampled_from(letters), min_size=5, max_size=25)
        steps = st.lists(st.one_of(texts, texts, st.sampled_from([1, 1, 2, 3, 4, 5])), min_size=3, max_size=10)
        cuts = st.tuples(st.integers(0, 1000), st.integers(0, 24), st.integers(1, 6))
        cases: list[tuple[list[Any], list[tuple[int, int, int]]]] = []

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(steps, st.lists(cuts, min_size=2, max_size=4))
        def collect(chosen: list[Any], parts: list[tuple[int, int, int]]) -> None:
            cases.append((chosen, parts))

        collect()
        filed = ["nothing yet"]
        for chosen, parts in cases:
            for step in chosen:
                await self.perform(step)
            filed += [step for step in chosen if isinstance(step, str)]
            for which, start, length in parts:
                text = filed[-1 - which % min(len(filed), 12)]
                for query in (keys.Text, keys.Body):
                    await self.same(query(text[start % len(text) :][:length]))

    async def perform(self, step: Any) -> None:
        if isinstance(step, str):
            await self.file(step)
        elif step == 1:
            await self.catch_up()
        elif step == 2:  # a start of the server
            await self.close()
            await self.open(forget_after=0)
        elif step == 3:
            for user in (self.user, self.other):
                session = await self.world.mailboxes.select(user, "INBOX", False)
                uids = list(session.uids)[:2]
                session.close()
                await self.expunge(user, *uids)
            await self.world.sweep.messages()
        elif step == 4:
            self.indexer.rebuild()
        else:
            self.away()
            await self.catch_up()
            await self.back()

    async def test_only_what_may_match_is_opened(self) -> None:
        await self.file(*[f"common word{number}" for number in range(20)], "x" * 300_000 + " zymurgy")
        await self.catch_up()
        looked: list[int] = []
        search: Any = self.world.mailboxes._search
        scan = search.scan

        async def watched(account: int, ids: list[int], probe: Any) -> set[int]:
            looked.extend(ids)
            return await scan(account, ids, probe)  # type: ignore[no-any-return]

        self.patch(search, "scan", watched)
        self.assertEqual(await self.search(self.user, keys.Body("zymurg")), [21])
        self.assertEqual(await self.search(self.user, keys.Text("word17")), [18])
        self.assertEqual(await self.search(self.user, keys.Text("word17\r")), [18])
        self.assertEqual(len(looked), 1)

    async def test_segments_are_merged(self) -> None:
        for number in range(FAN + 1):
            await self.file(f"word{number}")
            await self.catch_up()
        self.assertEqual([place.documents for place in await self.places(self.user)], [FAN, 1])
        self.assertEqual(await self.same(keys.Text("word7")), [8])


class Waiting(Scene):
    """Keys come and go."""

    async def test_mail_waits_for_its_owner_and_nothing_is_behind(self) -> None:
        await self.file("zymurgy")
        await self.catch_up()
        self.away()
        await self.world.deliver([ADDRESS, ORDINARY], plain("quicksilver"))
        await self.catch_up()
        status = await self.status()
        self.assertEqual((status.behind, status.seconds, status.waiting), (0, 0.0, 1))
        await self.back()
        await self.catch_up()
        status = await self.status()
        self.assertEqual((status.behind, status.waiting, status.documents), (0, 0, 4))
        self.assertEqual(len(await self.lacking()), 2)
        self.assertEqual(await self.same(keys.Text("quicksilv")), [2])

    async def test_opened_but_not_yet_indexed(self) -> None:
        """The indexer has passed by mail whose owner left before it was indexed."""
        await self.file("one", "two")
        self.away()
        await self.catch_up()
        status = await self.status()
        self.assertEqual((status.behind, status.waiting, status.documents), (0, 2, 2))
        self.assertEqual(await self.lacking(), set())
        await self.back()
        self.assertEqual(await self.same(keys.Text("two")), [2])
        self.assertEqual((await self.status()).behind, 2)
        await self.catch_up()
        self.assertEqual(len(await self.lacking()), 2)

    async def test_nothing_stays_in_memory_without_the_key(self) -> None:
        await self.file("zymurgy")
        await self.catch_up()
        await self.search(self.user, keys.Text("zymurgy"))
        await self.search(self.other, keys.Text("zymurgy"))
        self.assertEqual({key[0] for key in self.index.opened._held}, {self.user.id, self.other.id})
        self.away()
        self.assertEqual({key[0] for key in self.index.opened._held}, {self.other.id})
        self.assertEqual(self.index.opened.octets, sum(octets for _, octets in self.index.opened._held.values()))
        self.assertEqual(await self.lacking(), set())
        await self.back()
        searching = Deferred.fromCoroutine(self.lacking())
        self.away()  # while a thread opens the segment
        await searching
        self.assertEqual({key[0] for key in self.index.opened._held}, {self.other.id})

    async def test_a_key_that_goes_between_leaves_the_rest_for_later(self) -> None:
        await self.file(*[f"word{number}" for number in range(40)])
        apart = self.indexer._apart
        threads, calls = apart._threads, 0

        async def leaving(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                self.away()
            return await threads(*args)

        self.patch(apart, "_threads", leaving)
        await self.catch_up()
        self.assertEqual(await self.places(self.user), [])
        self.assertEqual((await self.status()).waiting, 40)
        await self.back()
        await self.catch_up()
        self.assertEqual((await self.status()).waiting, 0)
        self.assertEqual(sum(place.documents for place in await self.places(self.user)), 40)
        self.assertEqual(await self.same(keys.Text("word39")), [40])

    async def test_a_crash_costs_a_batch_and_nothing_else(self) -> None:
        await self.file("zymurgy")
        failing = True
        advance = index_accounts.advance

        def crash(*args: Any) -> Followed:
            nonlocal failing
            row = advance(*args)
            if failing:
                failing = False
                raise Overtaken
            return row

        self.patch(index_accounts, "advance", crash)
        await self.catch_up()
        self.assertFalse(failing)
        self.assertEqual([place.documents for place in await self.places(self.user)], [1])

    async def test_more_than_a_batch(self) -> None:
        self.patch(indexing_apart, "BATCH", 3)
        await self.file(*[f"word{number}" for number in range(7)])
        await self.catch_up()
        self.assertEqual([place.documents for place in await self.places(self.user)], [3, 3, 1])
        self.assertEqual(await self.same(keys.Text("word6")), [7])

    async def test_deleted_while_the_owner_is_here_forgotten_at_the_next_login(self) -> None:
        await self.close()
        await self.open(forget_after=0)
        await self.file("deletedword", "keptword")
        await self.catch_up()
        await self.expunge(self.user, 1)
        self.away()
        await self.catch_up()
        self.assertEqual([place.documents for place in await self.places(self.user)], [2])
        await self.back()
        await self.catch_up()
        self.assertEqual([place.documents for place in await self.places(self.user)], [1])
        self.assertEqual(await self.search(self.user, keys.Text("word")), [2])

    async def test_built_anew_as_owners_come(self) -> None:
        await self.file("zymurgy")
        await self.catch_up()
        self.away()
        self.indexer.rebuild()
        await self.catch_up()
        self.assertEqual(await self.places(self.user), [])
        self.assertEqual((await self.status()).waiting, 1)
        await self.back()
        await self.catch_up()
        self.assertEqual(len(await self.lacking()), 1)
        self.indexer.rebuild()  # while the owner is here
        await self.catch_up()
        self.assertEqual(len(await self.lacking()), 1)

    async def test_after_a_start_it_goes_on_where_it_was(self) -> None:
        await self.file("zymurgy")
        await self.catch_up()
        (was,) = await self.places(self.user)
        await self.close()
        await self.open()
        await self.file("another")
        await self.catch_up()
        first, second = await self.places(self.user)
        self.assertEqual((first, second.documents), (was, 1))


class Turning(Scene):
    """Accounts are sealed, opened, given up and deleted."""

    async def test_there_and_back(self) -> None:
        for body in ("zymurgy", "quicksilver"):
            await self.world.file(self.other, plain(body))
        await self.catch_up()
        self.assertEqual([place.vault for place in await self.places(self.other)], [b""])
        await self.here.seal(self.other)
        self.assertEqual(await self.places(self.other), [])
        other = await self.here.login(await self.here.now(self.other))
        await self.catch_up()
        (place,) = await self.places(other)
        self.assertEqual((len(place.vault), place.documents), (17, 2))
        self.assertEqual(await self.search(other, keys.Text("quicks")), [2])
        self.here.logout(other)
        await self.here.sealed.open_for_good(ORDINARY, PASSWORD)
        await self.here.conversion.through(other.id)
        await self.catch_up()
        other = await self.here.now(other)
        self.assertEqual([(place.vault, place.documents) for place in await self.places(other)], [(b"", 2)])
        self.assertEqual(await lacking(self.index, other.id, "quicks"), {1})
        self.assertIsNone(await self.database.read(index_accounts.one, other.id))
        await self.world.deliver(ORDINARY, plain("third"))
        await self.catch_up()
        self.assertEqual(len(await lacking(self.index, other.id, "nosuchword")), 3)

    async def test_back_and_a_crash_before_that_was_noticed(self) -> None:
        await self.file("zymurgy")
        await self.catch_up()
        self.patch(self.index, "turned", lambda account: None)
        self.away()
        await self.here.sealed.open_for_good(ADDRESS, PASSWORD)
        await self.here.conversion.through(self.user.id)
        self.user = await self.here.now(self.user)
        self.assertEqual(await self.same(keys.Text("zymurgy")), [1])
        await self.close()
        await self.open()
        await self.catch_up()
        self.assertEqual([place.vault for place in await self.places(self.user)], [b""])
        self.assertEqual(await self.same(keys.Text("zymurgy")), [1])

    async def test_mail_that_is_given_up(self) -> None:
        await self.file("zymurgy")
        await self.catch_up()
        (was,) = await self.places(self.user)
        self.away()
        await self.here.sealed.set_password(ADDRESS, "another", lose=True)
        self.user = await self.here.login(self.user, "another")
        await self.here.conversion.through(self.user.id)
        await self.world.file(self.user, plain("quicksilver"))
        await self.catch_up()
        (place,) = await self.places(self.user)
        self.assertNotEqual(place.vault, was.vault)
        self.assertEqual(len(await self.lacking()), 1)

    async def test_a_deleted_account(self) -> None:
        await self.close()
        await self.open(forget_after=0)
        await self.file("zymurgy")
        await self.catch_up()
        await self.world.accounts.erase_user(ADDRESS)
        await self.catch_up()
        await self.close()
        await self.open(forget_after=0)
        await self.catch_up()
        self.assertEqual(await self.places(self.user), [])
        self.assertIsNone(await self.database.read(index_accounts.one, self.user.id))


class AtRest(Scene):
    """What the index tells whoever has its database and the server's secret."""

    async def test_no_word_and_nothing_to_compare(self) -> None:
        twin = await self.world.user("eve@example.test")
        await self.here.seal(twin)
        twin = await self.here.login(await self.here.now(twin))
        for body in ("zymurgy withinbody", "zymurgy quicksilver"):
            for user in (self.user, twin, self.other):
                await self.world.file(user, plain(body, "subjectword"))
        await self.catch_up()
        found: dict[int, list[bytes]] = {}
        cipher = self.world.cipher
        rows = await self.database.read(lambda txn: txn.all("SELECT account_id, guid, words, postings, vault FROM index_segments"))
        for account, guid, words, postings, vault in rows:
            context = account.to_bytes(8, "big") + bytes(guid)
            opened = [
                cipher.open_bulk(b"index words", context, bytes(words)),
                cipher.open_bulk(b"index postings", context, bytes(postings)),
            ]
            found[account] = [*opened, bytes(words), bytes(postings), bytes(vault)]
        self.assertEqual(set(found), {self.user.id, twin.id, self.other.id})
        self.assertIn(b"zymurgy", found[self.other.id][0], "the search finds what is not sealed")
        for account in (self.user.id, twin.id):
            for word in (b"zymurgy", b"withinbody", b"quicksilver", b"subjectword", b"example", b"none"):
                self.assertFalse([value for value in found[account] if word in value.lower()], word)
            self.assertRaises(CipherError, Vault(cipher, bytes(32)).open, b"index words", b"", found[account][0])
        pieces = [{value[at : at + 8] for value in found[account] for at in range(len(value) - 7)} for account in (self.user.id, twin.id)]
        self.assertEqual(pieces[0] & pieces[1], set(), "equal mail is not equal here")


class SearchingPostgreSQL(Searching):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}


class WaitingPostgreSQL(Waiting):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}


class TurningPostgreSQL(Turning):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}

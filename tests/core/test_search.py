"""SEARCH and SORT over real messages in a real store."""

from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import search as keys
from mailx.core.mailboxes import Need, Selected
from mailx.core.object_ids import email_id
from mailx.core.scan import found, probe_for, unlike
from mailx.core.search import Query
from mailx.core.sort import SortKey
from mailx.mail.mailbox import Flag
from mailx.mail.summary import Summary, summarise
from tests.scenery import world

DAY = 86400
NOON = 1_451_649_600  # 2016-01-01 12:00 UTC


def plain(subject: str, body: str, sender: str = "Ann <ann@example.org>", more: str = "") -> bytes:
    return f"From: {sender}\r\nTo: me@example.test\r\nSubject: {subject}\r\n{more}\r\n{body}\r\n".encode()


UTF8 = "Content-Type: text/plain; charset=utf-8\r\n"
MESSAGES = [
    plain("Quarterly report", "figures inside", more="Date: Fri, 1 Jan 2016 23:30:00 -0500\r\nX-Tag: blue\r\n"),
    plain("=?utf-8?B?R3LDtsOfZSBmw7xyIGFsbGU=?=", "Stra\u00dfe", "Bob <bob@example.org>", "Cc: cleo@example.org\r\n" + UTF8),
    plain("Re: quarterly report", "=46igures again", more="Content-Transfer-Encoding: quoted-printable\r\nMessage-ID: <3@x>\r\n"),
    plain("html", "<p>fig<b>ures</b> &amp; more</p>", "=?utf-8?Q?C=C3=A9line?= <celine@example.org>", "Content-Type: text/html\r\n"),
    plain("base64", "ZmlndXJlcyBoaWRkZW4=", more="Content-Transfer-Encoding: base64\r\nDate: Sun, 3 Jan 2016 10:00:00 +0000\r\n"),
    plain("", "nothing " * 3000),
]


class SearchTests(TestCase):
    async def setUp(self) -> None:
        self.world = await world(self)
        self.user = await self.world.user("me@example.test")
        for number, content in enumerate(MESSAGES):
            await self.world.file(self.user, content, received=NOON + number * DAY)
        self.session: Selected = await self.world.mailboxes.select(self.user, "INBOX", False)
        self.addCleanup(self.session.close)

    async def finds(self, query: Query, *uids: int) -> None:
        self.assertEqual(await self.world.mailboxes.search(self.session, query), list(uids), query)

    async def test_texts_are_decoded_and_case_does_not_matter(self) -> None:
        await self.finds(keys.Subject("QUARTERLY"), 1, 3)
        await self.finds(keys.Subject("gr\u00f6sse"), 2)
        await self.finds(keys.Subject("GR\u00d6\u1e9eE"), 2)
        await self.finds(keys.Header("From", "c\u00c9LINE"), 4)
        await self.finds(keys.Header("from", "bob@"), 2)
        await self.finds(keys.Header("cc", "cleo"), 2)
        await self.finds(keys.Subject(""), 1, 2, 3, 4, 5, 6)

    async def test_sorted_by_relevancy(self) -> None:
        relevancies = {2: 50, 4: 100, 6: 50}
        found = keys.Uid(((2, 2), (4, 4), (6, 6)))
        for key, uids in ((SortKey("relevancy"), [4, 2, 6]), (SortKey("relevancy", True), [2, 6, 4])):
            self.assertEqual(await self.world.mailboxes.sort(self.session, [key], found, relevancies), uids)

    async def test_object_identifiers(self) -> None:
        rows = [row async for batch in self.world.mailboxes.fetch(self.session, [1, 2, 3], Need.GUID) for row in batch]
        await self.finds(keys.EmailId(email_id(rows[1].guid)), 2)
        await self.finds(keys.EmailId(email_id(b"0" * 16)))
        await self.finds(keys.EmailId("nonsense"))
        thread = self.world.mailboxes.object_ids.thread_id(self.user.id, rows[2].thread_id)
        await self.finds(keys.ThreadId(thread), *[row.uid for row in rows if row.thread_id == rows[2].thread_id])
        await self.finds(keys.ThreadId("nonsense"))
        await self.finds(keys.SaveDateSupported(), 1, 2, 3, 4, 5, 6)

    async def test_bodies_are_decoded(self) -> None:
        await self.finds(keys.Body("figures"), 1, 3, 4, 5)
        await self.finds(keys.Body("STRASSE"), 2)
        await self.finds(keys.Body("figures & more"), 4)
        await self.finds(keys.Body("quarterly"))
        await self.finds(keys.Text("quarterly"), 1, 3)
        await self.finds(keys.Text("figures hidden"), 5)
        await self.finds(keys.Text(""), 1, 2, 3, 4, 5, 6)

    async def test_any_header_field(self) -> None:
        await self.finds(keys.Header("X-Tag", "BLUE"), 1)
        await self.finds(keys.Header("X-Tag", ""), 1)
        await self.finds(keys.Header("Cc", ""), 2)
        await self.finds(keys.Header("Message-Id", "3@x"), 3)
        await self.finds(keys.Header("No-Such", ""))

    async def test_dates_are_days(self) -> None:
        await self.finds(keys.Received("on", date(2016, 1, 2)), 2)
        await self.finds(keys.Received("before", date(2016, 1, 3)), 1, 2)
        await self.finds(keys.Received("since", date(2016, 1, 5)), 5, 6)
        await self.finds(keys.Sent("on", date(2016, 1, 1)), 1)  # as its sender's calendar had it
        await self.finds(keys.Sent("since", date(2016, 1, 2)), 5)
        await self.finds(keys.Saved("since", date(2016, 1, 1)), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.Saved("before", date(2016, 1, 1)))

    async def test_what_the_session_knows(self) -> None:
        stored = await self.world.mailboxes.store(self.session, [2, 4], "add", Flag.SEEN | Flag.FLAGGED, ("Work",))
        await self.finds(keys.Flagged("\\Seen"), 2, 4)
        await self.finds(keys.Flagged("\\SEEN", False), 1, 3, 5, 6)
        await self.finds(keys.Flagged("work"), 2, 4)
        await self.finds(keys.Flagged("unknown"))
        await self.finds(keys.Flagged("unknown", False), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.ModSeq(stored.modseq), 2, 4)
        await self.finds(keys.Larger(10_000), 6)
        await self.finds(keys.Smaller(10_000), 1, 2, 3, 4, 5)
        await self.finds(keys.New(), 1, 3, 5, 6)
        await self.finds(keys.Recent(), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.Old())
        await self.finds(keys.Older(100 * DAY), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.Younger(DAY))

    async def test_numbers(self) -> None:
        await self.finds(keys.Sequence([(2, 3), (5, None)]), 2, 3, 5, 6)
        await self.finds(keys.Sequence([(None, 5)]), 5, 6)
        await self.finds(keys.Sequence([(7, 9)]))
        await self.world.mailboxes.store(self.session, [1], "add", Flag.DELETED, ())
        await self.world.mailboxes.expunge(self.session)
        self.session.updates(True)
        await self.finds(keys.Sequence([(1, 1)]), 2)
        await self.finds(keys.Uid([(1, 2), (4, 4)]), 2, 4)
        await self.finds(keys.Uid([(90, None)]), 6)

    async def test_combinations(self) -> None:
        await self.finds(keys.And([]), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.And([keys.Text("figures"), keys.Subject("quarterly"), keys.Not(keys.Uid([(1, 1)]))]), 3)
        await self.finds(keys.Or(keys.Body("figures"), keys.Header("From", "bob")), 1, 2, 3, 4, 5)
        await self.finds(keys.Not(keys.Or(keys.Body("figures"), keys.Header("From", "bob"))), 6)

    async def test_messages_that_came_after_the_snapshot(self) -> None:
        await self.world.file(self.user, plain("late", "figures"), received=NOON)
        await self.finds(keys.Body("figures"), 1, 3, 4, 5)
        self.session.updates(True)
        await self.finds(keys.Body("figures"), 1, 3, 4, 5, 7)
        await self.finds(keys.Received("on", date(2016, 1, 1)), 1, 7)

    async def test_a_message_in_a_file(self) -> None:
        await self.world.file(self.user, plain("large", "x" * 70 + "\r\n" + "filler line\r\n" * 20_000 + "needle"))
        self.session.updates(True)
        await self.finds(keys.Body("needle"), 7)

    async def test_a_header_too_large_for_its_summary(self) -> None:
        references = "".join(f" <{number}@example.org>\r\n" for number in range(4000))
        await self.world.file(self.user, plain("huge", "x", more=f"List-Id: <the needle>\r\nReferences:{references}"))
        self.session.updates(True)
        await self.finds(keys.Header("List-Id", "NEEDLE"), 7)
        await self.finds(keys.Not(keys.Header("List-Id", "")), 1, 2, 3, 4, 5, 6)

    async def sorts(self, order: list[SortKey], *uids: int) -> None:
        self.assertEqual(await self.world.mailboxes.sort(self.session, order, keys.All()), list(uids), order)

    async def test_sort(self) -> None:
        await self.sorts([SortKey("arrival", True)], 6, 5, 4, 3, 2, 1)
        await self.sorts([SortKey("subject")], 6, 5, 2, 4, 1, 3)  # "Re:" does not count: 1 and 3 are one subject
        await self.sorts([SortKey("subject", True), SortKey("arrival", True)], 3, 1, 4, 2, 5, 6)
        await self.sorts([SortKey("from"), SortKey("size", True)], 6, *await self.by_size([1, 3, 5]), 2, 4)
        await self.sorts([SortKey("date")], 1, 2, 5, 3, 4, 6)  # the internal date where there is no Date
        await self.sorts([SortKey("displayfrom", True)], 4, 2, 1, 3, 5, 6)
        await self.sorts([SortKey("cc"), SortKey("to"), SortKey("displayto")], 1, 3, 4, 5, 6, 2)

    async def by_size(self, uids: list[int]) -> list[int]:
        return sorted(uids, key=lambda uid: -self.session.sizes[uid - 1])


class ScanTests(SynchronousTestCase):
    """A look at the octets may be wrong in one direction only."""

    @settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=300)
    @given(
        st.text(st.sampled_from("aAbB \r\n<>=?&;*0ß\u0130"), max_size=60),
        st.text(st.sampled_from("aAbBß "), max_size=4),
        st.sampled_from(["", "Content-Type: text/html\r\n", "Content-Transfer-Encoding: quoted-printable\r\n",
                         "Content-Type: multipart/mixed; boundary=a\r\n", "Content-Type: text/plain; charset=utf-7\r\n"]),
        st.booleans(),
    )  # fmt: skip
    def test_no_message_is_missed(self, body: str, needle: str, more: str, header: bool) -> None:
        content = plain("a=?b", body, more=more)
        probe = probe_for(keys.Text(needle) if header else keys.Body(needle))
        if unlike(probe, content):
            self.assertFalse(found(probe, content, Summary(summarise(content)).sections()))

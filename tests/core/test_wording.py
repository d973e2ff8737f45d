"""Searches for words: phrases, beginnings, patterns, words that are about the same; and which messages come first."""

from mailx.core import search as keys
from mailx.core.search import Query
from tests.core.test_index import Indexed, plain

BODIES = (
    "the quarterly figures are here",
    "figures, quarterly",
    "a quaterly figure; r\u00e9sum\u00e9 of the year",
    "quarterlies\r\nof the resume",
    "\u6f22\u5b57\u304b and quarter figures",
    "nothing like that",
)


class Words(Indexed):
    async def setUp(self) -> None:
        await super().setUp()
        for number, body in enumerate(BODIES):
            await self.world.file(self.user, plain(body, f"subject {number} quarterly" if number == 5 else "none"))

    async def finds(self, query: Query, *uids: int) -> None:
        """With the index and without, before a message is indexed and after."""
        self.assertEqual(await self.both(query), list(uids), query)

    async def searches(self) -> None:
        await self.finds(keys.Phrase("Quarterly Figures"), 1)
        await self.finds(keys.Phrase("figures quarterly"), 2)
        await self.finds(keys.Phrase("quarter figures"), 5)
        await self.finds(keys.Phrase("terly figures"))
        await self.finds(keys.Phrase("subject 5 quarterly", "subject"), 6)
        await self.finds(keys.Phrase("quarterly", "body"), 1, 2)
        await self.finds(keys.Phrase("quarterly", "header"), 6)
        await self.finds(keys.Phrase("--"))
        await self.finds(keys.Phrase("\u6f22\u5b57\u304b"), 5)
        await self.finds(keys.Prefix("quarter"), 1, 2, 4, 5, 6)
        await self.finds(keys.Prefix("the quart"), 1)
        await self.finds(keys.Prefix("uarter"))
        await self.finds(keys.Prefix("ann", "from"), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.Prefix("test", "to"), 1, 2, 3, 4, 5, 6)
        await self.finds(keys.Wildcard("qua*ly"), 1, 2, 3, 6)
        await self.finds(keys.Wildcard("f?gure"), 3)
        await self.finds(keys.Wildcard("*"))
        await self.finds(keys.Wildcard("***?*?*?*?*?a"))
        await self.finds(keys.Fuzzy(keys.Text("quartrely")), 1, 2, 3, 6)
        await self.finds(keys.Fuzzy(keys.Text("quarterly figures")), 1, 2, 3, 5)
        await self.finds(keys.Fuzzy(keys.Body("RESUME")), 3, 4)
        await self.finds(keys.Fuzzy(keys.Subject("quaterly")), 6)
        await self.finds(keys.Fuzzy(keys.And((keys.Text("figurse"), keys.Not(keys.Text("quartrely"))))), 5)
        await self.finds(keys.Fuzzy(keys.Uid(((2, 3),))), 2, 3)
        await self.finds(keys.Fuzzy(keys.Text("..")))
        await self.finds(keys.AttachmentName(""))
        await self.finds(keys.AttachmentName("report"))

    async def test_words(self) -> None:
        await self.searches()
        await self.catch_up()
        await self.searches()
        await self.world.file(self.user, plain("quarterly figures again"))
        await self.finds(keys.Phrase("quarterly figures"), 1, 7)

    async def test_names_of_attachments(self) -> None:
        part = b"Content-Type: application/pdf; name*=utf-8''J%C3%A4nner.pdf\r\nContent-Disposition: attachment\r\n\r\nx\r\n"
        await self.world.file(self.user, b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part + b"--b--\r\n")
        await self.catch_up()
        await self.finds(keys.AttachmentName("j\u00e4nn"), 7)
        await self.finds(keys.AttachmentName(""), 7)
        await self.finds(keys.AttachmentName("pdf; name"))

    async def test_what_is_more_about_it_comes_first(self) -> None:
        await self.catch_up()
        session = await self.select()
        ranked = await self.world.mailboxes.ranked(session, keys.Fuzzy(keys.Text("quarterly")))
        self.assertEqual([uid for uid, _ in ranked], [1, 2, 3, 5, 6])
        self.assertEqual(max(ranked, key=lambda each: each[1]), (6, 100))  # it is in the subject
        self.assertLess(dict(ranked)[3], dict(ranked)[1])  # misspelt
        self.assertTrue(all(1 <= relevancy <= 100 for _, relevancy in ranked))
        self.assertEqual(await self.world.mailboxes.ranked(session, keys.Uid(((1, 2),))), [(1, 100), (2, 100)])

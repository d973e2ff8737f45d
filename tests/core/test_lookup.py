"""Lookups in segments: what they call sure is so, and what a text contains is never called lacking."""

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import search as keys
from mailx.core.looking import lookup_for
from mailx.core.lookup import Shelf
from mailx.core.search import Query
from mailx.mail.charset import fold
from mailx.mail.words import SUBJECT, Standing
from mailx.store.postings import Draft, Packed, Postings, Segment, Whole, merge, unpack_places, unpack_postings
from mailx.store.texts import Texts

LETTERS = "aabb1   .@\n\u00df\u00e9\u0130\u0301\u6f22\u5b57\u304b\u0e01"
TEXTS = st.text(st.sampled_from(LETTERS), max_size=14)


@frozen
class Document:
    subject: str
    body: tuple[str, ...]

    @property
    def header(self) -> str:
        return f"subject: {self.subject}"


DOCUMENTS = st.lists(st.builds(Document, TEXTS.map(fold), st.lists(TEXTS.map(fold), max_size=2).map(tuple)), max_size=7)


def whole(packed: Packed) -> Whole:
    places = b"".join(piece for _, piece in packed.places[:-1])
    return Segment(packed.words), unpack_postings(packed.postings), places, packed.places[-1][1], Texts(packed.texts)


def shelf(packed: Packed) -> Shelf:
    def places(word: int):  # type: ignore[no-untyped-def]
        first, piece = [each for each in packed.places if each[0] <= word][-1]
        return first, unpack_places(piece)

    def postings() -> Postings:
        return unpack_postings(packed.postings)

    return Shelf(Segment(packed.words), postings, places, lambda: Texts(packed.texts))


def drafted(documents: list[Document], first: int) -> Draft:
    draft = Draft()
    for number, document in enumerate(documents, first):
        standing = Standing()
        standing.take([document.header], False, 10**6)
        standing.take(document.body, True, 10**6)
        standing.mark(document.subject, SUBJECT)
        standing.texts = document.subject, "", "", ""
        draft.add(number, 1000 + number, standing)
    return draft


def truth(document: Document, query: Query) -> bool:
    match query:
        case keys.Text(text):
            return any(fold(text) in each for each in (document.header, *document.body))
        case keys.Body(text):
            return any(fold(text) in each for each in document.body)
        case keys.Subject(text):
            return fold(text) in document.subject
    raise TypeError


class Lookups(SynchronousTestCase):
    @settings(max_examples=400, deadline=None)
    @given(DOCUMENTS, DOCUMENTS, st.sets(st.integers(1000, 1014)), st.data())
    def test_an_answer_is_true(self, first: list[Document], second: list[Document], gone: set[int], data: st.DataObject) -> None:
        one, two = drafted(first, 0).packed(), drafted(second, len(first)).packed()
        documents = {number: document for number, document in enumerate([*first, *second])}
        texts = [text for document in [*first, *second] for text in (document.header, *document.body)]
        needle = data.draw(TEXTS)
        if texts and data.draw(st.booleans()):
            text = data.draw(st.sampled_from(texts))
            begin = data.draw(st.integers(0, len(text)))
            needle = text[begin : begin + data.draw(st.integers(0, 9))]
        joined = merge([whole(one), whole(two)], gone).packed()
        alive = {number: document for number, document in documents.items() if 1000 + number not in gone}
        for key in keys.Text, keys.Body, keys.Subject:
            query = key(needle)
            lookup = lookup_for(query)
            if lookup is None:
                continue
            for packed, having in (one, range(len(first))), (two, range(len(first), len(documents))), (joined, alive):
                opened = shelf(packed)
                self.assertEqual(set(opened.segment.numbers), set(having))
                has, unsure = lookup.find(opened)
                for number in having:
                    is_so = truth(documents[number], query)
                    self.assertTrue(is_so if number in has else True, (query, documents[number]))
                    self.assertTrue(number in has or number in unsure if is_so else True, (query, documents[number]))

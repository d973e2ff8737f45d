"""Threads of messages: the examples of RFC 5256 in small, and hostile references."""

from collections.abc import Iterable
from time import perf_counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.imap.threads import response
from mailx.mail.forest import Entry, Node, by_references, by_references_only, by_subject


def told(forest: list[Node]) -> str:
    return response(forest, None).decode().removeprefix("* THREAD").strip()


def message(number: int, identifier: int = 0, *references: int, subject: str = "", reply: bool = False, date: int = 0) -> Entry:
    return Entry(number, date or number, identifier, references, subject, reply, number)


class ReferencesTests(SynchronousTestCase):
    def threads(self, expected: str, *entries: Entry) -> None:
        self.assertEqual(told(by_references(entries)), expected)

    def test_nothing(self) -> None:
        self.threads("")

    def test_answers_go_below_what_they_answer(self) -> None:
        self.threads("(1 2 3)(4)", message(1, 11), message(2, 12, 11), message(3, 13, 11, 12), message(4, 14))

    def test_several_answers(self) -> None:
        self.threads("(1 (2 3)(4))", message(1, 11), message(2, 12, 11), message(3, 13, 12), message(4, 14, 11))

    def test_an_unknown_message_holds_its_answers_together(self) -> None:
        self.threads("((1)(2))", message(1, 11, 99), message(2, 12, 99))

    def test_an_unknown_message_with_one_answer_is_left_out(self) -> None:
        self.threads("(1 2)", message(1, 11), message(2, 12, 11, 99))
        self.threads("(1)", message(1, 11, 98, 99))

    def test_order_of_arrival_does_not_matter(self) -> None:
        self.threads("(3 2 1)", message(1, 13, 11, 12, date=9), message(2, 12, 11, date=8), message(3, 11, date=7))

    def test_circles_are_left_open(self) -> None:
        self.threads("(2 1)", message(1, 11, 12), message(2, 12, 11))
        self.threads("(3 2)(1)", message(1, 11, date=9), message(2, 12, 11, 13, date=2), message(3, 13, 12, date=3))
        self.threads("(1)", message(1, 11, 11))

    def test_one_identifier_twice(self) -> None:
        self.threads("(1)(2)", message(1, 11), message(2, 11))
        self.threads("(1 3)(2)", message(1, 11), message(2, 11), message(3, 12, 11))

    def test_dates_order_siblings_and_threads(self) -> None:
        self.threads(
            "(2)(1 (4)(3))", message(1, 11, date=5), message(2, 12, date=1), message(3, 13, 11, date=9), message(4, 14, 11, date=8)
        )

    def test_the_last_reference_counts_more_than_what_others_said(self) -> None:
        self.threads("(1 2 3 4)", message(4, 14, 11, 13), message(1, 11), message(2, 12, 11), message(3, 13, 12))
        self.threads("(1)(3 2)", message(2, 12, 11, 13), message(1, 11), message(3, 13))

    def test_subjects_gather(self) -> None:
        self.threads("(1 2)", message(1, 11, subject="lunch"), message(2, 12, subject="lunch", reply=True))
        self.threads("(2 1)", message(1, 11, subject="lunch", reply=True), message(2, 12, subject="lunch"))
        self.threads("((1)(2))", message(1, 11, subject="lunch"), message(2, 12, subject="lunch"))
        self.threads(
            "((1)(2)(3))", message(1, 11, 99, subject="lunch"), message(2, 12, 99, subject="lunch"), message(3, 13, subject="lunch")
        )
        self.threads(
            "((1)(2)(3)(4))",
            message(1, 11, 99, subject="lunch"),
            message(2, 12, 99),
            message(3, 13, 98, subject="lunch"),
            message(4, 14, 98),
        )

    def test_empty_subjects_do_not_gather(self) -> None:
        self.threads("(1)(2)", message(1, 11), message(2, 12))

    def test_refs_leaves_subjects_alone_and_goes_by_the_latest(self) -> None:
        entries = [message(1, 11, subject="lunch"), message(2, 12, subject="lunch", reply=True), message(3, 13, 11)]
        self.assertEqual(told(by_references_only(entries)), "(2)(1 3)")

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 6),
                st.lists(st.integers(1, 8), max_size=5),
                st.sampled_from(["", "a", "b"]),
                st.booleans(),
                st.integers(0, 3),
            ),
            max_size=12,
        )
    )
    def test_every_message_is_in_one_place(self, drawn: "list[tuple[int, list[int], str, bool, int]]") -> None:
        entries = [Entry(n, date, id, refs, subject, reply) for n, (id, refs, subject, reply, date) in enumerate(drawn, 1)]
        for make in (by_references, by_references_only, by_subject):
            forest = make(entries)
            self.assertEqual(sorted(numbers(forest)), list(range(1, len(entries) + 1)))
            self.assertEqual(told(forest).count("("), told(forest).count(")"))

    def test_the_deepest_thread_and_the_widest(self) -> None:
        count = 20_000
        started = perf_counter()
        deep = by_references([message(n, n, n - 1) if n > 1 else message(1, 1) for n in range(1, count + 1)])
        backwards = by_references([message(n, n, n - 1) if n > 1 else message(1, 1) for n in range(count, 0, -1)])
        wide = by_references([message(n, n, count + 1) for n in range(1, count + 1)])
        self.assertEqual(told(deep), told(backwards))
        self.assertEqual(told(deep).count(")"), 1)
        self.assertEqual(len(wide), 1)
        self.assertLess(perf_counter() - started, 10)


class SubjectTests(SynchronousTestCase):
    def test_first_message_of_a_subject_is_above_the_others(self) -> None:
        entries = [
            message(1, date=4, subject="a"),
            message(2, date=3, subject="b"),
            message(3, date=2, subject="a"),
            message(4, date=1, subject="b"),
        ]
        self.assertEqual(told(by_subject([*entries, message(5, date=9, subject="a")])), "(4 2)(3 (1)(5))")


def numbers(forest: Iterable[Node]) -> list[int]:
    found = []
    left = list(forest)
    while left:
        node = left.pop()
        if node.entry is not None:
            found.append(node.entry.number)
        left.extend(node.children)
    return found

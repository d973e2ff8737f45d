"""The messages that marked documents are: the same ones as looking each of them up would find."""

from array import array
from sys import getsizeof

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.arrangement import arranged
from mailx.core.index import Opened

IDS = st.lists(st.integers(1, 60), max_size=60)  # of the messages of a mailbox, some of them twice
THERE = st.lists(st.integers(1, 60), unique=True, max_size=60)


class Arrangements(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(IDS, THERE, st.sets(st.integers(1, 60)))
    def test_marks_are_of_their_messages(self, ids: list[int], there: list[int], chosen: set[int]) -> None:
        for having in (ids, there):
            found = arranged(array("q", having), array("q", there))
            marks = bytearray(id in chosen for id in there)
            marked = chosen.intersection(there)
            self.assertEqual(found.marked(marks), [index for index, id in enumerate(having) if id in marked])
            self.assertEqual(list(found.unknown), [index for index, id in enumerate(having) if id not in there])
            self.assertEqual(len(marks), len(there))

    def test_many_messages(self) -> None:
        there = array("q", range(100, 40_100))
        for ids in ([40_000, 99, 100, 20_000, 40_100, 100], [7], range(40_099, 99, -1), range(100, 40_100), []):
            found = arranged(array("q", ids), there)
            for chosen in ({100, 20_000}, set(range(100, 40_100, 2)), set(there)):
                marks = bytearray(map(chosen.__contains__, there))
                self.assertEqual(found.marked(marks), [index for index, id in enumerate(ids) if id in chosen])

    def test_what_it_takes_is_counted(self) -> None:
        for ids in ([1] * 5000, list(range(10_000, 15_000))):
            found = arranged(array("q", ids), array("q", [1]))
            taken = sum(map(getsizeof, (found.unknown, found.again, *found.unknown, *found.again)))
            self.assertGreater(found.octets, taken)

    def test_it_is_kept_until_something_changes(self) -> None:
        opened = Opened(1 << 20)
        ids, there = array("q", [3, 1]), array("q", [1, 2, 3])
        first = opened.arrangement(1, 2, ids, there)
        self.assertIs(opened.arrangement(1, 2, ids[:], there[:]), first)
        self.assertEqual(opened.arrangement(1, 2, array("q", [3, 1, 2]), there).marked(bytearray([0, 1, 1])), [0, 2])
        opened.close(1)
        self.assertEqual(opened.octets, 0)

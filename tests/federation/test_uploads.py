"""A message in pieces: its header is found wherever the pieces end."""

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx.federation.proof import fields
from mailx.federation.uploads import KEPT, MOST, MOST_OF_PEER, SLOW, Key, Upload, Uploads

MESSAGE = b"From: a@a.test\r\nTo: b@b.test\r\nSubject: in pieces\r\n\r\nOne.\r\n\r\nTwo.\r\n"


class Pieces(SynchronousTestCase):
    @given(st.sets(st.integers(8, len(MESSAGE) - 1)))
    def test_the_header_is_the_same_however_it_is_cut(self, cuts: set[int]) -> None:
        manifest: Any = SimpleNamespace(size=len(MESSAGE), digest=sha256(MESSAGE).digest())
        content: Any = SimpleNamespace(write=lambda data: None)
        upload = Upload(manifest, "id", None, content, 0.0)  # type: ignore[arg-type]
        places = [0, *sorted(cuts), len(MESSAGE)]
        for start, end in zip(places, places[1:], strict=False):
            self.successResultOf(Deferred.fromCoroutine(upload.add(MESSAGE[start:end])))
        self.assertEqual(upload.header, fields(MESSAGE))


class Places(SynchronousTestCase):
    """There are only so many, and some keep theirs by sending next to nothing."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.uploads = Uploads(self.clock)
        self.addCleanup(self.uploads.stop)
        self.given_up: list[Key] = []

    def begin(self, domain: str, number: int) -> bool:
        key = "here.example", domain, number.to_bytes(16, "big")
        if not self.uploads.room(key) or not self.uploads.make_room(key):
            return False
        content: Any = SimpleNamespace(abort=lambda: self.given_up.append(key))
        self.uploads.keep(key, Upload(None, "id", None, content, self.clock.seconds()))  # type: ignore[arg-type]
        return True

    def test_who_has_many_gives_one_up(self) -> None:
        greedy = [f"{name}.example" for name in "abcd"]
        for number in range(MOST_OF_PEER):
            self.clock.advance(0.01)
            self.assertEqual([self.begin(domain, number) for domain in greedy], [True] * 4)
        self.assertEqual(len(self.uploads), MOST)
        for number in range(3):
            self.assertTrue(self.begin("poor.example", number))
        self.assertEqual(self.given_up, [("here.example", domain, bytes(16)) for domain in greedy[:3]])
        for domain in greedy:  # which do not get it back
            self.assertFalse(self.begin(domain, 100))

    def test_among_equals_the_slowest(self) -> None:
        for number in range(MOST):
            self.assertTrue(self.begin(f"d{number}.example", 0))
            self.clock.advance(0.1)
        self.assertFalse(self.begin("late.example", 0))
        self.clock.advance(SLOW)
        self.assertTrue(self.begin("late.example", 0))
        self.assertEqual([domain for _, domain, _ in self.given_up], ["d0.example"])

    def test_who_has_many_takes_no_place_of_who_has_few(self) -> None:
        self.assertTrue(self.begin("poor.example", 0))
        self.clock.advance(SLOW)
        for number in range(MOST - 1):
            self.assertTrue(self.begin(f"{'abcd'[number % 4]}.example", number))
        self.assertFalse(self.begin("d.example", MOST))
        self.assertEqual(self.given_up, [])

    def test_what_is_said_again_keeps_no_place(self) -> None:
        key = "here.example", "slow.example", bytes(16)
        manifest: Any = SimpleNamespace(size=10, digest=b"d")
        content: Any = SimpleNamespace(write=lambda data: None, abort=lambda: self.given_up.append(key))
        self.uploads.keep(key, Upload(manifest, "id", None, content, 0.0))  # type: ignore[arg-type]
        self.clock.advance(KEPT / 2)
        self.assertEqual(self.add(key, 0, b"From"), 4)
        for _ in range(3):
            self.clock.advance(KEPT / 4)
            self.assertEqual((self.add(key, 0, b"From"), self.add(key, 4, b"")), (4, 4))
            self.assertIsNotNone(self.uploads.resumed(key, manifest))
        self.clock.pump([KEPT / 8] * 4)
        self.assertEqual(self.given_up, [key])

    def add(self, key: Key, offset: int, data: bytes) -> int:
        return self.successResultOf(Deferred.fromCoroutine(self.uploads.add(key, offset, data)))

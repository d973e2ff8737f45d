"""A message in pieces: its header is found wherever the pieces end."""

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.federation.proof import fields
from mailx.federation.uploads import Upload

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

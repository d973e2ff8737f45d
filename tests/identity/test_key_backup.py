"""The file of domain keys: what was cut, changed or made by somebody else is refused in words, and never fails otherwise."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity import passphrase_file
from mailx.identity.domain_keys import first
from mailx.identity.encoding import Malformed, b64
from mailx.identity.key_backup import SavedKeys, open_file, seal
from mailx.identity.statements import SeedSigner
from tests.identity.signers import signer

PASSPHRASE = "correct horse"
SEED = b"s" * 32
KEY = SeedSigner(SEED)
SAVED = SavedKeys("example.org", (first("example.org", signer("recovery").public, 1_800_000_000, KEY),), {KEY.public: SEED}, b"l" * 32)


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(passphrase_file, "_PASSES", 1)
        self.patch(passphrase_file, "_MEMORY", 8192)
        self.file = seal([SAVED], PASSPHRASE, 1_800_000_000)

    def refused(self, data: bytes, passphrase: str = PASSPHRASE) -> None:
        with self.assertRaises(Malformed):
            open_file(data, passphrase)

    def changed(self, **members: Any) -> bytes:
        return json.dumps({**json.loads(self.file), **members}).encode()

    def test_it_opens_with_its_passphrase_only(self) -> None:
        self.assertEqual(open_file(self.file, PASSPHRASE), (SAVED,))
        self.refused(self.file, "correct horsf")

    def test_a_content_that_was_cut(self) -> None:
        sealed = json.loads(self.file)["sealed"]
        for length in (0, 4, 16, len(sealed) // 4 * 4 - 4):
            self.refused(self.changed(sealed=sealed[:length]))

    def test_every_member_is_bound_to_the_content(self) -> None:
        kdf = json.loads(self.file)["kdf"]
        for members in (
            {"made": 1},
            {"more": 1},
            {"nonce": b64(b"n" * 24)},
            {"kdf": {**kdf, "more": 1}},
            {"kdf": {**kdf, "passes": 2}},
            {"kdf": {**kdf, "salt": b64(b"s" * 16)}},
        ):
            self.refused(self.changed(**members))

    def test_neither_another_version_nor_very_much_work_is_done(self) -> None:
        kdf = json.loads(self.file)["kdf"]
        for members in (
            {"format": "mailx-keys-2"},
            {"kdf": {"name": "none"}},
            {"kdf": {**kdf, "passes": 17}},
            {"kdf": {**kdf, "memory": (1 << 30) + 1}},
            {"kdf": {**kdf, "memory": 0}},
            {"kdf": None},
            {"sealed": 1},
            {"nonce": b64(b"n")},
        ):
            self.refused(self.changed(**members))

    @given(st.integers(min_value=0, max_value=2000), st.binary(max_size=3))
    def test_any_damage(self, place: int, octets: bytes) -> None:
        damaged = self.file[:place] + octets + self.file[place + len(octets) :]
        try:
            self.assertEqual(open_file(damaged, PASSPHRASE), (SAVED,))  # in the spaces at its end
        except Malformed:
            pass

"""What a vault seals opens again, whole and in part, and nowhere else."""

import os
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.store.blobs import Blobs
from mailx.store.chunks import CHUNK
from mailx.store.cipher import Cipher, CipherError, Keys
from mailx.store.vault import Vault

CIPHER = Cipher(Keys({1: b"d" * 32}, 1, b"l" * 32))
VAULT = Vault(CIPHER, b"v" * 32)
GUID = b"g" * 16


class Values(SynchronousTestCase):
    """Summaries and small contents."""

    @given(st.binary(max_size=300))
    def test_round_trip(self, plain: bytes) -> None:
        sealed = VAULT.seal_bulk(b"content", GUID, plain)
        self.assertEqual(VAULT.open_bulk(b"content", GUID, sealed), plain)

    def test_at_the_edges_of_chunks(self) -> None:
        for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK):
            plain = os.urandom(size)
            self.assertEqual(VAULT.open(b"content", GUID, VAULT.seal(b"content", GUID, plain)), plain)

    def test_the_server_alone_opens_nothing(self) -> None:
        sealed = VAULT.seal_bulk(b"content", GUID, b"a plain secret")
        self.assertNotIn(b"secret", CIPHER.open_bulk(b"content", GUID, sealed))

    def test_not_for_another_account_purpose_or_place(self) -> None:
        sealed = VAULT.seal(b"content", GUID, b"x" * (CHUNK + 5))
        for vault, purpose, guid in (
            (Vault(CIPHER, b"w" * 32), b"content", GUID),
            (VAULT, b"summary", GUID),
            (VAULT, b"content", b"h" * 16),
        ):
            self.assertRaises(CipherError, vault.open, purpose, guid, sealed)

    def test_damage_is_noticed(self) -> None:
        sealed = VAULT.seal(b"content", GUID, b"x" * (2 * CHUNK))
        head, first, second = sealed[:28], sealed[28 : 28 + CHUNK + 16], sealed[28 + CHUNK + 16 :]
        for broken in (
            b"",
            sealed[:20],
            head,
            head + first,
            head + second,
            head + second + first,
            sealed[:-1],
            sealed + b"\0",
            head + first + first + second,
            bytes([sealed[0] ^ 1]) + sealed[1:],
            sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:],
        ):
            self.assertRaises(CipherError, VAULT.open, b"content", GUID, broken)

    def test_hashes_are_the_accounts_own_and_never_the_servers(self) -> None:
        mine = VAULT.hash(b"thread", b"scope", b"id@example")
        self.assertEqual(mine, VAULT.hash(b"thread", b"scope", b"id@example"))
        self.assertNotEqual(mine, Vault(CIPHER, b"w" * 32).hash(b"thread", b"scope", b"id@example"))
        self.assertNotEqual(len(mine), len(CIPHER.hash(b"thread", b"scope", b"id@example")))


class Files(SynchronousTestCase):
    """Large contents, read in part."""

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 3 * CHUNK + 9), st.integers(0, 3 * CHUNK + 20), st.none() | st.integers(0, 2 * CHUNK))
    def test_any_part(self, size: int, offset: int, length: int | None) -> None:
        content = os.urandom(size)
        with TemporaryDirectory() as directory:
            blobs = Blobs(directory, CIPHER)
            file = VAULT.put(blobs, GUID, content)
            wanted = content[offset:] if length is None else content[offset : offset + length]
            self.assertEqual(VAULT.read(blobs, file.name, GUID, offset, length), wanted)

    def test_not_as_another_message(self) -> None:
        blobs = Blobs(self.mktemp(), CIPHER)
        file = VAULT.put(blobs, GUID, b"text")
        self.assertRaises(CipherError, VAULT.read, blobs, file.name, b"h" * 16)
        self.assertNotIn(b"text", blobs.read(file.name))

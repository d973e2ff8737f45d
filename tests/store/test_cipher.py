"""The cipher: what it seals opens, what was touched does not, and its format is the one that docs/cipher.rst tells."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.store.blobs import Blobs
from mailx.store.cipher import HASH_SIZE, OVERHEAD, Cipher, CipherError, Keys, subkey
from mailx.store.keys import KeysError, unwrap
from tests.store import reference

PAGE = Path(__file__).parents[2] / "docs" / "cipher.rst"
KEYS = Keys({1: b"\1" * 32, 300: b"\2" * 32}, 300, b"\3" * 32)


class CipherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cipher = Cipher(KEYS)
        self.forms = ((self.cipher.seal, self.cipher.open), (self.cipher.seal_bulk, self.cipher.open_bulk))

    @given(st.binary(max_size=300), st.binary(max_size=40), st.binary(max_size=20))
    def test_opens_what_it_sealed(self, plain: bytes, context: bytes, purpose: bytes) -> None:
        for seal, open in self.forms:
            sealed = seal(purpose, context, plain)
            self.assertEqual(len(sealed), len(plain) + OVERHEAD)
            self.assertEqual(open(purpose, context, sealed), plain)
            self.assertNotEqual(seal(purpose, context, plain), sealed)

    def test_every_octet_is_authenticated(self) -> None:
        for seal, open in self.forms:
            sealed = seal(b"purpose", b"context", b"plain text")
            for place in range(len(sealed)):
                touched = bytearray(sealed)
                touched[place] ^= 1
                self.assertRaises(CipherError, open, b"purpose", b"context", bytes(touched))
            for size in range(len(sealed)):
                self.assertRaises(CipherError, open, b"purpose", b"context", sealed[:size])
            self.assertRaises(CipherError, open, b"purpose", b"context", sealed + b"\0")

    def test_opens_only_in_its_place(self) -> None:
        for seal, open in self.forms:
            sealed = seal(b"purpose", b"context", b"plain text")
            self.assertRaises(CipherError, open, b"other", b"context", sealed)
            self.assertRaises(CipherError, open, b"purpose", b"other", sealed)
        self.assertRaises(CipherError, self.cipher.open, b"purpose", b"context", self.cipher.seal_bulk(b"purpose", b"context", b"x"))
        self.assertRaises(CipherError, self.cipher.open_bulk, b"purpose", b"context", self.cipher.seal(b"purpose", b"context", b"x"))

    def test_old_data_keys_open_and_the_newest_seals(self) -> None:
        old = Cipher(Keys({1: KEYS.data[1]}, 1, KEYS.lookup))
        sealed = old.seal_bulk(b"p", b"c", b"plain")
        self.assertEqual(self.cipher.open_bulk(b"p", b"c", sealed), b"plain")
        self.assertEqual(self.cipher.seal(b"p", b"c", b"plain")[1:3], (300).to_bytes(2, "big"))
        error = self.assertRaises(CipherError, old.open, b"p", b"c", self.cipher.seal(b"p", b"c", b"plain"))
        self.assertIn("data key 300", str(error))

    def test_hashes_tell_apart_purpose_scope_and_value(self) -> None:
        hash = self.cipher.hash
        self.assertEqual(hash(b"p", b"s", b"v"), hash(b"p", b"s", b"v"))
        self.assertEqual(len(hash(b"p", b"s", b"v")), HASH_SIZE)
        seen = {
            hash(b"p", b"s", b"v"),
            hash(b"q", b"s", b"v"),
            hash(b"p", b"t", b"v"),
            hash(b"p", b"s", b"w"),
            hash(b"p", b"sv", b""),
            hash(b"p", b"", b"sv"),
        }
        self.assertEqual(len(seen), 6)
        self.assertNotEqual(hash(b"p", b"s", b"v"), Cipher(Keys(KEYS.data, 300, b"\4" * 32)).hash(b"p", b"s", b"v"))

    def test_no_salt_twice(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            sealed = list(pool.map(lambda number: self.forms[number % 2][0](b"p", b"c", b"x"), range(4000)))
        self.assertEqual(len({each[3:27] for each in sealed}), 4000)

    def test_no_salt_twice_across_a_fork(self) -> None:
        self.cipher.seal(b"p", b"c", b"x")
        source, target = os.pipe()
        child = os.fork()
        if not child:
            os.write(target, b"".join(self.cipher.seal(b"p", b"c", b"x")[3:27] for _ in range(130)))
            os._exit(0)
        os.close(target)
        os.waitpid(child, 0)
        with open(source, "rb") as pipe:
            theirs = pipe.read()
        ours = {self.cipher.seal(b"p", b"c", b"x")[3:27] for _ in range(130)}
        self.assertEqual(len(theirs), 130 * 24)
        self.assertEqual(ours & {theirs[start : start + 24] for start in range(0, len(theirs), 24)}, set())

    def test_keys_and_plain_text_are_in_no_message(self) -> None:
        self.assertNotIn("\\x01\\x01", repr(KEYS))
        error = self.assertRaises(CipherError, self.cipher.open, b"p", b"c", self.cipher.seal(b"p", b"d", b"secret text"))
        self.assertNotIn("secret", str(error))


class VectorTests(SynchronousTestCase):
    """The vectors of the page, by the reference code and by MailX."""

    def setUp(self) -> None:
        block = re.search(r"\.\. code-block:: json\n\n((?:    .*\n)+)", PAGE.read_text("utf-8"))
        assert block is not None
        self.texts = json.loads(block[1])
        self.octets = {
            name: bytes.fromhex(value)
            for name, value in self.texts.items()
            if isinstance(value, str) and re.fullmatch("([0-9a-f]{2})+", value)
        }
        self.data = self.octets["data key 7"]
        self.cipher = Cipher(Keys({7: self.data}, 7, self.octets["lookup key"]))
        self.purpose = self.texts["purpose"].encode()

    def test_subkeys(self) -> None:
        for derive in (subkey, reference.subkey):
            self.assertEqual(derive(self.octets["secret"], b"wrap", b"keys"), self.octets["wrap subkey"])
            self.assertEqual(derive(self.data, b"field", self.purpose), self.octets["field subkey"])
            self.assertEqual(derive(self.data, b"bulk", self.purpose), self.octets["bulk subkey"])

    def test_wrapped_key(self) -> None:
        octets = self.octets
        self.assertEqual(reference.wrapped(octets["secret"], 7, "data", octets["nonce"], self.data), octets["wrapped data key 7"])
        self.assertEqual(unwrap(octets["secret"], 7, "data", octets["wrapped data key 7"]), self.data)
        for number, kind in ((8, "data"), (7, "lookup")):
            self.assertRaises(KeysError, unwrap, octets["secret"], number, kind, octets["wrapped data key 7"])

    def test_field(self) -> None:
        octets = self.octets
        sealed = reference.field(self.data, 7, self.purpose, octets["context"], octets["nonce"], octets["plain"])
        self.assertEqual(sealed, octets["sealed field"])
        self.assertEqual(self.cipher.open(self.purpose, octets["context"], sealed), octets["plain"])

    def test_bulk(self) -> None:
        octets = self.octets
        sealed = reference.bulk(self.data, 7, self.purpose, octets["context"], octets["salt"], octets["plain"])
        self.assertEqual(sealed, octets["sealed bulk"])
        self.assertEqual(self.cipher.open_bulk(self.purpose, octets["context"], sealed), octets["plain"])

    def test_hash(self) -> None:
        octets = self.octets
        for answer in (
            reference.keyed_hash(octets["lookup key"], self.purpose, octets["scope"], octets["value"]),
            self.cipher.hash(self.purpose, octets["scope"], octets["value"]),
        ):
            self.assertEqual(answer, octets["keyed hash"])

    def test_blob_file(self) -> None:
        name = self.texts["file name"]
        content = bytes(place % 251 for place in range(70000))
        file = reference.blob_file(self.data, 7, name, self.octets["salt"], content)
        self.assertEqual(file[: len(self.octets["file head"])], self.octets["file head"])
        self.assertEqual(len(file), self.texts["file size"])
        self.assertEqual(sha256(file).hexdigest(), self.texts["file sha256"])
        directory = Path(self.mktemp())
        (directory / name[:2]).mkdir(parents=True)
        (directory / name[:2] / name).write_bytes(file)
        self.assertEqual(Blobs(str(directory), self.cipher).read(name), content)

"""Everything that a server's secret opens: what somebody reads who has the disk and the secret, and patience.

Every sealed value of every table is opened under the key of every purpose that the program has, without asking whether it
fits its place, and every blob file. Whoever looks for words looks in what came out, and in the files as they are.
"""

import ast
import re
import sqlite3
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher as Stream
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CTR

import mailx
from mailx.store.blobs import Blobs
from mailx.store.cipher import SALT_SIZE, TAG_SIZE, Cipher, CipherError, Keys
from mailx.store.keys import load_secret, unwrap

_FIELD, _BULK = 1, 2
_HEAD = 3
_WORD = re.compile(rb"[a-z][a-z _-]{2,24}\Z")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=\r\n-]{24,}")
_SIZE_LIMIT = 8 << 20


def keys(directory: Path) -> Keys:
    """The data keys of the server whose files are in ``directory``."""
    secret = load_secret(str(directory.with_name("mailx.secret")))
    assert secret is not None
    with sqlite3.connect(directory / "mailx.db") as database:
        rows = [
            (number, kind, unwrap(secret, number, kind, wrapped))
            for number, kind, wrapped in database.execute("SELECT id, kind, wrapped FROM keys")
        ]
    data = {number: key for number, kind, key in rows if kind == "data"}
    return Keys(data, max(data), next(key for _, kind, key in rows if kind == "lookup"))


def purposes() -> list[bytes]:
    """Every word in the program that may be the purpose of a key."""
    found: set[bytes] = set()
    for part in ("core", "store"):
        for path in sorted((Path(mailx.__file__).parent / part).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and _WORD.match(node.value):
                    found.add(node.value)
    return sorted(found)


def everything(directory: Path) -> Iterator[tuple[str, bytes]]:
    """A name and the octets of each file, and of each value that opens."""
    opener = keys(directory)
    cipher = Cipher(opener)
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes()
    blobs = Blobs(str(directory / "blobs"), cipher)
    for name in blobs.names():
        try:
            yield f"blob {name}", b"".join(blobs.iterate(name))
        except CipherError:
            continue
    words = purposes()
    for name in ("mailx.db", "index.db"):
        if (directory / name).exists():
            for place, value in _values(directory / name):
                for word in words:
                    if (plain := _opened(cipher, opener, word, value)) is not None:
                        yield f"{name} {place} as {word.decode()}", plain


def _values(path: Path) -> Iterator[tuple[str, bytes]]:
    with sqlite3.connect(path) as database:
        tables = [
            name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
        ]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes) and len(value) > _HEAD + SALT_SIZE + TAG_SIZE:
                        yield table, value


def _opened(cipher: Cipher, opener: Keys, word: bytes, value: bytes) -> bytes | None:
    """``value`` opened for the purpose ``word``, whether it was sealed for that or not; None if it is not sealed."""
    kind, number = value[0], int.from_bytes(value[1:_HEAD], "big")
    if kind not in (_FIELD, _BULK) or number not in opener.data:
        return None
    salt, sealed = value[_HEAD : _HEAD + SALT_SIZE], value[_HEAD + SALT_SIZE : -TAG_SIZE]
    if kind == _BULK:
        key = blake2b(salt, key=cipher.key(b"bulk", word, number), digest_size=32).digest()
        return Stream(AES(key), CTR(bytes(15) + b"\2")).decryptor().update(sealed)
    key = _hchacha20(cipher.key(b"field", word, number), salt[:16])
    nonce = struct.pack("<Q", 1) + salt[16:]  # a counter of 32 bits, four zero octets of nonce, then the nonce's end
    return Stream(ChaCha20(key, nonce), None).decryptor().update(sealed)


def _hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The first half of XChaCha20 (draft-irtf-cfrg-xchacha 2.2)."""
    state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8L", key), *struct.unpack("<4L", nonce)]
    for _ in range(10):
        for a, b, c, d in (
            (0, 4, 8, 12),
            (1, 5, 9, 13),
            (2, 6, 10, 14),
            (3, 7, 11, 15),
            (0, 5, 10, 15),
            (1, 6, 11, 12),
            (2, 7, 8, 13),
            (3, 4, 9, 14),
        ):
            for first, second, third, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[first] = (state[first] + state[second]) & 0xFFFFFFFF
                mixed = state[third] ^ state[first]
                state[third] = ((mixed << shift) | (mixed >> (32 - shift))) & 0xFFFFFFFF
    return struct.pack("<8L", *state[:4], *state[12:])


def found(words: Iterable[str], octets: bytes) -> set[str]:
    """Those of ``words`` that stand in ``octets``: as they are, in base64 at any alignment, compressed, and compressed in base64."""
    texts = list(_forms(octets))
    return {word for word in words if any(pattern in text for pattern in _patterns(word.encode()) for text in texts)}


def _patterns(word: bytes) -> Iterator[bytes]:
    yield word
    yield "".join(chr(octet) + "\0" for octet in word).encode("latin-1")  # UTF-16
    yield word.hex().encode()
    for shift in range(3):  # what surrounds the word touches the first and the last characters
        text = b64encode(bytes(shift) + word)
        yield text[4 if shift else 0 : len(text) - 4]


def _forms(octets: bytes) -> Iterator[bytes]:
    yield octets
    joined = octets.replace(b"=\r\n", b"").replace(b"\r\n", b"").replace(b"\n", b"")  # folded lines of base64 and quoted-printable
    yield joined
    yield from _inflated(octets)
    if len(octets) < _SIZE_LIMIT:
        for match in _BASE64.finditer(octets):
            text = re.sub(rb"\s", b"", match[0])
            try:
                plain = b64decode(text[: len(text) & ~3], altchars=b"-_" if b"-" in text or b"_" in text else None)
            except ValueError:
                continue
            yield plain
            yield from _inflated(plain)


def _inflated(octets: bytes) -> Iterator[bytes]:
    for bits in (47, -15):
        try:
            yield zlib.decompressobj(bits).decompress(octets, _SIZE_LIMIT)
        except zlib.error:
            continue
    for place in [match.start() for match in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", octets)][:200]:
        try:
            yield zlib.decompressobj(47).decompress(octets[place:], _SIZE_LIMIT)
        except zlib.error:
            continue

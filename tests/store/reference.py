"""The formats of docs/cipher.rst written a second time, from the page alone: nothing of MailX, and XChaCha20 by hand."""

import struct
from hashlib import blake2b

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305


def subkey(key: bytes, kind: bytes, purpose: bytes) -> bytes:
    return blake2b(kind + b"\x00" + purpose, digest_size=32, key=key).digest()


def wrapped(secret: bytes, number: int, kind: str, nonce: bytes, key: bytes) -> bytes:
    return nonce + xchacha20_poly1305(subkey(secret, b"wrap", b"keys"), nonce, f"{kind}:{number}".encode(), key)


def field(key: bytes, number: int, purpose: bytes, context: bytes, nonce: bytes, plain: bytes) -> bytes:
    head = b"\x01" + struct.pack(">H", number)
    return head + nonce + xchacha20_poly1305(subkey(key, b"field", purpose), nonce, head + context, plain)


def bulk(key: bytes, number: int, purpose: bytes, context: bytes, salt: bytes, plain: bytes) -> bytes:
    head = b"\x02" + struct.pack(">H", number)
    own = blake2b(salt, digest_size=32, key=subkey(key, b"bulk", purpose)).digest()
    return head + salt + AESGCM(own).encrypt(bytes(12), plain, head + context)


def keyed_hash(key: bytes, purpose: bytes, scope: bytes, value: bytes) -> bytes:
    text = len(scope).to_bytes(4, "big") + scope + value
    return blake2b(text, digest_size=16, key=subkey(key, b"hash", purpose)).digest()


def blob_file(key: bytes, number: int, name: str, salt: bytes, content: bytes) -> bytes:
    head = b"MXB\x01" + struct.pack(">H", number) + salt
    own = AESGCM(blake2b(salt, digest_size=32, key=subkey(key, b"file", b"blob")).digest())
    chunks = [content[start : start + 65536] for start in range(0, len(content), 65536)] or [b""]
    file = head
    for index, chunk in enumerate(chunks):
        final = index == len(chunks) - 1
        nonce = bytes(3) + index.to_bytes(8, "big") + (b"\x01" if final else b"\x00")
        file += own.encrypt(nonce, chunk, head + name.encode())
    return file


def xchacha20_poly1305(key: bytes, nonce: bytes, context: bytes, plain: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha-03 2.3."""
    return ChaCha20Poly1305(_hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plain, context)


def _hchacha20(key: bytes, nonce: bytes) -> bytes:
    state = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key) + struct.unpack("<4I", nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for first, second, third, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[first] = (state[first] + state[second]) & 0xFFFFFFFF
            mixed = state[third] ^ state[first]
            state[third] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        quarter(0, 5, 10, 15)
        quarter(1, 6, 11, 12)
        quarter(2, 7, 8, 13)
        quarter(3, 4, 9, 14)
    return struct.pack("<8I", *state[:4], *state[12:])

"""Files sealed under a passphrase: backups of domain keys, and the key files of users.

A file is one JSON object. Its key is made of the passphrase by Argon2id (RFC 9106) with the parameters that stand in it; the content
is sealed by XChaCha20-Poly1305 with everything else in the object as associated data. Slow by design: half a second and 256 MiB,
so it runs in a thread. Failure means :class:`Malformed`: no such file, damaged, or another passphrase.
"""

import os
from collections.abc import Mapping

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_encrypt
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, canonical, parse, unb64
from mailx.identity.statements import integer, mapping

_PASSES, _MEMORY = argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE
_PASSES_LIMIT, _MEMORY_LIMIT = 16, 1 << 30  # what a file may ask for
_SALT, _NONCE = 16, 24
_OPEN = "none"  # name of the way to make a key where there is no passphrase: whoever reads the file opens it


def write(fields: Mapping[str, JSON], content: Mapping[str, JSON], passphrase: str) -> bytes:
    """The file with ``content``, and with ``fields`` for all to read; without a passphrase the content is, too."""
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    kdf: dict[str, JSON] = {"name": _OPEN}
    if passphrase:
        kdf = {"name": "argon2id", "passes": _PASSES, "memory": _MEMORY, "salt": b64(salt)}
    head: dict[str, JSON] = {**fields, "kdf": kdf, "nonce": b64(nonce)}
    sealed = xchacha_encrypt(canonical(dict(content)), canonical(head), nonce, _key(kdf, passphrase))
    return canonical({**head, "sealed": b64(sealed)}) + b"\n"


def head(data: bytes, form: str, limit: int) -> Mapping[str, JSON]:
    """What all may read of a file of at most ``limit`` octets whose ``format`` is ``form``."""
    file = mapping(parse(data, limit), "the file")
    if file.get("format") != form:
        raise Malformed(f"not a file of the format {form}")
    return file


def protected(file: Mapping[str, JSON]) -> bool:
    """Whether a file needs a passphrase."""
    return mapping(file.get("kdf"), "kdf").get("name") != _OPEN


def read(file: Mapping[str, JSON], passphrase: str, limit: int) -> Mapping[str, JSON]:
    """The content of the file that :func:`head` gave."""
    sealed, nonce = unb64(file.get("sealed")), unb64(file.get("nonce"), _NONCE)
    bound = {name: value for name, value in file.items() if name != "sealed"}
    key = _key(mapping(file.get("kdf"), "kdf"), passphrase)
    try:
        content = xchacha_decrypt(sealed, canonical(bound), nonce, key)
    except (CryptoError, ValueError):  # the latter: shorter than its tag
        raise Malformed("the passphrase is another one, or the file was damaged") from None
    return mapping(parse(content, limit), "the content")


def _key(kdf: Mapping[str, JSON], passphrase: str) -> bytes:
    if kdf.get("name") == _OPEN:
        return bytes(KEY_SIZE)
    passes, memory = integer(kdf, "passes", 1), integer(kdf, "memory", 8192)
    if kdf.get("name") != "argon2id" or passes > _PASSES_LIMIT or memory > _MEMORY_LIMIT:
        raise Malformed("its key is made in a way that this version does not go")
    return argon2id.kdf(KEY_SIZE, passphrase.encode("utf-8", "surrogatepass"), unb64(kdf.get("salt"), _SALT), passes, memory)

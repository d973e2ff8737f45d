"""The file that domain keys are backed up in: sealed under a passphrase, readable by any server that knows it.

It is one JSON object; the key is made of the passphrase by Argon2id (RFC 9106) with the parameters that stand in it, the
content is sealed by XChaCha20-Poly1305 with everything else in the object as associated data. Slow by design: half a
second and 256 MiB, so it runs in a thread. Failure means :class:`Malformed`: no such file, damaged, or another passphrase.
"""

import os
from collections.abc import Mapping, Sequence

from attrs import field, frozen
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_encrypt
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, canonical, key_from_text, key_text, parse, unb64
from mailx.identity.statements import SeedSigner, domain_name, integer, mapping

FORMAT = "mailx-keys-1"
FILE_LIMIT = 900_000  # octets: a file passes the admin API as a whole; about 500 domains
PASSPHRASE_LEAST = 10  # characters
_PASSES, _MEMORY = argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE
_PASSES_LIMIT, _MEMORY_LIMIT = 16, 1 << 30  # what a file may ask for
_SALT, _NONCE = 16, 24
_DOMAINS_LIMIT = 10000
_HISTORY_LIMIT = 10000


@frozen
class SavedKeys:
    """The keys of one domain."""

    domain: str
    history: tuple[DomainKey, ...]  # oldest first, all of it
    seeds: Mapping[bytes, bytes] = field(repr=False)  # public half -> private half; the current one's at the least
    log_secret: bytes = field(repr=False)


def seal(every: Sequence[SavedKeys], passphrase: str, now: int) -> bytes:
    """The file with ``every`` domain; raises Malformed if the passphrase is too short or the file too long."""
    if len(passphrase) < PASSPHRASE_LEAST:
        raise Malformed(f"a passphrase has at least {PASSPHRASE_LEAST} characters")
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    head: dict[str, JSON] = {
        "format": FORMAT,
        "made": now,
        "kdf": {"name": "argon2id", "passes": _PASSES, "memory": _MEMORY, "salt": b64(salt)},
        "nonce": b64(nonce),
    }
    content = canonical({"domains": [_written(each) for each in every]})
    sealed = xchacha_encrypt(content, canonical(head), nonce, _key(passphrase, salt, _PASSES, _MEMORY))
    file = canonical({**head, "sealed": b64(sealed)}) + b"\n"
    if len(file) > FILE_LIMIT:
        raise Malformed("too many keys for one file: back up some of the domains at a time")
    return file


def open_file(data: bytes, passphrase: str) -> tuple[SavedKeys, ...]:
    """What ``seal`` sealed, every key proved to fit; raises Malformed."""
    file = dict(mapping(parse(data, FILE_LIMIT), "a backup of keys"))
    if file.get("format") != FORMAT:
        raise Malformed("this is no backup of keys that this version reads")
    sealed = unb64(file.pop("sealed", None))
    kdf = mapping(file.get("kdf"), "kdf")
    passes, memory = integer(kdf, "passes", 1), integer(kdf, "memory", 8192)
    if kdf.get("name") != "argon2id" or passes > _PASSES_LIMIT or memory > _MEMORY_LIMIT:
        raise Malformed("this is no backup of keys that this version reads")
    nonce = unb64(file.get("nonce"), _NONCE)
    key = _key(passphrase, unb64(kdf.get("salt"), _SALT), passes, memory)
    try:
        content = xchacha_decrypt(sealed, canonical(file), nonce, key)
    except (CryptoError, ValueError):  # the latter: shorter than its tag
        raise Malformed("the passphrase is another one, or the file was damaged") from None
    listed = mapping(parse(content, FILE_LIMIT), "the content").get("domains")
    if not isinstance(listed, list) or len(listed) > _DOMAINS_LIMIT:
        raise Malformed("the content is no list of domains")
    return tuple(_read(mapping(each, "a domain")) for each in listed)


def _key(passphrase: str, salt: bytes, passes: int, memory: int) -> bytes:
    return argon2id.kdf(KEY_SIZE, passphrase.encode("utf-8", "surrogatepass"), salt, passes, memory)


def _written(each: SavedKeys) -> dict[str, JSON]:
    return {
        "domain": each.domain,
        "history": [key.statement.encode() for key in each.history],
        "seeds": {key_text(public): b64(seed) for public, seed in each.seeds.items()},
        "log_secret": b64(each.log_secret),
    }


def _read(each: Mapping[str, JSON]) -> SavedKeys:
    domain, listed = domain_name(each), each.get("history")
    if not isinstance(listed, list) or not 1 <= len(listed) <= _HISTORY_LIMIT:
        raise Malformed("a domain without keys")
    history = tuple(DomainKey.decode(statement) for statement in listed)
    if any(key.domain != domain for key in history):
        raise Malformed("a key of another domain")
    if any(later.serial <= earlier.serial for earlier, later in zip(history, history[1:], strict=False)):
        raise Malformed("keys out of order")
    seeds = {key_from_text(name): unb64(seed, KEY_SIZE) for name, seed in mapping(each.get("seeds"), "seeds").items()}
    if any(SeedSigner(seed).public != public for public, seed in seeds.items()) or history[-1].key not in seeds:
        raise Malformed("a private key that does not fit, or none")
    return SavedKeys(domain, history, seeds, unb64(each.get("log_secret"), KEY_SIZE))

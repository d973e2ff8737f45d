"""The recovery key as its owner keeps it: on paper, in a safe, in a password store, never on a server.

It is an Ed25519 key of 32 octets, written as ``mailx-recovery-1`` and fourteen groups of four letters and digits
(base32, RFC 4648 6), the last of which check the rest. Failure means :class:`Malformed`.
"""

import os
from base64 import b32decode, b32encode
from hashlib import sha256

from mailx.identity.encoding import Malformed
from mailx.identity.statements import SeedSigner

_PREFIX = "mailx-recovery-1"
_SEED = 32
_CHECK = 3  # octets: 35 of them are 56 characters
_GROUP = 4


def generate() -> str:
    """A fresh recovery key. This is the only copy."""
    return write(os.urandom(_SEED))


def write(seed: bytes) -> str:
    """How the key of 32 octets is written down."""
    letters = b32encode(seed + _checked(seed)).decode("ascii")
    return "-".join((_PREFIX, *(letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP))))


def read(text: str) -> SeedSigner:
    """The key that somebody typed, in whatever case and spacing; raises Malformed, which quotes nothing of it."""
    compact = "".join(text.split()).upper()
    prefix = _PREFIX.upper()
    if not compact.startswith(prefix) or len(text) > 1024:
        raise Malformed(f"a recovery key begins with {_PREFIX}")
    letters = compact[len(prefix) :].replace("-", "")
    try:
        octets = b32decode(letters)
    except ValueError:
        octets = b""
    seed = octets[:_SEED]
    if len(octets) != _SEED + _CHECK or octets[_SEED:] != _checked(seed):
        raise Malformed("the recovery key was mistyped: compare its groups of four")
    return SeedSigner(seed)


def _checked(seed: bytes) -> bytes:
    return sha256(_PREFIX.encode("ascii") + seed).digest()[:_CHECK]

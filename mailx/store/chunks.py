"""Long content sealed as a chain of chunks, each authenticated with its place and with whether it is the last.

So a part of it opens without the rest, and no chunk can be changed, moved or left out unnoticed. Whoever uses it writes a head with a
fresh salt before the chain, and says in docs/cipher.rst or docs/sealed-accounts.rst how. Failure is CipherError.
"""

from hashlib import blake2b
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mailx.store.cipher import KEY_SIZE, TAG_SIZE, CipherError

CHUNK = 65536  # octets of plain text in every chunk but the last
SEALED_CHUNK = CHUNK + TAG_SIZE
_NONCE = Struct(">3xQB")  # place of the chunk, whether it is the last


class Chain:
    """The chunks of one value. ``context`` binds them to where they belong; ``what`` they are is for people."""

    def __init__(self, key: bytes, salt: bytes, context: bytes, what: str) -> None:
        self._aead = AESGCM(blake2b(salt, key=key, digest_size=KEY_SIZE).digest())
        self._context = context
        self._what = what

    def seal(self, index: int, final: bool, plain: bytes | memoryview) -> bytes:
        """The chunk at ``index``, at most CHUNK octets of plain text."""
        return self._aead.encrypt(_NONCE.pack(index, final), plain, self._context)

    def open(self, index: int, final: bool, sealed: bytes | memoryview) -> bytes:
        """What ``seal`` sealed."""
        try:
            return self._aead.decrypt(_NONCE.pack(index, final), sealed, self._context)
        except InvalidTag:
            raise CipherError(f"{self._what} was damaged, cut short or moved") from None


def layout(sealed: int, what: str) -> tuple[int, int]:
    """Place of the last chunk, and size of the plain text, of a chain of ``sealed`` octets."""
    last, rest = divmod(sealed - 1, SEALED_CHUNK)
    if sealed < TAG_SIZE or rest + 1 < TAG_SIZE:
        raise CipherError(f"{what} was cut short")
    return last, sealed - (last + 1) * TAG_SIZE

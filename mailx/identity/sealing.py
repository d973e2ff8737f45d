"""The sealed container: content that only the holders of certain keys open, with a proof of who sealed it.

One fresh content key encrypts everything; a sealed box (libsodium) holds it for each recipient, without saying for whom.
What is inside is padded, so that its size tells little, and begins with the sender's proof: a statement over the
digest of the content and of the boxes, so that nobody can seal it on for another as if the sender had. The format is
written down in docs/sealing.rst. Everything streams: memory holds a chunk. Failure means :class:`Malformed`, and
:class:`NotForUs` where no key at hand opens a box.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b, sha256
from struct import Struct

from attrs import define, field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_box_seal, crypto_box_seal_open, crypto_box_SEALBYTES, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, canonical, parse, unb64
from mailx.identity.statements import Signer, Statement, domain_name, integer, mapping, signed, text
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address, AddressError

BOXES = 256  # of one container at most
CHUNK = 65536  # octets of plain text in every chunk but the last
KIND = "sealed-mail"
CLIENT, SERVER, RECEIVER = "client", "server", "receiver"  # who sealed it: the sender's own program, the sender's server, the recipient's

_MAGIC = b"MXS\1"
_HEAD = Struct(">4sH32s")  # magic with version, number of boxes, commitment to the content key
_BOX = KEY_SIZE + crypto_box_SEALBYTES
_TAG = 16
_NONCE = Struct(">3xQB")  # number of the chunk, 1 in the last one
_PROOF_SIZE = Struct(">I")
_CONTENT_SIZE = Struct(">Q")
_PROOF_LIMIT = 16384  # octets
_LEAST = 4096  # octets that every container holds
_COMMIT = b"mailx sealed content key"


class NotForUs(Malformed):
    """None of the keys at hand opens it."""


class Altered(Malformed):
    """The content is not what the proof speaks of. It was sealed like this, so nobody changed it on the way."""


@frozen
class Proof:
    """What the sender says of a sealed message, and whose keys say so."""

    sender: Address
    domain: str  # whose key vouches, A-labels: that of the sender, or of the recipient whose server sealed what arrived readable
    content: bytes  # SHA-256
    boxes: bytes  # SHA-256 of the head of the container
    created: int  # seconds since 1970
    by: str  # CLIENT, SERVER or RECEIVER
    statement: Statement = field(repr=False, eq=False)
    attestation: Attestation | None = None  # of the user whose key signed; None: the key of ``domain`` did

    @classmethod
    def decode(cls, value: JSON) -> "Proof":
        """The proof that ``encode`` wrote; raises Malformed. It proves nothing before its signature is looked at."""
        members = mapping(value, "a proof")
        statement = Statement.decode(members.get("statement"), KIND, 2048)
        body = statement.body
        written = text(body, "sender", 320)
        try:
            sender = Address.parse(written)
        except AddressError:
            raise Malformed("sender is no address") from None
        attested = members.get("attestation")
        by = text(body, "by", 16)
        if by not in (CLIENT, SERVER, RECEIVER):
            raise Malformed("sealed by nobody that is known")
        return cls(
            sender,
            domain_name(body),
            unb64(body.get("content"), 32),
            unb64(body.get("boxes"), 32),
            integer(body, "created"),
            by,
            statement,
            None if attested is None else Attestation.decode(attested),
        )

    def encode(self) -> dict[str, JSON]:
        """The proof as plain JSON."""
        attested = None if self.attestation is None else self.attestation.statement.encode()
        return {"statement": self.statement.encode(), "attestation": attested}


@frozen
class Sender:
    """Who seals: ``signer`` is the key of ``attestation``, or of ``domain`` where that is None."""

    address: Address
    domain: str
    signer: Signer
    attestation: Attestation | None
    by: str

    def proof(self, content: bytes, boxes: bytes, now: int) -> Proof:
        """A proof over these digests."""
        body: Mapping[str, JSON] = {
            "sender": str(self.address),
            "domain": self.domain,
            "content": b64(content),
            "boxes": b64(boxes),
            "created": now,
            "by": self.by,
        }
        return Proof(self.address, self.domain, content, boxes, now, self.by, signed(KIND, body, self.signer), self.attestation)


def padded(size: int) -> int:
    """What ``size`` octets are padded to: Padmé (Nikitin and others, 2019), at most an eighth more, and no less than 4096."""
    if size <= _LEAST:
        return _LEAST
    exponent = size.bit_length() - 1
    low = exponent - exponent.bit_length()
    mask = (1 << low) - 1
    return (size + mask) & ~mask


def sealed(
    recipients: Sequence[bytes], content: Iterable[bytes], size: int, digest: bytes, sender: Sender | None, now: int
) -> Iterator[bytes]:
    """The container of ``content`` (of ``size`` octets and this SHA-256) for the X25519 keys ``recipients``, in pieces.

    Their number is rounded up to a power of two by boxes that nobody opens. Raises Malformed for a key that is none, or content
    of another size, which must then not be sent.
    """
    if not 1 <= len(recipients) <= BOXES:
        raise Malformed(f"not 1 to {BOXES} recipients")
    key = secrets.token_bytes(KEY_SIZE)
    count = 1 << (len(recipients) - 1).bit_length()
    boxes = [_boxed(public, key) for public in recipients]
    boxes += [
        _boxed(crypto_scalarmult_base(secrets.token_bytes(KEY_SIZE)), secrets.token_bytes(KEY_SIZE)) for _ in range(count - len(boxes))
    ]
    secrets.SystemRandom().shuffle(boxes)
    head = _HEAD.pack(_MAGIC, count, _commitment(key)) + b"".join(boxes)
    bound = sha256(head).digest()
    proof = b"" if sender is None else canonical(sender.proof(digest, bound, now).encode())
    before = _PROOF_SIZE.pack(len(proof)) + proof + _CONTENT_SIZE.pack(size)
    total = len(before) + size
    yield head
    yield from _encrypted(key, bound, _filled(before, content, size, padded(total) - total))


def usable(public: bytes) -> bool:
    """Whether anything can be sealed to this key."""
    try:
        _boxed(public, bytes(KEY_SIZE))
    except Malformed:
        return False
    return True


def _boxed(public: bytes, key: bytes) -> bytes:
    try:
        return crypto_box_seal(key, public)
    except (CryptoError, ValueError, TypeError, RuntimeError):
        raise Malformed("not a key that can be sealed to") from None


def _commitment(key: bytes) -> bytes:
    """What ties a container to one content key: without, boxes could hold different keys that show different contents."""
    return blake2b(_COMMIT, key=key, digest_size=32).digest()


def _filled(before: bytes, content: Iterable[bytes], size: int, padding: int) -> Iterator[bytes]:
    yield before
    for piece in content:
        size -= len(piece)
        if size < 0:
            break
        yield piece
    if size:
        raise Malformed("the content is not as long as was said")
    while padding > 0:
        yield bytes(min(padding, CHUNK))
        padding -= CHUNK


def _encrypted(key: bytes, bound: bytes, plain: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of ``plain``; ``bound`` is authenticated with each."""
    aead = AESGCM(key)
    number = 0
    waiting = bytearray()
    for piece in plain:
        waiting += piece
        start = 0
        with memoryview(waiting) as view:
            while len(waiting) - start > CHUNK:  # the last chunk stays until it is known whether it is the final one
                yield aead.encrypt(_NONCE.pack(number, 0), view[start : start + CHUNK], bound)
                number += 1
                start += CHUNK
        if start:
            del waiting[:start]
    yield aead.encrypt(_NONCE.pack(number, 1), bytes(waiting), bound)


@define
class Opened:
    """An opened container: its proof is known, its content follows. ``pieces`` may be read once."""

    size: int
    boxes: bytes  # SHA-256 of the head
    proof: Proof | None  # None: there is none, or it cannot be read
    unreadable: bool  # it has a proof that cannot be read
    pieces: Iterator[bytes]


def opened(container: Iterable[bytes], privates: Sequence[bytes]) -> Opened:
    """Open ``container`` with one of the X25519 private keys. Raises Malformed, NotForUs, also while ``pieces`` are read.

    ``pieces`` end with Altered if the content is not what the proof speaks of; before their end nothing is known of that.
    """
    source = _Source(iter(container))
    fixed = source.take(_HEAD.size)
    magic, count, commitment = _HEAD.unpack(fixed)
    if magic != _MAGIC:
        raise Malformed("not a sealed container of a known version")
    if not 1 <= count <= BOXES or count & (count - 1):
        raise Malformed("no such number of boxes")
    boxes = source.take(count * _BOX)
    key = _key(boxes, commitment, privates)
    bound = sha256(fixed + boxes).digest()
    plain = _Source(_decrypted(key, bound, source))
    length = _PROOF_SIZE.unpack(plain.take(_PROOF_SIZE.size))[0]
    if length > _PROOF_LIMIT:
        raise Malformed("a proof that long is none")
    written = plain.take(length)
    proof, unreadable = None, False
    if written:
        try:
            proof = Proof.decode(parse(written, _PROOF_LIMIT))
        except Malformed:
            unreadable = True
    size = _CONTENT_SIZE.unpack(plain.take(_CONTENT_SIZE.size))[0]
    return Opened(size, bound, proof, unreadable, _content(plain, size, None if proof is None else proof.content))


def _key(boxes: bytes, commitment: bytes, privates: Sequence[bytes]) -> bytes:
    """The content key."""
    for private in privates:
        public = crypto_scalarmult_base(private)
        for start in range(0, len(boxes), _BOX):
            try:
                key = crypto_box_seal_open(boxes[start : start + _BOX], public, private)
            except CryptoError:
                continue
            if not secrets.compare_digest(_commitment(key), commitment):
                raise Malformed("a box holds another key than the one that was used")
            return key
    raise NotForUs("sealed for other keys")


def _decrypted(key: bytes, bound: bytes, source: "_Source") -> Iterator[bytes]:
    aead = AESGCM(key)
    number = 0
    while True:
        sealed_chunk, last = source.chunk(CHUNK + _TAG)
        try:
            yield aead.decrypt(_NONCE.pack(number, last), sealed_chunk, bound)
        except InvalidTag:
            raise Malformed("damaged or cut short") from None
        if last:
            return
        number += 1


def _content(plain: "_Source", size: int, digest: bytes | None) -> Iterator[bytes]:
    """``size`` octets of ``plain``, behind which only padding follows; raises Malformed, Altered."""
    seen = sha256()
    left = size
    while left:
        piece = plain.some(left)
        left -= len(piece)
        seen.update(piece)
        yield piece
    while rest := plain.rest():
        if rest.count(0) != len(rest):
            raise Malformed("the padding is not empty")
    if digest is not None and seen.digest() != digest:
        raise Altered("the content is not what its sender signed")


class _Source:
    """Octets that come in pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    def take(self, count: int) -> bytes:
        """Exactly ``count`` octets; raises Malformed."""
        while len(self._held) < count:
            self._more()
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def some(self, limit: int) -> bytes:
        """At least one octet, at most ``limit``; raises Malformed."""
        while not self._held:
            self._more()
        return self.take(min(limit, len(self._held)))

    def rest(self) -> bytes:
        """What comes next; empty at the end."""
        if self._held:
            return self.take(len(self._held))
        return next(self._pieces, b"")

    def chunk(self, size: int) -> tuple[bytes, bool]:
        """The next ``size`` octets, fewer if those are the last, and whether they are; raises Malformed."""
        while len(self._held) <= size:
            piece = next(self._pieces, None)
            if piece is None:
                return self.take(len(self._held)), True
            self._held += piece
        return self.take(size), False

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise Malformed("cut short")
        self._held += piece

"""One entry of a key log: its octets, and the hashes of the tree that holds it (RFC 9162 2.1.1).

The octets are what everybody hashes who checks a log, so their form never changes: ``_FORM``. Failure means ValueError:
the octets are no entry.
"""

from hashlib import sha256
from struct import Struct

from attrs import evolve, frozen

DOMAIN_KEY, RECOVERY_KEY, USER_KEY, EPOCH = "domain-key", "recovery-key", "user-key", "epoch"
KINDS = (DOMAIN_KEY, RECOVERY_KEY, USER_KEY, EPOCH)  # the octet of a kind is its place here, counted from one
LABEL_SIZE = 32
HASH_SIZE = 32
_FORM = Struct(">BBB32sQQ32sQ")  # form 1, kind, revoked, label, serial, previous, digest, time
_FIRST = 2**64 - 1  # as ``previous``: none
LEAF_SIZE = _FORM.size
NUMBER_LIMIT = 2**53  # so that JSON holds every number


@frozen
class Leaf:
    """A key was bound, or bound no more. Nothing in it names whom: ``label`` is an output of the domain's VRF."""

    kind: str  # of KINDS
    label: bytes  # LABEL_SIZE octets
    serial: int  # rises with every statement about the same subject
    digest: bytes  # HASH_SIZE octets, SHA-256 of the signed statement
    revoked: bool
    time: int  # seconds since 1970
    previous: int | None = None  # place of the entry before with this label; the log fills it in

    def __attrs_post_init__(self) -> None:
        if len(self.label) != LABEL_SIZE or len(self.digest) != HASH_SIZE:  # which packing would cut or fill up
            raise ValueError("an entry of a key log has a label or a digest of another length")

    def encode(self) -> bytes:
        """``LEAF_SIZE`` octets."""
        previous = _FIRST if self.previous is None else self.previous
        return _FORM.pack(1, KINDS.index(self.kind) + 1, self.revoked, self.label, self.serial, previous, self.digest, self.time)

    @classmethod
    def decode(cls, octets: bytes) -> "Leaf":
        """What ``encode`` made; raises ValueError."""
        if len(octets) != LEAF_SIZE:
            raise ValueError("an entry of a key log has another length")
        form, kind, revoked, label, serial, previous, digest, time = _FORM.unpack(octets)
        if form != 1 or not 1 <= kind <= len(KINDS) or revoked > 1 or max(serial, time) > NUMBER_LIMIT:
            raise ValueError("an entry of a key log has an unknown form")
        if previous != _FIRST and previous > NUMBER_LIMIT:
            raise ValueError("an entry of a key log has an unknown form")
        return cls(KINDS[kind - 1], label, serial, digest, bool(revoked), time, None if previous == _FIRST else previous)

    def after(self, previous: int | None) -> "Leaf":
        """The same entry behind the one at ``previous``."""
        return evolve(self, previous=previous)


def leaf_hash(octets: bytes) -> bytes:
    """RFC 9162 2.1.1: a leaf and an inner node never have the same hash."""
    return sha256(b"\0" + octets).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above ``left`` and ``right``."""
    return sha256(b"\1" + left + right).digest()

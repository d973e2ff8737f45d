"""What the entries of a key log say, and how whoever reads a log checks it.

A subject (a domain's key, its recovery key, the keys of one address) appears in the log under a label that only the
domain can compute, and prove, by its VRF.
"""

from mailx.identity import vrf
from mailx.identity.statements import Statement
from mailx.mail.log_leaf import LABEL_SIZE, Leaf


def subject(kind: str, name: str) -> bytes:
    """What the VRF is computed of: ``name`` is an address (lower case, A-labels) for user keys, else the domain."""
    return b"mailx-log-1\0" + kind.encode("ascii") + b"\0" + name.encode("utf-8")


def label(secret: bytes, kind: str, name: str) -> bytes:
    """The label of a subject, computed with the domain's log secret (32 octets)."""
    return vrf.output(vrf.prove(secret, subject(kind, name)))[:LABEL_SIZE]


def leaf(secret: bytes, kind: str, name: str, serial: int, statement: Statement, revoked: bool, time: int) -> Leaf:
    """The entry for a signed statement about the subject."""
    return Leaf(kind, label(secret, kind, name), serial, statement.digest, revoked, time)

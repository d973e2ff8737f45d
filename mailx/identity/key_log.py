"""What a key log says: its heads, its epochs, its entries about one subject; and how whoever reads it checks them.

A subject (a domain's key, its recovery key, the keys of one address) appears in the log under a label that only the
domain can compute, and prove, by its VRF: who does not know an address cannot find it. A head is the signed root of all
entries up to one size. Everything read is hostile: what is not as it should be is Malformed.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from attrs import frozen

from mailx.identity import merkle, vrf
from mailx.identity.encoding import JSON, Malformed, b64, canonical, parse, unb64
from mailx.identity.statements import Signer, Statement, integer, mapping, signed, text
from mailx.mail.log_leaf import HASH_SIZE, KINDS, LABEL_SIZE, LEAF_SIZE, Leaf, leaf_hash

HEAD, EPOCH = "tree-head", "log-epoch"
HISTORY_LIMIT = 100  # entries about one subject that are told at a time
_BODY = 2048  # octets of a head or an epoch
_STATEMENT = 8192  # octets of a statement as it travels

# -- Labels and entries --


def subject(kind: str, name: str) -> bytes:
    """What the VRF is computed of: ``name`` is an address (lower case, A-labels) for user keys, else the domain."""
    return b"mailx-log-1\0" + kind.encode("ascii") + b"\0" + name.encode("utf-8")


def label(secret: bytes, kind: str, name: str) -> bytes:
    """The label of a subject, computed with the domain's log secret (32 octets)."""
    return vrf.output(vrf.prove(secret, subject(kind, name)))[:LABEL_SIZE]


def proved_label(key: bytes, kind: str, name: str, proof: bytes) -> bytes:
    """The label of a subject as ``proof`` shows it; raises Malformed."""
    try:
        return vrf.verify(key, subject(kind, name), proof)[:LABEL_SIZE]
    except vrf.Invalid:
        raise Malformed("the proof of the label does not hold") from None


def leaf(secret: bytes, kind: str, name: str, serial: int, statement: Statement, revoked: bool, time: int) -> Leaf:
    """The entry for a signed statement about the subject."""
    return Leaf(kind, label(secret, kind, name), serial, statement.digest, revoked, time)


# -- Statements and proofs as they travel --


def octets(statement: Statement) -> bytes:
    """A statement as one text: what is small on the wire and quick to read."""
    return canonical(statement.encode())


def plain(value: object) -> object:
    """What ``octets`` wrote, or plain JSON as it is; raises Malformed."""
    return parse(value, _STATEMENT) if isinstance(value, bytes) else value


def hashes(value: object) -> list[bytes]:
    """The hashes of a proof that came as one string; raises Malformed."""
    if not isinstance(value, bytes) or len(value) % HASH_SIZE or len(value) > merkle.PROOF_LIMIT * HASH_SIZE:
        raise Malformed("not a proof")
    return [value[start : start + HASH_SIZE] for start in range(0, len(value), HASH_SIZE)]


# -- Heads --


@frozen
class Head:
    """One size of a log with its root, as its domain signed it."""

    domain: str
    epoch: int
    size: int
    root: bytes
    time: int  # when it was signed, seconds since 1970
    vrf: bytes  # the key that labels are proved with
    statement: Statement


def make_head(signers: Sequence[Signer], domain: str, epoch: int, size: int, root: bytes, key: bytes, time: int) -> Head:
    """The signed head of a log; ``key`` is the public key of its VRF."""
    body: dict[str, JSON] = {"domain": domain, "epoch": epoch, "size": size, "root": b64(root), "time": time, "vrf": b64(key)}
    return Head(domain, epoch, size, root, time, key, signed(HEAD, body, *signers))


def read_head(value: object, domain: str) -> Head:
    """The head of ``domain``, its signature not checked; raises Malformed."""
    statement = Statement.decode(plain(value), HEAD, _BODY)
    body = statement.body
    if text(body, "domain") != domain:
        raise Malformed("a head of another log")
    return Head(
        domain,
        integer(body, "epoch"),
        integer(body, "size"),
        unb64(body.get("root"), HASH_SIZE),
        integer(body, "time"),
        unb64(body.get("vrf"), vrf.PUBLIC_SIZE),
        statement,
    )


# -- Epochs --


@frozen
class Epoch:
    """A log goes on after its end was lost: from ``kept`` entries on, though ``size`` entries with ``root`` were signed in epoch ``of``."""

    domain: str
    epoch: int
    kept: int
    of: int
    size: int
    root: bytes
    time: int
    statement: Statement


def make_epoch(signers: Sequence[Signer], epoch: int, kept: int, last: Head, time: int) -> Epoch:
    """Declare ``epoch``, the one after that of ``last``."""
    previous: dict[str, JSON] = {"epoch": last.epoch, "size": last.size, "root": b64(last.root)}
    body: dict[str, JSON] = {"domain": last.domain, "epoch": epoch, "kept": kept, "previous": previous, "time": time}
    return Epoch(last.domain, epoch, kept, last.epoch, last.size, last.root, time, signed(EPOCH, body, *signers))


def read_epoch(value: object, domain: str) -> Epoch:
    """An epoch of the log of ``domain``, its signature not checked; raises Malformed."""
    statement = Statement.decode(plain(value), EPOCH, _BODY)
    body = statement.body
    previous = mapping(body.get("previous"), "previous")
    found = Epoch(
        text(body, "domain"),
        integer(body, "epoch", 1),
        integer(body, "kept"),
        integer(previous, "epoch"),
        integer(previous, "size"),
        unb64(previous.get("root"), HASH_SIZE),
        integer(body, "time"),
        statement,
    )
    if found.domain != domain or found.of >= found.epoch:
        raise Malformed("an epoch of another log")
    return found


def epoch_leaf(epoch: Epoch) -> Leaf:
    """The entry that an epoch begins with; its label is no secret, for everybody knows of epochs."""
    return Leaf("epoch", epoch_label(epoch.domain), epoch.epoch, epoch.statement.digest, False, epoch.time)


def epoch_label(domain: str) -> bytes:
    """The label of the epochs of a log."""
    return sha256(subject("epoch", domain)).digest()


# -- What is proved of one subject --


@frozen
class Entry:
    """One entry at its place."""

    number: int
    leaf: Leaf


def read_entry(number: object, octets: object) -> Entry:
    """An entry that somebody sent; raises Malformed."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0 or not isinstance(octets, bytes):
        raise Malformed("not an entry of a key log")
    try:
        return Entry(number, Leaf.decode(octets))
    except ValueError:
        raise Malformed("not an entry of a key log") from None


def check_history(entries: Sequence[Entry], label: bytes, kind: str) -> None:
    """Whether ``entries`` can be all that a log says about one subject, oldest first; raises Malformed."""
    before: Entry | None = None
    for entry in entries:
        leaf = entry.leaf
        if leaf.label != label or leaf.kind != kind:
            raise Malformed(f"entry {entry.number} is about somebody else")
        if leaf.previous != (None if before is None else before.number):
            raise Malformed(f"entry {entry.number} does not follow the one before it")
        if before is not None and (leaf.serial < before.leaf.serial or entry.number <= before.number):
            raise Malformed(f"the serial of entry {entry.number} goes back")
        before = entry


def check_included(entry: Entry, proof: Sequence[bytes], head: Head) -> None:
    """Whether ``proof`` shows that ``entry`` is in the log under ``head``; raises Malformed."""
    if not merkle.included(leaf_hash(entry.leaf.encode()), entry.number, head.size, proof, head.root):
        raise Malformed(f"entry {entry.number} is not in the log")


class Reader:
    """Replays a log from its first entry and collects what it says about some subjects.

    Only this shows that nothing is missing: proofs of single entries cannot.
    """

    def __init__(self, labels: Mapping[bytes, str]) -> None:
        """``labels`` with the kind of each subject."""
        self._labels = labels
        self._replay = merkle.Replay()
        self._last: dict[bytes, int] = {}
        self.found: dict[bytes, list[Entry]] = {label: [] for label in labels}

    @property
    def size(self) -> int:
        return self._replay.size

    def add(self, octets: bytes) -> None:
        """The next entry; raises Malformed if it cannot be."""
        if len(octets) != LEAF_SIZE:
            raise Malformed("an entry of a key log has another length")
        number = self._replay.size
        entry = read_entry(number, octets)
        leaf = entry.leaf
        if leaf.previous != self._last.get(leaf.label):
            raise Malformed(f"entry {number} does not follow the one before it")
        self._last[leaf.label] = number
        self._replay.add(octets)
        if leaf.label in self._labels:
            self.found[leaf.label].append(entry)

    def finish(self, head: Head) -> None:
        """All entries under ``head`` were given; raises Malformed if they are not what it signs."""
        if self._replay.size != head.size or self._replay.root() != head.root:
            raise Malformed("the entries of the log are not those that its head signs")
        for label, entries in self.found.items():
            check_history(entries, label, self._labels[label])


def read_kind(value: object) -> str:
    """A kind of entry that somebody asks for; raises Malformed."""
    if value not in KINDS:
        raise Malformed("no kind of entry")
    return str(value)

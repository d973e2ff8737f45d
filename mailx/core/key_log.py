"""The key logs of our own domains: signed heads, proofs, entries, and the epoch that begins after a restore.

:func:`mailx.store.key_log.append` writes entries, in the transaction of what they tell of; everything here reads what was
committed. Whoever asks may ask for anything: for what is not there :class:`NoSuchEntry` is raised, for a domain that is
not ours KeyError.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from time import time
from typing import Protocol

from attrs import evolve, frozen

from mailx.identity import key_log, merkle, vrf
from mailx.identity.encoding import canonical, parse
from mailx.identity.key_log import HISTORY_LIMIT, Entry, Epoch, Head
from mailx.identity.statements import Signer, Statement, signed
from mailx.mail.log_leaf import LABEL_SIZE, Leaf
from mailx.store import Store, Txn
from mailx.store import key_log as rows
from mailx.store.key_log import State

LEAVES_LIMIT = 1000  # that are told at a time
EPOCHS_LIMIT = 100
_SIGNERS = 3  # keys that sign a head
_FRESH = 3600  # seconds that a head is shown before it is signed again with a newer time


class NoSuchEntry(LookupError):
    """The log has no such entry, or never had such a size."""


class Keys(Protocol):
    """What a log needs of the keys of our domains; :class:`mailx.core.domain_keys.DomainKeys`."""

    def signers(self, domain: str) -> Sequence[Signer]:
        """The keys that are good now, the current one first: who has not heard of it believes one before it."""

    def log_secret(self, domain: str) -> bytes:
        """The secret of the domain's VRF; raises KeyError for a domain that is not ours."""

    def valid(self, domain: str) -> Collection[bytes]:
        """The public keys of the domain that are valid now."""


Statements = Callable[[str, str], Awaitable[Sequence[Statement]]]
"""(kind, name) to the signed statements about a subject that are kept."""


@frozen
class History:
    """What a log says about one subject: at most ``HISTORY_LIMIT`` of its last entries, with proofs under ``head``."""

    head: Head
    label: bytes  # proof of the VRF
    entries: tuple[Entry, ...]
    proofs: tuple[tuple[bytes, ...], ...]
    statements: tuple[Statement, ...]
    earlier: bool  # whether there are entries before these


class KeyLog:
    """The logs of the domains that ``keys`` knows."""

    def __init__(self, *, store: Store, keys: Keys, statements: Statements, now: Callable[[], float] = time) -> None:
        self._store = store
        self._keys = keys
        self._statements = statements
        self._now = now
        self._heads: dict[str, Head] = {}

    def ours(self, domain: str) -> bool:
        """Whether the domain has a log here."""
        try:
            return bool(self._keys.log_secret(domain))
        except KeyError:
            return False

    def keys(self, domain: str) -> Collection[bytes]:
        """The keys of a domain of ours that are valid now."""
        return self._keys.valid(domain)

    def is_key(self, domain: str, statement: Statement) -> bool:
        """Whether ``statement`` is signed by a key of ours that is valid now."""
        return any(statement.signed_by(key) for key in self._keys.valid(domain))

    async def domains(self) -> list[str]:
        """The domains of ours that have a log. Raises Unavailable."""
        return [domain for domain in await self._store.read(rows.domains) if self.ours(domain)]

    async def state(self, domain: str) -> State:
        """How far the log is. Raises Unavailable."""
        return await self._store.read(rows.state, domain)

    async def head(self, domain: str) -> Head:
        """The log as it is now, signed. Raises Unavailable."""
        key = vrf.public(self._keys.log_secret(domain))
        state, root = await self._store.read(_tree, domain)
        return self._signed(domain, state, root, key)

    def _signed(self, domain: str, state: State, root: bytes, key: bytes) -> Head:
        signers, now = self._keys.signers(domain)[:_SIGNERS], int(self._now())
        kept = self._heads.get(domain)
        same = kept is not None and (kept.epoch, kept.size, kept.root, kept.vrf) == (state.epoch, state.size, root, key)
        if kept is None or not same or not 0 <= now - kept.time < _FRESH or _signers(kept) != [each.public for each in signers]:
            kept = self._heads[domain] = key_log.make_head(signers, domain, state.epoch, state.size, root, key, now)
        return kept

    async def root(self, domain: str, size: int) -> bytes:
        """The root of the first ``size`` entries. Raises NoSuchEntry, Unavailable."""
        return await self._store.read(_root_at, domain, size)

    async def inclusion(self, domain: str, number: int, size: int) -> list[bytes]:
        """The proof that entry ``number`` is among the first ``size``. Raises NoSuchEntry, Unavailable."""
        return await self._prove(domain, size, lambda: merkle.inclusion(number, size))

    async def consistency(self, domain: str, old: int, size: int) -> list[bytes]:
        """The proof that the first ``old`` entries are the beginning of the first ``size``. Raises NoSuchEntry, Unavailable."""
        return await self._prove(domain, size, lambda: merkle.consistency(old, size) if old else [])

    async def _prove(self, domain: str, size: int, parts: Callable[[], list[list[merkle.Node]]]) -> list[bytes]:
        self._keys.log_secret(domain)
        try:
            wanted = parts()
        except ValueError:
            raise NoSuchEntry("no such entry") from None
        return await self._store.read(_proof, domain, size, wanted)

    async def leaves(self, domain: str, first: int, count: int) -> list[bytes]:
        """At most ``count`` and ``LEAVES_LIMIT`` entries from the one at ``first`` on. Raises Unavailable."""
        self._keys.log_secret(domain)
        return await self._store.read(rows.leaves, domain, first, min(count, LEAVES_LIMIT))

    async def epochs(self, domain: str) -> list[Epoch]:
        """The last ``EPOCHS_LIMIT`` epochs that were begun, oldest first, signed with the keys of now. Raises Unavailable."""
        self._keys.log_secret(domain)
        signers = self._keys.signers(domain)[:_SIGNERS]  # whoever asks believes one of these, and perhaps none of that time
        found = [key_log.read_epoch(parse(each), domain) for each in (await self._store.read(rows.epochs, domain))[-EPOCHS_LIMIT:]]
        return [evolve(each, statement=signed(key_log.EPOCH, each.statement.body, *signers)) for each in found]

    async def history(self, domain: str, kind: str, name: str) -> History:
        """What the log says about a subject, provable to whoever knows its name. Raises Unavailable.

        A subject without entries has an answer like any other: an empty one.
        """
        secret = self._keys.log_secret(domain)
        proof = vrf.prove(secret, key_log.subject(kind, name))
        statements = await self._statements(kind, name)
        label = vrf.output(proof)[:LABEL_SIZE]
        state, root, found, paths = await self._store.read(_history, domain, label)
        earlier = len(found) > HISTORY_LIMIT
        if earlier:
            found, paths = found[1:], paths[1:]
        wanted = {entry.leaf.digest for entry in found}
        told = tuple(each for each in statements if each.digest in wanted)
        head = self._signed(domain, state, root, vrf.public(secret))
        return History(head, proof, tuple(found), tuple(tuple(path) for path in paths), told, earlier)

    # What peers have of it.

    async def confirm(self, domain: str, size: int) -> None:
        """A peer keeps a head of ours with ``size`` entries. Raises Unavailable."""
        await self._store.write(rows.confirm, domain, size)

    async def begin_epoch(self, domain: str, last: Head) -> Epoch | None:
        """Go on behind ``last``, the head that peers keep and this log is not a continuation of. Raises Unavailable.

        None if the log is in a later epoch already.
        """
        state = await self.state(domain)
        if last.epoch < state.epoch:
            return None
        epoch = key_log.make_epoch(self._keys.signers(domain)[:_SIGNERS], last.epoch + 1, state.confirmed, last, int(self._now()))
        text = canonical(epoch.statement.encode())
        begun = await self._store.write(rows.add_epoch, domain, epoch.epoch, text, key_log.epoch_leaf(epoch))
        return epoch if begun else None


def _signers(head: Head) -> list[bytes]:
    return [each.key for each in head.statement.signatures]


# Jobs.


def _tree(txn: Txn, domain: str) -> tuple[State, bytes]:
    state = rows.state(txn, domain)
    return state, _root(txn, domain, state.size)


def _root(txn: Txn, domain: str, size: int) -> bytes:
    wanted = merkle.peaks(0, size)
    found = rows.nodes(txn, domain, wanted)
    return merkle.fold([found[node] for node in wanted])


def _root_at(txn: Txn, domain: str, size: int) -> bytes:
    if not 0 <= size <= rows.state(txn, domain).size:
        raise NoSuchEntry("the log never had this size")
    return _root(txn, domain, size)


def _proof(txn: Txn, domain: str, size: int, parts: list[list[merkle.Node]]) -> list[bytes]:
    if size > rows.state(txn, domain).size:
        raise NoSuchEntry("the log never had this size")
    found = rows.nodes(txn, domain, [node for part in parts for node in part])
    return merkle.proof(parts, found.__getitem__)


def _history(txn: Txn, domain: str, label: bytes) -> tuple[State, bytes, list[Entry], list[list[bytes]]]:
    """One entry more than are told, so that it is seen whether there are more."""
    state, root = _tree(txn, domain)
    found = [Entry(number, Leaf.decode(octets)) for number, octets in rows.labelled(txn, domain, label, state.size, HISTORY_LIMIT + 1)]
    paths = [_proof(txn, domain, state.size, merkle.inclusion(entry.number, state.size)) for entry in found]
    return state, root, found, paths

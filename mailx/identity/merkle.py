"""Merkle trees as of RFC 9162 2.1: which nodes a root or a proof needs, and whether a proof holds.

A tree of any size is made of complete nodes, named by (level, number): number ``n`` of level ``l`` covers the leaves from
``n << l`` up to ``(n + 1) << l``. What a log keeps is the hashes of those; this module says which are needed and folds
them. Sizes and proofs may come from anybody: checks answer False and never fail.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TypeAlias

from mailx.mail.log_leaf import HASH_SIZE, leaf_hash, node_hash

__all__ = [
    "EMPTY",
    "HASH_SIZE",
    "Node",
    "Replay",
    "consistency",
    "consistent",
    "fold",
    "included",
    "inclusion",
    "leaf_hash",
    "peaks",
    "proof",
]

Node: TypeAlias = tuple[int, int]  # level, number
EMPTY = sha256(b"").digest()  # the root of a tree without leaves
PROOF_LIMIT = 64  # hashes of one proof; a tree of 2**53 leaves needs fewer


def peaks(first: int, end: int) -> list[Node]:
    """The complete nodes that cover the leaves from ``first`` up to ``end``, of one of the subtrees that proofs consist of."""
    found = []
    while first < end:
        level = (end - first).bit_length() - 1
        found.append((level, first >> level))
        first += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash above ``peaks``; that of an empty tree if there are none."""
    if not hashes:
        return EMPTY
    above = hashes[-1]
    for left in reversed(hashes[:-1]):
        above = node_hash(left, above)
    return above


def inclusion(number: int, size: int) -> list[list[Node]]:
    """What proves that leaf ``number`` is in the tree of ``size`` leaves (2.1.3.1): for each hash of the proof the peaks to fold.

    Raises ValueError if there is no such leaf.
    """
    if not 0 <= number < size:
        raise ValueError("no such leaf")
    return [peaks(first, end) for first, end in _path(number, 0, size)]


def consistency(old: int, size: int) -> list[list[Node]]:
    """What proves that the tree of ``old`` leaves is the beginning of that of ``size`` (2.1.4.1); as for ``inclusion``.

    Raises ValueError unless 0 < old <= size.
    """
    if not 0 < old <= size:
        raise ValueError("no such trees")
    return [peaks(first, end) for first, end in _subproof(old, 0, size, True)]


def _path(number: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    if end - first == 1:
        return
    middle = first + _split(end - first)
    if number < middle:
        yield from _path(number, first, middle)
        yield middle, end
    else:
        yield from _path(number, middle, end)
        yield first, middle


def _subproof(old: int, first: int, end: int, whole: bool) -> Iterator[tuple[int, int]]:
    if old == end:
        if not whole:
            yield first, end
        return
    middle = first + _split(end - first)
    if old <= middle:
        yield from _subproof(old, first, middle, whole)
        yield middle, end
    else:
        yield from _subproof(old, middle, end, False)
        yield first, middle


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def included(hash: bytes, number: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows the leaf with ``hash`` at ``number`` in the tree of ``size`` leaves with ``root`` (2.1.3.2)."""
    if not 0 <= number < size or not _sound(proof):
        return False
    left, last = number, size - 1
    for each in proof:
        if last == 0:
            return False
        if left & 1 or left == last:
            hash = node_hash(each, hash)
            while left and not left & 1:
                left, last = left >> 1, last >> 1
        else:
            hash = node_hash(hash, each)
        left, last = left >> 1, last >> 1
    return last == 0 and hash == root


def consistent(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the tree of ``old`` leaves is the beginning of that of ``size`` leaves (2.1.4.2)."""
    if not 0 <= old <= size or not _sound(proof):
        return False
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof and old_root == EMPTY  # of nothing everything is a continuation
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        return False
    left, last = old - 1, size - 1
    while left & 1:
        left, last = left >> 1, last >> 1
    before = now = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if left & 1 or left == last:
            before, now = node_hash(each, before), node_hash(each, now)
            while left and not left & 1:
                left, last = left >> 1, last >> 1
        else:
            now = node_hash(now, each)
        left, last = left >> 1, last >> 1
    return last == 0 and before == old_root and now == root


def _sound(proof: Sequence[bytes]) -> bool:
    return len(proof) <= PROOF_LIMIT and all(len(each) == HASH_SIZE for each in proof)


class Replay:
    """Computes the roots of a tree whose leaves come one by one, in memory that grows with the logarithm of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, octets: bytes) -> None:
        """One leaf more."""
        hash, at = leaf_hash(octets), self.size
        while at & 1:
            hash, at = node_hash(self._peaks.pop(), hash), at >> 1
        self._peaks.append(hash)
        self.size += 1

    def root(self) -> bytes:
        """The root of the leaves so far."""
        return fold(self._peaks)


def proof(parts: Sequence[Sequence[Node]], hashes: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of the proof that consists of ``parts``."""
    return [fold([hashes(node) for node in part]) for part in parts]

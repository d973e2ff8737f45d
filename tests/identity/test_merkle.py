"""Merkle trees against the definitions of RFC 9162 2.1, written down once more without any economy."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity import merkle
from mailx.mail.log_leaf import node_hash

SIZE = 70
LEAVES = [b"leaf %d" % number for number in range(SIZE)]

# -- RFC 9162 2.1.1, 2.1.3.1 and 2.1.4.1, word for word --


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], b: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if b else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], b), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def node(at: merkle.Node) -> bytes:
    level, number = at
    return mth(LEAVES[number << level : (number + 1) << level])


ROOTS = [mth(LEAVES[:size]) for size in range(SIZE + 1)]
two = st.integers(1, SIZE).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size)))
broken = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 20), st.integers(0, 255)),
    st.tuples(st.just("drop"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("add"), st.integers(0, 20), st.integers(0, 255)),
)


def damage(proof: list[bytes], how: tuple[str, int, int]) -> list[bytes]:
    kind, at, bit = how
    if kind == "add":
        at %= len(proof) + 1
        return [*proof[:at], bytes([bit]) * 32, *proof[at:]]
    if not proof:
        return [bytes(32)]
    at %= len(proof)
    if kind == "drop":
        return proof[:at] + proof[at + 1 :]
    each = bytearray(proof[at])
    each[bit >> 3] ^= 1 << (bit & 7)
    return [*proof[:at], bytes(each), *proof[at + 1 :]]


class Trees(SynchronousTestCase):
    def test_roots(self) -> None:
        replay = merkle.Replay()
        for size, root in enumerate(ROOTS):
            self.assertEqual(merkle.fold([node(at) for at in merkle.peaks(0, size)]), root)
            self.assertEqual((replay.size, replay.root()), (size, root))
            if size < SIZE:
                replay.add(LEAVES[size])

    @given(two)
    def test_inclusion(self, which: tuple[int, int]) -> None:
        number, size = which[0] - 1, which[1]
        proof = merkle.proof(merkle.inclusion(number, size), node)
        self.assertEqual(proof, path(number, LEAVES[:size]))
        self.assertTrue(merkle.included(merkle.leaf_hash(LEAVES[number]), number, size, proof, ROOTS[size]))

    @given(two)
    def test_consistency(self, which: tuple[int, int]) -> None:
        old, size = which
        proof = merkle.proof(merkle.consistency(old, size), node)
        self.assertEqual(proof, subproof(old, LEAVES[:size], True))
        self.assertTrue(merkle.consistent(old, size, ROOTS[old], ROOTS[size], proof))

    @given(two, broken)
    def test_a_damaged_proof_of_inclusion_proves_nothing(self, which: tuple[int, int], how: tuple[str, int, int]) -> None:
        number, size = which[0] - 1, which[1]
        proof = damage(merkle.proof(merkle.inclusion(number, size), node), how)
        self.assertFalse(merkle.included(merkle.leaf_hash(LEAVES[number]), number, size, proof, ROOTS[size]))

    @given(two, broken)
    def test_a_damaged_proof_of_consistency_proves_nothing(self, which: tuple[int, int], how: tuple[str, int, int]) -> None:
        old, size = which
        proof = damage(merkle.proof(merkle.consistency(old, size), node), how)
        self.assertFalse(merkle.consistent(old, size, ROOTS[old], ROOTS[size], proof))

    @given(two, st.integers(0, SIZE - 1), st.integers(0, SIZE))
    def test_a_leaf_is_proved_at_its_place_only(self, which: tuple[int, int], place: int, other: int) -> None:
        number, size = which[0] - 1, which[1]
        proof = merkle.proof(merkle.inclusion(number, size), node)
        hash = merkle.leaf_hash(LEAVES[number])
        if place != number:
            self.assertFalse(merkle.included(hash, place, size, proof, ROOTS[size]))
            self.assertFalse(merkle.included(merkle.leaf_hash(LEAVES[place]), number, size, proof, ROOTS[size]))
        if other != size:
            self.assertFalse(merkle.included(hash, number, size, proof, ROOTS[other]))

    @given(two, st.integers(0, SIZE - 1))
    def test_a_rewritten_leaf_is_no_continuation(self, which: tuple[int, int], place: int) -> None:
        old, size = which
        changed = list(LEAVES)
        changed[place % old] += b"!"
        proof = subproof(old, changed[:size], True)
        self.assertFalse(merkle.consistent(old, size, ROOTS[old], mth(changed[:size]), proof))

    def test_an_inner_node_is_no_leaf(self) -> None:
        """What is hashed for a node, offered as a leaf, has another hash (RFC 9162 2.1.1)."""
        left, right = merkle.leaf_hash(LEAVES[0]), merkle.leaf_hash(LEAVES[1])
        self.assertNotEqual(merkle.leaf_hash(left + right), node_hash(left, right))

    def test_there_is_no_proof_of_what_is_not_there(self) -> None:
        for number, size in ((0, 0), (5, 5), (-1, 5)):
            self.assertRaises(ValueError, merkle.inclusion, number, size)
        for old, size in ((0, 5), (6, 5), (-1, 5)):
            self.assertRaises(ValueError, merkle.consistency, old, size)

    def test_the_empty_tree_is_the_beginning_of_every_tree(self) -> None:
        self.assertTrue(merkle.consistent(0, 7, merkle.EMPTY, ROOTS[7], []))
        self.assertFalse(merkle.consistent(0, 7, ROOTS[1], ROOTS[7], []))
        self.assertTrue(merkle.consistent(0, 0, merkle.EMPTY, merkle.EMPTY, []))

    @given(st.integers(-2, 2**70), st.integers(-2, 2**70), st.lists(st.binary(max_size=40), max_size=80))
    def test_whatever_is_claimed_the_checks_answer(self, one: int, other: int, proof: list[bytes]) -> None:
        self.assertFalse(merkle.included(b"x" * 32, one, other, proof, b"y" * 32))
        if one != other or proof:
            self.assertFalse(merkle.consistent(one, other, b"x" * 32, b"y" * 32, proof))

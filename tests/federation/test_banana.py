"""Banana and Jelly: what goes out comes back, in whatever pieces; what Twisted writes is read, and the other way round."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.spread import banana as stock
from twisted.trial.unittest import SynchronousTestCase

from mailx.federation import jelly
from mailx.federation.banana import Expression, Reader
from mailx.federation.banana_limits import BananaLimits, Violation
from mailx.federation.service import INTEGER
from tests.federation.hostile import banana

EXPRESSIONS = some.recursive(
    some.integers(-(2**63), 2**63) | some.binary(max_size=300), lambda inner: some.lists(inner, max_size=6), max_leaves=30
)
PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers(-INTEGER, INTEGER) | some.binary(max_size=300) | some.text(max_size=50),
    lambda inner: some.lists(inner, max_size=5) | some.dictionaries(some.text(max_size=20), inner, max_size=5),
    max_leaves=12,
)
LIMITS = BananaLimits()


def read(data: bytes, cuts: list[int] | None = None, limits: BananaLimits = LIMITS) -> list[Expression]:
    """The expressions in ``data``, fed in pieces that end at ``cuts``."""
    reader, found, at = Reader(limits), list[Expression](), 0
    sizes = 0
    for end in [*sorted(cuts or []), len(data)]:
        for expression, size in reader.feed(data[at:end]):
            found.append(expression)
            sizes += size
        at = max(at, end)
    if sizes != len(data) or reader.within:
        raise AssertionError("octets are not accounted for")
    return found


class Both(SynchronousTestCase):
    """There and back."""

    @given(some.lists(EXPRESSIONS, min_size=1, max_size=4), some.data())
    def test_expressions_in_pieces(self, expressions: list[Any], data: Any) -> None:
        octets = b"".join(map(banana, expressions))
        cuts = data.draw(some.lists(some.integers(0, len(octets)), max_size=12))
        self.assertEqual(read(octets, cuts), expressions)
        self.assertEqual(read(octets, list(range(len(octets)))), expressions)

    @given(some.dictionaries(some.text(max_size=20), PLAIN, max_size=5))
    def test_plain_values(self, value: dict[str, Any]) -> None:
        (expression,) = read(jelly.encode(value))
        decoded = jelly.decode(expression)
        self.assertEqual(decoded, value)
        self.assertEqual(repr(decoded), repr(value))  # True is not 1

    @given(EXPRESSIONS.filter(lambda value: isinstance(value, list)))
    def test_what_twisted_writes(self, expression: Any) -> None:
        self.assertEqual(read(stock.encode(expression)), [expression])

    @given(some.integers(-INTEGER, INTEGER), some.binary(max_size=100))
    def test_what_twisted_reads(self, number: int, data: bytes) -> None:
        class Stock(stock.Banana):
            got: list[Any] = []

            def expressionReceived(self, expression: Any) -> None:
                self.got = [expression]

        there = Stock()
        there.connectionMade()
        there.currentDialect = b"pb"
        there.dataReceived(jelly.encode({"a": number, "b": data}))
        self.assertEqual(there.got, [[b"dictionary", [[b"unicode", b"a"], number], [[b"unicode", b"b"], data]]])


class Memory(SynchronousTestCase):
    """What is kept of what has not ended."""

    def test_a_string_in_single_octets_costs_no_more(self) -> None:
        reader = Reader(LIMITS)
        data = banana([bytes(600_000)])
        found = [each for at in range(len(data)) for each in reader.feed(data[at : at + 1])]
        self.assertEqual([(expression, size) for expression, size in found], [([bytes(600_000)], len(data))])
        list(reader.feed(data[:500_000]))
        for _ in range(1000):
            list(reader.feed(b"\0"))
        self.assertLess(len(reader._parts), 10)

    def test_nothing_is_kept_of_what_is_announced(self) -> None:
        for data in (b"\x00\x00\x60\x72\x82", b"\x7f\x7f\x7f\x7f\x80", b"\x01\x80\x00\x00\x60\x72\x82"):
            reader = Reader(LIMITS)
            with self.assertRaises(Violation):
                list(reader.feed(data + bytes(100)))
            self.assertEqual((reader._parts, reader._rest), ([], b""))

    def test_limits_hold_for_each_expression(self) -> None:
        limits = BananaLimits(octets=1000, string=600, items=20)
        self.assertEqual(len(read(banana([bytes(590)]) * 5 + banana([0] * 19) * 5, limits=limits)), 10)
        for data in (banana([bytes(601)]), banana([bytes(500), bytes(500)]), banana([[0] * 10, [0] * 10])):
            with self.assertRaises(Violation):
                read(data, limits=limits)


class Fields(SynchronousTestCase):
    """Names of fields."""

    def test_octets_are_names_too(self) -> None:
        self.assertEqual(jelly.decode([b"dictionary", [b"a", 1]]), {"a": 1})

    def test_what_is_no_dictionary(self) -> None:
        for expression in (1, b"a", [], [b"list"], [b"None"], [b"dictionary", [[b"unicode", b"a"]]], [b"dictionary", b"a"]):
            with self.assertRaises(Violation):
                jelly.decode(expression)  # type: ignore[arg-type]

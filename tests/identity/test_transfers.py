"""Manifests and acknowledgements: what is written is read again, and nothing else."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from mailx.identity.encoding import Malformed
from mailx.identity.statements import SeedSigner
from mailx.identity.transfers import RECIPIENTS, Acknowledgement, Manifest, Taken
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Demands, Wish

KEY, OTHER = SeedSigner(b"k" * 32), SeedSigner(b"o" * 32)
LOCALS = st.one_of(
    st.from_regex(r"\A[a-z0-9.+_-]{1,20}\Z").filter(lambda s: not s.startswith(".")), st.just('quo"ted \\ part'), st.just("ünï")
)
ADDRESSES = st.builds(Address, LOCALS, st.sampled_from(["one.test", "two.example", "dömain.test"]))
WISHES = st.builds(Wish, st.integers(0, 15), st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=50))
DEMANDS = st.builds(Demands, st.booleans(), st.booleans(), st.sampled_from(["", "FULL", "HDRS"]), st.sampled_from(["", "an id"]))


@st.composite
def manifests(draw: Any) -> Manifest:
    recipients = tuple(draw(st.lists(ADDRESSES, min_size=1, max_size=5, unique=True)))
    wishes = {each: wish for each in recipients if (wish := draw(st.none() | WISHES)) is not None and wish != WISHES_NOTHING}
    sender = draw(st.none() | ADDRESSES)
    size, when = draw(st.integers(0, 2**40)), draw(st.integers(0, 2**40))
    demands = draw(DEMANDS)
    return Manifest(
        b"i" * 16,
        "one.test",
        "two.test",
        sender,
        recipients,
        size,
        b"d" * 32,
        when,
        demands,
        wishes,
        draw(st.sampled_from(["", "00-a-b-01"])),
    )


class Manifests(TestCase):
    @given(manifests())
    def test_round(self, manifest: Manifest) -> None:
        read, statement = Manifest.read(manifest.signed(KEY))
        self.assertEqual(read, manifest)
        self.assertTrue(statement.signed_by(KEY.public))
        self.assertFalse(statement.signed_by(OTHER.public))

    @given(manifests(), st.data())
    def test_whatever_is_changed_is_noticed(self, manifest: Manifest, data: Any) -> None:
        octets = bytearray(manifest.signed(KEY))
        place = data.draw(st.integers(0, len(octets) - 1))
        octets[place] ^= 1 << data.draw(st.integers(0, 7))
        try:
            read, statement = Manifest.read(bytes(octets))
        except Malformed:
            return
        self.assertFalse(statement.signed_by(KEY.public) and read != manifest)

    @given(
        st.binary(max_size=300)
        | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5).map(lambda v: json.dumps(v).encode())
    )
    def test_nonsense(self, octets: bytes) -> None:
        for read in (Manifest.read, Acknowledgement.read):
            self.assertRaises(Malformed, read, octets)

    def test_limits(self) -> None:
        one = Address("a", "two.test")
        many = tuple(Address(f"a{number}", "two.test") for number in range(RECIPIENTS + 1))
        fine = Manifest(b"i" * 16, "one.test", "two.test", None, (one,), 1, b"d" * 32, 1)
        for name, value in (
            ("recipients", many),
            ("recipients", (one, one)),
            ("recipients", ()),
            ("id", b"i" * 15),
            ("digest", b"d" * 31),
            ("size", -1),
            ("source", "ONE.test"),
            ("wishes", {one: Wish(16)}),
            ("wishes", {one: Wish(1, "x" * 501)}),
        ):
            values = {
                each: getattr(fine, each) for each in ("id", "source", "destination", "sender", "recipients", "size", "digest", "time")
            }
            self.assertRaises(Malformed, Manifest.read, Manifest(**{**values, name: value}).signed(KEY))

    def test_one_kind_is_not_another(self) -> None:
        manifest = Manifest(b"i" * 16, "one.test", "two.test", None, (Address("a", "two.test"),), 1, b"d" * 32, 1)
        self.assertRaises(Malformed, Acknowledgement.read, manifest.signed(KEY))


class Acknowledgements(TestCase):
    @given(
        st.dictionaries(
            ADDRESSES, st.builds(Taken, st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.integers(0, 2**40)), min_size=1
        )
    )
    def test_round(self, taken: dict[Address, Taken]) -> None:
        acknowledgement = Acknowledgement(b"i" * 16, "one.test", "two.test", taken)
        read, statement = Acknowledgement.read(acknowledgement.signed(KEY))
        self.assertEqual(read, acknowledgement)
        self.assertTrue(statement.signed_by(KEY.public))

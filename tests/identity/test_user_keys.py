"""Attestations of users' keys: what is read, what is good, whose signatures on mail count."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity.domain_keys import OVERLAP
from mailx.identity.encoding import Malformed, canonical, parse
from mailx.identity.statements import signed
from mailx.identity.user_keys import CLIENT, SERVER, VALID_SECONDS, Attestation, accepted, attested
from mailx.mail.address import Address
from tests.identity.signers import signer

NOW = 1_800_000_000
DAY = 86400
ME = Address("me", "example.org")
DOMAIN, FORMER, OTHER = signer("domain"), signer("former"), signer("other")
SEALING, SIGNING = b"s" * 32, signer("me").public


def made(serial: int = 1, at: int = NOW, revoked: bool = False, *signers: Any) -> Attestation:
    return attested(ME, SEALING, SIGNING, serial, at, SERVER, *(signers or (DOMAIN,)), revoked=revoked)


class Attestations(SynchronousTestCase):
    def test_one_comes_back(self) -> None:
        one = made()
        self.assertEqual(Attestation.decode(parse(canonical(one.statement.encode()))), one)
        self.assertEqual((one.address, one.holder, one.valid_until), (ME, SERVER, NOW + VALID_SECONDS))

    def test_it_is_good_by_the_key_of_its_domain_within_its_time(self) -> None:
        one = made()
        for keys, now, good in (
            ([DOMAIN.public], NOW, True),
            ([OTHER.public, DOMAIN.public], NOW, True),
            ([OTHER.public], NOW, False),
            ([], NOW, False),
            ([DOMAIN.public], NOW - DAY, False),
            ([DOMAIN.public], NOW + VALID_SECONDS, False),
        ):
            self.assertEqual(one.good(keys, now), good)
        self.assertFalse(made(revoked=True).good([DOMAIN.public], NOW))

    def test_after_a_rotation_whoever_knows_either_key_believes_it(self) -> None:
        one = made(1, NOW, False, DOMAIN, FORMER)
        for key in (DOMAIN, FORMER):
            self.assertTrue(one.good([key.public], NOW))

    def test_what_has_another_form_is_refused(self) -> None:
        body = dict(made().statement.body)
        for change in (
            {"address": "Me@example.org"},
            {"address": "me@EXAMPLE.org"},
            {"address": "me"},
            {"address": '"me"@example.org'},
            {"sealing": body["signing"]},
            {"signing": body["sealing"]},
            {"serial": 0},
            {"valid_until": NOW},
            {"valid_until": NOW + 3 * VALID_SECONDS},
            {"holder": "nobody"},
            {"revoked": 0},
            {"revoked": None},
        ):
            with self.assertRaises(Malformed):
                Attestation.of(signed("user-key", {**body, **change}, DOMAIN))
        with self.assertRaises(Malformed):
            Attestation.of(signed("domain-key", body, DOMAIN))

    @given(st.dictionaries(st.sampled_from(sorted(made().statement.body)), st.none() | st.integers() | st.text(max_size=9), min_size=1))
    def test_any_other_body_is_refused_or_read(self, change: dict[str, Any]) -> None:
        try:
            Attestation.of(signed("user-key", {**made().statement.body, **change}, DOMAIN))
        except Malformed:
            pass


class Accepted(SynchronousTestCase):
    def serials(self, history: list[Attestation], now: int) -> list[int]:
        return [each.serial for each in accepted(history, now)]

    def test_keys_that_were_replaced_count_for_the_overlap(self) -> None:
        history = [made(1, NOW - 100 * DAY), made(2, NOW - 50 * DAY), made(3, NOW)]
        self.assertEqual(self.serials(history, NOW), [3, 2])
        self.assertEqual(self.serials(history, NOW + OVERLAP), [3])

    def test_a_revocation_ends_everything_before_it(self) -> None:
        history = [made(1, NOW - DAY), made(2, NOW - 10, revoked=True)]
        self.assertEqual(self.serials(history, NOW), [])
        self.assertEqual(self.serials([*history, attested(ME, SEALING, SIGNING, 3, NOW, CLIENT, DOMAIN)], NOW), [3])
        self.assertEqual(self.serials([], NOW), [])

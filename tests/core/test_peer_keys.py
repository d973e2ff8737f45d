"""Which keys follow from those that were believed, for any history."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import peer_keys
from mailx.core.peer import HTTPS, MAILX, Found, Known
from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.statements import SeedSigner

THERE = "there.example"
START, DAY = 1_700_000_000, 86400
RECOVERY, THIEF = SeedSigner(b"r" * 32), SeedSigner(b"t" * 32)
KEYS = [SeedSigner(bytes([number]) * 32) for number in range(1, 12)]
STOLEN = [SeedSigner(bytes([number]) * 32) for number in range(101, 112)]

Reasons = st.lists(st.sampled_from((domain_keys.ROTATION, domain_keys.RECOVERY)), min_size=1, max_size=6)


def history(reasons: list[str], keys: list[SeedSigner] = KEYS, recovery: SeedSigner = RECOVERY) -> list[DomainKey]:
    """A domain's keys, a day apart."""
    made = [domain_keys.first(THERE, recovery.public, START, keys[0])]
    for number, reason in enumerate(reasons, 1):
        if reason == domain_keys.ROTATION:
            made.append(domain_keys.rotated(made[-1], keys[number - 1], keys[number], START + number * DAY))
        else:
            made.append(domain_keys.recovered(made[-1], recovery, keys[number], START + number * DAY))
    return made


def known(keys: list[DomainKey]) -> Known:
    return Known(THERE, True, HTTPS, keys[-1].key, tuple((key, key.created) for key in keys))


def found(keys: list[DomainKey]) -> Found:
    return Found(MAILX, source=HTTPS, key=keys[-1].key, history=domain_keys.chain(keys))


class Histories(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(Reasons, st.data())
    def test_what_the_owner_did_is_followed_and_never_taken_back(self, reasons: list[str], data: st.DataObject) -> None:
        every = history(reasons)
        place = st.integers(1, len(every))
        before, after = data.draw(place), data.draw(place)
        verdict, kept = peer_keys.judged(known(every[:before]), found(every[:after]), START + 10 * DAY)
        if after > before:
            self.assertIn(verdict, (peer_keys.ROTATION, peer_keys.RECOVERY))
            self.assertEqual([key.key for key, _ in kept], [key.key for key in every[:after]])
        else:
            self.assertEqual(verdict, peer_keys.SAME if after == before else peer_keys.UNANNOUNCED)
            self.assertEqual(kept[-1][0].key, every[before - 1].key)

    @settings(max_examples=60, deadline=None)
    @given(Reasons, Reasons)
    def test_the_keys_of_somebody_else_are_never_followed(self, reasons: list[str], others: list[str]) -> None:
        here = known(history(reasons))
        forged = history(others, STOLEN, THIEF)
        verdict, kept = peer_keys.judged(here, found(forged), START + 10 * DAY)
        self.assertEqual((verdict, kept), (peer_keys.UNANNOUNCED, here.history))
        for key in forged:
            self.assertEqual(peer_keys.announced(here, key, START + 10 * DAY), (peer_keys.UNANNOUNCED, here.history))

    @settings(max_examples=40, deadline=None)
    @given(Reasons)
    def test_the_owner_overtakes_a_thief_who_has_the_domain_key(self, reasons: list[str]) -> None:
        """Whatever a thief rotated in, the recovery key ends it."""
        owned = history([])
        stolen = [*owned]
        for number, _ in enumerate(reasons):
            holder = KEYS[0] if number == 0 else STOLEN[number - 1]
            stolen.append(domain_keys.rotated(stolen[-1], holder, STOLEN[number], START + (number + 1) * DAY))
        recovered = [*owned, domain_keys.recovered(owned[-1], RECOVERY, KEYS[9], START + 9 * DAY)]
        verdict, kept = peer_keys.judged(known(stolen), found(recovered), START + 10 * DAY)
        self.assertEqual(verdict, peer_keys.RECOVERY)
        following = Known(THERE, True, HTTPS, kept[-1][0].key, kept)
        self.assertEqual(following.keys(START + 10 * DAY), (KEYS[9].public,))

    def test_a_key_without_its_statement(self) -> None:
        """A static key, or one that DNSSEC alone proved."""
        every = history([domain_keys.ROTATION, domain_keys.RECOVERY])
        for place, verdict in ((0, peer_keys.RECOVERY), (1, peer_keys.RECOVERY), (2, peer_keys.SAME)):
            bare = Known(THERE, True, HTTPS, every[place].key)
            self.assertEqual(peer_keys.judged(bare, found(every), START + 10 * DAY)[0], verdict)
        stranger = Known(THERE, True, HTTPS, THIEF.public)
        self.assertEqual(peer_keys.judged(stranger, found(every), START + 10 * DAY), (peer_keys.UNANNOUNCED, ()))
        self.assertEqual(peer_keys.announced(Known(THERE, True, HTTPS, every[0].key), every[1], START + DAY)[0], peer_keys.ROTATION)
        self.assertEqual(peer_keys.announced(stranger, every[1], START + DAY)[0], peer_keys.UNANNOUNCED)

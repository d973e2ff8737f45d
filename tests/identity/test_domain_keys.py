"""Histories of domain keys: what may follow what, and what a thief can and cannot do."""

from collections.abc import Sequence

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity.domain_keys import (
    OVERLAP,
    RECOVERY,
    RECOVERY_DELAY,
    RECOVERY_STEP,
    ROTATION,
    SAME,
    SKEW,
    UNANNOUNCED,
    DomainKey,
    begun_again,
    chain,
    first,
    follows,
    recovered,
    recoveries,
    recovery_changed,
    rotated,
    succession,
    valid,
)
from mailx.identity.encoding import Malformed, key_text
from mailx.identity.statements import signed
from tests.identity.signers import signer

NOW = 1_800_000_000
DAY = 86400
K1, K2, K3, R, S, T = (signer(name) for name in ("one", "two", "three", "recovery", "second recovery", "thief"))
FIRST = first("example.org", R.public, NOW, K1)


def publics(history: Sequence[DomainKey], now: int) -> list[bytes]:
    return list(valid(history, now))


class Following(SynchronousTestCase):
    def test_a_rotation_is_signed_by_the_key_before(self) -> None:
        second = rotated(FIRST, K1, K2, NOW + DAY)
        self.assertEqual(follows(FIRST, second), ROTATION)
        self.assertEqual((second.serial, second.previous, second.recovery), (2, K1.public, R.public))

    def test_a_recovery_is_signed_by_the_recovery_key_and_jumps(self) -> None:
        second = recovered(FIRST, R, K2, NOW + DAY)
        self.assertEqual(follows(FIRST, second), RECOVERY)
        self.assertGreaterEqual(second.serial, RECOVERY_STEP)
        self.assertEqual(follows(second, recovered(second, R, K3, NOW + DAY)), RECOVERY)

    def test_a_key_that_nobody_signed_is_unannounced(self) -> None:
        self.assertEqual(follows(FIRST, first("example.org", R.public, NOW, T)), UNANNOUNCED)
        self.assertEqual(follows(FIRST, rotated(FIRST, T, T, NOW)), UNANNOUNCED)
        self.assertEqual(follows(FIRST, recovered(FIRST, T, K2, NOW)), UNANNOUNCED)
        self.assertEqual(follows(FIRST, begun_again("example.org", T, K2, NOW)), UNANNOUNCED)

    def test_nothing_goes_back(self) -> None:
        second = rotated(FIRST, K1, K2, NOW + DAY)
        third = rotated(second, K2, K3, NOW + 2 * DAY)
        for old, new in ((second, FIRST), (second, second), (FIRST, third), (third, second)):
            self.assertEqual(follows(old, new), UNANNOUNCED)
        again = recovered(third, R, K1, NOW + 3 * DAY)
        self.assertEqual(follows(recovered(again, R, K2, NOW + 4 * DAY), again), UNANNOUNCED)  # a recovery is not replayed

    def test_a_rotation_cannot_change_the_recovery_key_on_the_way(self) -> None:
        body = {**rotated(FIRST, K1, K2, NOW).statement.body, "recovery": key_text(T.public)}
        self.assertEqual(follows(FIRST, DomainKey.of(signed("domain-key", body, K2, K1))), UNANNOUNCED)

    def test_the_key_of_another_domain_never_follows(self) -> None:
        body = {**rotated(FIRST, K1, K2, NOW).statement.body, "domain": "example.com"}
        self.assertEqual(follows(FIRST, DomainKey.of(signed("domain-key", body, K2, K1))), UNANNOUNCED)


class Reading(SynchronousTestCase):
    def test_statements_that_contradict_themselves_are_refused(self) -> None:
        good = dict(FIRST.statement.body)
        for change in (
            {"serial": 0},
            {"serial": True},
            {"serial": "1"},
            {"created": -1},
            {"reason": "whim"},
            {"reason": "rotation"},
            {"previous": key_text(K2.public)},
            {"recovery": key_text(K1.public)},
            {"domain": "Example.org"},
            {"key": "x"},
        ):
            with self.assertRaises(Malformed):
                DomainKey.of(signed("domain-key", {**good, **change}, K1))  # type: ignore[dict-item]

    def test_a_key_proves_that_its_holder_wants_it(self) -> None:
        with self.assertRaises(Malformed):
            DomainKey.of(signed("domain-key", FIRST.statement.body, R))
        with self.assertRaises(Malformed):
            DomainKey.of(evolve(FIRST.statement, kind="user-key"))

    @given(st.dictionaries(st.sampled_from(sorted(FIRST.statement.body)), st.none() | st.integers() | st.text(max_size=9), min_size=1))
    def test_any_other_body_is_refused_or_read(self, change: dict[str, object]) -> None:
        try:
            DomainKey.of(signed("domain-key", {**FIRST.statement.body, **change}, K1))  # type: ignore[dict-item]
        except Malformed:
            pass


class Chains(SynchronousTestCase):
    def setUp(self) -> None:
        self.second = rotated(FIRST, K1, K2, NOW + DAY)
        self.third = recovered(self.second, R, K3, NOW + 2 * DAY)
        self.history = (FIRST, self.second, self.third)

    def test_a_whole_history_or_its_end_is_proved(self) -> None:
        self.assertEqual(chain([key.statement for key in self.history], NOW + 3 * DAY), self.history)
        self.assertEqual(chain(self.history[1:]), self.history[1:])

    def test_one_with_a_gap_in_disorder_or_of_the_future_is_not(self) -> None:
        forked = rotated(FIRST, K1, T, NOW + DAY)
        for bad in ((), (self.second, FIRST), (FIRST, FIRST), (FIRST, self.second, rotated(forked, T, K3, NOW + 2 * DAY)), (FIRST,) * 65):
            with self.assertRaises(Malformed):
                chain(bad)
        with self.assertRaises(Malformed):
            chain(self.history, NOW + 2 * DAY - SKEW - 1)

    def test_keys_end_with_the_overlap_and_at_once_with_a_recovery(self) -> None:
        history = (FIRST, self.second)
        self.assertEqual(publics(history, NOW + 2 * DAY), [K2.public, K1.public])
        self.assertEqual(publics(history, NOW + DAY + OVERLAP), [K2.public])
        self.assertEqual(publics(self.history, NOW + 2 * DAY), [K3.public])

    def test_peers_see_what_is_new(self) -> None:
        self.assertEqual(succession(FIRST, (FIRST,)), SAME)
        self.assertEqual(succession(FIRST, (FIRST, self.second)), ROTATION)
        self.assertEqual(succession(FIRST, (self.second,)), ROTATION)  # a shortened history
        self.assertEqual(succession(FIRST, self.history), RECOVERY)
        self.assertEqual(succession(self.second, self.history), RECOVERY)
        self.assertEqual(succession(self.third, (FIRST, self.second)), UNANNOUNCED)
        self.assertEqual(succession(FIRST, (first("example.org", S.public, NOW, T),)), UNANNOUNCED)


class Thief(SynchronousTestCase):
    """Somebody has the domain key; the recovery key lies in a safe."""

    def test_whatever_the_thief_announced_the_recovery_key_takes_the_domain_back(self) -> None:
        known = FIRST
        history = [FIRST]
        for name in ("t1", "t2", "t3"):
            history.append(rotated(history[-1], K1 if len(history) == 1 else signer(f"t{len(history) - 1}"), signer(name), NOW))
            self.assertEqual(succession(known, history), ROTATION)  # nobody can tell yet
            known = history[-1]
        ours = (FIRST, recovered(FIRST, R, K2, NOW + 1))
        self.assertEqual(succession(known, ours, recoveries([(key, NOW) for key in history], NOW + 1)), RECOVERY)
        self.assertEqual(publics(ours, NOW + 1), [K2.public])

    def test_the_thief_cannot_push_the_recovery_key_aside_at_once(self) -> None:
        stolen = recovery_changed(FIRST, K1, T.public, NOW)
        further = recovery_changed(stolen, K1, signer("t").public, NOW, T)  # proved, but by a key that is not believed for long enough
        seen = [(FIRST, NOW - DAY), (stolen, NOW), (further, NOW + 1)]
        good = recoveries(seen, NOW + RECOVERY_DELAY - 1)
        self.assertIn(R.public, good)
        ours = recovered(FIRST, R, K2, NOW + 2)
        self.assertEqual(succession(further, (FIRST, ours), good), RECOVERY)
        self.assertNotIn(R.public, recoveries(seen, NOW + RECOVERY_DELAY))

    def test_dates_of_long_ago_do_not_help_the_thief(self) -> None:
        """A peer counts from when it saw the change."""
        old = first("example.org", R.public, NOW - 400 * DAY, K1)
        stolen = recovery_changed(old, K1, T.public, NOW - 399 * DAY)
        self.assertIn(R.public, recoveries([(old, NOW - 300 * DAY), (stolen, NOW)], NOW + 1))

    def test_the_owner_changes_the_recovery_key_at_once_by_the_one_before(self) -> None:
        changed = recovery_changed(FIRST, K1, S.public, NOW, R)
        self.assertEqual(recoveries([(FIRST, NOW), (changed, NOW)], NOW + 1), (S.public,))
        self.assertEqual(chain((FIRST, changed)), (FIRST, changed))
        self.assertEqual(succession(changed, (FIRST, recovered(FIRST, R, T, NOW + 1))), UNANNOUNCED)

    def test_a_lost_one_is_replaced_after_a_while_and_both_are_good_until_then(self) -> None:
        changed = recovery_changed(FIRST, K1, S.public, NOW)
        seen = [(FIRST, NOW), (changed, NOW)]
        self.assertEqual(set(recoveries(seen, NOW + 1)), {R.public, S.public})
        self.assertEqual(recoveries(seen, NOW + RECOVERY_DELAY), (S.public,))
        self.assertEqual(publics((FIRST, changed), NOW), [K1.public])

    def test_a_server_that_lost_everything_begins_again(self) -> None:
        known = rotated(FIRST, K1, K2, NOW)
        again = begun_again("example.org", R, K3, NOW + DAY)
        self.assertIsNone(again.previous)
        self.assertEqual(succession(known, chain((again,))), RECOVERY)
        self.assertEqual(succession(recovered(known, R, K2, NOW), (again,)), RECOVERY)  # also after an earlier recovery

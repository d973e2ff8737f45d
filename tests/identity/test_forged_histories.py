"""Histories made to deceive a peer that knows a key: by whoever has the name of the domain, its key, or an old recovery key."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import peer_keys
from mailx.core.peer import HTTPS, KEYS_KEPT, MAILX, Found, Known
from mailx.identity.domain_keys import (
    RECOVERY,
    RECOVERY_DELAY,
    ROTATION,
    UNANNOUNCED,
    DomainKey,
    chain,
    first,
    follows,
    recovered,
    recoveries,
    recovery_changed,
    rotated,
    succession,
)
from mailx.identity.statements import SeedSigner, signed
from tests.identity.signers import signer

NOW = 1_800_000_000
DAY = 86400
K1, K2, K3, R, S, T, U = (signer(name) for name in ("one", "two", "three", "recovery", "second recovery", "thief", "thief's recovery"))
FIRST = first("example.org", R.public, NOW, K1)
GENUINE = recovered(FIRST, R, K2, NOW + DAY)


def forged(serial: int = 1) -> list[DomainKey]:
    """What a stranger can put before a recovery that the owner made, so that the stranger's recovery key stands there, too."""
    begun = first("example.org", U.public, NOW, T)
    while begun.serial < serial:
        begun = rotated(begun, T, T2 if begun.key == T.public else T, NOW)
    holder = T if begun.key == T.public else T2
    return [begun, recovery_changed(begun, holder, R.public, NOW)]


T2 = signer("thief's second")


def known(*keys: DomainKey, seen: int = NOW) -> Known:
    return Known("example.org", True, HTTPS, keys[-1].key, tuple((key, seen) for key in keys))


def found(keys: list[DomainKey]) -> Found:
    return Found(MAILX, source=HTTPS, key=keys[-1].key, history=chain(keys, NOW + 100 * DAY))


class WithTheName(SynchronousTestCase):
    """The thief can answer for the domain's site and DNS, and has none of its keys."""

    def test_a_recovery_key_from_before_the_known_key_is_not_believed(self) -> None:
        history = [*forged(), GENUINE]
        history.append(recovered(GENUINE, U, T, NOW + DAY))
        self.assertEqual(len(chain(history)), 4)  # it is a history, though not that of the domain
        self.assertEqual(succession(GENUINE, history, (R.public,)), UNANNOUNCED)
        for here in (known(FIRST, GENUINE), known(GENUINE), Known("example.org", True, HTTPS, GENUINE.key)):
            verdict, kept = peer_keys.judged(here, found(history), NOW + 2 * DAY)
            self.assertEqual((verdict, kept), (UNANNOUNCED, here.history))

    def test_nor_behind_a_recovery_that_was_not_seen_yet(self) -> None:
        history = [*forged(), GENUINE]
        history.append(recovered(GENUINE, U, T, NOW + DAY))
        here = known(FIRST)
        self.assertEqual(peer_keys.judged(here, found(history), NOW + 2 * DAY), (UNANNOUNCED, here.history))

    def test_what_stands_before_a_recovery_that_is_followed_is_not_kept(self) -> None:
        history = [*forged(3), GENUINE]
        verdict, kept = peer_keys.judged(known(FIRST), found(history), NOW + 2 * DAY)
        self.assertEqual((verdict, [key for key, _ in kept]), (RECOVERY, [FIRST, GENUINE]))
        self.assertEqual(recoveries(kept, NOW + 2 * DAY), (R.public,))


class WithAnOldRecoveryKey(SynchronousTestCase):
    def test_a_date_of_long_ago_does_not_make_it_good_again(self) -> None:
        changed = recovery_changed(FIRST, K1, S.public, NOW)
        here = known(FIRST, changed)
        old = recovered(changed, R, T, NOW + DAY)
        verdict, _ = peer_keys.judged(here, found([FIRST, changed, old]), NOW + 2 * DAY)
        self.assertEqual(verdict, RECOVERY)  # the owner's right
        verdict, kept = peer_keys.judged(here, found([FIRST, changed, old]), NOW + RECOVERY_DELAY + DAY)
        self.assertEqual((verdict, kept), (UNANNOUNCED, here.history))


class WithTheDomainKey(SynchronousTestCase):
    """The recovery key in the owner's safe must take the domain back, whatever the thief announces meanwhile."""

    def taken_back(self, here: Known, now: int, at: int = NOW + 1) -> None:
        ours = recovered(FIRST, R, K2, at)
        verdict, kept = peer_keys.judged(here, found([FIRST, ours]), now)
        self.assertEqual(verdict, RECOVERY)
        self.assertEqual(Known("example.org", True, HTTPS, kept[-1][0].key, kept).keys(now), (K2.public,))
        self.assertEqual(peer_keys.announced(here, ours, now)[0], RECOVERY)

    def follow(self, here: Known, key: DomainKey, now: int) -> Known:
        verdict, history = peer_keys.announced(here, key, now)
        self.assertEqual(verdict, ROTATION)
        return evolve(here, key=key.key, history=peer_keys.shortened(history, now))

    def test_naming_the_recovery_key_again_does_not_take_its_rank(self) -> None:
        stolen = recovery_changed(FIRST, K1, U.public, NOW)
        again = recovery_changed(stolen, K1, R.public, NOW)
        alone = recovery_changed(again, K1, U.public, NOW, U)
        here = known(FIRST)
        for key in (stolen, again, alone):
            here = self.follow(here, key, NOW)
        self.assertIn(R.public, here.recoveries(NOW + DAY))
        self.taken_back(here, NOW + DAY)

    def test_a_date_after_the_owners_does_not_lock_the_owner_out(self) -> None:
        here = self.follow(known(FIRST), rotated(FIRST, K1, T, NOW + 3600), NOW + 3600)
        self.taken_back(here, NOW + 3700, at=NOW + 1800)

    def test_nor_does_a_date_of_the_future(self) -> None:
        here = known(FIRST)
        self.assertEqual(peer_keys.announced(here, rotated(FIRST, K1, T, NOW + 400 * DAY), NOW), (UNANNOUNCED, here.history))

    def test_nor_does_the_highest_serial(self) -> None:
        """A recovery key that is good beside the owner's may recover, and must leave the owner's recovery a higher serial."""
        far = 2**53 - 1
        for made in (NOW, NOW - 40 * DAY):  # dates of long ago, by which the owner's recovery key would be over
            begun = first("example.org", R.public, NOW - 50 * DAY, K1)
            stolen = recovery_changed(begun, K1, U.public, made)
            false = {**recovered(stolen, U, T, made + 31 * DAY if made < NOW else NOW).statement.body, "serial": far}
            outrun = DomainKey.of(signed("domain-key", false, T, U))
            here = known(begun)
            self.assertEqual(peer_keys.judged(here, found([begun, stolen, outrun]), NOW), (UNANNOUNCED, here.history))
            here = self.follow(here, stolen, NOW)
            self.assertEqual(peer_keys.announced(here, outrun, NOW), (UNANNOUNCED, here.history))
            beside = recovered(stolen, U, T, NOW, eldest=False)
            self.assertEqual((beside.serial, peer_keys.judged(here, found([begun, stolen, beside]), NOW)[0]), (3, RECOVERY))
            verdict, history = peer_keys.announced(here, beside, NOW)
            self.assertEqual(verdict, RECOVERY)
            here = evolve(here, key=beside.key, history=history)
            ours = recovered(begun, R, K2, NOW + 60)
            self.assertEqual(peer_keys.judged(here, found([begun, ours]), NOW + 3600)[0], RECOVERY)

    def test_behind_the_owners_recovery_it_is_the_same(self) -> None:
        ours = recovered(FIRST, R, K2, NOW)
        stolen = recovery_changed(ours, K2, U.public, NOW)
        outrun = recovered(stolen, U, T, NOW + 1)
        self.assertGreater(outrun.serial, stolen.serial + 1)
        self.assertEqual(succession(FIRST, (FIRST, ours, stolen, outrun), (R.public,)), UNANNOUNCED)
        self.assertEqual(succession(FIRST, (FIRST, ours, stolen), (R.public,)), RECOVERY)

    def test_nor_do_very_many_keys(self) -> None:
        here, holder = known(FIRST), K1
        stolen = recovery_changed(FIRST, K1, U.public, NOW)
        here = self.follow(here, stolen, NOW)
        for number in range(2 * KEYS_KEPT):
            following = SeedSigner(bytes([number + 1]) * 32)
            here = self.follow(here, rotated(here.history[-1][0], holder, following, NOW), NOW)
            holder = following
        self.assertLessEqual(len(here.history), KEYS_KEPT)
        self.assertEqual(len(here.keys(NOW)), len(set(here.keys(NOW))))
        self.assertIn(R.public, here.recoveries(NOW + DAY))
        self.assertNotIn(R.public, here.recoveries(NOW + RECOVERY_DELAY))
        read = Known.decode(here.encode(), mailx=True)
        self.taken_back(read, NOW + DAY)


class Dates(SynchronousTestCase):
    def test_rotations_never_go_back(self) -> None:
        second = rotated(FIRST, K1, K2, NOW + DAY)
        self.assertEqual(follows(second, rotated(evolve(second, created=NOW), K2, K3, NOW)), UNANNOUNCED)

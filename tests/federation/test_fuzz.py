"""A slice of the fuzzing of channels; ``make fuzz`` runs a million inputs, and says how memory grew."""

import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.federation.fuzzing import Tally, resident, run

FULL = os.environ.get("MAILX_HYPOTHESIS") == "fuzz"
INPUTS = 1_000_000 if FULL else 4_000
SLICE = 2_000
GROWTH = 16 * 1024 * 1024  # octets that the process may grow after the first tenth


class Fuzz(SynchronousTestCase):
    """Whatever comes, an end survives it, and keeps nothing."""

    def test_hostile_octets(self) -> None:
        tally = Tally()
        begin = 0
        for seed in range(INPUTS // SLICE):
            run(seed, SLICE, tally)
            if tally.inputs <= INPUTS // 10 or not begin:
                begin = resident()
        grown = resident() - begin
        if FULL:
            sys.stderr.write(f"{tally}, memory {begin} octets after the first tenth, grown by {grown}\n")
        self.assertEqual(tally.inputs, INPUTS)
        self.assertGreater(tally.refused, INPUTS // 4)
        self.assertGreater(tally.inputs - tally.refused, INPUTS // 10)
        self.assertLess(grown, GROWTH)

"""Made-up commands against the protocol in memory: a slice of them here, a million by ``make fuzz`` (MAILX_HYPOTHESIS=fuzz)."""

import os
import sys
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.imap.fuzz.grammar import Grammar
from tests.imap.fuzz.player import campaign

INPUTS = int(os.environ.get("MAILX_FUZZ_INPUTS", "1000000" if os.environ.get("MAILX_HYPOTHESIS") == "fuzz" else "1500"))
SEED = int(os.environ.get("MAILX_FUZZ_SEED", "1"))
_GROWTH = 40_000_000  # octets that the process may grow by after the first 20,000 inputs


class GrammarTests(SynchronousTestCase):
    def test_sentences(self) -> None:
        """Whatever is drawn ends, is short, and has nothing of the notation left in it."""
        grammar = Grammar(Random(1))
        for _ in range(2000):
            command = grammar.command()
            self.assertLess(len(command), 20_000)
            self.assertNotIn(b"<astring>", command)
            self.assertNotIn(b"{size", command)


class FuzzTests(TestCase):
    timeout = 36_000 if INPUTS > 100_000 else 120

    def test_every_input_is_answered(self) -> Deferred[None]:
        """A tagged answer each, no leak, no hang, no failure in the log, and no growth."""
        return Deferred.fromCoroutine(self.play())

    async def play(self) -> None:
        counts, held = await campaign(self, INPUTS, SEED)
        if INPUTS > 100_000:
            print(f"answers: {counts}; memory in MB: {[octets // 1_000_000 for octets in held]}", file=sys.stderr)
        self.assertGreater(counts[b"OK"], INPUTS // 20)
        self.assertGreater(counts[b"BAD"], INPUTS // 4)
        self.assertLess(held[-1] - held[0], _GROWTH)
        self.assertEqual(self.flushLoggedErrors(), [])

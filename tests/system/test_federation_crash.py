"""Three real servers send each other mail while they are killed and cut off: every message is there once.

``make crash-federation`` does the same with 10,000 messages.
"""

import random
import shutil
import tempfile
from pathlib import Path
from unittest import TestCase

from bench.crash_federation import Trial


class Crash(TestCase):
    """A slice of the trial."""

    def test_each_message_once(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="mailx-"))
        self.addCleanup(shutil.rmtree, directory)
        random.seed(5)
        trial = Trial(directory)
        self.addCleanup(trial.stop)
        trial.start()
        loads = trial.run(600, 0.3, at_least=("kill", "cut", "hold"))
        trial.settle()
        self.assertEqual(trial.faults(loads), [])
        self.assertGreaterEqual(sum(len(load.acknowledged) for load in loads), 600)
        self.assertEqual(set(trial.troubles), {"kill", "cut", "hold"})
        for link in trial.links.values():
            self.assertGreater(link.carried, 0)

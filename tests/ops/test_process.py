"""Limits, as a process of its own gets them."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_SCRIPT = """
from mailx.ops.process import forbid_core_dumps, raise_open_files
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 100))
forbid_core_dumps()
print(raise_open_files(), resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))
"""


class LimitTests(SynchronousTestCase):
    def test_limits(self) -> None:
        said = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout
        self.assertEqual(said, "100 (100, 100) (0, 0)\n")

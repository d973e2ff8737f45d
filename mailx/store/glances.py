"""Reading on the reactor thread what lies in the system's memory anyway: the way to a reader's thread and back costs many times as much.

Nobody can ask whether the pages of a row lie in memory, but the system counts for each thread what was fetched from a disk for it. So
a glance that had to, and took long, is the last for a while: meanwhile the readers' threads read, and what they read is in memory
then. Whatever would have to wait for a lock is theirs, too.
"""

import sqlite3
from collections.abc import Callable, Mapping
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter
from typing import Any

SLOW_SECONDS = 0.002  # that a disk may keep the reactor thread
SHARE = 100  # of the time, one part in so many at most goes into waiting for one that is slower
_PRAGMAS = ("PRAGMA query_only = ON", "PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -2048")  # KiB: the inner pages of the trees


class Glances:
    """A connection of the reactor thread's own, that waits for no lock."""

    def __init__(self, path: str, transaction: Callable[[sqlite3.Connection], Any]) -> None:
        """``transaction`` makes what a job sees of the connection. May be called in any thread; raises sqlite3.Error."""
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        for pragma in _PRAGMAS:
            self._connection.execute(pragma)
        self._txn = transaction(self._connection)
        self._resting = 0.0  # until then nothing is looked at

    def take(self, job: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What ``job`` finds; None if it is to be asked in a thread."""
        began = perf_counter()
        if began < self._resting:
            return None
        fetched = _fetched()
        try:
            return job(self._txn, *args, **kwargs)
        except sqlite3.Error:  # a thread will meet it again, and knows what to do
            return None
        finally:
            took = perf_counter() - began
            if took > SLOW_SECONDS and _fetched() != fetched:  # else others had the processor
                self._resting = began + SHARE * took

    def close(self) -> None:
        self._connection.close()


def _fetched() -> int:
    """Blocks that were fetched from a disk for this thread since it began."""
    return getrusage(RUSAGE_THREAD).ru_inblock

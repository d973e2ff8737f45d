"""The process itself: how many files it may open, that it leaves no core dump, what memory it gives back."""

import ctypes
import resource


def raise_open_files() -> int:
    """Let this process open as many files as its hard limit allows; returns that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def forbid_core_dumps() -> None:
    """A crash must not write the keys and the mail that memory holds to the disk in the clear."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def release_memory() -> None:
    """Give back to the system what start-up took and let go again, where the C library knows how (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library: it stays with the process

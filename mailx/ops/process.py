"""The limits of the process itself: how many files it may open, and that it leaves no core dump."""

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

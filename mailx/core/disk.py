"""How full a disk is, as ``df`` counts it."""

import os

from attrs import frozen


@frozen
class Disk:
    """The file system that holds a path: per cent used, rounded up, and octets free, for whoever runs this."""

    full: int
    free: int


def disk(path: str | os.PathLike[str]) -> Disk:
    """The disk with ``path``; raises OSError. Waits for the disk: for a thread."""
    found = os.statvfs(path)
    used = found.f_blocks - found.f_bfree
    whole = used + found.f_bavail
    return Disk(-(-used * 100 // whole) if whole else 0, found.f_bavail * found.f_frsize)

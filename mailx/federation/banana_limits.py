"""How much of anything a peer may send at once, and what is said when it sends more.

The decoder checks each length where it is declared, before one octet of what it announces is kept.
"""

from attrs import frozen


class Violation(Exception):
    """What the peer sent is not allowed; the connection ends. ``str()`` is ours, whole, and fit for the peer and the log."""


@frozen
class BananaLimits:
    """Of one expression: a call, an answer, an error."""

    octets: int = 1024 * 1024  # on the wire
    string: int = 640 * 1024  # the limit of PB itself
    depth: int = 32  # of lists; a dictionary is two of them
    items: int = 8192  # in all lists together
    digits: int = 10  # of a number, in base 128: more than 64 bits hold


# Before the peer has said hello.
FIRST = BananaLimits(octets=64 * 1024, string=32 * 1024, items=2048)

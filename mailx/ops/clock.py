"""The time that the event loop goes by: it never jumps, whatever is done to the system's clock.

Twisted counts seconds by the time of day. Set back by an hour, that would hold up every timed call for an hour, the
store's next batch among them; set forward, it would end sessions that are not late. Dates are another matter: what
writes one asks for the time of day.
"""

from time import monotonic, time
from typing import Any


def steady(reactor: Any) -> None:
    """Let ``reactor`` count its seconds by the monotonic clock, beginning at the time of day it is now."""
    offset = time() - monotonic()
    reactor.seconds = lambda: monotonic() + offset

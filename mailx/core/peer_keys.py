"""Whether the keys that a domain shows now follow from those that were believed. Pure.

A key that nobody announced changes nothing: what was believed stays, and somebody is told.
"""

from collections.abc import Sequence

from mailx.core.peer import Found, Known
from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey

NEW, SAME, ROTATION, RECOVERY = "new", "same", domain_keys.ROTATION, domain_keys.RECOVERY
UNANNOUNCED = domain_keys.UNANNOUNCED
UNPROVED = "unproved"  # another key, whose announcement could not be read: no verdict now

Seen = tuple[tuple[DomainKey, int], ...]


def judged(known: Known, found: Found, now: int) -> tuple[str, Seen]:
    """The verdict on what was found, and the history that is to be kept."""
    if not known.key:
        return NEW, tuple((key, min(key.created, now)) for key in found.history)
    if not found.history:
        return (SAME if found.key in known.keys(now) else UNPROVED), known.history
    if not known.history:
        return _from_bare(known.key, found.history, now)
    last = known.history[-1][0]
    verdict = domain_keys.succession(last, found.history, known.recoveries(now))
    if verdict in (SAME, UNANNOUNCED):
        return verdict, known.history
    later = tuple((key, now) for key in found.history if key.serial > last.serial)
    return verdict, known.history + later


def _from_bare(key: bytes, history: Sequence[DomainKey], now: int) -> tuple[str, Seen]:
    """As :func:`judged`, when only the key is known and not its statement."""
    places = [place for place, each in enumerate(history) if each.key == key]
    if not places:
        return UNANNOUNCED, ()
    verdict = domain_keys.succession(history[places[-1]], history)
    return verdict, tuple((each, min(each.created, now)) for each in history[places[0] :])


def announced(known: Known, new: DomainKey, now: int) -> tuple[str, Seen]:
    """The verdict on one key that the peer announces itself."""
    if known.history:
        last = known.history[-1][0]
        if any(key.statement.digest == new.statement.digest for key, _ in known.history):
            return SAME, known.history
        verdict = domain_keys.follows(last, new, known.recoveries(now))
        return verdict, known.history if verdict == UNANNOUNCED else (*known.history, (new, now))
    if new.key == known.key:
        return SAME, ((new, now),)
    if new.reason == ROTATION and new.previous == known.key and new.statement.signed_by(known.key):
        return ROTATION, ((new, now),)
    return UNANNOUNCED, ()

"""Whether the keys that a domain shows now follow from those that were believed. Pure.

A key that nobody announced changes nothing: what was believed stays, and somebody is told.
"""

from collections.abc import Sequence

from mailx.core.peer import KEYS_KEPT, STATIC, Found, Known
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
    later = domain_keys.succeeding(last, found.history, known.recoveries(now))
    if not later:
        same = found.history[-1].statement.digest == last.statement.digest
        return (SAME if same else UNANNOUNCED), known.history
    return _verdict(later), known.history + tuple((key, now) for key in later)


def _from_bare(key: bytes, history: Sequence[DomainKey], now: int) -> tuple[str, Seen]:
    """As :func:`judged`, when only the key is known and not its statement."""
    begun = next((each for each in history if each.key == key), None)
    if begun is None:
        return UNANNOUNCED, ()
    later = domain_keys.succeeding(begun, history)
    if not later and begun is not history[-1]:
        return UNANNOUNCED, ()
    return SAME if history[-1].key == key else _verdict(later), tuple((each, min(each.created, now)) for each in (begun, *later))


def _verdict(later: Sequence[DomainKey]) -> str:
    return RECOVERY if any(key.reason == RECOVERY for key in later) else ROTATION


def leads(key: bytes, known: Known, now: int) -> bool:
    """Whether the keys that are known of a domain follow from ``key``, which the configuration fixes."""
    if not known.history:
        return False
    first = known.history[0][0]
    announced = first.reason == ROTATION and first.previous == key and first.statement.signed_by(key)
    if known.source == STATIC:  # each was followed from the key that was fixed then
        return announced or any(each.key == key for each, _ in known.history)
    return _from_bare(first.key if announced else key, [each for each, _ in known.history], now)[0] != UNANNOUNCED


def shortened(history: Seen, now: int) -> Seen:
    """At most KEYS_KEPT of ``history``: the last, and those by which the eldest recovery key that is good stands there.

    A thief who has the domain key must not make the owner's recovery key forgotten by announcing very many keys.
    """
    if len(history) <= KEYS_KEPT:
        return history
    last = history[-KEYS_KEPT:]
    eldest = next(iter(domain_keys.recoveries(history, now)), b"")
    if eldest in domain_keys.recoveries(last, now)[:1]:
        return last
    ends = [place for place in range(1, len(history)) if history[place - 1][0].recovery == eldest != history[place][0].recovery]
    return (*history[ends[-1] - 1 : ends[-1] + 1], *history[2 - KEYS_KEPT :]) if ends else last


def announced(known: Known, new: DomainKey, now: int) -> tuple[str, Seen]:
    """The verdict on one key that the peer announces itself."""
    if new.created > now + domain_keys.SKEW:
        return UNANNOUNCED, known.history
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

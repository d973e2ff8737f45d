"""What is known of a domain after its server was looked for. Pure.

A look that brings nothing takes nothing away: keys and pin stay, and when to look again is noted.
"""

from attrs import evolve

from mailx.core import peer_keys
from mailx.core.peer import NONE, REFUSED, Found, Known, Step

AGAIN = 300  # seconds after a look that brought nothing
OK = "ok"

_TROUBLES = {
    peer_keys.UNANNOUNCED: "its key changed and nobody announced it",
    peer_keys.UNPROVED: "its key changed and the announcement cannot be read",
}
_FOLLOWED = {
    peer_keys.NEW: "no key of it was known",
    peer_keys.SAME: "the key is the one that was known",
    peer_keys.ROTATION: "the key that was known announced this one",
    peer_keys.RECOVERY: "the recovery key brought this one in",
}


def without(known: Known, found: Found, now: int) -> Known:
    """After a look that brought no server."""
    if found.outcome == NONE:
        again = AGAIN if known.pinned_until > now else max(found.ttl, AGAIN)
        return evolve(known, absent=True, trouble="", evidence=False, expires=now + again)
    evidence = found.evidence or known.evidence  # silence does not undo what DNS said
    return evolve(known, absent=False, trouble=found.reason, evidence=evidence, expires=now + AGAIN)


def followed(known: Known, found: Found, now: int) -> tuple[str, Known, Step]:
    """After a look that brought a server: the verdict on its key (of :mod:`mailx.core.peer_keys`), and that as a step."""
    verdict, history = peer_keys.judged(known, found, now)
    trouble = _TROUBLES.get(verdict)
    if trouble is not None:
        following = evolve(known, absent=False, trouble=trouble, evidence=True, expires=now + AGAIN)
        return verdict, following, Step("continuity", REFUSED, trouble)
    following = evolve(
        known,
        mailx=True,
        source=found.source,
        key=history[-1][0].key if history else found.key,
        history=history,
        servers=found.servers,
        capabilities=found.capabilities,
        message_size=found.message_size,
        verified=now,
        expires=now + found.ttl,
        until=found.until,
        absent=False,
        trouble="",
        evidence=True,
    )
    return verdict, following, Step("continuity", OK, _FOLLOWED[verdict])

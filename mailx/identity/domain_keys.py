"""The keys of a domain and what makes one follow another.

Each key of a domain is a statement in a history, numbered by ``serial``. It is signed by the key itself and by whoever
has the right to bring it in: the key before it, or the recovery key, which lies offline. What a peer concludes:

- ``rotation``: the key before it signed; both are valid for the overlap.
- ``recovery``: the recovery key signed; the keys before it are worth nothing from that moment.
- ``unannounced``: neither; somebody may have stolen the domain, so nothing changes until an administrator decides.

A thief who holds the domain key must not be able to lock the owner out: only the recovery key changes the recovery key
at once. The domain key alone may announce another (reason ``recovery-key``), and then the one before stays good for
``RECOVERY_DELAY`` beside it. Serials of recoveries jump (to the time, if nothing else is known), so that the owner's one
overtakes any rotations of a thief's; a recovery by a key that an elder one is still good beside does not jump.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from attrs import field, frozen

from mailx.identity.encoding import JSON, Malformed, key_from_text, key_text
from mailx.identity.statements import Signer, Statement, domain_name, integer, signed, text

KIND = "domain-key"
FIRST, ROTATION, RECOVERY, RECOVERY_KEY = "first", "rotation", "recovery", "recovery-key"  # reasons
UNANNOUNCED = "unannounced"
SAME = "same"

OVERLAP = 30 * 86400  # seconds that a key is valid beside the one that was rotated in after it
RECOVERY_DELAY = 30 * 86400  # seconds that a recovery key stays good after the domain key alone replaced it
RECOVERY_STEP = 1_000_000  # serials that a recovery leaves free at the least
SKEW = 300  # seconds that the clocks of two servers may differ
HISTORY_LIMIT = 64  # statements that are shown and read at once
_LIMIT = 2048  # octets of a body

# Recovery keys and until when each is good (None: without end); the one that has been good for longest stands first.
_Standing: TypeAlias = dict[bytes, int | None]


@frozen
class DomainKey:
    """One key of a domain's history. Times are seconds since 1970."""

    domain: str
    key: bytes  # Ed25519, public
    serial: int
    created: int
    previous: bytes | None  # the key before it; None: it is the first, or those before it were lost
    recovery: bytes  # the public half of the offline key
    reason: str  # FIRST, ROTATION, RECOVERY or RECOVERY_KEY
    statement: Statement = field(repr=False, eq=False)

    @classmethod
    def of(cls, statement: Statement) -> "DomainKey":
        """The key that ``statement`` is about; raises Malformed, also if the key did not sign it itself."""
        if statement.kind != KIND:
            raise Malformed(f"not a statement of the kind {KIND}")
        body = statement.body
        reason = text(body, "reason", 16)
        previous = None if body.get("previous") is None else key_from_text(body["previous"])
        if reason not in (FIRST, ROTATION, RECOVERY, RECOVERY_KEY):
            raise Malformed("no such reason for a key")
        if reason != RECOVERY and (previous is None) != (reason == FIRST):
            raise Malformed("a first key follows none, every other one follows another")
        key = cls(
            domain_name(body),
            key_from_text(body.get("key")),
            integer(body, "serial", 1),
            integer(body, "created"),
            previous,
            key_from_text(body.get("recovery")),
            reason,
            statement,
        )
        if key.recovery == key.key:
            raise Malformed("the recovery key is the domain key")
        if not statement.signed_by(key.key):
            raise Malformed("the key did not sign itself")
        return key

    @classmethod
    def decode(cls, value: object) -> "DomainKey":
        """The key of an encoded statement; raises Malformed."""
        return cls.of(Statement.decode(value, KIND, _LIMIT))


def first(domain: str, recovery: bytes, now: int, signer: Signer) -> DomainKey:
    """The first key of ``domain``, in ``signer``."""
    return _made(domain, signer.public, 1, now, None, recovery, FIRST, (signer,))


def rotated(old: DomainKey, signer: Signer, new: Signer, now: int) -> DomainKey:
    """``new`` announced by ``signer``, which holds ``old``."""
    return _made(old.domain, new.public, old.serial + 1, max(now, old.created), old.key, old.recovery, ROTATION, (new, signer))


def recovered(old: DomainKey, recovery: Signer, new: Signer, now: int, following: bytes | None = None, *, eldest: bool = True) -> DomainKey:
    """``new`` brought in by the recovery key, which ``following`` replaces if given; ``old`` is worth nothing any more.

    ``eldest``: no recovery key that was good before this one is good still.
    """
    serial = max((old.serial // RECOVERY_STEP + 1) * RECOVERY_STEP, now) if eldest else old.serial + 1
    after = recovery.public if following is None else following
    return _made(old.domain, new.public, serial, max(now, old.created), old.key, after, RECOVERY, (new, recovery))


def begun_again(domain: str, recovery: Signer, new: Signer, now: int, after: int = 0) -> DomainKey:
    """``new`` brought in by the recovery key after every key before it was lost, and the memory of them too.

    ``after``: the highest serial that others may know.
    """
    serial = max((after // RECOVERY_STEP + 1) * RECOVERY_STEP, now)
    return _made(domain, new.public, serial, now, None, recovery.public, RECOVERY, (new, recovery))


def recovery_changed(old: DomainKey, signer: Signer, following: bytes, now: int, recovery: Signer | None = None) -> DomainKey:
    """The same key with another recovery key: at once if ``recovery``, the one before, signs too, else after RECOVERY_DELAY."""
    signers = (signer,) if recovery is None else (signer, recovery)
    return _made(old.domain, old.key, old.serial + 1, max(now, old.created), old.key, following, RECOVERY_KEY, signers)


def follows(old: DomainKey, new: DomainKey, recoveries: Sequence[bytes] = ()) -> str:
    """ROTATION, RECOVERY or UNANNOUNCED: what gives ``new`` the right to come after ``old``.

    ``recoveries`` are recovery keys believed besides that of ``old``, the eldest first (see :func:`recoveries`).
    """
    verdict = _led(old, new, recoveries)
    if verdict == RECOVERY and new.serial > old.serial + 1 and not new.statement.signed_by(next(iter(recoveries), old.recovery)):
        return UNANNOUNCED  # a thief's recovery key beside the owner's must not take the serials that the owner's recovery could have
    return verdict


def _led(old: DomainKey, new: DomainKey, recoveries: Sequence[bytes]) -> str:
    """What leads from ``old`` to ``new``, whichever of the recovery keys it is."""
    if new.domain != old.domain or new.serial <= old.serial:
        return UNANNOUNCED
    if new.reason == RECOVERY:  # whenever it was made: a thief may have announced something later since
        return RECOVERY if any(new.statement.signed_by(key) for key in {old.recovery, *recoveries}) else UNANNOUNCED
    if new.created < old.created or new.serial != old.serial + 1 or new.previous != old.key or not new.statement.signed_by(old.key):
        return UNANNOUNCED
    if new.reason == ROTATION:
        return ROTATION if new.recovery == old.recovery and new.key != old.key else UNANNOUNCED
    return ROTATION if new.reason == RECOVERY_KEY and new.key == old.key and new.recovery != old.recovery else UNANNOUNCED


def chain(history: Sequence[Statement | DomainKey], now: int | None = None) -> tuple[DomainKey, ...]:
    """The keys of a history, oldest first, each proved to follow the one before; raises Malformed.

    The history may begin later than with the first key. With ``now``, none may be of the future. A history as long as
    allowed takes some 10 ms: one that comes from elsewhere is proved in a thread.
    """
    if not 1 <= len(history) <= HISTORY_LIMIT:
        raise Malformed(f"not 1 to {HISTORY_LIMIT} keys")
    keys = tuple(each if isinstance(each, DomainKey) else DomainKey.of(each) for each in history)
    if now is not None and max(key.created for key in keys) > now + SKEW:
        raise Malformed("a key of the future")
    standing = _standing({}, keys[0], keys[0].created)
    for earlier, later in pairwise(keys):
        if _led(earlier, later, _good(standing, later.created)) == UNANNOUNCED:
            raise Malformed("a key that neither the one before nor the recovery key announced")
        standing = _standing(standing, later, later.created)
    return keys


def succession(known: DomainKey, history: Sequence[DomainKey], believed: Sequence[bytes] = ()) -> str:
    """What a peer that knows ``known`` makes of a domain whose proved ``history`` (see :func:`chain`) it reads now.

    SAME: nothing new. ROTATION or RECOVERY: the last of ``history`` is to be believed from now on. UNANNOUNCED: it is not.
    ``believed``: recovery keys that are good besides that of ``known``, the eldest first.
    """
    if history[-1].statement.digest == known.statement.digest:
        return SAME
    later = succeeding(known, history, believed)
    if not later:
        return UNANNOUNCED
    return RECOVERY if any(key.reason == RECOVERY for key in later) else ROTATION


def succeeding(known: DomainKey, history: Sequence[DomainKey], believed: Sequence[bytes] = ()) -> tuple[DomainKey, ...]:
    """Those of a proved ``history`` that are to be believed after ``known``, up to its last; none if that does not follow.

    chain() proves a history by itself alone: anybody can put a beginning of his own, with his own recovery key, before a recovery
    that the owner made. So each step is judged again, from what the peer believes.
    """
    digests = [key.statement.digest for key in history]
    if known.statement.digest in digests:
        later = tuple(history[digests.index(known.statement.digest) + 1 :])
    else:  # a shortened history, or a recovery from another line than the one known
        places = (place for place, key in enumerate(history) if place == 0 or key.reason == RECOVERY)
        later = next((tuple(history[place:]) for place in places if follows(known, history[place], believed) != UNANNOUNCED), ())
    standing: _Standing = dict.fromkeys([*believed, known.recovery])
    for earlier, key in pairwise((known, *later)):
        if follows(earlier, key, _good(standing, 0)) == UNANNOUNCED:
            return ()
        standing = _standing(standing, key, 0)  # all at one moment: the peer sees them now, whatever dates a thief wrote into them
    return later


def recoveries(seen: Sequence[tuple[DomainKey, int]], now: int) -> tuple[bytes, ...]:
    """The recovery keys that are good at ``now``, by the keys of a domain, oldest first, and when each was first seen.

    A peer counts from the moment that it saw a change, not from the time written in it, which a thief may choose.
    """
    standing: _Standing = {}
    for key, moment in seen:
        standing = _standing(standing, key, moment)
    return _good(standing, now)


def _standing(before: _Standing, key: DomainKey, moment: int) -> _Standing:
    """The recovery keys once ``key`` was seen at ``moment``."""
    if key.recovery in before and before[key.recovery] is None:
        return before
    good = {each: until for each, until in before.items() if until is None or until > moment}
    eldest = next(iter(good), None)
    if eldest is not None and key.statement.signed_by(eldest):  # the owner's own hand: nothing else counts any more
        return {key.recovery: None}
    after: _Standing = {each: moment + RECOVERY_DELAY if until is None else until for each, until in good.items()}
    after[key.recovery] = (
        None  # one that stood there before keeps its place: by being named again it must not become younger than a thief's
    )
    return after


def _good(standing: _Standing, now: int) -> tuple[bytes, ...]:
    return tuple(each for each, until in standing.items() if until is None or until > now)


def valid(history: Sequence[DomainKey], now: int) -> tuple[bytes, ...]:
    """The keys that are good at ``now``, the current one first: those before it that were rotated out within OVERLAP."""
    good = [history[-1].key]
    for later, earlier in zip(reversed(history[1:]), reversed(history[:-1]), strict=True):
        if later.reason == RECOVERY or later.previous != earlier.key or later.created + OVERLAP <= now:
            break
        if earlier.key not in good:
            good.append(earlier.key)
    return tuple(good)


def _made(
    domain: str, key: bytes, serial: int, created: int, previous: bytes | None, recovery: bytes, reason: str, signers: Sequence[Signer]
) -> DomainKey:
    body: dict[str, JSON] = {
        "domain": domain,
        "key": key_text(key),
        "serial": serial,
        "created": created,
        "previous": None if previous is None else key_text(previous),
        "recovery": key_text(recovery),
        "reason": reason,
    }
    return DomainKey.of(signed(KIND, body, *signers))

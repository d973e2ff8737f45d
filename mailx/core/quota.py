"""What the log says about quotas: refusals, thresholds passed, and, when tracing, every check and update."""

from twisted.logger import Logger

from mailx.core.users import User

log = Logger()

THRESHOLDS = (95, 90, 80)  # per cent whose passing is told


def checked(user: User, size: int | None) -> None:
    """There is room for a message of ``size`` octets."""
    log.debug("Quota check passed", event="quota.checked", message_size=size, **_fields(user, user.used))


def updated(user: User, used: int, message_id: str, size: int) -> None:
    """A message was stored, and ``used`` octets are charged now."""
    log.debug("Quota updated after storage", event="quota.updated", message_id=message_id, message_size=size, **_fields(user, used))


def exceeded(user: User, size: int | None) -> None:
    """A message was refused for want of room."""
    log.error("Quota exceeded - message rejected", event="quota.exceeded", message_size=size, **_fields(user, user.used))


def passed(user: User, before: int, used: int) -> None:
    """What is charged went from ``before`` to ``used`` octets: tell of the highest threshold between them, if any."""
    quota = user.quota
    if not quota or used * 100 < quota * THRESHOLDS[-1]:
        return
    for threshold in THRESHOLDS:
        if before * 100 < quota * threshold <= used * 100:
            percentage = used * 100 // quota
            text = "Quota threshold exceeded"
            log.warn(text, event="quota.threshold", threshold=f"{threshold}%", percentage=percentage, **_fields(user, used))
            return


def _fields(user: User, used: int) -> dict[str, object]:
    return {"user_id": user.id, "email": str(user.address), "used_bytes": used, "limit_bytes": user.quota}

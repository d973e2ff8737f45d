"""How far a call has come, for its caller: the answer to ``GET /webhook/outbound-email/{queued_id}``.

The receiver has checked the caller before. A call is told only to who knows the secret that it was signed with; all others
hear what they hear of a call that never was. Who made one whose record does not open cannot be told from the others.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from mailx.core.callbacks import Callbacks
from mailx.core.calls import Calls
from mailx.core.fates import Fates, last
from mailx.mail.times import iso


class Status:
    """Answers with the state of calls."""

    def __init__(self, calls: Calls, fates: Fates, callbacks: Callbacks) -> None:
        self._calls = calls
        self._fates = fates
        self._callbacks = callbacks

    async def answer(self, id: int, secret: str) -> tuple[int, Mapping[str, Any]]:
        """HTTP status and JSON for the call ``id``; ``secret`` is the fingerprint of what the caller signed with. Raises Unavailable."""
        call = await self._calls.show(id)
        if call is None or call.damaged or not hmac.compare_digest(call.secret.encode(), secret.encode()):
            return 404, {"ok": False, "error": "not found"}
        fates = await self._fates.of(call.envelope)
        value: dict[str, Any] = {
            "ok": True,
            "queued_id": call.id,
            "queued_at": call.queued_at,
            "type": call.type,
            "to": call.to,
            "subject": call.subject,
            "state": call.state,
            "changed_at": iso(call.changed),
            "attempts": max((fate.attempts for fate in fates), default=0),
        }
        past = last(fates)
        if past is not None:
            value["reply"] = str(past.attempt.reply)
        due = [fate.due for fate in fates if fate.due and fate.state in ("pending", "deferred")]
        if due:
            value["next_attempt_at"] = iso(min(due))
        told = await self._callbacks.of_call(call.id)
        if told:
            value["callbacks"] = [{"event": each.event, "state": each.state, "attempts": each.attempts} for each in told]
        return 200, value

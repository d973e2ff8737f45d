"""Attempting: what a courier brings, as a step of the message's trace (docs/traces.rst). It fails only as the courier does."""

from collections.abc import Awaitable, Mapping

from mailx.core.courier import Attempt
from mailx.core.routes import HERE
from mailx.core.shipments import Shipment
from mailx.core.spans import Step
from mailx.mail.address import Address


async def tried(step: Step, shipment: Shipment, answer: Awaitable[Mapping[Address, Attempt]]) -> Mapping[Address, Attempt]:
    """Wait for the ``answer`` of the courier that tries ``shipment``."""
    waiters = shipment.waiters
    made = 1 + max([each.attempts for each in waiters], default=0)
    with step("attempt", shipment.envelope.id, recipients=len(waiters), way=_way(shipment), attempt=made) as span:
        attempts = await answer
        replies = [each.reply for each in attempts.values()]
        span.note(code=max([reply.code for reply in replies], default=0))  # the worst, if they differ
        if not any(reply.done for reply in replies):
            span.fail("not taken")
        return attempts


def _way(shipment: Shipment) -> str:
    """The name of a relay, or in which manner its own server is reached."""
    way = shipment.way
    if way.relay == HERE:
        return "here"
    return way.relay or ("federation" if way.federated else "direct")

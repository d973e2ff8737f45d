"""Shipments: recipients of one message that one attempt tries to reach together, and what an attempt makes of each.

Whether a recipient is sent, tried again or given up is decided here and nowhere else: by the reply, and by how many
waits its schedule has left. Attempts count, not time: a clock that jumps makes nobody's mail fail.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import Factory, define, frozen

from mailx.core.courier import Attempt
from mailx.core.parcels import Consignee
from mailx.core.routes import Way
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Envelope, Wish
from mailx.mail.reply import Reply
from mailx.store.queue import DEFERRED, FAILED, PENDING, SENT

SPARED = 8  # attempts of a recipient at most that do not count, for the destination works as a rule
REST_AT_MOST = 86400  # seconds for which a destination may ask to be left alone
RECIPIENTS = 100  # of one shipment at most: what every server takes (RFC 5321 4.5.3.1.8)

BROKEN = Attempt(Reply(451, "4.3.0", "Local error in delivery"))
INTERRUPTED = Attempt(Reply(451, "4.4.7", "The attempt took too long"))
UNSAID = Attempt(Reply(451, "4.3.0", "No outcome of the delivery"))


@frozen
class Waiter:
    """One recipient of a shipment, with the row's figures before this attempt."""

    id: int
    consignee: Consignee
    attempts: int
    waits: int
    history: bytes = b""  # sealed


@define(eq=False)
class Shipment:
    """Recipients of one message in one lane."""

    guid: bytes
    destination: bytes  # hash, as in the rows
    way: Way
    envelope: Envelope
    waiters: list[Waiter]
    created: int
    size: int = 0  # of the content, in octets
    message: int = 0  # id of the message whose content the envelope lacks; 0: it is there
    held: list[Callable[[], None]] = Factory(list)  # what gives memory back when all is settled
    generation: int = 0  # of the routes that decided its way

    @property
    def addresses(self) -> list[Address]:
        """Of the recipients."""
        return [each.consignee.address for each in self.waiters]

    @property
    def wishes(self) -> dict[Address, Wish]:
        """Those of the recipients that have some."""
        return {each.consignee.address: each.consignee.wish for each in self.waiters if each.consignee.wish != WISHES_NOTHING}

    @property
    def idle(self) -> str:
        """The state of rows that are put back as they were."""
        return DEFERRED if any(each.attempts for each in self.waiters) else PENDING

    def release(self) -> None:
        """Nobody needs it any more."""
        held, self.held = self.held, []
        for give_back in held:
            give_back()


@frozen
class Verdict:
    """What one recipient's row becomes."""

    state: str
    due: int
    attempts: int


def verdict(waiter: Waiter, attempt: Attempt, retry: Sequence[int], now: int, rest: int = 0) -> Verdict:
    """What ``attempt`` makes of the recipient. ``retry`` are the seconds between attempts of its way.

    With ``rest`` an attempt that reached nobody does not count and is made again in so many seconds.
    """
    made = waiter.attempts + 1
    reply = attempt.reply
    if reply.done:
        return Verdict(SENT, 0, made)
    if rest and attempt.unreachable and reply.code < 500:
        return Verdict(DEFERRED, now + rest, waiter.attempts)
    if 500 <= reply.code < 600 or waiter.attempts >= waiter.waits:  # a code that makes no sense is no "never"
        return Verdict(FAILED, 0, made)
    return Verdict(DEFERRED, now + max(wait(retry, waiter.attempts), min(attempt.rest, REST_AT_MOST)), made)


def limited_for(attempts: Mapping[Address, Attempt]) -> int:
    """The seconds for which the destination wants to hear nothing; 0: it did not say so."""
    return min(REST_AT_MOST, max([each.rest for each in attempts.values() if each.reply.temporary], default=0))


def wait(retry: Sequence[int], attempts: int) -> int:
    """Seconds until the next attempt after that many before; a schedule that became shorter ends with its last wait."""
    return retry[min(attempts, len(retry) - 1)] if retry else 3600

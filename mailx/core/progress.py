"""Progress: what becomes of each recipient of each message, told right after the commit that made it durable.

Listeners hear on the reactor's thread and must be quick: they take a note and do their work later. One that fails is logged;
neither the queue nor the others suffer. What a crash keeps from being told is not told again: whoever must know
everything derives it from the queue's rows at the start, and again after ``many``.
"""

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from mailx.core.courier import Attempt
from mailx.mail.address import Address

log = Logger()

DELIVERED = "delivered"  # states of a step
DEFERRED = "deferred"
BOUNCED = "bounced"


@frozen
class Step:
    """What became of one recipient."""

    envelope: str  # id
    row: int  # id in the queue; 0: delivered at acceptance
    recipient: Address
    state: str  # DELIVERED, DEFERRED or BOUNCED
    attempt: Attempt
    destination: str  # domain, or "relay:" and the relay's name; empty: a mailbox here
    account: int | None  # that sent it
    protocol: str  # that it came by, as in Origin
    original: Address  # before an alias forwarded it, or the recipient itself
    sender: Address | None
    size: int  # octets
    attempts: int  # made so far, this one included
    due: int  # seconds since 1970 of the next one; 0: none


class Progress:
    """Tells listeners. ``active`` spares making steps that nobody hears."""

    def __init__(self) -> None:
        self._steps: list[Callable[[Step], object]] = []
        self._many: list[Callable[[], object]] = []

    @property
    def active(self) -> bool:
        """Whether anybody listens to steps."""
        return bool(self._steps)

    def listen(self, call: Callable[[Step], object]) -> None:
        """Let ``call`` hear of every step from now on."""
        self._steps.append(call)

    def listen_many(self, call: Callable[[], object]) -> None:
        """Let ``call`` hear when rows changed without a step each: put off with their destination, or changed by hand."""
        self._many.append(call)

    def tell(self, step: Step) -> None:
        """One recipient has got that far."""
        for call in self._steps:
            try:
                call(step)
            except Exception:
                log.failure("A listener to the progress of mail failed", event="progress.failed", message_id=step.envelope)

    def many(self) -> None:
        """Rows changed without a step each."""
        for call in self._many:
            try:
                call()
            except Exception:
                log.failure("A listener to the progress of mail failed", event="progress.failed", message_id="")

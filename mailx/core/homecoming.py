"""Mail that waited for another server whose domain has become one of ours: it comes home instead of going round in a loop.

A courier like the others. What reception says of each recipient is the outcome: who has no mailbox here gets a failure.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import evolve
from zope.interface import implementer

from mailx.core.content import Threads, copied
from mailx.core.courier import Attempt, ICourier
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin, new_id
from mailx.mail.reply import Refused, Reply
from mailx.store.blobs import Blobs

_UNSAID = Reply(451, "4.3.0", "No outcome of the delivery")
_PROTOCOL = "LMTP"  # what comes by it has been checked, and goes to recipients here only


@implementer(ICourier)
class Homecoming:
    """Brings mail in by ``accept`` (of Reception), which is set before anything is sent."""

    def __init__(self, blobs: Blobs, threads: Threads) -> None:
        self.accept: Callable[..., Awaitable[Any]] | None = None
        self._blobs = blobs
        self._threads = threads

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        """See ICourier. Reception reports successes itself."""
        replies: Mapping[Address, Reply] = {}
        if self.accept is not None:
            try:
                message = await copied(envelope.message, self._blobs, self._threads)
                arriving = evolve(envelope, message=message, origin=Origin(_PROTOCOL, new_id()), forwarding=None)
                replies = await self.accept(arriving, each=True)
            except Refused as refused:
                replies = dict.fromkeys(recipients, refused.reply)
        return {recipient: Attempt(replies.get(recipient, _UNSAID), reports=True) for recipient in recipients}

    async def stop(self) -> None:
        """See ICourier."""

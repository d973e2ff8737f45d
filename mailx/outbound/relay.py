"""The courier of a smart host: all its hosts in turn, TLS and login as configured."""

from collections.abc import Mapping, Sequence
from typing import Any

from zope.interface import implementer

from mailx.config import Relay
from mailx.core.courier import Attempt, ICourier
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.outbound.client import Rendering
from mailx.outbound.pool import Pool


@implementer(ICourier)
class RelayCourier:
    """Passes everything on to one smart host."""

    def __init__(self, relay: Relay, pool: Pool, outgoing: Rendering, resolver: Any, reactor: Any) -> None:
        raise NotImplementedError

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        raise NotImplementedError

    async def stop(self) -> None:
        """Close idle connections."""
        raise NotImplementedError

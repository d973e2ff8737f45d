"""All connections out: new ones made, idle ones kept for the next message, their number bounded."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from mailx.config import Outbound
from mailx.core.courier import Attempt
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.outbound.client import Connection, Rendering
from mailx.outbound.hop import Hop, Login, Security


class Pool:
    """The connections of one server process. Reactor thread only."""

    def __init__(self, settings: Outbound, hostname: str, reactor: Any) -> None:
        raise NotImplementedError

    async def deliver(
        self,
        key: Hashable,
        hop: Hop,
        security: Security,
        login: Login | None,
        timeout: float,
        envelope: Envelope,
        recipients: Sequence[Address],
        outgoing: Rendering,
    ) -> Mapping[Address, Attempt]:
        """Send one message over an idle connection of ``key`` or a new one, and give the connection back: what couriers call.

        An idle connection that turns out dead is replaced once. Raises Unreachable.
        """
        raise NotImplementedError

    async def connection(self, key: Hashable, hop: Hop, security: Security, login: Login | None, timeout: float) -> Connection:
        """An idle connection of ``key``, or a new one to ``hop``. Raises Unreachable."""
        raise NotImplementedError

    def idle(self, key: Hashable) -> bool:
        """Whether an idle connection of ``key`` is there: then the servers of a destination need not be looked up."""
        raise NotImplementedError

    def release(self, connection: Connection) -> None:
        """The caller is done with the connection: keep it for the next message, or close it."""
        raise NotImplementedError

    def stop(self) -> None:
        """Close all idle connections, and those in use once they are released."""
        raise NotImplementedError

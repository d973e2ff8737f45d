"""Asks the servers of other domains about their key logs, over channels that we opened."""

from collections.abc import Mapping
from typing import Any

from mailx.core.log_witness import Ask, Away
from mailx.core.remote_keys import Asking
from mailx.federation.channel import Channel, ChannelFailure, PeerRefused, Unreachable
from mailx.federation.discovery_service import NAME
from mailx.mail.reply import Refused

SECONDS = 30.0  # for one answer


class LogSource:
    """``asking`` may be set once channels can be opened."""

    def __init__(self, asking: Asking | None = None) -> None:
        self.asking = asking

    def over(self, channel: Channel) -> Ask:
        """By ``channel``, which we opened."""

        async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            try:
                return await channel.call(NAME, method, fields, SECONDS)
            except ChannelFailure as error:
                raise _away(error) from None

        return ask

    def to(self, local: str, remote: str) -> Ask:
        """By whatever channel from ``local`` to ``remote``; an empty ``local``: from any of our domains."""

        async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            if self.asking is None:
                raise Away("no other server can be asked yet")
            try:
                return await self.asking.ask(local, remote, NAME, method, fields, SECONDS)
            except (ChannelFailure, Unreachable, Refused) as error:
                raise _away(error) from None

        return ask


def _away(error: Exception) -> Away:
    if isinstance(error, PeerRefused):
        return Away(str(error.reply), refused=error.reply.code >= 500)
    if isinstance(error, Refused):
        return Away(error.reason or str(error.reply))
    return Away(str(error) or type(error).__name__)

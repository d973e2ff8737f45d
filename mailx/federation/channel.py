"""A channel: one connection between one of our domains and one of theirs, both proved by their domain keys.

Only the side that connected calls; the other side answers. A call that fails says why with one of three exceptions:
:class:`PeerRefused` (the peer answered no), :class:`CallTimeout` (no answer in time; the peer may have done it all the same),
:class:`ChannelLost` (the connection ended first; likewise).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from mailx.federation.service import Fields, Plain
from mailx.mail.reply import Reply


class ChannelFailure(Exception):
    """A call was not answered with a result."""


class PeerRefused(ChannelFailure):
    """The peer's answer is no: ``reply``, and in how many seconds it may be asked again (0: it did not say)."""

    def __init__(self, reply: Reply, retry_after: int = 0) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.retry_after = retry_after


class ChannelLost(ChannelFailure):
    """The connection ended before the answer."""


class CallTimeout(ChannelFailure):
    """No answer in time."""


class Unreachable(Exception):
    """No channel could be made. ``reason`` is fit for timelines and logs.

    ``security``: the peer was reached and could not prove who it is (or refused our proof): never fall back to weaker ways.
    ``reply`` and ``retry_after`` are the peer's own answer, if it gave one.
    """

    def __init__(self, reason: str, security: bool = False, reply: Reply | None = None, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.security = security
        self.reply = reply
        self.retry_after = retry_after


class Channel(Protocol):
    """What services and callers see of a channel; domains are A-labels in lower case."""

    local: str
    remote: str
    key: bytes  # the domain key that the peer proved
    address: str  # the peer's IP address
    tls: str  # "TLSv1.3 TLS_AES_256_GCM_SHA384"
    incoming: bool
    capabilities: frozenset[str]  # what the peer said that it can do
    hello: Mapping[str, Plain]  # all that the peer said in its hello
    message_size: int  # the largest message that the peer takes; 0: it did not say

    @property
    def closed(self) -> bool:
        """Whether calls are no longer possible."""

    @property
    def outstanding(self) -> int:
        """Calls that are not answered yet."""

    async def call(self, service: str, method: str, fields: Fields, timeout: float | None = None) -> dict[str, Plain]:
        """Call ``method``; ``timeout`` is that of the settings unless given. Raises ChannelFailure."""

    def on_close(self, call: Callable[["Channel"], None]) -> None:
        """``call(channel)`` once when it ends, however; at once if it has ended."""

    def close(self) -> None:
        """No new calls; ends as soon as the running ones are answered."""

    def abort(self) -> None:
        """Ends now; running calls raise ChannelLost."""


class Trust(Protocol):
    """Which domain keys are believed; :class:`mailx.core.peers.Peers`."""

    async def keys(self, domain: str, presented: bytes) -> Collection[bytes]:
        """The keys of ``domain`` that are believed now. ``presented`` is the one that the peer showed, not proved yet:
        if it is not among those known, this is the moment to look again. Empty: no such domain. Raises
        :class:`mailx.mail.reply.Refused` when that cannot be told now, or the domain is blocked."""


class Greeter(Protocol):
    """What is said in the hello besides version and capabilities (the head of the key log)."""

    async def greeting(self, local: str, remote: str) -> Fields:
        """Fields that ``local`` adds to its hello for ``remote``. They are public."""

    async def greeted(self, channel: Channel, fields: Fields) -> None:
        """The peer's hello, whole. What this raises is logged and harms nothing."""

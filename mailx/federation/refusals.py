"""What is noted when a peer is refused, or refuses us: one log line and one count, the same on both sides.

``reason`` is one of a few words, ``detail`` a sentence of ours; neither holds what a stranger wrote, but for domains and
the text of a peer's reply, made printable.
"""

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from mailx.core.metrics import FEDERATION_REFUSED
from mailx.mail.printable import printable

log = Logger()

TLS, CERTIFICATE, DOMAIN, BLOCKED, LIMIT, PROTOCOL, STALLED, VERSION = (
    *("tls", "certificate", "domain", "blocked", "limit", "protocol", "stalled", "version"),
)
_TEXT = 300


@frozen
class Refusal:
    """One of them. ``remote`` is empty as long as the peer has not said who it is, and unproved if ``proved`` is false."""

    reason: str
    detail: str
    address: str
    local: str = ""
    remote: str = ""
    incoming: bool = True
    proved: bool = False
    by_peer: bool = False  # the peer refused us


OnRefusal = Callable[[Refusal], None]


def note(refusal: Refusal) -> None:
    """Log and count it."""
    FEDERATION_REFUSED.labels(refusal.reason).inc()
    log.warn(
        "Federation was refused",
        event="federation.refused",
        reason=refusal.reason,
        detail=printable(refusal.detail[:_TEXT]),
        address=refusal.address,
        local=refusal.local,
        remote=printable(refusal.remote[:_TEXT]),
        incoming=refusal.incoming,
        proved=refusal.proved,
        by_peer=refusal.by_peer,
    )

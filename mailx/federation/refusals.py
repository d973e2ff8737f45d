"""What is noted when a peer is refused, or refuses us: one log line and one count, the same on both sides.

``reason`` is one of a few words, ``detail`` a sentence of ours; neither holds what a stranger wrote, but for domains and
the text of a peer's reply, made printable.

Anybody can be refused as often as connections can be made: :class:`Notes` counts all of it and bounds what is logged.
"""

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from mailx.core.limits import MINUTE, Bucket, Budgets
from mailx.core.metrics import FEDERATION_REFUSED
from mailx.core.throttle import network
from mailx.mail.printable import printable
from mailx.mail.reply import Reply

log = Logger()

TLS, CERTIFICATE, DOMAIN, BLOCKED, LIMIT, PROTOCOL, STALLED, VERSION = (
    *("tls", "certificate", "domain", "blocked", "limit", "protocol", "stalled", "version"),
)
NOT_BELIEVED = "5.7.8"  # the enhanced code of whoever does not believe a proof (RFC 4954): it may be believed later
NOT_WANTED = "5.7.1"  # that of whoever wants no mail of the domain, for good
EACH = 60  # lines that one address brings into the log a minute
ALL = 600  # all addresses together
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


def note(refusal: Refusal, left_out: int = 0) -> None:
    """Log and count it; ``left_out``: so many before it were only counted."""
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
        **({"left_out": left_out} if left_out else {}),
    )


def meaning(reply: Reply, otherwise: str) -> str:
    """Why a peer refuses with ``reply``."""
    return {NOT_BELIEVED: CERTIFICATE, NOT_WANTED: BLOCKED}.get(reply.enhanced, otherwise)


class Notes:
    """Notes refusals, and logs no more of them than a disk and a reader can bear. ``seconds`` is a clock that does not jump."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._each = Budgets([(EACH, MINUTE)])
        self._all = Bucket(ALL, MINUTE, ALL, seconds())
        self._left_out = 0

    def __call__(self, refusal: Refusal) -> None:
        now, source = self._seconds(), network(refusal.address) if refusal.address else ""
        (each,) = self._each.get(source, now) or self._each.begin(source, now)
        self._all.fill(now)
        if each.lacks(1) or self._all.lacks(1):
            FEDERATION_REFUSED.labels(refusal.reason).inc()
            self._left_out += 1
            return
        for bucket in (each, self._all):
            bucket.take(1)
        left_out, self._left_out = self._left_out, 0
        note(refusal, left_out)

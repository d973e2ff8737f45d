"""Alarms about keys of other domains that do not follow from those that are believed: in the log, and as an alert.

Anybody may show any key at any time, so each domain is told of only now and then. Whoever has one domain can make any number below it: of
those that no mail went to only some are alerts, so that they do not take the place of the one that matters.
"""

from collections.abc import Callable

from twisted.logger import Logger

from mailx.core.alerts import PEER_KEY, Alerts
from mailx.core.cache import Cache
from mailx.core.metrics import PEER_KEYS
from mailx.identity.domain_keys import UNANNOUNCED

log = Logger()

DISCOVERY, ANNOUNCEMENT, CONNECTION = "discovery", "announcement", "connection"  # where a key was shown
_MEMORY = 5000
_EVERY = 3600.0  # seconds
STRANGERS = 10  # domains without mail of ours that are alerts in a day
_DAY = 86400.0
_REMEDY = (
    "If the new key is theirs, which its administrators can tell by another way: mailxctl peer forget {domain}, or the new key in "
    "federation.peers if the configuration names it."
)
_TEXTS = {
    DISCOVERY: "{domain} shows another key, and neither the key that was known nor its recovery key announced it. It is not believed; "
    "mail to and from its new server waits. " + _REMEDY,
    ANNOUNCEMENT: "The server of {domain} announced a key that does not follow from the one that was known. It is not believed. " + _REMEDY,
    CONNECTION: "A connection with {domain} showed another key than the one that is known, and nobody announced it. It was refused. "
    + _REMEDY,
}


class PeerAlarms:
    """Tells them. ``now`` gives seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._strange: Cache[str, bool] = Cache(STRANGERS, _DAY, now)
        self._told: Cache[tuple[str, str], bool] = Cache(_MEMORY, _EVERY, now)

    def tell(self, alerts: Alerts | None, domain: str, where: str, ours: bool) -> None:
        """A key of ``domain`` was shown that does not follow from the one that is believed. ``ours``: mail of ours went there."""
        PEER_KEYS.labels(UNANNOUNCED).inc()
        if self._told.get((domain, where)) is not None:
            return
        self._told.put((domain, where), True)
        log.warn("A peer shows a key that nobody announced", event="peer.key_refused", domain=domain, where=where)
        if not ours and self._strange.get(domain) is None:
            if self._strange.full:
                return
            self._strange.put(domain, True)
        if alerts is not None:
            alerts.tell(PEER_KEY, domain, _TEXTS[where].format(domain=domain))

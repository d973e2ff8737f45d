"""How often an address may call: so many calls a minute, as the settings say at the moment."""

from collections.abc import Callable

from mailx.core.limits import MINUTE, Budgets
from mailx.core.throttle import network


class Rates:
    """How many calls each address may still make; its limit may change at any time."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._budgets = Budgets([])
        self._limit = 0

    def take(self, address: str, limit: int) -> int:
        """Count one call; 0, or the seconds to wait if ``limit`` a minute (0: none) are used up."""
        if not limit:
            return 0
        if limit != self._limit:
            self._limit, self._budgets = limit, Budgets([(limit, MINUTE)])
        key, now = network(address), self._seconds()
        (bucket,) = self._budgets.get(key, now) or self._budgets.begin(key, now)
        wait = bucket.lacks(1)
        if not wait:
            bucket.take(1)
        return wait

"""Login throttling: how many failures an hour one account, one client address, or the pair of them may have.

An attempt is charged when it begins and given back when it succeeds, so that guesses made at the same time cannot slip
through together. Success gives back its own charge only: whoever has an account of his own, or sits behind the same
address as the owner, gains no further guesses by logging in. Names are counted whether or not they exist.

Memory is bounded: of each kind the ``size`` keys that failed last are kept. Timestamps, not averages: a limit of 5 means
5 in any 3600 seconds.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import TypeAlias

from attrs import frozen

from mailx.mail.networks import parsed

HOUR = 3600.0
_KNOWN_SECONDS = 30 * 86400.0
_SIZE = 20000

_Pair: TypeAlias = tuple[bytes, str]


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What counts as one client address: an IPv4 address, or the /64 of an IPv6 one, within which anybody can move."""
    found = parsed(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Address(int(found) >> 64 << 64)) + "/64"
    return address if found is None else str(found)


class _Failures:
    """The times of the last failures under each key: never more than ``limit`` in an hour."""

    def __init__(self, limit: int, size: int) -> None:
        self.limit = limit
        self._size = size
        self._times: OrderedDict[object, array[float]] = OrderedDict()

    def full(self, key: object, now: float) -> bool:
        times = self._times.get(key)
        if times is None:
            return False
        while times and times[0] <= now - HOUR:
            times.pop(0)
        return len(times) >= self.limit

    def add(self, key: object, now: float) -> None:
        self._times.setdefault(key, array("d")).append(now)
        self._times.move_to_end(key)
        if len(self._times) > self._size:
            self._times.popitem(last=False)

    def remove(self, key: object, when: float) -> None:
        times = self._times.get(key)
        if times is None or when not in times:
            return
        times.remove(when)
        if not times:
            del self._times[key]

    def forget(self, matches: Callable[[object], bool]) -> None:
        for key in [key for key in self._times if matches(key)]:
            del self._times[key]

    def __len__(self) -> int:
        return len(self._times)


@frozen
class Charge:
    """One attempt in the books."""

    account: bytes
    network: str
    when: float


class Throttle:
    """The three budgets. ``now`` gives monotonic seconds; names are the login names as typed, lower case."""

    def __init__(self, per_pair: int, per_address: int, per_account: int, now: Callable[[], float], size: int = _SIZE) -> None:
        self._now = now
        self._pairs = _Failures(per_pair, size)
        self._networks = _Failures(per_address, size)
        self._accounts = _Failures(per_account, size)
        self._known: OrderedDict[_Pair, float] = OrderedDict()
        self._size = size

    def allows(self, name: str, address: str) -> bool:
        """Whether an attempt would be admitted now."""
        return self._admits(_digest(name), network(address), self._now())

    def charge(self, name: str, address: str) -> Charge | None:
        """Charge an attempt; None when it is not admitted (and not charged)."""
        now, account, net = self._now(), _digest(name), network(address)
        if not self._admits(account, net, now):
            return None
        self._pairs.add((account, net), now)
        self._networks.add(net, now)
        self._accounts.add(account, now)
        return Charge(account, net, now)

    def _admits(self, account: bytes, net: str, now: float) -> bool:
        pair = (account, net)
        if self._pairs.full(pair, now) or self._networks.full(net, now):
            return False
        # An owner's usual places stay open to the owner while strangers spend the account's budget elsewhere.
        return self._known.get(pair, 0.0) > now or not self._accounts.full(account, now)

    def refund(self, charge: Charge) -> None:
        """Take an attempt out of the books: it succeeded, or could not be judged."""
        self._pairs.remove((charge.account, charge.network), charge.when)
        self._networks.remove(charge.network, charge.when)
        self._accounts.remove(charge.account, charge.when)

    def know(self, name: str, address: str) -> None:
        """Remember that the owner of ``name`` logged in from ``address``."""
        pair = (_digest(name), network(address))
        self._known[pair] = self._now() + _KNOWN_SECONDS
        self._known.move_to_end(pair)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

    def forgive(self, name: str, places: Iterable[str] = ()) -> None:
        """Forget the failures of ``name`` everywhere, and all of ``places``: its administrator gave it a new password."""
        account = _digest(name)
        self._accounts.forget(lambda key: key == account)
        self._pairs.forget(lambda key: isinstance(key, tuple) and key[0] == account)
        known = set(map(network, places))
        self._networks.forget(known.__contains__)

    def sizes(self) -> tuple[int, int, int]:
        """How many pairs, addresses and accounts are in the books."""
        return len(self._pairs), len(self._networks), len(self._accounts)


def _digest(name: str) -> bytes:
    """A name of any length in 16 octets."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""Lanes: one for each destination, and who of them may try next, so that no destination's trouble becomes another's.

A lane is NEW until its first attempt has ended, LIVE while its server answers, DEAD after an attempt that reached
nobody; one that was LIVE, or works as a rule, stumbles before it is dead. Only a LIVE lane makes several attempts at a
time; the others make one, on which all that waits for them depends. Each kind has its share of all attempts
(``_Shares``), and LIVE lanes may use what the others leave:

- what is dead is retried within a share of its own, so it takes nothing from what is new;
- what is new goes first come, first served, but for a reserve, given one every so often to the lane that came last. However
  many black holes hold all the rest, each for as long as connecting may take, a new destination that is alive gets its
  turn at once;
- an attempt that lasts long counts as one of the new, and its lane starts no others until something has ended well.

Everything here is decided in memory, without I/O; time is the reactor's.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, TypeVar

from attrs import Factory, define, field

J = TypeVar("J")  # what waits in a lane

SLOW = 3.0  # seconds after which an attempt lasts long
_TURNOVER = 30.0  # seconds that an attempt at a black hole takes: the reserve is given out evenly over them
_STUMBLE = 30  # seconds of the first rest of a destination that works as a rule, doubled each time
_FORGET = 10_000  # lanes that are remembered
_STORED = 8_000  # of them, those that what waits in the store may fill
_LOOKED_AT = 100  # of them, for one that is idle
_LIVE_SECONDS = 3600.0  # since its last sign of life that a lane is believed to be alive


class Health(Enum):
    """What is known of a lane's destination."""

    NEW = "new"
    LIVE = "live"
    DEAD = "dead"


@define(eq=False)
class Lane(Generic[J]):
    """One destination. ``jobs`` are messages in memory that wait for it; ``cold``: the store may have more that are due."""

    key: bytes  # hash of the destination
    health: Health = Health.NEW
    window: int = 1  # attempts at a time
    running: int = 0
    slow: int = 0  # of them, those that last long
    cold: bool = False
    leaving: bool = False  # what the store had for it goes another way by now
    jobs: deque[J] = field(factory=deque)
    resting: float = 0.0  # no attempt before this time: the destination does not work, or is paced
    seen: float = 0.0  # its last sign of life
    stumbles: int = 0  # attempts that reached nobody since
    until: float = 0.0  # it rests for having stumbled
    line: Health | None = None  # the line in which it stands
    parked: Any = None  # the delayed call after which it will stand in line

    @property
    def idle(self) -> bool:
        return not (self.running or self.jobs or self.cold or self.line or self.parked)


@define
class Slot(Generic[J]):
    """One attempt under way, and the share it counts to."""

    lane: Lane[J]
    share: Health
    began: float
    slow: bool = False


@define
class _Shares:
    """How many attempts each kind of lane may make at a time."""

    total: int
    new: int = field(init=False)
    reserve: int = field(init=False)
    dead: int = field(init=False)
    live: int = field(init=False)  # what it may use although others wait
    used: dict[Health, int] = Factory(lambda: dict.fromkeys(Health, 0))

    def __attrs_post_init__(self) -> None:
        self.new = max(1, self.total * 4 // 10)
        self.reserve = max(1, self.total * 15 // 100)
        self.dead = max(1, self.total * 25 // 100)
        self.live = self.total * 85 // 100

    @property
    def full(self) -> bool:
        return sum(self.used.values()) >= self.total


class Lanes(Generic[J]):
    """All lanes. ``start(slot)`` is called for each attempt that may begin; ``ended(slot, ...)`` tells that it is over."""

    def __init__(
        self,
        total: int,
        per_destination: int,
        per_minute: int,
        now: Callable[[], float],
        later: Callable[..., Any],
    ) -> None:
        """``later(seconds, call, *args)`` is the reactor's ``callLater``."""
        self.start: Callable[[Slot[J]], None] = lambda slot: None
        self._shares = _Shares(total)
        self._window = per_destination
        self._pace = 60.0 / per_minute if per_minute else 0.0
        self._now = now
        self._later = later
        self._lanes: OrderedDict[bytes, Lane[J]] = OrderedDict()
        self._lines: dict[Health, OrderedDict[Lane[J], None]] = {health: OrderedDict() for health in Health}
        self._running: dict[int, Slot[J]] = {}
        self._reserve_at = 0.0
        self._reserve_every = _TURNOVER / self._shares.reserve
        self._waking: Any = None
        self._stepping = False
        self.open = False  # whether attempts may begin

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def paced(self) -> bool:
        """Whether what waits for a lane may wait for long although the lane is alive."""
        return bool(self._pace)

    @property
    def running(self) -> list[Slot[J]]:
        """The attempts under way."""
        return list(self._running.values())

    def lane(self, key: bytes, stored: bool = False) -> Lane[J] | None:
        """The lane of the destination with this hash; None when so many others have something to do that none can be forgotten for it.

        ``stored``: for what waits in the store, which leaves some lanes to what comes in.
        """
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= (_STORED if stored else _FORGET) and not self._forget():
                return None
            lane = self._lanes[key] = Lane(key)
        elif lane.health is Health.LIVE and not lane.running and self._now() - lane.seen > _LIVE_SECONDS:
            lane.health, lane.window = Health.NEW, 1
        return lane

    def known(self, key: bytes) -> Lane[J] | None:
        """The lane of a destination if there is one."""
        return self._lanes.get(key)

    def offer(self, lane: Lane[J]) -> None:
        """Let ``lane`` stand in line if it has something to do and may; then let begin what can."""
        self._line_up(lane)
        self.step()

    def step(self) -> None:
        """Let begin what can."""
        if self._stepping:
            return
        self._stepping = True
        try:
            while self.open and not self._shares.full and (lane := self._pick()) is not None:
                self._begin(lane)
        finally:
            self._stepping = False

    def ended(self, slot: Slot[J], reached: bool | None) -> None:
        """The attempt is over. ``reached``: whether the destination's server answered; None: nothing was tried."""
        lane = slot.lane
        del self._running[id(slot)]
        self._shares.used[slot.share] -= 1
        lane.running -= 1
        lane.slow -= slot.slow
        if reached:
            lane.seen = self._now()
            lane.window = min(self._window, lane.window * 2) if lane.health is Health.LIVE else min(self._window, 2)
            lane.health = Health.LIVE
            if lane.stumbles:
                lane.stumbles, lane.until, lane.resting = 0, 0.0, 0.0
                self._leave(lane)
        self.offer(lane)

    def dead(self, lane: Lane[J], seconds: float) -> None:
        """The destination does not work: no attempt for so long."""
        self._leave(lane)
        lane.health, lane.window = Health.DEAD, 1
        lane.resting = self._now() + seconds

    def stumbled(self, lane: Lane[J], longest: float, steady: bool) -> int:
        """An attempt reached nobody: for how many seconds the lane rests for that, less than ``longest``; 0: it is dead.

        ``steady``: it works as a rule, although it has not been LIVE of late.
        """
        now = self._now()
        if not (lane.stumbles or steady or lane.health is Health.LIVE) or lane.health is Health.DEAD:
            return 0
        if lane.until <= now:  # else another attempt of the same time told already
            seconds = _STUMBLE << lane.stumbles
            if seconds >= longest:
                return 0
            self._leave(lane)
            lane.health, lane.window = Health.NEW, 1
            lane.stumbles += 1
            lane.until = now + seconds
            lane.resting = max(lane.resting, lane.until)
        return int(lane.until - now) + 1

    def pause(self, lane: Lane[J], seconds: float) -> None:
        """The destination works, and wants to hear nothing for so long."""
        self._leave(lane)
        lane.until = self._now() + seconds
        lane.resting = max(lane.resting, lane.until)

    def rest(self, lane: Lane[J]) -> int | None:
        """The seconds for which what comes in for the lane waits in the store, for its destination does not work; None: it need not."""
        if lane.health is Health.DEAD:
            return max(0, int(lane.resting - self._now()) + 1)
        return int(lane.until - self._now()) + 1 if lane.until > self._now() else None

    def revive(self, lane: Lane[J]) -> None:
        """Somebody wants it to be tried now."""
        self._leave(lane)
        lane.stumbles, lane.until = 0, 0.0
        if lane.health is Health.DEAD:
            lane.health = Health.NEW
        lane.resting = 0.0
        self.offer(lane)

    def renew(self, lane: Lane[J]) -> None:
        """It leads elsewhere from now on, of which nothing is known: what waits for it begins anew, what runs ends on its own."""
        if not lane.running:
            if lane.health is Health.DEAD or lane.resting or not lane.idle:
                self.revive(lane)
            return
        self._leave(lane)
        fresh: Lane[J] = Lane(lane.key, cold=lane.cold, jobs=lane.jobs)
        lane.jobs, lane.cold = deque(), False
        self._lanes[lane.key] = fresh
        self.offer(fresh)

    def tell_slow(self) -> None:
        """Look for attempts that last long; to be called about once a second."""
        before = self._now() - SLOW
        for slot in self.running:
            if not slot.slow and slot.began <= before:
                slot.slow = True
                slot.lane.slow += 1
                if slot.share is Health.LIVE:
                    self._shares.used[Health.LIVE] -= 1
                    self._shares.used[Health.NEW] += 1
                    slot.share = Health.NEW
        self.step()

    def close(self) -> None:
        """Let nothing begin any more."""
        self.open = False
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        for lane in self._lanes.values():
            if lane.parked is not None:
                lane.parked.cancel()
                lane.parked = None

    @property
    def lanes(self) -> list[Lane[J]]:
        """All that are remembered."""
        return list(self._lanes.values())

    def _line_up(self, lane: Lane[J]) -> None:
        if lane.line or lane.parked or not self.open or not (lane.jobs or lane.cold) or lane.running >= self._room(lane):
            return
        rest = lane.resting - self._now()
        if rest > 0:
            lane.parked = self._later(rest, self._unpark, lane)
            return
        lane.line = lane.health
        self._lines[lane.health][lane] = None

    def _leave(self, lane: Lane[J]) -> None:
        """Out of its line, or from where it rests."""
        if lane.line is not None:
            del self._lines[lane.line][lane]
            lane.line = None
        if lane.parked is not None:
            lane.parked.cancel()
            lane.parked = None

    def _unpark(self, lane: Lane[J]) -> None:
        lane.parked = None
        self.offer(lane)

    def _room(self, lane: Lane[J]) -> int:
        """How many attempts the lane may make at a time: no more while some last long and nothing else came back."""
        if lane.health is not Health.LIVE:
            return 1
        return lane.running if lane.slow and lane.slow == lane.running else lane.window

    def _pick(self) -> Lane[J] | None:
        """The lane whose turn it is, out of its line."""
        live, new, dead = self._lines[Health.LIVE], self._lines[Health.NEW], self._lines[Health.DEAD]
        used, shares = self._shares.used, self._shares
        if live and used[Health.LIVE] < shares.live:
            return live.popitem(last=False)[0]
        if new:
            if used[Health.NEW] < shares.new:
                return new.popitem(last=False)[0]
            if used[Health.NEW] < shares.new + shares.reserve:
                now = self._now()
                if now >= self._reserve_at:
                    self._reserve_at = now + self._reserve_every
                    return new.popitem(last=True)[0]
                self._wake(self._reserve_at - now)
        if dead and used[Health.DEAD] < shares.dead:
            return dead.popitem(last=False)[0]
        return live.popitem(last=False)[0] if live else None

    def _begin(self, lane: Lane[J]) -> None:
        lane.line = None
        now = self._now()
        slot = Slot(lane, lane.health, now)
        self._running[id(slot)] = slot
        self._shares.used[slot.share] += 1
        lane.running += 1
        if self._pace:
            lane.resting = max(now, lane.resting) + self._pace
        self.start(slot)
        self._line_up(lane)

    def _wake(self, seconds: float) -> None:
        if self._waking is None:
            self._waking = self._later(seconds, self._woken)

    def _woken(self) -> None:
        self._waking = None
        self.step()

    def _forget(self) -> bool:
        """Forget the idle lane that was made first, if there is one among some; the busy ones before it become the last."""
        for _ in range(_LOOKED_AT):
            key, lane = next(iter(self._lanes.items()))
            if lane.idle:
                del self._lanes[key]
                return True
            self._lanes.move_to_end(key)
        return False


@define
class Budget:
    """What may lie in memory: so many messages of so many octets in all. ``share`` is that of lanes that are not LIVE."""

    messages: int
    octets: int
    used: int = 0
    held: int = 0

    def fits(self, size: int, share: float = 1.0) -> bool:
        """Whether one more of ``size`` octets fits."""
        return self.used < self.messages * share and self.held + size <= self.octets * share

    def take(self, size: int) -> None:
        self.used += 1
        self.held += size

    def give(self, size: int) -> None:
        self.used -= 1
        self.held -= size

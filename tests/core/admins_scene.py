"""Administrators over a real store, for tests: the clock is turned by hand, and alerts are remembered."""

from typing import Any

import pyotp
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.admin_sessions import Sessions
from mailx.core.admins import Admins
from mailx.core.audit import Log, Recording
from mailx.core.settings import Settings
from tests.scenery import World, configured, world

PASSWORD = "correct horse"
HERE, THERE = "192.0.2.1", "198.51.100.7"


class Told:
    """Alerts that remember."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.failures = 0

    def tell(self, kind: str, subject: str, text: str) -> None:
        self.kinds.append(kind)

    def login_failed(self) -> None:
        self.failures += 1


class Office:
    """Administrators and sessions over a real store, with a clock that the test turns."""

    def __init__(self, here: World, **panel: Any) -> None:
        self.here = here
        self.time = 1_800_000_000.0
        self.clock = Clock()
        self.store = Recording(here.store, here.cipher, self.now)
        self.log = Log(here.store, here.cipher, here.reactor)
        self.alerts = Told()
        self.settings = Settings(configured(panel=panel))
        self.reopen()

    def now(self) -> float:
        return self.time

    def reopen(self) -> None:
        """As after a restart, or as another node."""
        self.admins = Admins(self.store, self.here.cipher, self.here.passwords, self.clock, self.now)
        self.admins.alerts = self.alerts
        self.sessions = Sessions(self.store, self.here.cipher, self.admins, self.settings, self.clock, self.now)

    async def load(self) -> None:
        await self.admins.load()
        await self.sessions.load()

    async def actions(self) -> list[str]:
        return [entry.action for entry in await self.log.list()]

    async def second(self, name: str = "ada") -> tuple[pyotp.TOTP, tuple[str, ...]]:
        """Give ``name`` a second factor; its codes come from the step before now, so that now is free."""
        offer = await self.admins.offer_totp(name, PASSWORD, HERE, "mail.example")
        totp = pyotp.TOTP(offer.secret)
        codes = await self.admins.begin_totp(name, totp.at(int(self.time) - 30), HERE, 0)
        return totp, codes


async def office(case: TestCase, *names: str, engine: str = "sqlite", **panel: Any) -> Office:
    made = Office(await world(case, engine=engine), **panel)
    await made.load()
    for name in names:
        await made.admins.add(name, PASSWORD)
    return made


async def settled(call: "Deferred[Any]") -> Any:
    """What came of ``call``: its value, or the exception that it raised."""
    try:
        return await call
    except Exception as error:
        return error

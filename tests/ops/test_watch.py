"""The watch: what crosses a threshold opens an alert, and closes it well on the other side."""

from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailx.core import alerts as kinds
from mailx.core.alerts import Alerts
from mailx.core.disk import Disk, disk
from mailx.core.settings import Settings
from mailx.mail.reply import Unavailable
from mailx.ops import watch
from mailx.ops.watch import Watch
from mailx.store.alerts import Figures
from tests.scenery import configured, world

NOW = 1_800_000_000
DAY = 86400


@frozen
class Served:
    names: tuple[str, ...]
    expires: float
    certificate_file: str = "/etc/mail.pem"


class WatchTests(TestCase):
    async def open(self, **settings: Any) -> Watch:
        self.world = await world(self)
        self.settings = Settings(configured(alerts={"disk_percent": 0, **settings}))
        self.alerts = Alerts(self.world.store, self.world.cipher, self.settings, "mx.example.test", reactor, lambda: NOW)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.alerts.stop()))
        self.served: list[Served] = []
        self.seen = Figures(0, 0, ())
        self.away = False

        async def figures(percent: int) -> Figures:
            if self.away:
                raise Unavailable("gone")
            return self.seen

        self.alerts.figures = figures  # type: ignore[method-assign]
        return Watch(self.alerts, self.settings, Path(self.world.directory), self, reactor, lambda: NOW)

    def overview(self) -> list[Served]:
        return self.served

    async def kinds(self, made: Watch) -> list[str]:
        await made.look()
        return sorted(alert.kind for alert in await self.alerts.open())

    async def test_nothing(self) -> None:
        made = await self.open()
        self.assertEqual(await self.kinds(made), [])

    async def test_depth(self) -> None:
        made = await self.open(queue_depth=100)
        for waiting, opens in ((99, False), (100, True), (81, True), (79, False), (81, False), (100, True)):
            self.seen = Figures(waiting, NOW, ())
            self.assertEqual(await self.kinds(made), [kinds.QUEUE_DEPTH] if opens else [], waiting)
        self.settings.current = configured(alerts={"queue_depth": 0, "disk_percent": 0})
        self.assertEqual(await self.kinds(made), [])

    async def test_age(self) -> None:
        made = await self.open(queue_age="1h")
        for age, opens in ((3599, False), (3600, True), (2881, True), (2879, False), (3599, False)):
            self.seen = Figures(1, NOW - age, ())
            self.assertEqual(await self.kinds(made), [kinds.QUEUE_AGE] if opens else [])
        self.seen = Figures(0, 0, ())
        self.assertEqual(await self.kinds(made), [])

    async def test_quota(self) -> None:
        made = await self.open(quota_percent=95)
        for used, opens in ((94, False), (95, True), (91, True)):
            self.seen = Figures(0, 0, (("ada@example.test", used, 100),))
            self.assertEqual(await self.kinds(made), [kinds.QUOTA] if opens else [])
        self.seen = Figures(0, 0, ())
        self.assertEqual(await self.kinds(made), [])

    async def test_disk(self) -> None:
        made = await self.open(disk_percent=90)
        for used, opens in ((89, False), (90, True), (88, True), (87, False)):
            self.patch(watch, "disk", lambda path, used=used: Disk(used, 0))
            self.assertEqual(await self.kinds(made), [kinds.DISK] if opens else [])

    async def test_the_real_disk(self) -> None:
        self.assertIn(disk(".").full, range(101))

    async def test_certificates(self) -> None:
        made = await self.open(certificate_days=14)
        for days, opens in ((15, False), (13, True), (-1, True), (90, False)):
            self.served = [Served(("mx.example.test",), NOW + days * DAY), Served((), NOW + 400 * DAY, "/etc/other.pem")]
            self.assertEqual(await self.kinds(made), [kinds.CERTIFICATE] if opens else [])

    async def test_counts(self) -> None:
        made = await self.open(failures_per_hour=2, logins_per_hour=2)
        for _ in range(2):
            self.alerts.login_failed()
        self.assertEqual(await self.kinds(made), [kinds.LOGINS])

    async def test_unsafe_settings(self) -> None:
        made = await self.open()
        safe = self.settings.current
        self.settings.current = evolve(safe, imap=evolve(safe.imap, plaintext_login=True))
        self.assertEqual(await self.kinds(made), [kinds.UNSAFE])
        self.settings.current = safe
        self.assertEqual(await self.kinds(made), [])

    async def test_the_store_is_away(self) -> None:
        made = await self.open()
        self.away = True
        with capturedLogs() as logs:
            for _ in range(4):
                await made.look()
        self.assertEqual([each.get("event") for each in logs], ["alert.store_away"])
        self.away = False
        await made.look()
        await self.alerts.stop()
        self.assertEqual([alert.kind for alert in await self.alerts.past()], [kinds.STORE])

    async def test_a_stumble(self) -> None:
        made = await self.open()
        self.served = [None]  # type: ignore[list-item]
        for _ in range(100):
            self.alerts.login_failed()
        self.assertEqual(await self.kinds(made), [kinds.LOGINS])  # is looked at nevertheless
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    async def test_every_minute(self) -> None:
        made = await self.open()
        made.start()
        await made.stop()
        self.assertEqual(made._looks, 1)

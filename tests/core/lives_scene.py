"""What time does to mail and accounts, over a world: the parts as the server puts them together, with a clock that is set by hand."""

from time import time

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.app_passwords import AppPasswords
from mailx.core.audit import Log
from mailx.core.contacts import Contacts
from mailx.core.delivery_log import DeliveryLog
from mailx.core.departures import Departures
from mailx.core.forgetting import Forgetting
from mailx.core.keyring import Keyring
from mailx.core.lifecycle import Lifecycle
from mailx.core.login_log import LoginLog
from mailx.core.person_export import Person
from mailx.core.quota_warnings import QuotaWarnings
from mailx.core.recounting import Recounting
from mailx.core.retention import Retention
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.timeline import Timeline
from tests.scenery import World

DAY = 86400


@define
class Lives:
    """The parts. ``now`` is the time of day that they see; it goes on only when it is set."""

    world: World
    now: float = field(factory=time)
    timeline: Timeline = field(init=False)
    delivery_log: DeliveryLog = field(init=False)
    warnings: QuotaWarnings = field(init=False)
    forgetting: Forgetting = field(init=False)
    lifecycle: Lifecycle = field(init=False)
    person: Person = field(init=False)

    def __attrs_post_init__(self) -> None:
        world = self.world
        store, cipher, accounts, settings, reactor = world.store, world.cipher, world.accounts, world.settings, world.reactor
        self.timeline = Timeline(store, cipher, reactor, 30)
        self.delivery_log = DeliveryLog(store, cipher, settings, reactor)
        keyring = Keyring(cipher, reactor, 0)
        sealed = SealedAccounts(store, cipher, accounts, world.passwords, keyring)
        retention = Retention(store, cipher, world.blobs, accounts, settings, reactor, self.time)
        self.forgetting = Forgetting(store, cipher, self.timeline, self.delivery_log, "+", reactor)
        logins = LoginLog(store, cipher, reactor, self.time)
        self.warnings = QuotaWarnings(store, settings, world.reception.accept, reactor, self.time)
        departures = Departures(store, accounts, self.forgetting, settings, self.time)
        self.lifecycle = Lifecycle(retention, departures, Recounting(store, accounts), self.warnings, logins, reactor, self.time)
        contacts = Contacts(store, cipher, accounts, settings, reactor)
        log = Log(store, cipher, reactor)
        apps = AppPasswords(store, cipher, accounts, sealed)
        self.person = Person(store, accounts, world.mailboxes, retention, self.timeline, log, logins, contacts, apps, sealed, keyring, None)

    def time(self) -> float:
        """The time of day."""
        return self.now

    def later(self, days: float) -> None:
        """So many days go by."""
        self.now += days * DAY

    async def stop(self) -> None:
        """As the server stops."""
        await self.lifecycle.stop()
        await self.timeline.stop()
        await self.delivery_log.stop()
        await self.person.logins.stop()
        await self.person.contacts.stop()
        self.person.keyring.stop()


def lives(case: TestCase, world: World) -> Lives:
    """Made for ``case``, and stopped before its world closes."""
    made = Lives(world)
    case.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
    return made

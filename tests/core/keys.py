"""Keys of domains and users in a world, by a clock that tests turn."""

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.domain_keys import DomainKeys
from mailx.core.keystore import SealedKeystore
from mailx.core.publication import Publication
from mailx.core.user_keys import UserKeys
from tests.scenery import DOMAIN, World, world

DAY = 86400
NOW = 1_800_000_000


@define
class Ring:
    """A world with keys. ``now`` is the time since 1970; ``recovery`` the text of the recovery key of DOMAIN."""

    test_case: TestCase
    world: World
    publication: Publication
    domains: DomainKeys
    users: UserKeys
    recovery: str = ""
    now: int = NOW

    async def again(self) -> "Ring":
        """The same database, opened by another server."""
        other = _made(self.world, self.test_case)
        other.now = self.now
        await other.domains.load()
        await other.users.load()
        return other

    async def settled(self) -> None:
        """What happens behind the scenes is over."""
        await self.users._renewing.acquire()
        self.users._renewing.release()


async def ring(test_case: TestCase, now: int = NOW, **options: Any) -> Ring:
    """A world whose domain has its first key; ``options`` as of ``world``."""
    made = _made(await world(test_case, **options), test_case)
    made.now = now
    await made.domains.load()
    await made.users.load()
    made.recovery = (await made.domains.ensure_all())[DOMAIN]
    return made


def _made(made: World, test_case: TestCase) -> Ring:
    publication = Publication(made.settings, ("seal",))
    domains = DomainKeys(made.store, SealedKeystore(made.cipher), made.accounts, publication, made.reactor, lambda: ring.now)
    users = UserKeys(made.store, made.accounts, domains, made.reactor, lambda: ring.now)
    ring = Ring(test_case, made, publication, domains, users)

    async def close() -> None:
        await users.stop()
        await domains.stop()

    test_case.addCleanup(lambda: Deferred.fromCoroutine(close()))
    return ring

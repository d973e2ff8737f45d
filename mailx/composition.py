"""Mail out, and what is asked of mail in, put together.

The parts are made in the order of their needs; ``parts`` closes them in the reverse order: first the queue, which lets
running deliveries finish, then the connections, then the timeline that both write to, then the resolver.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.threads import deferToThreadPool

from mailx.config import SMARTHOST, Config, Relay
from mailx.core.accounts import Accounts
from mailx.core.blocking import Blocking
from mailx.core.bounces import Bounces
from mailx.core.limits import SendLimits
from mailx.core.outgoing import Outgoing
from mailx.core.policy import IPolicy, MessageSize
from mailx.core.progress import Progress
from mailx.core.queue import Queue
from mailx.core.reception import Reception
from mailx.core.remembered import Remembered
from mailx.core.rerouting import Rerouting
from mailx.core.resolver import Resolver
from mailx.core.routes import Routes, relays
from mailx.core.settings import Settings
from mailx.core.signing import Signing
from mailx.core.srs import SRS
from mailx.core.timeline import Timeline
from mailx.store import Store
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher

if TYPE_CHECKING:
    from mailx.composition_federation import Identity
    from mailx.composition_owners import Owners
    from mailx.core.blocking import Lists
    from mailx.outbound.relays import Relays

_GOODBYES = 1.0  # seconds that other servers have to answer QUIT when this one stops


@frozen
class Ground:
    """What nearly everything stands on."""

    settings: Settings
    store: Store
    cipher: Cipher
    blobs: Blobs
    accounts: Accounts
    resolver: Resolver
    identity: "Identity"
    owners: "Owners"


@frozen
class Post:
    """Everything that mail out consists of. It runs from ``start`` on."""

    resolver: Resolver
    outgoing: Outgoing
    signing: Signing
    timeline: Timeline
    srs: SRS
    progress: Progress
    queue: Queue
    bounces: Bounces
    rerouting: Rerouting

    async def start(self, reception: Reception) -> None:
        """Send what waits, and take what ``reception`` brings. Raises Unavailable."""
        reception.bounce_with(self.bounces)
        await self.queue.start(self.bounces, reception.accept)
        await self.rerouting.start()


async def open_post(ground: Ground, progress: Progress, reactor: Any, parts: AsyncExitStack) -> Post:
    """Make it, with the couriers of the configuration; ``progress`` hears of every delivery."""
    settings, store, cipher, accounts, identity = ground.settings, ground.store, ground.cipher, ground.accounts, ground.identity
    signing = Signing(store, cipher, accounts, reactor)
    await signing.load()
    config = settings.current  # nothing is awaited from here until the changes are watched
    hostname = config.server.hostname
    timeline = Timeline(store, cipher, reactor, config.queue.keep_days)
    timeline.start()
    parts.push_async_callback(timeline.stop)
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    outgoing = Outgoing(signing, hostname, threads)
    couriers = _relays(config, ground.resolver, Remembered(store, cipher), outgoing, reactor, parts, identity)
    federated = identity.peers.known if identity.federates else None
    routes = Routes(config.outbound, config.queue, config.smarthost, federated=federated, retry=config.federation.retry)
    queue = Queue(
        store,
        cipher,
        ground.blobs,
        couriers.couriers,
        routes,
        config.queue,
        config.outbound,
        timeline,
        reactor,
        local=accounts.local,
        progress=progress,
        step=identity.spans.step,
    )
    parts.push_async_callback(queue.stop)
    rerouting = Rerouting(queue, couriers, store, cipher, config, reactor)
    settings.watch(["smarthost", "outbound", "queue"], rerouting.renew)
    parts.push_async_callback(rerouting.stop)
    srs = SRS(store, cipher)
    return Post(
        ground.resolver, outgoing, signing, timeline, srs, progress, queue, Bounces(hostname, accounts, timeline, reactor, srs), rerouting
    )


def _relays(
    config: Config,
    resolver: Resolver,
    remembered: Remembered,
    outgoing: Outgoing,
    reactor: Any,
    parts: AsyncExitStack,
    identity: "Identity",
) -> "Relays":
    """The direct courier and one for each relay, with one pool of connections for all."""
    from mailx.outbound.courier import SMTPCourier
    from mailx.outbound.pool import Pool
    from mailx.outbound.relay import RelayCourier
    from mailx.outbound.relays import Relays

    outbound, hostname = config.outbound, config.server.hostname
    pool = Pool(outbound, hostname, reactor)
    parts.callback(pool.abort)
    parts.push_async_callback(pool.ended, _GOODBYES)
    own = [(config.server.interface, config.smtp.port)]
    direct = SMTPCourier(outbound, hostname, pool, outgoing, resolver, remembered, own, reactor)
    parts.push_async_callback(direct.stop)  # the pool, and so all relays' connections

    def relay_courier(relay: Relay) -> Any:
        courier = RelayCourier(relay, pool, outgoing, resolver, reactor)
        return identity.choosing_at_smarthost(courier, outgoing, reactor) if relay.name == SMARTHOST else courier

    return Relays(identity.choosing(direct, outgoing, reactor), relay_courier, relays(config))


def policies(ground: Ground, block_lists: "Lists", reactor: Any, parts: AsyncExitStack) -> Sequence[IPolicy]:
    """What may object to mail, in the order of asking."""
    settings, store, accounts, resolver = ground.settings, ground.store, ground.accounts, ground.resolver
    config = settings.current
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    blocking = Blocking(accounts, block_lists, threads)
    every: list[IPolicy] = [MessageSize(config.smtp.message_size), blocking]
    checks = config.checks
    if checks.spf != "off" or checks.dmarc != "off" or checks.dkim:
        from mailx.checks.authentication import Authentication

        authentication = Authentication(checks, config.server.hostname, resolver, reactor)
        parts.callback(authentication.stop)
        every.append(authentication)
    if config.clamav.socket:
        from mailx.checks.clamav import ClamAV

        every.append(ClamAV(config.clamav, reactor))
    limits = SendLimits(config.limits, checks.trusted, accounts, store, reactor)
    settings.watch(["limits"], lambda config: limits.renew(config.limits))
    every.append(limits)  # last, because what is refused by others does not count
    return every

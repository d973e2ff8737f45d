"""Federation and identity put together: keys, other MailX servers, channels, who may write, and the edges of all that.

Like :mod:`mailx.composition` for mail out: the parts are made in the order of their needs, and ``parts`` closes them in the
reverse order. ``open_identity`` comes before mail out, which asks it which way mail goes; ``open_contacts`` before reception, which
asks it where mail belongs; ``federation_edges`` last, since what comes in must find everything else.
"""

from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.threads import deferToThreadPool

from mailx.composition import Ground
from mailx.config_federation import Federation
from mailx.core.accounts import Accounts
from mailx.core.alerts import Alerts
from mailx.core.block_lists import BlockLists
from mailx.core.choosing import Choosing, LateSealing
from mailx.core.contacts import Contacts
from mailx.core.discovery import Discovery
from mailx.core.domain_keys import DomainKeys
from mailx.core.first_contact import FirstContact
from mailx.core.key_log import KeyLog
from mailx.core.keystore import SealedKeystore
from mailx.core.list_fetch import ListFetcher
from mailx.core.log_audit import LogAudit
from mailx.core.log_gossip import LogGossip
from mailx.core.log_witness import LogWitness
from mailx.core.mailboxes import Mailboxes
from mailx.core.outgoing import Outgoing
from mailx.core.peer_control import PeerControl
from mailx.core.peer_figures import PeerCounting
from mailx.core.peer_following import Following
from mailx.core.peers import Peers
from mailx.core.publication import Publication
from mailx.core.queue import Queue
from mailx.core.reception import Reception
from mailx.core.remote_keys import RemoteKeys
from mailx.core.resolver import Resolver
from mailx.core.settings import Settings
from mailx.core.spans import Spans
from mailx.core.timeline import Timeline
from mailx.core.transfers import Transfers
from mailx.core.user_keys import UserKeys
from mailx.federation.asking import ChannelAsking
from mailx.federation.buckets import Buckets
from mailx.federation.certificates import Certificates as PeerCertificates
from mailx.federation.connect import Connector
from mailx.federation.histories import AsShown, Histories
from mailx.federation.link import LinkLimits
from mailx.federation.log_source import LogSource
from mailx.federation.pool import Pool
from mailx.federation.well_known import WellKnown as DocumentFetcher
from mailx.identity.statements import Statement
from mailx.mail.address import Address
from mailx.ops.certificates import Certificates
from mailx.store import Store
from mailx.store.cipher import Cipher

if TYPE_CHECKING:
    from mailx.federation.receiving import Delivery

_CAPABILITIES = ("seal", "log")
_CONNECT_SECONDS = 5.0  # that mail for the smart host waits to learn whether its domain has a MailX server


@frozen
class Identity:
    """Who we are, who others are, and the channels between us."""

    settings: Settings
    accounts: Accounts
    domain_keys: DomainKeys
    user_keys: UserKeys
    peers: Peers
    counting: PeerCounting
    control: PeerControl
    remote_keys: RemoteKeys
    key_log: KeyLog
    witness: LogWitness
    gossip: LogGossip
    audits: LogAudit
    transfers: Transfers
    certificates: PeerCertificates
    buckets: Buckets
    limits: LinkLimits
    pool: Pool
    spans: Spans
    late: LateSealing

    @property
    def federates(self) -> bool:
        """Whether mail comes and goes by federation at all."""
        return bool(self.settings.current.federation.port)

    def alert_with(self, alerts: Alerts) -> None:
        """Tell administrators of forged keys and logs by ``alerts``."""
        self.peers.alerts = self.remote_keys.alerts = self.witness.alerts = self.gossip.alerts = alerts

    def choosing(self, other: Any, outgoing: Outgoing, reactor: Any, seconds: float | None = None) -> Any:
        """The courier that takes the place of ``other``; that one itself when nothing goes by federation."""
        if not self.federates:
            return other
        from mailx.federation.courier import PeerCourier

        courier = PeerCourier(
            self.pool,
            self.peers,
            self.transfers,
            outgoing,
            self.domain_keys.signer,
            reactor,
            local=self.accounts.local,
            domains=self.domain_keys.domains,
            former=self.domain_keys.former,
            hostname=self.settings.current.server.hostname,
            counting=self.counting,
            step=self.spans.step,
        )
        return Choosing(self.peers, courier, other, seconds=seconds, late=self.late)

    def choosing_at_smarthost(self, other: Any, outgoing: Outgoing, reactor: Any) -> Any:
        """The same for the courier of the smart host, whose mail may be for any domain."""
        return self.choosing(other, outgoing, reactor, _CONNECT_SECONDS)


async def open_identity(
    settings: Settings, store: Store, cipher: Cipher, accounts: Accounts, resolver: Resolver, reactor: Any, parts: AsyncExitStack
) -> Identity:
    """When the directory is loaded. Raises Unavailable."""
    config = settings.current
    domain_keys, user_keys = await _open_keys(settings, store, cipher, accounts, reactor, parts)
    peers, counting = await _open_peers(settings, store, cipher, accounts, resolver, reactor, parts)
    transfers = _open_transfers(store, cipher, reactor, parts)
    key_log = KeyLog(store=store, keys=domain_keys, statements=user_keys.statements)
    witness = LogWitness(store=store, cipher=cipher)
    source = LogSource()

    async def believed(domain: str) -> Collection[bytes]:
        return (await peers.state(domain)).keys(time())

    gossip = LogGossip(key_log=key_log, witness=witness, believed=believed, source=source, share=lambda: settings.current.federation.gossip)
    parts.push_async_callback(gossip.stop)
    certificates, limits = PeerCertificates(domain_keys.signer, time), _limits(config.federation)
    pool, peers.following = _open_channels(settings, domain_keys, peers, certificates, limits, gossip, resolver, reactor, parts)
    source.asking = asking = ChannelAsking(pool, peers, domain_keys.domains)
    remote_keys = RemoteKeys(store, cipher, peers, reactor, asking=asking)
    peers.on_forget(remote_keys.forget)

    async def used(address: Address) -> list[Statement]:
        return [each.statement for each in await remote_keys.history(address)]

    spans = Spans(config.traces, config.server.hostname)
    parts.push_async_callback(spans.stop)
    return Identity(
        settings=settings,
        accounts=accounts,
        domain_keys=domain_keys,
        user_keys=user_keys,
        peers=peers,
        counting=counting,
        control=PeerControl(peers, counting),
        remote_keys=remote_keys,
        key_log=key_log,
        witness=witness,
        gossip=gossip,
        audits=LogAudit(key_log=key_log, witness=witness, believed=believed, source=source, reactor=reactor, used=used),
        transfers=transfers,
        certificates=certificates,
        buckets=Buckets(lambda: settings.current.federation, peers.limits, reactor.seconds),
        limits=limits,
        pool=pool,
        spans=spans,
        late=LateSealing(partial(deferToThreadPool, reactor, reactor.getThreadPool())),
    )


async def _open_keys(
    settings: Settings, store: Store, cipher: Cipher, accounts: Accounts, reactor: Any, parts: AsyncExitStack
) -> tuple[DomainKeys, UserKeys]:
    """Our own: of our domains, and of our users."""
    domain_keys = DomainKeys(store, SealedKeystore(cipher), accounts, Publication(settings, _CAPABILITIES), reactor)
    await domain_keys.load()
    domain_keys.start()
    parts.push_async_callback(domain_keys.stop)
    user_keys = UserKeys(store, accounts, domain_keys, reactor)
    await user_keys.load()
    user_keys.start()
    parts.push_async_callback(user_keys.stop)
    return domain_keys, user_keys


async def _open_peers(
    settings: Settings, store: Store, cipher: Cipher, accounts: Accounts, resolver: Resolver, reactor: Any, parts: AsyncExitStack
) -> tuple[Peers, PeerCounting]:
    """Other servers: how they are found, and what becomes of the mail between them and us."""
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    discovery = Discovery(resolver, DocumentFetcher(resolver, settings, reactor), settings, reactor)
    peers = Peers(store, cipher, settings, reactor, discoverer=discovery, local=accounts.local, threads=threads)
    await peers.load()
    parts.callback(peers.stop)
    counting = PeerCounting(store, peers.hash, reactor)
    counting.start()
    parts.push_async_callback(counting.stop)
    return peers, counting


def _open_transfers(store: Store, cipher: Cipher, reactor: Any, parts: AsyncExitStack) -> Transfers:
    """What others have delivered."""
    transfers = Transfers(store, cipher, reactor)
    transfers.start()
    parts.callback(transfers.stop)
    return transfers


def _open_channels(
    settings: Settings,
    domain_keys: DomainKeys,
    peers: Peers,
    certificates: PeerCertificates,
    limits: LinkLimits,
    gossip: LogGossip,
    resolver: Resolver,
    reactor: Any,
    parts: AsyncExitStack,
) -> tuple[Pool, Following]:
    """The channels that we open, and how the keys of static peers are followed whose announcement was missed."""
    connecting = partial(
        Connector,
        identities=certificates,
        former=PeerCertificates(domain_keys.latest_former, time),
        resolver=resolver,
        networks=lambda: settings.current.federation.networks,
        limits=limits,
        reactor=reactor,
    )
    pool = Pool(connecting(trust=peers, greeter=gossip), lambda: settings.current.federation.transfers)
    parts.callback(pool.stop)
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    return pool, Following(peers, Histories(connecting(trust=AsShown()), domain_keys.domains, threads))


def _limits(federation: Federation) -> LinkLimits:
    return LinkLimits(
        timeout=federation.timeout,
        idle=federation.idle_seconds,
        calls=2 * federation.transfers + 8,
        message_size=federation.message_size,
    )


@frozen
class Acquaintance:
    """Who may write to whom, and where a stranger's first message goes."""

    contacts: Contacts
    block_lists: BlockLists
    first_contact: FirstContact


async def open_contacts(ground: Ground, mailboxes: Mailboxes, timeline: Timeline, reactor: Any, parts: AsyncExitStack) -> Acquaintance:
    """Before reception. Raises Unavailable."""
    settings, store, cipher, accounts = ground.settings, ground.store, ground.cipher, ground.accounts
    contacts = Contacts(store, cipher, accounts, settings, reactor)
    parts.push_async_callback(contacts.stop)
    mailboxes.decide_with(contacts)
    fetcher = ListFetcher(ground.resolver, settings.current.contacts.list_networks, reactor)
    block_lists = BlockLists(store, cipher, accounts, settings, fetcher, reactor)
    await block_lists.load()
    block_lists.start()
    parts.push_async_callback(block_lists.stop)
    return Acquaintance(contacts, block_lists, FirstContact(contacts, accounts, mailboxes, timeline, reactor))


def federation_edges(
    ground: Ground,
    acquaintance: Acquaintance,
    reception: Reception,
    queue: Queue,
    tls: Certificates,
    reactor: Any,
    parts: AsyncExitStack,
) -> Iterator[IService]:
    """The federation port and the public site, where they are turned on."""
    identity, owners, config = ground.identity, ground.owners, ground.settings.current
    if identity.federates:
        yield _peer_server(identity, acquaintance, reception, queue, reactor, parts)
    if config.federation.https_port:
        from mailx.web.public.enrolment import Identity as Keys
        from mailx.web.public.log import LogPart
        from mailx.web.public.part import Part
        from mailx.web.public.service import PublicService
        from mailx.web.public.site import PublicSite
        from mailx.web.public.well_known import WellKnown

        every: list[Part] = [
            WellKnown(identity.domain_keys.published),
            LogPart(key_log=identity.key_log),
            Keys(identity.user_keys, owners.client_keys, owners.access),
        ]
        site = PublicSite(every, reactor)
        service: IService = PublicService(site, config.server.interface, config.federation.https_port, tls, reactor)
        yield service


def _peer_server(
    identity: Identity, acquaintance: Acquaintance, reception: Reception, queue: Queue, reactor: Any, parts: AsyncExitStack
) -> IService:
    """The federation port: what other servers connect to, and which services they find there."""
    from mailx.core.waking import Waking
    from mailx.federation.contact_calls import ContactCalls
    from mailx.federation.contact_service import ContactService
    from mailx.federation.discovery_service import DiscoveryService
    from mailx.federation.listener import PeerListener
    from mailx.federation.log_methods import LogMethods
    from mailx.federation.server import PeerServer

    config = identity.settings.current
    federation = config.federation
    methods = LogMethods(key_log=identity.key_log, gossip=identity.gossip).methods
    services = (
        _delivery(identity, reception, reactor, parts),
        DiscoveryService(identity.domain_keys, identity.user_keys, reactor, separator=config.accounts.separator, more=methods),
        ContactService(identity.peers, acquaintance.contacts, reactor),
    )
    calls = ContactCalls(identity.peers, identity.pool, reactor)
    parts.callback(calls.stop)
    identity.domain_keys.on_change(calls.announce)
    acquaintance.contacts.on_block(calls.tell)
    listener = PeerListener(
        services={service.name: service for service in services},
        trust=identity.peers,
        identities=identity.certificates,
        buckets=identity.buckets,
        max_connections=federation.max_connections,
        limits=identity.limits,
        reactor=reactor,
        greeter=identity.gossip,
    )
    listener.on_channel(Waking(queue, reactor.seconds).connected)
    identity.peers.on_distrust(listener.drop)
    server: IService = PeerServer(listener, config.server.interface, federation.port, federation.shutdown_seconds, reactor)
    return server


def _delivery(identity: Identity, reception: Reception, reactor: Any, parts: AsyncExitStack) -> "Delivery":
    """The service that takes messages."""
    from mailx.federation.receiving import Delivery

    async def hosts(domain: str) -> set[str]:
        peer = await identity.peers.find(domain)
        return set() if peer is None else {host for host, _ in peer.servers}

    config = identity.settings.current
    delivery = Delivery(
        reception,
        identity.transfers,
        identity.domain_keys.signer,
        identity.peers,
        reactor,
        hostname=config.server.hostname,
        settings=lambda: identity.settings.current.federation,
        port=config.federation.port,
        admission=identity.buckets,
        former=identity.domain_keys.former,
        hosts=hosts,
        counting=identity.counting,
    )
    parts.callback(delivery.stop)
    return delivery

"""Servers with key logs that ask each other without a network: real stores, real logs, real methods."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from attrs import define
from twisted.trial.unittest import TestCase

from mailx.core.key_log import KeyLog
from mailx.core.log_gossip import LogGossip
from mailx.core.log_witness import Ask, Away, LogWitness
from mailx.federation.log_methods import LogMethods
from mailx.identity import domain_keys, key_log
from mailx.identity.statements import SeedSigner, Statement
from mailx.identity.user_keys import attested
from mailx.mail.address import Address
from mailx.mail.log_leaf import DOMAIN_KEY, RECOVERY_KEY, USER_KEY, Leaf
from mailx.mail.reply import Refused
from mailx.store import key_log as rows
from tests.scenery import World, world


class Keys:
    """The keys of one server's domains."""

    def __init__(self, domain: str, number: int) -> None:
        self.domain = domain
        self.secret = bytes([number]) * 32
        self.seeds = [SeedSigner(bytes([number + 100]) * 32)]

    def signer(self, domain: str) -> SeedSigner:
        self.log_secret(domain)
        return self.seeds[0]

    def signers(self, domain: str) -> tuple[SeedSigner, ...]:
        self.log_secret(domain)
        return tuple(self.seeds)

    def log_secret(self, domain: str) -> bytes:
        if domain != self.domain:
            raise KeyError(domain)
        return self.secret

    def valid(self, domain: str) -> tuple[bytes, ...]:
        return tuple(each.public for each in self.seeds)


class Bell:
    """Alerts, as they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, kind: str, subject: str, text: str) -> None:
        self.told.append((kind, subject))


@define
class Server:
    """One server; ``net`` holds all of them by domain."""

    domain: str
    net: "dict[str, Server]"
    world: World
    keys: Keys
    log: KeyLog
    witness: LogWitness
    gossip: LogGossip
    bell: Bell
    statements: dict[tuple[str, str], list[Statement]]
    asked: list[str]  # methods that this server was asked
    away: bool = False

    async def bind(self, name: str, serial: int = 1, revoked: bool = False) -> Statement:
        """One entry for ``name``."""
        signer, now = self.keys.signer(self.domain), 1000 + serial
        sealing, signing = sha256(b"%d" % serial).digest(), sha256(b"-%d" % serial).digest()
        statement = attested(Address.parse(name), sealing, signing, serial, now, "server", signer, revoked=revoked).statement
        await self.enter(USER_KEY, name, serial, statement, revoked)
        return statement

    async def introduce(self) -> domain_keys.DomainKey:
        """The entries of the domain's first key."""
        key = domain_keys.first(self.domain, SeedSigner(b"r" * 32).public, 1000, self.keys.signer(self.domain))
        for kind in (DOMAIN_KEY, RECOVERY_KEY):
            await self.enter(kind, self.domain, key.serial, key.statement)
        return key

    async def enter(self, kind: str, name: str, serial: int, statement: Statement, revoked: bool = False) -> None:
        self.statements.setdefault((kind, name), []).append(statement)
        leaf = key_log.leaf(self.keys.secret, kind, name, serial, statement, revoked, 1000 + serial)
        await self.world.store.write(rows.append, self.domain, leaf)

    async def grow(self, count: int) -> None:
        size = (await self.log.state(self.domain)).size
        for number in range(size, size + count):
            await self.bind(f"user{number}@{self.domain}")

    async def head(self) -> dict[str, Any]:
        return (await self.log.head(self.domain)).statement.encode()

    def ask(self, remote: str) -> Ask:
        """Ask the server of ``remote`` as a channel would."""
        here = self

        async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            there = here.net.get(remote)
            if there is None or there.away:
                raise Away("nobody answers")
            there.asked.append(method)
            channel: Any = SimpleNamespace(local=remote, remote=here.domain, incoming=True)
            try:
                return await LogMethods(key_log=there.log, gossip=there.gossip).methods[method](channel, fields)
            except Refused as error:
                raise Away(str(error.reply), refused=True) from None

        return ask

    async def meet(self, remote: str) -> None:
        """Connect to ``remote``: both greet."""
        there = self.net[remote]
        said = await self.gossip.greeting(self.domain, remote)
        heard = await there.gossip.greeting(remote, self.domain)
        here_key, there_key = self.keys.seeds[0].public, there.keys.seeds[0].public
        await there.gossip.heard(SimpleNamespace(local=remote, remote=self.domain, key=here_key, incoming=True), said)
        await self.gossip.heard(SimpleNamespace(local=self.domain, remote=remote, key=there_key, incoming=False), heard)


class Source:
    """Asks over the net."""

    def __init__(self, server: list[Server]) -> None:
        self._server = server

    def over(self, channel: Any) -> Ask:
        return self._server[0].ask(channel.remote)

    def to(self, local: str, remote: str) -> Ask:
        return self._server[0].ask(remote)


async def server(case: TestCase, net: dict[str, Server], domain: str, *, number: int = 0, clock: Any = None, engine: str = "") -> Server:
    """A server for ``domain`` in ``net``; one that was there is replaced (restored, or forged: with the same keys)."""
    came = await world(case, engine=engine)
    number = number or sum(domain.encode()) % 90 + 1
    keys, bell = Keys(domain, number), Bell()
    now = clock if clock is not None else (lambda: 1700000000.0)
    statements: dict[tuple[str, str], list[Statement]] = {}

    async def kept(kind: str, name: str) -> Sequence[Statement]:
        return statements.get((kind, name), [])

    async def believed(domain: str) -> Sequence[bytes]:
        return net[domain].keys.valid(domain) if domain in net else ()

    log = KeyLog(store=came.store, keys=keys, statements=kept, now=now)
    witness = LogWitness(store=came.store, cipher=came.cipher, alerts=bell, now=now)
    holder: list[Server] = []
    gossip = LogGossip(key_log=log, witness=witness, believed=believed, source=Source(holder), alerts=bell, now=now)
    made = Server(domain, net, came, keys, log, witness, gossip, bell, statements, [])
    holder.append(made)
    net[domain] = made
    return made


async def restored(case: TestCase, old: Server, size: int, **options: Any) -> Server:
    """The server of ``old`` in its place, with a database from a backup: the first ``size`` entries and what was confirmed then."""
    new = await server(case, old.net, old.domain, **options)
    new.keys.seeds = old.keys.seeds
    confirmed = (await old.log.state(old.domain)).confirmed
    for octets in await old.log.leaves(old.domain, 0, size):
        await new.world.store.write(rows.append, old.domain, Leaf.decode(octets))
    await new.log.confirm(old.domain, min(size, confirmed))
    return new

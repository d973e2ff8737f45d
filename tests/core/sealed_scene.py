"""An office whose accounts may hold keys, and recipients elsewhere whose keys are known."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from attrs import Factory, define
from nacl.public import PrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import TestCase

from mailx.core.courier import Attempt
from mailx.core.keyring import Keyring
from mailx.core.peer import Known
from mailx.core.queue import Queue
from mailx.core.reception import Reception
from mailx.core.routes import Routes
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.sealed_arrivals import SealedArrivals
from mailx.core.sealed_making import Making
from mailx.core.sealed_outgoing import SealedOutgoing
from mailx.core.sealers import Sealers
from mailx.core.srs import SRS
from mailx.core.timeline import Timeline
from mailx.core.unsealing import Belief, Unsealed, Unsealing
from mailx.core.users import User
from mailx.identity import user_keys
from mailx.identity.statements import SeedSigner
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, new_id
from mailx.mail.message import Message
from mailx.store import accounts as account_rows
from tests.core.keys import Ring, ring
from tests.core.mail_out import Courier
from tests.scenery import World

PEER_KEY = SeedSigner(bytes(range(5, 37)))


@define
class Remote:
    """Keys of users elsewhere. ``fails``: nobody answers."""

    known: dict[str, Attestation] = Factory(dict)
    fails: bool = False
    asked: list[tuple[str, ...]] = Factory(list)

    def add(self, address: str, sealing: bytes, signing: bytes = bytes(32), holder: str = "client") -> None:
        self.known[address] = user_keys.attested(Address.parse(address), sealing, signing, 1, 1_790_000_000, holder, PEER_KEY)

    async def find(
        self, addresses: Sequence[Address], seconds: float, sender: str = "", anew: bool = False
    ) -> Mapping[Address, Attestation]:
        self.asked.append(tuple(str(each) for each in addresses))
        if self.fails:
            raise RuntimeError("no answer")
        return {each: self.known[each.key] for each in addresses if each.key in self.known}

    async def signers(self, address: Address, seconds: float, sender: str = "") -> Sequence[Attestation]:
        found = await self.find([address], seconds)
        return list(found.values())


@define
class Trust:
    """The domain peer.example is believed. ``now``: seconds since 1970."""

    known: Known = Known("peer.example", True, key=PEER_KEY.public)
    now: int = 1_800_000_000

    async def keys(self, domain: str, presented: bytes) -> tuple[bytes, ...]:
        return (await self.state(domain)).keys(self.now)

    async def state(self, domain: str) -> Known:
        return self.known if domain == "peer.example" else Known(domain)


class Reading(Courier):
    """Reads what it is given, as it is then."""

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        attempts = await super().deliver(envelope, recipients, destination)
        content = self.contents[-1]
        self.contents[-1] = content if isinstance(content, bytes) else content.read()
        return attempts


@define
class Scene:
    """``courier`` has what left; ``mailx`` are the domains with a MailX server."""

    ring: Ring
    remote: Remote
    held: SealedAccounts
    courier: Courier
    queue: Queue
    reception: Reception
    timeline: Timeline
    unsealing: Unsealing
    arrivals: SealedArrivals
    outgoing: SealedOutgoing
    user: User
    mailx: set[str]
    keyring: Keyring
    trust: Trust

    async def client_held(self, address: str) -> tuple[User, PrivateKey]:
        """A client-held account."""
        user = await self.ring.world.user(address)
        private = PrivateKey.generate()
        await self.ring.users.bind(user.id, bytes(private.public_key), SeedSigner(bytes(private)).public, "client")
        await self.ring.world.accounts.change(account_rows.set_sealed, user.id, "client")
        return user, private

    async def server_held(self, address: str) -> tuple[User, PrivateKey]:
        """A server-held account."""
        user = await self.ring.world.user(address)
        await self.held.seal(address, "secret")
        keys = self.keyring.get(user.id)
        assert keys is not None
        private = PrivateKey(keys.sealing)
        self.keyring.drop(user.id)
        return user, private

    async def send(self, content: bytes, *recipients: str, account: int | None = -1, sender: str = "me@example.test", **fields: Any) -> str:
        """Submit a message; returns the envelope's id."""
        id = new_id()
        account = self.user.id if account == -1 else account
        origin = self.ring.world.origin(protocol="ESMTPSA" if account else "ESMTP", account=account)
        message = Message(content, len(content))
        if len(content) > self.ring.world.config.store.file_above:
            made = self.reception.content(origin, b"", 1 << 30, False)
            if (wait := made.write(content)) is not None:
                await wait
            message = await made.finish()
        to = tuple(Address.parse(each) for each in recipients)
        await self.reception.accept(Envelope(id, Address.parse(sender), to, message, origin, **fields))
        return id

    async def notes(self, id: str) -> dict[str, list[dict[str, Any]]]:
        """The events of a message's timeline."""
        found: dict[str, list[dict[str, Any]]] = {}
        for trace in await self.timeline.trace(id):
            for event in trace.events:
                found.setdefault(event.event, []).append(event.facts)
        return found

    async def unsealed(self, content: bytes, private: PrivateKey, received: int = 1_800_000_000) -> tuple[Unsealed, bytes]:
        """Open a sealed message."""
        step = 10_000
        pieces = [content[start : start + step] for start in range(0, len(content), step)]
        found = await self.unsealing.opened(lambda: pieces, [bytes(private)], ["example.test"], received)
        return found, b"".join(found.pieces())


class NoReports:
    """Nobody hears of failures."""

    async def envelope(self, *_: Any, **__: Any) -> None:
        return None


async def scene(case: TestCase, **sections: Any) -> Scene:
    """A scene with the account me@example.test; mail leaves at once."""
    made = await ring(case, **sections)
    world = made.world
    config, reactor = world.config, world.reactor
    threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    courier, remote, mailx = Reading(), Remote(), {"peer.example"}
    queue, timeline = _mail_out(world, courier)
    keyring = Keyring(world.cipher, reactor, 60.0)
    held = SealedAccounts(world.store, world.cipher, world.accounts, world.passwords, keyring, made.users)
    making, sealers = Making(world.blobs, threads), Sealers(made.domains, made.users, world.accounts, keyring)
    outgoing = SealedOutgoing(remote, sealers, making, local=world.accounts.local, known=mailx.__contains__, seconds=lambda: 3)
    arrivals = SealedArrivals(made.users, held, sealers, making, world.blobs, threads, local=world.accounts.local)
    reception = Reception(
        world.store,
        world.cipher,
        world.blobs,
        world.accounts,
        [],
        reactor,
        hostname="mail.example.test",
        queue=queue,
        timeline=timeline,
        srs=SRS(world.store, world.cipher),
        file_above=config.store.file_above,
        spool_above=config.store.spool_above,
        outgoing=outgoing,
        arrivals=arrivals,
    )
    trust = Trust()
    belief = Belief(made.domains, made.users, remote, trust, local=world.accounts.local, seconds=lambda: 3)
    unsealing = Unsealing(belief, "mail.example.test", threads)

    await queue.start(NoReports(), reception.accept)  # type: ignore[arg-type]

    async def stop() -> None:
        keyring.stop()
        await queue.stop()
        await timeline.stop()

    case.addCleanup(lambda: Deferred.fromCoroutine(stop()))
    user = await world.user("me@example.test")
    return Scene(made, remote, held, courier, queue, reception, timeline, unsealing, arrivals, outgoing, user, mailx, keyring, trust)


def _mail_out(world: World, courier: Courier) -> tuple[Queue, Timeline]:
    config = world.config
    timeline = Timeline(world.store, world.cipher, world.reactor, 30)
    queue = Queue(
        world.store,
        world.cipher,
        world.blobs,
        {"": courier},
        Routes(config.outbound, config.queue),
        config.queue,
        config.outbound,
        timeline,
        world.reactor,
        local=world.accounts.local,
    )
    return queue, timeline

"""A queue over a real store, with couriers that do as the test says."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailx.config import Config
from mailx.core.accounts import Accounts
from mailx.core.audit import Recording
from mailx.core.bounces import Bounces
from mailx.core.courier import Attempt, ICourier
from mailx.core.ledger import Entry, Selection
from mailx.core.progress import Progress
from mailx.core.queue import Queue
from mailx.core.reception import Reception
from mailx.core.routes import Routes
from mailx.core.timeline import Timeline
from mailx.core.users import User
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Envelope, Wish, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from mailx.store.sqlite import open_store
from tests.scenery import World, configured, world
from tests.store import postgresql

GREETING = b"From: <me@example.test>\r\nSubject: Hello\r\n\r\nHello\r\n"
TAKEN = Attempt(Reply(250, "2.0.0", "OK"), "mx.example.org [192.0.2.1]:25")
LATER = Attempt(Reply(451, "4.7.1", "Greylisted"), "mx.example.org [192.0.2.1]:25")
NEVER = Attempt(Reply(550, "5.1.1", "No such user"), "mx.example.org [192.0.2.1]:25")
AWAY = Attempt(Reply(451, "4.4.1", "Connection refused"), unreachable=True)

Answer = Attempt | Exception | Deferred | Mapping[str, Attempt]


@implementer(ICourier)
@define
class Courier:
    """Answers by destination; what has no answer is taken. A Deferred answers when it fires."""

    answers: dict[str, Any] = Factory(dict)
    tried: list[tuple[str, str, tuple[str, ...]]] = Factory(list)  # destination, envelope, recipients
    contents: list[Any] = Factory(list)
    running: dict[str, int] = Factory(dict)
    most: dict[str, int] = Factory(dict)

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        self.tried.append((destination, envelope.id, tuple(str(each) for each in recipients)))
        self.contents.append(envelope.message.content)
        self.running[destination] = self.running.get(destination, 0) + 1
        self.most[destination] = max(self.most.get(destination, 0), self.running[destination])
        try:
            answer = self.answers.get(destination, TAKEN)
            if callable(answer):
                answer = answer()
            if isinstance(answer, Deferred):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, Attempt):
                return dict.fromkeys(recipients, answer)
            return {each: answer[str(each)] for each in recipients if str(each) in answer}
        finally:
            self.running[destination] -= 1

    async def stop(self) -> None:
        """See ICourier."""


@define
class Office:
    """A world with a queue. ``now`` is the queue's time of day."""

    case: TestCase
    world: World
    config: Config
    courier: Courier
    relay: Courier
    queue: Queue
    reception: Reception
    timeline: Timeline
    bounces: Bounces
    user: User
    clock: list[float]
    progress: Progress

    async def start(self) -> None:
        await self.queue.start(self.bounces, self.reception.accept)

    async def send(
        self,
        *recipients: str,
        content: bytes = GREETING,
        sender: str = "me@example.test",
        wishes: Mapping[str, Wish] | None = None,
        demands: Demands | None = None,
    ) -> str:
        """Submit a message; returns the envelope's id."""
        id = new_id()
        origin = self.world.origin(protocol="ESMTPSA", account=self.user.id)
        envelope = Envelope(
            id,
            Address.parse(sender) if sender else None,
            tuple(Address.parse(each) for each in recipients),
            Message(content, len(content)),
            origin,
            wishes={Address.parse(each): wish for each, wish in (wishes or {}).items()},
            demands=demands or Demands(),
        )
        await self.reception.accept(envelope)
        return id

    async def states(self) -> dict[str, str]:
        """The state of each recipient in the queue."""
        return {entry.recipient: entry.state for entry in await self.entries()}

    async def entries(self, **selection: Any) -> list[Entry]:
        return await self.queue.ledger.list(Selection(**selection), limit=10000)

    async def until(self, true: Callable[[], Any]) -> None:
        """Returns when ``true()`` (or what it awaits) is true."""
        for _ in range(20_000):
            answer = true()
            if not isinstance(answer, bool):
                answer = await answer
            if answer:
                return
            await deferLater(self.world.reactor, 0.005)
        self.case.fail("it never came true")

    async def settled(self, **expected: int) -> None:
        """Returns when the queue's counts of these states are those, and what was settled has been told too."""

        async def same() -> bool:
            counts = await self.queue.ledger.counts()
            return all(counts[state] == count for state, count in expected.items()) and not self.queue._settling._count

        await self.until(same)

    async def reports(self) -> list[bytes]:
        """The delivery reports in the account's INBOX."""
        return await self.world.contents(self.user)

    async def on_another_node(self) -> "Office":
        """The same with connections of its own to the database, which must be PostgreSQL."""
        from mailx.store.postgres import open_store as open_postgres

        made = self.world
        ((name,),) = await made.store.read(lambda txn: txn.all("SELECT current_database()"))
        store = await open_postgres(postgresql.server().url(name), "", 1, made.reactor)
        self.case.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        return _office(
            self.case, evolve(made, store=Recording(store, made.cipher)), self.config, self.courier, self.relay, self.user, self.clock
        )

    async def copied(self) -> "Office":
        """An office over a copy of the database as it is on disk now: what kill -9 would leave."""
        path = self.case.mktemp()
        for suffix in ("", "-wal"):
            shutil.copy(os.path.join(self.world.directory, "mailx.db" + suffix), path + suffix)
        store = await open_store(path, 1, self.world.reactor)
        self.case.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        accounts = Accounts(store, self.world.cipher, self.config.accounts, self.world.passwords, self.world.reactor)
        await accounts.load()
        made = evolve(self.world, store=store, accounts=accounts)
        return _office(self.case, made, self.config, self.courier, self.relay, self.user, self.clock)

    def again(self, **sections: dict[str, Any]) -> "Office":
        """Another queue over the same store, as after a restart."""
        config = configured(**sections) if sections else self.config
        return _office(self.case, self.world, config, self.courier, self.relay, self.user, self.clock)


async def office(case: TestCase, *, engine: str = "", **sections: dict[str, Any]) -> Office:
    """An office with one account, me@example.test. The queue is not started; it is stopped at the end of the test."""
    made = await world(case, engine=engine, **sections)
    user = await made.user("me@example.test")
    return _office(case, made, made.config, Courier(), Courier(), user, [1_700_000_000.0])


def _office(case: TestCase, made: World, config: Config, courier: Courier, relay: Courier, user: User, clock: list[float]) -> Office:
    timeline = Timeline(made.store, made.cipher, made.reactor, config.queue.keep_days)
    progress = Progress()
    queue = Queue(
        made.store,
        made.cipher,
        made.blobs,
        {"": courier, "smart": relay},
        Routes(config.outbound, config.queue),
        config.queue,
        config.outbound,
        timeline,
        made.reactor,
        now=lambda: clock[0],
        local=made.accounts.local,
        progress=progress,
    )
    reception = Reception(
        made.store,
        made.cipher,
        made.blobs,
        made.accounts,
        [],
        made.reactor,
        hostname="mail.example.test",
        queue=queue,
        timeline=timeline,
        file_above=config.store.file_above,
        spool_above=config.store.spool_above,
        progress=progress,
    )
    bounces = Bounces("mail.example.test", made.accounts, timeline, made.reactor)

    async def stop() -> None:
        await queue.stop()
        await timeline.stop()

    case.addCleanup(lambda: Deferred.fromCoroutine(stop()))
    return Office(case, made, config, courier, relay, queue, reception, timeline, bounces, user, clock, progress)

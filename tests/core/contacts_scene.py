"""A world in which strangers' mail goes to Requests: contacts, block lists and first contact over a real store."""

from functools import partial
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import TestCase

from mailx.core.block_lists import BlockLists
from mailx.core.blocking import Blocking
from mailx.core.contacts import Contacts
from mailx.core.first_contact import FirstContact
from mailx.core.list_fetch import NotFetched
from mailx.core.policy import Findings, Policy
from mailx.core.reception import Reception
from mailx.core.timeline import Timeline
from mailx.core.users import User
from mailx.mail.address import Address
from mailx.mail.envelope import FEDERATION, Envelope, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply
from tests.scenery import World, world


@define
class Pages:
    """A web with texts at URLs."""

    texts: dict[str, bytes] = Factory(dict)
    asked: list[str] = Factory(list)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.texts:
            raise NotFetched("its server answers 404")
        return self.texts[url]


@define(slots=False)
class Verdicts(Policy):
    """Checks that find what the test says."""

    found: dict[str, str] = Factory(dict)
    junk: bool = False

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        findings.verdicts.update(self.found)
        findings.junk = self.junk
        return None


@define
class Scene:
    """The world, and what this part adds to it."""

    world: World
    contacts: Contacts
    lists: BlockLists
    pages: Pages
    verdicts: Verdicts
    timeline: Timeline
    reception: Reception
    user: User

    async def bring(
        self, author: str, to: str | list[str] = "me@example.test", *, sender: str | None = None, body: str = "", **origin: Any
    ) -> str:
        """A message of ``author`` by SMTP; its envelope's sender is the author unless ``sender`` says otherwise."""
        envelope = self.world.deliver(
            to,
            f"From: {author}\r\nSubject: Hello\r\nMessage-ID: <{new_id()}@example.org>\r\n\r\n{body or 'Hello'}\r\n".encode(),
            Address.parse(sender or author) if sender != "" else None,
            **origin,
        )
        return await envelope

    async def federate(self, author: str, to: str | list[str] = "me@example.test", *, domain: str = "", **more: Any) -> str:
        """The same from another MailX server, which has proved the author's domain, or ``domain``."""
        proved = domain or author.rpartition("@")[2]
        return await self.bring(author, to, protocol=FEDERATION, domain=proved, **more)

    async def submit(self, *recipients: str, content: bytes = b"", user: User | None = None, sender: str | None = "me@example.test") -> str:
        """A message of an account of ours."""
        user = user or self.user
        id = new_id()
        content = content or f"From: {user.address}\r\nMessage-ID: <{id}@example.test>\r\nSubject: Hello\r\n\r\nHello\r\n".encode()
        origin = self.world.origin(protocol="ESMTPSA", account=user.id)
        came = Address.parse(sender) if sender else None
        await self.reception.accept(Envelope(id, came, tuple(map(Address.parse, recipients)), Message(content, len(content)), origin))
        return id

    async def count(self, mailbox: str, user: User | None = None) -> int:
        return (await self.world.mailboxes.status(user or self.user, mailbox)).messages

    async def where(self, user: User | None = None) -> dict[str, int]:
        """Mailboxes that hold messages."""
        found = await self.world.mailboxes.list(user or self.user)
        return {mailbox.name: mailbox.messages for mailbox in found if mailbox.messages}

    async def refused(self, attempt: Any) -> str:
        """The reply that ``attempt`` is refused with; "" if it is not."""
        try:
            await attempt
        except Refused as error:
            return str(error.reply)
        return ""


async def scene(case: TestCase, *, engine: str = "", now: Any = None, **sections: dict[str, Any]) -> Scene:
    """A scene with the account me@example.test."""
    made = await world(case, engine=engine, **sections)
    clock = {} if now is None else {"now": now}
    contacts = Contacts(made.store, made.cipher, made.accounts, made.settings, made.reactor, **clock)
    pages, verdicts = Pages(), Verdicts()
    lists = BlockLists(made.store, made.cipher, made.accounts, made.settings, pages, made.reactor, **clock)
    await lists.load()
    timeline = Timeline(made.store, made.cipher, made.reactor, 30)
    threads = partial(deferToThreadPool, made.reactor, made.reactor.getThreadPool())
    reception = Reception(
        made.store,
        made.cipher,
        made.blobs,
        made.accounts,
        [Blocking(made.accounts, lists, threads), verdicts],
        made.reactor,
        hostname="mail.example.test",
        timeline=timeline,
        first_contact=FirstContact(contacts, made.accounts, made.mailboxes, timeline, made.reactor),
    )
    made.reception = reception
    made.mailboxes.decide_with(contacts)

    async def close() -> None:
        await lists.stop()
        await contacts.stop()
        await timeline.stop()

    case.addCleanup(lambda: Deferred.fromCoroutine(close()))
    user = await made.user("me@example.test")
    return Scene(made, contacts, lists, pages, verdicts, timeline, reception, user)

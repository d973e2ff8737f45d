"""First contact: where mail of strangers goes.

A message of somebody whom an account does not know goes to its folder Requests, if the account wants that of mail that came
this way. Known is who was accepted, and only if the message is proved to be theirs: by the key of their domain (federation), by
DMARC's alignment (SMTP), or by their login here. Answers of servers to mail that the account sent come through, too.

Nobody is told in which folder a message lies. A blocked author is refused where everybody refuses; where the message is also for others,
it lies in the folder for junk of whoever blocked its author.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core import metrics
from mailx.core.accounts import Accounts, User
from mailx.core.answered import OCTETS, answered
from mailx.core.blocking import BLOCKED
from mailx.core.contact_identity import author, claimed, proved
from mailx.core.contacts import Contacts
from mailx.core.content import Threads
from mailx.core.mailboxes import Mailboxes
from mailx.core.policy import Findings
from mailx.core.timeline import Event, Timeline
from mailx.core.turns import Turns
from mailx.mail.address import Address
from mailx.mail.envelope import FEDERATION, GENERATED, WEBHOOK, Envelope
from mailx.mail.names import INBOX, REQUESTS, MailboxError
from mailx.mail.reply import Refused, Unavailable

log = Logger()

JUNK = "\\Junk"

_SEARCHES = 2  # of timelines at a time: forged reports must not keep the store busy
_WAITING = 20  # reports that wait for one; more are strangers'
_TRACES = 3  # messages of one identifier that are looked at


class FirstContact:
    """Says where a message goes. ``timeline`` knows what accounts have sent."""

    def __init__(self, contacts: Contacts, accounts: Accounts, mailboxes: Mailboxes, timeline: Timeline | None, reactor: Any) -> None:
        self._contacts = contacts
        self._accounts = accounts
        self._mailboxes = mailboxes
        self._timeline = timeline
        self._reactor = reactor
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._searching = DeferredSemaphore(_SEARCHES)

    def wrote(self, envelope: Envelope) -> "Deferred[None] | None":
        """Call it right before the message is committed, and await what it returns after the commit, before the reply.

        Notes whom an account writes to; what is returned never fails. Automatic answers, which come from nobody, make no contacts.
        """
        account = envelope.origin.account
        if account is None or envelope.sender is None or envelope.filing is not None:
            return None
        return self._contacts.wrote(account, envelope.recipients)

    async def places(self, envelope: Envelope, findings: Findings, users: Mapping[int, User]) -> Mapping[int, str]:
        """The mailbox of each account, by its id, where that is not INBOX. Raises Refused if everybody blocks the author."""
        origin = envelope.origin
        if origin.protocol in (GENERATED, WEBHOOK):
            return {}
        turns = Turns(self._reactor)
        others = [id for id in users if id != origin.account]
        blocking = [id for id in others if await self._accounts.blocks_any(id)]
        asking = [] if findings.junk else await self._contacts.asking(others, origin.protocol == FEDERATION)
        if not blocking and not asking:
            return {}
        await turns.spare()
        written = await author(envelope.message, self._threads)
        blocked = []
        claims = await claimed(envelope.message, self._threads) if blocking else ()
        for id in blocking:
            await turns.spare()
            if any([await self._accounts.blocked(id, one) for one in claims]):
                blocked.append(id)
        if blocked:
            await self._refuse(envelope, users, blocked)
        places = {id: await self._junk(users[id]) for id in blocked}
        strangers = await self._strangers(envelope, findings, written, [id for id in asking if id not in places])
        who = written or envelope.sender
        for id in strangers:
            await turns.spare()
            if await self._has_room(users[id]):
                places[id] = REQUESTS
            metrics.FIRST_CONTACTS.labels("requested").inc()
            if who is not None:
                self._contacts.requested(id, who)
        return places

    async def _strangers(self, envelope: Envelope, findings: Findings, written: Address | None, asking: Collection[int]) -> list[int]:
        """Those of ``asking`` who do not know whoever wrote the message."""
        if not asking:
            return []
        known: set[int] = set()
        if written is not None and await self._proved(envelope, findings, written):
            known = await self._contacts.accepted(asking, written)
        left = [id for id in asking if id not in known]
        if left and envelope.sender is None:
            known = await self._answered(envelope, left)
            metrics.FIRST_CONTACTS.labels("answered").inc(len(known))
            left = [id for id in left if id not in known]
        return left

    async def _proved(self, envelope: Envelope, findings: Findings, written: Address) -> bool:
        account = envelope.origin.account
        if account is not None:
            return await self._accounts.may_send_as(account, written)
        return proved(envelope.origin, written, findings.verdicts)

    async def _answered(self, envelope: Envelope, accounts: Collection[int]) -> set[int]:
        """Those of ``accounts`` who have sent what the message answers."""
        if self._timeline is None or len(self._searching.waiting) >= _WAITING:
            return set()
        content = envelope.message.content
        identifiers = await self._threads(lambda: answered(content if isinstance(content, bytes) else content.read(OCTETS)))
        if not identifiers:
            return set()
        await self._searching.acquire()
        try:
            return await self._senders(self._timeline, identifiers, set(accounts))
        except Unavailable:
            raise
        except Exception:
            log.failure("What a report answers could not be looked up", event="contacts.failed", message_id=envelope.id)
            return set()
        finally:
            self._searching.release()

    async def _senders(self, timeline: Timeline, identifiers: Collection[str], accounts: set[int]) -> set[int]:
        found: set[int] = set()
        for identifier in identifiers:
            for trace in await timeline.trace(identifier, _TRACES):
                found.update(accounts & {each.facts.get("account") for each in trace.events if _names(identifier, trace.envelope, each)})
            if found == accounts:
                break
        return found

    async def _refuse(self, envelope: Envelope, users: Mapping[int, User], blocked: Collection[int]) -> None:
        """Raise Refused if nobody is left who takes the message."""
        if len(blocked) < len(users):
            return
        for recipient in envelope.recipients:
            reached = await self._accounts.resolve(recipient)
            if reached is None or reached.remotes:
                return
        metrics.BLOCKED.labels("account").inc()
        raise Refused(BLOCKED)

    async def _junk(self, user: User) -> str:
        """The account's folder for junk; without one, Requests."""
        for mailbox in await self._mailboxes.list(user):
            if mailbox.special_use == JUNK:
                return mailbox.name
        return REQUESTS if await self._has_room(user) else INBOX

    async def _has_room(self, user: User) -> bool:
        """Whether there is a folder Requests; it is made if it is missing."""
        try:
            await self._mailboxes.status(user, REQUESTS)
        except MailboxError:
            try:
                await self._mailboxes.create(user, REQUESTS)
                await self._mailboxes.subscribe(user, REQUESTS)
            except MailboxError as error:
                log.warn("No folder Requests could be made", event="contacts.no_folder", user_id=user.id, reason=error.code)
                return error.code == "ALREADYEXISTS"
        return True


def _names(identifier: str, envelope: str, event: Event) -> bool:
    """Whether ``identifier`` names the message that ``event`` accepted. It may be an address, too, which the timeline finds as well."""
    names = {envelope, event.facts.get("message_id")}
    return event.event == "accepted" and identifier.lower() in {each.lower() for each in names if isinstance(each, str)}

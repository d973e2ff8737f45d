"""Reception: the one way in. Whatever brings a message (SMTP, LMTP, IMAP APPEND) hands it over here.

``sender`` and ``recipient`` give the verdicts of MAIL and RCPT, ``content`` takes the octets, ``accept`` stores. A message
is acknowledged only when the transaction that holds it is committed and, if it lies in a file, the file is durable.
Failure is :class:`Refused` with the reply for the client; then nothing of the message was kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from time import time
from typing import Any

from attrs import evolve, frozen
from prometheus_client import Counter
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core import headers, metrics, quota
from mailx.core.accounts import Accounts, User
from mailx.core.content import Content, Threads
from mailx.core.gathering import Gathering
from mailx.core.policy import Findings, IPolicy, Policy
from mailx.core.router import Route, Router, Way
from mailx.core.sealing import Sealed, Sealing
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Filing, Origin
from mailx.mail.message import Spooled
from mailx.mail.names import INBOX, MailboxError, normal
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import Store, keywords
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.delivery import Consignment, Delivery, Outcome, Placed, Problem, Target, deliver
from mailx.store.mailboxes import name_hash
from mailx.store.messages import charge
from mailx.store.sweep import abandoned

log = Logger()

OK = Reply(250, "2.0.0", "Message accepted for delivery")
NOT_OURS = Reply(550, "5.7.1", "Relaying denied")
NOT_YOURS = Reply(550, "5.7.1", "Sender address is not yours")
UNKNOWN = Reply(550, "5.1.1", "No such mailbox here")
SUSPENDED = Reply(550, "5.2.1", "Mailbox disabled")
FULL = Reply(552, "5.2.2", "Mailbox full")
CHANGED = Reply(451, "4.3.0", "Recipients have changed; try again")


_INBOXES = 10000  # accounts for which the hash of INBOX is kept


@frozen
class Filed:
    """Where messages were filed, for APPENDUID (RFC 4315)."""

    uidvalidity: int
    uids: tuple[int, ...]


@frozen
class _Receivers:
    """Whom an envelope reaches."""

    refused: dict[Address, Reply]
    reached: dict[Address, list[int]]  # the ids of the accounts that take it
    users: dict[int, User]

    def together(self) -> tuple[tuple[int, ...], ...]:
        """The places in ``users`` of the accounts of each recipient that reaches several."""
        several = [ids for ids in self.reached.values() if len(ids) > 1]
        places = {id: place for place, id in enumerate(self.users)} if several else {}
        return tuple([tuple([places[id] for id in ids]) for ids in several])


class Reception:
    """The one way in."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        blobs: Blobs,
        directory: Accounts,
        policies: Sequence[IPolicy],
        reactor: Any,
        *,
        hostname: str,
        default_quota: int = 0,
        file_above: int = 131072,
        spool_above: int = 1048576,
        tracing: bool = False,
    ) -> None:
        """Sizes are in octets, see the settings of store and accounts; ``hostname`` makes missing Message-IDs.

        ``tracing`` turns on the debug lines of every quota check and update.
        """
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._directory = directory
        self._at_mail, self._at_rcpt, self._at_end = [_asked(policies, moment) for moment in ("sender", "recipient", "check")]
        self._router = Router(directory)
        self._reactor = reactor
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._sealing = Sealing(cipher, blobs, self._threads, file_above)
        self._hostname = hostname
        self._default_quota = default_quota
        self._spool_above = spool_above
        self._tracing = tracing
        self._inbox = lru_cache(maxsize=_INBOXES)(lambda id: name_hash(cipher, id, INBOX))  # of an account, its hash
        self._gathering = Gathering(reactor)
        self._received: dict[str, Counter] = {}  # by protocol: looking a label up costs more than counting

    async def sender(self, origin: Origin, address: Address | None, size: int | None) -> None:
        """The verdict of MAIL; ``size`` is what the client announces in octets. Raises Refused.

        An authenticated account sends as itself, as one of its aliases, or from the null reverse-path.
        """
        if origin.account is not None and not await self._directory.may_send_as(origin.account, address):
            raise Refused(NOT_YOURS)
        for policy in self._at_mail:
            if (reply := await policy.sender(origin, address, size)) is not None:
                raise Refused(reply)

    async def recipient(self, origin: Origin, sender: Address | None, address: Address, size: int | None) -> Address:
        """The verdict of RCPT; the address to put into the envelope. Raises Refused: 550 5.7.1, 5.1.1, 5.2.1 or 552 5.2.2."""
        users = await self._takers(origin, sender, await self._router.route(address))
        cost = charge(size or 1)
        for user in users:
            if user.room(cost) or ((fresh := await self._directory.fresh(user.id)) is not None and fresh.room(cost)):
                if self._tracing:
                    quota.checked(user, size)
                return address
        for user in users:
            quota.exceeded(user, size)
        raise Refused(FULL)

    def content(self, origin: Origin, head: bytes, limit: int, submitted: bool) -> Content:
        """Begin to take a message of at most ``limit`` octets.

        ``head`` are the trace fields (:func:`mailx.core.trace.received`), put before it. With an empty ``head`` and not
        ``submitted`` the octets are kept exactly as they come: what IMAP APPEND needs.
        """
        fix: Callable[[bytes], bytes] | None = None
        if submitted:
            fix = partial(headers.submitted, hostname=self._hostname, now=time())
        elif head:
            fix = headers.incoming
        return Content(head, limit, fix, self._blobs, self._threads, self._spool_above)

    async def accept(self, envelope: Envelope, each: bool = False) -> Mapping[Address, Reply]:
        """Store the message for every recipient; the reply for each. Returns after COMMIT and fsync.

        With ``each`` (LMTP) every recipient has its own verdict, so the mapping may hold refusals. Without, there is one
        verdict for all: Refused is raised when nobody took it, or when one recipient has gone since RCPT (451: the next
        try learns which); an account that became full meanwhile is still served beside one that is not.
        Refused by policies, Unavailable and a full disk are raised in either case.
        """
        started = self._reactor.seconds()
        sealed = None
        try:
            await self._gathering.turn()
            await self._check(envelope)
            receivers = await self._receivers(envelope)
            users = receivers.users
            if receivers.refused and not each:
                raise Refused(CHANGED if users else next(iter(receivers.refused.values())))
            if not users:
                await self._discard(envelope.message.content)
                return receivers.refused
            sealed = await self._sealing.seal(envelope.message)
            targets = [(user, self._inbox(user.id), 0) for user in users.values()]
            delivery = await self._delivery(sealed, targets, int(time()))
            if each:
                delivery = evolve(delivery, together=receivers.together())
        except Exception:
            await self._discard(envelope.message.content, sealed.file if sealed else None)
            raise
        (outcomes,) = await self._store_all(Consignment((delivery,), each), [sealed])
        await self._settle(envelope, sealed, zip(users.values(), outcomes, strict=True), started)
        if not each:
            if not any(isinstance(outcome, Placed) for outcome in outcomes):
                raise Refused(FULL if Problem.GONE not in outcomes else CHANGED)
            return dict.fromkeys(receivers.reached, OK)
        found = dict(zip(users, outcomes, strict=True))
        return receivers.refused | {recipient: _verdict([found[id] for id in ids]) for recipient, ids in receivers.reached.items()}

    async def file(self, user: User, envelopes: Sequence[Envelope]) -> Filed:
        """Put messages where their owner wants them (IMAP APPEND), all or none. Every envelope has a ``filing``, in the same mailbox.

        Raises MailboxError "TRYCREATE" (no such mailbox), "OVERQUOTA" or "LIMIT" (keywords), and Refused.
        """
        started = self._reactor.seconds()
        ready: list[tuple[Envelope, Sealed]] = []
        deliveries = []
        try:
            for envelope in envelopes:
                await self._check(envelope)
                filing = envelope.filing or Filing(INBOX)
                sealed = await self._sealing.seal(envelope.message)
                ready.append((envelope, sealed))
                flags = int(filing.flags) | await self._keywords(user, filing.keywords)
                target = (user, name_hash(self._cipher, user.id, normal(filing.mailbox)), flags)
                deliveries.append(await self._delivery(sealed, [target], int(time()), filing.received))
        except Exception:
            await self._discard(*[envelope.message.content for envelope in envelopes], *[sealed.file for _, sealed in ready])
            raise
        answer = await self._store_all(Consignment(tuple(deliveries)), [sealed for _, sealed in ready])
        outcomes = [outcomes[0] for outcomes in answer]
        for (envelope, sealed), outcome in zip(ready, outcomes, strict=True):
            await self._settle(envelope, sealed, [(user, outcome)], started)
        placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
        if len(placed) < len(envelopes):
            if Problem.GONE in outcomes:
                raise MailboxError("TRYCREATE", "No such mailbox")
            raise MailboxError("OVERQUOTA", "Quota exceeded")
        return Filed(placed[0].uidvalidity, tuple(each.uid for each in placed))

    async def _store_all(self, consignment: Consignment, sealed: Sequence[Sealed]) -> list[list[Outcome | None]]:
        """Commit the consignment; if that fails, remove the files of which it is certain that nothing names them."""
        try:
            return await self._store.write(deliver, consignment)
        except Exception:
            for file in [each.file for each in sealed if each.file is not None]:
                with suppress(Unavailable):
                    if await self._store.read(abandoned, file.name):
                        await self._discard(file)
            raise

    async def _discard(self, *kept: bytes | Spooled | None) -> None:
        """Remove the files of what is not accepted; one that is gone already is no error."""
        for file in kept:
            if file is not None and not isinstance(file, bytes):
                try:
                    await self._threads(file.discard)
                except OSError:
                    log.failure("A file was not removed", event="reception.file_not_removed")

    async def _check(self, envelope: Envelope) -> Findings:
        findings = Findings()
        for policy in self._at_end:
            if (reply := await policy.check(envelope, findings)) is not None:
                raise Refused(reply)
        return findings

    async def _takers(self, origin: Origin, sender: Address | None, route: Route) -> list[User]:
        """The accounts that take mail by this route; raises Refused if none does."""
        if route.way is Way.REMOTE:
            raise Refused(NOT_OURS)
        reply = UNKNOWN
        takers = []
        for user in route.users:
            if not user.active:
                reply = SUSPENDED
                continue
            for policy in self._at_rcpt:
                if (objection := await policy.recipient(origin, sender, user)) is not None:
                    reply = objection
                    break
            else:
                takers.append(user)
        if not takers:
            raise Refused(reply)
        return takers

    async def _receivers(self, envelope: Envelope) -> _Receivers:
        """Whom the envelope reaches now, each account once."""
        receivers = _Receivers({}, {}, {})
        for recipient in dict.fromkeys(envelope.recipients):
            try:
                takers = await self._takers(envelope.origin, envelope.sender, await self._router.route(recipient))
            except Unavailable:
                raise
            except Refused as refused:
                receivers.refused[recipient] = refused.reply
                continue
            receivers.reached[recipient] = [user.id for user in takers]
            for user in takers:
                receivers.users[user.id] = user
        return receivers

    async def _delivery(self, sealed: Sealed, places: Sequence[tuple[User, bytes, int]], now: int, received: int | None = None) -> Delivery:
        """The delivery of ``sealed`` to (account, hash of the mailbox, flags)."""
        threads = await self._sealing.threads(sealed, [user.id for user, _, _ in places])
        default = self._default_quota
        targets = [Target(user.id, hash, default, flags, hashes) for (user, hash, flags), hashes in zip(places, threads, strict=True)]
        return Delivery(
            sealed.guid,
            sealed.size,
            sealed.summary,
            sealed.content,
            None if sealed.file is None else sealed.file.name,
            now if received is None else received,
            now,
            tuple(targets),
        )

    async def _keywords(self, user: User, names: Sequence[str]) -> int:
        """The flag bits of ``names``; unused keywords of the account make room when there is none."""
        if not names:
            return 0
        try:
            return await self._store.write(keywords.assign, self._cipher, user.id, names)
        except keywords.KeywordsFull:
            await self._store.write(keywords.free, user.id)
        return await self._store.write(keywords.assign, self._cipher, user.id, names)

    async def _settle(self, envelope: Envelope, sealed: Sealed, outcomes: Iterable[tuple[User, Outcome | None]], started: float) -> None:
        """After the commit: what accounts now use is noted, counted and logged; the file of a message that nobody took goes."""
        cost = charge(sealed.size)
        placed = 0
        for user, outcome in outcomes:
            if isinstance(outcome, Placed):
                placed += 1
                self._directory.note_used(user.id, outcome.used)
                quota.passed(user, outcome.used - cost, outcome.used)
                if self._tracing:
                    quota.updated(user, outcome.used, envelope.id, sealed.size)
            elif outcome is Problem.FULL:
                quota.exceeded(user, sealed.size)
        if not placed:
            await self._discard(sealed.file)
            return
        protocol = envelope.origin.protocol
        received = self._received.get(protocol)
        if received is None:
            received = self._received[protocol] = metrics.RECEIVED.labels(protocol)
        received.inc()
        metrics.DELIVERED.inc(placed)
        metrics.MESSAGE_OCTETS.observe(sealed.size)
        metrics.DELIVERY_SECONDS.observe(self._reactor.seconds() - started)


def _asked(policies: Sequence[IPolicy], moment: str) -> tuple[Any, ...]:
    """Those of ``policies`` that may object at ``moment``."""
    return tuple(policy for policy in policies if getattr(type(policy), moment) is not getattr(Policy, moment))


def _verdict(outcomes: Sequence[Outcome | None]) -> Reply:
    """The reply for a recipient, after what became of its accounts: one that took the message is enough."""
    if any(isinstance(outcome, Placed) for outcome in outcomes):
        return OK
    return FULL if Problem.FULL in outcomes else UNKNOWN

"""Reception: the one way in. Whatever brings a message (SMTP, LMTP, IMAP APPEND, a report) hands it over here.

``sender`` and ``recipient`` give the verdicts of MAIL and RCPT, ``content`` takes the octets, ``accept`` stores: an entry
for each recipient here, a row of the queue for each on another server. A message is acknowledged only when the
transaction that holds it is committed and, if it lies in a file, the file is durable. Failure is :class:`Refused` with
the reply for the client; then nothing of the message was kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import headers, quota
from mailx.core.accounts import Accounts, User
from mailx.core.arrivals import Arrivals
from mailx.core.bounces import Bounces, Report
from mailx.core.calls import Posted
from mailx.core.content import Content, Threads, with_fields
from mailx.core.gathering import Gathering
from mailx.core.policy import Findings, IPolicy, Policy
from mailx.core.progress import Progress
from mailx.core.receivers import UNKNOWN, Reached, Receivers
from mailx.core.router import Router
from mailx.core.sealing import Sealed, Sealing
from mailx.core.srs import SRS
from mailx.core.timeline import Timeline
from mailx.core.tracing import Tracing
from mailx.core.users import canonical_domain
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, WISHES_NOTHING, Envelope, Filing, Forwarding, Origin
from mailx.mail.message import Spooled
from mailx.mail.names import INBOX, MailboxError, normal
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import Store, keywords
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.delivery import Consignment, Delivery, Outcome, Outcomes, Placed, Problem, Target, deliver, junk
from mailx.store.mailboxes import name_hash
from mailx.store.messages import charge
from mailx.store.queue import Settlement
from mailx.store.sweep import abandoned

if TYPE_CHECKING:
    from mailx.core.queue import Planned, Queue

log = Logger()

OK = Reply(250, "2.0.0", "Message accepted for delivery")
NOT_YOURS = Reply(550, "5.7.1", "Sender address is not yours")
FULL = Reply(552, "5.2.2", "Mailbox full")
CHANGED = Reply(451, "4.3.0", "Recipients have changed; try again")
SETTLED = Reply(550, "5.3.0", "What this reports was settled otherwise")
TOO_MANY_HOPS = Reply(554, "5.4.6", "Too many hops: the message goes round in a loop")

HOPS = 50  # Received fields of a message that comes in; RFC 5321 6.3 wants at least 100 or a better idea
_INBOXES = 10000  # accounts for which the hash of INBOX is kept


@frozen
class Filed:
    """Where messages were filed, for APPENDUID (RFC 4315)."""

    uidvalidity: int
    uids: tuple[int, ...]


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
        tracing: bool | Tracing = False,
        queue: "Queue | None" = None,
        timeline: Timeline | None = None,
        srs: SRS | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Sizes are in octets, see the settings of store and accounts; ``hostname`` makes missing Message-IDs.

        Without a ``queue`` no mail leaves; without ``srs`` forwarded mail keeps its sender. ``tracing`` turns on the
        debug lines of every quota check and update. ``progress`` hears what mailboxes took.
        """
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._directory = directory
        self._at_mail, at_rcpt, self._at_end = [_asked(policies, moment) for moment in ("sender", "recipient", "check")]
        self._receivers = Receivers(Router(directory, srs), at_rcpt, queue is not None, reactor)
        self._queue = queue
        self._srs = srs
        self._bounces: Bounces | None = None
        self._reactor = reactor
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._sealing = Sealing(cipher, blobs, self._threads, file_above)
        self._hostname = hostname
        self._default_quota = default_quota
        self._spool_above = spool_above
        self._tracing = tracing
        self._inbox = lru_cache(maxsize=_INBOXES)(lambda id: name_hash(cipher, id, INBOX))  # of an account, its hash
        self._gathering = Gathering(reactor)
        self._arrivals = Arrivals(directory, timeline, reactor, tracing, progress or Progress())

    def bounce_with(self, bounces: Bounces) -> None:
        """Report successes, where senders ask for it, by ``bounces``."""
        self._bounces = bounces

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
        """The verdict of RCPT; the address to put into the envelope. Raises Refused: 550 5.7.1, 5.1.1, 5.2.1, 552 5.2.2 or 554 5.4.6."""
        users, onward = await self._receivers.takers(origin, sender, address)
        if onward:
            return address
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
        elif head:  # a front server that we trust may check mail in our name
            fix = partial(headers.incoming, hostname="" if "LMTP" in origin.protocol else self._hostname)
        return Content(head, limit, fix and partial(_bounded, fix), self._blobs, self._threads, self._spool_above)

    async def accept(
        self, envelope: Envelope, each: bool = False, settling: Settlement | None = None, call: Posted | None = None
    ) -> Mapping[Address, Reply]:
        """Store the message for every recipient; the reply for each. Returns after COMMIT and fsync.

        With ``each`` (LMTP) every recipient has its own verdict, so the mapping may hold refusals. Without, there is one
        verdict for all: Refused is raised when nobody took it, or when one recipient has gone since RCPT (451: the next
        try learns which); an account that became full meanwhile is still served beside one that is not.
        Refused by policies, Unavailable and a full disk are raised in either case. ``settling`` is written in the same
        transaction, if the message is; so is the record of ``call``, unless it repeats an earlier call: then nothing is
        stored, and ``call.entered`` is the earlier record.
        """
        started = self._reactor.seconds()
        findings = Findings()
        sealed: Sealed | None = None
        planned: Planned | None = None
        try:
            await self._gathering.turn()
            await self._check(envelope, findings)
            reached = await self._receivers.of(envelope)
            if reached.refused and not each:
                raise Refused(CHANGED if reached.recipients else next(iter(reached.refused.values())))
            if not reached.recipients:
                _undo(findings)
                await self._discard(envelope.message.content)
                return reached.refused
            if findings.fields:
                envelope = evolve(envelope, message=await with_fields(envelope.message, findings.fields, self._blobs, self._threads))
            sealed = await self._sealing.seal(envelope.message, bool(reached.users))
            delivery = await self._delivery(sealed, await self._targets(envelope, sealed, findings, reached, each), int(time()))
            if each:
                delivery = evolve(delivery, together=reached.together())
            if reached.onward and self._queue is not None:
                planned = await self._queue.plan(await self._outward(envelope, findings, reached), tuple(reached.onward.values()))
                delivery = evolve(delivery, parcel=planned.parcel)
        except Exception as error:
            _undo(findings)
            await self._discard(envelope.message.content, sealed.file if sealed else None)
            if isinstance(error, Refused) and not isinstance(error, Unavailable):
                self._arrivals.refused(envelope, findings, error.reply)
            raise
        consignment = Consignment((delivery,), each, settling, None if call is None else call.record)
        outcomes = await self._committed(consignment, sealed, findings, planned)
        if call is not None and call.meets(outcomes.call):
            _undo(findings)
            self._drop(planned)
            await self._discard(sealed.file)
            return dict.fromkeys(reached.recipients, OK)
        return await self._concluded(envelope, sealed, findings, reached, outcomes, planned, started, each)

    async def _committed(self, consignment: Consignment, sealed: Sealed, findings: Findings, planned: "Planned | None") -> Outcomes:
        """What became of the only delivery of ``consignment``."""
        try:
            (outcomes,) = await self._store_all(consignment, [sealed])
        except Exception:
            _undo(findings)
            self._drop(planned)
            raise
        return outcomes

    async def _concluded(
        self,
        envelope: Envelope,
        sealed: Sealed,
        findings: Findings,
        reached: Reached,
        outcomes: Outcomes,
        planned: "Planned | None",
        started: float,
        each: bool,
    ) -> Mapping[Address, Reply]:
        """After the commit: whoever must know is told; the replies."""
        if not outcomes.rows and not any(isinstance(outcome, Placed) for outcome in outcomes):
            _undo(findings)
            self._drop(planned)
            self._arrivals.placed(envelope, sealed.size, zip(reached.users.values(), outcomes, strict=True))
            await self._discard(sealed.file)
            if not each:
                reply = CHANGED if Problem.GONE in outcomes else FULL if Problem.FULL in outcomes else SETTLED
                self._arrivals.refused(envelope, findings, reply)
                raise Refused(reply)
        else:
            with _guarded(envelope):  # before the queue begins, so that the notes stand in their order
                placed = self._arrivals.placed(envelope, sealed.size, zip(reached.users.values(), outcomes, strict=True))
                self._arrivals.count(envelope.origin.protocol, sealed.size, placed, started)
                self._arrivals.accepted(envelope, sealed, findings, reached, outcomes)
            if planned is not None and self._queue is not None:
                with _guarded(envelope):
                    self._queue.placed(planned, outcomes.rows)
        if not each:
            replies: Mapping[Address, Reply] = dict.fromkeys(reached.recipients, OK)
        else:
            found = dict(zip(reached.users, outcomes, strict=True))
            replies = reached.refused | {
                recipient: OK if recipient in reached.passing else _verdict([found[id] for id in ids])
                for recipient, ids in reached.recipients.items()
            }
        if envelope.wishes and self._bounces is not None:
            reports = self._arrivals.successes(envelope, reached, replies)
            if reports:
                Deferred.fromCoroutine(self._report(self._bounces, envelope, reports)).addErrback(_not_reported)
        return replies

    async def _report(self, bounces: Bounces, envelope: Envelope, reports: Sequence[Report]) -> None:
        """Send ``reports`` about ``envelope``, if anybody may be told."""
        report = await bounces.envelope(envelope, reports)
        if report is not None:
            await self.accept(report)

    def _drop(self, planned: "Planned | None") -> None:
        if planned is not None and self._queue is not None:
            self._queue.dropped(planned)

    async def _targets(self, envelope: Envelope, sealed: Sealed, findings: Findings, reached: Reached, each: bool) -> tuple[Target, ...]:
        """The mailboxes that the message goes to."""
        users = reached.users
        if not users:
            return ()
        ids = list(users)
        generated = envelope.origin.protocol == GENERATED  # who sent the message must learn of its fate, with room or without
        promised = reached.promised() if each else ()
        boxes = await self._store.read(junk, ids) if findings.junk else {}
        threads = await self._sealing.threads(sealed, ids)
        default = self._default_quota
        return tuple(
            [
                Target(id, boxes.get(id) or self._inbox(id), default, 0, hashes, generated or id in promised)
                for id, hashes in zip(ids, threads, strict=True)
            ]
        )

    async def _outward(self, envelope: Envelope, findings: Findings, reached: Reached) -> Envelope:
        """``envelope`` as it leaves. What an alias forwards leaves under our own name (SRS), with what was found at its arrival."""
        sender = envelope.sender
        forwarding = None
        if reached.forwarder:
            domain = canonical_domain(reached.forwarder)
            forwarding = Forwarding(domain, findings.results)
            if sender is not None and self._srs is not None and not self._directory.local(sender.domain):
                sender = await self._srs.rewrite(sender, domain)
        return Envelope(
            envelope.id,
            sender,
            tuple(reached.onward),
            envelope.message,
            envelope.origin,
            demands=envelope.demands,
            wishes={address: one.wish for address, one in reached.onward.items() if one.wish is not WISHES_NOTHING},
            forwarding=forwarding,
        )

    async def file(self, user: User, envelopes: Sequence[Envelope]) -> Filed:
        """Put messages where their owner wants them (IMAP APPEND), all or none. Every envelope has a ``filing``, in the same mailbox.

        Raises MailboxError "TRYCREATE" (no such mailbox), "OVERQUOTA" or "LIMIT" (keywords), and Refused.
        """
        started = self._reactor.seconds()
        ready: list[tuple[Envelope, Sealed]] = []
        deliveries = []
        try:
            for envelope in envelopes:
                await self._check(envelope, Findings())
                filing = envelope.filing or Filing(INBOX)
                sealed = await self._sealing.seal(envelope.message)
                ready.append((envelope, sealed))
                flags = int(filing.flags) | await self._keywords(user, filing.keywords)
                (threads,) = await self._sealing.threads(sealed, [user.id])
                target = Target(user.id, name_hash(self._cipher, user.id, normal(filing.mailbox)), self._default_quota, flags, threads)
                deliveries.append(await self._delivery(sealed, (target,), int(time()), filing.received))
        except Exception:
            await self._discard(*[envelope.message.content for envelope in envelopes], *[sealed.file for _, sealed in ready])
            raise
        answer = await self._store_all(Consignment(tuple(deliveries)), [sealed for _, sealed in ready])
        outcomes = [outcomes[0] for outcomes in answer]
        for (envelope, sealed), outcome in zip(ready, outcomes, strict=True):
            if self._arrivals.placed(envelope, sealed.size, [(user, outcome)]):
                self._arrivals.count(envelope.origin.protocol, sealed.size, 1, started)
            else:
                await self._discard(sealed.file)
        placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
        if len(placed) < len(envelopes):
            if Problem.GONE in outcomes:
                raise MailboxError("TRYCREATE", "No such mailbox")
            raise MailboxError("OVERQUOTA", "Quota exceeded")
        return Filed(placed[0].uidvalidity, tuple(each.uid for each in placed))

    async def _store_all(self, consignment: Consignment, sealed: Sequence[Sealed]) -> list[Outcomes]:
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

    async def _check(self, envelope: Envelope, findings: Findings) -> None:
        """Ask the policies; nobody may object to this server's own reports, or a sender would not hear of a failure."""
        if envelope.origin.protocol == GENERATED:
            return
        for policy in self._at_end:
            if (reply := await policy.check(envelope, findings)) is not None:
                raise Refused(reply)

    async def _delivery(self, sealed: Sealed, targets: tuple[Target, ...], now: int, received: int | None = None) -> Delivery:
        return Delivery(
            sealed.guid,
            sealed.size,
            sealed.summary,
            sealed.content,
            None if sealed.file is None else sealed.file.name,
            now if received is None else received,
            now,
            targets,
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


def _bounded(fix: Callable[[bytes], bytes], fields: bytes) -> bytes:
    """``fields`` put right by ``fix``; raises Refused if the message has been round too often."""
    if headers.hops(fields) > HOPS:
        raise Refused(TOO_MANY_HOPS)
    return fix(fields)


@contextmanager
def _guarded(envelope: Envelope) -> Iterator[None]:
    """For what follows the commit: the message is stored, so whatever is wrong now, the client must not send it again."""
    try:
        yield
    except Exception:
        log.failure("What follows a message's acceptance failed", event="reception.unfinished", message_id=envelope.id)


def _undo(findings: Findings) -> None:
    """Take back what policies have counted for a message that is not stored."""
    while findings.undo:
        findings.undo.pop()()


def _not_reported(failure: Failure) -> None:
    if isinstance(failure.value, Refused):
        log.warn("A success was not reported: {reason}", event="reception.not_reported", reason=failure.value.reason)
    else:
        log.failure("A success was not reported", failure, event="reception.not_reported")


def _asked(policies: Sequence[IPolicy], moment: str) -> tuple[Any, ...]:
    """Those of ``policies`` that may object at ``moment``."""
    return tuple(policy for policy in policies if getattr(type(policy), moment) is not getattr(Policy, moment))


def _verdict(outcomes: Sequence[Outcome | None]) -> Reply:
    """The reply for a recipient, after what became of its accounts: one that took the message is enough."""
    if any(isinstance(outcome, Placed) for outcome in outcomes):
        return OK
    return FULL if Problem.FULL in outcomes else UNKNOWN

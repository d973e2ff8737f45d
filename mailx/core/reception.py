"""Reception: the one way in. Whatever brings a message (SMTP, LMTP, IMAP APPEND, a report) hands it over here.

``sender`` and ``recipient`` give the verdicts of MAIL and RCPT, ``content`` takes the octets, ``accept`` stores: an entry
for each recipient here, a row of the queue for each on another server. A message is acknowledged only when the
transaction that holds it is committed and, if it lies in a file, the file is durable. Failure is :class:`Refused` with
the reply for the client; then nothing of the message was kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import headers, quota
from mailx.core.accounts import Accounts, User
from mailx.core.arrivals import Arrivals
from mailx.core.bounces import Bounces, Report
from mailx.core.bringing import Bringing, Brought
from mailx.core.calls import Posted
from mailx.core.content import Content, Threads, in_lines, with_fields
from mailx.core.filing import Cabinet, Filed
from mailx.core.forms import Form, Forms, Owns, Parts, Places, alone, by_account, divide, together
from mailx.core.gathering import Gathering
from mailx.core.keyring import Keyring
from mailx.core.policy import Findings, IPolicy, Policy
from mailx.core.progress import Progress
from mailx.core.receivers import UNKNOWN, Reached, Receivers, outward
from mailx.core.router import Router
from mailx.core.sealing import Sealed, Sealing
from mailx.core.spans import Span, Step, untraced
from mailx.core.srs import SRS
from mailx.core.storing import Storing, prepared
from mailx.core.timeline import Timeline
from mailx.core.tracing import Tracing
from mailx.core.transfers import Met, Transfer
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Envelope, Origin
from mailx.mail.message import Message
from mailx.mail.names import INBOX
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import Store
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.delivery import Consignment, Delivery, Outcome, Outcomes, Placed, Problem, Target
from mailx.store.mailboxes import junk, name_hash
from mailx.store.messages import charge
from mailx.store.queue import Settlement

if TYPE_CHECKING:
    from mailx.core.queue import Queue
    from mailx.core.selected import Selected

log = Logger()

OK = Reply(250, "2.0.0", "Message accepted for delivery")
NOT_YOURS = Reply(550, "5.7.1", "Sender address is not yours")
FULL = Reply(552, "5.2.2", "Mailbox full")
CHANGED = Reply(451, "4.3.0", "Recipients have changed; try again")
SETTLED = Reply(550, "5.3.0", "What this reports was settled otherwise")
TOO_MANY_HOPS = Reply(554, "5.4.6", "Too many hops: the message goes round in a loop")

_NOBODY = Origin(GENERATED, "")

HOPS = 50  # Received fields of a message that comes in; RFC 5321 6.3 wants at least 100 or a better idea
_NOWHERE: Mapping[int, bytes] = {}
_INBOXES = 10000  # accounts for which the hash of INBOX is kept


class Reception:
    """The one way in.

    Sizes are in octets, see the settings of store and accounts; ``hostname`` makes missing Message-IDs. Without a ``queue``
    no mail leaves; without ``srs`` forwarded mail keeps its sender. ``tracing`` turns on the debug lines of every quota check
    and update. ``progress`` hears what mailboxes took. ``first_contact`` chooses mailboxes, ``outgoing`` and ``arrivals`` seal
    what leaves and what arrives; ``keyring`` has the keys of owners who are here. ``accepting`` is
    :meth:`mailx.core.spans.Spans.accepting`.
    """

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
        first_contact: Places | None = None,
        outgoing: Parts | None = None,
        arrivals: Owns | None = None,
        keyring: Keyring | None = None,
        accepting: Step = untraced,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._directory = directory
        self._at_mail, at_rcpt, self._at_end = [_asked(policies, moment) for moment in ("sender", "recipient", "check")]
        self._receivers = Receivers(Router(directory, srs), at_rcpt, queue is not None, reactor)
        self._queue = queue
        self._srs = srs
        self._places, self._parts, self._owns, self._accepting = first_contact, outgoing, arrivals, accepting
        self._bounces: Bounces | None = None
        self._waits: Callable[[int], None] = lambda account: None
        self._reactor = reactor
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._sealing = Sealing(cipher, blobs, self._threads, file_above)
        self._hostname, self._tracing = hostname, tracing
        self._default_quota, self._spool_above = default_quota, spool_above
        self._inbox = lru_cache(maxsize=_INBOXES)(lambda id: name_hash(cipher, id, INBOX))  # of an account, its hash
        self._gathering = Gathering(reactor)
        self._arrivals = Arrivals(directory, timeline, reactor, tracing, progress or Progress())
        self._storing = Storing(store, self._threads)
        self._cabinet = Cabinet(store, cipher, self._sealing, self._storing, self._arrivals, default_quota, reactor, keyring, directory)
        self._bringing = Bringing(
            store, cipher, self._sealing, self._storing, directory, self._threads, default_quota, keyring, arrivals,
            lambda account: self._waits(account),
        )  # fmt: skip

    def tell_of_waiting(self, call: Callable[[int], None]) -> None:
        """``call(account)`` after each commit of mail that waits for its owner."""
        self._waits = call

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

    def content(self, origin: Origin, head: bytes, limit: int, submitted: bool, hold: int | None = None) -> Content:
        """Begin to take a message of at most ``limit`` octets.

        ``head`` are the trace fields (:func:`mailx.core.trace.received`), put before it. With an empty ``head`` and not
        ``submitted`` the octets are kept exactly as they come: what IMAP APPEND needs. Memory holds at most ``hold`` octets of it.
        """
        fix: Callable[[bytes], bytes] | None = None
        if submitted:
            fix = partial(headers.submitted, hostname=self._hostname, now=time())
        elif head:  # a front server that we trust may check mail in our name
            fix = partial(headers.incoming, hostname="" if "LMTP" in origin.protocol else self._hostname)
        return Content(head, limit, fix and partial(_bounded, fix), self._blobs, self._threads, self._spool_above if hold is None else hold)

    async def accept(
        self,
        envelope: Envelope,
        each: bool = False,
        settling: Settlement | None = None,
        call: Posted | None = None,
        transfer: Transfer | None = None,
        parent: str = "",
    ) -> Mapping[Address, Reply]:
        """Store the message for every recipient; the reply for each. Returns after COMMIT and fsync.

        With ``each`` (LMTP) every recipient has its own verdict, so the mapping may hold refusals. Without, there is one
        verdict for all: Refused is raised when nobody took it, or when one recipient has gone since RCPT (451: the next try learns which);
        an account that became full meanwhile is still served beside one that is not.
        Refused by policies, Unavailable and a full disk are raised in either case. ``settling`` is written in the same transaction, if the
        message is; so is the record of ``call``, unless it repeats an earlier one: then nothing is stored, and ``call.entered`` is that.
        So are the records of ``transfer``; Met is raised, and nothing stored, if a recipient has one already. ``parent`` is the
        traceparent of the server that brings the message.
        """
        origin = envelope.origin
        with self._accepting(envelope.id, parent, protocol=origin.protocol, size=envelope.message.size) as span:
            if origin.domain:
                span.note(peer=origin.domain)
            return await self._accept(envelope, each, settling, call, transfer, span)

    async def _accept(
        self,
        envelope: Envelope,
        each: bool,
        settling: Settlement | None,
        call: Posted | None,
        transfer: Transfer | None,
        span: Span,
    ) -> Mapping[Address, Reply]:
        started = self._reactor.seconds()
        findings, forms = Findings(), Forms([Form(envelope.message)])
        try:
            await self._gathering.turn()
            await self._check(envelope, findings)
            reached = await self._receivers.of(envelope)
            span.note(here=len(reached.users), elsewhere=len(reached.onward))
            if reached.refused and not each:
                raise Refused(CHANGED if reached.recipients else next(iter(reached.refused.values())))
            if not reached.recipients:
                await self._given_up(forms, findings)
                return reached.refused
            if findings.fields:
                envelope = evolve(envelope, message=await with_fields(envelope.message, findings.fields, self._blobs, self._threads))
                forms.every[0].message = envelope.message
            leaving = None
            if reached.onward and self._queue is not None:
                leaving = await outward(envelope, findings.results, reached, self._srs, self._directory.local)
            if not alone(forms, reached, leaving, self._owns):
                await divide(forms, envelope, reached, leaving, self._owns, self._parts)
            deliveries = await self._deliveries(envelope, forms, findings, reached, each)
        except Exception as error:
            await self._given_up(forms, findings)
            if isinstance(error, Refused) and not isinstance(error, Unavailable):
                self._arrivals.refused(envelope, findings, error.reply)
            raise
        called, transferred = None if call is None else call.record, None if transfer is None else transfer.record(reached)
        groups = together(reached, forms.stored) if each else ()
        noting = None if self._places is None else self._places.wrote(envelope)
        answers = await self._committed(Consignment(deliveries, each, settling, called, True, groups, transferred), forms, findings)
        if noting is not None:
            await noting
        if (call is not None or transfer is not None) and await self._repeated(call, answers, forms, findings):
            return dict.fromkeys(reached.recipients, OK)
        return await self._concluded(envelope, forms, findings, reached, answers, started, each)

    async def _repeated(self, call: Posted | None, answers: Sequence[Outcomes], forms: Forms, findings: Findings) -> bool:
        """Whether ``call`` was answered by an earlier one, so that nothing is stored. Raises Met."""
        met = any([each.met for each in answers])
        if not met and (call is None or not call.meets(next((each.call for each in answers if each.call is not None), None))):
            return False
        await self._given_up(forms, findings)
        if met:
            raise Met()
        return True

    async def _deliveries(self, envelope: Envelope, forms: Forms, findings: Findings, reached: Reached, each: bool) -> tuple[Delivery, ...]:
        """What to store of each form that somebody takes."""
        deliveries = []
        now = int(time())
        stored = forms.stored
        for form in stored:
            form.sealed = await self._sealing.seal(form.message, bool(form.ids) and not form.waiting)
        chosen = await self._chosen(envelope, findings, reached) if findings.junk or self._places is not None else _NOWHERE
        for form in stored:
            if form.sealed is None:
                continue
            targets = await self._targets(envelope, form, form.sealed, chosen, reached, each)
            delivery = prepared(form.sealed, targets, now, waiting=form.waiting)
            if form.outward is not None and self._queue is not None:
                form.planned = await self._queue.plan(form.outward, form.onward)
                delivery = evolve(delivery, parcel=form.planned.parcel)
            deliveries.append(delivery)
        return tuple(deliveries)

    async def _committed(self, consignment: Consignment, forms: Forms, findings: Findings) -> list[Outcomes]:
        """What became of the deliveries of ``consignment``."""
        try:
            return await self._storing.commit(consignment, [form.sealed for form in forms.stored if form.sealed is not None])
        except Exception:
            _undo(findings)
            self._drop(forms)
            if (file := forms.unused) is not None:
                await self._storing.discard(file)
            raise

    async def _given_up(self, forms: Forms, findings: Findings) -> None:
        """Nothing of the message is stored."""
        _undo(findings)
        self._drop(forms)
        await self._storing.discard(*forms.files())

    async def _concluded(
        self,
        envelope: Envelope,
        forms: Forms,
        findings: Findings,
        reached: Reached,
        answers: Sequence[Outcomes],
        started: float,
        each: bool,
    ) -> Mapping[Address, Reply]:
        """After the commit: whoever must know is told; the replies."""
        outcomes = by_account(forms.stored, answers)
        if not any([answer.rows or any([isinstance(outcome, Placed) for outcome in answer]) for answer in answers]):
            self._placed(envelope, forms, reached, outcomes)
            await self._given_up(forms, findings)
            if not each:
                found = outcomes.values()
                reply = CHANGED if Problem.GONE in found else FULL if Problem.FULL in found else SETTLED
                self._arrivals.refused(envelope, findings, reply)
                raise Refused(reply)
        else:
            with _guarded(envelope):  # before the queue begins, so that the notes stand in their order
                self._arrivals.count(
                    envelope.origin.protocol, envelope.message.size, self._placed(envelope, forms, reached, outcomes), started
                )
                self._arrivals.accepted(envelope, forms, findings, reached, outcomes)
            for form in forms.stored:
                if form.waiting:
                    for account in form.ids:
                        self._waits(account)
            if reached.onward and self._queue is not None:
                for form, answer in zip(forms.stored, answers, strict=True):
                    if form.planned is not None:
                        with _guarded(envelope):
                            self._queue.placed(form.planned, answer.rows)
            if len(forms.every) > 1:
                await self._discard_unplaced(forms, answers)
        if not each:
            replies: Mapping[Address, Reply] = dict.fromkeys(reached.recipients, OK)
        else:
            replies = reached.refused | {
                recipient: OK if recipient in reached.passing else _verdict([outcomes[id] for id in ids])
                for recipient, ids in reached.recipients.items()
            }
        if envelope.wishes and self._bounces is not None:
            reports = self._arrivals.successes(envelope, reached, replies)
            if reports:
                Deferred.fromCoroutine(self._report(self._bounces, envelope, reports)).addErrback(_not_reported)
        return replies

    def _placed(self, envelope: Envelope, forms: Forms, reached: Reached, outcomes: Mapping[int, Outcome | None]) -> int:
        """Note what accounts now use; in how many mailboxes the message lies."""
        placed = 0
        for form in forms.every:
            if form.ids and form.sealed is not None:
                placed += self._arrivals.placed(envelope, form.sealed.size, [(reached.users[id], outcomes[id]) for id in form.ids])
        return placed

    async def _discard_unplaced(self, forms: Forms, answers: Sequence[Outcomes]) -> None:
        """Remove the files of the forms that nobody took: the message as it came if all are sealed, one for a mailbox that was full."""
        if (file := forms.unused) is not None:
            await self._storing.discard(file)
        for form, answer in zip(forms.stored, answers, strict=True):
            if form.file is not None and not answer.rows and not any([isinstance(outcome, Placed) for outcome in answer]):
                await self._storing.discard(form.file)

    async def _report(self, bounces: Bounces, envelope: Envelope, reports: Sequence[Report]) -> None:
        """Send ``reports`` about ``envelope``, if anybody may be told."""
        report = await bounces.envelope(envelope, reports)
        if report is not None:
            await self.accept(report)

    def _drop(self, forms: Forms) -> None:
        for _, planned in forms.planned():
            if self._queue is not None:
                self._queue.dropped(planned)

    async def _chosen(self, envelope: Envelope, findings: Findings, reached: Reached) -> Mapping[int, bytes]:
        """The hash of the mailbox's name for each account whose mail does not go to INBOX."""
        if not reached.users:
            return {}
        boxes = await self._store.read(junk, list(reached.users)) if findings.junk else {}
        if self._places is not None and not findings.junk:
            for id, name in (await self._places.places(envelope, findings, reached.users)).items():
                boxes[id] = name_hash(self._cipher, id, name)
        return boxes

    async def _targets(
        self, envelope: Envelope, form: Form, sealed: Sealed, chosen: Mapping[int, bytes], reached: Reached, each: bool
    ) -> tuple[Target, ...]:
        """The mailboxes that a form of the message goes to."""
        ids = form.ids
        if not ids:
            return ()
        generated = envelope.origin.protocol == GENERATED  # who sent the message must learn of its fate, with room or without
        promised = reached.promised() if each else ()
        threads = await self._sealing.threads(sealed, ids)
        default = self._default_quota
        return tuple(
            [
                Target(id, chosen.get(id) or self._inbox(id), default, 0, hashes, generated or id in promised)
                for id, hashes in zip(ids, threads, strict=True)
            ]
        )

    async def discard(self, messages: Sequence[Message]) -> None:
        """Keep nothing of messages that are not handed in after all."""
        await self._storing.discard(*[message.content for message in messages])

    async def storable(self, message: Message) -> Message:
        """A binary message in lines (:func:`mailx.mail.binary.storable`); raises Refused, and then ``message`` is as it was."""
        made: bytes = await self._threads(in_lines, message.content)
        content = self.content(_NOBODY, b"", len(made), submitted=False)
        if (wait := content.write(made)) is not None:
            await wait
        stored = await content.finish()
        await self._storing.discard(message.content)
        return stored

    async def file(self, user: User, envelopes: Sequence[Envelope], replaces: "tuple[Selected, int] | None" = None) -> Filed:
        """Put messages where their owner wants them (IMAP APPEND), all or none. Every envelope has a ``filing``, in the same mailbox.

        ``replaces`` is the message, by its UID, that goes in the same step (RFC 8508). Raises MailboxError "TRYCREATE" (no
        such mailbox), "OVERQUOTA", "LIMIT" (keywords), "EXPUNGEISSUED" (what it replaces is gone) or "NOPERM", and Refused.
        """
        try:
            for envelope in envelopes:
                await self._check(envelope, Findings())
        except Exception:
            await self._storing.discard(*[envelope.message.content for envelope in envelopes])
            raise
        return await self._cabinet.file(user, envelopes, replaces)

    async def bring(self, user: User, import_id: int, messages: Sequence[Brought]) -> int:
        """Put messages of an import into their mailboxes, all or none, without asking policies: how many had not come before.

        Raises MailboxError "TRYCREATE" (no such mailbox) or "OVERQUOTA", and Refused.
        """
        return await self._bringing.bring(user, import_id, messages)

    async def _check(self, envelope: Envelope, findings: Findings) -> None:
        """Ask the policies; nobody may object to this server's own reports, or a sender would not hear of a failure."""
        if envelope.origin.protocol == GENERATED:
            return
        for policy in self._at_end:
            if (reply := await policy.check(envelope, findings)) is not None:
                raise Refused(reply)


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

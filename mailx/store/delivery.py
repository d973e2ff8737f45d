"""Delivery: accepted messages become entries of mailboxes and rows of the queue, many messages in one transaction.

``deliver`` is the only job that makes a message. It reads what it needs of accounts and mailboxes first, decides,
and only then writes; so a call that cannot be served costs the others of its batch nothing. What it answers are
facts (placed, full, gone): which reply they make is the core's affair.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from attrs import Factory, define, frozen

from mailx.mail.mailbox import Change, Flag
from mailx.mail.names import MailboxError
from mailx.mail.reply import Unavailable
from mailx.store import Txn, account_keys, batched, callbacks, calls, imports, queue, rights, transfers, waiting
from mailx.store.entries import remove
from mailx.store.mailboxes import lock_account
from mailx.store.messages import charge, count_messages, release, retain
from mailx.store.pairs import matching, update
from mailx.store.queue import Parcel, Settlement

__all__ = ["Consignment", "Delivery", "Outcomes", "Placed", "Problem", "Target", "deliver", "release", "retain"]

_SEEN = int(Flag.SEEN)  # plain integers: an operation on an IntFlag costs a microsecond
_DELETED = int(Flag.DELETED)


class Problem(Enum):
    """Why a message did not get into a mailbox."""

    FULL = "full"  # its account's quota does not hold it
    GONE = "gone"  # the mailbox or its account no longer exists
    REPLACED = "replaced"  # the message that it was to replace no longer exists


@frozen
class Target:
    """One mailbox a message goes to."""

    account: int
    mailbox: bytes  # keyed hash of its name
    quota: int  # octets, for an account without one of its own; 0: unlimited
    flags: int = 0
    threads: tuple[bytes, ...] = ()  # keyed hashes, see Delivery
    must: bool = False  # it takes the message even over quota


@frozen
class Delivery:
    """One message, sealed, and where it goes.

    ``threads`` of each target are that account's keyed hashes of the message's own id, then of those it answers, the
    most telling first; without an own id the first is empty.
    """

    guid: bytes  # 16 random octets
    size: int  # octets of the content
    summary: bytes  # sealed
    content: bytes | None  # sealed; None: it lies in ``file``
    file: str | None  # name of a durable blob file
    received: int  # INTERNALDATE, seconds since 1970
    saved: int  # SAVEDATE
    targets: tuple[Target, ...]
    parcel: Parcel | None = None  # its recipients on other servers
    waiting: bool = False  # sealed for its only target's owner, who gets an entry of it when the account's key is next open
    vault: bool = False  # sealed under the key of its only target's account


@frozen
class Consignment:
    """Deliveries that stand or fall together.

    With ``each`` every target gets its own verdict; one that is full is served all the same where the recipient reaches
    another one that has room (``together``), for the sender hears of it as accepted. Without, nothing is placed if any mailbox is gone,
    or if some message fits none of its targets; full targets beside one that has room, or beside a parcel, are served all the
    same. With ``forms`` the deliveries are one message in several forms (sealed for some, not for others): what stands beside
    a target then is what stands beside it in any of them.
    ``settling`` is what came of an attempt that the message reports: it is written if and only if the message is placed,
    and nothing is placed where it holds for no row any more, for then somebody else has decided, or told already.
    ``journal`` has an entry for each delivery of an import: they enter if and only if the messages are placed, and nothing is
    placed where one of them has come already.
    ``opens`` is the row of the message that waited for its owner and is placed now: it is removed, or nothing is placed if it is gone.
    ``call`` is the record of the call that asks for the message: it enters if and only if the message is placed, and nothing
    is placed where it repeats one that has entered.
    ``transfer`` is the record of what another MailX server delivers: it enters for those recipients for whom the message is placed,
    and nothing is placed where one of them has it from an earlier transfer of the same name.
    """

    deliveries: tuple[Delivery, ...]
    each: bool = False
    settling: Settlement | None = None
    call: calls.Call | None = None
    forms: bool = False
    together: tuple[tuple[int, ...], ...] = ()  # places among all targets, in order, that one recipient reaches where it reaches several
    transfer: transfers.Record | None = None
    journal: imports.Journal | None = None
    opens: int = 0
    replaces: tuple[int, int] | None = None  # mailbox and UID of the message that goes when these come, or nothing is placed
    guest: tuple[int, tuple[tuple[int, str], ...]] | None = None  # who brings it to another's mailbox, and what rights that takes


@frozen
class Placed:
    """One entry made. ``used`` is what is charged to the account after it, in octets."""

    account: int
    mailbox: int
    uidvalidity: int
    uid: int
    used: int


Outcome = Placed | Problem


class Outcomes(list["Outcome | None"]):
    """What became of each target of a delivery, in their order.

    ``rows`` are the ids of its parcel's rows in the queue; none if it was not placed. ``call`` is the record that its call
    has now: the new one, or the one of an earlier call that it repeats; None if it was not placed. ``met``: it was not
    placed, for an earlier transfer of the same name has reached one of its recipients, or an import has brought it before.
    """

    __slots__ = ("call", "met", "rows")

    def __init__(self, outcomes: Iterable["Outcome | None"]) -> None:
        super().__init__(outcomes)
        self.rows: Sequence[int] = ()
        self.call: calls.Call | None = None
        self.met = False


@define
class _Account:
    """An account's row as read; ``used`` goes up while the batch is planned."""

    id: int
    quota: int | None
    used: int
    sealed: str
    charged: int = 0
    room: int | None = None  # messages that it may still hold; None: any number


@define
class _Box:
    """A mailbox's row as read, and what this transaction adds to it."""

    id: int
    uidvalidity: int
    uidnext: int
    modseq: int
    account: _Account
    added: list[tuple[int, int, int]] = Factory(list)  # uid, flags, size


@define
class _Plan:
    """A message that will be placed: the indexes of the targets that take it, with their mailboxes."""

    delivery: Delivery
    outcomes: Outcomes
    places: list[tuple[int, _Box]]
    used: list[int] = Factory(list)  # by each account of ``places``, this message included


@batched
def deliver(txn: Txn, consignments: list[Any]) -> list[Any]:
    """Place each :class:`Consignment`; answers, for each of its deliveries, its Outcomes.

    An outcome is Placed, a Problem, or None where nothing stood against a target whose consignment fell.
    """
    leaving = {place: _Leaving(txn, *each.replaces) for place, each in enumerate(consignments) if each.replaces is not None}
    boxes = _boxes(txn, consignments)
    register = calls.Register(txn, [each.call for each in consignments if each.call is not None])
    opening = waiting.Register(txn, [each.opens for each in consignments if each.opens])
    transferred = transfers.Register(txn, [each.transfer for each in consignments if each.transfer is not None])
    imported = imports.Register(txn, [each.journal for each in consignments if each.journal is not None])
    answers: list[Any] = []
    plans: list[_Plan] = []
    going: list[_Leaving] = []
    own = {target.account for each in consignments for one in each.deliveries if one.waiting or one.vault for target in one.targets}
    keyless = account_keys.lacking(txn, own)
    sealed = account_keys.through(txn, {box.account.id for box in boxes.values() if box.account.sealed == "server"})
    for place, consignment in enumerate(consignments):
        if (keyless and not keyless.isdisjoint(_takers(consignment, True))) or (
            sealed and not sealed.isdisjoint(_takers(consignment, False))
        ):
            answers.append(Unavailable("an account was sealed, or opened for good, since this was made ready"))
            continue
        if consignment.guest is not None:
            try:
                rights.require(txn, *consignment.guest)
            except MailboxError as refused:
                answers.append(refused)
                continue
        goes = leaving.get(place)
        if goes is not None:
            goes.make_room(boxes, 1)
        outcomes, planned = _plan(consignment, boxes)
        answers.append(outcomes)
        if goes is not None:
            planned = goes.taken(planned, outcomes, boxes, going)
        settling = consignment.settling
        if settling is not None and planned and queue.settle(txn, [settling]) == [len(settling.rows)]:
            planned = _undone(planned)
        if consignment.call is not None and planned:
            planned = _entered(register, consignment.call, planned)
        if consignment.transfer is not None and planned:
            planned = _transferred(transferred, consignment.transfer, planned)
        if consignment.journal is not None and planned:
            planned = _imported(imported, consignment.journal, planned, outcomes)
        if consignment.opens and planned:
            planned = _opened(opening, consignment.opens, planned)
        plans += planned
    register.write()
    transferred.write()
    opening.write()
    callbacks.begin(txn, register.called_back)
    if plans:
        plans = _kept(txn, plans)
        _insert(txn, plans)
        _count(txn, [box for box in boxes.values() if box.added], [box.account for box in boxes.values()])
    imported.write()
    for each in going:
        each.remove(txn)
    return answers


class _Leaving:
    """A message that goes when another comes in its place (RFC 8508). Its account is locked first, as by every writer."""

    def __init__(self, txn: Txn, mailbox: int, uid: int) -> None:
        lock_account(txn, mailbox)
        self._mailbox = mailbox
        held = txn.one("SELECT account_id FROM mailboxes WHERE id = ?", (mailbox,))
        self._account = held[0] if held is not None else 0
        self._row = txn.one("SELECT uid, message_id, flags, size FROM entries WHERE mailbox_id = ? AND uid = ?", (mailbox, uid))

    def make_room(self, boxes: dict[tuple[int, bytes], "_Box"], sign: int) -> None:
        """Its room is free for what comes."""
        if self._row is None:
            return
        for account in {box.account.id: box.account for box in boxes.values()}.values():
            if account.id == self._account:
                account.used -= sign * charge(self._row[3])

    def taken(
        self, planned: "list[_Plan]", outcomes: "list[Outcomes]", boxes: dict[tuple[int, bytes], "_Box"], going: "list[_Leaving]"
    ) -> "list[_Plan]":
        """``planned``, and it is among ``going``; nothing if it is gone already, by another session or in this transaction."""
        row = self._row
        if planned and row is not None and all(each._row != row or each._mailbox != self._mailbox for each in going):
            going.append(self)
            return planned
        self.make_room(boxes, -1)
        if not planned:
            return []
        for one in outcomes:
            one[:] = [Problem.REPLACED] * len(one)
        return _undone(planned)

    def remove(self, txn: Txn) -> None:
        if self._row is not None:
            remove(txn, self._mailbox, self._account, [self._row])


def _takers(consignment: Consignment, sealed: bool) -> set[int]:
    """The accounts that take something of it that is sealed for them, or that is not."""
    return {target.account for one in consignment.deliveries if (one.waiting or one.vault) is sealed for target in one.targets}


def _kept(txn: Txn, plans: list[_Plan]) -> list[_Plan]:
    """``plans`` without those that wait for their owners, which are written here."""
    if not any([plan.delivery.waiting for plan in plans]):
        return plans
    rows = []
    for plan in plans:
        one = plan.delivery
        if one.waiting:
            for (index, box), used in zip(plan.places, plan.used, strict=True):
                flags = one.targets[index].flags
                rows.append(
                    waiting.Arrived(box.account.id, box.id, one.guid, one.size, flags, one.received, one.saved, one.file, one.content)
                )
                plan.outcomes[index] = Placed(box.account.id, box.id, box.uidvalidity, 0, used)
    waiting.insert(txn, rows)
    return [plan for plan in plans if not plan.delivery.waiting]


def _opened(register: waiting.Register, id: int, plans: list[_Plan]) -> list[_Plan]:
    """``plans`` in place of what waited; none if that was opened already. What it was charged is given back."""
    if (charged := register.take(id)) is None:
        return _undone(plans)
    for plan in plans:
        for place, (_, box) in enumerate(plan.places):
            box.account.used -= charged
            box.account.charged -= charged
            plan.used[place] -= charged
    return plans


def _entered(register: calls.Register, call: calls.Call, plans: list[_Plan]) -> list[_Plan]:
    """``plans`` with the record of the call that asks for them; none if an earlier call did."""
    known = register.known(call)
    if known is None:
        local = all(plan.delivery.parcel is None for plan in plans)
        entered = register.enter(call, calls.DELIVERED if local else calls.QUEUED)
    for plan in plans:
        plan.outcomes.call = known or entered
    return _undone(plans) if known else plans


def _transferred(register: transfers.Register, record: transfers.Record, plans: list[_Plan]) -> list[_Plan]:
    """``plans`` with the record of their transfer; none if it came before for one of its recipients."""
    if register.met(record):
        for plan in plans:
            plan.outcomes.met = True
        return _undone(plans)
    accounts = {box.account.id for plan in plans for _, box in plan.places}
    register.enter(record, accounts, any(plan.delivery.parcel is not None for plan in plans))
    return plans


def _imported(register: imports.Register, journal: imports.Journal, plans: list[_Plan], outcomes: Sequence[Outcomes]) -> list[_Plan]:
    """``plans`` with their entries in the journal; none if an earlier run brought one of them."""
    if register.met(journal):
        for each in outcomes:
            each.met = True
        return _undone(plans)
    register.enter(journal, outcomes)
    return plans


def _undone(plans: Sequence[_Plan]) -> list[_Plan]:
    """Take back what ``plans`` were charged: nothing of them is placed."""
    for plan in plans:
        _charge(plan, -charge(plan.delivery.size))
    return []


def _boxes(txn: Txn, consignments: Iterable[Consignment]) -> dict[tuple[int, bytes], _Box]:
    """Every mailbox that the calls name and that exists, its row and its account's row locked."""
    wanted = sorted(
        {(target.account, target.mailbox) for each in consignments for delivery in each.deliveries for target in delivery.targets}
    )
    accounts: dict[int, _Account] = {}
    boxes = {}
    for place, id, uidvalidity, uidnext, modseq, quota, used, sealed, messages in matching(txn, _BOX_COLUMNS, _BOXES, _LOCK, wanted):
        account = wanted[place][0]
        owner = accounts.get(account)
        if owner is None:
            room = None if messages is None else messages - count_messages(txn, account)
            owner = accounts[account] = _Account(account, quota, used, sealed, room=room)
        boxes[wanted[place]] = _Box(id, uidvalidity, uidnext, modseq, owner)
    return boxes


def _plan(call: Consignment, boxes: dict[tuple[int, bytes], _Box]) -> tuple[list[Outcomes], list[_Plan]]:
    """The verdicts of one call, and what of it is to be placed: its cost is charged to ``boxes`` already."""
    verdicts: list[Outcomes] = []
    plans: list[_Plan] = []
    groups = [call.deliveries] if call.forms else [(delivery,) for delivery in call.deliveries]
    for group in groups:
        found = [Outcomes([_problem(target, boxes, charge(each.size)) for target in each.targets]) for each in group]
        verdicts += found
        every = found[0] if len(group) == 1 else [outcome for outcomes in found for outcome in outcomes]
        served: set[int] | None = None  # places among ``every``; None: all are
        if call.each:
            served = _served(call.together, every)
        elif Problem.GONE in every or (None not in every and not any([each.parcel is not None for each in group])):
            return verdicts, _undone(plans)
        before = 0
        for delivery, outcomes in zip(group, found, strict=True):
            plans.append(_plan_one(delivery, outcomes, served, before, boxes))
            before += len(outcomes)
    return verdicts, [plan for plan in plans if plan.places or plan.delivery.parcel is not None]


def _plan_one(delivery: Delivery, outcomes: Outcomes, served: set[int] | None, before: int, boxes: dict[tuple[int, bytes], _Box]) -> _Plan:
    """The plan of one delivery, charged; its first target has the place ``before`` among those of ``served``."""
    if served is None:
        taken = list(range(len(outcomes)))
    else:
        taken = [index for index, outcome in enumerate(outcomes) if outcome is None or before + index in served]
    targets = delivery.targets
    plan = _Plan(delivery, outcomes, [(index, boxes[targets[index].account, targets[index].mailbox]) for index in taken])
    _charge(plan, charge(delivery.size))
    plan.used = [box.account.used for _, box in plan.places]
    return plan


def _served(together: Iterable[tuple[int, ...]], outcomes: Sequence[Outcome | None]) -> set[int]:
    """The full targets that are served because one beside them has room."""
    lucky = [group for group in together if any(outcomes[index] is None for index in group)]
    return {index for group in lucky for index in group if outcomes[index] is Problem.FULL}


def _problem(target: Target, boxes: dict[tuple[int, bytes], _Box], cost: int) -> Problem | None:
    """What keeps a message that costs ``cost`` octets out of the target's mailbox; None: nothing."""
    box = boxes.get((target.account, target.mailbox))
    if box is None:
        return Problem.GONE
    account = box.account
    quota = target.quota if account.quota is None else account.quota
    if account.room is not None and account.room <= 0 and not target.must:
        return Problem.FULL
    return Problem.FULL if quota and account.used + cost > quota and not target.must else None


def _charge(plan: _Plan, cost: int) -> None:
    for _, box in plan.places:
        account = box.account
        account.used += cost
        account.charged += cost
        if account.room is not None:
            account.room -= 1 if cost > 0 else -1


def _insert(txn: Txn, plans: Sequence[_Plan]) -> None:
    """Write messages, bodies, threads, entries and parcels, and put every Placed into its plan's outcomes."""
    if not plans:
        return
    rows = [
        (
            plan.delivery.guid,
            plan.delivery.size,
            len(plan.places) + (plan.delivery.parcel is not None),
            plan.delivery.file,
            plan.delivery.summary,
        )
        for plan in plans
    ]
    ids = _insert_messages(txn, rows)
    if vaults := [id for id, plan in zip(ids, plans, strict=True) if plan.delivery.vault]:
        txn.executemany("UPDATE messages SET vault = 1 WHERE id = ?", [(id,) for id in vaults])
    bodies = [(id, plan.delivery.content) for id, plan in zip(ids, plans, strict=True) if plan.delivery.content is not None]
    if bodies:
        txn.insert_many("INSERT INTO bodies (message_id, content) VALUES ?", bodies)
    threads = _threads(txn, plans, ids)
    entries: list[tuple[Any, ...]] = []
    for id, plan in zip(ids, plans, strict=True):
        delivery = plan.delivery
        for (index, box), used in zip(plan.places, plan.used, strict=True):
            uid = box.uidnext
            box.uidnext = uid + 1
            flags = delivery.targets[index].flags
            box.added.append((uid, flags, delivery.size))
            entries.append(
                (box.id, uid, id, flags, box.modseq + 1, delivery.received, delivery.saved, delivery.size, threads[len(entries)]),
            )
            plan.outcomes[index] = Placed(box.account.id, box.id, box.uidvalidity, uid, used)
    if entries:
        columns = "mailbox_id, uid, message_id, flags, modseq, received, saved, size, thread_id"
        txn.insert_many(f"INSERT INTO entries ({columns}) VALUES ?", entries)
    parcels = [(id, plan) for id, plan in zip(ids, plans, strict=True) if plan.delivery.parcel is not None]
    if parcels:
        inserted = queue.insert(txn, [(id, plan.delivery.parcel) for id, plan in parcels if plan.delivery.parcel is not None])
        for (_, plan), row_ids in zip(parcels, inserted, strict=True):
            plan.outcomes.rows = row_ids


def _insert_messages(txn: Txn, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Insert the rows; their ids in order."""
    if txn.dialect != "sqlite":
        return [id for (id,) in txn.insert_many("INSERT INTO messages (guid, size, refs, file, summary) VALUES ? RETURNING id", rows)]
    last = txn.one("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")  # nobody else writes: the next ids are ours
    ids = range(last[0] + 1 if last else 1, (last[0] if last else 0) + len(rows) + 1)
    txn.insert_many(
        "INSERT INTO messages (id, guid, size, refs, file, summary) VALUES ?", [(id, *row) for id, row in zip(ids, rows, strict=True)]
    )
    return list(ids)


def _threads(txn: Txn, plans: Sequence[_Plan], ids: Sequence[int]) -> list[int]:
    """The thread of every place, in order; new ones are written.

    The first message that In-Reply-To, then References name and that the account has had decides; then one with the
    same id. Otherwise a thread begins, known by the message's own id and the one it answers, so that answers to a
    message that never came, or comes late, meet.
    """
    wanted = set()
    for plan in plans:
        for index, box in plan.places:
            wanted.update([(box.account.id, hash) for hash in plan.delivery.targets[index].threads if hash])
    pairs = sorted(wanted)
    known = {pairs[place]: thread for place, thread in matching(txn, "t.thread_id", _THREADS, "", pairs)}
    fresh = []
    threads = []
    for id, plan in zip(ids, plans, strict=True):
        for index, box in plan.places:
            account = box.account.id
            own, *answered = plan.delivery.targets[index].threads or (b"",)
            thread = next((known[account, hash] for hash in (*answered, own) if (account, hash) in known), None)
            names = [own]
            if thread is None:
                thread = id
                names += answered[:1]
            threads.append(thread)
            for hash in names:
                if hash and (account, hash) not in known:
                    known[account, hash] = thread
                    fresh.append((account, hash, thread))
    if fresh:
        txn.insert_many("INSERT INTO threads (account_id, hash, thread_id) VALUES ? ON CONFLICT DO NOTHING", fresh)
    return threads


def _count(txn: Txn, boxes: Sequence[_Box], accounts: Iterable[_Account]) -> None:
    """Bring the counters of mailboxes and accounts up to date and tell of each mailbox's change."""
    charged = {account.id: account.charged for account in accounts if account.charged}
    update(txn, _CHARGE, sorted(charged.items()))
    rows = []
    for box in sorted(boxes, key=lambda box: box.id):
        unseen = deleted = size = 0
        for _, flags, octets in box.added:
            unseen += not flags & _SEEN
            deleted += bool(flags & _DELETED)
            size += octets
        rows.append((box.id, box.uidnext, box.modseq + 1, len(box.added), unseen, deleted, size))
        txn.publish(Change(box.id, box.modseq + 1, added=tuple(box.added)))
    update(txn, _COUNT, rows)


_BOX_COLUMNS = "m.id, m.uidvalidity, m.uidnext, m.modseq, a.quota, a.used, a.sealed, a.message_quota"
_BOXES = (
    "FROM wanted w CROSS JOIN mailboxes m JOIN accounts a ON a.id = m.account_id"
    " WHERE m.account_id = w.account AND m.hash = w.hash AND a.state <> 'erased'"
)
_LOCK = " ORDER BY a.id, m.id FOR UPDATE OF a, m"
_THREADS = "FROM wanted w CROSS JOIN threads t WHERE t.account_id = w.account AND t.hash = w.hash"
_CHARGE = "v (id, cost) AS (VALUES ?) UPDATE accounts SET used = used + v.cost FROM v WHERE accounts.id = v.id"
_COUNT = (
    "v (id, uidnext, modseq, messages, unseen, deleted, size) AS (VALUES ?) UPDATE mailboxes SET uidnext = v.uidnext, modseq = v.modseq,"
    " messages = mailboxes.messages + v.messages, unseen = mailboxes.unseen + v.unseen, deleted = mailboxes.deleted + v.deleted,"
    " size = mailboxes.size + v.size FROM v WHERE mailboxes.id = v.id"
)

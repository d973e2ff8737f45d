"""Delivery: accepted messages become entries of mailboxes and rows of the queue, many messages in one transaction.

``deliver`` is the only job that makes a message. It reads what it needs of accounts and mailboxes first, decides,
and only then writes; so a call that cannot be served costs the others of its batch nothing. What it answers are
facts (placed, full, gone): which reply they make is the core's affair.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from mailx.mail.mailbox import Change, Flag
from mailx.mail.names import MailboxError
from mailx.mail.reply import Unavailable
from mailx.store import Txn, account_keys, batched, queue, rights, waiting
from mailx.store.consignments import Consignment, Delivery, Outcome, Outcomes, Placed, Problem, Target
from mailx.store.leaving import Leaving
from mailx.store.messages import release, retain
from mailx.store.pairs import matching, update
from mailx.store.planning import Account, Box, Plan, locked, planned
from mailx.store.registers import Registers

__all__ = ["Consignment", "Delivery", "Outcome", "Outcomes", "Placed", "Problem", "Target", "deliver", "release", "retain"]

_SEEN = int(Flag.SEEN)  # plain integers: an operation on an IntFlag costs a microsecond
_DELETED = int(Flag.DELETED)


@batched
def deliver(txn: Txn, consignments: list[Any]) -> list[Any]:
    """Place each :class:`Consignment`; answers, for each of its deliveries, its Outcomes.

    An outcome is Placed, a Problem, or None where nothing stood against a target whose consignment fell.
    """
    leaving = {place: Leaving(txn, *each.replaces) for place, each in enumerate(consignments) if each.replaces is not None}
    boxes = locked(txn, consignments)
    registers = Registers(txn, consignments)
    answers: list[Any] = []
    plans: list[Plan] = []
    going: list[Leaving] = []
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
        outcomes, chosen = planned(consignment, boxes)
        answers.append(outcomes)
        if goes is not None:
            chosen = goes.taken(chosen, outcomes, boxes, going)
        plans += registers.agreed(consignment, chosen, outcomes)
    registers.write()
    if plans:
        plans = _kept(txn, plans)
        _insert(txn, plans)
        _count(txn, [box for box in boxes.values() if box.added], [box.account for box in boxes.values()])
    registers.write_places()
    for each in going:
        each.remove(txn)
    return answers


def _takers(consignment: Consignment, sealed: bool) -> set[int]:
    """The accounts that take something of it that is sealed for them, or that is not."""
    return {target.account for one in consignment.deliveries if (one.waiting or one.vault) is sealed for target in one.targets}


def _kept(txn: Txn, plans: list[Plan]) -> list[Plan]:
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


def _insert(txn: Txn, plans: Sequence[Plan]) -> None:
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


def _threads(txn: Txn, plans: Sequence[Plan], ids: Sequence[int]) -> list[int]:
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


def _count(txn: Txn, boxes: Sequence[Box], accounts: Iterable[Account]) -> None:
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


_THREADS = "FROM wanted w CROSS JOIN threads t WHERE t.account_id = w.account AND t.hash = w.hash"
_CHARGE = "v (id, cost) AS (VALUES ?) UPDATE accounts SET used = used + v.cost FROM v WHERE accounts.id = v.id"
_COUNT = (
    "v (id, uidnext, modseq, messages, unseen, deleted, size) AS (VALUES ?) UPDATE mailboxes SET uidnext = v.uidnext, modseq = v.modseq,"
    " messages = mailboxes.messages + v.messages, unseen = mailboxes.unseen + v.unseen, deleted = mailboxes.deleted + v.deleted,"
    " size = mailboxes.size + v.size FROM v WHERE mailboxes.id = v.id"
)

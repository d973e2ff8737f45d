"""Delivery: accepted messages become entries of mailboxes, many messages in one transaction.

``deliver`` is the only job that makes a message. It reads what it needs of accounts and mailboxes first, decides,
and only then writes; so a call that cannot be served costs the others of its batch nothing. What it answers are
facts (placed, full, gone): which reply they make is the core's affair.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from attrs import Factory, define, frozen

from mailx.mail.mailbox import Change, Flag
from mailx.store import Row, Txn, batched
from mailx.store.messages import charge, release, retain

__all__ = ["Consignment", "Delivery", "Placed", "Problem", "Target", "deliver", "release", "retain"]

_ROWS = 256  # rows of one multi-row SELECT at most: two parameters each, far below every engine's limit

_SEEN = int(Flag.SEEN)  # plain integers: an operation on an IntFlag costs a microsecond
_DELETED = int(Flag.DELETED)


class Problem(Enum):
    """Why a message did not get into a mailbox."""

    FULL = "full"  # its account's quota does not hold it
    GONE = "gone"  # the mailbox or its account no longer exists


@frozen
class Target:
    """One mailbox a message goes to."""

    account: int
    mailbox: bytes  # keyed hash of its name
    quota: int  # octets, for an account without one of its own; 0: unlimited
    flags: int = 0
    threads: tuple[bytes, ...] = ()  # keyed hashes, see Delivery


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


@frozen
class Consignment:
    """Deliveries that stand or fall together.

    With ``each`` every target gets its own verdict. Without, nothing is placed if any mailbox is gone, or if some
    message fits none of its targets; full targets beside one that has room are served all the same.
    """

    deliveries: tuple[Delivery, ...]
    each: bool = False


@frozen
class Placed:
    """One entry made. ``used`` is what is charged to the account after it, in octets."""

    account: int
    mailbox: int
    uidvalidity: int
    uid: int
    used: int


Outcome = Placed | Problem


@define
class _Account:
    """An account's row as read; ``used`` goes up while the batch is planned."""

    id: int
    quota: int | None
    used: int
    charged: int = 0


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
    outcomes: list[Outcome | None]
    places: list[tuple[int, _Box]]
    used: list[int] = Factory(list)  # by each account of ``places``, this message included


@batched
def deliver(txn: Txn, calls: list[Any]) -> list[Any]:
    """Place each :class:`Consignment`; answers, for each of its deliveries, an outcome per target in their order.

    An outcome is Placed, a Problem, or None where nothing stood against a target whose consignment fell.
    """
    boxes = _boxes(txn, calls)
    answers = []
    plans: list[_Plan] = []
    for call in calls:
        outcomes, planned = _plan(call, boxes)
        answers.append(outcomes)
        plans += planned
    if plans:
        _insert(txn, plans)
        _count(txn, [box for box in boxes.values() if box.added])
    return answers


def _boxes(txn: Txn, calls: Iterable[Consignment]) -> dict[tuple[int, bytes], _Box]:
    """Every mailbox that the calls name and that exists, its row and its account's row locked."""
    wanted = sorted({(target.account, target.mailbox) for call in calls for delivery in call.deliveries for target in delivery.targets})
    accounts: dict[int, _Account] = {}
    boxes = {}
    for account, mailbox, id, uidvalidity, uidnext, modseq, quota, used in _matching(txn, _BOXES, _LOCK, wanted):
        owner = accounts.get(account)
        if owner is None:
            owner = accounts[account] = _Account(account, quota, used)
        boxes[account, bytes(mailbox)] = _Box(id, uidvalidity, uidnext, modseq, owner)
    return boxes


def _plan(call: Consignment, boxes: dict[tuple[int, bytes], _Box]) -> tuple[list[list[Outcome | None]], list[_Plan]]:
    """The verdicts of one call, and what of it is to be placed: its cost is charged to ``boxes`` already."""
    verdicts: list[list[Outcome | None]] = []
    plans: list[_Plan] = []
    for delivery in call.deliveries:
        cost = charge(delivery.size)
        outcomes: list[Outcome | None] = [_problem(target, boxes, cost) for target in delivery.targets]
        verdicts.append(outcomes)
        if call.each:
            taken = [index for index, outcome in enumerate(outcomes) if outcome is None]
        elif Problem.GONE in outcomes or None not in outcomes:
            for plan in plans:
                _charge(plan, -charge(plan.delivery.size))
            return verdicts, []
        else:
            taken = list(range(len(outcomes)))
        targets = delivery.targets
        plan = _Plan(delivery, outcomes, [(index, boxes[targets[index].account, targets[index].mailbox]) for index in taken])
        _charge(plan, cost)
        plan.used = [box.account.used for _, box in plan.places]
        plans.append(plan)
    return verdicts, [plan for plan in plans if plan.places]


def _problem(target: Target, boxes: dict[tuple[int, bytes], _Box], cost: int) -> Problem | None:
    """What keeps a message that costs ``cost`` octets out of the target's mailbox; None: nothing."""
    box = boxes.get((target.account, target.mailbox))
    if box is None:
        return Problem.GONE
    account = box.account
    quota = target.quota if account.quota is None else account.quota
    return Problem.FULL if quota and account.used + cost > quota else None


def _charge(plan: _Plan, cost: int) -> None:
    for _, box in plan.places:
        box.account.used += cost
        box.account.charged += cost


def _insert(txn: Txn, plans: Sequence[_Plan]) -> None:
    """Write messages, bodies, threads and entries, and put every Placed into its plan's outcomes."""
    rows = [(plan.delivery.guid, plan.delivery.size, len(plan.places), plan.delivery.file, plan.delivery.summary) for plan in plans]
    ids = [int(row[0]) for row in txn.insert_many("INSERT INTO messages (guid, size, refs, file, summary) VALUES ? RETURNING id", rows)]
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
    txn.insert_many("INSERT INTO entries (mailbox_id, uid, message_id, flags, modseq, received, saved, size, thread_id) VALUES ?", entries)


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
    known = {(account, bytes(hash)): thread for account, hash, thread in _matching(txn, _THREADS, "", sorted(wanted))}
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


def _count(txn: Txn, boxes: Sequence[_Box]) -> None:
    """Bring the counters of mailboxes and accounts up to date and tell of each mailbox's change."""
    accounts = {box.account.id: box.account for box in boxes}
    txn.executemany("UPDATE accounts SET used = used + ? WHERE id = ?", [(account.charged, id) for id, account in sorted(accounts.items())])
    rows = []
    for box in sorted(boxes, key=lambda box: box.id):
        unseen = deleted = size = 0
        for _, flags, octets in box.added:
            unseen += not flags & _SEEN
            deleted += bool(flags & _DELETED)
            size += octets
        rows.append((box.uidnext, box.modseq + 1, len(box.added), unseen, deleted, size, box.id))
        txn.publish(Change(box.id, box.modseq + 1, added=tuple(box.added)))
    txn.executemany(
        "UPDATE mailboxes SET uidnext = ?, modseq = ?, messages = messages + ?, unseen = unseen + ?, deleted = deleted + ?, size = size + ?"
        " WHERE id = ?",
        rows,
    )


_BOXES = (
    "SELECT m.account_id, m.hash, m.id, m.uidvalidity, m.uidnext, m.modseq, a.quota, a.used"
    " FROM wanted w CROSS JOIN mailboxes m JOIN accounts a ON a.id = m.account_id"
    " WHERE m.account_id = w.account AND m.hash = w.hash AND a.state <> 'deleted'"
)
_LOCK = " ORDER BY a.id, m.id FOR UPDATE OF a, m"
_THREADS = "SELECT t.account_id, t.hash, t.thread_id FROM wanted w CROSS JOIN threads t WHERE t.account_id = w.account AND t.hash = w.hash"


def _matching(txn: Txn, select: str, lock: str, pairs: Sequence[tuple[int, bytes]]) -> Iterator[Row]:
    """The rows that ``select`` finds for the (account, hash) ``pairs``.

    A row may come twice. CROSS JOIN keeps SQLite to this order, one index search a pair; with ``IN (VALUES ...)`` it
    would scan.
    """
    for start in range(0, len(pairs), _ROWS):
        values = [value for pair in pairs[start : start + _ROWS] for value in pair]
        count = 1 << (len(values) // 2 - 1).bit_length()  # the last pair repeats, so that few statements are prepared
        values += values[-2:] * (count - len(values) // 2)
        yield from txn.all(_joined(txn.dialect, select, lock, count), values)


@lru_cache(maxsize=64)
def _joined(dialect: str, select: str, lock: str, count: int) -> str:
    values = ", ".join(["(?, ?)"] * count)
    return f"WITH wanted (account, hash) AS (VALUES {values}) {select}{lock if dialect == 'postgresql' else ''}"

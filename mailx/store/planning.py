"""What of a batch of messages is placed, and where: decided in memory, over the rows of mailboxes and accounts, which are locked.

Nothing is written here. What is planned is charged to its accounts at once, so that what comes later in the batch finds the room
that is left; ``undone`` gives it back.
"""

from collections.abc import Iterable, Sequence

from attrs import Factory, define

from mailx.store import Txn
from mailx.store.consignments import Consignment, Delivery, Outcome, Outcomes, Problem, Target
from mailx.store.messages import charge, count_messages
from mailx.store.pairs import matching


@define
class Account:
    """An account's row as read; ``used`` goes up while the batch is planned."""

    id: int
    quota: int | None
    used: int
    sealed: str
    charged: int = 0
    room: int | None = None  # messages that it may still hold; None: any number


@define
class Box:
    """A mailbox's row as read, and what this transaction adds to it."""

    id: int
    uidvalidity: int
    uidnext: int
    modseq: int
    account: Account
    added: list[tuple[int, int, int]] = Factory(list)  # uid, flags, size


@define
class Plan:
    """A message that will be placed: the indexes of the targets that take it, with their mailboxes."""

    delivery: Delivery
    outcomes: Outcomes
    places: list[tuple[int, Box]]
    used: list[int] = Factory(list)  # by each account of ``places``, this message included


def locked(txn: Txn, consignments: Iterable[Consignment]) -> dict[tuple[int, bytes], Box]:
    """Every mailbox that the calls name and that exists, its row and its account's row locked."""
    wanted = sorted(
        {(target.account, target.mailbox) for each in consignments for delivery in each.deliveries for target in delivery.targets}
    )
    accounts: dict[int, Account] = {}
    boxes = {}
    for place, id, uidvalidity, uidnext, modseq, quota, used, sealed, messages in matching(txn, _BOX_COLUMNS, _BOXES, _LOCK, wanted):
        account = wanted[place][0]
        owner = accounts.get(account)
        if owner is None:
            room = None if messages is None else messages - count_messages(txn, account)
            owner = accounts[account] = Account(account, quota, used, sealed, room=room)
        boxes[wanted[place]] = Box(id, uidvalidity, uidnext, modseq, owner)
    return boxes


def planned(call: Consignment, boxes: dict[tuple[int, bytes], Box]) -> tuple[list[Outcomes], list[Plan]]:
    """The verdicts of one call, and what of it is to be placed: its cost is charged to ``boxes`` already."""
    verdicts: list[Outcomes] = []
    plans: list[Plan] = []
    groups = [call.deliveries] if call.forms else [(delivery,) for delivery in call.deliveries]
    for group in groups:
        found = [Outcomes([_problem(target, boxes, charge(each.size)) for target in each.targets]) for each in group]
        verdicts += found
        every = found[0] if len(group) == 1 else [outcome for outcomes in found for outcome in outcomes]
        served: set[int] | None = None  # places among ``every``; None: all are
        if call.each:
            served = _served(call.together, every)
        elif Problem.GONE in every or (None not in every and not any([each.parcel is not None for each in group])):
            untried = call.deliveries[len(verdicts) :]
            return verdicts + [Outcomes([None] * len(each.targets)) for each in untried], undone(plans)
        before = 0
        for delivery, outcomes in zip(group, found, strict=True):
            plans.append(_plan_one(delivery, outcomes, served, before, boxes))
            before += len(outcomes)
    return verdicts, [plan for plan in plans if plan.places or plan.delivery.parcel is not None]


def _plan_one(delivery: Delivery, outcomes: Outcomes, served: set[int] | None, before: int, boxes: dict[tuple[int, bytes], Box]) -> Plan:
    """The plan of one delivery, charged; its first target has the place ``before`` among those of ``served``."""
    if served is None:
        taken = list(range(len(outcomes)))
    else:
        taken = [index for index, outcome in enumerate(outcomes) if outcome is None or before + index in served]
    targets = delivery.targets
    plan = Plan(delivery, outcomes, [(index, boxes[targets[index].account, targets[index].mailbox]) for index in taken])
    _charge(plan, charge(delivery.size))
    plan.used = [box.account.used for _, box in plan.places]
    return plan


def _served(together: Iterable[tuple[int, ...]], outcomes: Sequence[Outcome | None]) -> set[int]:
    """The full targets that are served because one beside them has room."""
    lucky = [group for group in together if any(outcomes[index] is None for index in group)]
    return {index for group in lucky for index in group if outcomes[index] is Problem.FULL}


def _problem(target: Target, boxes: dict[tuple[int, bytes], Box], cost: int) -> Problem | None:
    """What keeps a message that costs ``cost`` octets out of the target's mailbox; None: nothing."""
    box = boxes.get((target.account, target.mailbox))
    if box is None:
        return Problem.GONE
    account = box.account
    quota = target.quota if account.quota is None else account.quota
    if account.room is not None and account.room <= 0 and not target.must:
        return Problem.FULL
    return Problem.FULL if quota and account.used + cost > quota and not target.must else None


def _charge(plan: Plan, cost: int) -> None:
    for _, box in plan.places:
        account = box.account
        account.used += cost
        account.charged += cost
        if account.room is not None:
            account.room -= 1 if cost > 0 else -1


def undone(plans: Sequence[Plan]) -> list[Plan]:
    """Take back what ``plans`` were charged: nothing of them is placed."""
    for plan in plans:
        _charge(plan, -charge(plan.delivery.size))
    return []


_BOX_COLUMNS = "m.id, m.uidvalidity, m.uidnext, m.modseq, a.quota, a.used, a.sealed, a.message_quota"
_BOXES = (
    "FROM wanted w CROSS JOIN mailboxes m JOIN accounts a ON a.id = m.account_id"
    " WHERE m.account_id = w.account AND m.hash = w.hash AND a.state <> 'erased'"
)
_LOCK = " ORDER BY a.id, m.id FOR UPDATE OF a, m"

"""The records that stand or fall with messages: attempts reported, calls, transfers, imports, and what waited for its owner.

They are read before anything is written, and each may say of a message that it has come already: then nothing of it is placed.
"""

from collections.abc import Sequence

from mailx.store import Txn, callbacks, calls, imports, queue, transfers, waiting
from mailx.store.consignments import Consignment, Outcomes
from mailx.store.planning import Plan, undone


class Registers:
    """Those of one batch."""

    def __init__(self, txn: Txn, consignments: Sequence[Consignment]) -> None:
        self._txn = txn
        self._calls = calls.Register(txn, [each.call for each in consignments if each.call is not None])
        self._waiting = waiting.Register(txn, [each.opens for each in consignments if each.opens])
        self._transfers = transfers.Register(txn, [each.transfer for each in consignments if each.transfer is not None])
        self._imports = imports.Register(txn, [each.journal for each in consignments if each.journal is not None])

    def agreed(self, consignment: Consignment, plans: list[Plan], outcomes: Sequence[Outcomes]) -> list[Plan]:
        """``plans`` of ``consignment``, with its records; none if one of those says that it has come, or was settled otherwise."""
        settling = consignment.settling
        if settling is not None and plans and queue.settle(self._txn, [settling]) == [len(settling.rows)]:
            plans = undone(plans)
        if consignment.call is not None and plans:
            plans = _entered(self._calls, consignment.call, plans)
        if consignment.transfer is not None and plans:
            plans = _transferred(self._transfers, consignment.transfer, plans)
        if consignment.journal is not None and plans:
            plans = _imported(self._imports, consignment.journal, plans, outcomes)
        if consignment.opens and plans:
            plans = _opened(self._waiting, consignment.opens, plans)
        return plans

    def write(self) -> None:
        """Enter what was agreed."""
        self._calls.write()
        self._transfers.write()
        self._waiting.write()
        callbacks.begin(self._txn, self._calls.called_back)

    def write_places(self) -> None:
        """Enter where messages were placed, which they are now."""
        self._imports.write()


def _opened(register: waiting.Register, id: int, plans: list[Plan]) -> list[Plan]:
    """``plans`` in place of what waited; none if that was opened already. What it was charged is given back."""
    if (charged := register.take(id)) is None:
        return undone(plans)
    for plan in plans:
        for place, (_, box) in enumerate(plan.places):
            box.account.used -= charged
            box.account.charged -= charged
            plan.used[place] -= charged
    return plans


def _entered(register: calls.Register, call: calls.Call, plans: list[Plan]) -> list[Plan]:
    """``plans`` with the record of the call that asks for them; none if an earlier call did."""
    known = register.known(call)
    if known is None:
        local = all(plan.delivery.parcel is None for plan in plans)
        entered = register.enter(call, calls.DELIVERED if local else calls.QUEUED)
    for plan in plans:
        plan.outcomes.call = known or entered
    return undone(plans) if known else plans


def _transferred(register: transfers.Register, record: transfers.Record, plans: list[Plan]) -> list[Plan]:
    """``plans`` with the record of their transfer; none if it came before for one of its recipients."""
    if register.met(record):
        for plan in plans:
            plan.outcomes.met = True
        return undone(plans)
    accounts = {box.account.id for plan in plans for _, box in plan.places}
    register.enter(record, accounts, any(plan.delivery.parcel is not None for plan in plans))
    return plans


def _imported(register: imports.Register, journal: imports.Journal, plans: list[Plan], outcomes: Sequence[Outcomes]) -> list[Plan]:
    """``plans`` with their entries in the journal; none if an earlier run brought one of them."""
    if register.met(journal):
        for each in outcomes:
            each.met = True
        return undone(plans)
    register.enter(journal, outcomes)
    return plans

"""A message that goes when another comes in its place, in one transaction (RFC 8508)."""

from mailx.store import Txn
from mailx.store.consignments import Outcomes, Problem
from mailx.store.entries import remove
from mailx.store.mailboxes import lock_account
from mailx.store.messages import charge
from mailx.store.planning import Box, Plan, undone


class Leaving:
    """A message that goes when another comes in its place (RFC 8508). Its account is locked first, as by every writer."""

    def __init__(self, txn: Txn, mailbox: int, uid: int) -> None:
        lock_account(txn, mailbox)
        self._mailbox = mailbox
        held = txn.one("SELECT account_id FROM mailboxes WHERE id = ?", (mailbox,))
        self._account = held[0] if held is not None else 0
        self._row = txn.one("SELECT uid, message_id, flags, size FROM entries WHERE mailbox_id = ? AND uid = ?", (mailbox, uid))

    def make_room(self, boxes: dict[tuple[int, bytes], Box], sign: int) -> None:
        """Its room is free for what comes."""
        if self._row is None:
            return
        for account in {box.account.id: box.account for box in boxes.values()}.values():
            if account.id == self._account:
                account.used -= sign * charge(self._row[3])

    def taken(
        self, planned: list[Plan], outcomes: list[Outcomes], boxes: dict[tuple[int, bytes], Box], going: "list[Leaving]"
    ) -> list[Plan]:
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
        return undone(planned)

    def remove(self, txn: Txn) -> None:
        if self._row is not None:
            remove(txn, self._mailbox, self._account, [self._row])

"""Rights of other accounts to mailboxes: rows of ``rights``, and the mailboxes that they open.

Whoever may not look a mailbox up is told what is told of one that does not exist: MailboxError "NONEXISTENT".
An owner whose account is not active, or whose mail is sealed, shares nothing, whatever was granted before.
"""

from collections.abc import Iterable

from attrs import evolve, frozen

from mailx.mail.mailbox import AccountChange, Mailbox, of_account
from mailx.mail.names import INBOX, MailboxError, parents
from mailx.mail.names import new as new_name
from mailx.mail.rights import ALL, ANYONE, Place, prefix, spell
from mailx.store import Row, Txn
from mailx.store import mailboxes as boxes
from mailx.store.mailboxes import Names

IDENTIFIERS_LIMIT = 128  # in the list of one mailbox

_SHARES = "o.state = 'active' AND o.sealed = ''"  # of accounts o


@frozen
class Grant:
    """One line of an access control list. ``who`` is the address of an account, or ANYONE."""

    who: str
    negative: bool
    rights: frozenset[str]


def of_account_in(txn: Txn, mailbox_id: int, account_id: int) -> frozenset[str]:
    """The rights of an account that is not the owner."""
    row = txn.one("SELECT domain_id FROM accounts WHERE id = ?", (account_id,))
    return effective(_rows(txn, mailbox_id), account_id, 0 if row is None else row[0])


def effective(rows: Iterable[Row], account_id: int, domain_id: int) -> frozenset[str]:
    """What rows (account, domain, negative, rights) leave an account: everything granted but what is taken away (RFC 4314 2)."""
    granted: set[str] = set()
    taken: set[str] = set()
    for account, domain, negative, rights in rows:
        if account == account_id or (account is None and domain == domain_id):
            (taken if negative else granted).update(rights)
    return frozenset(granted - taken)


def still(txn: Txn, mailbox_id: int, account_id: int) -> frozenset[str]:
    """As :func:`of_account_in`, none where the owner does not share any more."""
    row = txn.one(f"SELECT 1 FROM mailboxes m JOIN accounts o ON o.id = m.account_id WHERE m.id = ? AND {_SHARES}", (mailbox_id,))
    return frozenset() if row is None else of_account_in(txn, mailbox_id, account_id)


def require(txn: Txn, account_id: int, needed: Iterable[tuple[int, str]]) -> None:
    """Raise MailboxError "NOPERM" unless a guest has rights (letters by mailbox) now, in the transaction that uses them."""
    for mailbox_id, letters in needed:
        if not still(txn, mailbox_id, account_id).issuperset(letters):
            raise MailboxError("NOPERM", "You have no right to do that with this mailbox")


def domain_of(txn: Txn, account_id: int) -> int:
    row = txn.one("SELECT domain_id FROM accounts WHERE id = ?", (account_id,))
    return 0 if row is None else int(row[0])


def find(txn: Txn, names: Names, account_id: int, place: Place, needed: str = "") -> Mailbox:
    """Somebody else's mailbox, under the name it has for this account, with the account's rights.

    Raises MailboxError "NONEXISTENT" without ``l``, "NOPERM" without one of ``needed``. What is not there takes the same steps as
    what may not be looked up.
    """
    owner = txn.one(
        f"SELECT o.id FROM accounts o JOIN domains d ON d.id = o.domain_id WHERE d.name = ? AND o.local = ? AND {_SHARES}",
        (place.domain, place.local),
    )
    owner_id = 0 if owner is None else int(owner[0])
    row = txn.one("SELECT id FROM mailboxes WHERE account_id = ? AND hash = ?", (owner_id, names.hash(owner_id, place.name)))
    rights = of_account_in(txn, 0 if row is None else row[0], account_id)
    if "l" not in rights or owner_id == account_id:
        raise MailboxError("NONEXISTENT", "No such mailbox")
    found = boxes.find(txn, names, owner_id, place.name)
    if not rights.issuperset(needed):
        raise MailboxError("NOPERM", "You have no right to do that with this mailbox")
    name = place.prefix + found.name
    subscribed = txn.one("SELECT 1 FROM subscriptions WHERE account_id = ? AND hash = ?", (account_id, names.hash(account_id, name)))
    return evolve(found, name=name, subscribed=subscribed is not None, special_use="", rights=rights)


def visible(txn: Txn, names: Names, account_id: int) -> list[Mailbox]:
    """Every mailbox of others that the account may look up, under its name there, in no order."""
    domain_id = domain_of(txn, account_id)
    columns = ", ".join([f"m.{column}" for column in boxes.COLUMNS.split(", ")])
    rows = txn.all(
        f"SELECT {columns}, o.local, d.name FROM mailboxes m JOIN accounts o ON o.id = m.account_id JOIN domains d ON d.id = o.domain_id"
        f" WHERE m.id IN (SELECT mailbox_id FROM rights WHERE account_id = ? UNION SELECT mailbox_id FROM rights WHERE domain_id = ?)"
        f" AND m.account_id <> ? AND m.special_use <> '{boxes.DYING}' AND {_SHARES}",
        (account_id, domain_id, account_id),
    )
    granted: dict[int, list[Row]] = {}
    for row in txn.all(
        "SELECT mailbox_id, account_id, domain_id, negative, rights FROM rights WHERE mailbox_id IN"
        " (SELECT mailbox_id FROM rights WHERE account_id = ? UNION SELECT mailbox_id FROM rights WHERE domain_id = ?)"
        " AND (account_id = ? OR domain_id = ?)",
        (account_id, domain_id, account_id, domain_id),
    ):
        granted.setdefault(row[0], []).append(row[1:])
    subscribed = {bytes(hash) for (hash,) in txn.all("SELECT hash FROM subscriptions WHERE account_id = ?", (account_id,))}
    found = []
    for row in rows:
        rights = effective(granted.get(row[0], ()), account_id, domain_id)
        if "l" in rights:
            box = boxes.mailbox(names, row[:-2], False)
            name = prefix(f"{row[-2]}@{row[-1]}") + box.name
            found.append(evolve(box, name=name, subscribed=names.hash(account_id, name) in subscribed, special_use="", rights=rights))
    return found


def any_for(txn: Txn, account_id: int) -> bool:
    """Whether anything at all was ever granted to the account or its domain."""
    row = txn.one(
        "SELECT 1 FROM rights WHERE account_id = ? OR domain_id = (SELECT domain_id FROM accounts WHERE id = ?) LIMIT 1",
        (account_id, account_id),
    )
    return row is not None


def create(txn: Txn, names: Names, account_id: int, place: Place, now: int) -> Mailbox:
    """Make a mailbox under one of somebody else's; its list is the one of its parent.

    Without the right to do so every name is refused alike, there or not.
    """
    owner_id = _beneath(txn, names, account_id, place)
    try:
        boxes.create(txn, names, owner_id, place.name, "", now)
    except MailboxError as error:
        if error.code == "ALREADYEXISTS":
            _hide(txn, names, account_id, place)
        raise
    return find(txn, names, account_id, place)


def bury(txn: Txn, names: Names, account_id: int, place: Place) -> tuple[int, int]:
    """Delete somebody else's mailbox; the owner, and the id for :func:`mailx.store.entries.purge`."""
    found = find(txn, names, account_id, place, "x")
    return found.account, boxes.bury(txn, names, found.account, place.name)


def rename(txn: Txn, names: Names, account_id: int, old: Place, new: Place, now: int) -> int:
    """Rename somebody else's mailbox with all under it: takes ``x`` there, and ``k`` where it goes (RFC 4314 4). Returns the owner."""
    found = find(txn, names, account_id, old, "x")
    if old.name == INBOX:
        raise MailboxError("CANNOT", "Another account's INBOX is not renamed")
    if _beneath(txn, names, account_id, new) != found.account:
        raise MailboxError("NOPERM", "A mailbox stays with its owner")
    try:
        boxes.rename(txn, names, found.account, old.name, new.name, now)
    except MailboxError as error:
        if error.code == "ALREADYEXISTS":
            _hide(txn, names, account_id, new)
        raise
    return found.account


def listed(txn: Txn, mailbox: Mailbox) -> list[Grant]:
    """The list of a mailbox: its owner with all rights, then everybody else."""
    (owner,) = txn.all("SELECT a.local, d.name FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE a.id = ?", (mailbox.account,))
    rows = txn.all(
        "SELECT a.local, d.name, r.negative, r.rights FROM rights r LEFT JOIN accounts a ON a.id = r.account_id"
        " LEFT JOIN domains d ON d.id = a.domain_id WHERE r.mailbox_id = ? AND (a.id IS NULL OR a.state <> 'erased')",
        (mailbox.id,),
    )
    others = [Grant(ANYONE if row[0] is None else f"{row[0]}@{row[1]}", bool(row[2]), frozenset(row[3])) for row in rows]
    others.sort(key=lambda grant: (grant.who != ANYONE, grant.who, grant.negative))
    return [Grant(f"{owner[0]}@{owner[1]}", False, ALL), *others]


def known(txn: Txn, local: str, domain: str) -> int:
    """The account that an identifier names, 0 for ANYONE (``local`` empty); raises MailboxError "CANNOT" when there is none."""
    if not local:
        return 0
    row = txn.one(
        "SELECT a.id FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE d.name = ? AND a.local = ? AND a.state <> 'erased'",
        (domain, local),
    )
    if row is None:
        raise MailboxError("CANNOT", "There is no account of that address here")
    return int(row[0])


def grant(
    txn: Txn, names: Names, account_id: int, place: Place | str, local: str, domain: str, negative: bool, rights: frozenset[str], mode: str
) -> int:
    """Set (``mode`` empty), add (``+``) or take (``-``) rights of an identifier; ``place`` is a name of the account's own, or a Place.

    Returns the owner. The account needs ``a``; nobody changes what the owner may do.
    """
    found = boxes.find(txn, names, account_id, place) if isinstance(place, str) else find(txn, names, account_id, place, "a")
    owner = txn.one("SELECT sealed, domain_id FROM accounts WHERE id = ?", (found.account,))
    if owner is None or owner[0]:
        raise MailboxError("NOPERM", "Sealed mail is not shared")
    boxes.lock(txn, found.id)
    who = known(txn, local, domain)
    if who == found.account:
        raise MailboxError("NOPERM", "The owner has every right")
    where = "mailbox_id = ? AND coalesce(account_id, 0) = ? AND negative = ?"
    row = txn.one(f"SELECT rights FROM rights WHERE {where}", (found.id, who, int(negative)))
    held = frozenset() if row is None else frozenset(row[0])
    wanted = {"": rights, "+": held | rights, "-": held - rights}[mode]
    txn.execute(f"DELETE FROM rights WHERE {where}", (found.id, who, int(negative)))
    if wanted:
        count = txn.one("SELECT count(*) FROM rights WHERE mailbox_id = ?", (found.id,))
        if count and count[0] >= IDENTIFIERS_LIMIT:
            raise MailboxError("LIMIT", "The list of this mailbox is full")
        txn.execute(
            "INSERT INTO rights (mailbox_id, account_id, domain_id, negative, rights) VALUES (?, ?, ?, ?, ?)",
            (found.id, who or None, None if who else owner[1], int(negative), spell(wanted)),
        )
    _publish(txn, found)
    return found.account


def spelled(rows: Iterable[Row]) -> tuple[str, ...]:
    """Rows of :func:`effective` as an AccountChange carries them."""
    return tuple([f"{account or 0} {domain or 0} {negative} {rights}" for account, domain, negative, rights in rows])


def read(entries: Iterable[str]) -> list[Row]:
    """The opposite of :func:`spelled`."""
    found: list[Row] = []
    for account, domain, negative, rights in [entry.split(" ") for entry in entries]:
        found.append((int(account) or None, int(domain) or None, int(negative), rights))
    return found


def _publish(txn: Txn, mailbox: Mailbox) -> None:
    rows = spelled(_rows(txn, mailbox.id))
    txn.publish(of_account(AccountChange(mailbox.account, "acl", mailbox.id, entries=("", *rows))))


def _rows(txn: Txn, mailbox_id: int) -> list[Row]:
    return txn.all("SELECT account_id, domain_id, negative, rights FROM rights WHERE mailbox_id = ?", (mailbox_id,))


def _beneath(txn: Txn, names: Names, account_id: int, place: Place) -> int:
    """The owner, if the account may make mailboxes at ``place``: has ``k`` on the nearest that exists above it.

    All above are looked at, so that the time it takes tells nothing of those that it may not see.
    """
    owner, decided = 0, False
    for name in reversed(parents(new_name(place.name))):
        try:
            above = find(txn, names, account_id, evolve(place, name=name))
        except MailboxError:
            decided = _there(txn, names, place, name) or decided  # what it may not see lies between
            continue
        if not decided and "k" in above.rights:
            owner = above.account
        decided = True
    if not owner:
        raise MailboxError("NOPERM", "You have no right to make mailboxes there")
    return owner


def _there(txn: Txn, names: Names, place: Place, name: str) -> bool:
    owner = txn.one(
        "SELECT o.id FROM accounts o JOIN domains d ON d.id = o.domain_id WHERE d.name = ? AND o.local = ?", (place.domain, place.local)
    )
    owner_id = 0 if owner is None else int(owner[0])
    return txn.one("SELECT 1 FROM mailboxes WHERE account_id = ? AND hash = ?", (owner_id, names.hash(owner_id, name))) is not None


def _hide(txn: Txn, names: Names, account_id: int, place: Place) -> None:
    """Do not tell that a mailbox exists which the account may not look up."""
    try:
        find(txn, names, account_id, place)
    except MailboxError:
        raise MailboxError("NOPERM", "You have no right to make mailboxes there") from None

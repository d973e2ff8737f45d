"""Mailboxes and subscriptions: rows, names and counters.

Names are sealed and found by a keyed hash. A deleted mailbox loses its name at once and its entries in slices:
until those are gone its row stays, marked ``DYING``, under a random hash. A "no" is a
:class:`mailx.mail.names.MailboxError`, raised before anything was written.
"""

from collections.abc import Sequence
from os import urandom
from typing import Any, Protocol

from attrs import evolve, frozen

from mailx.mail.mailbox import DEFAULT_MAILBOXES, DELIMITER, AccountChange, Change, Mailbox, of_account
from mailx.mail.names import INBOX, MAILBOXES_LIMIT, MailboxError, parents
from mailx.mail.names import new as new_name
from mailx.mail.rights import elsewhere
from mailx.store import Row, Txn
from mailx.store.messages import scope

DYING = "-"  # in special_use: deleted, its entries not yet
COLUMNS = "id, account_id, hash, name, uidvalidity, uidnext, modseq, messages, unseen, deleted, size, first_recent, special_use"

_PURPOSE = b"mailbox"
_AMONG = 256  # accounts asked for by one statement
_REMEMBERED = 20_000  # opened names kept in memory, about 4 MB


class FieldCipher(Protocol):
    """What names need of :class:`mailx.store.cipher.Cipher`."""

    def seal(self, purpose: bytes, context: bytes, plain: bytes) -> bytes: ...

    def open(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes: ...

    def hash(self, purpose: bytes, scope: bytes, value: bytes) -> bytes: ...


class Names:
    """Hashes, seals and opens mailbox names; remembers what it opened. Usable from any thread."""

    def __init__(self, cipher: FieldCipher) -> None:
        self._cipher = cipher
        self._opened: dict[bytes, str] = {}

    def hash(self, account_id: int, name: str) -> bytes:
        """By which the mailbox ``name`` (in normal form) of an account is found."""
        return self._cipher.hash(_PURPOSE, scope(account_id), name.encode())

    def seal(self, account_id: int, hash: bytes, name: str) -> bytes:
        return self._cipher.seal(_PURPOSE, scope(account_id) + hash, name.encode())

    def open(self, account_id: int, hash: bytes, sealed: bytes) -> str:
        name = self._opened.get(sealed)
        if name is None:
            name = self._cipher.open(_PURPOSE, scope(account_id) + hash, sealed).decode()
            if len(self._opened) >= _REMEMBERED:
                self._opened.clear()
            self._opened[sealed] = name
        return name


def name_hash(cipher: FieldCipher, account_id: int, name: str) -> bytes:
    """``mailboxes.hash`` of the mailbox ``name`` (in normal form) of an account."""
    return cipher.hash(_PURPOSE, scope(account_id), name.encode())


def create_defaults(txn: Txn, cipher: FieldCipher, account_id: int, now: int) -> None:
    """The folders of a new account, subscribed. ``now`` in seconds since 1970."""
    names = Names(cipher)
    last = _uidvalidities(txn, account_id, len(DEFAULT_MAILBOXES), now)
    for place, (name, special_use) in enumerate(DEFAULT_MAILBOXES):
        _insert(txn, names, account_id, name, special_use, last - len(DEFAULT_MAILBOXES) + 1 + place, now)
        _subscribe(txn, names, account_id, name)


def list_all(txn: Txn, names: Names, account_id: int) -> list[Mailbox]:
    """Every mailbox of the account, in no order."""
    subscribed = {hash for (hash,) in txn.all("SELECT hash FROM subscriptions WHERE account_id = ?", (account_id,))}
    rows = txn.all(f"SELECT {COLUMNS} FROM mailboxes WHERE account_id = ? AND special_use <> '{DYING}'", (account_id,))
    return [mailbox(names, row, bytes(row[2]) in subscribed) for row in rows]


def find(txn: Txn, names: Names, account_id: int, name: str) -> Mailbox:
    """The mailbox ``name``; raises MailboxError "NONEXISTENT"."""
    row = txn.one(f"SELECT {COLUMNS} FROM mailboxes WHERE account_id = ? AND hash = ?", (account_id, names.hash(account_id, name)))
    if row is None:
        raise MailboxError("NONEXISTENT", "No such mailbox")
    found = txn.one("SELECT 1 FROM subscriptions WHERE account_id = ? AND hash = ?", (account_id, row[2]))
    return mailbox(names, row, found is not None)


def by_id(txn: Txn, names: Names, mailbox_id: int) -> Mailbox | None:
    """The mailbox with this id, None if it was deleted. Says nothing of its subscription."""
    row = txn.one(f"SELECT {COLUMNS} FROM mailboxes WHERE id = ? AND special_use <> '{DYING}'", (mailbox_id,))
    return None if row is None else mailbox(names, row, False)


def mailbox(names: Names, row: Row, subscribed: bool) -> Mailbox:
    """The value of one row of ``COLUMNS``."""
    id, account_id, hash, sealed, uidvalidity, uidnext, modseq, messages, unseen, deleted, size, first_recent, special_use = row
    return Mailbox(
        id=id, account=account_id, name=names.open(account_id, bytes(hash), bytes(sealed)), uidvalidity=uidvalidity,
        uidnext=uidnext, modseq=modseq, messages=messages, unseen=unseen, deleted=deleted, size=size,
        first_recent=first_recent, special_use=special_use, subscribed=subscribed,
    )  # fmt: skip


def junk(txn: Txn, accounts: Sequence[int]) -> dict[int, bytes]:
    """The hash of the name of each account's mailbox for junk (RFC 6154), where it has one."""
    found: dict[int, bytes] = {}
    for start in range(0, len(accounts), _AMONG):
        part = accounts[start : start + _AMONG]
        among = ", ".join("?" * len(part))
        sql = f"SELECT account_id, hash FROM mailboxes WHERE special_use = ? AND account_id IN ({among}) ORDER BY id DESC"
        rows = txn.all(sql, ("\\Junk", *part))
        found.update((id, bytes(hash)) for id, hash in rows)
    return found


def lock(txn: Txn, mailbox_id: int) -> Row:
    """(modseq, uidnext, uidvalidity, account_id) of a mailbox, held against other writers till the commit.

    Every transaction that changes entries comes here before it touches them, so that mod-sequences rise in the order
    of commits. Whoever locks more goes in this order, so that two writers never wait for each other: the
    account (:func:`lock_account`), then mailboxes by rising id.
    """
    held = " FOR UPDATE" if txn.dialect == "postgresql" else ""  # SQLite has one writer
    row = txn.one(
        f"SELECT modseq, uidnext, uidvalidity, account_id FROM mailboxes WHERE id = ? AND special_use <> '{DYING}'{held}", (mailbox_id,)
    )
    if row is None:
        raise MailboxError("NONEXISTENT", "The mailbox was deleted")
    return row


def lock_account(txn: Txn, mailbox_id: int) -> None:
    """Hold the account of a mailbox against other writers till the commit."""
    if txn.dialect == "postgresql":
        txn.one("SELECT 1 FROM accounts WHERE id = (SELECT account_id FROM mailboxes WHERE id = ?) FOR UPDATE", (mailbox_id,))


def count(txn: Txn, mailbox_id: int, modseq: int, messages: int = 0, unseen: int = 0, deleted: int = 0, size: int = 0) -> None:
    """Set the mod-sequence of a locked mailbox and add to its counters."""
    txn.execute(
        "UPDATE mailboxes SET modseq = ?, messages = messages + ?, unseen = unseen + ?, deleted = deleted + ?, size = size + ?"
        " WHERE id = ?",
        (modseq, messages, unseen, deleted, size, mailbox_id),
    )


def create(txn: Txn, names: Names, account_id: int, name: str, special_use: str, now: int) -> Mailbox:
    """Make ``name`` and whatever is missing above it (RFC 9051 6.3.4)."""
    name = new_name(name)
    _reachable(name)
    hashes = {names.hash(account_id, each): each for each in [*parents(name), name]}
    marks = ", ".join("?" * len(hashes))
    rows = txn.all(f"SELECT hash FROM mailboxes WHERE account_id = ? AND hash IN ({marks})", (account_id, *hashes))
    for (hash,) in rows:
        del hashes[bytes(hash)]
    if names.hash(account_id, name) not in hashes:
        raise MailboxError("ALREADYEXISTS", "There is a mailbox of that name")
    if special_use and txn.one("SELECT 1 FROM mailboxes WHERE account_id = ? AND special_use = ?", (account_id, special_use)):
        raise MailboxError("USEATTR", "Another mailbox has that use")
    _insert_all(txn, names, account_id, list(hashes.values()), now)
    made = find(txn, names, account_id, name)
    if special_use:
        txn.execute("UPDATE mailboxes SET special_use = ? WHERE id = ?", (special_use, made.id))
    return evolve(made, special_use=special_use)


def rename(txn: Txn, names: Names, account_id: int, old: str, new: str, now: int) -> None:
    """Give ``old`` and everything under it their place under ``new`` (RFC 9051 6.3.6); not for INBOX itself."""
    new = new_name(new)
    if new.startswith(old + DELIMITER):
        raise MailboxError("CANNOT", "A mailbox does not go under itself")
    tree = {name: id for id, name in _names(txn, names, account_id)}
    moving = {name: new + name[len(old) :] for name in tree if name == old or name.startswith(old + DELIMITER)}
    if not moving:
        raise MailboxError("NONEXISTENT", "No such mailbox")
    if any(target in tree for target in (new, *moving.values())):
        raise MailboxError("ALREADYEXISTS", "There is a mailbox of that name")
    for target in moving.values():
        _reachable(new_name(target))
    _insert_all(txn, names, account_id, [name for name in parents(new) if name not in tree], now)
    for name, target in moving.items():
        hash = names.hash(account_id, target)
        txn.execute("UPDATE mailboxes SET hash = ?, name = ? WHERE id = ?", (hash, names.seal(account_id, hash, target), tree[name]))
        txn.publish(of_account(AccountChange(account_id, "name", tree[name])))


def _reachable(name: str) -> None:
    """Of an account's own mailboxes none has a name that leads to somebody else's."""
    if elsewhere(name) is not None:
        raise MailboxError("CANNOT", "That name is in another account's namespace")


def bury(txn: Txn, names: Names, account_id: int, name: str) -> int:
    """Take a mailbox from sight; returns its id, for :func:`mailx.store.entries.purge`. What lies under it stays (RFC 9051 6.3.5)."""
    if name == INBOX:
        raise MailboxError("CANNOT", "INBOX cannot be deleted")
    row = txn.one("SELECT id FROM mailboxes WHERE account_id = ? AND hash = ?", (account_id, names.hash(account_id, name)))
    if row is None:
        if any(each.startswith(name + DELIMITER) for _, each in _names(txn, names, account_id)):
            raise MailboxError("HASCHILDREN", "Only the mailboxes under that name exist")
        raise MailboxError("NONEXISTENT", "No such mailbox")
    mailbox_id: int = row[0]
    modseq: int = lock(txn, mailbox_id)[0] + 1
    txn.execute("UPDATE mailboxes SET hash = ?, special_use = ?, modseq = ? WHERE id = ?", (urandom(16), DYING, modseq, mailbox_id))
    txn.publish(Change(mailbox_id, modseq, gone=True))
    txn.publish(of_account(AccountChange(account_id, "name", mailbox_id)))
    return mailbox_id


def buried(txn: Txn) -> list[int]:
    """The ids of mailboxes whose purge was cut short."""
    return [id for (id,) in txn.all("SELECT id FROM mailboxes WHERE special_use = ?", (DYING,))]


def claim_recent(txn: Txn, mailbox_id: int, first_recent: int) -> None:
    """Messages before the UID ``first_recent`` are not \\Recent for later sessions."""
    txn.execute("UPDATE mailboxes SET first_recent = ? WHERE id = ? AND first_recent < ?", (first_recent, mailbox_id, first_recent))


def count_recent(txn: Txn, mailbox_id: int, first_recent: int) -> int:
    row = txn.one("SELECT count(*) FROM entries WHERE mailbox_id = ? AND uid >= ?", (mailbox_id, first_recent))
    return row[0] if row else 0


def subscribe(txn: Txn, names: Names, account_id: int, name: str) -> None:
    """Subscribe to a name, whether or not there is such a mailbox (RFC 9051 6.3.7)."""
    held = txn.one("SELECT count(*) FROM subscriptions WHERE account_id = ?", (account_id,))
    if held and held[0] >= 2 * MAILBOXES_LIMIT:
        raise MailboxError("LIMIT", "Too many subscriptions")
    if _subscribe(txn, names, account_id, name):
        txn.publish(of_account(AccountChange(account_id, "subscription")))


def _subscribe(txn: Txn, names: Names, account_id: int, name: str) -> int:
    """Returns 0 if the account is subscribed already."""
    hash = names.hash(account_id, name)
    return txn.execute(
        "INSERT INTO subscriptions (account_id, hash, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (account_id, hash, names.seal(account_id, hash, name)),
    )


def unsubscribe(txn: Txn, names: Names, account_id: int, name: str) -> None:
    if txn.execute("DELETE FROM subscriptions WHERE account_id = ? AND hash = ?", (account_id, names.hash(account_id, name))):
        txn.publish(of_account(AccountChange(account_id, "subscription")))


def subscriptions(txn: Txn, names: Names, account_id: int) -> list[str]:
    """Every subscribed name, in no order."""
    rows = txn.all("SELECT hash, name FROM subscriptions WHERE account_id = ?", (account_id,))
    return [names.open(account_id, bytes(hash), bytes(sealed)) for hash, sealed in rows]


@frozen
class Usage:
    """What an account holds of each resource of RFC 9208, and its own limits: None where the server's default applies."""

    used: int  # octets
    quota: int | None
    messages: int
    message_quota: int | None
    mailboxes: int


def usage(txn: Txn, account_id: int) -> Usage:
    row = txn.one("SELECT used, quota, message_quota FROM accounts WHERE id = ?", (account_id,))
    held = txn.one(
        f"SELECT coalesce(sum(messages), 0), count(*) FROM mailboxes WHERE account_id = ? AND special_use <> '{DYING}'", (account_id,)
    )
    if row is None or held is None:
        raise MailboxError("NONEXISTENT", "No such account")
    return Usage(row[0], row[1], int(held[0]), row[2], held[1])


def set_message_quota(txn: Txn, account_id: int, limit: int | None) -> None:
    """How many messages the account may hold; None: any number."""
    txn.execute("UPDATE accounts SET message_quota = ? WHERE id = ?", (limit, account_id))


def _names(txn: Txn, names: Names, account_id: int) -> list[tuple[int, str]]:
    rows = txn.all(f"SELECT id, hash, name FROM mailboxes WHERE account_id = ? AND special_use <> '{DYING}'", (account_id,))
    return [(id, names.open(account_id, bytes(hash), bytes(sealed))) for id, hash, sealed in rows]


def _uidvalidities(txn: Txn, account_id: int, number: int, now: int) -> int:
    """Reserve ``number`` values; returns the last.

    They rise strictly in an account, so a name made anew has a higher one than before (RFC 9051 2.3.1.1).
    """
    row = txn.one(
        "UPDATE accounts SET last_uidvalidity = ? + CASE WHEN last_uidvalidity < ? THEN ? ELSE last_uidvalidity END WHERE id = ?"
        " RETURNING last_uidvalidity",
        (number, now, now, account_id),
    )
    if row is None:
        raise MailboxError("NONEXISTENT", "No such account")
    last: int = row[0]
    return last


def _insert_all(txn: Txn, names: Names, account_id: int, new: list[str], now: int) -> None:
    if not new:
        return
    held = txn.one("SELECT count(*) FROM mailboxes WHERE account_id = ?", (account_id,))
    if held and held[0] + len(new) > MAILBOXES_LIMIT:
        raise MailboxError("OVERQUOTA", f"An account has at most {MAILBOXES_LIMIT} mailboxes")
    first = _uidvalidities(txn, account_id, len(new), now) - len(new) + 1
    for place, name in enumerate(new):
        _insert(txn, names, account_id, name, "", first + place, now)
        txn.publish(of_account(AccountChange(account_id, "name")))
    _inherit(txn, names, account_id, new)


def _inherit(txn: Txn, names: Names, account_id: int, made: Sequence[str]) -> None:
    """What lies under a shared mailbox is shared with the same people (RFC 4314 3, of CREATE); ``made``: parents first."""
    if txn.one("SELECT 1 FROM rights r JOIN mailboxes m ON m.id = r.mailbox_id WHERE m.account_id = ? LIMIT 1", (account_id,)) is None:
        return
    for name in made:
        for above in parents(name)[-1:]:
            txn.execute(
                "INSERT INTO rights (mailbox_id, account_id, domain_id, negative, rights)"
                " SELECT n.id, r.account_id, r.domain_id, r.negative, r.rights FROM rights r JOIN mailboxes m ON m.id = r.mailbox_id"
                " JOIN mailboxes n ON n.account_id = m.account_id WHERE m.account_id = ? AND m.hash = ? AND n.hash = ?",
                (account_id, names.hash(account_id, above), names.hash(account_id, name)),
            )


def _insert(txn: Txn, names: Names, account_id: int, name: str, special_use: str, uidvalidity: int, now: int) -> None:
    hash = names.hash(account_id, name)
    values: tuple[Any, ...] = (account_id, hash, names.seal(account_id, hash, name), special_use, uidvalidity, now)
    txn.execute("INSERT INTO mailboxes (account_id, hash, name, special_use, uidvalidity, created) VALUES (?, ?, ?, ?, ?, ?)", values)

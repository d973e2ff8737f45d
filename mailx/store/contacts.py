"""Contacts: the addresses that an account knows, and what it lets them do. Addresses are sealed and found by keyed hash.

Who is blocked stands in :mod:`mailx.store.blocks`, with whole domains; an address is never in both. Contacts that came by
themselves (requests of strangers, people written to) make room for later ones beyond a limit; chosen ones never do.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from mailx.mail.mailbox import Flag
from mailx.store import Txn, batched, blocks
from mailx.store.cipher import Cipher, CipherError
from mailx.store.entries import SLICE, Among
from mailx.store.messages import scope
from mailx.store.names import Missing, Taken

REQUESTED = "requested"
ACCEPTED = "accepted"
BLOCKED = "blocked"

REQUESTS_LIMIT = 1000  # requested contacts of one account: strangers make them
WRITTEN_LIMIT = 20_000  # contacts of one account that it only wrote to
CHOSEN_LIMIT = 20_000  # that it accepted
_PURPOSE = b"contact"
_ROWS = 256
_COLUMNS = "id, hash, sealed, trust, chosen, refuses, first_seen, changed"


class Full(Exception):
    """The account has CHOSEN_LIMIT contacts already."""


@frozen
class Contact:
    """One address as it is kept."""

    id: int
    address: str  # local@domain; empty: the row does not open
    trust: str  # REQUESTED or ACCEPTED
    chosen: bool
    refuses: bool  # their server says that they take no mail from the account
    first_seen: int  # seconds since 1970
    changed: int


@frozen
class Noted:
    """Somebody to be known from now on: REQUESTED if nothing is known yet, or ACCEPTED because the account wrote to them."""

    account: int
    address: str  # stored spelling
    trust: str
    now: int
    room: bool = True  # whether the account's oldest make room now: counting them costs, so it is done now and then


@frozen
class Preferences:
    """What an account wants of first contact; ``requests`` empty: what the server's settings say."""

    requests: str = ""
    notices: bool = False


@frozen
class Decision:
    """What an owner decided by moving mail out of Requests. Addresses are ``local@domain`` in their stored spelling."""

    account: int
    accepted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()  # taken back into Requests: blocked no more


@frozen
class Decided:
    """What a decision changed: whose block was lifted, and who is blocked now."""

    lifted: tuple[str, ...]
    blocked: tuple[str, ...]


def digest(cipher: Cipher, account_id: int, address: str) -> bytes:
    """The hash under which ``address`` (stored spelling) is kept."""
    return cipher.hash(_PURPOSE, scope(account_id), address.encode())


def accepted_by(txn: Txn, cipher: Cipher, account_ids: Sequence[int], address: str) -> list[int]:
    """Those of the accounts that have accepted ``address``."""
    found: list[int] = []
    for start in range(0, len(account_ids), _ROWS):
        part = account_ids[start : start + _ROWS]
        wanted = f"WITH wanted (account, hash) AS (VALUES {', '.join(['(?, ?)'] * len(part))})"
        sql = (
            f"{wanted} SELECT w.account FROM wanted w CROSS JOIN contacts c"
            " WHERE c.account_id = w.account AND c.hash = w.hash AND c.trust = ?"
        )
        pairs = [value for id in part for value in (id, digest(cipher, id, address))]
        found += [int(id) for (id,) in txn.all(sql, [*pairs, ACCEPTED])]
    return found


@batched
def note(txn: Txn, calls: list[Any]) -> list[Any]:
    """Know the people of each call, a pair of the cipher and some :class:`Noted`; accounts that are gone are passed over."""
    people: dict[tuple[int, str], Noted] = {}
    for _, noted in calls:
        for one in noted:
            if (one.account, one.address) not in people or one.trust == ACCEPTED:
                people[one.account, one.address] = one
    cipher: Cipher = calls[0][0]
    rows = sorted((one.account, *_sealed(cipher, one.account, one.address), one.trust, one.now) for one in people.values())
    for trust, otherwise in _ON_CONFLICT.items():
        values = [(account, hash, sealed, trust, now, now, account) for account, hash, sealed, wanted, now in rows if wanted == trust]
        if values:
            txn.executemany(_INSERT + otherwise, values)
    for account in sorted({one.account for _, noted in calls for one in noted if one.room}):
        _make_room(txn, account)
    return [None] * len(calls)


def _sealed(cipher: Cipher, account_id: int, address: str) -> tuple[bytes, bytes]:
    hash = digest(cipher, account_id, address)
    return hash, cipher.seal(_PURPOSE, scope(account_id) + hash, address.encode())


_INSERT = (
    "INSERT INTO contacts (account_id, hash, sealed, trust, chosen, refuses, first_seen, changed)"
    " SELECT ?, ?, ?, ?, 0, 0, ?, ? FROM accounts WHERE id = ?"
)
_ON_CONFLICT = {
    REQUESTED: " ON CONFLICT (account_id, hash) DO NOTHING",
    ACCEPTED: (
        " ON CONFLICT (account_id, hash) DO UPDATE SET trust = excluded.trust, changed = excluded.changed"
        " WHERE contacts.trust <> 'accepted'"
    ),
}


def _make_room(txn: Txn, account_id: int) -> None:
    """Forget the oldest of what came by itself, beyond the limits."""
    for trust, limit in ((REQUESTED, REQUESTS_LIMIT), (ACCEPTED, WRITTEN_LIMIT)):
        txn.execute(
            "DELETE FROM contacts WHERE account_id = ? AND trust = ? AND chosen = 0 AND id <= (SELECT id FROM contacts"
            " WHERE account_id = ? AND trust = ? AND chosen = 0 ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (account_id, trust, account_id, trust, limit),
        )


def accept(txn: Txn, cipher: Cipher, account_id: int, address: str, now: int) -> bool:
    """Let ``address`` write to the account: its mail goes to INBOX, and its block is lifted; whether it had one. Raises Full."""
    hash, sealed = _sealed(cipher, account_id, address)
    row = txn.one("SELECT count(*) FROM contacts WHERE account_id = ? AND chosen = 1 AND hash <> ?", (account_id, hash))
    if row is not None and row[0] >= CHOSEN_LIMIT:
        raise Full
    lifted = bool(_unblock(txn, cipher, account_id, address))
    txn.execute(
        "INSERT INTO contacts (account_id, hash, sealed, trust, chosen, refuses, first_seen, changed) VALUES (?, ?, ?, ?, 1, 0, ?, ?)"
        " ON CONFLICT (account_id, hash) DO UPDATE SET trust = excluded.trust, chosen = 1, changed = excluded.changed",
        (account_id, hash, sealed, ACCEPTED, now, now),
    )
    return lifted


def block(txn: Txn, cipher: Cipher, account_id: int, pattern: str, now: int) -> None:
    """Refuse mail from ``pattern`` (an address, or ``@domain``), a contact no more. Raises blocks.Full, Taken."""
    blocks.add(txn, cipher, account_id, pattern, now)
    _forget(txn, cipher, account_id, pattern)


def remove(txn: Txn, cipher: Cipher, account_id: int, pattern: str) -> None:
    """Know nothing of ``pattern`` any more: neither accepted nor blocked. Raises Missing."""
    gone = _unblock(txn, cipher, account_id, pattern) + _forget(txn, cipher, account_id, pattern)
    if not gone:
        raise Missing("contact", pattern)


def decide(txn: Txn, cipher: Cipher, decision: Decision, now: int) -> Decided:
    """Do what the owner decided. A rejection never touches who is accepted; limits that are reached change nothing."""
    account = decision.account
    lifted, blocked = [], []
    for address in decision.accepted:
        try:
            was = accept(txn, cipher, account, address, now)
        except Full:
            was = bool(_unblock(txn, cipher, account, address))
        if was:
            lifted.append(address)
    for address in decision.restored:
        if _unblock(txn, cipher, account, address):
            lifted.append(address)
    for address in decision.rejected:
        if accepted_by(txn, cipher, [account], address):
            continue
        try:
            block(txn, cipher, account, address, now)
            blocked.append(address)
        except (blocks.Full, Taken):
            _forget(txn, cipher, account, address)
    return Decided(tuple(lifted), tuple(blocked))


def refuse(txn: Txn, cipher: Cipher, account_id: int, address: str, refuses: bool) -> None:
    """The server of ``address`` says whether it takes no mail from the account; of no interest unless the account knows it."""
    txn.execute(
        "UPDATE contacts SET refuses = ? WHERE account_id = ? AND hash = ? AND trust = ?",
        (int(refuses), account_id, digest(cipher, account_id, address), ACCEPTED),
    )


def _unblock(txn: Txn, cipher: Cipher, account_id: int, pattern: str) -> int:
    return txn.execute("DELETE FROM blocks WHERE account_id = ? AND hash = ?", (account_id, blocks.digest(cipher, account_id, pattern)))


def _forget(txn: Txn, cipher: Cipher, account_id: int, pattern: str) -> int:
    return txn.execute("DELETE FROM contacts WHERE account_id = ? AND hash = ?", (account_id, digest(cipher, account_id, pattern)))


def page(txn: Txn, cipher: Cipher, account_id: int, trust: str, before: int, limit: int) -> list[Contact]:
    """At most ``limit`` contacts, the latest first, with ids below ``before`` (0: from the latest on); of one ``trust`` or of both."""
    where, values = "", [account_id]
    parameters: list[Any] = list(values)
    if trust:
        where += " AND trust = ?"
        parameters.append(trust)
    if before:
        where += " AND id < ?"
        parameters.append(before)
    rows = txn.all(
        f"SELECT {_COLUMNS} FROM contacts WHERE account_id = ?{where} ORDER BY id DESC LIMIT ?",
        (*parameters, limit),
    )
    return [_contact(cipher, account_id, row) for row in rows]


def find(txn: Txn, cipher: Cipher, account_id: int, address: str) -> Contact | None:
    """The contact with this address."""
    row = txn.one(
        f"SELECT {_COLUMNS} FROM contacts WHERE account_id = ? AND hash = ?",
        (account_id, digest(cipher, account_id, address)),
    )
    return None if row is None else _contact(cipher, account_id, row)


def _contact(cipher: Cipher, account_id: int, row: Sequence[Any]) -> Contact:
    id, hash, sealed, trust, chosen, refuses, first_seen, changed = row
    try:
        address = cipher.open(_PURPOSE, scope(account_id) + bytes(hash), bytes(sealed)).decode()
    except (CipherError, UnicodeDecodeError):
        address = ""
    return Contact(int(id), address, trust, bool(chosen), bool(refuses), int(first_seen), int(changed))


def counts(txn: Txn, account_id: int) -> dict[str, int]:
    """How many contacts of each trust the account has."""
    rows = txn.all("SELECT trust, count(*) FROM contacts WHERE account_id = ? GROUP BY trust", (account_id,))
    blocked = txn.one("SELECT count(*) FROM blocks WHERE account_id = ?", (account_id,))
    return {REQUESTED: 0, ACCEPTED: 0, BLOCKED: int(blocked[0]) if blocked else 0, **{trust: int(count) for trust, count in rows}}


def preferences(txn: Txn, account_ids: Iterable[int]) -> dict[int, Preferences]:
    """What these accounts want, those that said something of it."""
    found: dict[int, Preferences] = {}
    ids = list(account_ids)
    for start in range(0, len(ids), _ROWS):
        part = ids[start : start + _ROWS]
        sql = f"SELECT account_id, requests, notices FROM contact_settings WHERE account_id IN ({', '.join('?' * len(part))})"
        found.update({int(id): Preferences(requests, bool(notices)) for id, requests, notices in txn.all(sql, part)})
    return found


def set_preferences(txn: Txn, account_id: int, wanted: Preferences) -> None:
    """Keep what an account wants."""
    txn.execute(
        "INSERT INTO contact_settings (account_id, requests, notices) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET requests = excluded.requests, notices = excluded.notices",
        (account_id, wanted.requests, int(wanted.notices)),
    )


def elsewhere(txn: Txn, mailbox_id: int, among: Among | None) -> list[tuple[int, int]]:
    """(uid, mailbox) of the messages that the next slice of an EXPUNGE removes, and the account's other mailboxes that have them."""
    where, parameters = ("", ()) if among is None else (f" AND {among.sql()}", among.parameters())
    rows = txn.all(
        "WITH leaving AS (SELECT uid, message_id FROM entries"
        f" WHERE mailbox_id = ? AND flags & ? <> 0{where} ORDER BY uid LIMIT ?)"
        " SELECT l.uid, o.mailbox_id FROM leaving l JOIN entries o ON o.message_id = l.message_id JOIN mailboxes m ON m.id = o.mailbox_id"
        " WHERE o.mailbox_id <> ? AND m.account_id = (SELECT account_id FROM mailboxes WHERE id = ?)",
        (mailbox_id, int(Flag.DELETED), *parameters, SLICE, mailbox_id, mailbox_id),
    )
    return [(int(uid), int(other)) for uid, other in rows]

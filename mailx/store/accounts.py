"""Accounts: the rows of ``accounts``, who they are, what they log in with, and their way out.

Deleting takes several transactions, so that no one of them holds the writer for long: the first makes the account
unreachable (state ``erased``, its name free again), the following ones remove its mail in slices, the last one the
row itself. What a crash leaves between them, ``unfinished`` finds.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from mailx.mail.mailbox import AccountChange, Change, of_account
from mailx.store import Row, Txn, aliases, entries, imports
from mailx.store.cipher import Cipher
from mailx.store.names import Missing, claim, listed, lock

_COLUMNS = "a.id, a.local, d.name, a.role, a.state, a.quota, a.used, a.credentials_guid, a.sealed"
_MORE = "a.created, a.last_login, a.deleted, a.retention, a.warned, a.warned_at"
_FROM = "FROM accounts a JOIN domains d ON d.id = a.domain_id"
_SLICE = 1000  # rows
_WAITING = 100  # rows with contents


@frozen
class Which:
    """Which accounts are meant; what is empty does not matter."""

    domain: str | None = None
    text: str = ""  # somewhere in the address
    role: str = ""
    state: str = ""


def add(txn: Txn, local: str, domain: str, role: str, quota: int | None, sealed: bytes, guid: bytes, now: int) -> tuple[int, str]:
    """Make an account; returns its id and its role. Raises Missing (the domain) or Taken.

    With ``role`` "" the very first account of the server becomes its admin, every later one a user.
    """
    domain_id = lock(txn, domain)
    claim(txn, domain_id, local, domain)
    if not role:
        role = "user" if txn.one("SELECT 1 FROM accounts WHERE state <> 'erased' LIMIT 1") else "admin"
    row = txn.one(
        "INSERT INTO accounts (domain_id, local, role, quota, credentials, credentials_guid, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (domain_id, local, role, quota, sealed, guid, now),
    )
    assert row is not None
    return int(row[0]), role


def by_id(txn: Txn, id: int) -> Row | None:
    """(id, local, domain, role, state, quota, used, credentials guid, sealed), or None."""
    return txn.one(f"SELECT {_COLUMNS} {_FROM} WHERE a.id = ? AND a.state <> 'erased'", (id,))


def by_name(txn: Txn, local: str, domain: str) -> Row | None:
    """As :func:`by_id`, followed by created, last_login, deleted, retention, warned, warned_at."""
    return txn.one(f"SELECT {_COLUMNS}, {_MORE} {_FROM} WHERE d.name = ? AND a.local = ? AND a.state <> 'erased'", (domain, local))


def credentials(txn: Txn, local: str, domain: str) -> Row | None:
    """As :func:`by_id`, followed by the sealed credentials."""
    return txn.one(f"SELECT {_COLUMNS}, a.credentials {_FROM} WHERE d.name = ? AND a.local = ? AND a.state <> 'erased'", (domain, local))


def page(txn: Txn, domain: str | None, after: int, limit: int) -> list[Row]:
    """At most ``limit`` accounts with ids above ``after``, by id; rows as of :func:`by_name`."""
    where = "" if domain is None else " AND d.name = ?"
    parameters = [] if domain is None else [domain]
    return txn.all(
        f"SELECT {_COLUMNS}, {_MORE} {_FROM} WHERE a.id > ? AND a.state <> 'erased'{where} ORDER BY a.id LIMIT ?",
        [after, *parameters, limit],
    )


def search(txn: Txn, which: Which, after: tuple[str, str], limit: int) -> list[Row]:
    """At most ``limit`` accounts behind ``after`` (domain, local), by domain and name; rows as of :func:`by_name`."""
    conditions, parameters = listed("a", which.domain, which.text, after)
    for column, value in (("role", which.role), ("state", which.state)):
        if value:
            conditions += f" AND a.{column} = ?"
            parameters.append(value)
    return txn.all(
        f"SELECT {_COLUMNS}, {_MORE} FROM domains d CROSS JOIN accounts a"
        f" WHERE a.domain_id = d.id AND a.state <> 'erased'{conditions} ORDER BY d.name, a.local LIMIT ?",
        [*parameters, limit],
    )


def belongings(txn: Txn, id: int) -> tuple[int, int, int, list[tuple[str, str]]]:
    """What goes with an account: how many mailboxes, messages and blocks, and the aliases (local, domain) that reach nobody else."""
    mailboxes = txn.one("SELECT count(*), coalesce(sum(messages), 0) FROM mailboxes WHERE account_id = ?", (id,))
    blocks = txn.one("SELECT count(*) FROM blocks WHERE account_id = ?", (id,))
    assert mailboxes is not None and blocks is not None
    names = txn.all(
        "SELECT l.local, d.name FROM alias_targets x JOIN aliases l ON l.id = x.alias_id JOIN domains d ON d.id = l.domain_id"
        " WHERE x.account_id = ? AND NOT EXISTS (SELECT 1 FROM alias_targets y WHERE y.alias_id = l.id AND y.account_id <> ?)"
        " AND NOT EXISTS (SELECT 1 FROM alias_remotes z WHERE z.alias_id = l.id) ORDER BY d.name, l.local",
        (id, id),
    )
    return int(mailboxes[0]), int(mailboxes[1]), int(blocks[0]), [(str(local), str(name)) for local, name in names]


def totals(txn: Txn) -> tuple[int, int]:
    """How many accounts there are, and the octets charged to all of them."""
    row = txn.one("SELECT count(*), coalesce(sum(used), 0) FROM accounts WHERE state <> 'erased'")
    return (int(row[0]), int(row[1])) if row is not None else (0, 0)


def reach(txn: Txn, cipher: Cipher, domain: str, locals: Sequence[str], postmaster: bool) -> tuple[list[Row], list[str]]:
    """The accounts, and the addresses elsewhere, that the first of ``locals`` which is a name reaches; otherwise the domain's catch-all.

    With ``postmaster`` an admin stands in before the catch-all (RFC 5321 4.5.1: it must always reach somebody).
    """
    for local in locals:
        row = txn.one(f"SELECT {_COLUMNS} {_FROM} WHERE d.name = ? AND a.local = ? AND a.state <> 'erased'", (domain, local))
        if row is not None:
            return [row], []
        rows, remotes = _targets(txn, cipher, domain, local)
        if rows or remotes:
            return rows, remotes
    if postmaster and (row := admin(txn, domain)) is not None:
        return [row], []
    return _targets(txn, cipher, domain, aliases.CATCH_ALL)


def admin(txn: Txn, domain: str) -> Row | None:
    """The oldest active admin, one of ``domain`` before others."""
    return txn.one(
        f"SELECT {_COLUMNS} {_FROM} WHERE a.role = 'admin' AND a.state = 'active'"
        " ORDER BY CASE WHEN d.name = ? THEN 0 ELSE 1 END, a.id LIMIT 1",
        (domain,),
    )


def _targets(txn: Txn, cipher: Cipher, domain: str, local: str) -> tuple[list[Row], list[str]]:
    rows = txn.all(
        f"SELECT {_COLUMNS} FROM alias_targets x JOIN accounts a ON a.id = x.account_id JOIN domains d ON d.id = a.domain_id"
        " WHERE x.alias_id = (SELECT l.id FROM aliases l JOIN domains n ON n.id = l.domain_id WHERE n.name = ? AND l.local = ?)"
        " AND a.state <> 'erased' ORDER BY a.id",
        (domain, local),
    )
    return rows, aliases.remotes(txn, cipher, domain, local)


def set_credentials(txn: Txn, id: int, sealed: bytes, guid: bytes) -> None:
    """Replace what the account logs in with; raises Missing."""
    _update(txn, id, "UPDATE accounts SET credentials = ?, credentials_guid = ? WHERE id = ? AND state <> 'erased'", (sealed, guid, id))
    end_sessions(txn, id)


def change_password(txn: Txn, id: int, sealed: bytes, guid: bytes) -> None:
    """As :func:`set_credentials`, for an account whose password opens no key; raises Missing."""
    where = "WHERE id = ? AND state <> 'erased' AND sealed <> 'server'"
    _update(txn, id, f"UPDATE accounts SET credentials = ?, credentials_guid = ? {where}", (sealed, guid, id))
    end_sessions(txn, id)


def set_quota(txn: Txn, id: int, quota: int | None) -> None:
    """Set the quota in octets (None: the configured default, 0: unlimited); raises Missing."""
    _update(txn, id, "UPDATE accounts SET quota = ? WHERE id = ? AND state <> 'erased'", (quota, id))


def set_state(txn: Txn, id: int, state: str) -> None:
    """Set the state to active or suspended; raises Missing."""
    _update(txn, id, "UPDATE accounts SET state = ? WHERE id = ? AND state IN ('active', 'suspended')", (state, id))
    if state != "active":
        end_sessions(txn, id)


def set_sealed(txn: Txn, id: int, mode: str) -> None:
    """Set who opens the account's mail: server, client, or "" for mail that is not sealed; raises Missing."""
    _update(txn, id, "UPDATE accounts SET sealed = ? WHERE id = ? AND state <> 'erased'", (mode, id))
    end_sessions(txn, id)


def set_client_held(txn: Txn, id: int, yes: bool) -> None:
    """The owner's own program opens the account's mail, or nothing is sealed any more; raises Missing, also for one that we hold."""
    sql = "UPDATE accounts SET sealed = ? WHERE id = ? AND state <> 'erased' AND sealed <> 'server'"
    _update(txn, id, sql, ("client" if yes else "", id))


def set_role(txn: Txn, id: int, role: str) -> None:
    """Set the role; raises Missing."""
    _update(txn, id, "UPDATE accounts SET role = ? WHERE id = ? AND state <> 'erased'", (role, id))


def _update(txn: Txn, id: int, sql: str, parameters: Sequence[Any]) -> None:
    if not txn.execute(sql, parameters):
        raise Missing("account", str(id))


def end_sessions(txn: Txn, id: int) -> None:
    """Those logged in must be no longer, on whatever node."""
    txn.publish(of_account(AccountChange(id, "sessions", entries=("here",))))


def note_logins(txn: Txn, logins: Iterable[tuple[int, int]]) -> None:
    """Keep (account id, seconds since 1970) as the accounts' last logins."""
    txn.executemany("UPDATE accounts SET last_login = ? WHERE id = ?", [(when, id) for id, when in logins])


def delete(txn: Txn, id: int, now: int) -> None:
    """No login and no delivery any more, but the address and the mail stay; raises Missing, also where it was so before."""
    _update(txn, id, "UPDATE accounts SET state = 'deleted', deleted = ? WHERE id = ? AND state IN ('active', 'suspended')", (now, id))
    end_sessions(txn, id)


def restore(txn: Txn, id: int) -> None:
    """Undo :func:`delete`: the account is active; raises Missing, also where it was condemned meanwhile."""
    _update(txn, id, "UPDATE accounts SET state = 'active', deleted = NULL WHERE id = ? AND state = 'deleted' AND deleted > 0", (id,))


def condemn(txn: Txn, id: int) -> None:
    """As :func:`delete`, with no grace and no way back: :func:`deleted` finds the account whatever the time. Raises Missing."""
    _update(txn, id, "UPDATE accounts SET state = 'deleted', deleted = 0 WHERE id = ? AND state <> 'erased'", (id,))
    end_sessions(txn, id)


def condemn_due(txn: Txn, id: int, before: int) -> None:
    """:func:`condemn` for an account that was deleted at this time or earlier; raises Missing where it was restored meanwhile."""
    _update(txn, id, "UPDATE accounts SET deleted = 0 WHERE id = ? AND state = 'deleted' AND deleted <= ?", (id, before))


def deleted(txn: Txn, before: int, limit: int) -> list[int]:
    """At most ``limit`` accounts that were deleted at this time or earlier, the earliest first."""
    sql = "SELECT id FROM accounts WHERE deleted IS NOT NULL AND deleted <= ? AND state = 'deleted' ORDER BY deleted, id LIMIT ?"
    return [int(id) for (id,) in txn.all(sql, (before, limit))]


def begin_deletion(txn: Txn, id: int) -> None:
    """Begin to erase: no login, no delivery, the name free; sessions learn that the mailboxes are gone.

    Raises Missing. The new local part has a character that no account name can have.
    """
    _update(
        txn,
        id,
        "UPDATE accounts SET state = 'erased', deleted = NULL, warning = 0, local = ? WHERE id = ? AND state <> 'erased'",
        (f"*deleted-{id}", id),
    )
    end_sessions(txn, id)
    txn.execute("DELETE FROM alias_targets WHERE account_id = ?", (id,))
    aliases.drop_empty(txn)
    for mailbox, modseq in txn.all("UPDATE mailboxes SET modseq = modseq + 1 WHERE account_id = ? RETURNING id, modseq", (id,)):
        txn.publish(Change(int(mailbox), int(modseq), gone=True))


def delete_slice(txn: Txn, id: int) -> bool:
    """Remove a slice of an account that is being erased; True when nothing of it is left."""
    mailbox = txn.one("SELECT id FROM mailboxes WHERE account_id = ? ORDER BY id LIMIT 1", (id,))
    if mailbox is not None:
        entries.purge(txn, int(mailbox[0]))
        return False
    if txn.execute("DELETE FROM waiting WHERE id IN (SELECT id FROM waiting WHERE account_id = ? ORDER BY id LIMIT ?)", (id, _WAITING)):
        return False
    hashes = txn.all("SELECT hash FROM threads WHERE account_id = ? ORDER BY hash LIMIT ?", (id, _SLICE))
    if hashes:
        txn.execute("DELETE FROM threads WHERE account_id = ? AND hash <= ?", (id, hashes[-1][0]))
        return False
    brought = txn.one("SELECT id FROM imports WHERE account_id = ? LIMIT 1", (id,))
    if brought is not None:
        imports.forget(txn, brought[0])
        return False
    txn.execute("DELETE FROM accounts WHERE id = ? AND state = 'erased'", (id,))
    return True


def unfinished(txn: Txn) -> list[int]:
    """The accounts whose erasure began and did not end."""
    return [int(row[0]) for row in txn.all("SELECT id FROM accounts WHERE state = 'erased' ORDER BY id")]

"""The attested keys of users: the rows of ``user_keys``. They are public; nothing is sealed.

Statements are never changed and never deleted: others check signatures on old mail with them. Each one enters the key
log of its domain in the same transaction.
"""

from attrs import frozen

from mailx.mail.log_leaf import Leaf
from mailx.store import Row, Txn, key_log
from mailx.store.names import Missing, lock


class Overtaken(Exception):
    """Somebody else attested keys of the address in between; nothing was written."""


@frozen
class Attested:
    """One attestation as it is written, with its entry for the key log. ``after`` is the serial before it, 0 for none."""

    address: str
    serial: int
    after: int
    domain: str
    account: int
    holder: str
    statement: bytes
    signer: bytes
    valid_until: int
    revoked: bool
    leaf: Leaf


def holders(txn: Txn) -> dict[int, str]:
    """Who keeps the keys, by account, of all accounts that have keys."""
    rows = txn.all("SELECT account_id, holder FROM user_keys WHERE latest = 1 AND revoked = 0")
    return {int(account): str(holder) for account, holder in rows}


def latest(txn: Txn, address: str) -> bytes | None:
    """The statement with the highest serial of ``address``."""
    row = txn.one("SELECT statement FROM user_keys WHERE address = ? AND latest = 1", (address,))
    return None if row is None else bytes(row[0])


def history(txn: Txn, address: str, limit: int) -> list[bytes]:
    """The last ``limit`` statements of ``address``, oldest first."""
    rows = txn.all("SELECT statement FROM user_keys WHERE address = ? ORDER BY serial DESC LIMIT ?", (address, limit))
    return [bytes(row[0]) for row in reversed(rows)]


def of_account(txn: Txn, account: int) -> list[bytes]:
    """The statements in force whose keys are those of ``account``."""
    return [
        bytes(row[0]) for row in txn.all("SELECT statement FROM user_keys WHERE account_id = ? AND latest = 1 AND revoked = 0", (account,))
    ]


def in_force(txn: Txn, address: str) -> list[Row]:
    """(account id, statement) of the keys in force of ``address``: one row or none."""
    return txn.all("SELECT account_id, statement FROM user_keys WHERE address = ? AND latest = 1 AND revoked = 0", (address,))


def add(txn: Txn, attested: Attested) -> None:
    """Keep an attestation of an account's keys. Raises Missing (the account is gone), Overtaken."""
    _lock(txn, attested)
    found = txn.one(
        "SELECT 1 FROM accounts a JOIN domains d ON d.id = a.domain_id"
        " WHERE a.id = ? AND a.state <> 'erased' AND d.name = ? AND a.local || '@' || d.name = ?",
        (attested.account, attested.domain, attested.address),
    )
    if found is None and not attested.revoked:
        raise Missing("account", attested.address)
    _insert(txn, attested)


def renew(txn: Txn, every: list[Attested]) -> int:
    """Keep those of ``every`` that nobody overtook; returns how many."""
    kept = 0
    for attested in every:
        try:
            add(txn, attested)
        except (Missing, Overtaken):
            continue
        kept += 1
    return kept


def due(txn: Txn, domain: str, signer: bytes, before: int, limit: int) -> list[Row]:
    """(account id, statement) of at most ``limit`` that end before ``before``, or that another key than ``signer`` signed."""
    return txn.all(
        "SELECT k.account_id, k.statement FROM user_keys k JOIN accounts a ON a.id = k.account_id AND a.state <> 'erased'"
        " WHERE k.domain = ? AND k.latest = 1 AND k.revoked = 0 AND (k.valid_until < ? OR k.signer <> ?) LIMIT ?",
        (domain, before, signer, limit),
    )


def orphans(txn: Txn, limit: int) -> list[Row]:
    """(account id, statement) of at most ``limit`` in force whose accounts are gone."""
    return txn.all(
        "SELECT k.account_id, k.statement FROM user_keys k JOIN domains d ON d.name = k.domain"
        " LEFT JOIN accounts a ON a.id = k.account_id AND a.state <> 'erased'"
        " WHERE k.latest = 1 AND k.revoked = 0 AND a.id IS NULL LIMIT ?",
        (limit,),
    )


def _lock(txn: Txn, attested: Attested) -> None:
    lock(txn, attested.domain)
    row = txn.one("SELECT serial FROM user_keys WHERE address = ? AND latest = 1", (attested.address,))
    if (0 if row is None else int(row[0])) != attested.after:
        raise Overtaken


def _insert(txn: Txn, attested: Attested) -> None:
    txn.execute("UPDATE user_keys SET latest = 0 WHERE address = ? AND latest = 1", (attested.address,))
    txn.execute(
        "INSERT INTO user_keys (address, serial, domain, account_id, holder, statement, signer, valid_until, revoked, latest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
        (
            attested.address,
            attested.serial,
            attested.domain,
            attested.account,
            attested.holder,
            attested.statement,
            attested.signer,
            attested.valid_until,
            int(attested.revoked),
        ),
    )
    key_log.append(txn, attested.domain, attested.leaf)

"""Aliases: names that reach one or several accounts; the local part ``*`` is a domain's catch-all."""

from collections.abc import Sequence

from mailx.store import Row, Txn
from mailx.store.names import Missing, claim, lock

CATCH_ALL = "*"


def add(txn: Txn, local: str, domain: str, account_ids: Sequence[int], now: int) -> None:
    """Make an alias of ``account_ids``; raises Missing (the domain, or an account that went) or Taken."""
    domain_id = lock(txn, domain)
    claim(txn, domain_id, local, domain)
    row = txn.one("INSERT INTO aliases (domain_id, local, created) VALUES (?, ?, ?) RETURNING id", (domain_id, local, now))
    assert row is not None
    for account_id in dict.fromkeys(account_ids):
        # A share of the row lock would do, but only an UPDATE is common to both engines: the account cannot go meanwhile.
        if not txn.execute("UPDATE accounts SET state = state WHERE id = ? AND state <> 'deleted'", (account_id,)):
            raise Missing("account", str(account_id))
        txn.execute("INSERT INTO alias_targets (alias_id, account_id) VALUES (?, ?)", (row[0], account_id))


def overview(txn: Txn, domain: str | None = None, account_id: int | None = None) -> list[Row]:
    """(local, domain, created, target local, target domain), one row a target, by name; of one domain or one account."""
    where = ""
    parameters: list[object] = []
    if domain is not None:
        where += " AND d.name = ?"
        parameters.append(domain)
    if account_id is not None:
        where += " AND l.id IN (SELECT alias_id FROM alias_targets WHERE account_id = ?)"
        parameters.append(account_id)
    return txn.all(
        "SELECT l.local, d.name, l.created, a.local, t.name FROM aliases l JOIN domains d ON d.id = l.domain_id"
        " JOIN alias_targets x ON x.alias_id = l.id JOIN accounts a ON a.id = x.account_id JOIN domains t ON t.id = a.domain_id"
        f" WHERE 1 = 1{where} ORDER BY d.name, l.local, t.name, a.local",
        parameters,
    )


def delete(txn: Txn, local: str, domain: str) -> None:
    """Remove the alias; raises Missing."""
    if not txn.execute("DELETE FROM aliases WHERE local = ? AND domain_id = (SELECT id FROM domains WHERE name = ?)", (local, domain)):
        raise Missing("alias", f"{local}@{domain}")


def drop_empty(txn: Txn) -> None:
    """Remove the aliases whose last target went with its account."""
    txn.execute("DELETE FROM aliases WHERE NOT EXISTS (SELECT 1 FROM alias_targets x WHERE x.alias_id = aliases.id)")

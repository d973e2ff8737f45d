"""Aliases: names that reach accounts, and addresses elsewhere; the local part ``*`` is a domain's catch-all.

Addresses elsewhere are correspondents: they are sealed, and found by keyed hash.
"""

from collections.abc import Iterable, Sequence

from attrs import frozen

from mailx.store import Row, Txn
from mailx.store.cipher import Cipher
from mailx.store.messages import scope
from mailx.store.names import Missing, claim, listed, lock

CATCH_ALL = "*"
_PURPOSE = b"alias"


@frozen
class Listed:
    """An alias with what it reaches."""

    local: str
    domain: str
    created: int
    accounts: tuple[tuple[str, str], ...]  # local, domain
    elsewhere: tuple[str, ...]


def add(txn: Txn, cipher: Cipher, local: str, domain: str, account_ids: Sequence[int], remotes: Sequence[str], now: int) -> None:
    """Make an alias of ``account_ids`` and of the addresses ``remotes``; raises Missing (the domain, or an account that went) or Taken."""
    domain_id = lock(txn, domain)
    claim(txn, domain_id, local, domain)
    row = txn.one("INSERT INTO aliases (domain_id, local, created) VALUES (?, ?, ?) RETURNING id", (domain_id, local, now))
    assert row is not None
    _insert(txn, cipher, int(row[0]), account_ids, remotes)


def replace(txn: Txn, cipher: Cipher, local: str, domain: str, account_ids: Sequence[int], remotes: Sequence[str]) -> None:
    """Let the alias reach ``account_ids`` and ``remotes`` only; raises Missing (the domain, the alias, or an account that went)."""
    row = txn.one("SELECT id FROM aliases WHERE local = ? AND domain_id = ?", (local, lock(txn, domain)))
    if row is None:
        raise Missing("alias", f"{local}@{domain}")
    for table in ("alias_targets", "alias_remotes"):
        txn.execute(f"DELETE FROM {table} WHERE alias_id = ?", (row[0],))
    _insert(txn, cipher, int(row[0]), account_ids, remotes)


def _insert(txn: Txn, cipher: Cipher, id: int, account_ids: Sequence[int], remotes: Sequence[str]) -> None:
    for account_id in dict.fromkeys(account_ids):
        # A share of the row lock would do, but only an UPDATE is common to both engines: the account cannot go meanwhile.
        if not txn.execute("UPDATE accounts SET state = state WHERE id = ? AND state <> 'erased'", (account_id,)):
            raise Missing("account", str(account_id))
        txn.execute("INSERT INTO alias_targets (alias_id, account_id) VALUES (?, ?)", (id, account_id))
    within = scope(id)
    for remote in remotes:
        hash = cipher.hash(_PURPOSE, within, remote.lower().encode())
        txn.execute(
            "INSERT INTO alias_remotes (alias_id, hash, sealed) VALUES (?, ?, ?) ON CONFLICT (alias_id, hash) DO NOTHING",
            (id, hash, cipher.seal(_PURPOSE, within + hash, remote.encode())),
        )


def remotes(txn: Txn, cipher: Cipher, domain: str, local: str) -> list[str]:
    """The addresses elsewhere that the alias reaches, sorted; none if there is no such alias."""
    rows = txn.all(
        "SELECT alias_id, hash, sealed FROM alias_remotes"
        " WHERE alias_id = (SELECT l.id FROM aliases l JOIN domains n ON n.id = l.domain_id WHERE n.name = ? AND l.local = ?)",
        (domain, local),
    )
    return sorted(address for _, address in _opened(cipher, rows))


def overview(txn: Txn, domain: str | None = None, account_id: int | None = None) -> list[Row]:
    """(local, domain, created, target local, target domain), one row a target account, by name; of one domain or one account.

    An alias without accounts has one row, with None for the target.
    """
    where, parameters = _where(domain)
    if account_id is not None:
        where += " AND l.id IN (SELECT alias_id FROM alias_targets WHERE account_id = ?)"
        parameters.append(account_id)
    return txn.all(
        "SELECT l.local, d.name, l.created, a.local, t.name FROM aliases l JOIN domains d ON d.id = l.domain_id"
        " LEFT JOIN alias_targets x ON x.alias_id = l.id LEFT JOIN accounts a ON a.id = x.account_id"
        " LEFT JOIN domains t ON t.id = a.domain_id"
        f" WHERE 1 = 1{where} ORDER BY d.name, l.local, t.name, a.local",
        parameters,
    )


def elsewhere(txn: Txn, cipher: Cipher, domain: str | None = None) -> list[tuple[str, str, str]]:
    """(local, domain, address) for every address elsewhere that an alias reaches, sorted; of one domain or of all."""
    where, parameters = _where(domain)
    rows = txn.all(
        "SELECT l.id, l.local, d.name, x.hash, x.sealed FROM alias_remotes x JOIN aliases l ON l.id = x.alias_id"
        f" JOIN domains d ON d.id = l.domain_id WHERE 1 = 1{where}",
        parameters,
    )
    names = {int(id): (str(local), str(name)) for id, local, name, _, _ in rows}
    return sorted((*names[id], address) for id, address in _opened(cipher, [(id, hash, sealed) for id, _, _, hash, sealed in rows]))


def page(txn: Txn, cipher: Cipher, domain: str | None, text: str, after: tuple[str, str], limit: int) -> list[Listed]:
    """At most ``limit`` aliases behind ``after`` (domain, local), by domain and name; those whose addresses have ``text`` in them."""
    conditions, parameters = listed("l", domain, text, after)
    names = txn.all(
        f"SELECT l.id, l.local, d.name, l.created FROM domains d CROSS JOIN aliases l WHERE l.domain_id = d.id{conditions}"
        " ORDER BY d.name, l.local LIMIT ?",
        [*parameters, limit],
    )
    return _listed(txn, cipher, names)


def one(txn: Txn, cipher: Cipher, local: str, domain: str) -> Listed | None:
    """The alias, or None."""
    names = txn.all(
        "SELECT l.id, l.local, d.name, l.created FROM aliases l JOIN domains d ON d.id = l.domain_id WHERE d.name = ? AND l.local = ?",
        (domain, local),
    )
    return next(iter(_listed(txn, cipher, names)), None)


def _listed(txn: Txn, cipher: Cipher, names: Sequence[Row]) -> list[Listed]:
    """The aliases of rows (id, local, domain, created)."""
    if not names:
        return []
    ids = [int(row[0]) for row in names]
    among = f"alias_id IN ({', '.join('?' * len(ids))})"
    reached: dict[int, list[tuple[str, str]]] = {id: [] for id in ids}
    for id, local, name in txn.all(
        "SELECT x.alias_id, a.local, t.name FROM alias_targets x JOIN accounts a ON a.id = x.account_id"
        f" JOIN domains t ON t.id = a.domain_id WHERE x.{among} AND a.state <> 'erased' ORDER BY t.name, a.local",
        ids,
    ):
        reached[int(id)].append((str(local), str(name)))
    elsewhere: dict[int, list[str]] = {id: [] for id in ids}
    for id, address in _opened(cipher, txn.all(f"SELECT alias_id, hash, sealed FROM alias_remotes WHERE {among}", ids)):
        elsewhere[int(id)].append(address)
    return [
        Listed(str(local), str(name), int(created), tuple(reached[int(id)]), tuple(sorted(elsewhere[int(id)])))
        for id, local, name, created in names
    ]


def delete(txn: Txn, local: str, domain: str) -> None:
    """Remove the alias; raises Missing."""
    if not txn.execute("DELETE FROM aliases WHERE local = ? AND domain_id = (SELECT id FROM domains WHERE name = ?)", (local, domain)):
        raise Missing("alias", f"{local}@{domain}")


def drop_empty(txn: Txn) -> None:
    """Remove the aliases whose last target went with its account."""
    txn.execute(
        "DELETE FROM aliases WHERE NOT EXISTS (SELECT 1 FROM alias_targets x WHERE x.alias_id = aliases.id)"
        " AND NOT EXISTS (SELECT 1 FROM alias_remotes y WHERE y.alias_id = aliases.id)"
    )


def _where(domain: str | None) -> tuple[str, list[object]]:
    return ("", []) if domain is None else (" AND d.name = ?", [domain])


def _opened(cipher: Cipher, rows: Iterable[Row]) -> list[tuple[int, str]]:
    """(alias id, address) of rows (alias id, hash, sealed)."""
    return [(int(id), cipher.open(_PURPOSE, scope(int(id)) + bytes(hash), bytes(sealed)).decode()) for id, hash, sealed in rows]

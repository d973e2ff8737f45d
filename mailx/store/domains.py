"""Local domains: the rows of ``domains``."""

from mailx.store import Row, Txn
from mailx.store.names import Missing, Taken, containing, lock

_OVERVIEW = (
    "SELECT d.name, d.created,"
    " (SELECT count(*) FROM accounts a WHERE a.domain_id = d.id AND a.state <> 'erased'),"
    " (SELECT count(*) FROM aliases l WHERE l.domain_id = d.id)"
    " FROM domains d"
)


class InUse(Exception):
    """The domain still has ``accounts`` accounts and ``aliases`` aliases."""

    def __init__(self, accounts: int, aliases: int) -> None:
        super().__init__(f"{accounts} accounts, {aliases} aliases")
        self.accounts = accounts
        self.aliases = aliases


def add(txn: Txn, name: str, now: int) -> None:
    """Make the domain ``name``; raises Taken."""
    if txn.one("INSERT INTO domains (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING RETURNING id", (name, now)) is None:
        raise Taken("domain", name)


def names(txn: Txn) -> list[str]:
    """The names of all domains."""
    return [str(row[0]) for row in txn.all("SELECT name FROM domains")]


def overview(txn: Txn) -> list[Row]:
    """(name, created, accounts, aliases) of every domain, by name."""
    return txn.all(f"{_OVERVIEW} ORDER BY d.name")


def page(txn: Txn, text: str, after: str, limit: int) -> list[Row]:
    """As :func:`overview`, at most ``limit`` of those behind ``after`` with ``text`` in their names."""
    return txn.all(f"{_OVERVIEW} WHERE d.name > ? AND d.name LIKE ? ESCAPE '!' ORDER BY d.name LIMIT ?", (after, containing(text), limit))


def one(txn: Txn, name: str) -> Row | None:
    """As :func:`overview`, of the domain ``name``; None when there is none."""
    return txn.one(f"{_OVERVIEW} WHERE d.name = ?", (name,))


def delete(txn: Txn, name: str) -> None:
    """Remove an empty domain; raises Missing, or InUse while it has accounts or aliases."""
    id = lock(txn, name)
    accounts = txn.one("SELECT count(*) FROM accounts WHERE domain_id = ?", (id,))
    aliases = txn.one("SELECT count(*) FROM aliases WHERE domain_id = ?", (id,))
    if accounts is None or aliases is None:
        raise Missing("domain", name)
    if accounts[0] or aliases[0]:
        raise InUse(int(accounts[0]), int(aliases[0]))
    txn.execute("DELETE FROM domains WHERE id = ?", (id,))

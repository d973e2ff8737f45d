"""Keys that sign what goes out: the rows of ``dkim_keys``.

The private half is sealed before it comes here. States: ``next`` (to be published), ``active`` (signs), ``retired``
(signs no more, stays published until what it signed has arrived).
"""

from collections.abc import Sequence

from mailx.store import Row, Txn
from mailx.store.names import Missing, Taken, lock

NEXT, ACTIVE, RETIRED = "next", "active", "retired"

_COLUMNS = "d.name, k.selector, k.algorithm, k.state, k.public, k.created, k.activated, k.retired"


class Wrong(Exception):
    """The keys are not in a state in which this could be done; ``state`` tells what is in the way, "" that nothing is there."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


def active(txn: Txn) -> list[Row]:
    """(domain, id) of every key that signs."""
    return txn.all("SELECT d.name, k.id FROM dkim_keys k JOIN domains d ON d.id = k.domain_id WHERE k.state = 'active' ORDER BY k.id")


def private(txn: Txn, domain: str) -> list[Row]:
    """(id, selector, algorithm, sealed private half) of the keys that sign for ``domain``."""
    return txn.all(
        "SELECT k.id, k.selector, k.algorithm, k.private FROM dkim_keys k JOIN domains d ON d.id = k.domain_id"
        " WHERE d.name = ? AND k.state = 'active' ORDER BY k.id",
        (domain,),
    )


def overview(txn: Txn, domain: str | None) -> list[Row]:
    """(domain, selector, algorithm, state, public, created, activated, retired) of each key of ``domain``, or of all."""
    joined = f"SELECT {_COLUMNS} FROM dkim_keys k JOIN domains d ON d.id = k.domain_id"
    if domain is None:
        return txn.all(f"{joined} ORDER BY d.name, k.id")
    if txn.one("SELECT 1 FROM domains WHERE name = ?", (domain,)) is None:
        raise Missing("domain", domain)
    return txn.all(f"{joined} WHERE d.name = ? ORDER BY k.id", (domain,))


def add(txn: Txn, domain: str, keys: Sequence[tuple[str, str, bytes, str]], now: int) -> None:
    """Keep ``keys`` (selector, algorithm, sealed private half, public half) as the next ones.

    Raises Missing, Taken, Wrong (there are next ones already).
    """
    domain_id = lock(txn, domain)
    if txn.one("SELECT 1 FROM dkim_keys WHERE domain_id = ? AND state = 'next'", (domain_id,)):
        raise Wrong(NEXT)
    for selector, algorithm, sealed, public in keys:
        made = txn.one(
            "INSERT INTO dkim_keys (domain_id, selector, algorithm, state, private, public, created) VALUES (?, ?, ?, 'next', ?, ?, ?)"
            " ON CONFLICT (domain_id, selector) DO NOTHING RETURNING id",
            (domain_id, selector, algorithm, sealed, public, now),
        )
        if made is None:
            raise Taken("selector", selector)


def activate(txn: Txn, domain: str, now: int) -> None:
    """The next keys sign from now on, those that did until now are retired; raises Missing, Wrong (there are no next ones)."""
    domain_id = lock(txn, domain)
    if txn.one("SELECT 1 FROM dkim_keys WHERE domain_id = ? AND state = 'next'", (domain_id,)) is None:
        raise Wrong("")
    txn.execute("UPDATE dkim_keys SET state = 'retired', retired = ? WHERE domain_id = ? AND state = 'active'", (now, domain_id))
    txn.execute("UPDATE dkim_keys SET state = 'active', activated = ? WHERE domain_id = ? AND state = 'next'", (now, domain_id))


def retire(txn: Txn, domain: str, selector: str, now: int) -> None:
    """The key signs no more; raises Missing, Wrong (it did not sign)."""
    id, state, _ = _find(txn, domain, selector)
    if state != ACTIVE:
        raise Wrong(state)
    txn.execute("UPDATE dkim_keys SET state = 'retired', retired = ? WHERE id = ?", (now, id))


def delete(txn: Txn, domain: str, selector: str, retired_before: int) -> None:
    """Forget a key; raises Missing, Wrong ("active", or "retired" after ``retired_before``)."""
    id, state, retired = _find(txn, domain, selector)
    if state == ACTIVE or (state == RETIRED and retired is not None and retired > retired_before):
        raise Wrong(state)
    txn.execute("DELETE FROM dkim_keys WHERE id = ?", (id,))


def _find(txn: Txn, domain: str, selector: str) -> tuple[int, str, int | None]:
    row = txn.one("SELECT id, state, retired FROM dkim_keys WHERE domain_id = ? AND selector = ?", (lock(txn, domain), selector))
    if row is None:
        raise Missing("key", f"{selector} of {domain}")
    return int(row[0]), row[1], None if row[2] is None else int(row[2])

"""The keys of our own domains: the rows of ``domain_keys`` and ``domain_secrets``.

Private halves and secrets are sealed before they come here. Statements are never changed; a row goes only when a backup
or a recovery key replaces a history as a whole. Each new key enters the key log in the same transaction.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.mail.log_leaf import Leaf
from mailx.store import Row, Txn, key_log
from mailx.store.names import Missing, lock


class Overtaken(Exception):
    """Somebody else changed the keys of the domain in between; nothing was written."""


@frozen
class KeyRow:
    """One key with its statement, and its entries for the key log."""

    serial: int
    public: bytes
    statement: bytes
    created: int
    private: bytes | None
    leaves: tuple[Leaf, ...] = ()


@frozen
class Latest:
    """The current key of a domain, as it is seen whether it changed."""

    serial: int  # 0: there is none
    public: bytes
    private: bytes | None


def every(txn: Txn, domain: str | None = None) -> tuple[list[Row], list[Row]]:
    """Of ``domain``, or of all local domains: (domain, statement, private) of each key, by serial, and (domain, sealed log secret)."""
    only, names = ("", ()) if domain is None else (" AND d.name = ?", (domain,))
    keys = txn.all(
        f"SELECT k.domain, k.statement, k.private FROM domain_keys k JOIN domains d ON d.name = k.domain{only} ORDER BY k.domain, k.serial",
        names,
    )
    return keys, txn.all(f"SELECT s.domain, s.secret FROM domain_secrets s JOIN domains d ON d.name = s.domain{only}", names)


def latest(txn: Txn) -> dict[str, Latest]:
    """The current key of each local domain."""
    rows = txn.all(
        "SELECT d.name, k.serial, k.public, k.private FROM domains d LEFT JOIN domain_keys k ON k.domain = d.name"
        " AND k.serial = (SELECT max(o.serial) FROM domain_keys o WHERE o.domain = d.name)"
    )
    return {
        str(name): Latest(int(serial or 0), bytes(public or b""), None if private is None else bytes(private))
        for name, serial, public, private in rows
    }


def begin(txn: Txn, domain: str, key: KeyRow, secret: bytes) -> bool:
    """Keep the first key of ``domain`` and its log secret; False if it has a key. Raises Missing."""
    lock(txn, domain)
    if txn.one("SELECT 1 FROM domain_keys WHERE domain = ?", (domain,)) is not None:
        return False
    txn.execute("INSERT INTO domain_secrets (domain, secret) VALUES (?, ?) ON CONFLICT (domain) DO NOTHING", (domain, secret))
    _insert(txn, domain, key)
    return True


def add(txn: Txn, domain: str, after: int, key: KeyRow, erased: Sequence[int]) -> None:
    """Keep the key that follows the one with the serial ``after``, and erase private halves. Raises Missing, Overtaken."""
    lock(txn, domain)
    _expect(txn, domain, after)
    _insert(txn, domain, key)
    for serial in erased:
        txn.execute("UPDATE domain_keys SET private = NULL WHERE domain = ? AND serial = ?", (domain, serial))


def erase(txn: Txn, domain: str, erased: Sequence[tuple[int, bytes]]) -> None:
    """Forget the private halves of the keys with these serials and public halves; others may stand at the serials by now."""
    for serial, public in erased:
        txn.execute("UPDATE domain_keys SET private = NULL WHERE domain = ? AND serial = ? AND public = ?", (domain, serial, public))


def replace(txn: Txn, domain: str, after: int, keys: Sequence[KeyRow], secret: bytes | None) -> None:
    """Keep ``keys`` in place of the whole history, and ``secret`` unless it is None. Raises Missing, Overtaken."""
    lock(txn, domain)
    _expect(txn, domain, after)
    txn.execute("DELETE FROM domain_keys WHERE domain = ?", (domain,))
    if secret is not None:
        txn.execute(
            "INSERT INTO domain_secrets (domain, secret) VALUES (?, ?) ON CONFLICT (domain) DO UPDATE SET secret = excluded.secret",
            (domain, secret),
        )
    for key in keys:
        _insert(txn, domain, key)


def _expect(txn: Txn, domain: str, serial: int) -> None:
    row = txn.one("SELECT max(serial) FROM domain_keys WHERE domain = ?", (domain,))
    if int((row[0] if row else 0) or 0) != serial:
        raise Overtaken


def _insert(txn: Txn, domain: str, key: KeyRow) -> None:
    txn.execute(
        "INSERT INTO domain_keys (domain, serial, public, statement, created, private) VALUES (?, ?, ?, ?, ?, ?)",
        (domain, key.serial, key.public, key.statement, key.created, key.private),
    )
    for leaf in key.leaves:
        key_log.append(txn, domain, leaf)


__all__ = ["KeyRow", "Latest", "Missing", "Overtaken", "add", "begin", "erase", "every", "latest", "replace"]

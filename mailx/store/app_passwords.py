"""App passwords: further passwords of an account, for one mail program each, found by a keyed hash.

Each has a public key made of it, so that the key of a sealed account can be wrapped for it while nobody knows the password.
"""

from attrs import frozen

from mailx.store import Row, Txn, clock
from mailx.store.accounts import end_sessions
from mailx.store.cipher import Cipher
from mailx.store.messages import scope
from mailx.store.names import Missing, Taken

LIMIT = 50  # of one account

_PURPOSE = b"app password"
_COLUMNS = "id, account_id, guid, name, created, used"


@frozen
class AppPassword:
    """One of them, as its owner may see it. Times are seconds since 1970."""

    id: int
    account: int
    name: str
    created: int
    used: int | None


@frozen
class Found:
    """What a login that gave one needs."""

    id: int
    salt: bytes
    wrapped: bytes | None


class Full(Exception):
    """The account has LIMIT of them."""


def digest(cipher: Cipher, account: int, secret: bytes) -> bytes:
    """By which a password is found; ``secret`` is it as it is compared."""
    return cipher.hash(_PURPOSE, scope(account), secret)


def add(
    txn: Txn, cipher: Cipher, account: int, name: str, hash: bytes, guid: bytes, salt: bytes, public: bytes, wrapped: bytes | None, now: int
) -> AppPassword:
    """Keep a new one; raises Taken, Full, Missing (the account went or was sealed or opened meanwhile)."""
    row = txn.one("SELECT sealed FROM accounts WHERE id = ? AND state <> 'erased'", (account,))
    if row is None or (row[0] == "server") != (wrapped is not None):
        raise Missing("account", str(account))
    held = every(txn, cipher, account)
    if any(each.name == name for each in held):
        raise Taken("app password", name)
    if len(held) >= LIMIT:
        raise Full
    made = txn.one(
        "INSERT INTO app_passwords (account_id, hash, guid, name, salt, public, wrapped, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (account, hash, guid, cipher.seal(_PURPOSE, guid, name.encode()), salt, public, wrapped, now),
    )
    assert made is not None
    return AppPassword(int(made[0]), account, name, now, None)


def every(txn: Txn, cipher: Cipher, account: int) -> list[AppPassword]:
    """Those of an account, older ones first."""
    rows = txn.all(f"SELECT {_COLUMNS} FROM app_passwords WHERE account_id = ? ORDER BY id", (account,))
    return [_shown(cipher, row) for row in rows]


def find(txn: Txn, account: int, hash: bytes) -> Found | None:
    """The one with this hash; None if there is none."""
    row = txn.one("SELECT id, salt, wrapped FROM app_passwords WHERE account_id = ? AND hash = ?", (account, hash))
    return None if row is None else Found(row[0], bytes(row[1]), None if row[2] is None else bytes(row[2]))


def there(txn: Txn, id: int) -> bool:
    """Whether it was not revoked."""
    return txn.one("SELECT 1 FROM app_passwords WHERE id = ?", (id,)) is not None


def note_used(txn: Txn, id: int) -> None:
    """It was logged in with now; kept to the hour, which is enough to tell what nobody uses."""
    now = clock(txn)
    txn.execute(f"UPDATE app_passwords SET used = {now} WHERE id = ? AND (used IS NULL OR used < {now} - 3600)", (id,))


def revoke(txn: Txn, cipher: Cipher, account: int, name: str) -> None:
    """Remove one; raises Missing."""
    for each in every(txn, cipher, account):
        if each.name == name:
            txn.execute("DELETE FROM app_passwords WHERE id = ?", (each.id,))
            end_sessions(txn, account)
            return
    raise Missing("app password", name)


def _shown(cipher: Cipher, row: Row) -> AppPassword:
    id, account, guid, name, created, used = row
    return AppPassword(id, account, cipher.open(_PURPOSE, bytes(guid), bytes(name)).decode(), created, used)

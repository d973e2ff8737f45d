"""Block lists: the senders an account does not want mail from. Addresses are sealed and found by keyed hash."""

from mailx.store import Txn
from mailx.store.cipher import Cipher
from mailx.store.messages import scope
from mailx.store.names import Missing, Taken

_PURPOSE = b"block"
LIMIT = 10000  # blocks of one account


class Full(Exception):
    """The account has LIMIT blocks already."""


def digest(cipher: Cipher, account_id: int, pattern: str) -> bytes:
    """The hash under which ``pattern`` (``local@domain`` or ``@domain``, lower case) is kept."""
    return cipher.hash(_PURPOSE, scope(account_id), pattern.encode())


def add(txn: Txn, cipher: Cipher, account_id: int, pattern: str, now: int) -> None:
    """Block ``pattern``; raises Taken if it is blocked already, Full at the limit."""
    count = txn.one("SELECT count(*) FROM blocks WHERE account_id = ?", (account_id,))
    if count is not None and count[0] >= LIMIT:
        raise Full
    hash = digest(cipher, account_id, pattern)
    sealed = cipher.seal(_PURPOSE, scope(account_id) + hash, pattern.encode())
    if not txn.execute(
        "INSERT INTO blocks (account_id, hash, sealed, created) VALUES (?, ?, ?, ?) ON CONFLICT (account_id, hash) DO NOTHING",
        (account_id, hash, sealed, now),
    ):
        raise Taken("block", pattern)


def patterns(txn: Txn, cipher: Cipher, account_id: int) -> list[tuple[str, int]]:
    """(pattern, created) of every block, by pattern."""
    rows = txn.all("SELECT hash, sealed, created FROM blocks WHERE account_id = ?", (account_id,))
    context = scope(account_id)
    return sorted((cipher.open(_PURPOSE, context + bytes(hash), bytes(sealed)).decode(), int(created)) for hash, sealed, created in rows)


def hashes(txn: Txn, account_id: int) -> frozenset[bytes]:
    """The hashes of every block: what deliveries compare."""
    return frozenset(bytes(row[0]) for row in txn.all("SELECT hash FROM blocks WHERE account_id = ?", (account_id,)))


def delete(txn: Txn, cipher: Cipher, account_id: int, pattern: str) -> None:
    """Remove a block; raises Missing."""
    if not txn.execute("DELETE FROM blocks WHERE account_id = ? AND hash = ?", (account_id, digest(cipher, account_id, pattern))):
        raise Missing("block", pattern)

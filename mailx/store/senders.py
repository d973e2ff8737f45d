"""Senders of forwarded mail whose rewritten address cannot hold them (:mod:`mailx.core.srs`), kept until no bounce can come any more."""

from mailx.store import Txn
from mailx.store.cipher import Cipher

_PURPOSE = b"sender"
_SLICE = 1000  # rows removed with one that is added


def digest(cipher: Cipher, address: str) -> bytes:
    """The hash under which ``address`` is kept."""
    return cipher.hash(_PURPOSE, b"", address.encode())


def keep(txn: Txn, cipher: Cipher, address: str, now: int, expires: int) -> None:
    """Keep ``address`` until ``expires``; what expired before ``now`` goes. Times are seconds since 1970."""
    txn.execute("DELETE FROM senders WHERE hash IN (SELECT hash FROM senders WHERE expires < ? ORDER BY expires LIMIT ?)", (now, _SLICE))
    hash = digest(cipher, address)
    txn.execute(
        "INSERT INTO senders (hash, sealed, expires) VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE SET expires = excluded.expires",
        (hash, cipher.seal(_PURPOSE, hash, address.encode()), expires),
    )


def find(txn: Txn, cipher: Cipher, hash: bytes) -> str | None:
    """The address kept under ``hash``, or None."""
    row = txn.one("SELECT sealed FROM senders WHERE hash = ?", (hash,))
    return None if row is None else cipher.open(_PURPOSE, hash, bytes(row[0])).decode()

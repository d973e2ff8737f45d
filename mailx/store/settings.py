"""Settings that administrators changed while the server ran: the rows of ``settings``, sealed values by plain key."""

from collections.abc import Mapping

from mailx.store import Txn


class Overtaken(Exception):
    """Somebody else changed settings meanwhile: look again."""


def rows(txn: Txn) -> dict[str, bytes]:
    """Every sealed value by its key."""
    return {key: bytes(sealed) for key, sealed in txn.all("SELECT key, sealed FROM settings ORDER BY key")}


def save(txn: Txn, known: Mapping[str, bytes], changes: Mapping[str, bytes | None]) -> None:
    """Put ``changes`` (None: remove) over what is there, which must be ``known``; raises Overtaken."""
    if rows(txn) != known:
        raise Overtaken
    for key, sealed in changes.items():
        if sealed is None:
            txn.execute("DELETE FROM settings WHERE key = ?", (key,))
        else:
            txn.execute(
                "INSERT INTO settings (key, sealed) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET sealed = excluded.sealed", (key, sealed)
            )

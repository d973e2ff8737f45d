"""The templates of mail that an administrator has written, each by the type of call it is for."""

from mailx.store import Txn


def every(txn: Txn) -> list[tuple[str, bytes]]:
    """Type and sealed content of each."""
    return [(type, bytes(content)) for type, content in txn.all("SELECT type, content FROM templates ORDER BY type")]


def put(txn: Txn, type: str, content: bytes) -> None:
    """Keep ``content`` (sealed) for ``type``."""
    txn.execute(
        "INSERT INTO templates (type, content) VALUES (?, ?) ON CONFLICT (type) DO UPDATE SET content = excluded.content", (type, content)
    )


def drop(txn: Txn, type: str) -> None:
    """Forget what there is for ``type``."""
    txn.execute("DELETE FROM templates WHERE type = ?", (type,))

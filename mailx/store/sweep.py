"""The sweep's jobs: messages that lost their last reference, and the names of files that messages use.

A row goes first, its file after the commit; a crash between the two leaves an orphan file, which the sweep at the
next start removes.
"""

from mailx.store import Txn


def remove_unreferenced(txn: Txn, limit: int) -> tuple[int, list[str]]:
    """Remove at most ``limit`` messages without references.

    Returns how many there were, and the files to unlink after the commit.
    """
    rows = txn.all(
        "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE refs = 0 ORDER BY id LIMIT ?) AND refs = 0 RETURNING file",
        (limit,),
    )
    files = {str(file) for (file,) in rows if file is not None}
    # A copy in another account's mailbox has the same file.
    kept = {file for file in files if txn.one("SELECT 1 FROM messages WHERE file = ?", (file,)) is not None}
    return len(rows), sorted(files - kept)


def referenced_files(txn: Txn, after: str, limit: int) -> list[str]:
    """At most ``limit`` names of files above ``after``, in order: of messages, and of those that wait for their owner."""
    sql = "SELECT file FROM messages WHERE file > ? UNION SELECT file FROM waiting WHERE file > ? ORDER BY file LIMIT ?"
    return [str(name) for (name,) in txn.all(sql, (after, after, limit))]


def abandoned(txn: Txn, file: str) -> bool:
    """Whether no message names ``file``, and none will: asked after a delivery with it failed.

    On SQLite a failed write is over. On PostgreSQL a COMMIT whose answer was lost may still come to pass, so that only
    the sweep, much later, can tell.
    """
    if txn.dialect != "sqlite":
        return False
    return txn.one("SELECT 1 FROM messages WHERE file = ? UNION SELECT 1 FROM waiting WHERE file = ?", (file, file)) is None

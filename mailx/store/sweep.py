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
    return len(rows), [str(file) for (file,) in rows if file is not None]


def referenced_files(txn: Txn, after: str, limit: int) -> list[str]:
    """At most ``limit`` names of files above ``after``, in order."""
    return [str(name) for (name,) in txn.all("SELECT file FROM messages WHERE file > ? ORDER BY file LIMIT ?", (after, limit))]

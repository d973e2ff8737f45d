"""How far the search index has come with accounts that it follows one by one: jobs on the database of the index.

An account whose segments its owner's vault key seals has a row for as long as they are there. An ordinary one has a row
only while it is caught up with, after it was sealed. All others are followed together (``segments.State``).
"""

from collections.abc import Collection, Sequence

from attrs import evolve, frozen

from mailx.store import Txn, segments
from mailx.store.segments import Overtaken, Sealed


@frozen
class Followed:
    """How far one account is."""

    account: int
    position: int  # every message of it up to this id was looked at
    vault: bytes  # as ``segments.mark``; empty: an ordinary one


def one(txn: Txn, account: int) -> Followed | None:
    """How far the account is; None if it is not followed by itself."""
    row = txn.one("SELECT account_id, position, vault FROM index_accounts WHERE account_id = ?", (account,))
    return None if row is None else Followed(row[0], row[1], bytes(row[2]))


def some(txn: Txn, after: int, limit: int) -> list[Followed]:
    """At most ``limit`` accounts above ``after`` that are followed by themselves, rising."""
    sql = "SELECT account_id, position, vault FROM index_accounts WHERE account_id > ? ORDER BY account_id LIMIT ?"
    return [Followed(account, position, bytes(vault)) for account, position, vault in txn.all(sql, (after, limit))]


def positions(txn: Txn, accounts: Collection[int]) -> dict[int, int]:
    """How far those of ``accounts`` are that are followed by themselves."""
    sql = f"SELECT account_id, position FROM index_accounts WHERE account_id IN ({', '.join('?' * len(accounts))})"
    return dict(txn.all(sql, [*accounts]))


def begin(txn: Txn, new: Followed) -> None:
    """Follow an account, of which the index has nothing; raises Overtaken."""
    if segments.state(txn).position == segments.CLEARING or segments.places(txn, new.account):
        raise Overtaken
    if not txn.execute(
        "INSERT INTO index_accounts (account_id, position, vault) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (new.account, new.position, new.vault),
    ):
        raise Overtaken


def advance(txn: Txn, before: Followed, position: int, made: Sequence[Sealed]) -> Followed:
    """Store the segments ``made`` and move on to ``position``; raises Overtaken."""
    moved = txn.execute(
        "UPDATE index_accounts SET position = ? WHERE account_id = ? AND position = ? AND vault = ?",
        (position, before.account, before.position, before.vault),
    )
    if not moved:
        raise Overtaken
    segments.insert(txn, made)
    return evolve(before, position=position)


def end(txn: Txn, account: int) -> None:
    """The account is followed with all others."""
    txn.execute("DELETE FROM index_accounts WHERE account_id = ? AND vault = ?", (account, b""))

"""When and from where accounts logged in: a sealed row for each hour, place and way, dropped by age.

A program that logs in every minute is one row an hour with a count, so the log stays small.
"""

import json
from collections.abc import Sequence

from attrs import frozen

from mailx.store import Txn
from mailx.store.cipher import Cipher
from mailx.store.messages import scope

_PURPOSE = b"login"
_HOUR = 3600


@frozen
class Login:
    """Logins of an account from one address by one mechanism within an hour. Times are seconds since 1970."""

    account: int
    address: str
    mechanism: str
    first: int
    last: int
    count: int


def note(txn: Txn, cipher: Cipher, logins: Sequence[Login]) -> None:
    """Add to what is kept; of accounts that are gone nothing is."""
    for one in logins:
        what = json.dumps([one.address, one.mechanism]).encode()
        hash = cipher.hash(_PURPOSE, scope(one.account), what)
        context = scope(one.account) + hash
        txn.execute(
            "INSERT INTO logins (account_id, hour, hash, first, last, count, sealed)"
            " SELECT id, ?, ?, ?, ?, ?, ? FROM accounts WHERE id = ?"
            " ON CONFLICT (account_id, hour, hash) DO UPDATE SET count = logins.count + excluded.count, last = excluded.last",
            (one.first // _HOUR, hash, one.first, one.last, one.count, cipher.seal(_PURPOSE, context, what), one.account),
        )


def of_account(txn: Txn, cipher: Cipher, account: int) -> list[Login]:
    """All that is kept of an account, the oldest first."""
    rows = txn.all("SELECT hash, first, last, count, sealed FROM logins WHERE account_id = ? ORDER BY hour, first", (account,))
    found = []
    for hash, first, last, count, sealed in rows:
        address, mechanism = json.loads(cipher.open(_PURPOSE, scope(account) + bytes(hash), bytes(sealed)))
        found.append(Login(account, address, mechanism, int(first), int(last), int(count)))
    return found


def prune(txn: Txn, before: int, limit: int) -> int:
    """Drop at most ``limit`` rows of hours before this time; returns how many."""
    return txn.execute(
        "DELETE FROM logins WHERE (account_id, hour, hash) IN (SELECT account_id, hour, hash FROM logins WHERE hour < ? LIMIT ?)",
        (before // _HOUR, limit),
    )

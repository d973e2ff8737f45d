"""The keys of sealed accounts as they are stored: public halves, the sealed bundle of the private ones, and the wraps.

Nothing here opens anything: a wrap holds the account key under one credential of the owner, the bundle holds the private
keys under the account key. What a sealed account logs in with and what wraps its key change in one transaction.
"""

from collections.abc import Callable, Collection, Sequence

from attrs import frozen

from mailx.store import Row, Txn, accounts
from mailx.store.names import Missing

PASSWORD = "password"
RECOVERY = "recovery"

SEALING = "sealing"  # states: mail that was here before is being sealed
SEALED = "sealed"
OPENING = "opening"  # on its way back to an ordinary account

_KEYS = "account_id, sealing, signing, bundle, state, position, bound"


@frozen
class Keys:
    """One account's row."""

    account: int
    sealing: bytes  # public
    signing: bytes  # public
    bundle: bytes
    state: str
    position: int = 0
    bound: bool = False


@frozen
class Wrap:
    """The account key under one credential; ``cost`` says how the secret becomes a key."""

    kind: str
    salt: bytes
    cost: str
    wrapped: bytes


@frozen
class Login:
    """What an account logs in with: sealed verifiers and the octets that bind the seal."""

    sealed: bytes
    guid: bytes


class Sealed(Exception):
    """The account is sealed already, or is not."""


def one(txn: Txn, account: int) -> Keys | None:
    """The keys of an account, None if it has none."""
    row = txn.one(f"SELECT {_KEYS} FROM account_keys WHERE account_id = ?", (account,))
    return None if row is None else _keys(row)


def unfinished(txn: Txn) -> list[int]:
    """The accounts whose keys are not attested yet, or still are although the account is being opened."""
    return [id for (id,) in txn.all("SELECT account_id FROM account_keys WHERE (bound = 0) = (state <> 'opening') ORDER BY account_id")]


def lacking(txn: Txn, wanted: set[int]) -> set[int]:
    """Those of the accounts ``wanted`` that are not sealed here."""
    return wanted - among(txn, wanted) if wanted else wanted


def among(txn: Txn, wanted: Collection[int]) -> set[int]:
    """Those of the accounts ``wanted`` that are sealed here."""
    sql = f"SELECT account_id FROM account_keys WHERE account_id IN ({', '.join('?' * len(wanted))})"
    return {id for (id,) in txn.all(sql, [*wanted])}


def through(txn: Txn, wanted: Collection[int]) -> set[int]:
    """Those of the accounts ``wanted`` all of whose mail is sealed: nothing comes to them the old way any more."""
    if not wanted:
        return set()
    sql = f"SELECT account_id FROM account_keys WHERE state = ? AND account_id IN ({', '.join('?' * len(wanted))})"
    return {id for (id,) in txn.all(sql, (SEALED, *wanted))}


def every(txn: Txn, after: int, limit: int) -> list[int]:
    """At most ``limit`` sealed accounts above ``after``, rising."""
    rows = txn.all("SELECT account_id FROM account_keys WHERE account_id > ? ORDER BY account_id LIMIT ?", (after, limit))
    return [id for (id,) in rows]


def logins(txn: Txn, wanted: Collection[int]) -> dict[int, bytes]:
    """What changes with the password (the credentials' guid) of those of the accounts ``wanted`` that are active and sealed here."""
    sql = (
        f"SELECT id, credentials_guid FROM accounts WHERE state = 'active' AND sealed = 'server' AND id IN ({', '.join('?' * len(wanted))})"
    )
    return {id: bytes(guid) for id, guid in txn.all(sql, [*wanted])}


def bound(txn: Txn, account: int, yes: bool) -> None:
    """Whether the keys are attested."""
    txn.execute("UPDATE account_keys SET bound = ? WHERE account_id = ?", (int(yes), account))


def wrap(txn: Txn, account: int, kind: str) -> Wrap | None:
    """The wrap of one kind; None if there is none."""
    row = txn.one("SELECT kind, salt, cost, wrapped FROM account_wraps WHERE account_id = ? AND kind = ?", (account, kind))
    return None if row is None else Wrap(row[0], bytes(row[1]), row[2], bytes(row[3]))


def begin(txn: Txn, keys: Keys, wraps: Sequence[Wrap], login: Login, rewrap: Callable[[bytes], bytes], now: int) -> None:
    """Make an account sealed: its keys, their wraps, and verifiers that reveal no more of its password than they must.

    ``rewrap(public)`` wraps the account key for an app password. Raises Sealed, Missing.
    """
    row = txn.one("SELECT sealed FROM accounts WHERE id = ? AND state <> 'erased'" + _held(txn), (keys.account,))
    if row is None:
        raise Missing("account", str(keys.account))
    if row[0]:
        raise Sealed
    accounts.set_credentials(txn, keys.account, login.sealed, login.guid)
    accounts.set_sealed(txn, keys.account, "server")
    _insert(txn, keys, wraps, rewrap, now)


def renew(txn: Txn, keys: Keys, wraps: Sequence[Wrap], login: Login, rewrap: Callable[[bytes], bytes], now: int) -> None:
    """Give a sealed account new keys: what the old ones sealed is lost. Raises Missing."""
    accounts.set_credentials(txn, keys.account, login.sealed, login.guid)
    txn.execute("DELETE FROM account_keys WHERE account_id = ?", (keys.account,))
    txn.execute("DELETE FROM account_wraps WHERE account_id = ?", (keys.account,))
    _insert(txn, keys, wraps, rewrap, now)


def _insert(txn: Txn, keys: Keys, wraps: Sequence[Wrap], rewrap: Callable[[bytes], bytes], now: int) -> None:
    txn.execute(
        "INSERT INTO account_keys (account_id, sealing, signing, bundle, state, created) VALUES (?, ?, ?, ?, ?, ?)",
        (keys.account, keys.sealing, keys.signing, keys.bundle, keys.state, now),
    )
    for each in wraps:
        set_wrap(txn, keys.account, each, now)
    for id, public in txn.all("SELECT id, public FROM app_passwords WHERE account_id = ?", (keys.account,)):
        txn.execute("UPDATE app_passwords SET wrapped = ? WHERE id = ?", (rewrap(bytes(public)), id))


def exchange(txn: Txn, old: Keys, new: Keys) -> bool:
    """Put other keys under the same account key, unless they were changed meanwhile."""
    changed = txn.execute(
        "UPDATE account_keys SET sealing = ?, signing = ?, bundle = ?, bound = 0 WHERE account_id = ? AND bundle = ?",
        (new.sealing, new.signing, new.bundle, old.account, old.bundle),
    )
    return changed == 1


def set_wrap(txn: Txn, account: int, new: Wrap, now: int) -> None:
    """Put the wrap in place of the one of its kind."""
    txn.execute("DELETE FROM account_wraps WHERE account_id = ? AND kind = ?", (account, new.kind))
    txn.execute(
        "INSERT INTO account_wraps (account_id, kind, salt, cost, wrapped, created) VALUES (?, ?, ?, ?, ?, ?)",
        (account, new.kind, new.salt, new.cost, new.wrapped, now),
    )


def change_password(txn: Txn, account: int, old: Wrap, new: Wrap, login: Login, now: int) -> bool:
    """Exchange the password, if what was unwrapped to make ``new`` still wraps the key."""
    if txn.dialect == "postgresql":
        txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (account,))
    if wrap(txn, account, old.kind) != old:
        return False
    accounts.set_credentials(txn, account, login.sealed, login.guid)
    set_wrap(txn, account, new, now)
    return True


def advance(txn: Txn, account: int, state: str, position: int) -> bool:
    """Keep how far the conversion of older mail has come; False if it is not in that state any more."""
    return txn.execute("UPDATE account_keys SET position = ? WHERE account_id = ? AND state = ?", (position, account, state)) == 1


def turn(txn: Txn, account: int, state: str, *, of: Collection[str]) -> bool:
    """Go on to another state, if it is in one ``of`` these."""
    marks = ", ".join("?" * len(of))
    sql = f"UPDATE account_keys SET state = ?, position = 0 WHERE account_id = ? AND state IN ({marks})"
    return txn.execute(sql, (state, account, *of)) == 1


def end(txn: Txn, account: int) -> bool:
    """The account is an ordinary one again: nothing of its keys is left. False, and nothing done, while anything is sealed under them."""
    if txn.dialect == "postgresql":
        txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (account,))
    left = txn.one(
        "SELECT 1 FROM mailboxes b JOIN entries e ON e.mailbox_id = b.id JOIN messages m ON m.id = e.message_id"
        " WHERE b.account_id = ? AND b.special_use <> '-' AND m.vault = 1 LIMIT 1",
        (account,),
    )
    if left is not None or txn.one("SELECT 1 FROM waiting WHERE account_id = ? LIMIT 1", (account,)) is not None:
        return False
    txn.execute("DELETE FROM account_wraps WHERE account_id = ?", (account,))
    txn.execute("DELETE FROM account_keys WHERE account_id = ?", (account,))
    txn.execute("UPDATE app_passwords SET wrapped = NULL WHERE account_id = ?", (account,))
    accounts.set_sealed(txn, account, "")
    return True


def _keys(row: Row) -> Keys:
    return Keys(row[0], bytes(row[1]), bytes(row[2]), bytes(row[3]), row[4], row[5], bool(row[6]))


def _held(txn: Txn) -> str:
    return " FOR UPDATE" if txn.dialect == "postgresql" else ""  # SQLite has one writer

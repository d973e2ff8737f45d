"""Administrators: their rows, second factors and recovery codes.

They are apart from mail accounts. Everything that must end an administrator's sessions gives the row a new
``generation``; a session that began under another one is none any more. Failure: :class:`Missing`, :class:`Taken`, and
:class:`LastOne` where nobody would be left who could log in.
"""

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from mailx.store import Row, Txn
from mailx.store.cipher import Cipher
from mailx.store.names import Missing, Taken

ACTIVE, DISABLED = "active", "disabled"

PURPOSE = b"admin"
_CODE = b"recovery"
_COLUMNS = "id, name, state, guid, generation, password, totp, totp_pending, totp_step, places, created, last_login"


class LastOne(Exception):
    """It is the last administrator that may log in."""


class Settled(Exception):
    """There is an administrator already."""


@frozen(repr=False)
class Stored:
    """One row. What is sealed stays so; ``codes``: recovery codes that are left."""

    id: int
    name: str
    state: str
    guid: bytes
    generation: bytes
    password: bytes
    totp: bytes | None
    totp_pending: bytes | None
    totp_step: int
    places: bytes | None
    created: int
    last_login: int | None
    codes: int = field(default=0)


def count(txn: Txn) -> int:
    """How many administrators there are."""
    row = txn.one("SELECT count(*) FROM admins")
    return int(row[0]) if row else 0


def all(txn: Txn) -> list[Stored]:
    """Every administrator, by name."""
    left = {int(id): int(number) for id, number in txn.all("SELECT admin_id, count(*) FROM admin_codes GROUP BY admin_id")}
    return [_stored(row, left.get(int(row[0]), 0)) for row in txn.all(f"SELECT {_COLUMNS} FROM admins ORDER BY name")]


def by_name(txn: Txn, name: str) -> Stored | None:
    """The administrator ``name``."""
    return _with_codes(txn, txn.one(f"SELECT {_COLUMNS} FROM admins WHERE name = ?", (name,)))


def by_id(txn: Txn, id: int) -> Stored | None:
    """The administrator with that id."""
    return _with_codes(txn, txn.one(f"SELECT {_COLUMNS} FROM admins WHERE id = ?", (id,)))


def _with_codes(txn: Txn, row: Row | None) -> Stored | None:
    if row is None:
        return None
    left = txn.one("SELECT count(*) FROM admin_codes WHERE admin_id = ?", (row[0],))
    return _stored(row, int(left[0]) if left else 0)


def add(txn: Txn, name: str, guid: bytes, generation: bytes, password: bytes, now: int, first: bool = False) -> int:
    """A new administrator; raises Taken. ``first``: only while there is none; raises Settled."""
    if first and count(txn):
        raise Settled
    row = txn.one(
        "INSERT INTO admins (name, state, guid, generation, password, created) VALUES (?, 'active', ?, ?, ?, ?)"
        " ON CONFLICT (name) DO NOTHING RETURNING id",
        (name, guid, generation, password, now),
    )
    if row is None:
        raise Taken("administrator", name)
    return int(row[0])


def set_password(txn: Txn, id: int, password: bytes, generation: bytes, keep: int) -> None:
    """Replace the password; every session but ``keep`` ends. Raises Missing."""
    _changed(txn, id, "password = ?", (password,))
    renew(txn, id, generation, keep)


def set_state(txn: Txn, id: int, state: str, generation: bytes) -> None:
    """Enable or disable; disabling ends every session. Raises Missing, LastOne."""
    if state != ACTIVE:
        _require_another(txn, id)
    _changed(txn, id, "state = ?", (state,))
    if state != ACTIVE:
        renew(txn, id, generation, 0)


def remove(txn: Txn, id: int) -> None:
    """Remove the administrator with sessions and codes; raises Missing, LastOne."""
    _require_another(txn, id)
    if not txn.execute("DELETE FROM admins WHERE id = ?", (id,)):
        raise Missing("administrator", str(id))


def _require_another(txn: Txn, id: int) -> None:
    """Transactions that write are serializable: two that disable each other's administrator cannot both succeed."""
    if txn.one("SELECT 1 FROM admins WHERE state = 'active' AND id <> ?", (id,)) is None:
        raise LastOne


def renew(txn: Txn, id: int, generation: bytes, keep: int) -> None:
    """A new generation: every session of the administrator but the one with the id ``keep`` ends."""
    _changed(txn, id, "generation = ?", (generation,))
    txn.execute("DELETE FROM admin_sessions WHERE admin_id = ? AND id <> ?", (id, keep))
    txn.execute("UPDATE admin_sessions SET generation = ? WHERE id = ? AND admin_id = ?", (generation, keep, id))


def _changed(txn: Txn, id: int, assignment: str, values: Sequence[Any]) -> None:
    if not txn.execute(f"UPDATE admins SET {assignment} WHERE id = ?", (*values, id)):
        raise Missing("administrator", str(id))


def offer_totp(txn: Txn, id: int, sealed: bytes) -> None:
    """Keep a secret that waits for its first code; raises Missing."""
    _changed(txn, id, "totp_pending = ?", (sealed,))


def begin_totp(txn: Txn, id: int, pending: bytes, totp: bytes, step: int, codes: Sequence[bytes], generation: bytes, keep: int) -> bool:
    """Make the secret ``totp`` the second factor, with new recovery codes; False if what waited is not ``pending`` any more."""
    if not txn.execute(
        "UPDATE admins SET totp = ?, totp_pending = NULL, totp_step = ? WHERE id = ? AND totp_pending = ?", (totp, step, id, pending)
    ):
        return False
    replace_codes(txn, id, codes)
    renew(txn, id, generation, keep)
    return True


def end_totp(txn: Txn, id: int, generation: bytes, keep: int) -> None:
    """Take the second factor away, with its codes; every session but ``keep`` ends. Raises Missing."""
    _changed(txn, id, "totp = NULL, totp_pending = NULL, totp_step = 0", ())
    replace_codes(txn, id, ())
    renew(txn, id, generation, keep)


def replace_codes(txn: Txn, id: int, codes: Sequence[bytes]) -> None:
    """Nothing but ``codes`` (hashes) recovers from now on."""
    txn.execute("DELETE FROM admin_codes WHERE admin_id = ?", (id,))
    txn.executemany("INSERT INTO admin_codes (admin_id, hash) VALUES (?, ?)", [(id, code) for code in codes])


def spend_step(txn: Txn, id: int, step: int) -> bool:
    """Use the one-time password of ``step``; False when it, or a later one, was used before."""
    return txn.execute("UPDATE admins SET totp_step = ? WHERE id = ? AND totp_step < ?", (step, id, step)) == 1


def spend_code(txn: Txn, id: int, code: bytes) -> bool:
    """Use a recovery code (hash); False when there is no such code any more."""
    return txn.execute("DELETE FROM admin_codes WHERE admin_id = ? AND hash = ?", (id, code)) == 1


def code_hash(cipher: Cipher, guid: bytes, code: str) -> bytes:
    """What is kept of a recovery code. The codes are random and long: a keyed hash is enough."""
    return cipher.hash(_CODE, guid, code.encode())


def _stored(row: Row, codes: int) -> Stored:
    id, name, state, guid, generation, password, totp, pending, step, places, created, last_login = row
    return Stored(
        int(id),
        name,
        state,
        bytes(guid),
        bytes(generation),
        bytes(password),
        None if totp is None else bytes(totp),
        None if pending is None else bytes(pending),
        int(step),
        None if places is None else bytes(places),
        int(created),
        None if last_login is None else int(last_login),
        codes,
    )

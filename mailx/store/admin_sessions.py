"""Sessions of administrators, and the secret under which their tokens are hashed.

A token itself is nowhere: a copy of the database opens no session. A row lives as long as its administrator's
generation and the panel's secret; what outlived its time is dropped by ``sweep``.
"""

from attrs import frozen

from mailx.store import Row, Txn, admins
from mailx.store.names import Missing

_COLUMNS = "s.id, s.hash, s.origin, s.created, s.seen, a.id, a.name"
_JOINED = (
    f"SELECT {_COLUMNS} FROM admin_sessions s JOIN admins a ON a.id = s.admin_id WHERE a.state = 'active' AND s.generation = a.generation"
)


class Changed(Exception):
    """Since it was looked at, the administrator was changed, disabled or removed, or the one-time code was used."""


@frozen(repr=False)
class Stored:
    """One session of an administrator who may log in."""

    id: int
    hash: bytes
    origin: bytes
    created: int
    seen: int
    admin: int
    name: str


@frozen(repr=False)
class Login:
    """A session that is about to begin. ``step`` or ``code``: the one-time password or recovery code that it costs."""

    admin: int
    generation: bytes
    hash: bytes
    origin: bytes
    places: bytes
    now: int
    step: int = 0
    code: bytes = b""


def secret(txn: Txn) -> Row | None:
    """(guid, sealed) of the panel's secret."""
    return txn.one("SELECT guid, sealed FROM panel_secret")


def create_secret(txn: Txn, guid: bytes, sealed: bytes) -> Row:
    """Keep that secret if there is none; (guid, sealed) of the one that holds."""
    txn.execute("INSERT INTO panel_secret (id, guid, sealed) VALUES (1, ?, ?) ON CONFLICT (id) DO NOTHING", (guid, sealed))
    held = secret(txn)
    assert held is not None
    return held


def rotate_secret(txn: Txn, guid: bytes, sealed: bytes) -> int:
    """Replace the secret: every session ends. Returns how many there were."""
    txn.execute("DELETE FROM panel_secret")
    txn.execute("INSERT INTO panel_secret (id, guid, sealed) VALUES (1, ?, ?)", (guid, sealed))
    return txn.execute("DELETE FROM admin_sessions")


def begin(txn: Txn, login: Login, limit: int) -> int:
    """Begin a session; raises Changed. Of more than ``limit`` sessions of one administrator the oldest end."""
    if not txn.execute(
        "UPDATE admins SET last_login = ?, places = ? WHERE id = ? AND state = 'active' AND generation = ?",
        (login.now, login.places, login.admin, login.generation),
    ):
        raise Changed
    if login.step and not admins.spend_step(txn, login.admin, login.step):
        raise Changed
    if login.code and not admins.spend_code(txn, login.admin, login.code):
        raise Changed
    txn.execute(
        "DELETE FROM admin_sessions WHERE admin_id = ? AND id NOT IN"
        " (SELECT id FROM admin_sessions WHERE admin_id = ? ORDER BY seen DESC, id DESC LIMIT ?)",
        (login.admin, login.admin, limit - 1),
    )
    row = txn.one(
        "INSERT INTO admin_sessions (hash, admin_id, generation, origin, created, seen) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (login.hash, login.admin, login.generation, login.origin, login.now, login.now),
    )
    assert row is not None
    return int(row[0])


def find(txn: Txn, hash: bytes) -> tuple[bytes, Stored | None]:
    """The guid of the panel's secret (a hash under another one finds nothing), and the session."""
    held = txn.one("SELECT guid FROM panel_secret")
    row = txn.one(f"{_JOINED} AND s.hash = ?", (hash,))
    return bytes(held[0]) if held else b"", None if row is None else _stored(row)


def of(txn: Txn, admin: int) -> list[Stored]:
    """The sessions of one administrator, the latest used first."""
    return [_stored(row) for row in txn.all(f"{_JOINED} AND a.id = ? ORDER BY s.seen DESC, s.id DESC", (admin,))]


def touch(txn: Txn, id: int, now: int) -> None:
    """The session was used."""
    txn.execute("UPDATE admin_sessions SET seen = ? WHERE id = ? AND seen < ?", (now, id, now))


def end(txn: Txn, id: int, admin: int) -> None:
    """End one session of that administrator; raises Missing."""
    if not txn.execute("DELETE FROM admin_sessions WHERE id = ? AND admin_id = ?", (id, admin)):
        raise Missing("session", str(id))


def end_others(txn: Txn, admin: int, keep: int) -> int:
    """End every session of that administrator but ``keep``; returns how many."""
    return txn.execute("DELETE FROM admin_sessions WHERE admin_id = ? AND id <> ?", (admin, keep))


def sweep(txn: Txn, seen: int, created: int) -> int:
    """Drop sessions not used since ``seen``, or begun before ``created`` (seconds since 1970)."""
    return txn.execute("DELETE FROM admin_sessions WHERE seen < ? OR created < ?", (seen, created))


def _stored(row: Row) -> Stored:
    id, hash, origin, created, seen, admin, name = row
    return Stored(int(id), bytes(hash), bytes(origin), int(created), int(seen), int(admin), name)

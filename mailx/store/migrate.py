"""Schema steps: the numbered SQL files of a directory, each applied once, in order, in a transaction of its own.

``NNNN.sqlite.sql`` and ``NNNN.postgresql.sql`` are one step. ``schema`` holds the steps of the database of mail,
``schema_index`` those of the search index. Which steps a database has is kept in its table ``schema_steps``; where both
share a database, those of the index are in ``index_steps``. Failure means :class:`SchemaError`: the database is newer
than this program, or a step failed (and was undone).
"""

import os
import sqlite3
import time
from importlib import resources
from typing import Any

from attrs import frozen


class SchemaError(Exception):
    """The database cannot be brought to this program's schema; the text is for the operator."""


@frozen
class Step:
    """One schema step."""

    number: int
    sql: str


MAIL = "schema"
INDEX = "schema_index"
STEPS_TABLE = "CREATE TABLE IF NOT EXISTS schema_steps (number INTEGER PRIMARY KEY, applied BIGINT NOT NULL)"


def steps(dialect: str, schema: str = MAIL) -> list[Step]:
    """The steps of ``schema`` for ``dialect`` that this program has, in order."""
    suffix = f".{dialect}.sql"
    files = (resources.files("mailx.store") / schema).iterdir()
    return sorted(
        (Step(int(file.name.removesuffix(suffix)), file.read_text("utf-8")) for file in files if file.name.endswith(suffix)),
        key=lambda step: step.number,
    )


def missing(have: set[int], known: list[Step]) -> list[Step]:
    """The ``known`` steps that a database with ``have`` lacks; raises SchemaError when it has steps of the future."""
    newer = have - {step.number for step in known}
    if newer:
        raise SchemaError(
            f"the database was written by a newer MailX (schema step {max(newer)}, this one knows {known[-1].number}): "
            "install that version, or restore the copy made before the upgrade"
        )
    return [step for step in known if step.number not in have]


def migrate_sqlite(connection: sqlite3.Connection, path: str, schema: str = MAIL) -> None:
    """Bring the database to this program's schema. Before an upgrade a copy is left beside it.

    ``connection`` must have ``isolation_level=None``. Raises SchemaError, sqlite3.Error.
    """
    known = steps("sqlite", schema)
    exists = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_steps'").fetchone()[0]
    have = {number for (number,) in connection.execute("SELECT number FROM schema_steps")} if exists else set()
    todo = missing(have, known)
    if have and todo:
        _copy(connection, f"{path}.before-{todo[0].number:04d}")
    connection.execute("PRAGMA foreign_keys = OFF")  # a step may rebuild a table; it cannot be changed inside a transaction
    try:
        for step in todo:
            _apply(connection, step)
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _apply(connection: sqlite3.Connection, step: Step) -> None:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        connection.execute(STEPS_TABLE)
        for statement in statements(step.sql):
            connection.execute(statement)
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise SchemaError(f"schema step {step.number} leaves a broken reference in table {broken[0]}")
        connection.execute("INSERT INTO schema_steps (number, applied) VALUES (?, ?)", (step.number, int(time.time())))
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise SchemaError(f"schema step {step.number} failed and was undone: {error}") from error
        raise


def statements(sql: str) -> list[str]:
    """``sql`` cut into its statements (``executescript`` would commit first)."""
    found = []
    waiting = ""
    for line in sql.splitlines(keepends=True):
        waiting += line
        if sqlite3.complete_statement(waiting):
            found.append(waiting.strip())
            waiting = ""
    if waiting.strip():
        found.append(waiting.strip())
    return found


def _copy(connection: sqlite3.Connection, path: str) -> None:
    """A consistent, durable copy of the database at ``path``; an older one is replaced only when the new one is whole."""
    unfinished = path + ".tmp"
    if os.path.exists(unfinished):
        os.unlink(unfinished)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.close(descriptor)
    target = sqlite3.connect(unfinished)
    try:
        connection.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
    _fsync(unfinished)
    os.rename(unfinished, path)
    _fsync(os.path.dirname(os.path.abspath(path)))


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def migrate_postgresql(connection: Any, schema: str = MAIL) -> None:
    """Bring the database to this program's schema; one node at a time. ``connection`` is psycopg's, not in autocommit."""
    known = steps("postgresql", schema)
    table = "schema_steps" if schema == MAIL else "index_steps"
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = 0")  # another node may be at it
        connection.execute("SELECT pg_advisory_xact_lock(7235446)")
        connection.execute(STEPS_TABLE.replace("schema_steps", table))
        have = {number for (number,) in connection.execute(f"SELECT number FROM {table}").fetchall()}
        for step in missing(have, known):
            try:
                connection.execute(step.sql)
            except Exception as error:
                raise SchemaError(f"schema step {step.number} failed and was undone: {type(error).__name__}: {error}") from error
            connection.execute(f"INSERT INTO {table} (number, applied) VALUES (%s, %s)", (step.number, int(time.time())))

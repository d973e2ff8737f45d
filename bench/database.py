"""The database of a server under test, seen from beside it: SQLite in its directory, or a throwaway PostgreSQL."""

import sqlite3
from pathlib import Path
from typing import Any, Protocol

import psycopg

from mailx.store.queue import LEASE
from tests.store import postgresql


class IDatabase(Protocol):
    """``settings`` are the tables of the configuration that choose it."""

    settings: str

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query brings."""

    def forget_the_dead(self) -> None:
        """The server was killed: let the next one find that it has been silent for long."""


class SQLite:
    """The file of the server in ``directory``; nobody else can have it, so its next start needs to wait for nothing."""

    settings = ""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "var" / "mailx.db"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def forget_the_dead(self) -> None:
        return


class PostgreSQL:
    """A database of its own; ``address`` is what a server calls it."""

    def __init__(self) -> None:
        cluster = postgresql.server()
        self.address = cluster.url(cluster.create_database())
        self.settings = f'[store]\nurl = "{self.address}"\n'

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def forget_the_dead(self) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute("UPDATE nodes SET seen = seen - %s", (LEASE + 1,))


ENGINES = ("sqlite", "postgresql")


def database(engine: str, directory: Path) -> IDatabase:
    """That of the server in ``directory``."""
    return SQLite(directory) if engine == "sqlite" else PostgreSQL()

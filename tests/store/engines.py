"""Store tests run on both engines: a base class for each, with a fresh database a test."""

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailx.store import Store, Txn, postgres, sqlite
from tests.store.postgresql import server


def create_table(txn: Txn) -> None:
    """A table of the tests' own."""
    txn.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size BIGINT NOT NULL DEFAULT 0)")


def names(txn: Txn) -> list[str]:
    return [name for (name,) in txn.all("SELECT name FROM things ORDER BY id")]


def insert(txn: Txn, id: int, name: str) -> int:
    txn.execute("INSERT INTO things (id, name) VALUES (?, ?)", (id, name))
    return id


class EngineCase(TestCase):
    """``self.store`` with a table ``things``; ``await self.open()`` opens the same database again."""

    timeout = 240
    store: Any

    async def open(self) -> Store:
        raise NotImplementedError

    async def asyncSetUp(self) -> None:
        self.store = await self.open()
        self.addCleanup(lambda: self.deferred(self.store.close()))
        await self.store.write(create_table)

    def deferred(self, coroutine: Any) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(coroutine)

    def setUp(self) -> Any:
        return self.deferred(self.asyncSetUp())


class SQLiteCase(EngineCase):
    async def open(self) -> Store:
        if not hasattr(self, "path"):
            self.path = self.mktemp()
        return await sqlite.open_store(self.path, 2, reactor)


class PostgreSQLCase(EngineCase):
    def setUp(self) -> Any:
        self.server = server()
        self.database = self.server.create_database()
        self.addCleanup(self.server.drop_database, self.database)
        return super().setUp()

    async def open(self) -> Store:
        return await postgres.open_store(self.server.url(self.database), "", 2, reactor)

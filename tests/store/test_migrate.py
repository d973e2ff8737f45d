"""Schema steps: applied once and in order, undone when they fail, and never on a database of the future."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.store import migrate, postgres, sqlite
from mailx.store.migrate import SchemaError, Step, migrate_postgresql, migrate_sqlite, missing, statements, steps
from tests.store.postgresql import server

FIRST = Step(0, "CREATE TABLE a (x INTEGER); -- one; comment\nINSERT INTO a VALUES (1);\n")
SECOND = Step(1, "ALTER TABLE a ADD COLUMN y TEXT;\nUPDATE a SET y = 'a;b';\n")
BROKEN = Step(2, "CREATE TABLE b (x INTEGER);\nINSERT INTO nowhere VALUES (1);\n")


class StepsTests(SynchronousTestCase):
    def test_both_dialects_have_the_same_steps(self) -> None:
        numbers = [step.number for step in steps("sqlite")]
        self.assertEqual(numbers, [step.number for step in steps("postgresql")])
        self.assertEqual(numbers, list(range(len(numbers))))

    def test_missing(self) -> None:
        known = [FIRST, SECOND]
        self.assertEqual(missing(set(), known), known)
        self.assertEqual(missing({0}, known), [SECOND])
        self.assertEqual(missing({0, 1}, known), [])
        self.assertIn("newer MailX", str(self.assertRaises(SchemaError, missing, {0, 1, 2}, known)))

    def test_statements(self) -> None:
        trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n UPDATE a SET y = 'x;';\n DELETE FROM a;\nEND;"
        self.assertEqual(statements(f"-- first\nSELECT 1;\n{trigger}\nSELECT ';'\n"), ["-- first\nSELECT 1;", trigger, "SELECT ';'"])


class SQLiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.connection.close)

    def known(self, *known: Step) -> None:
        self.patch(migrate, "steps", lambda dialect, schema="schema": list(known))

    def test_every_step_once(self) -> None:
        self.known(FIRST)
        migrate_sqlite(self.connection, self.path)
        migrate_sqlite(self.connection, self.path)
        self.assertEqual(self.connection.execute("SELECT * FROM a").fetchall(), [(1,)])
        self.assertEqual(self.connection.execute("PRAGMA foreign_keys").fetchone(), (1,))

    def test_an_upgrade_leaves_a_copy(self) -> None:
        self.known(FIRST)
        migrate_sqlite(self.connection, self.path)
        self.assertEqual(list(Path(self.path).parent.glob(f"{os.path.basename(self.path)}.before*")), [])
        self.known(FIRST, SECOND)
        migrate_sqlite(self.connection, self.path)
        self.assertEqual(self.connection.execute("SELECT * FROM a").fetchall(), [(1, "a;b")])
        copy = f"{self.path}.before-0001"
        self.assertEqual(os.stat(copy).st_mode & 0o777, 0o600)
        before = sqlite3.connect(copy)
        self.addCleanup(before.close)
        self.assertEqual(before.execute("SELECT * FROM a").fetchall(), [(1,)])
        self.assertEqual(before.execute("SELECT number FROM schema_steps").fetchall(), [(0,)])

    def test_a_failing_step_is_undone(self) -> None:
        self.known(FIRST, SECOND, BROKEN)
        error = self.assertRaises(SchemaError, migrate_sqlite, self.connection, self.path)
        self.assertIn("step 2", str(error))
        self.assertEqual(self.connection.execute("SELECT number FROM schema_steps").fetchall(), [(0,), (1,)])
        self.assertEqual(self.connection.execute("SELECT name FROM sqlite_master WHERE name = 'b'").fetchall(), [])
        self.known(FIRST, SECOND, Step(2, "CREATE TABLE b (x INTEGER);"))
        migrate_sqlite(self.connection, self.path)
        self.assertEqual(self.connection.execute("SELECT count(*) FROM schema_steps").fetchone(), (3,))

    def test_a_step_may_not_break_references(self) -> None:
        self.known(
            Step(0, "CREATE TABLE p (id INTEGER PRIMARY KEY);\nCREATE TABLE c (p INTEGER REFERENCES p (id));\nINSERT INTO c VALUES (9);")
        )
        self.assertIn("table c", str(self.assertRaises(SchemaError, migrate_sqlite, self.connection, self.path)))

    def test_a_newer_database_is_left_alone(self) -> None:
        self.known(FIRST, SECOND)
        migrate_sqlite(self.connection, self.path)
        self.known(FIRST)
        before = Path(self.path).read_bytes()
        self.assertIn("schema step 1, this one knows 0", str(self.assertRaises(SchemaError, migrate_sqlite, self.connection, self.path)))
        self.assertEqual(Path(self.path).read_bytes(), before)


class OpenTests(TestCase):
    async def refusal(self, opening: Any) -> str:
        try:
            await opening
        except SchemaError as error:
            return str(error)
        return self.fail("the database was opened")  # type: ignore[no-any-return]

    async def test_a_newer_sqlite_database(self) -> None:
        path = self.mktemp()
        store = await sqlite.open_store(path, 1, reactor)
        await store.write(lambda txn: txn.execute("INSERT INTO schema_steps VALUES (9999, 0)"))
        await store.close()
        self.assertIn("newer MailX", await self.refusal(sqlite.open_store(path, 1, reactor)))
        self.assertIn("newer MailX", await self.refusal(sqlite.open_store(path, 1, reactor)))  # its lock was let go

    async def test_a_newer_postgresql_database(self) -> None:
        url = server().url(server().create_database())
        store = await postgres.open_store(url, "", 1, reactor)
        await store.write(lambda txn: txn.execute("INSERT INTO schema_steps VALUES (9999, 0)"))
        await store.close()
        self.assertIn("newer MailX", await self.refusal(postgres.open_store(url, "", 1, reactor)))

    def test_postgresql_steps(self) -> None:
        with psycopg.connect(server().url(server().create_database())) as connection:
            known = [FIRST, SECOND, BROKEN]
            self.patch(migrate, "steps", lambda dialect, schema="schema": known)
            self.assertIn("step 2", str(self.assertRaises(SchemaError, migrate_postgresql, connection)))
            self.assertEqual(connection.execute("SELECT to_regclass('a')").fetchone(), (None,))
            connection.commit()
            del known[2]
            migrate_postgresql(connection)
            migrate_postgresql(connection)
            self.assertEqual(connection.execute("SELECT * FROM a").fetchall(), [(1, "a;b")])

"""A throwaway PostgreSQL server for the tests: one cluster a test run, one database a test.

Skipped aloud when Debian's binaries are missing; with MAILX_REQUIRE_SYSTEM=1 that is an error.
"""

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from glob import glob
from itertools import count

import psycopg
from twisted.trial.unittest import SkipTest

_USER = "postgres"
_MEMORY = "/dev/shm"  # a file system in memory: making databases is mostly copying files
_numbers = count(1)


def binaries() -> str:
    """The directory of the newest PostgreSQL programs; raises SkipTest."""
    found = sorted(glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    if not found:
        if os.environ.get("MAILX_REQUIRE_SYSTEM") == "1":
            raise AssertionError("PostgreSQL is required: install Debian's package postgresql")
        raise SkipTest("PostgreSQL is not installed (Debian package postgresql)")
    return os.path.dirname(found[-1])


class Server:
    """A cluster of its own, reached by a Unix socket only, without fsync."""

    def __init__(self) -> None:
        self._programs = binaries()
        self._directory = tempfile.mkdtemp(prefix="mailx-postgresql-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
        self._data = os.path.join(self._directory, "data")
        self._as_root = os.geteuid() == 0
        if self._as_root:
            account = pwd.getpwnam(_USER)
            os.chown(self._directory, account.pw_uid, account.pw_gid)
        atexit.register(self.remove)
        self._run("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with open(os.path.join(self._data, "postgresql.conf"), "a", encoding="ascii") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{self._directory}'\n")
            file.write("fsync = off\nfull_page_writes = off\nmax_connections = 60\n")
        self.start()

    def start(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-s", "-l", os.path.join(self._directory, "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-s", "-m", "fast", "stop")

    def remove(self) -> None:
        """Stop at once and delete everything."""
        if os.path.exists(os.path.join(self._data, "postmaster.pid")):
            self._run("pg_ctl", "-D", self._data, "-w", "-s", "-m", "immediate", "stop")
        shutil.rmtree(self._directory, ignore_errors=True)

    def create_database(self, template: str = "template1") -> str:
        """The name of a new database, a copy of ``template``."""
        name = f"test_{next(_numbers)}"
        self._command(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self._command(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """What ``[store] url`` says for ``database``."""
        return f"postgresql://{_USER}@/{database}?host={self._directory}"

    def _command(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql)

    def _run(self, program: str, *arguments: str) -> None:
        command = [os.path.join(self._programs, program), *arguments]
        if self._as_root:
            command = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", *command]
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise AssertionError(f"{program} failed: {done.stdout.decode(errors='replace')}")


_server: list[Server] = []


def server() -> Server:
    """The server of this test run, started at first use; raises SkipTest."""
    if not _server:
        _server.append(Server())
    return _server[0]

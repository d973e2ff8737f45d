"""A real clamd whose only signature is one of the tests: a body signature, and the octets that it finds."""

from pathlib import Path

from tests.system.daemon import Daemon

NAME = "Tests.Virus"
VIRUS = b"MAILX-TEST-VIRUS-2e1f6c07-do-not-deliver"


class Clamd:
    """It listens on ``socket``."""

    def __init__(self) -> None:
        self._daemon = Daemon("clamd")
        self.socket: Path = self._daemon.directory / "clamd.sock"

    def start(self) -> None:
        directory = self._daemon.directory
        database = directory / "database"
        database.mkdir(exist_ok=True)
        # Name, any type of file, any offset, the octets.
        (database / "tests.ndb").write_text(f"{NAME}:0:*:{VIRUS.hex()}\n", encoding="ascii")
        (directory / "clamd.conf").write_text(
            f"LocalSocket {self.socket}\nDatabaseDirectory {database}\nForeground yes\nLogFile {directory}/log\n"
            f"TemporaryDirectory {directory}\nOfficialDatabaseOnly no\n",
            encoding="ascii",
        )
        self.socket.unlink(missing_ok=True)
        self._daemon.start(["-c", "clamd.conf"], self.socket.exists)

    def stop(self) -> None:
        self._daemon.stop()

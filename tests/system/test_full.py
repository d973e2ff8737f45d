"""A disk that is full while mail goes out: submissions are put off, outcomes wait, and nothing is lost or sent twice."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from smtplib import SMTPDataError, SMTPException

from twisted.trial.unittest import SkipTest

from tests.system.neighbours import Neighbours
from tests.system.server import Server
from tests.system.test_nodes import Gated

_OCTETS = 6 << 20
FAR = "far.example"


class FullDisk(Neighbours):
    """The data directory on a small file system of its own; all mail goes to a recorder."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            raise SkipTest("only root can mount a file system")
        self.recorder = Gated(Path(self.mktemp()))
        self.addCleanup(self.recorder.close)
        self.addCleanup(self.recorder.gate.set)
        tables = f'[[outbound.relays]]\nname = "recorder"\nhosts = ["127.0.0.1:{self.recorder.port}"]\nsecurity = "plain"\n'
        self.server_ = Server(self, {"queue.retry": '["1h", "1h"]'}, f'{tables}[[outbound.routes]]\nrelay = "recorder"\n')
        self.data = self.server_.directory / "var"
        self.data.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_OCTETS}", "tmpfs", str(self.data)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise SkipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", str(self.data)], check=True)
        self.addCleanup(self.server_.stop)
        self.server_.start()

    def fill(self) -> None:
        with open(self.data / "filler", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                return

    def attempt(self, name: str, octets: int) -> int:
        """Submit a message to ``name``; the code of the refusal, or 250."""
        try:
            self.server_.submit(f"{name}@{FAR}", name, ("x" * 76 + "\r\n") * (octets // 78))
        except SMTPDataError as error:
            return error.smtp_code
        except SMTPException as error:
            self.fail(f"not answered as a refusal of the message: {error!r}")
        return 250

    def until_refused(self) -> list[str]:
        """Fill the disk and submit until one is refused; those that were taken, for the log of the database had room."""
        taken = []
        for number in range(40):
            self.fill()
            name = f"ok-full-{number}"
            code = self.attempt(name, 30_000)
            if code != 250:
                self.assertIn(code, (451, 452))
                return taken
            taken.append(name)
        return self.fail("the disk was never full")  # type: ignore[no-any-return]

    def states(self) -> dict[str, int]:
        counts = json.loads(self.server_.ctl("queue", "list", "--json"))["counts"]
        return {state: count for state, count in counts.items() if count}

    def arrived(self) -> Counter[str]:
        return Counter(arrival.recipient.partition("@")[0] for arrival in self.recorder.arrivals)

    def test_outcomes_wait_for_room(self) -> None:
        """Mail is on its way when the disk fills up; what became of it is noted when there is room again."""
        server = self.server_
        self.assertEqual(self.attempt("ok-before", 100), 250)
        for number in range(3):
            self.assertEqual(self.attempt(f"defer-{number}", 3000), 250)
        self.wait_until(lambda: self.states() == {"sent": 1, "deferred": 3}, server.log)
        for number in range(3):
            self.assertEqual(self.attempt(f"slow-{number}", 3000), 250)
        self.wait_until(lambda: len(self.recorder.inside) == 3, server.log)
        taken = self.until_refused()
        self.assertIn(self.attempt("ok-large", 2_000_000), (451, 452))
        self.fill()
        self.recorder.gate.set()
        self.wait_until(lambda: sum(self.arrived()[f"slow-{number}"] for number in range(3)) == 3, server.log)
        self.wait_until(lambda: "queue.settle_delayed" in server.log(), server.log)
        server.ctl("queue", "retry", "--all", "--yes", expect=None)  # what it says there does not matter
        (self.data / "filler").unlink()
        self.recorder.recovered = True
        self.assertEqual(self.attempt("ok-after", 100), 250)
        self.wait_until(lambda: "sending" not in self.states(), server.log)
        server.ctl("queue", "retry", "--all", "--yes", expect=None)
        names = {"ok-before", "ok-after", *(f"{kind}-{number}" for kind in ("defer", "slow") for number in range(3)), *taken}
        self.wait_until(lambda: self.states() == {"sent": len(names)}, server.log)
        self.assertEqual(self.arrived(), dict.fromkeys(names, 1))
        self.assertNotIn("Traceback", server.log())
        server.stop()
        server.start()
        self.assertEqual(self.states(), {"sent": len(names)})

    def test_killed_on_a_full_disk(self) -> None:
        """It starts when there is room; what it could not note is sent again, and what was refused is not there."""
        server = self.server_
        self.assertEqual(self.attempt("ok-before", 100), 250)
        self.assertEqual(self.attempt("defer-0", 3000), 250)
        self.assertEqual(self.attempt("reject-0", 3000), 250)
        self.wait_until(lambda: self.states() == {"sent": 1, "deferred": 1, "failed": 1}, server.log)
        self.assertEqual(self.attempt("slow-0", 3000), 250)
        self.wait_until(lambda: len(self.recorder.inside) == 1, server.log)
        taken = self.until_refused()
        self.recorder.gate.set()
        self.wait_until(lambda: "queue.settle_delayed" in server.log(), server.log)
        server.kill()
        (self.data / "filler").unlink()
        self.recorder.recovered = True
        server.start()
        server.ctl("queue", "retry", "--state", "deferred", "--yes")
        names = {"ok-before", "defer-0", "slow-0", *taken}
        self.wait_until(lambda: self.states() == {"sent": len(names), "failed": 1}, server.log)
        self.assertEqual(set(self.arrived()), names)
        doubled = {name for name, count in self.arrived().items() if count > 1}
        self.assertLessEqual(doubled, {"slow-0", *taken})
        self.assertEqual(len(server.messages()), 1)

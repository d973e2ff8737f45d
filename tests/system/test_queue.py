"""The queue of a running server: seen and managed by ``mailxctl``, through orderly ends and sudden ones."""

import json
import signal
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench import crash_queue
from tests.system.neighbours import HERE, Neighbours
from tests.system.server import PATIENCE, Server
from tests.system.test_nodes import Gated

ROUNDS = 3


class Relayed(Neighbours):
    """All mail goes to a recorder, which treats recipients as their names say."""

    def setUp(self) -> None:
        super().setUp()
        self.recorder = Gated(Path(self.mktemp()))
        self.addCleanup(self.recorder.close)
        self.addCleanup(self.recorder.gate.set)
        tables = f'[[outbound.relays]]\nname = "recorder"\nhosts = ["127.0.0.1:{self.recorder.port}"]\nsecurity = "plain"\n'
        self.server_ = Server(self, {"queue.retry": '["1h", "1h"]'}, f'{tables}[[outbound.routes]]\nrelay = "recorder"\n')
        self.server_.start()

    def entries(self, *filters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.server_.ctl("queue", "list", *filters, "--json"))["entries"]
        return found

    def arrived(self) -> list[str]:
        return sorted(arrival.recipient.partition("@")[0] for arrival in self.recorder.arrivals)

    def test_put_off_held_released_and_bounced(self) -> None:
        server = self.server_
        server.submit(["defer-a@far.example", "defer-b@far.example", "ok@far.example"], "three")
        self.wait_until(lambda: len(self.entries("--state", "deferred")) == 2, server.log)
        self.assertEqual(self.arrived(), ["ok"])
        listed = server.ctl("queue", "list", "--state", "deferred")
        self.assertIn("defer-a@far.example", listed)
        self.assertIn("451 4.7.1 later", listed)
        id = self.entries("--state", "deferred")[0]["id"]
        self.assertIn("451 4.7.1 later", server.ctl("queue", "show", id))
        server.ctl("queue", "hold", "--recipient", "defer-a@far.example", "--yes")
        self.assertEqual([entry["recipient"] for entry in self.entries("--state", "held")], ["defer-a@far.example"])
        self.recorder.recovered = True
        server.ctl("queue", "retry", "--state", "deferred", "--yes")
        self.wait_until(lambda: self.arrived() == ["defer-b", "ok"], server.log)
        self.assertEqual([entry["recipient"] for entry in self.entries("--state", "held")], ["defer-a@far.example"])
        server.ctl("queue", "release", id)
        self.wait_until(lambda: self.arrived() == ["defer-a", "defer-b", "ok"], server.log)
        self.wait_until(lambda: len(self.entries("--state", "sent")) == 3, server.log)
        self.assertIn("250 2.0.0 kept", server.ctl("trace", "ok@far.example"))

    def test_given_up_by_hand(self) -> None:
        server = self.server_
        server.submit(["defer-a@far.example"], "told")
        server.submit(["defer-b@far.example"], "untold")
        self.wait_until(lambda: len(self.entries("--state", "deferred")) == 2, server.log)
        told, untold = sorted(self.entries("--state", "deferred"), key=lambda entry: str(entry["recipient"]))
        server.ctl("queue", "bounce", told["id"], "--yes")
        server.ctl("queue", "delete", untold["id"], "--yes")
        self.wait_until(lambda: len(server.messages()) == 1, server.log)
        self.assertIn("defer-a@far.example", server.messages()[0].as_string())
        self.assertEqual(self.entries("--state", "deferred"), [])
        self.assertEqual([entry["recipient"] for entry in self.entries("--state", "failed")], ["defer-a@far.example"])

    def test_a_refusal_can_be_retried_when_it_was_wrong(self) -> None:
        server = self.server_
        server.submit("reject-a@far.example", "wrongly refused")
        self.wait_until(lambda: len(self.entries("--state", "failed")) == 1, server.log)
        (letter,) = self.entries("--state", "failed")
        self.assertIn("nobody here", server.ctl("queue", "show", letter["id"]))
        self.recorder.forgiving = True
        server.ctl("queue", "retry", letter["id"])
        self.wait_until(lambda: self.arrived() == ["reject-a"], server.log)

    def test_an_orderly_end_lets_running_deliveries_finish(self) -> None:
        for number in range(5):
            self.server_.submit(f"slow-{number}@far.example", f"slow {number}")
        self.wait_until(lambda: bool(self.recorder.inside), self.server_.log)
        assert self.server_.process is not None
        self.server_.process.send_signal(signal.SIGTERM)
        self.wait_until(lambda: "smtp.stopped" in self.server_.log(), self.server_.log)
        self.recorder.gate.set()
        self.assertIn(self.server_.process.wait(PATIENCE), (0, -signal.SIGTERM))
        self.server_.stop()
        arrived = len(self.recorder.arrivals)
        self.assertEqual(self.recorder.goodbyes, self.recorder.greeted)
        self.server_.start()
        self.assertNotIn("queue.taken_back", self.server_.log())
        self.wait_until(lambda: len(self.recorder.arrivals) == 5, self.server_.log)
        self.assertEqual(len(self.arrived()), len(set(self.arrived())))
        self.assertGreater(arrived, 0)

    def test_killed_while_sending(self) -> None:
        """What was on its way when the server died is sent again; a message that arrives twice is the known window."""
        for number in range(5):
            self.server_.submit(f"slow-{number}@far.example", f"slow {number}")
        self.wait_until(lambda: bool(self.recorder.inside), self.server_.log)
        self.server_.kill()
        self.recorder.gate.set()
        self.server_.start()
        self.assertIn("queue.taken_back", self.server_.log())
        self.wait_until(lambda: set(self.arrived()) == {f"slow-{number}" for number in range(5)}, self.server_.log)

    def test_files_wait_as_long_as_they_are_needed(self) -> None:
        """A large message lies in a file until its last recipient has it."""
        server = self.server_
        server.submit(["ok@far.example", "defer-a@far.example"], "large", ("x" * 76 + "\r\n") * 30000)
        self.wait_until(lambda: len(self.entries("--state", "deferred")) == 1 and self.arrived() == ["ok"], server.log)
        files = server.directory / "var" / "blobs"
        self.assertEqual(len(list(files.glob("??/*"))), 1)
        server.stop()
        self.recorder.recovered = True
        server.start()
        server.ctl("queue", "retry", "--all", "--yes")
        self.wait_until(lambda: self.arrived() == ["defer-a", "ok"], server.log)
        self.wait_until(lambda: not list(files.glob("??/*")), server.log)

    def test_nothing_of_it_is_readable_on_disk(self) -> None:
        self.server_.submit("defer-secret@far.example", "sealed")
        self.wait_until(lambda: len(self.entries("--state", "deferred")) == 1, self.server_.log)
        self.server_.stop()
        for path in (self.server_.directory / "var").rglob("*.db*"):
            content = path.read_bytes()
            for word in (b"defer-secret", b"far.example", b"4.7.1 later"):
                self.assertNotIn(word, content, path)
        self.assertIn(HERE.encode(), (self.server_.directory / "var" / "mailx.db").read_bytes())


class Killed(Neighbours):
    """``make bench-crash-queue`` in short."""

    def test_nothing_is_lost(self) -> None:
        directory = Path(mkdtemp(prefix="mailx-crash-"))
        self.addCleanup(crash_queue.remove, directory)
        figures = crash_queue.run(directory, ROUNDS, 1.0, 1)
        self.assertEqual(figures["faults"], [])
        self.assertGreater(figures["acknowledged"], 10)

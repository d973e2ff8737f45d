"""Settings of a running server: mail that waits goes the new way, once, whatever happens meanwhile; the file is read again."""

import signal
from collections import Counter
from pathlib import Path

from bench.recorder import Recorder
from tests.system.neighbours import Neighbours
from tests.system.server import PATIENCE, Server, free_ports


class SmartHost(Neighbours):
    """Two hosts that note what they get, and a port where nobody listens."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.other = (Recorder(Path(self.mktemp()), slow_seconds=0.05) for _ in range(2))
        for recorder in (self.one, self.other):
            self.addCleanup(recorder.close)
        (self.nowhere,) = free_ports(1)
        self.server_ = Server(self, {"queue.retry": '["1h", "1h"]', "limits.account_hour": "0", "limits.account_day": "0"})
        self.server_.start()

    def through(self, port: int) -> None:
        self.server_.ctl("config", "set", "smarthost.host=127.0.0.1", f"smarthost.port={port}", "smarthost.security=plain")

    def submit(self, *names: str) -> list[str]:
        recipients = [f"{name}@far.example" for name in names]
        self.server_.submit(recipients, " ".join(names))
        return recipients

    def taken(self) -> Counter[str]:
        return Counter(arrival.recipient for recorder in (self.one, self.other) for arrival in recorder.arrivals)

    def waiting(self) -> int:
        return self.server_.ctl("queue", "list").count("@far.example")

    def test_what_waits_goes_to_the_new_host(self) -> None:
        server = self.server_
        self.through(self.nowhere)
        sent = [recipient for number in range(5) for recipient in self.submit(f"a{number}", f"b{number}")]
        self.wait_until(lambda: "Connection refused" in server.ctl("queue", "list"), server.log)
        server.ctl("queue", "hold", "--recipient", "a3@far.example", "--yes")
        self.through(self.one.port)
        self.wait_until(lambda: len(self.taken()) == 9, server.log)  # long before their next try is due
        server.ctl("config", "set", f"smarthost.port={self.other.port}")
        server.ctl("queue", "release", "--all", "--yes")
        self.wait_until(lambda: len(self.taken()) == 10, server.log)
        self.assertEqual([arrival.recipient for arrival in self.other.arrivals], ["a3@far.example"])
        self.assertEqual(self.taken(), Counter(sent))

    def test_back_and_forth_under_load(self) -> None:
        self.through(self.one.port)
        sent: list[str] = []
        for number in range(12):
            sent += self.submit(f"slow-a{number}", f"b{number}", f"slow-c{number}")
            self.through((self.other, self.one)[number % 2].port if number % 3 else self.nowhere)
        self.through(self.other.port)
        self.wait_until(lambda: len(self.taken()) == len(sent), self.server_.log)
        self.assertEqual(self.taken(), Counter(sent))

    def test_a_power_cut_between_the_change_and_what_follows(self) -> None:
        server = self.server_
        self.through(self.nowhere)
        sent = [recipient for number in range(5) for recipient in self.submit(f"a{number}", f"b{number}")]
        self.wait_until(lambda: "Connection refused" in server.ctl("queue", "list"), server.log)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)  # nothing is applied between the answer and the kill
        server.kill()
        self.through(self.one.port)  # without a server: only the database knows
        server.start()
        self.wait_until(lambda: len(self.taken()) == len(sent), server.log)
        self.assertEqual(self.taken(), Counter(sent))

    def test_connections_end_politely(self) -> None:
        server = self.server_
        self.through(self.one.port)
        self.submit("a")
        self.wait_until(lambda: len(self.one.arrivals) == 1, server.log)
        self.through(self.other.port)
        self.wait_until(lambda: self.one.goodbyes == self.one.greeted, server.log)


class Reread(Neighbours):
    """SIGHUP."""

    def test_the_file_is_read_again(self) -> None:
        server = Server(self, {"log.level": '"info"'})
        server.start()
        server.settings["log.level"] = '"debug"'
        server.settings["limits.account_day"] = "7"
        server.settings["smtp.recipients"] = "200"
        server.write_configuration()
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: "settings.reloaded" in server.log(), server.log)
        line = next(line for line in server.log().splitlines() if "settings.reloaded" in line)
        self.assertIn('"changed":["limits.account_day","log.level"],"restart":["smtp.recipients"]', line)
        server.send("traced")
        self.wait_until(lambda: '"level":"debug"' in server.log(), server.log)
        server.settings["limits.account_day"] = '"many"'
        server.write_configuration()
        server.process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: "settings.refused" in server.log(), server.log)
        self.assertIn("limits.account_day", server.log())
        server.send("alive")
        server.message("alive")

    def test_what_the_database_cannot_be_used_for_stops_the_start(self) -> None:
        server = Server(self)
        server.start()
        server.ctl("config", "set", "smarthost.host=192.0.2.1")
        server.stop()
        server.tables = '[[outbound.relays]]\nname = "smarthost"\nhosts = ["192.0.2.1"]\n'
        server.write_configuration()
        process = server.spawn()
        _, said = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"outbound.relays[0].name", said)
        server.ctl("config", "unset", "smarthost.host")
        server.start()

"""The whole server at its beginning and its end: nothing that was acknowledged is lost, nothing is left half started."""

import signal
import threading
import time
from collections import Counter
from pathlib import Path

from bench import calling
from bench.recorder import Recorder
from tests.system.neighbours import Neighbours
from tests.system.server import PATIENCE, PORTS, Server

_CLEAN = (0, -signal.SIGTERM)


class Base(Neighbours):
    def calm(self, server: Server) -> None:
        """Nothing went wrong that nobody foresaw."""
        log = server.log()
        for sign in ("Traceback", "Unhandled", '_failed"', '"level":"critical"'):
            self.assertEqual([line for line in log.splitlines() if sign in line], [])

    def ended(self, server: Server) -> None:
        assert server.process is not None
        self.assertIn(server.process.wait(PATIENCE), _CLEAN)
        server.stop()


class Ending(Base):
    """SIGTERM."""

    def test_calls_under_way(self) -> None:
        recorder = Recorder(Path(self.mktemp()), slow_seconds=0.05)
        self.addCleanup(recorder.close)
        server = Server(
            self,
            {
                "webhook.secret": f'"{calling.SECRET}"',
                "webhook.sender_domain": '"localhost.test"',
                "webhook.per_minute": "0",
                "smarthost.port": str(recorder.port),
                "smarthost.security": '"plain"',
                "smarthost.timeout": "60",
            },
        )
        server.start()
        acknowledged: list[str] = []
        for round_ in range(3):
            server.ctl("config", "set", "smarthost.host=127.0.0.1" if round_ % 2 else "smarthost.host=localhost")
            enough = threading.Event()

            def told(answer: calling.Answered, enough: threading.Event = enough) -> None:
                if answer.status == 200:
                    acknowledged.append(answer.call.to)
                if len(acknowledged) % 60 == 59:
                    enough.set()

            names = [f"{'slow-' if number % 7 == 0 else ''}r{round_}n{number}@far.example" for number in range(3000)]
            calls = [calling.signed(name, number) for number, name in enumerate(names)]
            port = server.ports["webhook.port"]
            load = threading.Thread(target=calling.run, args=(port, calls, 20, told))
            load.start()
            self.assertTrue(enough.wait(PATIENCE))
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            self.ended(server)
            load.join(PATIENCE)
            server.start()
        self.assertGreater(len(acknowledged), 150)

        def missing() -> set[str]:
            return set(acknowledged) - {arrival.recipient for arrival in recorder.arrivals}

        self.wait_until(lambda: not missing(), lambda: f"{missing()} {server.log()[-2000:]}")
        doubled = {name: count for name, count in Counter(each.recipient for each in recorder.arrivals).items() if count > 1}
        self.assertEqual(doubled, {})
        self.calm(server)


class Beginning(Base):
    """From the first line of code to the last listener."""

    def test_with_nothing_turned_on(self) -> None:
        server = Server(self, dict.fromkeys(PORTS, "0"))
        notice = server.start()
        self.assertNotIn("set up the administrator", notice)
        self.assertIn("webhook.skew", server.ctl("config", "list", "--all"))
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        server.ctl("config", "set", "webhook.skew=60", "panel.idle_minutes=1", "alerts.mail=me@localhost.test", "log.level=debug")
        self.assertIn(server.stop(), _CLEAN)
        self.calm(server)

    def test_an_end_at_any_moment(self) -> None:
        server = Server(self)
        server.start()
        server.stop()
        for tenths in range(3, 22, 2):
            process = server.spawn()
            time.sleep(tenths / 10)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
            self.assertIn(process.returncode, (*_CLEAN, 1), server.log()[-3000:])
        server.start()
        self.calm(server)

    def test_what_cannot_be_opened_leaves_nothing(self) -> None:
        server = Server(self)
        server.start()
        server.stop()
        (server.directory / "taken").mkdir()
        for key, value in (("admin.socket", '"../taken"'), ("smtp.lmtp_socket", '"nowhere/lmtp.sock"')):
            server.settings[key] = value
            server.write_configuration()
            process = server.spawn()
            _, said = process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 1, key)
            self.assertNotIn(b"Traceback", said)
            self.assertTrue(said.startswith(b"mailx: "), said)
            del server.settings[key]
        server.write_configuration()
        server.start()
        self.assertIn(server.stop(), _CLEAN)
        self.assertNotIn("Traceback", server.log())

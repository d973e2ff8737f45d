"""The log: what a line holds, what it leaves out, and how long files stay."""

import json
import os
import time
from pathlib import Path
from threading import Thread

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailx.config import Log
from mailx.ops.logs import DELAY, DatedFile, Observer, observer


class Sink:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.written.splitlines()]


class Full:
    def write(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")


class Lines(SynchronousTestCase):
    """One event, one line."""

    def logger(self, sink: object, level: str = "info", form: str = "json", namespace: str = "mailx.test") -> Logger:
        publisher = LogPublisher()
        publisher.addObserver(Observer(sink, level, form))  # type: ignore[arg-type]
        return Logger(namespace, observer=publisher)

    def test_a_line_is_one_json_object(self) -> None:
        sink = Sink()
        self.logger(sink).info("SMTP connection accepted", event="smtp.connection", connection_id="abc", port=25, tls_active=False)
        (line,) = sink.lines()
        when = line.pop("time")
        self.assertRegex(str(when), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertEqual(
            line,
            {
                "level": "info",
                "system": "mailx.test",
                "message": "SMTP connection accepted",
                "event": "smtp.connection",
                "connection_id": "abc",
                "port": 25,
                "tls_active": False,
            },
        )

    def test_line_breaks_in_a_field_stay_in_the_line(self) -> None:
        sink = Sink()
        self.logger(sink).info("Message accepted", sender='a"\r\n{"level":"forged"}\u2028\x00')
        self.assertEqual(sink.written.count(b"\n"), 1)
        self.assertEqual(sink.lines()[0]["sender"], 'a"\r\n{"level":"forged"}\u2028\x00')

    def test_objects_do_not_spill(self) -> None:
        sink = Sink()
        self.logger(sink).info("Done", body=b"secret", user=object(), names=["a", "b"])
        line = sink.lines()[0]
        self.assertNotIn("body", line)
        self.assertNotIn("user", line)
        self.assertEqual(line["names"], ["a", "b"])

    def test_lower_levels_are_left_out(self) -> None:
        sink = Sink()
        log = self.logger(sink, "warn")
        for level in LogLevel.iterconstants():
            log.emit(level, "Event")
        self.assertEqual([line["level"] for line in sink.lines()], ["warn", "error", "critical"])

    def test_what_twisted_tells_for_information_is_for_those_who_debug(self) -> None:
        for level, expected in (("info", ["warn"]), ("debug", ["info", "warn"])):
            sink = Sink()
            log = self.logger(sink, level, namespace="twisted.internet.base")
            log.info("Main loop terminated.")
            log.warn("Too many open files")
            self.assertEqual([line["level"] for line in sink.lines()], expected)

    def test_a_failure_brings_its_traceback(self) -> None:
        sink = Sink()
        try:
            raise KeyError("gone")
        except KeyError:
            self.logger(sink).failure("Job failed", failure=Failure())
        (line,) = sink.lines()
        self.assertEqual((line["message"], line["level"], line["error"]), ("Job failed", "critical", "KeyError"))
        self.assertIn("test_logs.py", str(line["traceback"]))

    def test_a_lone_surrogate_does_not_stop_the_log(self) -> None:
        sink = Sink()
        self.logger(sink).info("Name", name="\udc80")
        self.assertEqual(len(sink.lines()), 1)

    def test_a_full_disk_does_not_stop_the_mail(self) -> None:
        self.logger(Full()).info("Event")

    def test_the_form_for_people(self) -> None:
        sink = Sink()
        self.logger(sink, form="console").warn("Slow", event="x", seconds=3)
        self.assertRegex(sink.written.decode(), r"^\d\d:\d\d:\d\d warn     Slow  seconds=3\n$")

    def test_the_form_for_people_keeps_to_its_line(self) -> None:
        sink = Sink()
        self.logger(sink, form="console").info("Command", helo="a\r\n12:00:00 info forged")
        self.assertEqual(sink.written.count(b"\n"), 1)


class Gathering(SynchronousTestCase):
    """While the reactor runs, lines wait for each other."""

    def setUp(self) -> None:
        self.sink = Sink()
        self.reactor = MemoryReactorClock()
        self.observer = Observer(self.sink, "info", "json")
        self.observer.gather(self.reactor)
        self.log = Logger("mailx", observer=self.observer)

    def messages(self) -> list[object]:
        return [line["message"] for line in self.sink.lines()]

    def test_lines_are_written_together(self) -> None:
        self.log.info("first")
        self.log.info("second")
        self.assertEqual(self.messages(), [])
        self.reactor.advance(DELAY)
        self.assertEqual(self.messages(), ["first", "second"])
        self.log.info("third")
        self.reactor.advance(DELAY)
        self.assertEqual(self.messages(), ["first", "second", "third"])

    def test_a_warning_waits_for_nobody(self) -> None:
        self.log.info("first")
        self.log.warn("second")
        self.assertEqual(self.messages(), ["first", "second"])
        self.reactor.advance(DELAY)
        self.assertEqual(self.messages(), ["first", "second"])

    def test_another_thread_needs_no_reactor(self) -> None:
        thread = Thread(target=self.log.info, args=("elsewhere",))
        thread.start()
        thread.join()
        self.assertEqual(self.messages(), ["elsewhere"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nothing_is_lost_when_the_reactor_has_stopped(self) -> None:
        self.log.info("last words")
        for call, args, kwargs in self.reactor.triggers["after"]["shutdown"]:
            call(*args, **kwargs)
        self.log.info("and more")
        self.assertEqual(self.messages(), ["last words", "and more"])


class Files(SynchronousTestCase):
    """Files by the day."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / "logs" / "mailx.log"

    def test_a_new_day_begins_a_new_file(self) -> None:
        file = DatedFile(self.path, 30)
        file.write(b"old\n")
        file.lastDate = (2026, 1, 31)
        file.write(b"new\n")
        self.assertEqual(self.path.read_bytes(), b"new\n")
        self.assertEqual(self.path.with_name("mailx.log.2026_1_31").read_bytes(), b"old\n")

    def test_old_files_are_removed(self) -> None:
        file = DatedFile(self.path, 30)
        for days in (29, 31):
            aside = self.path.with_name(f"mailx.log.2026_1_{days - 10}")
            aside.write_bytes(b"")
            os.utime(aside, (time.time() - days * 86400,) * 2)
        other = self.path.with_name("other.log.2026_1_1")
        other.write_bytes(b"")
        os.utime(other, (0, 0))
        file.prune()
        self.assertEqual(
            sorted(path.name for path in self.path.parent.iterdir()), ["mailx.log", "mailx.log.2026_1_19", "other.log.2026_1_1"]
        )

    def test_a_moved_file_is_made_again(self) -> None:
        observe = observer(Log(file=str(self.path)))
        log = Logger("mailx", observer=observe)
        log.info("zeroth")
        self.assertFalse(self.path.exists())
        observe.open()
        log.info("first")
        self.assertIn(b"zeroth", self.path.read_bytes())
        self.path.rename(self.path.with_name("moved"))
        observe.reopen()
        log.info("second")
        self.assertIn(b"second", self.path.read_bytes())
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

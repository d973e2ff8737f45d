"""The log: one JSON object a line (or a form for people), filtered by level, to standard output or a daily file.

An event's format string is a constant sentence and its fields are keywords; both go out as they are. Field
values are numbers, texts, or lists or tables of them; anything else is left out, so that no object can spill its
contents. A line that cannot be written is lost: the log never stops the mail.
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.logfile import DailyLogFile
from zope.interface import implementer

from mailx.config import Log

_RANKS = {level.name: rank for rank, level in enumerate(LogLevel.iterconstants())}
_DAY = 86400


class _Sink(Protocol):
    def write(self, data: bytes) -> object: ...


@implementer(ILogObserver)
class Observer:
    """Writes each event of ``level`` and above to ``sink`` as one line."""

    def __init__(self, sink: _Sink, level: str, form: str) -> None:
        self._sink = sink
        self._least = _RANKS[level]
        self._format = json_line if form == "json" else console_line

    def __call__(self, event: LogEvent) -> None:
        if _rank(event) < self._least:
            return
        try:
            self._sink.write(self._format(event).encode("utf-8", "replace"))
        except (OSError, ValueError):  # a full disk, a closed pipe: there is no better place to tell
            return

    def open(self) -> None:
        """Begin to write to the log file; until then lines are held. Does nothing for standard output."""
        if isinstance(self._sink, LateFile):
            self._sink.open()

    def reopen(self) -> None:
        """Open the log file again, after somebody moved it away. Does nothing for standard output."""
        if isinstance(self._sink, LateFile):
            self._sink.reopen()


def _rank(event: LogEvent) -> int:
    """How important ``event`` is. What Twisted tells for information (factories, ports) is for those who debug."""
    level = event.get("log_level", LogLevel.info)
    foreign = level is LogLevel.info and not event.get("log_namespace", "").startswith("mailx")
    return _RANKS["debug" if foreign else level.name]


def json_line(event: LogEvent) -> str:
    """``event`` as one JSON object: time, level, system, message, then its fields."""
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event.get("log_level", LogLevel.info).name,
        "system": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _LEGACY and _plain(value):
            line[name] = value
    failure = event.get("log_failure")
    if failure is not None:
        line["error"] = failure.type.__name__
        line["traceback"] = failure.getTraceback()
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def console_line(event: LogEvent) -> str:
    """``event`` for people: time, level, message, fields; a traceback on lines of its own."""
    when = time.strftime("%H:%M:%S", time.localtime(event["log_time"]))
    names = [name for name in event if not name.startswith("log_") and name not in _LEGACY and name != "event"]
    rest = " ".join(f"{name}={_readable(event[name])}" for name in names if _plain(event[name]))
    level = event.get("log_level", LogLevel.info).name
    text = f"{when} {level:<8} {formatEvent(event)}{'  ' if rest else ''}{rest}\n"
    failure = event.get("log_failure")
    return text if failure is None else text + cast(str, failure.getTraceback())


def _readable(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else json.dumps(text)  # no field may begin a line of its own


# What twisted.logger adds for observers of the old interface.
_LEGACY = frozenset({"message", "time", "system", "format", "isError", "printed", "id", "failure", "why", "logLevel"})


def _plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(one, (str, int, float)) for pair in value.items() for one in pair)
    if isinstance(value, (list, tuple)):
        return all(isinstance(one, (str, int, float)) for one in value)
    return value is None or isinstance(value, (str, int, float))


class DatedFile(DailyLogFile):
    """A file that is set aside at midnight as ``NAME.YYYY_M_D``; those older than ``days`` are removed."""

    def __init__(self, path: Path, days: int) -> None:
        self._days = days
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(path.name, str(path.parent), 0o640)
        self.prune()

    def rotate(self) -> None:
        super().rotate()  # type: ignore[no-untyped-call]
        self.prune()

    def prune(self) -> None:
        """Remove what was set aside more than ``days`` days ago."""
        oldest = time.time() - self._days * _DAY
        for aside in Path(self.directory).glob(f"{self.name}.*_*_*"):
            if aside.stat().st_mtime < oldest:
                aside.unlink(missing_ok=True)


class LateFile:
    """A DatedFile that is opened when the process has the rights it will keep; lines from before are held."""

    def __init__(self, path: Path, days: int) -> None:
        self._path = path
        self._days = days
        self._held: list[bytes] = []
        self._file: DatedFile | None = None

    def open(self) -> None:
        """Open the file, raising OSError, and write what was held."""
        self._file = DatedFile(self._path, self._days)
        while self._held:
            self._file.write(self._held.pop(0))  # type: ignore[no-untyped-call]

    def reopen(self) -> None:
        """Open the path anew."""
        if self._file is not None:
            self._file.reopen()  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        if self._file is None:
            self._held.append(data)
        else:
            self._file.write(data)  # type: ignore[no-untyped-call]


def observer(settings: Log) -> Observer:
    """The observer that ``settings`` asks for; to be opened when the process has dropped its rights."""
    sink: _Sink = LateFile(Path(settings.file), settings.days) if settings.file else _StandardOutput()
    form = settings.format
    if form == "auto":
        form = "console" if not settings.file and sys.__stdout__ is not None and sys.__stdout__.isatty() else "json"
    return Observer(sink, settings.level, form)


class _StandardOutput:
    """The process's own standard output, whatever ``sys.stdout`` has been replaced by."""

    def __init__(self) -> None:
        stream = sys.__stdout__
        self._buffer: BinaryIO | None = None if stream is None else cast(BinaryIO, stream.buffer)

    def write(self, data: bytes) -> None:
        if self._buffer is not None:
            self._buffer.write(data)
            self._buffer.flush()

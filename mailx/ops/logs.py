"""The log: one JSON object a line (or a form for people), filtered by level, to standard output or a daily file.

An event's format string is a constant sentence and its fields are keywords; both go out as they are. Field
values are numbers, texts, or lists or tables of them; anything else is left out, so that no object can spill its
contents. A line that cannot be written is lost: the log never stops the mail.

While the reactor runs, lines up to ``info`` wait ``DELAY`` for others, so that a busy server writes many at once; a
warning or worse goes out at once, with all before it. What a killed process loses are the last moments of ``info``.
"""

import json
import sys
import time
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Protocol, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.logfile import DailyLogFile
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from mailx.config import Log

DELAY = 0.05  # seconds
_RANKS = {level.name: rank for rank, level in enumerate(LogLevel.iterconstants())}
_DAY = 86400
_KNOWN_LIMIT = 1000  # heads and names of fields that are kept ready


class _Sink(Protocol):
    def write(self, data: bytes) -> object: ...


@implementer(ILogObserver)
class Observer:
    """Writes each event of ``level`` and above to ``sink`` as one line. May be called from any thread."""

    def __init__(self, sink: _Sink, level: str, form: str) -> None:
        self._sink = sink
        self._least = _RANKS[level]
        self._format = json_line if form == "json" else console_line
        self._ranks: dict[tuple[object, str], int] = {}
        self._reactor: Any = None  # none: every line is written at once
        self._waiting: list[str] = []
        self._lock = Lock()

    def __call__(self, event: LogEvent) -> None:
        kind = event.get("log_level"), event.get("log_namespace", "")
        rank = self._ranks.get(kind)
        if rank is None:
            rank = _rank(event)
            if len(self._ranks) < _KNOWN_LIMIT:
                self._ranks[kind] = rank
        if rank < self._least:
            return
        line = self._format(event)
        with self._lock:
            first = not self._waiting
            self._waiting.append(line)
        if self._reactor is None or rank > _RANKS["info"] or not isInIOThread():
            self.flush()
        elif first:
            self._reactor.callLater(DELAY, self.flush)

    def keep(self, level: str) -> None:
        """From now on write events of ``level`` and above."""
        self._least = _RANKS[level]

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            lines = "".join(self._waiting)
            self._waiting.clear()
            if not lines:
                return
            try:
                self._sink.write(lines.encode("utf-8", "replace"))
            except (OSError, ValueError):  # a full disk, a closed pipe: there is no better place to tell
                return

    def gather(self, reactor: Any) -> None:
        """From now on lines may wait for each other, until ``reactor`` has stopped."""
        self._reactor = reactor
        reactor.addSystemEventTrigger("after", "shutdown", self._scatter)

    def _scatter(self) -> None:
        self._reactor = None
        self.flush()

    def open(self) -> None:
        """Begin to write to the log file; until then lines are held. Does nothing for standard output."""
        if isinstance(self._sink, LateFile):
            self._sink.open()

    def reopen(self) -> None:
        """Open the log file again, after somebody moved it away. Does nothing for standard output."""
        self.flush()
        if isinstance(self._sink, LateFile):
            self._sink.reopen()


def _rank(event: LogEvent) -> int:
    """How important ``event`` is. What Twisted tells for information (factories, ports) is for those who debug."""
    level = event.get("log_level", LogLevel.info)
    foreign = level is LogLevel.info and not event.get("log_namespace", "").startswith("mailx")
    return _RANKS["debug" if foreign else level.name]


def json_line(event: LogEvent) -> str:
    """``event`` as one JSON object: time, level, system, message, then its fields."""
    second, thousandth = divmod(int(event["log_time"] * 1000), 1000)
    # Nearly all messages are constant sentences: what they begin with is made once.
    kind = (event.get("log_level"), event.get("log_namespace"), event.get("log_format"))
    pieces = [f'{{"time":"{_clock(second)}.{thousandth:03}+00:00"{_heads.get(kind) or _head(event)}']
    for name, value in event.items():
        label = _labels.get(name)
        if label is None:
            label = _label(name)
        if not label:
            continue
        if type(value) is str:
            pieces += label, encode_basestring(value)
        elif type(value) is int:
            pieces += label, str(value)
        elif _plain(value):
            pieces += label, _encode(value)
    failure = event.get("log_failure")
    if failure is not None:
        pieces.append(f',"error":{_encode(failure.type.__name__)},"traceback":{_encode(failure.getTraceback())}')
    pieces.append("}\n")
    return "".join(pieces)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_heads: dict[tuple[object, ...], str] = {}
_labels: dict[str, str] = {}  # what stands before the value of a field; empty for what is no field


def _head(event: LogEvent) -> str:
    level, system, format = event.get("log_level", LogLevel.info), event.get("log_namespace", ""), event.get("log_format")
    head = f',"level":{_encode(level.name)},"system":{_encode(system)},"message":{_encode(formatEvent(event))}'
    if format is not None and "{" not in format and len(_heads) < _KNOWN_LIMIT:
        _heads[event.get("log_level"), event.get("log_namespace"), format] = head
    return head


def _label(name: str) -> str:
    label = "" if name.startswith("log_") or name in _LEGACY else f",{_encode(name)}:"
    if len(_labels) < _KNOWN_LIMIT:
        _labels[name] = label
    return label


@lru_cache(maxsize=4)
def _clock(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


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

"""Line ends and dots: the only copy of CRLF discipline and dot-stuffing (RFC 5321 2.3.8, 4.5.2).

``DotReader`` takes the DATA stream in chunks of any size and finds ``CRLF.CRLF`` across their borders; nothing
else ends a message. ``LineScan`` watches the same octets for what no message may hold: a bare CR, a bare LF, a
NUL, a line beyond the limit. Such octets are never taken for a line end (SMTP smuggling): the fault is
remembered and the message is refused when its end comes, so nothing of it is ever executed.
"""

from enum import Enum
from io import IncrementalNewlineDecoder

_END = b"\r\n.\r\n"
_CRLF_ONLY = (None, "\r\n")


class Fault(Enum):
    """Why a message's lines are refused; the value says it to the sender."""

    BARE = "Bare CR or LF: lines end with CRLF"
    NUL = "NUL octet in the message"
    LONG = "Line too long"


class LineScan:
    """Watches content that comes in chunks; ``fault`` is the first kind of offence found, or None.

    ``limit`` is the longest line allowed, in octets with its CRLF.
    """

    __slots__ = ("fault", "_limit", "_length", "_ends")

    def __init__(self, limit: int) -> None:
        self.fault: Fault | None = None
        self._limit = limit
        self._length = 0  # octets of the line that the last chunk left open
        # Knows in one pass, and across chunks, which kinds of line ends occurred: four times faster than counting them.
        self._ends = IncrementalNewlineDecoder(None, False)

    def scan(self, data: bytes) -> None:
        """Look at the next octets."""
        if self.fault is not None:
            return
        self._ends.decode(data.decode("latin-1"))
        if self._ends.newlines not in _CRLF_ONLY:
            self.fault = Fault.BARE
        elif b"\0" in data:
            self.fault = Fault.NUL
        elif self._length + len(data) <= self._limit:  # no line can be too long
            last = data.rfind(b"\n")
            self._length = self._length + len(data) if last < 0 else len(data) - last - 1
        else:
            self._measure(data)

    def _measure(self, data: bytes) -> None:
        start = -self._length  # where the open line began, seen from this chunk
        while len(data) - start > self._limit:
            end = data.rfind(b"\n", max(start, 0), start + self._limit)
            if end < 0:
                self.fault = Fault.LONG
                return
            start = end + 1
        self._length = len(data) - max(start, data.rfind(b"\n") + 1)

    def finish(self) -> Fault | None:
        """The verdict once all has come: a CR at the very end is bare too."""
        self._ends.decode("", True)
        if self.fault is None and self._ends.newlines not in _CRLF_ONLY:
            self.fault = Fault.BARE
        return self.fault


class DotReader:
    """The content of one DATA command, dots unstuffed, found in chunks of any size.

    Costs a few searches a chunk, never a step per line. Between chunks it keeps at most four octets.
    """

    __slots__ = ("_held", "_lead")

    def __init__(self) -> None:
        self._held = b"\r\n"  # the end of the stream so far that may begin CRLF.CRLF; first the line DATA stood on
        self._lead = 2  # octets of the next content that are not content: that line's CRLF

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The content that ``data`` completes, and what follows the end; None as long as the end has not come."""
        data = self._held + data
        end = data.find(_END) if b"." in data else -1
        if end >= 0:
            return self._content(data[: end + 2]), data[end + 5 :]
        keep = _overlap(data)
        self._held = data[len(data) - keep :]
        return (self._content(data[: len(data) - keep]) if keep < len(data) else b""), None

    def _content(self, data: bytes) -> bytes:
        content = data.replace(b"\r\n.", b"\r\n") if b"." in data else data  # a held tail never cuts the pattern in two
        if self._lead:
            lead, self._lead = self._lead, 0
            return content[lead:]
        return content


def _overlap(data: bytes) -> int:
    """How many of the last octets of ``data`` may be the beginning of CRLF.CRLF."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0


def dot_stuff(content: bytes) -> bytes:
    """``content`` (whole lines, CRLF) as DATA sends it: a dot before each leading dot, no final dot."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


class DotStuffer:
    """The dot-stuffing of content that comes in chunks: what ``feed`` gives for all of them is ``dot_stuff`` of the whole."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the end of the stream so far; at the beginning a line begins

    def feed(self, data: bytes) -> bytes:
        """``data`` as it is sent."""
        if not data:
            return b""
        tail = self._tail
        stuffed = data.replace(b"\r\n.", b"\r\n..") if b"." in data else data
        if (tail == b"\r\n" and data[0] == 46) or (tail[-1:] == b"\r" and data.startswith(b"\n.")):
            at = 0 if data[0] == 46 else 1
            stuffed = stuffed[:at] + b"." + stuffed[at:]
        self._tail = data[-2:] if len(data) > 1 else tail[-1:] + data
        return stuffed

    def finish(self) -> bytes:
        """What ends the data: the final dot, on a line of its own whether or not the last line was ended."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"

"""Messages in mbox files: where one ends and the next begins, and the state that programs keep in their header fields. Pure.

There is no standard (RFC 4155 names the variants). A message begins with a line ``From SENDER DATE`` at the beginning of the file
or behind an empty line. Lines of its text that begin like this are quoted with ``>`` (mboxo, and mboxrd, which quotes quoted ones
again), or its length stands in Content-Length (mboxcl, which quotes too, and mboxcl2, which does not). All are read: a length is
believed when the next message, or nothing, begins where it ends.
"""

import re
from calendar import timegm
from collections import deque
from collections.abc import Iterable, Iterator

from attrs import frozen

from mailx.mail.mailbox import Flag

LENGTH_LIMIT = 64 * 1024 * 1024  # octets of text up to which a Content-Length is tried: it is held in memory
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
# From SENDER [Fri] Feb 22 17:06[:23] [zone] 2008 [zone]
_POSTMARK = re.compile(
    rb"From (?:.*[ \t])??(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +)?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +([0-9]{1,2}) +"
    rb"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))? +(?:[A-Za-z]{1,5} +|[+-][0-9]{4} +)?([0-9]{4})(?: +([+-][0-9]{4})?.*)?[ \r\n]*\Z"
)
_QUOTED = re.compile(rb">+From ")
_STATE = (b"status", b"x-status", b"x-keywords", b"x-uid", b"x-imap", b"x-imapbase", b"content-length", b"lines")
_MOZILLA = (b"x-mozilla-status", b"x-mozilla-status2", b"x-mozilla-keys")
_LETTERS = {b"R": Flag.SEEN, b"A": Flag.ANSWERED, b"F": Flag.FLAGGED, b"D": Flag.DELETED, b"T": Flag.DRAFT}
_MOZILLA_SEEN, _MOZILLA_ANSWERED, _MOZILLA_FLAGGED, _MOZILLA_GONE, _MOZILLA_FORWARDED = 0x1, 0x2, 0x4, 0x8, 0x1000


@frozen
class Found:
    """A message of an mbox file, without the fields in which programs keep their state."""

    content: bytes
    flags: int
    keywords: tuple[str, ...]
    received: int | None  # of its From line, seconds since 1970


def messages(lines: Iterable[bytes]) -> Iterator[Found]:
    """The messages of a file, given as its lines with their ends.

    What stands before the first From line is passed over, and so are messages that a program has deleted and not yet taken out
    (X-Mozilla-Status), and the note that IMAP servers leave at the beginning of a file (X-IMAP).
    """
    reader = _Lines(lines)
    postmark = next((line for line in reader if _POSTMARK.match(line)), None)
    while postmark is not None:
        head = _head(reader)
        text, quoted, following = _text(reader, _length(head))
        found = _found(postmark, head, text, quoted)
        if found is not None:
            yield found
        postmark = following


def postmark_date(line: bytes) -> int | None:
    """The date of a From line, seconds since 1970; without a zone it is taken for UTC."""
    match = _POSTMARK.match(line)
    if match is None:
        return None
    month, day, hour, minute, second, year, zone = match.groups()
    at = timegm((int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second or 0)))
    if zone is not None:
        offset = 3600 * int(zone[1:3]) + 60 * int(zone[3:5])
        at += offset if zone.startswith(b"-") else -offset
    return at if at >= 0 else None


def quote(content: bytes) -> bytes:
    """``content`` as mboxrd writes it: a ``>`` before every line that begins like a From line, quoted or not."""
    return re.sub(rb"^(>*From )", rb">\1", content, flags=re.MULTILINE)


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._back: deque[bytes] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> bytes:
        return self._back.popleft() if self._back else next(self._lines)

    def give_back(self, lines: Iterable[bytes]) -> None:
        self._back.extendleft(reversed(list(lines)))


def _blank(line: bytes) -> bool:
    return line in (b"\n", b"\r\n")


def _head(lines: _Lines) -> list[bytes]:
    """The header with the empty line that ends it; also a file that ends within it."""
    head = []
    for line in lines:
        head.append(line)
        if _blank(line):
            break
    return head


def _text(lines: _Lines, length: int | None) -> tuple[list[bytes], bool, bytes | None]:
    """(lines of the text, whether From lines in it are quoted, the From line of the next message or None)."""
    if length is not None:
        measured = _measured(lines, length)
        if measured is not None:
            text, following = measured
            return text, not any(_POSTMARK.match(line) for line in text), following
    text = []
    for line in lines:
        if (not text or _blank(text[-1])) and _POSTMARK.match(line):
            return _ended(text), True, line
        text.append(line)
    return _ended(text), True, None


def _ended(text: list[bytes]) -> list[bytes]:
    """``text`` without the empty line that is behind every message."""
    return text[:-1] if text and _blank(text[-1]) else text


def _measured(lines: _Lines, length: int) -> tuple[list[bytes], bytes | None] | None:
    """``length`` octets and the From line that follows; None, with all lines given back, if it does not."""
    text: list[bytes] = []
    left = length
    while left > 0 and (line := next(lines, None)) is not None:
        text.append(line)
        left -= len(line)
    behind: list[bytes] = []
    while (line := next(lines, None)) is not None:
        behind.append(line)
        if not _blank(line):
            break
    if left == 0 and not behind:
        return text, None
    if left == 0 and len(behind) <= 2 and _POSTMARK.match(behind[-1]):
        return text, behind[-1]
    if left == 0 and len(behind) == 1 and _blank(behind[0]):
        return text, None
    lines.give_back(text + behind)
    return None


def _fields(head: list[bytes]) -> Iterator[tuple[bytes, bytes, list[bytes]]]:
    """(name in lower case, value on one line, lines) of each field; the empty line comes with an empty name."""
    at = 0
    while at < len(head):
        end = at + 1
        while end < len(head) and head[end][:1] in b" \t" and not _blank(head[end]):
            end += 1
        name, _, value = b"".join(head[at:end]).partition(b":")
        yield (b"" if _blank(head[at]) else name.strip().lower()), b" ".join(value.split()), head[at:end]
        at = end


def _length(head: list[bytes]) -> int | None:
    values = [value for name, value, _ in _fields(head) if name == b"content-length"]
    if len(values) == 1 and values[0].isdigit() and len(values[0]) < 12 and int(values[0]) <= LENGTH_LIMIT:
        return int(values[0])
    return None


def _found(postmark: bytes, head: list[bytes], text: list[bytes], quoted: bool) -> Found | None:
    """The message; None for one that is none any more."""
    kept: list[bytes] = []
    state: dict[bytes, bytes] = {}
    for name, value, lines in _fields(head):
        if name in _STATE or name in _MOZILLA:
            state[name] = value
        else:
            kept += lines
    if b"x-imap" in state and b"x-uid" not in state and b"folder internal data" in b"".join(head).lower():
        return None
    flags, keywords = 0, state.get(b"x-keywords", b"").split() + state.get(b"x-mozilla-keys", b"").split()
    for letter, flag in _LETTERS.items():
        if letter in state.get(b"x-status", b"") or (letter == b"R" and letter in state.get(b"status", b"")):
            flags |= flag
    mozilla = state.get(b"x-mozilla-status", b"")
    if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", mozilla):
        bits = int(mozilla, 16)
        if bits & _MOZILLA_GONE:
            return None
        flags |= Flag.SEEN * bool(bits & _MOZILLA_SEEN)
        flags |= Flag.ANSWERED * bool(bits & _MOZILLA_ANSWERED) | Flag.FLAGGED * bool(bits & _MOZILLA_FLAGGED)
        if bits & _MOZILLA_FORWARDED:
            keywords.append(b"$Forwarded")
    if quoted:
        text = [line[1:] if _QUOTED.match(line) else line for line in text]
    names = tuple(dict.fromkeys(keyword.decode("utf-8", "replace") for keyword in keywords))
    return Found(b"".join(kept + text), int(flags), names, postmark_date(postmark))

"""What a server answers, read from octets in chunks of any size (RFC 5321 4.2). Pure: no I/O, no clock.

A reply that breaks the grammar, or never ends, raises ``Babble``; what was said in full before it counts. Lines may be long: what is
beyond ``LINE_KEPT`` octets is not kept, so memory is bounded whatever the server sends.
"""

import re
from typing import NamedTuple

from mailx.mail.printable import printable
from mailx.mail.reply import Reply

LINE_KEPT = 4096  # octets of a line that are looked at; RFC 5321 4.5.3.1.5 allows 512
LINES_KEPT = 128  # lines of a reply that are looked at
ANSWER_LIMIT = 262144  # octets of a whole reply; more is no reply
TEXT_LIMIT = 500  # characters of a reply's text that go into the log, the queue and reports

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|\Z)")


class Babble(Exception):
    """What the server says is not SMTP."""


class Answer(NamedTuple):
    """One reply as it came: its code and the texts of its lines."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def good(self) -> bool:
        return self.code < 300

    def reply(self) -> Reply:
        """The reply as a value that is safe to keep and to show; a 3xx, which promises nothing, becomes 4xx."""
        texts = [line.decode("utf-8", "replace") for line in self.lines]
        enhanced = ""
        found = _ENHANCED.match(texts[0])
        if found is not None and int(found[1][0]) == self.code // 100:  # another class contradicts the code (RFC 2034 4)
            enhanced = found[1]
            texts = [text.removeprefix(enhanced).lstrip() for text in texts]
        text = clean(" ".join(texts))
        if 300 <= self.code < 400:
            return Reply(451, "4.5.0", clean(f"Answer out of place: {self.code} {text}"))
        return Reply(self.code, enhanced, text)


def clean(text: str) -> str:
    """``text`` as one line of at most TEXT_LIMIT characters in which nothing steers a terminal or a text's direction."""
    return printable(text[:TEXT_LIMIT].strip())


class AnswerReader:
    """Takes octets, gives whole answers."""

    __slots__ = ("_rest", "_code", "_lines", "_octets", "babbled")

    def __init__(self) -> None:
        self._rest = b""  # the open line, as far as it is kept
        self._code = 0  # of the open reply; 0: none is open
        self._lines: list[bytes] = []
        self._octets = 0  # of the open reply
        self.babbled = False  # what came behind whole answers was none: nothing more can be understood

    @property
    def pending(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._rest or self._octets or self.babbled)

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that ``data`` completes; raises Babble if there is none before what is no answer."""
        answers: list[Answer] = []
        try:
            self._feed(data, answers)
        except Babble:
            self.babbled = True
            if not answers:
                raise
        return answers

    def _feed(self, data: bytes, answers: list[Answer]) -> None:
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start:end]
            if self._rest:
                line = self._kept(line)
                self._rest = b""
            answer = self._line(line[:LINE_KEPT])
            if answer is not None:
                answers.append(answer)
                self._octets = 0
            else:
                self._count(end + 1 - start)
            start = end + 1
        if start < len(data):
            self._rest = self._kept(data[start:])
            self._count(len(data) - start)

    def _kept(self, data: bytes) -> bytes:
        room = LINE_KEPT - len(self._rest)
        return self._rest + data[:room] if room > 0 else self._rest

    def _count(self, octets: int) -> None:
        self._octets += octets
        if self._octets > ANSWER_LIMIT:
            raise Babble("the answer does not end")

    def _line(self, line: bytes) -> Answer | None:
        """One line without its LF; the answer if it is the last of one."""
        match = _LINE.match(line[:-1] if line.endswith(b"\r") else line)
        if match is None:
            raise Babble("the answer does not begin with a reply code")
        code, mark, text = match.groups()
        if self._lines and int(code) != self._code:
            raise Babble("the lines of an answer have different codes")
        if mark != b"-":
            lines = (*self._lines, text or b"")
            self._lines.clear()
            return Answer(int(code), lines)
        self._code = int(code)
        if len(self._lines) < LINES_KEPT:
            self._lines.append(text)
        return None

"""A wire that keeps a transcript: everything said in one SMTP session, as it went over, but for what a login says.

For the test of a smart host: it is the client's own wire, with shorter patience, so that what the test finds is what mail meets.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from mailx.core.client_tls import Presented, presented
from mailx.core.probing import Transcript
from mailx.core.reaching import answered_in_clear
from mailx.outbound.answers import LINE_KEPT, Answer
from mailx.outbound.wire import END_TIME, SLOW, Wire

GREETING, MESSAGE = "greeting", "message"  # in ``said``, beside the verbs of commands
_END_FACTOR = 2  # the end of the message may take so many times what another answer may


class TracedWire(Wire):
    """``said`` holds the last line of the last answer to each verb."""

    def __init__(self, seconds: Callable[[], float], transcript: Transcript, name: str, timeout: float) -> None:
        """``name`` is the host's, which its certificate must have; an answer may take ``timeout`` seconds."""
        self.ended: Deferred[None] = Deferred()
        super().__init__(seconds, lambda wire: self.ended.callback(None))
        self.said: dict[str, str] = {}
        self.offered: dict[str, str] = {}  # what EHLO announced last
        self.presented: Presented | None = None
        self.in_clear = False  # TLS failed because the server speaks without
        self._transcript = transcript
        self._name = name
        self._timeout = timeout
        self._asked: deque[str] = deque((GREETING,))
        self._line = b""  # the server's open line
        self._logging_in = False
        self._flows = False  # DATA was accepted: what is written next is the message
        self._octets = 0  # of a chunk that are still to be written

    def code(self, verb: str) -> int:
        """The code of the last answer to ``verb``; 0: there was none."""
        text = self.said.get(verb, "")[:3]
        return int(text) if text.isascii() and text.isdigit() else 0

    def look(self, until: float) -> None:
        """Give up what is overdue; everything when it is ``until``."""
        now = self._seconds()
        if now >= until:
            self._break(SLOW)
        else:
            self.check(now)

    def _expect(self, count: int, patience: float) -> "Deferred[list[Answer]] | None":
        return super()._expect(count, min(patience, self._timeout * (_END_FACTOR if patience >= END_TIME else 1)))

    # Octets out.

    def write(self, data: bytes) -> None:
        self._record(data)
        super().write(data)

    def _record(self, data: bytes) -> None:
        while data:
            if self._octets:
                piece, data = data[: self._octets], data[self._octets :]
                self._octets -= len(piece)
                self._show(piece)
            elif self._flows:
                self._flows = False
                self._asked.append(MESSAGE)
                self._show(data)
                return
            else:
                line, _, data = data.partition(b"\r\n")
                self._command(line.decode("utf-8", "replace"))

    def _show(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").removesuffix("\r\n").split("\r\n"):
            self._transcript.client(line)

    def _command(self, line: str) -> None:
        words = line.split()
        verb = words[0].upper() if words else ""
        if self._logging_in:
            self._transcript.hide(line if len(line) > 1 else "")
            self._transcript.client("(hidden)")
            verb = "AUTH"
        elif verb == "AUTH":
            self._logging_in = True
            self._transcript.hide(words[2] if len(words) > 2 else "")
            self._transcript.client(" ".join(words[:2]) + " (hidden)" * (len(words) > 2))
        else:
            self._transcript.client(line)
        if verb == "BDAT":
            self._octets = int(words[1])
            verb = MESSAGE
        self._asked.append(verb)

    def start_tls(self, creator: IOpenSSLClientConnectionCreator, patience: float) -> "Deferred[list[Answer]]":
        self._transcript.note("-- TLS begins")
        return super().start_tls(creator, patience)

    # Octets in.

    def dataReceived(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[:LINE_KEPT]
        for line in lines:
            self._heard(line.removesuffix(b"\r"))
        super().dataReceived(data)

    def _heard(self, line: bytes) -> None:
        code, last = line[:3], line[3:4] != b"-"
        verb = self._asked[0] if self._asked else ""
        if verb == "AUTH" and code == b"334":
            self._transcript.note("S: 334 (hidden)")
        else:
            self._transcript.server(line)
        if verb == "EHLO" and code == b"250":
            keyword, _, parameters = line[4:].decode("ascii", "replace").upper().partition(" ")
            self.offered[keyword] = parameters
        if not last:
            return
        self.said[verb] = line.decode("utf-8", "replace")
        if self._asked:
            self._asked.popleft()
        if verb == "AUTH":
            self._logging_in = code == b"334"
        elif verb == "DATA":
            self._flows = code == b"354"
        elif verb == "STARTTLS":
            self.offered = {}

    def handshakeCompleted(self) -> None:
        self.presented = presented(self.transport.getHandle(), self._name)
        self._transcript.note(*self.presented.lines())
        super().handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.in_clear = self._handshaking and answered_in_clear(reason)
        super().connectionLost(reason)

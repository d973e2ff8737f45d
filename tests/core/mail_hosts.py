"""Hosts with mailboxes on loopback, for tests of what tries them out: they obey a script of lines."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import conversation
from mailx.core.conversation import Call, Conversation
from mailx.core.faults import Fault
from mailx.core.probing import Transcript
from mailx.core.reaching import Patience
from mailx.core.resolver import DNSFailure

reactor: Any = _reactor

Answer = bytes | None | Callable[["Session"], bytes | None]


class Names:
    """A resolver that knows one name."""

    async def addresses(self, name: str) -> list[str]:
        if name == "away.example.org":
            raise DNSFailure("no answer")
        return ["127.0.0.1"] if name == "mail.example.org" else []


class Session(Protocol):
    """One connection: answers each line by the first beginning of the script that fits; None closes."""

    transport: Any

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.tls = False
        self.buffer = b""

    def connectionMade(self) -> None:
        self.host.sessions.append(self)
        if self.host.implicit is not None:
            self.transport.startTLS(self.host.implicit)
            self.tls = True
        self.answer(b"", b"")

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while b"\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\n", 1)
            line = line.removesuffix(b"\r")
            self.host.lines.append(line)
            tag, _, rest = line.partition(b" ") if self.host.tagged else (b"", b"", line)
            self.answer(rest or tag, tag)

    def answer(self, command: bytes, tag: bytes) -> None:
        for beginning, scripted in self.host.script:
            if command.upper().startswith(beginning) if beginning else not command:
                said = scripted(self) if callable(scripted) else scripted
                if said is None:
                    self.transport.abortConnection()
                else:
                    self.transport.write(said.replace(b"TAG", tag))
                return


class Host(Factory):
    """What all sessions of a host did. ``tagged``: commands begin with a tag, which stands for TAG in answers."""

    noisy = False

    def __init__(self, script: Sequence[tuple[bytes, Answer]], tagged: bool, implicit: Any = None) -> None:
        self.script = list(script)
        self.tagged = tagged
        self.implicit = implicit
        self.sessions: list[Session] = []
        self.lines: list[bytes] = []

    def buildProtocol(self, addr: object) -> Session:
        return Session(self)


def begin_tls(options: Any, said: bytes) -> Callable[[Session], bytes]:
    """Says ``said`` in the clear, then begins TLS."""

    def begin(session: Session) -> bytes:
        session.transport.write(said.replace(b"TAG", session.host.lines[-1].split()[0]))
        session.transport.startTLS(options)
        session.tls = True
        return b""

    return begin


def listen(case: TestCase, host: Host) -> int:
    """``host`` on a loopback port, until the test ends."""
    port = reactor.listenTCP(0, host, interface="127.0.0.1")

    async def close() -> None:
        await port.stopListening()
        for session in host.sessions:
            session.transport.abortConnection()
        await deferLater(reactor, 0)

    case.addCleanup(lambda: Deferred.fromCoroutine(close()))
    return int(port.getHost().port)


def converse(
    case: SynchronousTestCase, port: int, secret: str, session: Callable[[Call], Coroutine[Any, Any, str]], lines: list[bytes]
) -> None:
    """Let a host say ``lines`` to a session: whatever they are, the end is a fault or an answer, and nothing waits for ever."""
    clock = Clock()
    transcript = Transcript((secret,))
    made = Conversation(transcript, Patience(10, 40), clock)
    transport = StringTransport()
    transport.abortConnection = lambda: None  # type: ignore[method-assign]
    transport.startTLS = lambda creator: None  # type: ignore[attr-defined]
    made.makeConnection(transport)
    call = Call(made, "mail.example.org", "127.0.0.1", port, None, True, clock)  # type: ignore[arg-type]
    case.patch(conversation, "speaks_tls", lambda *arguments: _no())
    running = Deferred.fromCoroutine(session(call))
    running.addErrback(lambda failure: failure.trap(Fault))
    for line in lines:
        made.dataReceived(line + b"\r\n")
    for _ in range(10):
        clock.advance(10)
    case.assertTrue(running.called)
    case.assertNotIn(secret, repr(transcript.probe("")))


async def _no() -> bool:
    return False

"""Stand-ins of the core for protocol tests, and a session over an in-memory transport."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import alsoProvides

from mailx.config import SMTP, Server
from mailx.core.sasl import Exchange, LoginRefused, Malformed
from mailx.core.users import User
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply
from mailx.smtp.door import MX, Door
from mailx.smtp.listener import SMTPListener
from mailx.smtp.session import Session

ME = Address("me", "example.test")
OK = Reply(250, "2.0.0", "OK")
DONE = IPv4Address("TCP", "127.0.0.1", 25)


class FakeContent:
    """Keeps the octets; ``state`` is open, finished or aborted."""

    def __init__(self, reception: "FakeReception", head: bytes) -> None:
        self.reception = reception
        self.head = head
        self.chunks: list[bytes] = []
        self.state = "open"

    def write(self, data: bytes) -> "Deferred[None] | None":
        assert self.state == "open"
        self.chunks.append(data)
        return self.reception.blocked

    async def finish(self) -> Message:
        assert self.state == "open"
        self.state = "finished"
        content = b"".join(self.chunks)
        return Message(content, len(content))

    def abort(self) -> None:
        assert self.state == "open"
        self.state = "aborted"


class FakeReception:
    """Accepts mail to any name at example.test but ``nobody``; remembers what it took."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.contents: list[FakeContent] = []
        self.asked: list[tuple[str, Any]] = []
        self.blocked: Deferred[None] | None = None  # what Content.write answers
        self.pending: list[Deferred[None]] | None = None  # a list: RCPT and the end of DATA wait
        self.failure: Exception | None = None  # what accept raises
        self.each: dict[str, Reply] = {}

    async def _wait(self) -> None:
        if self.pending is not None:
            waiting: Deferred[None] = Deferred()
            self.pending.append(waiting)
            await waiting

    async def sender(self, origin: Origin, address: Address | None, size: int | None) -> None:
        self.asked.append(("sender", address))
        if address is not None and address.local == "blocked":
            raise Refused(Reply(550, "5.7.1", "Sender refused"), "private reason")

    async def recipient(self, origin: Origin, sender: Address | None, address: Address, size: int | None) -> Address:
        self.asked.append(("recipient", address))
        await self._wait()
        if address.domain not in ("example.test", ""):
            raise Refused(Reply(550, "5.7.1", "Relaying denied"))
        if address.local == "nobody":
            raise Refused(Reply(550, "5.1.1", "No such mailbox here"))
        if address.local == "broken":
            raise RuntimeError("secret internal text")
        return address

    def content(self, origin: Origin, head: bytes, limit: int, submitted: bool) -> FakeContent:
        content = FakeContent(self, head)
        self.contents.append(content)
        return content

    async def accept(self, envelope: Envelope, each: bool = False) -> Mapping[Address, Reply]:
        await self._wait()
        if self.failure is not None:
            raise self.failure
        self.envelopes.append(envelope)
        return {recipient: self.each.get(recipient.local, OK) for recipient in envelope.recipients}

    @property
    def messages(self) -> list[bytes]:
        return [bytes(envelope.message.content) for envelope in self.envelopes]  # type: ignore[arg-type]


class FakeExchange:
    """PLAIN and LOGIN for ``me@example.test`` with the password ``secret``; ``later``: throttled."""

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism
        self.answers: list[bytes] = []

    def first(self) -> bytes:
        return b"" if self.mechanism == "PLAIN" else b"Username:"

    async def step(self, response: bytes) -> bytes | User:
        self.answers.append(response)
        if self.mechanism == "LOGIN":
            if len(self.answers) == 1:
                return b"Password:"
            name, password = self.answers
        else:
            parts = response.split(b"\0")
            if len(parts) != 3:
                raise Malformed("PLAIN")
            name, password = parts[1:]
        if name == b"later":
            raise LoginRefused(temporary=True, outcome="throttled")
        if (name, password) != (b"me@example.test", b"secret"):
            raise LoginRefused()
        return User(7, ME, "user", "active", 0, 0, b"")


class FakeAccess:
    def __init__(self) -> None:
        self.revocations: list[Callable[[int], None]] = []

    def on_revocation(self, call: Callable[[int], None]) -> None:
        self.revocations.append(call)

    def hold(self, user: User) -> None:
        pass

    def release(self, user: User) -> None:
        pass

    def mechanisms(self, tls: bool, plaintext: bool) -> tuple[str, ...]:
        return ("PLAIN", "LOGIN") if tls else ()

    def begin(self, mechanism: str, origin: Origin, bindings: Mapping[str, bytes]) -> Exchange:
        return FakeExchange(mechanism)


class FakeTLS:
    def server_options(self) -> CertificateOptions:
        return CertificateOptions()


class FakeHandle:
    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"


class Transport(StringTransport):
    """A transport that can start TLS in name; ``handshake`` completes it."""

    session: Session

    def __init__(self, address: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", address, 40000))
        self.aborted = False
        self.started = 0
        alsoProvides(self, ITLSTransport)

    def startTLS(self, options: object, normal: bool = True) -> None:
        self.started += 1

    def getHandle(self) -> FakeHandle:
        return FakeHandle()

    def handshake(self) -> None:
        self.session.handshakeCompleted()

    def abortConnection(self) -> None:
        self.aborted = True

    def take(self) -> bytes:
        """What was written since the last call."""
        data: bytes = self.value()
        self.clear()
        return data


class Scene:
    """One listener with its fakes and a clock."""

    def __init__(self, door: Door = MX, **settings: Any) -> None:
        self.clock = Clock()
        self.reception = FakeReception()
        self.settings = evolve(SMTP(), **settings)
        server = Server(hostname="mx.example.test")
        self.listener = SMTPListener(door, 2525, self.settings, server, self.reception, FakeAccess(), FakeTLS(), self.clock)

    def connect(self, address: str = "192.0.2.1") -> tuple[Session, Transport]:
        transport = Transport(address)
        session = self.listener.buildProtocol(transport.getPeer())
        transport.session = session
        session.makeConnection(transport)
        return session, transport

    def talk(self, session: Session, transport: Transport, *lines: bytes) -> list[bytes]:
        """Send each line by itself; the replies to all, one element a line."""
        transport.take()
        for line in lines:
            session.dataReceived(line + b"\r\n")
        return transport.take().split(b"\r\n")[:-1]


def plain(name: bytes, password: bytes) -> bytes:
    return b64encode(b"\0" + name + b"\0" + password)

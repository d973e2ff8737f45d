"""A fast load of submitted mail: long-lived sessions over TLS with AUTH, all in one event loop, pipelined as RFC 2920 allows.

Each session has one message under way: it sends the content together with the next MAIL, RCPT and DATA, and goes on when
these are answered. Any refusal ends the load with RuntimeError.
"""

import base64
import select
import smtplib
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, frozen

from bench.servers import PASSWORD

PATIENCE = 600.0  # seconds for a whole load


@define
class Session:
    """One connection that is logged in."""

    socket: Any
    sender: str
    number: int | None = None  # of the message whose content the server waits for
    sent: "Sent | None" = None  # the message that has no reply yet
    expected: int = 0  # lines that must come before it goes on
    received: bytes = b""
    unsent: bytes = b""
    blocked: bool = False  # whether octets wait for room in the socket


@frozen
class Sent:
    """When message ``number`` was sent and when it was acknowledged, by the monotonic clock."""

    number: int
    sent: float
    acknowledged: float = 0.0


def connect(port: int, users: Sequence[str], sessions: int, password: str = PASSWORD) -> list[Session]:
    """Sessions of ``users`` by turns, by STARTTLS; raises what smtplib raises."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    made = []
    for number in range(sessions):
        user = users[number % len(users)]
        client = smtplib.SMTP("127.0.0.1", port, "client.example.net", 60)
        client.starttls(context=trust)
        client.ehlo()
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        code, answer = client.docmd("AUTH PLAIN", token)
        if code != 235:
            raise RuntimeError(f"no login: {code} {answer.decode()}")
        taken = client.sock
        assert taken is not None
        client.sock = client.file = None
        taken.setblocking(False)
        made.append(Session(taken, user))
    return made


def close(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.socket.close()


class Load:
    """``count`` messages over ``sessions``.

    ``content`` gives message ``n``, dot-stuffed with CRLF line ends, ``recipient`` its recipient. With ``rate`` no more than so
    many are sent a second.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        count: int,
        content: Callable[[int], bytes],
        recipient: Callable[[int], str],
        rate: float = 0.0,
    ) -> None:
        self._sessions = {session.socket.fileno(): session for session in sessions}
        self._count = count
        self._content = content
        self._recipient = recipient
        self._interval = 1 / rate if rate else 0.0
        self._begun = 0
        self._poll = select.epoll()
        self.done: list[Sent] = []

    def run(self) -> list[Sent]:
        """Return when every message was acknowledged, with all of them in that order."""
        self._began = time.monotonic()
        for socket, session in self._sessions.items():
            self._poll.register(socket, select.EPOLLIN)
            self._write(socket, session, self._next(session))
        while len(self.done) < self._count:
            for socket, event in self._poll.poll(1):
                session = self._sessions[socket]
                if event & select.EPOLLOUT:
                    self._write(socket, session, b"")
                else:
                    self._read(socket, session)
            if time.monotonic() > self._began + PATIENCE:
                raise TimeoutError("the server does not take the messages")
        self._poll.close()
        return self.done

    def _next(self, session: Session) -> bytes:
        """The commands of the next message; nothing if there is none."""
        if self._begun == self._count:
            return b""
        session.number = self._begun
        session.expected += 3
        self._begun += 1
        return b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (session.sender.encode(), self._recipient(session.number).encode())

    def _read(self, socket: int, session: Session) -> None:
        try:
            data = session.socket.recv(16384)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not data:
            raise ConnectionError("the server closed the connection")
        session.received += data
        if session.received.count(b"\r\n") < session.expected:
            return
        if any(reply[:3] not in (b"250", b"354") for reply in session.received.split(b"\r\n")[:-1]):
            raise RuntimeError(f"refused: {session.received.decode(errors='replace')}")
        session.received, session.expected = b"", 0
        if session.sent is not None:
            self.done.append(Sent(session.sent.number, session.sent.sent, time.monotonic()))
            session.sent = None
        if session.number is not None:
            self._send_content(socket, session, session.number)

    def _send_content(self, socket: int, session: Session, number: int) -> None:
        content = self._content(number)
        if self._interval:
            time.sleep(max(0.0, self._began + number * self._interval - time.monotonic()))
        session.number, session.sent, session.expected = None, Sent(number, time.monotonic()), 1
        self._write(socket, session, content + b".\r\n" + self._next(session))

    def _write(self, socket: int, session: Session, data: bytes) -> None:
        session.unsent += data
        while session.unsent:
            try:
                session.unsent = session.unsent[session.socket.send(session.unsent) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                session.blocked = True
                self._poll.modify(socket, select.EPOLLIN | select.EPOLLOUT)
                return
        if session.blocked:
            session.blocked = False
            self._poll.modify(socket, select.EPOLLIN)

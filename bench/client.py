"""A small fast IMAP client for measuring: it reads answers without parsing more than the tagged line."""

import socket
from collections.abc import Iterator
from typing import Any

from bench.servers import DOMAIN, PASSWORD


class Client:
    """One plain connection; ``command`` returns the whole untagged answer."""

    def __init__(self, port: int, user: int = 1, login: bool = True, address: str = "127.0.0.1", domain: str = DOMAIN) -> None:
        self._socket: Any = socket.create_connection((address, port), 300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._count = 0
        self._socket.recv(65536)
        if login:
            self.command(f'LOGIN "u{user}@{domain}" "{PASSWORD}"'.encode())

    def send(self, command: bytes) -> bytes:
        self._count += 1
        tag = b"t%d" % self._count
        self._socket.sendall(tag + b" " + command + b"\r\n")
        return tag

    def answer(self, tag: bytes) -> list[bytes]:
        """The pieces of the answer up to and with the tagged line; raises RuntimeError if that is not OK."""
        pieces: list[bytes] = []
        tail = b"\r\n"
        while True:
            data = self._socket.recv(262144)
            if not data:
                raise ConnectionError(tail[-200:].decode("latin-1"))
            pieces.append(data)
            tail = (tail + data)[-2048:]
            if tail.endswith(b"\r\n"):
                last = tail[tail.rfind(b"\r\n", 0, -2) + 2 :]
                if last.startswith(tag + b" "):
                    if not last.startswith(tag + b" OK"):
                        raise RuntimeError(last.decode("latin-1").strip())
                    return pieces

    def command(self, command: bytes) -> bytes:
        return b"".join(self.answer(self.send(command)))

    def run(self, command: bytes) -> int:
        """Run ``command`` and return the octets of its answer, without joining them."""
        return sum(map(len, self.answer(self.send(command))))

    def append(self, mailbox: bytes, message: bytes) -> None:
        self._count += 1
        tag = b"t%d" % self._count
        self._socket.sendall(tag + b" APPEND " + mailbox + b" {%d+}\r\n" % len(message) + message + b"\r\n")
        self.answer(tag)

    def begin_idle(self) -> None:
        """IDLE; what comes then is read by ``notices``."""
        self.send(b"IDLE")
        if not self._socket.recv(65536).startswith(b"+"):
            raise RuntimeError("no continuation for IDLE")

    def notices(self) -> Iterator[bytes]:
        """Every line that comes, until the connection ends."""
        rest = b""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\r\n")
            yield from lines

    def select(self, mailbox: bytes = b"INBOX") -> int:
        """SELECT; the number of messages."""
        for line in self.command(b"SELECT " + mailbox).split(b"\r\n"):
            if line.endswith(b" EXISTS"):
                return int(line.split()[1])
        raise RuntimeError("no EXISTS in the answer to SELECT")

    def close(self) -> None:
        self._socket.close()

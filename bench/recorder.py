"""A next server that notes every message on disk before it answers 250, and treats recipients as their names say.

``defer-...`` gets 451 until ``recovered`` is set, ``reject-...`` 550 until it is ``forgiving``, ``slow-...`` waits up to
``slow_seconds`` before its 250; everybody else is accepted at once.
"""

import os
import random
import socketserver
import threading
import time
from pathlib import Path

from attrs import frozen


@frozen
class Arrival:
    """One recipient of one message: the message's X-Attempt, when all of it was there, and when it was noted, right before the 250."""

    attempt: str
    recipient: str
    whole: float
    noted: float


class Recorder:
    """Listens on ``port`` of ``address`` (0: a free one) and keeps ``arrivals``, in memory and, synchronously, in ``path``."""

    def __init__(self, path: Path, slow_seconds: float = 0.3, address: str = "127.0.0.1", port: int = 0) -> None:
        self.arrivals: list[Arrival] = []
        self.recovered = self.forgiving = False
        self.greeted = self.goodbyes = 0  # connections, and those of them that ended with QUIT
        self.slow_seconds = slow_seconds
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_DSYNC, 0o600)
        recorder = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    recorder.converse(self)
                except OSError:
                    return

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 200

        self._server = Server((address, port), Conversation)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        os.close(self._file)

    def converse(self, conversation: socketserver.StreamRequestHandler) -> None:
        """One connection, until the client leaves."""
        read, write = conversation.rfile, conversation.wfile
        recipients: list[str] = []
        with self._lock:
            self.greeted += 1
        write.write(b"220 recorder.example.net\r\n")
        while line := read.readline(4096):
            command = line[:4].upper()
            if command == b"EHLO":
                write.write(b"250-recorder.example.net\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n")
            elif command == b"RCPT":
                recipient = line[line.index(b"<") + 1 : line.index(b">")].decode()
                reply = self._verdict(recipient)
                if reply.startswith(b"250"):
                    recipients.append(recipient)
                write.write(reply)
            elif command == b"DATA" and recipients:
                write.write(b"354 go ahead\r\n")
                self._keep(self._attempt(read), recipients)
                write.write(b"250 2.0.0 kept\r\n")
                recipients = []
            elif command == b"DATA":
                write.write(b"554 5.5.1 no valid recipients\r\n")
            elif command == b"QUIT":
                with self._lock:
                    self.goodbyes += 1
                write.write(b"221 2.0.0 bye\r\n")
                return
            else:
                if command in (b"RSET", b"MAIL"):
                    recipients = []
                write.write(b"250 2.0.0 OK\r\n")

    def _verdict(self, recipient: str) -> bytes:
        if recipient.startswith("reject-") and not self.forgiving:
            return b"550 5.1.1 nobody here\r\n"
        if recipient.startswith("defer-") and not self.recovered:
            return b"451 4.7.1 later\r\n"
        return b"250 2.1.5 OK\r\n"

    @staticmethod
    def _attempt(read: "socketserver._BufferedIOBase") -> str:
        """Read a message to its end; its X-Attempt."""
        attempt = ""
        for line in read:
            if line == b".\r\n":
                return attempt
            if not attempt and line.startswith(b"X-Attempt: "):
                attempt = line[11:].strip().decode()
        raise ConnectionError("the connection ended within a message")

    def _keep(self, attempt: str, recipients: list[str]) -> None:
        whole = time.monotonic()
        if any(recipient.startswith("slow-") for recipient in recipients):
            time.sleep(random.random() * self.slow_seconds)
        with self._lock:
            os.write(self._file, "".join(f"{attempt} {recipient}\n" for recipient in recipients).encode())
            noted = time.monotonic()
            self.arrivals += [Arrival(attempt, recipient, whole, noted) for recipient in recipients]

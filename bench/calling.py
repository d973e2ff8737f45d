"""A fast load of signed calls to the webhook receiver: persistent connections in one event loop, one call under way on each."""

import hashlib
import hmac
import json
import select
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from attrs import define, frozen

PATH = "/webhook/outbound-email"
SECRET = "the secret of the benchmark"
PATIENCE = 600.0  # seconds for a whole load


@frozen
class Call:
    """One call as it is sent, and to whom it mails."""

    to: str
    request: bytes


@frozen
class Answered:
    """What became of a call, and how long it took in seconds."""

    call: Call
    status: int
    body: dict[str, Any]
    seconds: float


@define
class _Connection:
    socket: socket.socket
    call: Call
    sent: float
    received: bytes = b""


def signed(to: str, number: int) -> Call:
    """A call for a mail to ``to``; its timestamp is now."""
    values = {
        "type": "email_verification",
        "to": to,
        "subject": "Verify your email",
        "token": f"{number:06}",
        "expiresAt": "2099-02-21T06:00:00Z",
        "link": f"https://example.com/verify?token={number:06}",
    }
    body = json.dumps(values).encode()
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    signature = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        f"X-TransLife-Timestamp: {timestamp}\r\nX-TransLife-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Call(to, head.encode() + body)


def run(port: int, calls: Sequence[Call], connections: int, told: Callable[[Answered], object] = lambda _: None) -> list[Answered]:
    """Make all ``calls``; what became of those that were answered. It ends early when the server goes away."""
    answers: list[Answered] = []
    waiting = iter(calls)
    poll = select.epoll()
    opened: dict[int, _Connection] = {}
    for call in islice(waiting, connections):
        connection = socket.create_connection(("127.0.0.1", port), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened[connection.fileno()] = _Connection(connection, call, 0.0)
        poll.register(connection, select.EPOLLIN)
    for one in opened.values():
        one.sent = time.perf_counter()
        one.socket.sendall(one.call.request)
    deadline = time.monotonic() + PATIENCE
    while opened and time.monotonic() < deadline:
        for number, _ in poll.poll(1):
            one = opened[number]
            try:
                data = one.socket.recv(65536)
            except OSError:
                data = b""
            one.received += data
            answered = _answered(one) if data else None
            if answered is not None:
                answers.append(answered)
                told(answered)
            if not data or answered is not None and not _next(one, waiting):
                poll.unregister(one.socket)
                opened.pop(number).socket.close()
    poll.close()
    return answers


def _answered(one: _Connection) -> Answered | None:
    """The answer if it is whole."""
    head, found, rest = one.received.partition(b"\r\n\r\n")
    if not found:
        return None
    length = int(head.split(b"Content-Length: ", 1)[1].split(b"\r\n", 1)[0])
    if len(rest) < length:
        return None
    seconds = time.perf_counter() - one.sent
    one.received = b""
    return Answered(one.call, int(head[9:12]), json.loads(rest), seconds)


def _next(one: _Connection, waiting: Any) -> bool:
    """Send the next call, if there is one and the server is still there."""
    call = next(waiting, None)
    if call is None:
        return False
    one.call, one.sent = call, time.perf_counter()
    try:
        one.socket.sendall(call.request)
    except OSError:
        return False
    return True

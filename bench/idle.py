"""``make bench-idle``: idle IMAP connections held, what each costs in memory, and how soon new mail reaches them all."""

import argparse
import os
import smtplib
import socket
import time
from pathlib import Path

from bench.report import finish, progress
from bench.servers import DOMAIN, PASSWORD, ROOT, MailX


def resident(pid: int) -> float:
    """Resident memory of ``pid`` in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS of {pid}")


def idle_connection(port: int, user: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.recv(4096)
    for command, end in (
        (f'a LOGIN "u{user}@{DOMAIN}" "{PASSWORD}"', b"a OK"),
        ("b SELECT INBOX", b"b OK"),
        ("c IDLE", b"+ "),
    ):
        connection.sendall(command.encode() + b"\r\n")
        answer = b""
        while end not in answer:
            data = connection.recv(65536)
            if not data:
                raise RuntimeError(f"closed after {command.split()[1]}")
            answer += data
    return connection


def announce(server: MailX, connections: list[socket.socket]) -> float:
    """Seconds from the 250 for one message to user 1 until each of these sessions of that user heard EXISTS."""
    with smtplib.SMTP("127.0.0.1", server.smtp_port) as client:
        client.sendmail("sender@example.net", [f"u1@{DOMAIN}"], "Subject: wake\r\n\r\nup\r\n")
        began = time.perf_counter()
        for connection in connections:
            heard = b""
            while b" EXISTS" not in heard:
                heard += connection.recv(4096)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=600)
    parser.add_argument("--accounts", type=int, default=100)
    options = parser.parse_args()
    server = MailX(ROOT / "bench" / "var" / "idle", users=options.accounts)
    server.start()
    try:
        server.populate()
        server.stop()
        server.start()
        assert server.process is not None
        pid = server.process.pid
        for number in range(options.accounts):
            idle_connection(server.imap_port, number + 1).close()
        before = resident(pid)
        progress(f"{options.accounts} accounts, idle: {before:.1f} MB resident")
        connections = [idle_connection(server.imap_port, number % options.accounts + 1) for number in range(options.connections)]
        after = resident(pid)
        progress(f"{options.connections} connections in IDLE: {after:.1f} MB resident")
        heard = announce(server, connections[:: options.accounts])
        everyone = all(not _closed(connection) for connection in connections)
    finally:
        server.stop()
    figures = {
        "accounts": options.accounts,
        "connections_held": options.connections if everyone else 0,
        "resident_idle_mb": round(before, 1),
        "resident_with_connections_mb": round(after, 1),
        "kb_per_connection": round((after - before) * 1024 / options.connections, 1),
        "announced_s": round(heard, 4),
        "open_files_limit": os.sysconf("SC_OPEN_MAX"),
    }
    finish("idle", figures, {})


def _closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


if __name__ == "__main__":
    main()

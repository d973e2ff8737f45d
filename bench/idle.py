"""``make bench-idle``: idle IMAP connections held, what each costs in memory, and how soon new mail reaches them all.

First plain ones, then as many over TLS, each kind on a server started anew. Every account gets one message at the end.
"""

import argparse
import resource
import smtplib
import socket
import ssl
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


def idle_connection(port: int, user: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 60)
    if tls is not None:
        connection = tls.wrap_socket(connection)
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


def announce(server: MailX, accounts: int, connections: list[socket.socket]) -> float:
    """Seconds from the 250 for one message to all accounts until each of these sessions heard EXISTS."""
    with smtplib.SMTP("127.0.0.1", server.smtp_port) as client:
        recipients = [f"u{number}@{DOMAIN}" for number in range(1, accounts + 1)]
        client.sendmail("sender@example.net", recipients, "Subject: wake\r\n\r\nup\r\n")
        began = time.perf_counter()
        for connection in connections:
            heard = b""
            while b" EXISTS" not in heard:
                heard += connection.recv(4096)
        return time.perf_counter() - began


def measure(server: MailX, accounts: int, count: int, tls: ssl.SSLContext | None) -> dict[str, float]:
    """Start ``server`` and hold ``count`` sessions in IDLE on it."""
    server.start()
    try:
        assert server.process is not None
        pid = server.process.pid
        port = server.imap_port if tls is None else server.ports["imaps"]
        for number in range(accounts):
            idle_connection(port, number + 1, tls).close()
        before = resident(pid)
        progress(f"{accounts} accounts, idle: {before:.1f} MB resident")
        connections = [idle_connection(port, number % accounts + 1, tls) for number in range(count)]
        after = resident(pid)
        progress(f"{count} connections in IDLE, {'plain' if tls is None else 'TLS'}: {after:.1f} MB resident")
        heard = announce(server, accounts, connections)
        for connection in connections:
            connection.close()
    finally:
        server.stop()
    return {
        "resident_idle_mb": round(before, 1),
        "resident_with_connections_mb": round(after, 1),
        "kb_per_connection": round((after - before) * 1024 / count, 1),
        "announced_to_all_s": round(heard, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--accounts", type=int, default=100)
    options = parser.parse_args()
    least = options.connections + 256
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, most if most > 0 else least), max(least, most)))
    server = MailX(ROOT / "bench" / "var" / "idle", users=options.accounts)
    server.start()
    server.populate()
    server.stop()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    figures: dict[str, object] = {"accounts": options.accounts, "connections": options.connections}
    for name, tls in (("plain", None), ("tls", trusting)):
        figures[name] = measure(server, options.accounts, options.connections, tls)
    finish("idle", figures, {})


if __name__ == "__main__":
    main()

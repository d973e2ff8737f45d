"""What mail programs do to a mailbox, as operations to be timed: each takes a client that has INBOX selected, and its server.

Every operation returns milliseconds. What must be prepared for one, and put back after it, is not in its time.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from bench.client import Client
from bench.corpus import Corpus

HEADERS = (
    b"UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID "
    b"Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])"
)
ENVELOPES = b"FETCH 1:* (UID FLAGS ENVELOPE RFC822.SIZE BODYSTRUCTURE)"
HEAVY = {
    "flags": b"FETCH 1:* (UID FLAGS)",
    "envelopes": ENVELOPES,
    "bodies": b"FETCH 1:* BODY.PEEK[]",
    "search_text": b"SEARCH TEXT zymurgy",
    "store": b"STORE 1:* +FLAGS (\\Flagged)",
    "copy": b'COPY 1:1000 "Heavy"',
}
Operation = Callable[[Client, Any], float]


def timed(command: bytes, answers: bytes = b"", least: int = 0) -> Operation:
    """Milliseconds of one command; ``answers`` must occur at least ``least`` times in what came back."""

    def operation(client: Client, server: Any) -> float:
        began = time.perf_counter()
        pieces = client.answer(client.send(command))
        elapsed = (time.perf_counter() - began) * 1e3
        if least and b"".join(pieces).count(answers) < least:
            raise RuntimeError(f"{server.name}: too few answers to {command[:40]!r}")
        return elapsed

    return operation


def each(command: Callable[[int], bytes], count: int) -> Operation:
    """Milliseconds of one of ``count`` commands sent one after the other."""

    def operation(client: Client, server: Any) -> float:
        began = time.perf_counter()
        for number in range(count):
            client.run(command(number))
        return (time.perf_counter() - began) * 1e3 / count

    return operation


def login_select(client: Client, server: Any) -> float:
    began = time.perf_counter()
    fresh = Client(server.imap_port)
    fresh.select()
    elapsed = (time.perf_counter() - began) * 1e3
    fresh.close()
    return elapsed


def renew(client: Client, mailbox: bytes) -> None:
    for verb in (b"DELETE ", b"CREATE "):
        try:
            client.run(verb + mailbox)
        except RuntimeError:
            pass


def store_all(client: Client, server: Any) -> float:
    elapsed = timed(b"STORE 1:* +FLAGS (\\Flagged)", b" FETCH (", 1)(client, server)
    client.run(b"STORE 1:* -FLAGS.SILENT (\\Flagged)")
    return elapsed


def copy_thousand(client: Client, server: Any) -> float:
    renew(client, b"Copies")
    return timed(b"COPY 1:1000 Copies")(client, server)


def expunge_thousand(client: Client, server: Any) -> float:
    renew(client, b"Doomed")
    client.run(b"COPY 1:1000 Doomed")
    other = Client(server.imap_port)
    other.select(b"Doomed")
    other.run(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
    elapsed = timed(b"EXPUNGE", b" EXPUNGE", 1000)(other, server)
    other.close()
    return elapsed


def append_two_hundred(client: Client, server: Any) -> float:
    renew(client, b"Fresh")
    messages = list(Corpus(9).messages(200))
    began = time.perf_counter()
    for message in messages:
        client.append(b"Fresh", message)
    return (time.perf_counter() - began) * 1e3 / len(messages)


def operations(messages: int) -> dict[str, Operation]:
    """Every operation by name, for a mailbox of so many messages."""
    chosen = random.Random(3)
    return {
        "login_select": login_select,
        "noop": each(lambda number: b"NOOP", 300),
        "status": each(lambda number: b"STATUS INBOX (MESSAGES UNSEEN UIDNEXT)", 200),
        "list": each(lambda number: b'LIST "" *', 200),
        "flags": timed(HEAVY["flags"], b" FETCH (", messages),
        "envelopes": timed(ENVELOPES, b" FETCH (", messages),
        "headers": timed(HEADERS, b" FETCH (", messages),
        "bodies": timed(HEAVY["bodies"], b" FETCH (", messages),
        "single_fetch": each(lambda number: b"FETCH %d BODY.PEEK[]" % chosen.randint(1, messages), 200),
        "next_fetch": each(lambda number: b"FETCH %d BODY.PEEK[]" % (number + 1), 200),
        "search_subject": timed(b"SEARCH SUBJECT quarterly"),
        "search_from": timed(b"SEARCH FROM corla"),
        "search_unseen": timed(b"SEARCH UNSEEN"),
        "search_text": timed(HEAVY["search_text"]),
        "store_all": store_all,
        "single_store": each(lambda number: b"STORE %d %cFLAGS (\\Flagged)" % (number // 2 + 1, b"+-"[number % 2]), 200),
        "copy_1000": copy_thousand,
        "expunge_1000": expunge_thousand,
        "append": append_two_hundred,
    }

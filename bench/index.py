"""``make bench-index``: what the search index costs and what it brings, over the corpus in one account.

Microseconds of CPU and octets on disk a message; milliseconds of a search by kind: cold (nothing opened, the first of its kind), and the
median and the 95th percentile when warm, over words from the most common to rare ones: in this process, then by IMAP from a real server
over the same files, which have not changed; one word without the index. At the end the files are searched for indexed words, of which
none may be found.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from bench.client import Client
from bench.corpus import Corpus
from bench.report import finish, percentile, progress
from bench.servers import MailX
from mailx.config import Config
from mailx.core.accounts import Accounts
from mailx.core.changes import Changes
from mailx.core.index import Index
from mailx.core.indexer import Indexer
from mailx.core.mailboxes import Mailboxes
from mailx.core.passwords import Passwords
from mailx.core.reception import Reception
from mailx.core.search import And, Fuzzy, Header, Prefix, Query, Subject, Text, Wildcard
from mailx.core.users import User
from mailx.mail.envelope import Envelope, Filing, Origin, new_id
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.keys import load_or_create
from mailx.store.migrate import INDEX
from mailx.store.sqlite import open_store

RANKS = (0, 1, 5, 20, 80, 300, 1000, 2500, 4000)  # of words in the corpus, common ones first
ADDRESS = "me@example.test"
PASSWORD = "secret"
SECRETS = (b"quarterly", b"zymurgy")


def queries() -> dict[str, list[Query]]:
    """What is searched for, by kind."""
    words = Corpus().words
    chosen = [words[rank] for rank in RANKS]
    pairs = list(zip(chosen, chosen[1:] + chosen[:1], strict=True))
    return {
        "word": [Text(word) for word in [*chosen, "quarterly", "zymurgy", "nosuchword"]],
        "infix": [Text(word[1:]) for word in chosen if len(word) > 3] + [Text("ymurg")],
        "two words": [And((Text(a), Text(b))) for a, b in pairs],
        "phrase": [Text(f"{a} {b}") for a, b in pairs] + [Text("quarterly figures"), Text("here zymurgy stands")],
        "prefix": [Prefix(word[:4]) for word in chosen if len(word) > 3] + [Prefix("quart")],
        "wildcard": [Wildcard(f"{word[:2]}*{word[-2:]}") for word in chosen if len(word) > 4] + [Wildcard("qu?rterly")],
        "subject": [Subject(word) for word in [*chosen, "quarterly"]],
        "from": [Header("from", word) for word in chosen],
        "fuzzy": [Fuzzy(Text(word)) for word in [*chosen, "quartrely", "zymurgi"]],
    }


async def fill(reception: Reception, user: User, count: int) -> int:
    """File the corpus; returns its octets."""
    octets = 0
    origin = Origin("IMAP", new_id(), "192.0.2.1", 25, "bench", account=user.id)
    messages = list(Corpus().messages(count))
    for start in range(0, count, 50):
        envelopes = []
        for content in messages[start : start + 50]:
            intake = reception.content(origin, b"", 1 << 25, submitted=False)
            intake.write(content)
            octets += len(content)
            envelopes.append(Envelope(new_id(), None, (user.address,), await intake.finish(), origin, filing=Filing("INBOX")))
        await reception.file(user, envelopes)
    return octets


async def searches(mailboxes: Mailboxes, user: User, runs: int, close: Callable[[], None], kinds: dict[str, list[Query]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, asked in kinds.items():
        close()
        times: list[float] = []
        found: list[int] = []
        for number in range(runs):
            for query in asked:
                session = await mailboxes.select(user, "INBOX", True)
                began = time.perf_counter()
                count = len(await mailboxes.search(session, query))
                times.append((time.perf_counter() - began) * 1e3)
                session.close()
                if not number:
                    found.append(count)
        figures[name] = told(name, times, found)
    return figures


def told(name: str, times: list[float], found: list[int]) -> dict[str, Any]:
    """The figures of searches of one kind that took ``times``, the first cold."""
    warm = times[1:] or times
    figures = {
        "cold_ms": round(times[0], 2),
        "p50_ms": round(percentile(warm, 0.5), 2),
        "p95_ms": round(percentile(warm, 0.95), 2),
        "most_ms": round(max(warm), 2),
        "found": [min(found), max(found)],
    }
    progress(f"{name}: {figures}")
    return figures


def command(query: Query) -> bytes:
    """The IMAP search keys that mean ``query``; a beginning is asked for as any part of a word."""
    match query:
        case And(children):
            return b" ".join(map(command, children))
        case Fuzzy(child):
            return b"FUZZY " + command(child)
        case Text(text) | Prefix(text):
            return b'TEXT "%b"' % text.encode()
        case Subject(text):
            return b'SUBJECT "%b"' % text.encode()
        case Header(name, text):
            return b'%b "%b"' % (name.upper().encode(), text.encode())
    raise TypeError(f"not a key of IMAP: {query}")


def by_imap(directory: str, runs: int, kinds: dict[str, list[Query]]) -> dict[str, Any]:
    """The same searches by a client of a server of its own over the data below ``directory``."""
    server = MailX(Path(directory), keep=True)
    server.start()
    try:
        client = Client(server.imap_port, login=False)
        client.command(f'LOGIN "{ADDRESS}" "{PASSWORD}"'.encode())
        client.select()
        figures: dict[str, Any] = {}
        for name, asked in kinds.items():
            times: list[float] = []
            found: list[int] = []
            for number in range(runs):
                for keys in map(command, asked):
                    began = time.perf_counter()
                    answer = client.command(b"SEARCH " + keys)
                    times.append((time.perf_counter() - began) * 1e3)
                    if not number:
                        found.append(len(answer.partition(b"\r\n")[0].split()) - 2)
            figures[name] = told(f"by IMAP {name}", times, found)
        return figures
    finally:
        server.stop()


def betrayed(directory: str) -> int:
    """How often indexed words stand in the files of a data directory as they are."""
    count = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                octets = file.read()
            count += sum(octets.count(word) for word in SECRETS)
    return count


async def run(reactor: Any, directory: str, count: int) -> dict[str, Any]:
    """``directory`` may have the mail of an earlier run; without its ``index.db`` that is indexed anew."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    async with AsyncExitStack() as stack:
        store = await open_store(os.path.join(directory, "mailx.db"), 2, reactor)
        stack.push_async_callback(store.close)
        path = os.path.join(directory, "index.db")
        database = await open_store(path, 1, reactor, INDEX)
        stack.push_async_callback(database.close)
        passwords = Passwords(reactor, cost=4, iterations=4096)
        stack.callback(passwords.stop)
        cipher = Cipher(await load_or_create(os.path.join(os.path.dirname(directory), "mailx.secret"), store))
        blobs = Blobs(os.path.join(directory, "blobs"), cipher)
        accounts = Accounts(store, cipher, Config().accounts, passwords, reactor)
        await accounts.load()
        mailboxes = Mailboxes(store, cipher, blobs, Changes(store), reactor)
        figures: dict[str, Any] = {"messages": count}
        there = await accounts.users()
        if there:
            user = there[0].user
        else:
            await accounts.add_domain("example.test")
            user = await accounts.add_user(ADDRESS, PASSWORD, quota=0)
            reception = Reception(store, cipher, blobs, accounts, [], reactor, hostname="localhost.test", default_quota=0)
            progress(f"filing {count} messages")
            figures["octets_each"] = await fill(reception, user, count) // count
            figures["without_index"] = await searches(mailboxes, user, 2, lambda: None, {"word": [Text("zymurgy")]})
        index = Index(database, cipher)
        indexer = Indexer(store, database, index, cipher, blobs, reactor, patience=0)
        stack.push_async_callback(indexer.stop)
        progress("indexing")
        began, cpu = time.perf_counter(), time.process_time()
        indexer.start()
        await indexer.caught_up()
        figures["index_cpu_us_each"] = round((time.process_time() - cpu) * 1e6 / count, 1)
        figures["index_s"] = round(time.perf_counter() - began, 2)
        status = await indexer.status()
        figures["disk_octets_each"] = status.octets // count
        figures["segments"] = status.segments
        figures["file_octets_each"] = os.path.getsize(path) // count
        mailboxes.search_with(index)
        figures["with_index"] = await searches(mailboxes, user, 3, lambda: index.opened.close(user.id), queries())
        figures["words_readable_on_disk"] = betrayed(directory)
        figures["memory_octets_each"] = round(index.opened.octets / count)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--keep", metavar="DIRECTORY", help="where the mail stays for the next run, which does not file it again")
    options = parser.parse_args()

    def start(reactor: Any) -> "Deferred[None]":
        async def measured() -> None:
            with tempfile.TemporaryDirectory(prefix="mailx-bench-index-") as directory:
                there = options.keep or directory
                figures = await run(reactor, os.path.join(there, "var"), options.messages)
                kinds = {kind: asked for kind, asked in queries().items() if kind != "wildcard"}
                figures["by_imap"] = await deferToThread(by_imap, there, 3, kinds)
            found = figures["with_index"]["word"]["p50_ms"]
            before = figures.get("without_index")
            finish("index", figures, {} if before is None else {"search_text_with_index": before["word"]["p50_ms"] / found})

        return Deferred.fromCoroutine(measured())

    react(start)


if __name__ == "__main__":
    main()

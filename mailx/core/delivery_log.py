"""The delivery log: one line for each attempt to deliver to a recipient, of a bounded size in all, the oldest lines giving way.

``note`` takes a step at once and never fails: lines are gathered in memory and written within a second, so a crash costs the
lines of the last second. While the store does not answer they wait, up to a limit; beyond it new ones are lost and logged.
A line is ten columns parted by tabs: what the panel shows and what is downloaded are the same text.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.content import Threads
from mailx.core.progress import Step
from mailx.core.settings import Settings
from mailx.mail.printable import printable
from mailx.mail.reply import Unavailable
from mailx.store import Store
from mailx.store import delivery_log as pages
from mailx.store.cipher import Cipher, CipherError

log = Logger()

COLUMNS = ("time", "outcome", "queue id", "sender", "recipient", "destination", "host", "tls", "attempts", "reply")

_DELAY = 1.0  # seconds until lines are written
_LONGEST_DELAY = 30.0  # between attempts while the store does not answer
_LIMIT = 65536  # lines that wait at most
_BATCH = 4096  # lines that are written by one job
_PAGE_LINES = 1024
_PAGE_OCTETS = 32768
_TAIL_LINES = 128  # a page with fewer is rewritten with what follows
_FIELD = 500  # characters of one column
_SLICE = 8  # pages that are read and searched at a time
_SCANNED = 1600  # pages that one search looks through
_PLACES = 2048  # a cursor is the id of a page times this, and the place of a line

_Note = tuple[float, Step]


@frozen
class Entry:
    """One line."""

    time: str  # ISO 8601 in UTC
    outcome: str  # delivered, deferred, bounced
    envelope: str  # queue id
    sender: str
    recipient: str
    destination: str
    host: str
    tls: str
    attempts: str
    reply: str


@frozen
class Found:
    """What a search found, the newest first. ``older`` is where to go on; 0: there is no more."""

    entries: tuple[Entry, ...]
    older: int = 0


class DeliveryLog:
    """The log of one store: ``start`` once, ``stop`` before the store closes and after the queue has stopped."""

    def __init__(self, store: Store, cipher: Cipher, settings: Settings, reactor: Any, *, now: Callable[[], float] = time) -> None:
        """``now`` is the time of day."""
        self._now = now
        self._store = store
        self._cipher = cipher
        self._settings = settings
        self._reactor = reactor
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._notes: list[_Note] = []
        self._lost = 0
        self._tail: tuple[int, list[str]] = (0, [])  # id and lines of the page that may still grow
        self._due: IDelayedCall | None = None
        self._wait = _DELAY
        self._running: Deferred[None] | None = None
        self._stopped = False

    def note(self, step: Step) -> None:
        """A listener of :class:`mailx.core.progress.Progress`."""
        if len(self._notes) >= _LIMIT:
            self._lost += 1
            return
        self._notes.append((self._now(), step))
        if self._due is None and self._running is None and not self._stopped:
            self._due = self._reactor.callLater(self._wait, self._begin)

    def start(self) -> None:
        """Keep within the limit, now and whenever it changes."""
        self._settings.watch(("queue",), lambda config: self.trim())
        Deferred.fromCoroutine(self.trim()).addErrback(self._untrimmed)

    async def stop(self) -> None:
        """Write what is noted; what the store does not take now is lost and logged."""
        self._stopped = True
        try:
            await self.flush()
        except Unavailable as error:
            log.error(
                "The last lines of the delivery log were lost: {reason}",
                event="delivery_log.lost",
                count=len(self._notes),
                reason=error.reason,
            )
        if self._due is not None:
            self._due.cancel()
            self._due = None

    async def flush(self) -> None:
        """Returns when all that is noted so far is stored. Raises Unavailable."""
        while self._running is not None:
            waiter: Deferred[None] = Deferred()
            self._running.addBoth(waiter.callback)
            await waiter
        if self._notes:
            await self._write_out()

    async def trim(self) -> None:
        """Drop what is beyond the limit. Raises Unavailable."""
        while await self._store.write(pages.trim, self._settings.current.queue.delivery_log):
            pass

    async def search(self, text: str = "", outcome: str = "", before: int = 0, limit: int = 100) -> Found:
        """The newest ``limit`` entries that hold ``text`` (in capitals or not) and came out so, from the cursor ``before`` on.

        A search ends after looking through many pages; ``older`` then says where to go on, even if nothing was found. Raises Unavailable.
        """
        await self.flush()
        page, place = divmod(before, _PLACES)
        entries: list[Entry] = []
        scanned = 0
        text = text.strip().lower()
        while True:
            rows = await self._store.read(pages.older, page if before else None, _SLICE)
            for id, matches in await self._threads(self._matching, rows, text, outcome, page if before else -1, place):
                for index, line in matches:
                    if len(entries) == limit:
                        return Found(tuple(entries), id * _PLACES + index + 1)
                    entries.append(_entry(line))
            scanned += len(rows)
            if len(rows) < _SLICE:
                return Found(tuple(entries))
            before, page, place = 1, int(rows[-1][0]) - 1, _PLACES
            if scanned >= _SCANNED:
                return Found(tuple(entries), page * _PLACES + place - 1)

    async def text(self) -> AsyncIterator[bytes]:
        """The whole log as text, the oldest lines first, page by page, with a line of column names before it. Raises Unavailable."""
        await self.flush()
        yield ("\t".join(COLUMNS) + "\n").encode()
        after = 0
        while rows := await self._store.read(pages.newer, after, _SLICE):
            for text in await self._threads(self._texts, rows):
                yield text
            after = int(rows[-1][0])

    async def rewrite(self, change: Callable[[str], str]) -> int:
        """Let each line become what ``change`` makes of it; returns how many pages changed. Raises Unavailable."""
        await self.flush()
        self._tail = (0, [])  # what is written from now on goes to pages of its own
        after = total = 0
        while rows := await self._store.read(pages.newer, after, _SLICE):
            for guid, page in await self._threads(self._rewritten, rows, change):
                total += await self._store.write(pages.rewrite, guid, page)
            after = int(rows[-1][0])
        return total

    async def size(self) -> int:
        """Octets of text. Raises Unavailable."""
        return await self._store.read(pages.size)

    # Reading, in threads.

    def _matching(self, rows: Sequence[Any], text: str, outcome: str, cursor: int, place: int) -> list[tuple[int, list[tuple[int, str]]]]:
        """For each page its lines that match, (index, line), the last first; of the page ``cursor`` only those before ``place``."""
        found = []
        for (id, _, _), page in zip(rows, self._texts(rows), strict=True):
            lines = page.decode("utf-8", "replace").split("\n")[:-1]
            if int(id) == cursor:
                lines = lines[:place]
            matches = [
                (index, line)
                for index, line in enumerate(lines)
                if (not text or text in line.lower()) and (not outcome or line.split("\t", 2)[1:2] == [outcome])
            ]
            found.append((int(id), matches[::-1]))
        return found

    def _rewritten(self, rows: Sequence[Any], change: Callable[[str], str]) -> list[tuple[bytes, pages.Page]]:
        """The guids of the pages that change, and what takes their places."""
        found = []
        for (id, guid, _), page in zip(rows, self._texts(rows), strict=True):
            lines = page.decode("utf-8", "replace").split("\n")[:-1]
            changed = [change(line) for line in lines]
            if changed != lines:
                found.append((bytes(guid), pages.sealed(self._cipher, changed, int(id))))
        return found

    def _texts(self, rows: Sequence[Any]) -> list[bytes]:
        """The texts of pages; of one that does not open none."""
        texts = []
        for id, guid, lines in rows:
            try:
                texts.append(pages.opened(self._cipher, bytes(guid), bytes(lines)))
            except (CipherError, pages.Damaged) as error:
                log.error("A page of the delivery log does not open: {reason}", event="delivery_log.damaged", page=id, reason=str(error))
                texts.append(b"")
        return texts

    # Writing.

    def _begin(self) -> None:
        self._due = None
        if self._running is None and self._notes:
            Deferred.fromCoroutine(self._write_out()).addErrback(self._delayed)

    async def _write_out(self) -> None:
        """Write all that is noted; one at a time."""
        self._running = running = Deferred[None]()
        try:
            while self._notes:
                await self._write_some()
                self._wait = _DELAY
        finally:
            self._running = None
            if self._notes and self._due is None and not self._stopped:
                self._due = self._reactor.callLater(self._wait, self._begin)
            running.callback(None)

    async def _write_some(self) -> None:
        batch = self._notes[:_BATCH]
        tail, lines = self._tail
        made, kept = await self._threads(_pages, self._cipher, batch, tail, lines)
        id = await self._store.write(pages.add, made, self._settings.current.queue.delivery_log)
        self._tail = (id, kept)
        del self._notes[: len(batch)]  # not before: what the store did not take is still there
        if self._lost:
            log.error(
                "Lines of the delivery log were lost: the store did not answer for too long", event="delivery_log.lost", count=self._lost
            )
            self._lost = 0

    def _delayed(self, failure: Failure) -> None:
        self._wait = min(2 * self._wait, _LONGEST_DELAY)
        if self._due is not None and not self._stopped:
            self._due.reset(self._wait)
        if isinstance(failure.value, Unavailable):
            log.warn("The delivery log is written later: {reason}", event="delivery_log.delayed", reason=failure.value.reason)
        else:
            log.failure("The delivery log was not written", failure, event="delivery_log.failed")

    def _untrimmed(self, failure: Failure) -> None:
        if failure.check(Unavailable) is None:
            log.failure("The delivery log was not trimmed", failure, event="delivery_log.failed")


def _pages(cipher: Cipher, notes: Sequence[_Note], tail: int, before: list[str]) -> tuple[list[pages.Page], list[str]]:
    """``notes`` as pages, the first of which takes the place of ``tail`` while that is short; and the lines of the last. In a thread."""
    made = []
    lines, id = (before, tail) if len(before) + len(notes) <= _TAIL_LINES else ([], 0)
    lines = list(lines)
    octets = sum(map(len, lines))
    for note in notes:
        line = _line(*note)
        if lines and (len(lines) >= _PAGE_LINES or octets + len(line) > _PAGE_OCTETS):
            made.append(pages.sealed(cipher, lines, id))
            lines, octets, id = [], 0, 0
        lines.append(line)
        octets += len(line)
    made.append(pages.sealed(cipher, lines, id))
    return made, lines


def _line(at: float, step: Step) -> str:
    attempt = step.attempt
    sender = step.sender
    fields = [
        f"{_second(int(at))}.{int(at % 1 * 1000):03d}Z",
        step.state,
        step.envelope,
        str(sender) if sender is not None else "<>",
        str(step.recipient),
        step.destination or "mailbox",
        attempt.host or "-",
        attempt.tls or "-",
        str(step.attempts),
        str(attempt.reply) or "-",
    ]
    whole = "".join(fields)
    if len(whole) > _FIELD or not whole.isprintable():
        fields = [_column(field) for field in fields]
    return "\t".join(fields)


@lru_cache(maxsize=16)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _column(text: str) -> str:
    """``text`` as a column: no tab, no line end, nothing that steers a terminal, not too long."""
    return printable(text[:_FIELD])


def _entry(line: str) -> Entry:
    columns = [column if column != "-" else "" for column in line.split("\t")]
    columns += [""] * (len(COLUMNS) - len(columns))
    return Entry(*columns[: len(COLUMNS)])

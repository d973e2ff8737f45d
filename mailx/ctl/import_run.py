"""One run of an import: a source is read in a thread of its own while the server takes what was read before.

Every message has a key: what names it at its source where that does not change, else its folder, the digest of its content and how many
equal ones stand before it there. The server is asked first which keys it knows, so a run goes on where another stopped. At
the end the server opens again what it has of every message, and what it finds is compared with what was read.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from secrets import token_hex
from struct import Struct
from threading import Condition, Thread
from time import monotonic
from typing import Any

from attrs import Factory, define, frozen

from mailx.ctl.session import Session
from mailx.ctl.sources import Folder, Item, Source
from mailx.mail import binary

KEYS = 500  # asked for at once: what a request costs the server's event loop is a few milliseconds
MESSAGES = 100  # brought by one request
OCTETS = 384 * 1024  # of their contents
_LARGE = 512 * 1024  # octets of a message that goes in pieces
_PIECE = 512 * 1024
_AHEAD = 16 * 1024 * 1024  # octets read ahead
_WINDOW = 4 * 1024 * 1024  # octets, or KEYS messages, asked about at once
_RECORD = Struct(">16s32sBqI")  # key, digest, flags, date, number of the keywords
_UNKNOWN = -1  # of a date
_NAMED = 20  # messages that are named one by one

Told = Callable[[int], None]


@frozen
class Read:
    """A message as it was read, ready to be brought. ``content`` None: the server has it, and it was not read again."""

    key: bytes
    mailbox: str
    flags: int
    keywords: tuple[str, ...]
    received: int | None
    content: bytes | None
    digest: bytes
    where: str  # for the administrator


@define
class Counts:
    """What became of the messages of a source."""

    read: int = 0
    added: int = 0
    known: int = 0  # came in an earlier run
    skipped: int = 0  # too large
    altered: int = 0  # had NUL, which mail must not have
    keywords: int = 0  # left out
    flags: int = 0  # brought over of messages that came before
    equal: int = 0
    differing: int = 0
    removed: int = 0  # by the owner, since they came
    sealed: int = 0  # only the owner can open them
    changed: int = 0  # their flags are not those of the source: the owner's doing
    named: list[str] = Factory(list)  # those that were skipped, or differ


class Ahead:
    """Items that one thread makes and another takes; at most some octets of them wait."""

    def __init__(self, items: Iterator[Read]) -> None:
        self._items = items
        self._changed = Condition()
        self._waiting: list[Read] = []
        self._octets = 0
        self._full = False  # the next one waits for room
        self._over = False
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._items:
                size = _size(item)
                with self._changed:
                    while not self._over and self._waiting and self._octets + size > _AHEAD:
                        self._full = True
                        self._changed.notify_all()
                        self._changed.wait()
                    self._full = False
                    if self._over:
                        return
                    self._waiting.append(item)
                    self._octets += size
                    self._changed.notify_all()
        except BaseException as error:
            self._failure = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def window(self) -> list[Read]:
        """The next ones, not too many; none at the end. Raises what reading raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._full or len(self._waiting) >= KEYS or self._octets >= _WINDOW)
            if not self._waiting and self._failure is not None:
                raise self._failure
            taken, octets = 0, 0
            while taken < min(len(self._waiting), KEYS) and (not taken or octets < _WINDOW):
                octets += _size(self._waiting[taken])
                taken += 1
            found, self._waiting = self._waiting[:taken], self._waiting[taken:]
            self._octets -= octets
            self._full = False
            self._changed.notify_all()
            return found

    def stop(self) -> None:
        """Read no more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(5)


def _cost(item: Read) -> int:
    """Octets of a request that it takes, about, before base64."""
    return len(item.content or b"") + 200 + sum(map(len, item.keywords)) * 2


def _size(item: Read) -> int:
    return 200 + len(item.content or b"")


class Run:
    """One run. ``other`` is a second way to the server, for the thread that reads."""

    def __init__(self, session: Session, other: Session, source: Source, kind: str) -> None:
        self._session = session
        self._other = other
        self._source = source
        self._kind = kind
        self._id = 0
        self._largest = 0
        self._uploads = token_hex(8)  # so that what another run left unfinished is not gone on with
        self._asked: set[str] = set()  # identities of which the server said that it knows them
        self._keywords: list[tuple[str, ...]] = [()]
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._records = bytearray()
        self.counts = Counts()

    def folders(self) -> list[tuple[Folder, int]]:
        """The folders with the numbers of their messages; raises SourceError."""
        return [(folder, self._source.count(folder)) for folder in self._source.folders()]

    def plan(self, address: str, into: str, folders: Sequence[Folder]) -> list[tuple[str, bool]]:
        """The mailbox for each folder, and whether it is there."""
        answer = self._session.call("POST", "/v1/imports/plan", body={"address": address, "into": into, "folders": _told(folders)})
        return [(one["name"], one["exists"]) for one in answer["mailboxes"]]

    def bring(self, address: str, into: str, folders: Sequence[Folder], done: Told) -> None:
        """Bring all of it; ``done`` hears of each part. Raises SourceError and Failed."""
        body = {"address": address, "kind": self._kind, "source": _plain(self._source.label), "into": into, "folders": _told(folders)}
        begun = self._session.call("POST", "/v1/imports", body=body)
        self._id, self._largest = begun["id"], begun["size"]
        ahead = Ahead(self._read(list(zip(folders, begun["mailboxes"], strict=True))))
        try:
            while window := ahead.window():
                self._take(window)
                done(len(window))
        finally:
            ahead.stop()

    @property
    def checked(self) -> int:
        """How many messages there are to check."""
        return len(self._records) // _RECORD.size

    def check(self, done: Told) -> None:
        """Compare what the server has of every message with what was read; then the run is over."""
        for start in range(0, len(self._records), KEYS * _RECORD.size):
            part = [
                _RECORD.unpack_from(self._records, at)
                for at in range(start, min(start + KEYS * _RECORD.size, len(self._records)), _RECORD.size)
            ]
            answer = self._ask("check", {"keys": [key.hex() for key, *_ in part]})
            found = {one["key"]: one for one in answer["messages"]}
            for key, digest, flags, received, number in part:
                self._compare(found.get(key.hex()), key, digest, flags, received, self._keywords[number])
            done(len(part))
        counts = self.counts
        told = {name: getattr(counts, name) for name in ("added", "known", "skipped", "flags", "equal", "differing", "removed", "sealed")}
        self._ask("finish", told)

    def _compare(self, found: Any, key: bytes, digest: bytes, flags: int, received: int, keywords: tuple[str, ...]) -> None:
        counts = self.counts
        if found is not None and found["state"] == "removed":
            counts.removed += 1
            return
        if found is not None and found["state"] == "sealed":
            counts.sealed += 1
            return
        same = found is not None and (found["same"] if digest == bytes(32) else found["digest"] == digest.hex())
        if not same or (received != _UNKNOWN and found["received"] != received):
            counts.differing += 1
            self._name(f"{key.hex()}: {'is not there' if found is None else 'differs from what was read'}")
            return
        counts.equal += 1
        if found["flags"] != flags or {each.casefold() for each in found["keywords"]} != {each.casefold() for each in keywords}:
            counts.changed += 1

    def _name(self, text: str) -> None:
        if len(self.counts.named) < _NAMED:
            self.counts.named.append(text)

    # Reading, in its own thread

    def _read(self, folders: Sequence[tuple[Folder, str]]) -> Iterator[Read]:
        if hasattr(self._source, "known"):
            self._source.known = self._knows
        for folder, mailbox in folders:
            before: Counter[bytes] = Counter()
            for number, item in enumerate(self._source.items(folder), 1):
                yield self._one(folder, mailbox, item, before, f"message {number} of {folder.place or folder.name}")

    def _one(self, folder: Folder, mailbox: str, item: Item, before: "Counter[bytes]", where: str) -> Read:
        if item.identity and item.identity in self._asked:
            key = _identity_key(folder, item.identity)
            return Read(key, mailbox, item.flags, item.keywords, item.received, None, bytes(32), where)
        content = self._canonical(item.content)
        digest = sha256(content).digest()
        if item.identity:
            key = _identity_key(folder, item.identity)
        else:
            key = sha256(b"content\0%b\0%b%d" % (_plain(folder.name).encode(), digest, before[digest])).digest()[:16]
            before[digest] += 1
        return Read(key, mailbox, item.flags, item.keywords, item.received, content, digest, where)

    def _canonical(self, content: bytes) -> bytes:
        """With the line ends of mail, and without NUL."""
        if b"\0" not in content:
            return binary.lines(content)
        self.counts.altered += 1
        try:
            return binary.storable(content)
        except binary.NotStorable:
            return binary.lines(content.replace(b"\0", b""))

    def _knows(self, folder: Folder, identities: Sequence[str]) -> set[str]:
        """Those that the server has; asked by the source."""
        names = {_identity_key(folder, identity).hex(): identity for identity in identities}
        found: set[str] = set()
        keys = list(names)
        for start in range(0, len(keys), KEYS):
            answer = self._other.call("POST", f"/v1/imports/{self._id}/known", body={"keys": keys[start : start + KEYS]})
            found.update(names[key] for key in answer["known"])
        self._asked = found
        return found

    # Bringing

    def _ask(self, what: str, body: Any) -> Any:
        return self._session.call("POST", f"/v1/imports/{self._id}/{what}", body=body)

    def _take(self, window: Sequence[Read]) -> None:
        """Bring what the server does not have of these, and tell it the flags of the others."""
        fresh = [item for item in window if item.content is not None]
        known = {key for key in self._ask("known", {"keys": [item.key.hex() for item in fresh]})["known"]} if fresh else set()
        self._tell_flags([item for item in window if item.content is None or item.key.hex() in known])
        batch: list[dict[str, Any]] = []
        octets = 0
        for item in fresh:
            if item.key.hex() in known:
                continue
            content = item.content or b""
            if len(content) > self._largest:
                self.counts.skipped += 1
                self._name(f"{item.where}: {len(content)} octets are more than imap.append_size")
                continue
            if batch and (octets + _cost(item) > OCTETS or len(batch) >= MESSAGES):
                self._send(batch)
                batch, octets = [], 0
            batch.append(self._message(item, content))
            octets += _cost(item) if len(content) <= _LARGE else OCTETS // 4
            self._keep(item)
        if batch:
            self._send(batch)
        self.counts.read += len(window)

    def _tell_flags(self, items: Sequence[Read]) -> None:
        if not items:
            return
        for item in items:
            self._keep(item)
        self.counts.known += len(items)
        states = [{"key": item.key.hex(), "flags": item.flags, "keywords": list(item.keywords[:100])} for item in items]
        for start in range(0, len(states), MESSAGES):
            self.counts.flags += self._ask("flags", {"messages": states[start : start + MESSAGES]})["changed"]

    def _message(self, item: Read, content: bytes) -> dict[str, Any]:
        message = {
            "key": item.key.hex(),
            "mailbox": item.mailbox,
            "flags": item.flags,
            "keywords": list(item.keywords[:100]),
            "received": None if item.received is None else max(0, item.received),
        }
        if len(content) <= _LARGE:
            return {**message, "content": b64encode(content).decode()}
        name = f"{item.key.hex()}.{self._uploads}"
        for start in range(0, len(content), _PIECE):
            piece = b64encode(content[start : start + _PIECE]).decode()
            self._ask("uploads", {"upload": name, "size": len(content), "data": piece})
        return {**message, "upload": name}

    def _send(self, batch: list[dict[str, Any]]) -> None:
        answer = self._ask("messages", {"messages": batch})
        self.counts.added += answer["added"]
        self.counts.known += len(batch) - answer["added"]
        self.counts.keywords += answer["keywords_left_out"]

    def _keep(self, item: Read) -> None:
        """Remember what was read, for the proof."""
        number = self._numbers.get(item.keywords)
        if number is None:
            number = self._numbers[item.keywords] = len(self._keywords)
            self._keywords.append(item.keywords)
        received = _UNKNOWN if item.received is None else max(0, item.received)
        self._records += _RECORD.pack(item.key, item.digest, item.flags, received, number)


class Rate:
    """How fast it goes."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count

    def text(self) -> str:
        """``812/s``."""
        return f"{self._done / max(monotonic() - self._began, 0.001):.0f}/s"


def _identity_key(folder: Folder, identity: str) -> bytes:
    return sha256(b"identity\0%b\0%b" % (_plain(folder.name).encode(), identity.encode())).digest()[:16]


def _told(folders: Sequence[Folder]) -> list[dict[str, str]]:
    return [{"name": folder.name, "special_use": folder.special_use} for folder in folders]


def _plain(text: str) -> str:
    """``text`` with escapes for octets that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()

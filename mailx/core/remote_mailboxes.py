"""Mailboxes on other servers that administrators keep here, to be tested: where they are and how to log in, all of it sealed.

They have nothing to do with the delivery of mail. A password is never given out again; it goes to the host that it was given for
only: whoever changes host, port or kind of protection must give it anew. Failure is DirectoryError with a remedy.
"""

import json
import os
from collections.abc import Callable
from time import time
from typing import Any, TypeVar

from attrs import asdict, evolve, field, frozen
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.probing import PORTS, IMailboxProbe, Probe, clean
from mailx.core.users import DirectoryError
from mailx.store import Row, Store
from mailx.store import remote_mailboxes as rows
from mailx.store.cipher import Cipher, CipherError

log = Logger()

T = TypeVar("T")

LIMIT = 100  # mailboxes
NAME_LIMIT, HOST_LIMIT, USERNAME_LIMIT, PASSWORD_LIMIT = 100, 253, 320, 500  # characters
TIMEOUT_MOST = 120  # seconds
_PURPOSE, _RESULT = b"remote mailbox", b"remote mailbox result"


@frozen
class Place:
    """Where a mailbox is and how to log in."""

    kind: str  # of mailx.core.probing.PORTS
    name: str  # what administrators call it
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    verify: bool = True
    timeout: int = 30


@frozen
class RemoteMailbox:
    """One of them. ``place.password`` is empty: it is not given out."""

    id: int
    place: Place
    tested: int | None = None  # seconds since 1970
    ok: bool = False  # how the last test went
    summary: str = ""


class RemoteMailboxes:
    """All of them."""

    def __init__(self, store: Store, cipher: Cipher, probe: IMailboxProbe, now: Callable[[], float] = time) -> None:
        self._store = store
        self._cipher = cipher
        self._probe = probe
        self._now = now

    async def list(self) -> "tuple[RemoteMailbox, ...]":
        """All, by kind and name. Raises Unavailable."""
        found = await self._store.read(rows.every, LIMIT)
        return tuple(self._opened(row)[0] for row in found)

    async def show(self, id: int) -> RemoteMailbox:
        """One. Raises DirectoryError, Unavailable."""
        return (await self._row(id, whole=False))[0]

    async def add(self, place: Place) -> int:
        """Keep a new one; its id. Raises DirectoryError, Unavailable."""
        place = _checked(place)
        guid = os.urandom(16)
        audit.note(target=place.name, after=_told(place))
        made: int = await self._write(place.name, rows.add, place.kind, place.name, guid, self._sealed(guid, place), LIMIT)
        return made

    async def change(self, id: int, place: Place) -> None:
        """Change one; an empty password keeps the one that is there. Raises DirectoryError, Unavailable."""
        mailbox, before, guid = await self._row(id)
        place = self._filled(evolve(place, kind=mailbox.place.kind), before)
        new = os.urandom(16)
        audit.note(target=place.name, before=_told(before), after=_told(place, place.password != before.password))
        await self._write(place.name, rows.change, id, guid, place.name, new, self._sealed(new, place))

    async def remove(self, id: int) -> str:
        """Remove one; its name. Raises DirectoryError, Unavailable."""
        mailbox = await self.show(id)
        audit.note(target=mailbox.place.name, before=_told(mailbox.place))
        await self._write(mailbox.place.name, rows.remove, id)
        return mailbox.place.name

    async def test(self, id: int) -> Probe:
        """Connect and log in with what is kept, and keep how it went. Raises DirectoryError, Unavailable."""
        mailbox, place, guid = await self._row(id)
        probe = await self._try(place)
        audit.note(target=place.name, after={"ok": probe.ok})
        value = json.dumps({"ok": probe.ok, "summary": probe.summary}).encode()
        await self._store.write(rows.tested, id, guid, self._cipher.seal(_RESULT, guid, value), int(self._now()))
        return probe

    async def _try(self, place: Place) -> Probe:
        return await self._probe.try_mailbox(
            place.kind, place.host, place.port, place.username, place.password, place.verify, place.timeout
        )

    async def _write(self, name: str, job: Callable[..., T], *arguments: Any) -> T:
        """Run ``job``, which concerns the mailbox ``name``. Raises DirectoryError, Unavailable."""
        try:
            return await self._store.write(job, *arguments)
        except rows.Taken:
            raise DirectoryError("exists", f"There is a mailbox named {name} already", "Give another name.") from None
        except rows.Full:
            raise DirectoryError("limit", f"There are {LIMIT} mailboxes, the most that are kept", "Remove some first.") from None
        except rows.Changed:
            raise DirectoryError("exists", "Somebody else has changed it meanwhile", "Look at it again.") from None

    def _filled(self, place: Place, before: Place) -> Place:
        """``place`` with the password of ``before`` where none was given and it may be used. Raises DirectoryError."""
        if not place.password:
            same = (place.host.lower(), place.port, place.username) == (before.host.lower(), before.port, before.username)
            if not same or before.verify and not place.verify:
                raise DirectoryError(
                    "invalid", "The password is kept for this host, port, user and protection only", "Type the password again."
                )
            place = evolve(place, password=before.password)
        return _checked(place)

    async def _row(self, id: int, whole: bool = True) -> tuple[RemoteMailbox, Place, bytes]:
        row = await self._store.read(rows.by_id, id)
        if row is None:
            raise DirectoryError("not_found", "There is no such mailbox", "Somebody may have removed it.")
        mailbox, place = self._opened(row)
        if whole and not place.host:
            raise DirectoryError("invalid", "What is kept of this mailbox cannot be opened", "Remove it, and add it again.")
        return mailbox, place, bytes(row[3])

    def _sealed(self, guid: bytes, place: Place) -> bytes:
        return self._cipher.seal(_PURPOSE, guid, json.dumps(asdict(place)).encode())

    def _opened(self, row: Row) -> tuple[RemoteMailbox, Place]:
        """A mailbox, and its place with the password; one that does not open has no host."""
        id, kind, name, guid, sealed, tested, result = row
        outcome: dict[str, Any] = {}
        try:
            place = Place(**{**json.loads(self._cipher.open(_PURPOSE, bytes(guid), bytes(sealed))), "kind": kind, "name": name})
            if result is not None:
                outcome = json.loads(self._cipher.open(_RESULT, bytes(guid), bytes(result)))
        except (CipherError, ValueError, TypeError):
            log.error("A mailbox elsewhere does not open", event="remote_mailbox.damaged", id=id)
            place = Place(kind, name, "", 0, "", "")
        shown = RemoteMailbox(int(id), evolve(place, password=""), tested, bool(outcome.get("ok")), str(outcome.get("summary", "")))
        return shown, place


def _checked(place: Place) -> Place:
    """``place`` if it may be kept. Raises DirectoryError."""
    place = evolve(place, name=place.name.strip(), host=place.host.strip())
    for what, text, limit in (
        ("name", place.name, NAME_LIMIT),
        ("host", place.host, HOST_LIMIT),
        ("user name", place.username, USERNAME_LIMIT),
        ("password", place.password, PASSWORD_LIMIT),
    ):
        if not text:
            raise DirectoryError("invalid", f"The {what} is missing", "Fill it in.")
        if len(text) > limit or not clean(text) or (what == "name" and not text.isprintable()):
            raise DirectoryError("invalid", f"The {what} cannot be used", f"Give at most {limit} characters, without control characters.")
    if any(each.isspace() or each in '/@?#"<>' for each in place.host):
        raise DirectoryError("invalid", "The host is no name or address", "Give a name like imap.example.org, or an address.")
    if place.kind not in PORTS or not 1 <= place.port <= 65535 or not 1 <= place.timeout <= TIMEOUT_MOST:
        raise DirectoryError("invalid", "Kind, port or time limit are out of range", f"Ports are 1 to 65535, seconds 1 to {TIMEOUT_MOST}.")
    return place


def _told(place: Place, new: bool = False) -> dict[str, Any]:
    """What the audit log says of it."""
    told: dict[str, Any] = {"kind": place.kind, "host": place.host, "port": place.port, "verify": place.verify}
    return {**told, "password": audit.HIDDEN} if new else told

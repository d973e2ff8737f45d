"""A mailbox on another server as a source of an import, read by IMAP. Nothing is changed there.

Messages that the import knows are not downloaded again, only their flags. A connection that breaks is made anew, some times; then
the import ends and may be run again. What is in views (all mail, what is flagged) is left out, since it lies elsewhere too; of
Gmail's view of all mail what lies nowhere else is taken for the archive.
"""

import imaplib
import re
import socket
import ssl
import time
from calendar import timegm
from collections.abc import Callable, Iterator, Sequence
from imaplib import IMAP4, IMAP4_SSL, Commands
from typing import Any, TypeVar

from attrs import frozen

from mailx.config import is_loopback
from mailx.ctl.sources import Folder, Item, SourceError, folder_name
from mailx.imap import utf7
from mailx.mail.mailbox import SYSTEM_FLAGS
from mailx.mail.names import INBOX
from mailx.mail.special_folders import special_use

T = TypeVar("T")

_ROWS = 1000  # messages asked about at once
_TOGETHER = 100  # messages downloaded at once,
_OCTETS = 8 * 1024 * 1024  # and octets
_LARGEST = 256 * 1024 * 1024  # octets of a message; a larger one is not asked for
_SLACK = 1024 * 1024  # octets by which a message may be larger than was said
_TRIES = 5  # connections made in a row before it is given up
_USES = ("\\Sent", "\\Drafts", "\\Trash", "\\Junk", "\\Archive")
_VIEWS = ("\\flagged", "\\important")
_UNSELECTABLE = ("\\noselect", "\\nonexistent")
_ARCHIVED = '"has:nouserlabels -in:inbox -in:sent -in:drafts -in:chats"'  # in no other folder that Gmail shows
_LIST = re.compile(rb'\(([^)]*)\) (NIL|"\\?(.)") (.*)', re.DOTALL)
_BREAKING = re.compile(rb"[\r\n\0]")
_FETCH = re.compile(rb"[0-9]+ \(")
_UID = re.compile(rb"\bUID ([0-9]+)")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
_SIZE = re.compile(rb"\bRFC822\.SIZE ([0-9]+)")
_DATE = re.compile(rb'\bINTERNALDATE "([ 0-9]?[0-9])-([A-Z][a-z]{2})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')
_NAMESPACE = re.compile(rb'\("((?:[^"\\]|\\.)*)" ')
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_SYSTEM = {name.lower(): flag for name, flag in SYSTEM_FLAGS.items()}


@frozen
class Login:
    """Where and as whom. ``security`` is "tls", "starttls" or "none" (only to this machine). A ``token`` is for OAuth."""

    host: str
    port: int
    username: str
    password: str = ""
    token: str = ""
    security: str = "tls"
    authorities: str = ""  # a PEM file with authorities believed instead of the system's
    timeout: float = 120.0  # seconds without an octet


@frozen
class _Row:
    uid: int
    flags: int
    keywords: tuple[str, ...]
    received: int | None
    size: int


class ImapSource:
    """See :class:`mailx.ctl.sources.Source`. ``known`` is to be set before ``items`` is called."""

    def __init__(self, login: Login, per_second: float = 0.0) -> None:
        """``per_second``: messages downloaded at most; 0: as many as there are."""
        self.label = f"{login.username} at {login.host}"
        self.known: Callable[[Folder, Sequence[str]], set[str]] = lambda folder, identities: set()
        self._login = login
        self._per_second = per_second
        self._connection: IMAP4 | None = None
        self._selected = b""
        self._uidvalidity = 0
        self._exists = 0

    def close(self) -> None:
        """Say goodbye."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.logout()
            except (OSError, IMAP4.error):
                pass

    def folders(self) -> list[Folder]:
        return self._trying(self._folders)

    def count(self, folder: Folder) -> int:
        self._trying(lambda: self._examine(folder))
        return len(self._trying(lambda: self._archived(folder))) if _view(folder) else self._exists

    def items(self, folder: Folder) -> Iterator[Item]:
        self._selected = b""  # so that it is looked at anew
        self._trying(lambda: self._examine(folder))
        uidvalidity = self._uidvalidity
        for rows in self._rows(folder):
            names = {row.uid: f"{uidvalidity}.{row.uid}" for row in rows}
            known = self.known(folder, list(names.values()))
            for row in rows:
                if names[row.uid] in known:
                    yield Item(b"", row.flags, row.keywords, row.received, names[row.uid])
            for batch in _batches([row for row in rows if names[row.uid] not in known]):
                began = time.monotonic()
                contents = self._trying(lambda batch=batch: self._contents(folder, uidvalidity, batch))  # type: ignore[misc]
                for row in batch:
                    if row.uid in contents:  # else it is gone
                        yield Item(contents[row.uid], row.flags, row.keywords, row.received, names[row.uid])
                if self._per_second:
                    time.sleep(max(0.0, len(batch) / self._per_second - (time.monotonic() - began)))

    # Conversation

    def _trying(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, on another connection if one breaks. Raises SourceError."""
        for attempt in range(_TRIES):
            try:
                return call()
            except (IMAP4.abort, ssl.SSLError, OSError) as error:
                if isinstance(error, ssl.SSLCertVerificationError):
                    why = f"{error.verify_message}; name its authority in --authorities"
                    raise SourceError(f"the certificate of {self._login.host} is not believed: {why}") from None
                reason = _reason(error)
                self._connection = None
                time.sleep(min(30, 2**attempt - 1))
            except IMAP4.error as error:
                raise SourceError(f"{self._login.host} refuses: {_reason(error)}") from None
            except ValueError:  # a number or a date that is none
                raise SourceError(f"{self._login.host} answers what makes no sense") from None
        raise SourceError(f"{self._login.host}, port {self._login.port}, cannot be reached: {reason}. Run the import again to go on")

    def _connected(self) -> IMAP4:
        if self._connection is None:
            self._connection = self._connect()
            self._selected = b""
        return self._connection

    def _connect(self) -> IMAP4:
        login = self._login
        if login.security == "none" and not is_loopback(login.host):
            raise SourceError("a password goes over an unencrypted connection only to this machine: use --security tls or starttls")
        trust = ssl.create_default_context(cafile=login.authorities or None)
        connection: IMAP4
        if login.security == "tls":
            connection = IMAP4_SSL(login.host, login.port, ssl_context=trust, timeout=login.timeout)
        else:
            connection = IMAP4(login.host, login.port, timeout=login.timeout)
        _bound(connection)
        if login.security == "starttls":
            connection.starttls(trust)
        try:
            self._authenticate(connection)
        except (IMAP4.abort, SourceError):
            connection.shutdown()
            raise
        except IMAP4.error as error:
            connection.shutdown()
            raise SourceError(f"{login.host} does not let {login.username} in: {_reason(error)}") from None
        _, words = connection.capability()
        connection.capabilities = tuple((words[0] or b"").decode("ascii", "replace").upper().split())  # after login there are more
        return connection

    def _authenticate(self, connection: IMAP4) -> None:
        login = self._login
        if login.token and "AUTH=OAUTHBEARER" in connection.capabilities:
            bearer = f"n,a={login.username},\1host={login.host}\1port={login.port}\1auth=Bearer {login.token}\1\1"
            connection.authenticate("OAUTHBEARER", lambda challenge: bearer.encode() if not challenge else b"\1")
        elif login.token:
            bearer = f"user={login.username}\1auth=Bearer {login.token}\1\1"
            connection.authenticate("XOAUTH2", lambda challenge: bearer.encode() if not challenge else b"")
        elif "AUTH=PLAIN" in connection.capabilities:
            connection.authenticate("PLAIN", lambda challenge: f"\0{login.username}\0{login.password}".encode())
        else:
            if not (login.username + login.password).isascii():
                raise SourceError(f"{login.host} offers no login that takes letters beyond ASCII")
            connection.login(login.username, login.password)

    def _asked(self, name: str, *arguments: Any, uid: bool = False) -> list[Any]:
        """The untagged answers to a command; raises IMAP4.error for NO and BAD."""
        connection = self._connected()
        if uid:
            status, data = connection.uid(name, *arguments)
        else:
            status, data = connection._simple_command(name, *arguments)
            if status == "OK":
                status, data = connection._untagged_response(status, data, name)
        if status != "OK":
            raise IMAP4.error((data[-1] or b"").decode("utf-8", "replace") if data else status)
        return [piece for piece in data if piece is not None]

    def _folders(self) -> list[Folder]:
        capabilities = self._connected().capabilities
        extended = "SPECIAL-USE" in capabilities and "LIST-EXTENDED" in capabilities
        foreign, prefixes = self._namespaces() if "NAMESPACE" in capabilities else ([], [])
        found: dict[str, Folder] = {}
        for attributes, delimiter, raw in _listed(self._asked("LIST", '""', "*", *(["RETURN (SPECIAL-USE)"] if extended else []))):
            lower = [attribute.lower() for attribute in attributes]
            if any(word in lower for word in (*_UNSELECTABLE, *_VIEWS)) or any(raw.startswith(prefix) for prefix in foreign):
                continue
            if _BREAKING.search(raw):  # it would end the command that names it
                continue
            view = "\\all" in lower
            if view and "X-GM-EXT-1" not in capabilities:
                continue
            path = _decoded(next((raw[len(prefix) :] for prefix in prefixes if raw.startswith(prefix) and raw != prefix), raw))
            name = INBOX if path.upper() == INBOX else folder_name(path.split(delimiter) if delimiter else [path])
            use = "\\Archive" if view else next((use for use in _USES if use.lower() in lower), "")
            while name in found:
                name += "_"
            found[name] = Folder(name, use, ("all " if view else "box ") + raw.decode("latin-1"))
        if any(folder.special_use for folder in found.values()):
            return _ordered(found)
        return _ordered({name: Folder(name, special_use(name), folder.place) for name, folder in found.items()})

    def _namespaces(self) -> tuple[list[bytes], list[bytes]]:
        """Prefixes of names that are other people's, and of one's own."""
        [answer, *_] = self._asked("NAMESPACE") or [b""]
        groups = re.findall(rb'NIL|\((?:\("(?:[^"\\]|\\.)*" (?:NIL|"[^"]*")[^)]*\))+\)', answer)
        prefixes = [[name for name in _NAMESPACE.findall(group) if name] for group in groups]
        own, *others = prefixes or [[]]
        return [name for group in others for name in group], own

    def _examine(self, folder: Folder) -> None:
        """Make ``folder`` the one that is asked about."""
        place = folder.place[4:].encode("latin-1")
        connection = self._connected()
        if self._selected == place:
            return
        self._selected = b""
        status, data = connection.select(_quoted(place), readonly=True)  # type: ignore[arg-type]
        if status != "OK":
            raise IMAP4.error((data[-1] or b"").decode("utf-8", "replace"))
        self._exists = int(data[0] or 0)
        _, uidvalidity = connection.response("UIDVALIDITY")
        if not uidvalidity or uidvalidity[0] is None:
            raise SourceError(f"{self._login.host} gives no UIDVALIDITY for {folder.name}: its messages cannot be told apart")
        self._uidvalidity = int(uidvalidity[0])
        self._selected = place

    def _archived(self, folder: Folder) -> list[int]:
        self._examine(folder)
        return self._found("X-GM-RAW", _ARCHIVED)

    def _rows(self, folder: Folder) -> Iterator[list[_Row]]:
        """What there is to know of each message but its content, some at a time, UIDs rising."""
        # By UIDs: numbers shift when a message is removed meanwhile.
        uids = self._trying(lambda: self._archived(folder) if _view(folder) else self._all(folder))
        for start in range(0, len(uids), _ROWS):
            some = ",".join(map(str, uids[start : start + _ROWS]))
            yield self._trying(lambda some=some: self._described(folder, some))  # type: ignore[misc]

    def _all(self, folder: Folder) -> list[int]:
        self._examine(folder)
        return self._found("ALL")

    def _found(self, *keys: str) -> list[int]:
        """The UIDs of the messages that match, rising."""
        return sorted({int(uid) for answer in self._asked("SEARCH", *keys, uid=True) for uid in answer.split()})

    def _described(self, folder: Folder, uids: str) -> list[_Row]:
        self._examine(folder)
        rows = {}
        for head, _ in _fetched(self._asked("FETCH", uids, "(UID FLAGS INTERNALDATE RFC822.SIZE)", uid=True)):
            uid, flags, size = _UID.search(head), _FLAGS.search(head), _SIZE.search(head)
            if uid and flags and size:
                known, keywords = _flags(flags[1])
                rows[int(uid[1])] = _Row(int(uid[1]), known, keywords, _received(head), int(size[1]))
        return [rows[uid] for uid in sorted(rows)]

    def _contents(self, folder: Folder, uidvalidity: int, rows: Sequence[_Row]) -> dict[int, bytes]:
        self._examine(folder)
        if self._uidvalidity != uidvalidity:
            raise SourceError(f"{folder.name} was made anew at {self._login.host} meanwhile. Run the import again")
        found = {}
        for head, content in _fetched(self._asked("FETCH", ",".join(str(row.uid) for row in rows), "(UID BODY.PEEK[])", uid=True)):
            uid = _UID.search(head)
            if uid and content is not None:
                found[int(uid[1])] = content
        return found


def _view(folder: Folder) -> bool:
    return folder.place.startswith("all ")


def _ordered(found: dict[str, Folder]) -> list[Folder]:
    return sorted(found.values(), key=lambda folder: (folder.name != INBOX, folder.name))


def _batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    octets = 0
    for row in rows:
        if row.size > _LARGEST:
            raise SourceError(f"the message with UID {row.uid} has {row.size} octets: larger than anything that is imported")
        if batch and (len(batch) == _TOGETHER or octets + row.size > _OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(row)
        octets += row.size
    if batch:
        yield batch


def _listed(answers: Sequence[Any]) -> Iterator[tuple[list[str], str, bytes]]:
    """(attributes, delimiter or "", raw name) of each answer to LIST."""
    for answer in answers:
        line, literal = answer if isinstance(answer, tuple) else (answer, None)
        match = _LIST.match(line)
        if match is None:
            continue
        name = literal if literal is not None else match[4]
        if literal is None and name.startswith(b'"'):
            name = re.sub(rb"\\(.)", rb"\1", name[1:-1])
        yield match[1].decode("ascii", "replace").split(), (match[3] or b"").decode("ascii", "replace"), name


def _fetched(answers: Sequence[Any]) -> Iterator[tuple[bytes, bytes | None]]:
    """(everything but the literal, the literal) of each FETCH answer."""
    head, content = b"", None
    for answer in answers:
        line, literal = answer if isinstance(answer, tuple) else (answer, None)
        if _FETCH.match(line):
            if head:
                yield head, content
            head, content = line, literal
        else:
            head += b" " + line
            content = literal if content is None else content
    if head:
        yield head, content


def _flags(raw: bytes) -> tuple[int, tuple[str, ...]]:
    flags, keywords = 0, []
    for word in raw.decode("utf-8", "replace").split():
        if word.startswith("\\"):
            flags |= _SYSTEM.get(word.lower(), 0)
        else:
            keywords.append(word)
    return int(flags), tuple(keywords)


def _received(head: bytes) -> int | None:
    match = _DATE.search(head)
    if match is None or match[2] not in _MONTHS:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    at = timegm((int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second)))
    offset = 3600 * int(hours) + 60 * int(minutes)
    return max(0, at + offset if sign == b"-" else at - offset)


def _quoted(name: bytes) -> bytes:
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _bound(connection: IMAP4) -> None:
    """Let no literal be read that is larger than any message that is asked for."""
    read = connection.read

    def bounded(size: int) -> bytes:
        if size > _LARGEST + _SLACK:
            raise SourceError(f"{connection.host} sends {size} octets at once: larger than anything that is imported")
        return read(size)

    connection.read = bounded  # type: ignore[method-assign]


def _decoded(raw: bytes) -> str:
    try:
        return utf7.decode(raw)
    except utf7.UTF7Error:
        return raw.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    """In words, on one line, and without what was sent."""
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200]


Commands.setdefault("NAMESPACE", ("AUTH", "SELECTED"))
imaplib._MAXLINE = 16 * 1024 * 1024  # type: ignore[attr-defined]  # octets: two million UIDs in one answer to SEARCH

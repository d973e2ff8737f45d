"""The same IMAP session with this server and with Debian's Dovecot: where they differ, a table says why."""

import re
import shutil
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from imaplib import IMAP4_SSL
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.system.certificates import Authority
from tests.system.differential import DIFFERENCES, MESSAGES, NAMESPACE, SCRIPT, Difference
from tests.system.dovecot import PASSWORD, USERNAME, Dovecot
from tests.system.server import PATIENCE, Server

Value = str | list["Value"]
_TOKEN = re.compile(r'(~?)\{(\d+)\}\r\n|"((?:[^"\\]|\\.)*)"|([()])|([^\s()\["]*\[[^]]*\](?:<\d+>)?|[^\s()"]+)')


def _values(text: str) -> list[Value]:
    """Lists, atoms and strings; a string has quotation marks, however it was sent."""
    stack: list[list[Value]] = [[]]
    at = 0
    while found := _TOKEN.search(text, at):
        at = found.end()
        binary, size, quoted, parenthesis, atom = found.groups()
        if size:
            stack[-1].append(f'{binary}"{text[at : at + int(size)]}"')
            at += int(size)
        elif quoted is not None:
            stack[-1].append('"' + re.sub(r"\\(.)", r"\1", quoted) + '"')
        elif parenthesis == "(":
            stack.append([])
        elif parenthesis:
            last = stack.pop()
            stack[-1].append(last)
        else:
            stack[-1].append(atom)
    return stack[0]


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"({' '.join(map(_shown, value))})"


def _pairs(items: list[Value]) -> str:
    """The attributes of FETCH and STATUS in an order of their own."""
    pairs = []
    for name, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(value, list) and name == "FLAGS":
            value = [*sorted(map(_shown, value))]
        elif name in ("MODSEQ", "HIGHESTMODSEQ", "UIDVALIDITY"):
            value = "N"
        elif name == "INTERNALDATE" and isinstance(value, str):
            value = datetime.strptime(value.strip('" '), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC).isoformat()
        pairs.append(f"{_shown(name)} {_shown(value)}")
    return " ".join(sorted(pairs))


def _normal(line: str) -> str:
    """What the line says, without what the server may choose."""
    tag, _, rest = line.removesuffix("\r\n").partition(" ")
    if found := re.match(r"(OK|NO|BAD|BYE|PREAUTH)(?: \[([^]]*)\])?", rest):
        code = re.sub(r"^(UIDVALIDITY|HIGHESTMODSEQ|COPYUID|APPENDUID|UIDNEXT \d+|UNSEEN \d+) ?\d*", r"\1", found[2] or "")
        if code.startswith(("BADCHARSET", "MAILBOXID")):
            code = code.split()[0]
        if "(" in code:
            word, _, members = code.partition(" (")
            code = f"{word} {' '.join(sorted(members.rstrip(')').split()))}"
        return f"{'tag' if tag != '*' else '*'} {found[1]} [{code}]"
    values = _values(rest)
    match values:
        case [number, "FETCH", list(items)]:
            return f"{number} FETCH {_pairs(items)}"
        case ["STATUS", name, list(items)]:
            return f"STATUS {name} {_pairs(items)}"
        case ["LIST" | "LSUB" as kind, list(attributes), *others]:
            return f"{kind} ({' '.join(sorted(map(_shown, attributes)))}) {' '.join(map(_shown, others))}"
        case ["FLAGS", list(flags)]:
            return f"FLAGS {' '.join(sorted(map(_shown, flags)))}"
        case ["SEARCH" | "SORT", *_] if isinstance(values[-1], list):
            values[-1] = "MODSEQ"
        case ["ESEARCH", list(_), *_]:
            values[1] = "TAG"
    return " ".join(map(_shown, values))


@dataclass
class _Client:
    """One connection; it remembers what it needs to come back."""

    connection: IMAP4_SSL
    number: int = 0
    known: dict[str, str] = field(default_factory=lambda: {"v": "0", "m": "0", "M": "0"})

    def answers(self, command: str) -> list[str]:
        for name, value in self.known.items():
            command = command.replace(f"{{{name}}}", value)
        self.number += 1
        tag = f"t{self.number}"
        self.connection.send(f"{tag} {command}\r\n".replace(r"\r\n", "\r\n").encode())
        lines: list[str] = []
        for line in self._lines():
            for name, code in (("v", "UIDVALIDITY"), ("m", "HIGHESTMODSEQ"), ("M", "HIGHESTMODSEQ"), ("M", "MODSEQ")):
                found = re.search(rf"{code} \(?(\d+)", line)
                if found and (name == "M" or line.startswith("* OK")):
                    self.known[name] = found[1]
            lines.append(_normal(line))
            if line.startswith(f"{tag} "):
                break
        return lines

    def _lines(self) -> Iterator[str]:
        while line := self.connection.readline():
            while found := re.search(rb"\{(\d+)\}\r\n\Z", line):
                line += self.connection.read(int(found[1])) + self.connection.readline()
            yield line.decode("latin-1")


def _said(connections: list[IMAP4_SSL]) -> list[list[str]]:
    """What is answered to each command of the script."""
    first = connections[0]
    first.create("d")
    for day, message in enumerate(MESSAGES, 1):
        first.append("d", "", f'"{day:02}-Jan-2024 10:00:00 +0000"', message.replace("\n", "\r\n").encode())
    clients = [_Client(connection) for connection in connections]
    return [clients[line.startswith("2 ")].answers(line.removeprefix("2 ")) for line in SCRIPT.strip().split("\n")]


def _sequence(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(r"\d+ (FETCH|EXPUNGE)", line)]


def _unexplained(command: str, here: list[str], there: list[str], used: set[Difference]) -> str:
    """The rest that no entry of the table explains; ``used`` takes the entries that did."""
    entries = [entry for entry in DIFFERENCES if re.fullmatch(entry.command, command)]
    alike = Counter(here) & Counter(there)
    said = []
    for line in here:
        if alike[line]:
            alike[line] -= 1
        else:
            for entry in entries:
                if entry.here and (changed := re.sub(entry.here, entry.there, line)) != line:
                    used.add(entry)
                    line = changed
        if line:
            said.append(line)
    missing = Counter(there) - Counter(said)
    for line in list(missing):
        for entry in entries:
            if not entry.here and re.fullmatch(entry.there, line, re.S):
                used.add(entry)
                del missing[line]
                break
    more = Counter(said) - Counter(there)
    wrong = [f"  here {line!r}" for line in more.elements()] + [f"  there {line!r}" for line in missing.elements()]
    if not wrong and _sequence(said) != [line for line in _sequence(there) if line in said]:
        wrong = ["  in another order"]
    return "\n".join([command, *wrong]) if wrong else ""


class Differential(SynchronousTestCase):
    def test_the_same_session(self) -> None:
        here, there = _said(self._here()), _said(self._there())
        used: set[Difference] = set()
        commands = SCRIPT.strip().split("\n")
        wrong = [_unexplained(*each, used) for each in zip(commands, here, there, strict=True)]
        wrong += [f"no longer so: {difference}" for difference in DIFFERENCES if difference not in used]
        if report := "\n".join(filter(None, wrong)):
            self.fail(report)

    def _here(self) -> list[IMAP4_SSL]:
        server = Server(self)
        server.start()
        return [server.imap(), server.imap()]

    def _there(self) -> list[IMAP4_SSL]:
        directory = Path(tempfile.mkdtemp(prefix="mailx-"))
        self.addCleanup(shutil.rmtree, directory)
        authority = Authority(directory)
        dovecot = Dovecot(authority.issue("localhost"), NAMESPACE)
        self.addCleanup(dovecot.stop)
        dovecot.start()
        context = ssl.create_default_context(cafile=str(authority.certificate))
        connections = []
        for _ in range(2):
            connection = IMAP4_SSL("localhost", dovecot.ports["imaps"], ssl_context=context, timeout=PATIENCE)
            self.addCleanup(connection.shutdown)
            connection.login(USERNAME, PASSWORD)
            connections.append(connection)
        return connections

"""A Maildir to import, and the proof by IMAP that all of it came, once."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from hashlib import sha256
from imaplib import IMAP4
from pathlib import Path
from typing import TypeAlias

Seen: TypeAlias = "Counter[tuple[str, bytes, frozenset[str], int]]"  # mailbox, digest, flags, date

FOLDERS = {"": "INBOX", ".Gesendet": "Sent", ".Projects.2025": "Projects/2025", ".R&AOk-sum&AOk-s": "R\u00e9sum\u00e9s"}
_KEYWORDS = {"a": "$Forwarded", "b": "NonJunk"}
_FLAGS = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "D": "\\Draft", **_KEYWORDS}
_STATES = ("", "S", "FS", "RS", "Sa", "RSb", "D")
_DATE = re.compile(rb'INTERNALDATE "([^"]+)"')
_SHOWN = re.compile(rb"FLAGS \(([^)]*)\)")
_SLICE = 500


def make(root: Path, messages: Iterable[bytes], began: int = 1_700_000_000) -> Seen:
    """A Maildir++ below ``root`` with ``messages`` (with LF, as they lie in one) in some folders; what is to be seen of it."""
    expected: Seen = Counter()
    for folder in FOLDERS:
        for part in ("cur", "new", "tmp"):
            (root / folder / part).mkdir(parents=True)
        lines = [f"{number} {name}\n" for number, name in enumerate(_KEYWORDS.values())]
        (root / folder / "dovecot-keywords").write_text("".join(lines), encoding="ascii")
    for number, content in enumerate(messages):
        folder, state = list(FOLDERS)[number % 7 if number % 7 < len(FOLDERS) else 0], _STATES[number % len(_STATES)]
        date = began + number * 60
        file = root / folder / "cur" / f"{date}.M{number}P7.host,S={len(content)}:2,{state}"
        file.write_bytes(content)
        os.utime(file, (date, date))
        expected[_one(FOLDERS[folder], content.replace(b"\n", b"\r\n"), [_FLAGS[letter] for letter in state], date)] += 1
    return expected


def seen(client: IMAP4) -> Seen:
    """Everything in those mailboxes."""
    found: Seen = Counter()
    for mailbox in FOLDERS.values():
        name = mailbox.replace("\u00e9", "&AOk-")
        _, data = client.select(f'"{name}"', readonly=True)
        count = int(data[0] or 0)
        for start in range(1, count + 1, _SLICE):
            _, rows = client.fetch(f"{start}:{min(count, start + _SLICE - 1)}", "(FLAGS INTERNALDATE BODY.PEEK[])")
            for row in rows:
                if isinstance(row, tuple):
                    head, content = row
                    shown, date = _SHOWN.search(head), _DATE.search(head)
                    assert shown is not None and date is not None
                    seconds = int(parsedate_to_datetime(date[1].decode().replace("-", " ")).timestamp())
                    found[_one(mailbox, content, shown[1].decode().split(), seconds)] += 1
    return found


def _one(mailbox: str, content: bytes, flags: Iterable[str], date: int) -> tuple[str, bytes, frozenset[str], int]:
    return mailbox, sha256(content).digest(), frozenset(flags) - {"\\Recent"}, date

"""File names of messages in a Maildir: the flags that they carry. Pure.

``UNIQUE[,S=OCTETS]:2,FLAGS``, where file systems without colons have another sign. Small letters are keywords, which the file
``dovecot-keywords`` of the folder names: ``0 $Forwarded`` is what ``a`` stands for.
"""

import re
from collections.abc import Mapping, Sequence

from mailx.mail.mailbox import Flag

KEYWORDS_FILE = "dovecot-keywords"
_LETTERS = {"D": Flag.DRAFT, "F": Flag.FLAGGED, "R": Flag.ANSWERED, "S": Flag.SEEN, "T": Flag.DELETED}
_PASSED = "$Forwarded"  # P: bounced, forwarded or resent
_INFO = re.compile(r"[:;!]2,([A-Za-z]*)")
_KEYWORD = re.compile(r"([0-9]{1,2}) (\S+)")


def state(name: str, keywords: Mapping[str, str]) -> tuple[int, tuple[str, ...]]:
    """(flags, keywords) that the file name ``name`` carries; ``keywords`` are those of the folder by letter."""
    found = _INFO.search(name)
    letters = found[1] if found else ""
    flags = 0
    for letter, flag in _LETTERS.items():
        if letter in letters:
            flags |= flag
    named = [_PASSED] if "P" in letters else []
    named += [keywords[letter] for letter in letters if letter in keywords]
    return int(flags), tuple(dict.fromkeys(named))


def name(unique: str, size: int, flags: int, keywords: Sequence[str], letters: Mapping[str, str]) -> str:
    """The file name of a message; ``letters`` has the letter of each keyword, those without one are left out."""
    marks = {letter for letter, flag in _LETTERS.items() if flags & flag}
    if _PASSED in keywords:
        marks.add("P")
    own = {letters[keyword] for keyword in keywords if keyword in letters}
    return f"{unique},S={size}:2,{''.join(sorted(marks) + sorted(own))}"


def keywords(text: str) -> dict[str, str]:
    """The keywords by letter, of the text of a ``dovecot-keywords`` file; lines that make no sense are passed over."""
    found = {}
    for line in text.splitlines():
        match = _KEYWORD.fullmatch(line.strip())
        if match and int(match[1]) < 26:
            found[chr(ord("a") + int(match[1]))] = match[2]
    return found


def keywords_text(letters: Mapping[str, str]) -> str:
    """The text of a ``dovecot-keywords`` file; ``letters`` has the letter of each keyword."""
    rows = sorted((ord(letter) - ord("a"), keyword) for keyword, letter in letters.items())
    return "".join(f"{number} {keyword}\n" for number, keyword in rows)

"""Address lists of header fields (RFC 5322 3.4), obsolete forms (4.4) and broken ones included.

Most fields hold plain mailboxes and are taken by one expression each; everything else goes through the tokens.
Nothing raises, all work is linear, at most ADDRESSES_LIMIT entries come out of one field.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mailx.mail.header import unfold
from mailx.mail.parameters import comment_end

ADDRESSES_LIMIT = 10000


class Entry(NamedTuple):
    """One address structure as IMAP defines it (RFC 9051 7.5.2, ENVELOPE).

    ``name`` is the display name, ``route`` the obsolete source route, both None if absent; quoting is removed,
    encoded words are left as they are. A group starts with an entry that has a ``mailbox`` (its name) and no
    ``host``, and ends with one that has neither. A host that is missing otherwise is ``b""``.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END = Entry(None, None, None, None)

_ATOM = rb"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]"
_DOT_ATOM = rb"%b++(?>(?:\.%b++)*)" % (_ATOM, _ATOM)
_PHRASE = rb"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]"  # with dots: RFC 5322 4.1
_PLAIN = re.compile(
    rb"[ \t]*+(?:"
    rb'(?:"([^"\\]++)"|(%b++(?>(?:[ \t]++%b++)*)))[ \t]*+<(%b)@(%b)>'
    % (_PHRASE, _PHRASE, _DOT_ATOM, _DOT_ATOM)
    + rb"|<?(%b)@(%b)>?" % (_DOT_ATOM, _DOT_ATOM)
    + rb")[ \t]*+(,|\Z)"
)
_BLANKS = re.compile(rb"[ \t]{2,}+|\t")

_TOKEN = re.compile(
    rb"(?P<blank>[\x00-\x20\x7f]++)"
    rb'|"(?P<quoted>(?>(?:[^"\\]++|\\[\s\S])*))"'
    rb"|(?P<literal>\[[^\[\]\\]*+\])"
    rb'|(?P<word>[^\x00-\x20\x7f()<>\[\]:;@\\,"]++)'
    rb"|(?P<commas>,[\x00-\x20\x7f,]*+)"  # a run of them separates as one does
    rb"|(?P<special>[\s\S])"
)
_ESCAPE = re.compile(rb"\\([\s\S])")

_GAP = b" "

Token = tuple[str, bytes]  # (blank, quoted, literal, word, special or comment; text without quoting)


def parse(value: bytes) -> list[Entry]:
    """The entries of the raw address field ``value``, groups with their start and end entries."""
    value = unfold(value)
    entries: list[Entry] = []
    position, end = 0, len(value)
    while position < end:
        match = _PLAIN.match(value, position)
        if match is None:
            return _entries(value)
        quoted, phrase, local, host, bare_local, bare_host, _ = match.groups()
        if bare_local is not None:
            entries.append(Entry(None, None, bare_local, bare_host))
        elif quoted is not None:
            entries.append(Entry(quoted, None, local, host))
        else:
            entries.append(Entry(_BLANKS.sub(b" ", phrase), None, local, host))
        position = match.end()
        if len(entries) >= ADDRESSES_LIMIT:
            break
    return entries


def _tokens(value: bytes) -> Iterator[Token]:
    position, end = 0, len(value)
    while position < end:
        match = _TOKEN.match(value, position)
        assert match is not None and match.lastgroup is not None  # the last alternative takes anything
        kind, text, position = match.lastgroup, match[match.lastgroup], match.end()
        if kind == "commas":
            yield "special", b","
        elif kind == "quoted":
            yield kind, _ESCAPE.sub(rb"\1", text)
        elif text == b"(" and kind == "special":
            start, position = position, comment_end(value, position - 1)
            closed = position >= 0
            position = position if closed else end  # one that never closes takes the rest
            yield "comment", _ESCAPE.sub(rb"\1", value[start : position - closed])
        elif text == b'"' and kind == "special":
            # A quotation that never closes: the rest is read without quotation marks, so that each is looked at once.
            value = value[position:].replace(b'"', b"")
            position, end = 0, len(value)
        else:
            yield kind, text


def _entries(value: bytes) -> list[Entry]:
    """Cut the tokens of ``value`` at commas, colons and semicolons, and read each piece for itself."""
    found: list[Entry] = []
    piece: list[Token] = []
    angle = route = grouped = False

    def finish(piece: list[Token]) -> None:
        entry = _entry(piece)
        if entry is not None:
            found.append(entry)

    for token in _tokens(value):
        kind, text = token
        if kind != "special":
            piece.append(token)
        elif text == b"<" or text == b">":
            angle, route = text == b"<", False
            piece.append(token)
        elif angle and (text in b"@:" or route and text == b","):  # RFC 5322 4.4: <@one,@two:local@domain>
            route = text != b":" and (route or piece[-1] == ("special", b"<"))
            piece.append(token)
        elif text not in b",;:":
            piece.append(token)
        else:
            if text == b":":
                if grouped:
                    found.append(GROUP_END)
                found.append(Entry(None, None, _phrase(piece), None))
            else:
                finish(piece)
                if text == b";" and grouped:
                    found.append(GROUP_END)
            grouped = text == b":" or grouped and text == b","
            piece, angle, route = [], False, False
            if len(found) >= ADDRESSES_LIMIT:
                break
    finish(piece)
    if grouped:
        found.append(GROUP_END)
    return found


def _phrase(tokens: list[Token]) -> bytes:
    """The words of ``tokens``, one blank where blanks or comments stand between them."""
    words: list[bytes] = []
    for kind, text in tokens:
        if kind != "blank" and kind != "comment":
            words.append(text)
        elif words and words[-1] is not _GAP:
            words.append(_GAP)
    if words and words[-1] is _GAP:
        words.pop()
    return b"".join(words)


def _entry(tokens: list[Token]) -> Entry | None:
    """The entry that the tokens between two separators write; None if they write nothing."""
    if not tokens:
        return None
    comment = next((text.strip() for kind, text in reversed(tokens) if kind == "comment"), b"")
    route = None
    if ("special", b"<") in tokens:
        opening = tokens.index(("special", b"<"))
        before, inside = tokens[:opening], tokens[opening + 1 :]
        if ("special", b">") in inside:
            inside = inside[: inside.index(("special", b">"))]
        if inside and inside[0] == ("special", b"@") and ("special", b":") in inside:
            colon = inside.index(("special", b":"))
            route, inside = _joined(inside[:colon]), inside[colon + 1 :]
        _, mailbox, host = _mailbox(inside)
        name = _phrase(before)
    else:
        before, mailbox, host = _mailbox(tokens)
        name = _phrase(before)
    if not name and not mailbox and not host:
        return None
    return Entry(name or comment or None, route, mailbox, host)


def _mailbox(tokens: list[Token]) -> tuple[list[Token], bytes, bytes]:
    """What stands before the address in ``tokens``, its local part and its domain; without an @ all is the local part."""
    if ("special", b"@") not in tokens:
        return [], _phrase(tokens), b""
    at = len(tokens) - 1 - tokens[::-1].index(("special", b"@"))
    local = [token for token in tokens[:at] if token[0] != "comment"]
    while local and local[-1][0] == "blank":
        local.pop()
    start = len(local)
    while start > 0 and (local[start - 1][0] != "blank" or _beside_dot(local, start - 1)):
        start -= 1
    return local[:start], _joined(local[start:]), _joined(tokens[at + 1 :])


def _beside_dot(tokens: list[Token], index: int) -> bool:
    """Whether the blank at ``index`` stands beside a dot: obsolete, but no border (RFC 5322 4.4)."""
    before = tokens[index - 1][1] if index > 0 else b""
    after = tokens[index + 1][1] if index + 1 < len(tokens) else b""
    return before.endswith(b".") or after.startswith(b".")


def _joined(tokens: list[Token]) -> bytes:
    return b"".join(text for kind, text in tokens if kind not in ("blank", "comment"))

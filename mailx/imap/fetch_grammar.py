"""The arguments of FETCH (RFC 9051 6.4.5, RFC 7162 3.1.4.1)."""

import re

from mailx.imap.answers import Bad
from mailx.imap.commands import Data, Fetch, Item, Section, Text
from mailx.imap.tokens import MODSEQ_LIMIT, NESTING_LIMIT, NUMBER_LIMIT, Tokens, remembered

ITEMS_LIMIT = 100
FIELDS_LIMIT = 500
_MACROS: dict[bytes, tuple[Item, ...]] = {
    b"ALL": (Data.FLAGS, Data.INTERNALDATE, Data.SIZE, Data.ENVELOPE),
    b"FAST": (Data.FLAGS, Data.INTERNALDATE, Data.SIZE),
    b"FULL": (Data.FLAGS, Data.INTERNALDATE, Data.SIZE, Data.ENVELOPE, Data.BODY),
}
_RFC822 = {
    b"RFC822": Section(b"RFC822", (), Text.ALL, peek=False),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", (), Text.HEADER),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", (), Text.TEXT, peek=False),
}
_DATA = {item.value: item for item in Data}
_NAME = re.compile(rb"[A-Za-z0-9.]+")
_PART = re.compile(rb"[1-9][0-9]*(?:\.[1-9][0-9]*)*")
_WORD = re.compile(rb"[A-Za-z.]*")
_SAFE_FIELD = re.compile(rb"[!#$&'+,./0-9;<=>?@A-Z^_`a-z|~-]+\Z")


def fetch(tokens: Tokens) -> Fetch:
    tokens.space()
    ranges = tokens.sequence_set()
    tokens.space()
    items, changed_since, vanished = _items(tokens)
    return Fetch(ranges, items, changed_since, vanished)


@remembered
def _items(tokens: Tokens) -> tuple[tuple[Item, ...], int | None, bool]:
    """Everything behind the set."""
    if tokens.take(b"("):
        items = [_item(tokens)]
        while tokens.take(b" "):
            if len(items) == ITEMS_LIMIT:
                raise Bad(b"Too many items", b"LIMIT")
            items.append(_item(tokens))
        tokens.expect(b")")
    else:
        name = tokens.match(_NAME).upper()
        items = list(_MACROS[name]) if name in _MACROS else [_named(tokens, name)]
    changed_since, vanished = _modifiers(tokens) if tokens.take(b" ") else (None, False)
    tokens.end()
    return tuple(dict.fromkeys(items)), changed_since, vanished


def _modifiers(tokens: Tokens) -> tuple[int | None, bool]:
    """CHANGEDSINCE, and VANISHED which needs it (RFC 7162 3.1.4.1, 3.2.6)."""
    changed_since, vanished = None, False
    tokens.expect(b"(")
    while True:
        word = tokens.keyword()
        if word == b"CHANGEDSINCE" and changed_since is None:
            tokens.expect(b" ")
            changed_since = tokens.number(MODSEQ_LIMIT)
        elif word == b"VANISHED" and not vanished:
            vanished = True
        else:
            raise Bad(b"Unknown FETCH modifier")
        if not tokens.take(b" "):
            break
    tokens.expect(b")")
    if vanished and changed_since is None:
        raise Bad(b"VANISHED needs CHANGEDSINCE")
    return changed_since, vanished


def _item(tokens: Tokens) -> Item:
    return _named(tokens, tokens.match(_NAME).upper())


def _named(tokens: Tokens, name: bytes) -> Item:
    if name in (b"BODY", b"BODY.PEEK") and tokens.take(b"["):
        return section(tokens, peek=name == b"BODY.PEEK")
    item = _DATA.get(name) or _RFC822.get(name)
    if item is None:
        raise Bad(b"Unknown FETCH item")
    return item


def section(tokens: Tokens, peek: bool, kind: bytes = b"BODY", offset: int = 0, count: int | None = None) -> Section:
    """A section behind its opening bracket; ``offset`` and ``count`` where they are said elsewhere."""
    path: tuple[int, ...] = ()
    label = kind + b"["
    if tokens.peek().isdigit():
        part = tokens.match(_PART)
        path = _path(part)
        label += part
    text = Text.ALL
    fields: frozenset[bytes] = frozenset()
    if kind == b"BODY" and (not path or tokens.take(b".")):
        word = tokens.match(_WORD).upper()
        text = _text(word, path)
        label += (b"." if path else b"") + word
        if text in (Text.FIELDS, Text.FIELDS_NOT):
            tokens.expect(b" ")
            names = _fields(tokens)
            fields = frozenset(name.lower() for name in names)
            label += b" (%b)" % b" ".join(map(_field_label, names))
    tokens.expect(b"]")
    label += b"]"
    if tokens.take(b"<"):
        offset = tokens.number(MODSEQ_LIMIT)
        tokens.expect(b".")
        count = tokens.number(MODSEQ_LIMIT)
        if count == 0:
            raise Bad(b"Invalid partial")
        tokens.expect(b">")
        label += b"<%d>" % offset
    return Section(label, path, text, fields, offset, count, peek, decoded=kind != b"BODY")


def _path(part: bytes) -> tuple[int, ...]:
    numbers = part.split(b".")
    if len(numbers) > 2 * NESTING_LIMIT or any(len(number) > 10 or int(number) > NUMBER_LIMIT for number in numbers):
        raise Bad(b"Invalid section")
    return tuple(map(int, numbers))


def _text(word: bytes, path: tuple[int, ...]) -> Text:
    try:
        text = Text(word)
    except ValueError:
        raise Bad(b"Invalid section") from None
    if text is Text.MIME and not path or text is Text.ALL and path:
        raise Bad(b"Invalid section")
    return text


def _fields(tokens: Tokens) -> list[bytes]:
    tokens.expect(b"(")
    names = [tokens.astring()]
    while tokens.take(b" "):
        if len(names) == FIELDS_LIMIT:
            raise Bad(b"Too many fields", b"LIMIT")
        names.append(tokens.astring())
    tokens.expect(b")")
    if any(b"\r" in name or b"\n" in name for name in names):
        raise Bad(b"Invalid field name")
    return names


def _field_label(name: bytes) -> bytes:
    if _SAFE_FIELD.match(name):
        return name
    return b'"%b"' % name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')

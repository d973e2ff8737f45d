"""The arguments of FETCH (RFC 9051 6.4.5, RFC 3516 4.3, RFC 7162 3.1.4.1, RFC 8474 5.3, RFC 8514 4.1, RFC 8970 3, RFC 9394 3.4)."""

import re

from mailx.imap.answers import Bad
from mailx.imap.commands import BinarySize, Data, Fetch, Item, Partial, Section, Text
from mailx.imap.tokens import MODSEQ_LIMIT, NESTING_LIMIT, NUMBER_LIMIT, Tokens, remembered
from mailx.imap.windows import window

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
_SECTIONS = frozenset((b"BODY", b"BODY.PEEK", b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"))
_NAME = re.compile(rb"[A-Za-z0-9.]+")
_PART = re.compile(rb"[1-9][0-9]*(?:\.[1-9][0-9]*)*")
_WORD = re.compile(rb"[A-Za-z.]*")
_SAFE_FIELD = re.compile(rb"[!#$&'+,./0-9;<=>?@A-Z^_`a-z|~-]+\Z")


def fetch(tokens: Tokens) -> Fetch:
    tokens.space()
    ranges = tokens.sequence_set()
    tokens.space()
    known = _items(tokens)
    return Fetch(ranges, known.items, known.changed_since, known.vanished, known.partial)


@remembered
def _items(tokens: Tokens) -> Fetch:
    """Everything behind the set."""
    chosen: tuple[Item, ...]
    if tokens.peek() == b"(":
        chosen = items(tokens)
    else:
        name = tokens.match(_NAME).upper()
        chosen = _MACROS[name] if name in _MACROS else (_named(tokens, name),)
        if chosen == (Data.PREVIEW,):
            _lazy(tokens)
    changed_since, vanished, partial = _modifiers(tokens) if tokens.take(b" ") else (None, False, None)
    tokens.end()
    return Fetch((), chosen, changed_since, vanished, partial)


def items(tokens: Tokens) -> tuple[Item, ...]:
    """A list of items, each once."""
    tokens.expect(b"(")
    found = [_item(tokens)]
    while tokens.take(b" "):
        if len(found) == ITEMS_LIMIT:
            raise Bad(b"Too many items", b"LIMIT")
        found.append(_item(tokens))
    tokens.expect(b")")
    return tuple(dict.fromkeys(found))


def _modifiers(tokens: Tokens) -> tuple[int | None, bool, Partial | None]:
    """CHANGEDSINCE, VANISHED which needs it (RFC 7162 3.1.4.1, 3.2.6), and PARTIAL (RFC 9394 3.4)."""
    changed_since, vanished, partial = None, False, None
    tokens.expect(b"(")
    while True:
        word = tokens.keyword()
        if word == b"CHANGEDSINCE" and changed_since is None:
            tokens.expect(b" ")
            changed_since = tokens.number(MODSEQ_LIMIT)
        elif word == b"VANISHED" and not vanished:
            vanished = True
        elif word == b"PARTIAL" and partial is None:
            tokens.expect(b" ")
            partial = window(tokens)
        else:
            raise Bad(b"Unknown FETCH modifier")
        if not tokens.take(b" "):
            break
    tokens.expect(b")")
    if vanished and changed_since is None:
        raise Bad(b"VANISHED needs CHANGEDSINCE")
    return changed_since, vanished, partial


def _lazy(tokens: Tokens) -> None:
    """The modifier of PREVIEW: previews are there since the message came, so that none is ever put off (RFC 8970 3.1)."""
    if tokens.take(b" ("):
        if tokens.keyword() != b"LAZY":
            raise Bad(b"Unknown PREVIEW modifier")
        tokens.expect(b")")


def _item(tokens: Tokens) -> Item:
    item = _named(tokens, tokens.match(_NAME).upper())
    if item is Data.PREVIEW:
        _lazy(tokens)
    return item


def _named(tokens: Tokens, name: bytes) -> Item:
    if name in _SECTIONS and tokens.take(b"["):
        kind = name.removesuffix(b".PEEK")
        found = section(tokens, kind != name or name == b"BINARY.SIZE", kind)
        if name != b"BINARY.SIZE":
            return found
        if found.offset or found.count is not None:
            raise Bad(b"BINARY.SIZE has no partial")
        return BinarySize(found)
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

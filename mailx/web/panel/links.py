"""Addresses of the panel's pages, put together so that no name within them can break out; and strangers' texts made harmless.

Templates escape markup; what is left are characters that nobody sees and that turn a line around (RFC 8264 9.11, Unicode
controls), which have no place in an address, a reply or a Message-ID.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from mailx.mail.printable import printable

_LONGEST = 1000  # characters of one text that are shown


def to(*parts: str, query: Mapping[str, object] = {}) -> str:
    """The path of ``parts`` with the filters of ``query`` that are not empty."""
    path = "/" + "/".join(quote(part, safe="@*") for part in parts)
    asked = urlencode([(name, value) for name, value in query.items() if value not in ("", None, 0)])
    return f"{path}?{asked}" if asked else path


def asked(query: Mapping[str, str], name: str) -> str:
    """The filter ``name`` as somebody typed it, without what cannot be typed."""
    return "".join(letter for letter in query.get(name, "") if letter.isprintable()).strip()


def shown(text: object, longest: int = _LONGEST) -> str:
    """``text`` as a page shows it: nothing that cannot be seen, and not too much of it."""
    whole = str(text)
    cut = whole if len(whole) <= longest else whole[:longest] + "…"
    return printable(cut, "�")


def setting(key: str) -> str:
    """Where a setting is changed."""
    return f"{'/smtp' if key.startswith('smarthost.') else '/settings'}#setting-{key.replace('.', '-')}"

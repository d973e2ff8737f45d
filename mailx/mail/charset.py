"""Octets to text: which charsets are believed, and what is done with wrong ones. Never raises.

Only charsets that Python's alias table names are looked up: names come from strangers, the codec registry imports
modules by name and remembers failures for ever. Codecs that are no charsets, or not linear, are refused.
"""

import unicodedata
from encodings.aliases import aliases
from functools import lru_cache

# What mail says, and what it means: supersets that senders really use (as the WHATWG Encoding Standard maps them).
_MEANT = {
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "ansi_x3.4-1968": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-8-i": "iso8859_8",
    "iso-8859-8-e": "iso8859_8",
    "windows-874": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "unicode-1-1-utf-7": "utf_7",
    "x-unknown": "utf-8",
    "unknown-8bit": "utf-8",
    "default": "utf-8",
    "8bit": "utf-8",
}
_REFUSED = frozenset(
    "base64_codec bz2_codec hex_codec quopri_codec rot_13 uu_codec zlib_codec idna punycode mbcs oem undefined "
    "unicode_escape raw_unicode_escape "
    "cp037 cp273 cp424 cp500 cp875 cp1026 cp1140".split()  # EBCDIC: never in mail, whose syntax is ASCII
)
_UNALIASED = frozenset("utf_8_sig koi8_u cp720 cp737 cp856 cp874 cp875 cp1006".split())
_KNOWN = (frozenset(aliases.values()) | _UNALIASED) - _REFUSED


_NAME_LIMIT = 60  # characters; also bounds what the cache holds


def codec(charset: str) -> str:
    """The name of the Python codec for ``charset`` as a message gives it, ``""`` if there is none."""
    return _codec(charset) if len(charset) <= _NAME_LIMIT else ""


@lru_cache(maxsize=256)
def _codec(charset: str) -> str:
    name = charset.strip(" \t\"'").lower()
    meant = _MEANT.get(name)
    if meant:
        return meant
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    name = aliases.get(name, name)
    if name not in _KNOWN:
        return ""
    return name


def decode_text(octets: bytes, charset: str) -> str:
    """``octets`` in ``charset``; wrong octets become U+FFFD. An unknown charset is tried as UTF-8, then as windows-1252."""
    name = codec(charset) if charset else ""
    try:
        if name:
            return octets.decode(name, "replace")
        return octets.decode("utf-8")
    except (UnicodeError, LookupError):
        return octets.decode("cp1252", "replace")


def fold(text: str) -> str:
    """``text`` as search compares it: case-folded, in normal form C."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", text.casefold())

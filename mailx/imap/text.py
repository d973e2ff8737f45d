"""Strings, flags and dates as responses write them (RFC 9051 9)."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from time import gmtime

from mailx.imap import utf7

_ATOM = re.compile(rb"[A-Za-z0-9!#$&'+,./:;<=>?@^_`|~-]+\Z")
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")
_UNQUOTABLE = re.compile(rb"[\x00\r\n]")
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def string(raw: bytes) -> bytes:
    """``raw`` as a quoted string, or as a literal where that cannot hold it."""
    if len(raw) > 1000 or not _QUOTABLE.match(raw):
        return b"{%d}\r\n%b" % (len(raw), raw)
    return b'"%b"' % raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def astring(raw: bytes) -> bytes:
    """``raw`` as an atom where possible."""
    return raw if _ATOM.match(raw) and raw.upper() != b"NIL" else string(raw)


@lru_cache(4096)
def mailbox(name: str, utf8: bool = False) -> bytes:
    """A mailbox name, ready for a response: in modified UTF-7, or in UTF-8 for a client that has enabled it."""
    if not utf8 or name.isascii() and "&" not in name:
        return astring(utf7.encode(name))
    raw = name.encode()
    if len(raw) > 1000 or _UNQUOTABLE.search(raw):
        return b"{%d}\r\n%b" % (len(raw), raw)
    return b'"%b"' % raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def names(flags: Iterable[str]) -> bytes:
    """Flags or keywords, apart by spaces."""
    return " ".join(flags).encode("ascii", "replace")


class FlagTexts(dict[int, bytes]):
    """Flag bits -> their names as FETCH writes them; filled as they are met."""

    def __init__(self, names_of: Callable[[int], Iterable[str]], recent: bool = False) -> None:
        super().__init__()
        self._names_of = names_of
        self._recent = recent

    def __missing__(self, flags: int) -> bytes:
        words = ("\\Recent", *self._names_of(flags)) if self._recent else tuple(self._names_of(flags))
        if len(self) > 4096:  # one session, and yet this many combinations: forget them rather than grow
            self.clear()
        text = self[flags] = names(words)
        return text


@lru_cache(2048)
def _day(day: int) -> bytes:
    moment = gmtime(day * 86400)
    return b"%2d-%b-%04d" % (moment.tm_mday, _MONTHS[moment.tm_mon].encode(), moment.tm_year)


def date_time(seconds: int) -> bytes:
    """INTERNALDATE, in UTC. Dates IMAP cannot write (before year 1, after 9999) become its nearest."""
    day, rest = divmod(min(max(seconds, -62135596800), 253402300799), 86400)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return b"%b %02d:%02d:%02d +0000" % (_day(day), hour, minute, second)

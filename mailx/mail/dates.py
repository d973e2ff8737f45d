"""Dates of header fields (RFC 5322 3.3, with the obsolete forms of 4.3). Nothing raises."""

import re
from datetime import date
from typing import NamedTuple

_DATE = re.compile(
    rb"(?>(?:[A-Za-z]{2,9}+\.?,?[ \t]*+)?)(\d{1,2}+)[ \t-]*+([A-Za-z]{3})[a-z]{0,6}+[ \t,-]*+(\d{2,4}+)"
    rb"[ \t,]++(\d{1,2}+)[:.](\d{2})(?:[:.](\d{2}))?(?>(?:\.\d{1,9}+)?)[ \t]*+(?:([+-]\d{4})|([A-Za-z]{1,5}+))?"
)
# The form of C's asctime, which some programs write.
_ASCTIME = re.compile(
    rb"[A-Za-z]{3}[ \t]++([A-Za-z]{3})[ \t]++(\d{1,2})[ \t]++(\d{2}):(\d{2}):(\d{2})[ \t]++(?:([+-]\d{4}|[A-Z]{3,4})[ \t]++)?(\d{4})"
)
_MONTHS = {name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_ZONES = {b"edt": -4, b"est": -5, b"cdt": -5, b"cst": -6, b"mdt": -6, b"mst": -7, b"pdt": -7, b"pst": -8}  # RFC 5322 4.3
_EPOCH = date(1970, 1, 1).toordinal()
_LENGTH_LIMIT = 200


class Moment(NamedTuple):
    """``seconds`` since 1970 (UTC) and the ``zone`` it was written in, in seconds east of UTC."""

    seconds: int
    zone: int


def parse(value: bytes) -> Moment | None:
    """The moment that the unfolded Date ``value`` names; None if it names none."""
    value = value[:_LENGTH_LIMIT].strip()
    match = _DATE.match(value)
    if match is not None:
        day, month, year, hour, minute, second, offset, zone = match.groups()
        return _moment((year, month, day), (hour, minute, second or b"0"), offset or zone or b"")
    match = _ASCTIME.match(value)
    if match is not None:
        month, day, hour, minute, second, zone, year = match.groups()
        return _moment((year, month, day), (hour, minute, second), zone or b"")
    return None


def _moment(day: tuple[bytes, bytes, bytes], time: tuple[bytes, bytes, bytes], zone: bytes) -> Moment | None:
    year, month = int(day[0]), _MONTHS.get(day[1].lower())
    if len(day[0]) < 4:  # RFC 5322 4.3: two digits below 50 are 20xx, everything else is 19xx
        year += 2000 if len(day[0]) == 2 and year < 50 else 1900
    hour, minute, second = int(time[0]), int(time[1]), int(time[2])
    if month is None or hour > 24 or minute > 59 or second > 60:
        return None
    try:
        days = date(year, month, int(day[2])).toordinal() - _EPOCH
    except ValueError:
        return None
    if zone.startswith((b"+", b"-")):
        east = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
        if zone.startswith(b"-"):
            east = -east
    else:
        east = _ZONES.get(zone.lower(), 0) * 3600
    return Moment(days * 86400 + hour * 3600 + minute * 60 + second - east, east)

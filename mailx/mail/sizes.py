"""Sizes as people type and read them. Pure."""

import re

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmgt]?)(?:i?b|octets?)?\Z", re.IGNORECASE | re.ASCII)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse(text: str) -> int:
    """The octets that ``text`` (``5GB``, ``500 MiB``, ``1073741824``; powers of 1024) writes; raises ValueError."""
    found = _SIZE.match(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size")
    return int(float(found[1]) * _FACTORS[found[2].lower()])


def text(octets: int) -> str:
    """``octets`` for people: ``1.5 GiB``."""
    value, unit = float(octets), _UNITS[0]
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"

"""Sizes as people type them. Pure."""

import re

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmgt]?)(?:i?b|octets?)?\Z", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse(text: str) -> int:
    """The octets that ``text`` (``5GB``, ``500 MiB``, ``1073741824``; powers of 1024) writes; raises ValueError."""
    found = _SIZE.match(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size")
    return int(float(found[1]) * _FACTORS[found[2].lower()])

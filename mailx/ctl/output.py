"""How ``mailxctl`` shows and reads things: tables, sizes, moments."""

import re
from collections.abc import Sequence

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(octets: int) -> str:
    """``octets`` for people: ``1.5 GiB``."""
    value, unit = float(octets), UNITS[0]
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def parse_size(text: str) -> int:
    """The octets that ``text`` (``5GB``, ``500 MiB``, ``1073741824``; powers of 1024) writes; raises ValueError."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(float(match[1]) * _FACTORS[match[2].upper()])


def quota(limit: int, is_default: bool) -> str:
    """A quota for people."""
    return ("unlimited" if not limit else size(limit)) + (" (default)" if is_default else "")


def moment(text: str | None) -> str:
    """A time of the API for people."""
    return "never" if text is None else text.replace("T", " ").replace("Z", " UTC")


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table with aligned columns."""
    texts = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]

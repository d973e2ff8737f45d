"""How ``mailxctl`` shows and reads things: tables, sizes, moments."""

from collections.abc import Sequence

from mailx.mail import sizes


def size(octets: int) -> str:
    """``octets`` for people: ``1.5 GiB``."""
    return sizes.text(octets)


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

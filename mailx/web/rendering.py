"""Templates and static files, read from the package once; and how values are written for people.

Everything is escaped unless it is Markup; a name that a template misspells is an error, not an empty text. Static files
have the hash of their content in their address, so that browsers may keep them for good.
"""

import gzip
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from attrs import frozen
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mailx.mail.times import duration, iso

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_COMMAND = re.compile(r"`(mailxctl [^`]{1,200})`")


@frozen
class Static:
    """One static file. ``address`` has the hash of its content."""

    name: str
    address: str
    content: bytes
    compressed: bytes
    content_type: str
    tag: str  # its ETag


class Rendering:
    """Renders the templates of the package."""

    def __init__(self) -> None:
        self.static = {one.address: one for one in map(_static, sorted((_HERE / "static").iterdir()))}
        addresses = {one.name: one.address for one in self.static.values()}
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._environment.globals["static"] = addresses.__getitem__
        self._environment.globals["unique"] = count(1).__next__
        self._environment.filters |= {"when": when, "ago": ago, "octets": octets, "number": number, "duration": duration, "plural": plural}
        self._environment.filters["sentence"] = sentence

    def warm(self) -> None:
        """Compile every template: a hundred times longer than rendering one. Call it in a thread; pages may be rendered meanwhile."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, template: str, context: Mapping[str, Any]) -> bytes:
        """The page as octets; raises what Jinja2 raises for a template that is wrong."""
        return self._environment.get_template(template).render(context).encode()


def _static(path: Path) -> Static:
    content = path.read_bytes()
    digest = sha256(content).hexdigest()[:16]
    address = f"/static/{path.stem}.{digest}{path.suffix}"
    return Static(path.name, address, content, gzip.compress(content, 9, mtime=0), _TYPES[path.suffix], f'"{digest}"')


def when(seconds: float | None) -> Markup:
    """A moment as people read it, in UTC; a dash for none. Its distance from now is there to point at."""
    if seconds is None:
        return Markup("–")
    return _moment(seconds, _written(seconds), _distance(seconds), "exact")


def ago(seconds: float | None) -> Markup:
    """A moment by its distance from now, with the moment itself to point at."""
    if seconds is None:
        return Markup("never")
    return _moment(seconds, _distance(seconds), _written(seconds), "distance")


def _moment(seconds: float, text: str, title: str, kind: str) -> Markup:
    return Markup('<time class="{}" datetime="{}" title="{}">{}</time>').format(kind, iso(seconds), title, text)


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _distance(seconds: float) -> str:
    distance = time.time() - seconds
    return f"{duration(distance)} ago" if distance >= 0 else f"in {duration(-distance)}"


def plural(count: int, name: str, several: str = "") -> str:
    """``"1 message"``, ``"1,200 messages"``; ``several`` where it is not the name with an s."""
    return f"{count:,} {name if count == 1 else several or name + 's'}"


def octets(count: int | None) -> str:
    """A size for people: ``"812 octets"``, ``"1.5 GiB"``; a dash for none."""
    if count is None:
        return "–"
    if count < 1024:
        return plural(count, "octet")
    size = float(count)
    for unit in _UNITS:
        size /= 1024
        if size < 999.95 or unit == _UNITS[-1]:
            break
    return f"{size:,.1f} {unit}"


def sentence(text: str) -> Markup:
    """A text with a capital at its beginning, unless it begins with an address or the like; commands in it, `so`, look like such."""
    begun = text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(begun))))


def number(count: float) -> str:
    """A number with its thousands apart."""
    return f"{count:,}"

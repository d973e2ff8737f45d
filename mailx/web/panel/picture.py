"""The HTML of a mail as a picture: how it will look, without letting any of it into the page.

The HTML is written anew as XHTML within an SVG, which browsers show as an image: nothing in it runs, loads or can be clicked.
What mail programs do not show either (scripts, forms, embedded documents) is left out.
"""

import re
from base64 import b64encode
from html import escape
from html.parser import HTMLParser

WIDTH, HEIGHT = 600, 640

_VOID = frozenset({"area", "br", "col", "hr", "img", "wbr"})
_TAGS = _VOID | frozenset(
    "a abbr address b big blockquote caption center code colgroup dd del div dl dt em font h1 h2 h3 h4 h5 h6 i ins kbd li mark ol p pre"
    " q s samp section small span strike strong sub sup table tbody td tfoot th thead tr tt u ul".split()
)
_SILENT = frozenset({"head", "iframe", "math", "noscript", "object", "script", "style", "svg", "template", "textarea", "title"})
_ATTRIBUTES = frozenset(
    "align alt bgcolor border cellpadding cellspacing color colspan dir face height lang rowspan size style valign width".split()
)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DEEP = 200


class _Writer(HTMLParser):
    """Writes what it reads as XHTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._open: list[str] = []
        self._silent: list[str] = []
        self.body = ""  # the style of <body>

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self.body = dict(attributes).get("style") or ""
        if tag in _SILENT:
            self._silent.append(tag)
        if self._silent or tag not in _TAGS or len(self._open) >= _DEEP:
            return
        kept = {name: value or "" for name, value in attributes if name in _ATTRIBUTES}
        text = "".join([f' {name}="{escape(_clean(value))}"' for name, value in kept.items()])
        self.pieces.append(f"<{tag}{text}{'/' if tag in _VOID else ''}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
        elif tag in self._open:
            while (last := self._open.pop()) != tag:
                self.pieces.append(f"</{last}>")
            self.pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(escape(_clean(data)))

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """``<![...>`` is a comment to browsers; the parser would raise an AssertionError where no name follows."""
        return self.parse_bogus_comment(i)

    def finish(self) -> str:
        """The whole, with what was left open closed."""
        self.close()
        while self._open:
            self.pieces.append(f"</{self._open.pop()}>")
        return "".join(self.pieces)


def _clean(text: str) -> str:
    return _NO_XML.sub("", text)


def picture(html: str) -> str:
    """The address (``data:``) of a picture of ``html``."""
    writer = _Writer()
    writer.feed(html)
    content = writer.finish()
    style = escape(f"background:#ffffff;color:#000000;font-family:Arial,sans-serif;height:100%;overflow:hidden;{_clean(writer.body)}")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"><foreignObject width="100%" height="100%">'
        f'<div xmlns="http://www.w3.org/1999/xhtml" style="{style}">{content}</div></foreignObject></svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"

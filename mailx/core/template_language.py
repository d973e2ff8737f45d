"""The language of mail templates: Jinja2 without everything that could take long, grow without bound, or reach beyond the values.

Texts, values, conditions and a few filters; no loops, assignments, calls, attributes or imports. So what a template renders is
bounded by its own length and that of the values, and no template can be slow. HTML is escaped always. What is wrong with a
template is told by :class:`Wrong`, in words for whoever wrote it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARIABLES = ("to", "subject", "token", "expiresAt", "expires", "link", "sender_name", "web_url")
FILTERS = ("capitalize", "default", "e", "escape", "length", "lower", "title", "trim", "truncate", "upper", "urlencode")
SOURCE_LIMIT = 65536  # characters of a text or HTML template
SUBJECT_LIMIT = 1000
RENDERED_LIMIT = 262144  # characters

_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
    nodes.Filter,
    nodes.Test,
    nodes.Keyword,
)
_TESTS = ("defined", "undefined", "none", "string", "eq", "ne", "equalto")
_DEEP = 50  # nodes within each other
_MANY = 500  # nodes in all
_FILTERS_ON_FILTERS = 3  # each may make its value several times as long


class Wrong(Exception):
    """A template cannot be used. The text is safe to show."""


@frozen
class Template:
    """The three texts of a mail."""

    subject: str
    text: str
    html: str


@frozen
class Rendered:
    """A mail's texts. ``subject`` is one line."""

    subject: str
    text: str
    html: str


class Compiled:
    """A template made ready. Raises Wrong by the name of the part: ``problems`` of :class:`Problems`."""

    def __init__(self, template: Template) -> None:
        problems: dict[str, str] = {}
        made: dict[str, Any] = {}
        for name, environment, limit in (("subject", _TEXT, SUBJECT_LIMIT), ("text", _TEXT, SOURCE_LIMIT), ("html", _HTML, SOURCE_LIMIT)):
            try:
                made[name] = _compiled(environment, getattr(template, name), limit)
            except Wrong as error:
                problems[name] = str(error)
        if not template.subject.strip():
            problems["subject"] = "A subject is needed: {{ subject }} is the one that the call names."
        if not template.text.strip() and not template.html.strip():
            problems["text"] = "A text or HTML is needed."
        if problems:
            raise Problems(problems)
        self._parts = made

    def render(self, values: Mapping[str, str]) -> Rendered:
        """The mail for ``values``, of which there is one for each of VARIABLES; raises Problems."""
        texts = {}
        for name, part in self._parts.items():
            try:
                text = _bounded(part.generate(values))
            except Exception as error:  # filters raise all kinds of them for arguments that do not fit, AssertionError too
                raise Problems({name: f"Cannot be rendered: {type(error).__name__}"}) from None
            if len(text) > RENDERED_LIMIT:
                raise Problems({name: f"What it renders is longer than {RENDERED_LIMIT} characters."})
            texts[name] = text
        return Rendered(" ".join(texts["subject"].split()), texts["text"], texts["html"])


class Problems(Exception):
    """What is wrong with a template: part to text, safe to show."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


def _bounded(pieces: Iterable[str]) -> str:
    """The text of ``pieces``, or just so much that it is seen to be too long."""
    text: list[str] = []
    length = 0
    for piece in pieces:
        text.append(piece)
        length += len(piece)
        if length > RENDERED_LIMIT:
            break
    return "".join(text)


def _environment(html: bool) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(  # its optimizer takes quadratic time for filters on filters
        optimized=False,
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        cache_size=0,
    )
    made.filters = {name: made.filters[name] for name in FILTERS}
    made.tests = {name: test for name, test in made.tests.items() if name in _TESTS}
    made.globals.clear()
    return made


_TEXT, _HTML = _environment(False), _environment(True)


def _compiled(environment: ImmutableSandboxedEnvironment, source: str, limit: int) -> Any:
    if len(source) > limit:
        raise Wrong(f"This is longer than {limit} characters.")
    try:
        tree = environment.parse(source)
        _check(tree)
        return environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise Wrong(f"Line {error.lineno}: {error.message}") from None
    except (TemplateError, RecursionError, MemoryError, SyntaxError, ValueError):
        raise Wrong("This is too complicated.") from None


def _check(tree: nodes.Template) -> None:
    """Raise Wrong for whatever is not part of the language."""
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    seen = 0
    while waiting:
        node, depth, filters = waiting.pop()
        seen += 1
        if depth > _DEEP or seen > _MANY:
            raise Wrong("This is too complicated.")
        line = f"Line {node.lineno}: "
        if type(node) not in _NODES:
            kind = type(node).__name__.lower()
            raise Wrong(f"{line}{kind} is not part of the language of templates: only values, filters and {{% if %}} are.")
        if isinstance(node, nodes.Name) and node.name not in VARIABLES:
            raise Wrong(f"{line}there is no value called {node.name[:50]}; there are {', '.join(VARIABLES)}.")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise Wrong(f"{line}there is no filter called {node.name[:50]}; there are {', '.join(FILTERS)}.")
        filters += isinstance(node, nodes.Filter)
        if filters > _FILTERS_ON_FILTERS:
            raise Wrong(f"{line}no more than {_FILTERS_ON_FILTERS} filters may follow one another.")
        if isinstance(node, nodes.Test) and node.name not in _TESTS:
            raise Wrong(f"{line}there is no test called {node.name[:50]}.")
        waiting += [(child, depth + 1, filters) for child in node.iter_child_nodes()]

"""What a browser's form brought: texts within limits, and what is wrong with them. No page takes files.

Every limit that is passed, and every octet that is no UTF-8, raises BadForm: no browser sends such a form of ours. What
a person can get wrong raises FormError, which names the field; the page is then shown again with what was typed.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from attrs import Factory, evolve, frozen

FIELDS = 2000  # fields of one form, chosen rows of a table among them
NAME = 100  # characters of a field's name


class BadForm(Exception):
    """The form is none of ours. The text is safe to show."""


class FormError(Exception):
    """What is wrong with a form: field to text, both safe to show; "" is the form as a whole."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


@frozen
class Form:
    """The fields of one form. ``problems`` is set where it is shown again."""

    values: Mapping[str, tuple[str, ...]] = Factory(dict)
    problems: Mapping[str, str] = Factory(dict)

    def text(self, name: str, default: str = "", limit: int = 1000) -> str:
        """The field ``name`` without white space around it; raises FormError when it is longer than ``limit`` characters."""
        return self.exact(name, default, limit).strip()

    def exact(self, name: str, default: str = "", limit: int = 1000) -> str:
        """The field ``name`` to the letter (passwords, templates); lines end with LF."""
        values = self.values.get(name)
        if values is None:
            return default
        if len(values[-1]) > limit:
            raise FormError({name: f"This is longer than {limit} characters."})
        return values[-1]

    def needed(self, name: str, limit: int = 1000) -> str:
        """As ``text``; raises FormError when it is empty."""
        text = self.text(name, limit=limit)
        if not text:
            raise FormError({name: "Fill this in."})
        return text

    def texts(self, name: str, limit: int = 1000) -> tuple[str, ...]:
        """All values of ``name``: the chosen rows of a table."""
        values = self.values.get(name, ())
        if any(len(value) > limit for value in values):
            raise FormError({name: f"One of these is longer than {limit} characters."})
        return values

    def lines(self, name: str, limit: int = 20000) -> tuple[str, ...]:
        """The lines of a text area, without empty ones."""
        return tuple(line.strip() for line in self.exact(name, limit=limit).split("\n") if line.strip())

    def number(self, name: str, least: int, most: int) -> int:
        """The whole number ``name``; raises FormError when it is none from ``least`` to ``most``."""
        text = self.text(name, limit=30)
        try:
            number = int(text) if text.isascii() else least - 1
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise FormError({name: f"Give a whole number from {least} to {most}."})
        return number

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``; raises FormError when it is none."""
        text = self.text(name)
        if text not in choices:
            raise FormError({name: "Choose one of the list."})
        return text

    def ticked(self, name: str) -> bool:
        """Whether the box ``name`` was ticked."""
        return bool(self.values.get(name))

    # For templates: a form that is shown again keeps what was typed.

    def shown(self, name: str, default: object = "") -> str:
        """What the field shows: what was typed, or ``default``."""
        values = self.values.get(name)
        return str(default) if values is None else values[-1]

    def chosen(self, name: str, value: object, default: bool = False) -> bool:
        """Whether the box ``name`` with ``value`` is ticked: as sent, or ``default`` where nothing was sent."""
        return str(value) in self.values.get(name, ()) if self.values else default

    def problem(self, name: str) -> str:
        """What is wrong with the field; "" when nothing is."""
        return self.problems.get(name, "")

    def with_problems(self, problems: Mapping[str, str]) -> "Form":
        """The same form, to be shown again."""
        return evolve(self, problems=problems)


def parse_urlencoded(body: bytes) -> Form:
    """The form in ``body``; raises BadForm. Takes a tenth of a second for the largest: call it in a thread for those."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise BadForm("The form cannot be read.") from None
    return Form(_gathered(pairs))


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Field to its values. Browsers send lines that end with CRLF; NUL is in no text."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if len(name) > NAME or "\0" in value or "\0" in name:
            raise BadForm("The form cannot be read.")
        values.setdefault(name, []).append(value.replace("\r\n", "\n").replace("\r", "\n"))
    return {name: tuple(several) for name, several in values.items()}

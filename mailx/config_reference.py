"""Writes the configuration out: the commented example file and the reference page, both from :mod:`mailx.config`.

``python -m mailx.config_reference DIRECTORY`` renews ``etc/mailx.toml`` and ``docs/configuration.rst`` there; a
test keeps them equal to what is generated.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from attrs import Attribute, fields

from mailx.config import Config, allowed, sections, table, variable

_TOML_HEAD = """\
# MailX configuration. Every key is shown with its default; a key that is not set has it.
# Generated from mailx/config.py: `mailxctl config reference` prints it.
# Each key may be overridden by an environment variable: MAILX_SECTION__KEY, for example MAILX_SMTP__PORT=25.
"""

_PAGE_HEAD = """\
Configuration
=============

One TOML file, ``mailx.toml`` of the working directory or the one that ``twistd mailx --config`` names, sets
everything; without it the defaults below hold. Each key has an environment variable that overrides the file;
lists stand there with commas between, or as TOML (``["a", "b"]``), lists of tables as TOML. Relative paths start
at the directory of the file, or where noted at the data directory.

Wrong input stops the start: all errors are listed at once, each with file or variable, key, value, what is
allowed and the remedy. ``mailxctl config check`` does the same without starting.

This page and ``etc/mailx.toml`` are generated from ``mailx/config.py``.
"""


def toml(config: Config | None = None) -> str:
    """``config`` as a TOML file; without one the example: all defaults, commented out. Secrets are left out."""
    parts = [_TOML_HEAD] if config is None else []
    for name, kind in sections().items():
        section = kind() if config is None else getattr(config, name)
        lines = [f"# {_plain(_summary(kind))}", f"[{name}]"]
        tables: list[str] = []
        for attribute in fields(kind):
            if table(attribute) is not None:
                tables += _tables(f"{name}.{attribute.name}", attribute, getattr(section, attribute.name), config is None)
            else:
                lines += _setting(attribute, getattr(section, attribute.name), config is None)
        parts.append("\n".join(lines + tables) + "\n")
    return "\n".join(parts)


def _setting(attribute: "Attribute[Any]", value: object, example: bool) -> list[str]:
    if attribute.metadata["secret"]:
        value = ""
    line = f"{attribute.name} = {literal(value)}"
    if not example:
        return [line]
    return ["", f"# {_plain(attribute.metadata['help'])}", f"#   {allowed(attribute)}", f"#{line}"]


def _tables(name: str, attribute: "Attribute[Any]", values: tuple[Any, ...], example: bool) -> list[str]:
    lines: list[str] = []
    kind = table(attribute)
    for value in (kind(),) if example else values:
        head = ["", f"# {_plain(attribute.metadata['help'])}", f"#[[{name}]]"] if example else ["", f"[[{name}]]"]
        lines += head
        for inner in fields(kind):
            lines += [line for line in _setting(inner, getattr(value, inner.name), example) if line]
    return lines


def page() -> str:
    """The reference page, as reStructuredText."""
    parts = [_PAGE_HEAD]
    for name, kind in sections().items():
        title = f"[{name}]"
        parts.append(f"{title}\n{'-' * len(title)}\n\n{_marked(_summary(kind))}\n")
        for attribute in fields(kind):
            note = f"Variable: ``{variable(name, attribute.name)}``."
            if attribute.metadata["live"]:
                note += " Changes while the server runs (:doc:`settings`)."
            elif attribute.metadata["reread"]:
                note += " Read again by ``mailxctl config reload``."
            parts.append(_entry(f"{name}.{attribute.name}", attribute, note))
            if (inside := table(attribute)) is not None:
                parts += [_entry(f"{name}.{attribute.name}[].{inner.name}", inner, "") for inner in fields(inside)]
    return "\n".join(parts)


def _entry(key: str, attribute: "Attribute[Any]", note: str) -> str:
    default: Any = attribute.default
    if hasattr(default, "factory"):
        default = default.factory()
    text = _marked(attribute.metadata["help"])
    kind = allowed(attribute).replace("*", r"\*")
    return f".. confval:: {key}\n   :type: {kind}\n   :default: ``{literal(default)}``\n\n   {f'{text} {note}'.strip()}\n"


def literal(value: object) -> str:
    """``value`` as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(literal(one) for one in value)}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's


def _plain(text: str) -> str:
    return text.replace("`", "")


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"``\1``", text)


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").splitlines()[0]


def write(root: Path) -> None:
    """Renew the two generated files below ``root``."""
    (root / "etc" / "mailx.toml").write_text(toml(), encoding="utf-8")
    (root / "docs" / "configuration.rst").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

"""Who may import whom: the layering that keeps each part replaceable."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailx

ROOT = Path(mailx.__file__).parent
EDGES = ("smtp", "imap", "pop3", "outbound", "federation", "web")
OUTSIDE = ("checks", "ops", *EDGES)

# The parts of mailx that each part may import; a part may always import itself. Absent: everything.
ALLOWED = {
    "mail": set(),
    "config": {"mail"},
    "identity": {"mail"},
    "store": {"mail", "config"},
    "core": {"mail", "identity", "store", "config"},
    **{part: {"mail", "identity", "core", "config"} for part in OUTSIDE},
}
PURE = {  # third-party packages of the parts without I/O
    "mail": {"attr", "attrs"},
    "identity": {"attr", "attrs", "nacl", "cryptography"},
    "config": {"attr", "attrs", "cattrs"},
}


def part(module: str) -> str:
    """``mailx.store.sqlite`` belongs to ``store``, ``mailx.config_value`` to ``config``."""
    name = module.split(".")[1] if "." in module else ""
    return "config" if name.startswith("config_") else name


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that the file imports, at whatever depth, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if node.module == "mailx":
                yield from ((node.lineno, f"mailx.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


class ImportRules(SynchronousTestCase):
    """The statements themselves, not what happens to be loaded."""

    def offences(self) -> Iterator[str]:
        for path in sorted(ROOT.rglob("*.py")):
            home = part(f"mailx.{path.relative_to(ROOT).with_suffix('').parts[0]}")
            for line, module in imports(path):
                where = f"{path.relative_to(ROOT.parent)}:{line}: {module}"
                top = module.split(".")[0]
                if top == "mailx":
                    target = part(module)
                    if home in ALLOWED and target not in ALLOWED[home] | {home, "", "__version__"}:
                        yield f"{where}: {home} must not import {target}"
                elif home in PURE and top not in sys.stdlib_module_names and top not in PURE[home]:
                    yield f"{where}: {home} is pure"
                elif home not in ("store", "tap") and top in ("sqlite3", "psycopg"):
                    yield f"{where}: only the store speaks SQL"

    def test_every_import_goes_inward(self) -> None:
        self.assertEqual(list(self.offences()), [])

    def test_the_plugin_directory_is_no_package(self) -> None:
        """An ``__init__.py`` there would hide Twisted's own plugins."""
        plugins = ROOT.parent / "twisted"
        self.assertEqual(list(plugins.rglob("__init__.py")) if plugins.exists() else [], [])

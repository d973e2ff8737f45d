"""What differs between the supported versions of Python without an error to show it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailx

ROOT = Path(mailx.__file__).parent
_POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text and bytes literal of the file, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            yield node.lineno, node.value if isinstance(node.value, str) else node.value.decode("latin-1")


class Patterns(SynchronousTestCase):
    def test_no_group_is_possessive(self) -> None:
        """Before 3.11.5 (Debian 12 has 3.11.2) ``(?:ab)*+`` keeps a half-matched last round; ``(?>(?:ab)*)`` is right."""
        found = [
            f"{path.relative_to(ROOT.parent)}:{line}"
            for path in ROOT.rglob("*.py")
            for line, text in texts(path)
            if _POSSESSIVE_GROUP.search(text)
        ]
        self.assertEqual(found, [])

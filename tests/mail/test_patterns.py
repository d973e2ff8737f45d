"""The expressions of the mail package mean the same on every Python 3.11."""

import re
from pathlib import Path
from tokenize import STRING, generate_tokens

from twisted.trial.unittest import SynchronousTestCase

import mailx.mail

_POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)[*+?]\+")


class Patterns(SynchronousTestCase):
    def test_no_possessive_groups(self) -> None:
        """Python before 3.11.5 (Debian 12 has 3.11.2) takes a possessive repeat of a group wrongly; an atomic group is right."""
        assert mailx.mail.__file__ is not None
        for file in sorted(Path(mailx.mail.__file__).parent.glob("*.py")):
            with file.open(encoding="utf-8") as source:
                for token in generate_tokens(source.readline):
                    if token.type == STRING and not token.string.startswith('"""'):
                        self.assertIsNone(_POSSESSIVE_GROUP.search(token.string), f"{file.name}:{token.start[0]}: {token.string}")

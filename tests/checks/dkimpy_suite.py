"""dkimpy's own tests, from its source distribution: they are run, and what they verify is noted, for us to verify too."""

import importlib
import io
import sys
import tarfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dkim
from twisted.trial.unittest import SynchronousTestCase

from tests.checks import vectors

SDIST = "dkimpy-1.1.8.tar.gz"

Verified = tuple[bytes, int, Any, dict[str, bytes]]  # message with CRLF, number of the signature, dkimpy's answer, keys by name


def verified(test_case: SynchronousTestCase, verifier: type, modules: Sequence[str]) -> list[Verified]:
    """What dkimpy's test ``modules`` verify with ``verifier`` (DKIM or ARC); reports of RFC 8460 have rules of their own and stay out."""
    directory = test_case.mktemp()
    with tarfile.open(vectors.distribution(SDIST)) as archive:
        archive.extractall(directory)  # at a pinned hash; filters came with Python 3.11.4
    package = str(Path(directory, SDIST.removesuffix(".tar.gz"), "dkim").resolve())
    test_case.patch(dkim, "__path__", [*dkim.__path__, package])
    seen: list[Verified] = []
    _watch(test_case, verifier, seen)
    for name in modules:
        module = importlib.import_module(f"dkim.tests.{name}")
        test_case.addCleanup(sys.modules.pop, f"dkim.tests.{name}", None)
        report = io.StringIO()
        outcome = unittest.TextTestRunner(report).run(unittest.defaultTestLoader.loadTestsFromModule(module))
        test_case.assertTrue(outcome.wasSuccessful(), report.getvalue())
    test_case.addCleanup(sys.modules.pop, "dkim.tests", None)
    return seen


def _watch(test_case: SynchronousTestCase, verifier: Any, seen: list[Verified]) -> None:
    """Note what goes in and out of ``verifier``."""
    verify, prepare = verifier.verify, verifier.set_message

    def set_message(self: Any, message: Any) -> None:
        self.whole = message
        prepare(self, message)

    def noted(self: Any, *args: Any, dnsfunc: Any = None, **more: Any) -> Any:
        records: dict[str, bytes] = {}

        def ask(name: Any, timeout: int = 5) -> Any:
            found = dnsfunc(name, timeout=timeout)
            records[name.decode("latin-1")] = found.encode() if isinstance(found, str) else found or b""
            return found

        answer = None
        try:
            answer = verify(self, *args, dnsfunc=ask, **more)
        finally:
            if self.whole and not self.tlsrpt:
                number = args[0] if args else more.get("idx", 0)
                seen.append((self.whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), number, answer, records))
        return answer

    test_case.patch(verifier, "set_message", set_message)
    test_case.patch(verifier, "verify", noted)

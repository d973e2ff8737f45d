"""Vectors of others, taken for the run from source distributions at pinned hashes; nothing of them is kept here.

They are downloaded once by pip into a cache of the user's, ``MAILX_VECTORS`` or ``~/.cache/mailx-vectors``. Where they cannot be
had the tests are skipped aloud; with MAILX_REQUIRE_SYSTEM=1 that is an error.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SkipTest

HASHES = {
    "pyspf-2.0.14.tar.gz": "57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186",
    "dkimpy-1.1.8.tar.gz": "b5f60fb47bbf5d8d762f134bcea0c388eba6b498342a682a21f1686545094b77",
    "mailman-3.3.10.tar.gz": "0de478fcf326f25d931938c3744e61c5cd67596b46e5b1e3bb2abf99d5445632",
}
ARC_SUITE = "arc-draft-validation-tests.yml"
ARC_SUITE_HASH = "629d8a36f685602d2cee08126fae9f00d357141f79c95ecb9d1a61bc5b0c40e4"
_SECONDS = 180


def directory() -> Path:
    return Path(os.environ.get("MAILX_VECTORS") or Path.home() / ".cache" / "mailx-vectors")


def lacking(reason: str) -> Exception:
    """What to raise when vectors cannot be had."""
    return AssertionError(reason) if os.environ.get("MAILX_REQUIRE_SYSTEM") == "1" else SkipTest(reason)


@cache
def distribution(name: str) -> Path:
    """The source distribution ``name`` in the cache; raises SkipTest, or AssertionError where it must be there."""
    path = directory() / name
    if not _is(path, HASHES[name]):
        _download(name)
    return path


def member(name: str, inside: str) -> bytes:
    """The file ``inside`` a source distribution."""
    with tarfile.open(distribution(name)) as archive:
        file = archive.extractfile(f"{name.removesuffix('.tar.gz')}/{inside}")
        assert file is not None
        return file.read()


def scenarios(text: bytes) -> list[dict[str, Any]]:
    """The documents of a YAML file; raises SkipTest without PyYAML."""
    try:
        import yaml
    except ImportError:
        raise lacking("PyYAML is not installed") from None
    return list(yaml.safe_load_all(text))


def arc_suite() -> bytes:
    """The public suite of ARC chains (ValiMail/arc_test_suite), which no source distribution has: it must lie in the cache."""
    path = directory() / ARC_SUITE
    if not _is(path, ARC_SUITE_HASH):
        raise SkipTest(f"{path} is not there: tests/{ARC_SUITE} of github.com/ValiMail/arc_test_suite")
    return path.read_bytes()


def _is(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _download(name: str) -> None:
    project, _, version = name.removesuffix(".tar.gz").rpartition("-")
    directory().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place:
        wanted = Path(place, "wanted")
        wanted.write_text(f"{project}=={version} --hash=sha256:{HASHES[name]}\n", encoding="ascii")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", project]
        try:
            run = subprocess.run(
                [*command, "--require-hashes", "-d", place, "-r", str(wanted)], capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise lacking(f"{name} could not be downloaded: {error}") from None
        if run.returncode or not _is(Path(place, name), HASHES[name]):
            raise lacking(f"{name} could not be downloaded: {run.stderr.decode(errors='replace')[-500:]}")
        partial = directory() / f"{name}.{os.getpid()}"
        partial.write_bytes(Path(place, name).read_bytes())
        partial.replace(directory() / name)

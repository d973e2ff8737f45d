"""The installed package: ``twistd`` knows ``mailx``, from the checkout and from a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailx import __version__
from tests.system.server import PATIENCE, ROOT, required


class Installed(SynchronousTestCase):
    def twistd(self, directory: Path, *arguments: str, path: Path) -> str:
        command = [sys.executable, str(Path(sys.executable).with_name("twistd")), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(path)}
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return done.stdout

    def directory(self) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        return directory

    def test_the_checkout(self) -> None:
        directory = self.directory()
        self.assertRegex(self.twistd(directory, "--help", path=ROOT), r"\n +mailx +A mail system")
        self.assertIn("--config=", self.twistd(directory, "mailx", "--help", path=ROOT))

    def test_a_wheel(self) -> None:
        """Everything that is needed at run time is in the wheel, and the plugin is found where it is unpacked."""
        directory = self.directory()
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", ".", str(ROOT)]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode and not required():
            raise SkipTest(f"no wheel could be built here: {done.stderr[-300:]}")
        self.assertEqual(done.returncode, 0, done.stderr)
        unpacked = directory / "unpacked"
        with zipfile.ZipFile(directory / f"mailx-{__version__}-py3-none-any.whl") as wheel:
            names = set(wheel.namelist())
            wheel.extractall(unpacked)
        self.assertIn("twisted/plugins/mailx_plugin.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        self.assertNotIn("twisted/__init__.py", names)
        for path in [found for kind in ("py", "sql", "html", "css", "js", "svg") for found in (ROOT / "mailx").rglob(f"*.{kind}")]:
            self.assertIn(str(path.relative_to(ROOT)), names)
        self.assertFalse([name for name in names if name.startswith(("tests/", "bench/", "docs/"))])
        self.assertRegex(self.twistd(directory, "--help", path=unpacked), r"\n +mailx +A mail system")
        where = [sys.executable, "-P", "-c", "import mailx.tap; print(mailx.tap.__file__)"]
        found = subprocess.run(
            where,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(unpacked)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        self.assertEqual(Path(found.stdout.strip()), unpacked / "mailx" / "tap.py")

"""Debian's Chromium, driven by Playwright, as an administrator's browser: what it shows, loads, asks for and complains of.

One Chromium serves all tests of a process. A ``Visitor`` is one administrator in it, with cookies of its own. Pictures of
what it saw go to the directory that the environment's MAILX_SCREENSHOTS names, or to ``screenshots`` where the tests run.
"""

import atexit
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.system.server import PATIENCE, program, required

DESKTOP, PHONE = 1280, 390  # widths in CSS pixels
PAGE_LIMIT = 100 * 1024  # octets that one page may come to, with all that it loads

_FLAGS = (
    "--no-sandbox",  # the tests may run as root, whom Chromium's sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)
_STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

_chromium: Any = None


def chromium() -> Any:
    """The browser, started at first use; SkipTest where it is not installed, or an AssertionError where nothing may be skipped."""
    global _chromium
    if _chromium is None:
        path = program("chromium")
        try:
            from playwright.sync_api import sync_playwright
        except ImportError as error:
            if required():
                raise AssertionError("playwright is not installed") from error
            raise SkipTest("playwright is not installed") from error
        home = mkdtemp(prefix="mailx-chromium-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        driver = sync_playwright().start()
        atexit.register(driver.stop)
        environment = {**os.environ, "HOME": home}
        _chromium = driver.chromium.launch(executable_path=path, args=list(_FLAGS), env=environment, timeout=PATIENCE * 1000)
        atexit.register(_chromium.close)
    return _chromium


def pictures() -> Path:
    """Where pictures go; made if it is missing."""
    directory = Path(os.environ.get("MAILX_SCREENSHOTS") or "screenshots").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


class Visitor:
    """An administrator at ``base``, an URL such as ``http://127.0.0.1:2580``.

    ``foreign`` collects requests to anybody else, ``complaints`` what the console says; ``check`` fails the test if there are any.
    """

    def __init__(self, case: SynchronousTestCase, base: str, *, width: int = DESKTOP, scheme: str = "light", scripts: bool = True) -> None:
        self.case = case
        self.base = base
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self._loaded = 0
        self.context = chromium().new_context(
            base_url=base,
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            java_script_enabled=scripts,
            ignore_https_errors=True,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        case.addCleanup(self.context.close)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page = self.context.new_page()
        self.page.on("request", self._asked)
        protocol = self.context.new_cdp_session(self.page)
        protocol.send("Network.enable")
        protocol.send("Network.setCacheDisabled", {"cacheDisabled": True})
        protocol.on("Network.loadingFinished", self._got)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))

    def go(self, path: str, status: int = 200) -> None:
        """Open a page of the panel, nothing of it cached."""
        self._loaded = 0
        answer = self.page.goto(path, wait_until="load")
        self.case.assertEqual(answer.status, status, path)

    @property
    def path(self) -> str:
        """Where it is, without the server."""
        return str(self.page.url).removeprefix(self.base)

    def text(self) -> str:
        """What the page says."""
        return str(self.page.inner_text("body"))

    def fill(self, **values: str) -> None:
        """Fill in fields by their names."""
        for name, value in values.items():
            self.page.fill(f'[name="{name}"]', value)

    def press(self, label: str, within: str = "main") -> None:
        """Press the button that says ``label`` and wait for the page that comes of it."""
        with self.page.expect_navigation():
            self.page.locator(within).get_by_role("button", name=label, exact=True).first.click()

    def record(self, name: str) -> None:
        """Keep a trace of all that happens from now on, for Playwright's viewer."""
        self.context.tracing.start(screenshots=True, snapshots=True)
        self.case.addCleanup(self.context.tracing.stop, path=pictures() / f"{name}.zip")

    def shoot(self, name: str) -> Path:
        """A picture of the whole page."""
        path = pictures() / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path

    def loaded(self) -> int:
        """The octets that came since ``go``, headers included."""
        return self._loaded

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def violations(self) -> list[str]:
        """What axe finds wrong with the page: one line for each element, with the rule that it breaks."""
        from axe_playwright_python.sync_playwright import Axe

        options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": _STANDARDS}}
        found = Axe().run(self.page, options=options).response["violations"]
        return [
            f"{self.path}: {rule['id']} ({rule['help']}): {node['html'][:200]} {' '.join(node.get('failureSummary', '').split())}"
            for rule in found
            for node in rule["nodes"]
        ]

    def check(self) -> None:
        """Nothing was asked elsewhere, and nothing went wrong in the page."""
        self.case.assertEqual(self.foreign, [])
        self.case.assertEqual(self.complaints, [])

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.foreign.append(request.url)

    def _got(self, finished: Any) -> None:
        self._loaded += finished["encodedDataLength"]

    def _said(self, message: Any) -> None:
        # A page that answers 4xx on purpose is told in the console, too.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource: the server responded"):
            self.complaints.append(f"{self.page.url}: {message.text}")

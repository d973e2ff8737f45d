"""Every page of the control panel in a real browser: found by its links, in light and dark, on a phone, without JavaScript, by keyboard.

Pictures of all of them are kept, see :mod:`tests.system.browser`.
"""

import atexit
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from http.client import HTTPConnection
from typing import Any
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from mailx.web.panel.page import Route
from mailx.web.panel.pages import PAGES
from tests.system.administrator import PASSWORD, Administrator, Client
from tests.system.browser import PAGE_LIMIT, PHONE
from tests.system.lists import shared_list
from tests.system.server import PATIENCE, Server

SECRET = "a secret that two programs share"
SETTINGS = {
    "webhook.secret": f'"{SECRET}"',
    "webhook.sender_domain": '"localhost.test"',
    "outbound.loopback": "true",
    "contacts.list_networks": '["127.0.0.1"]',
    "dns.timeout": "1",
}
SEALED, SEALED_PASSWORD = "sealed@example.test", "a horse that opens it"
# What is looked at besides one address of each route: the same pages with something else on them.
MORE = (
    f"/accounts/{SEALED}",
    f"/accounts/{SEALED}/secrets",
    f"/accounts/{SEALED}/contacts",
    f"/accounts/{SEALED}/contacts?trust=requested",
    f"/accounts/{SEALED}/contacts?trust=blocked",
    "/peers/blocked.example",
)
UNLINKED = {"/queue/changes/<id>"}  # shown while a change of very many entries goes on

# Stops at every element that the Tab key reaches, and tells those that do not show that they have the focus.
_FOCUS = """() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const style = getComputedStyle(one), shown = one.getClientRects().length > 0;
    const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
    const again = one.dataset.seen;  // within it: a date has several stops, and marks them by itself
    one.dataset.seen = 'yes';
    return {what: one.outerHTML.slice(0, 120), visible: again || shown && (ring || style.boxShadow !== 'none')};
}"""
_MISSED = """() => [...document.querySelectorAll('main :is(a[href], button, input:not([type=hidden]), select, textarea, summary)')]
    .filter(one => one.checkVisibility() && !one.disabled && !one.dataset.seen && !(one.type === 'radio' && !one.checked))
    .map(one => one.outerHTML.slice(0, 120))"""


def routes() -> list[Route]:
    """All routes of all pages."""
    return [route for page in PAGES for route in page.routes()]


def post_call(server: Server, **fields: str) -> Any:
    """What the receiver answers a signed call."""
    body = json.dumps({"type": "message", "to": "ada@example.net", "subject": "Hello", "text": "Hello.", **fields}).encode()
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    connection = HTTPConnection("127.0.0.1", server.ports["webhook.port"], timeout=PATIENCE)
    headers = {"Content-Type": "application/json", "X-TransLife-Timestamp": timestamp, "X-TransLife-Signature": signature}
    connection.request("POST", "/webhook/outbound-email", body, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def befriend(case: TestCase, server: Server) -> None:
    """A sealed account with contacts of every kind, other servers, and block lists."""
    server.ctl("user", "add", SEALED, "--password-stdin", given=f"{SEALED_PASSWORD}\n")
    server.ctl("contact", "settings", SEALED, "--requests", "all", "--notices", "on")
    server.ctl("contact", "accept", SEALED, "friend@example.org")
    server.ctl("contact", "block", SEALED, "@spam.example")
    with server.mx() as stranger:
        stranger.sendmail("stranger@example.net", [SEALED], "From: stranger@example.net\r\nSubject: May I?\r\n\r\nHello.\r\n")
    server.ctl("user", "seal", SEALED, "server", "--password-stdin", given=f"{SEALED_PASSWORD}\n")
    server.ctl("user", "app-password", "add", SEALED, "phone", "--password-stdin", given=f"{SEALED_PASSWORD}\n")
    server.ctl("peer", "set", "peer.example", "--per-minute", "50")
    server.ctl("peer", "block", "blocked.example")
    server.ctl("blocklist", "add", "@nobody.example")
    url, key = shared_list(case, "spam.example", "ada@lists.example")
    server.ctl("blocklist", "add", url, "--key", key, "--yes")


def furnish(case: TestCase, server: Server, client: Client) -> None:
    """Something for every page to show."""
    server.ctl("domain", "add", "example.test")
    server.ctl("user", "add", "you@example.test", "--generate")
    server.ctl("alias", "add", "everybody@example.test", "you@example.test")
    server.ctl("dkim", "create", "example.test")
    server.ctl("suppression", "add", "gone@example.net")
    befriend(case, server)
    client.post("/admins", {"name": "bob", "password": "a horse of bob", "again": "a horse of bob"})
    client.post("/keys", {"name": "reader", "scope": ["read"]})
    place = {"name": "Reports", "host": "mail.example.net", "port": "993", "timeout": "5", "verify": "yes"}
    client.post("/mailboxes/add/imaps", {**place, "username": "reports", "password": "a horse of others"})
    client.post("/me/second-factor/begin", {"password_begin": PASSWORD})
    server.submit("ada@example.net", "waits")
    server.submit(server.account, "here")
    post_call(server)
    post_call(server, to=server.account, subject="A call that is delivered")


class Crawler:
    """Finds one address of each GET route by following links from the dashboard."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._map = Map([Rule(route.path, endpoint=route.path) for route in routes() if route.method == "GET"], merge_slashes=False)
        self.found: dict[str, str] = {}  # route to address
        self.dead: list[str] = []  # links that lead nowhere

    def run(self) -> None:
        waiting = ["/", "/me/second-factor"]
        while waiting:
            path = waiting.pop(0)
            route = self._route(path)
            if route is None:
                if self._client.get(path).status >= 400:
                    self.dead.append(path)
            elif route not in self.found:
                self.found[route] = path
                page = self._client.get(path)
                if page.status != 200:
                    self.dead.append(f"{path}: {page.status}")
                if page.headers["Content-Type"].startswith("text/html"):
                    waiting += list(dict.fromkeys(self._links(page.text)))

    def _links(self, text: str) -> Iterator[str]:
        for link in re.findall(r'<a\b[^>]*?\bhref="(/[^"#]*)', text):
            yield unescape(link)

    def _route(self, path: str) -> str | None:
        try:
            return str(self._map.bind("localhost").match(path.partition("?")[0], "GET")[0])
        except HTTPException:
            return None


class Stage:
    """One server with something on every page, for all tests of a process: it takes a while to set up."""

    _made: "Stage | None" = None

    def __init__(self) -> None:
        lasting = TestCase()
        atexit.register(lasting.doCleanups)
        self.server = Server(lasting, dict(SETTINGS))
        self.server.start()
        self.client = Client(lasting, self.server)
        self.client.set_up(self.server)
        furnish(lasting, self.server, self.client)
        self.crawler = Crawler(self.client)
        self.crawler.run()

    @classmethod
    def get(cls) -> "Stage":
        """The one, made at first use."""
        if cls._made is None:
            cls._made = Stage()
        return cls._made


class EveryPage(SynchronousTestCase):
    """What holds for all pages."""

    def setUp(self) -> None:
        stage = Stage.get()
        self.server, self.client, self.crawler = stage.server, stage.client, stage.crawler

    def test_pages(self) -> None:
        """No dead link; light and dark without a violation of accessibility; small; nothing from elsewhere; fit for a phone."""
        reached = set(self.crawler.found) | UNLINKED
        problems = [f"{link}: a dead link" for link in self.crawler.dead]
        problems += [f"{route.path}: no link leads there" for route in routes() if route.method == "GET" and route.path not in reached]
        browser = Administrator(self, self.server)
        browser.log_in()
        for route, path in sorted(self.crawler.found.items()):
            if self.client.get(path).headers["Content-Type"].startswith("text/html"):
                problems += self.look(browser, route, path)
        for path in MORE:
            problems += self.look(browser, path, path)
        self.report(problems)
        browser.check()

    def test_answers(self) -> None:
        """What a form answers with a page of its own, and what is shown only there, is as fit as the pages that links lead to."""
        browser = Administrator(self, self.server)
        browser.log_in()
        browser.go("/peers")
        browser.fill(domain="nowhere.example")
        problems = [*self.answer(browser, "Look", "peers-look")]
        browser.go("/blocklists")
        url, key = shared_list(self, "another.example")
        browser.fill(url=url, key=key)
        problems += self.answer(browser, "Look at it", "blocklists-preview")
        browser.go(f"/accounts/{SEALED}/secrets")
        browser.page.fill("#recovery-password", SEALED_PASSWORD)
        problems += self.answer(browser, "Make a new recovery code", "recovery-code")
        browser.go(f"/accounts/{SEALED}/secrets")
        browser.page.fill("input[name=name]:visible", "laptop")
        browser.page.fill("#app-password", SEALED_PASSWORD)
        problems += self.answer(browser, "Make an app password", "app-password")
        self.report(problems)
        browser.check()

    def answer(self, browser: Administrator, label: str, name: str) -> Iterator[str]:
        """Press the button, and look at what comes of it."""
        browser.press(label)
        browser.shoot(f"{name}-light")
        yield from browser.violations()
        browser.page.emulate_media(color_scheme="dark")
        yield from (f"dark {each}" for each in browser.violations())
        browser.page.set_viewport_size({"width": PHONE, "height": 800})
        if browser.overflow() > 0:
            yield f"{name}: {browser.overflow()} pixels too wide for a phone"
        browser.shoot(f"{name}-dark-phone")
        browser.page.emulate_media(color_scheme="light")
        browser.page.set_viewport_size({"width": 1280, "height": 800})

    def report(self, problems: list[str]) -> None:
        """Fail with all of them, if there are any."""
        if problems:
            self.fail("\n".join(("", *problems)))

    def look(self, browser: Administrator, route: str, path: str) -> Iterator[str]:
        name = re.sub(r"\W+", "-", route).strip("-") or "dashboard"
        browser.go(path)
        if browser.loaded() > PAGE_LIMIT:
            yield f"{path}: {browser.loaded()} octets"
        if browser.overflow() > 0:
            yield f"{path}: {browser.overflow()} pixels too wide for a desk"
        browser.shoot(f"{name}-light")
        browser.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        yield from browser.violations()
        browser.page.emulate_media(color_scheme="dark")
        yield from (f"dark {each}" for each in browser.violations())
        browser.page.set_viewport_size({"width": PHONE, "height": 800})
        if browser.overflow() > 0:
            yield f"{path}: {browser.overflow()} pixels too wide for a phone"
        browser.go(path)
        browser.shoot(f"{name}-dark-phone")
        browser.page.emulate_media(color_scheme="light")
        browser.page.set_viewport_size({"width": 1280, "height": 800})

    def test_keyboard(self) -> None:
        """Tab reaches everything that can be used, and shows where it is."""
        browser = Administrator(self, self.server)
        browser.go("/login")
        browser.page.focus('[name="name"]')
        for text in ("ada", PASSWORD):
            browser.page.keyboard.type(text)
            browser.page.keyboard.press("Tab")
        with browser.page.expect_navigation():
            browser.page.keyboard.press("Enter")
        self.assertEqual(browser.path, "/")
        problems = []
        for path in sorted(self.crawler.found.values()):
            if self.client.get(path).headers["Content-Type"].startswith("text/html"):
                problems += self.walk(browser, path)
        self.report(problems)

    def walk(self, browser: Administrator, path: str) -> Iterator[str]:
        """From the top on the first page, from where "Skip to the content" leads on the others: their navigation is the same."""
        browser.go(path)
        if path != "/":
            browser.page.focus("#content")
        for _ in range(1000):
            browser.page.keyboard.press("Tab")
            stop = browser.page.evaluate(_FOCUS)
            if stop is None:
                break
            if not stop["visible"]:
                yield f"{path}: no focus to be seen at {stop['what']}"
        for missed in browser.page.evaluate(_MISSED):
            yield f"{path}: the Tab key does not reach {missed}"

    def test_without_scripts(self) -> None:
        """What an administrator does needs no JavaScript: forms, questions before something is lost, colours, leaving."""
        browser = Administrator(self, self.server, scripts=False)
        browser.log_in()
        browser.go("/domains")
        browser.fill(name="plain.test")
        browser.press("Add")
        self.assertIn("plain.test", browser.text())
        browser.go("/domains/plain.test")
        browser.page.get_by_role("button", name="Delete", exact=False).first.click()
        browser.page.locator('[name="confirm"]').fill("plain.test")
        browser.shoot("without-scripts-question")
        with browser.page.expect_navigation():
            browser.page.locator('[name="confirm"]').press("Enter")
        self.assertEqual(browser.path, "/domains")
        self.assertEqual(self.client.get("/domains/plain.test").status, 404)
        browser.press("Dark", within="footer")
        self.assertEqual(browser.page.get_attribute("html", "data-scheme"), "dark")
        browser.press("Log out", within="body")
        browser.go("/")
        self.assertEqual(browser.path, "/login")
        browser.check()

    def test_scripts(self) -> None:
        """What JavaScript adds: a template is previewed while somebody types, a record is copied by a button."""
        browser = Administrator(self, self.server)
        browser.log_in()
        browser.go("/templates/email_verification")
        browser.page.fill("[name=subject]", "Hello, {{ to }}!")
        browser.page.locator("#preview").filter(has_text="Hello, ").wait_for()
        self.assertEqual(browser.path, "/templates/email_verification")
        browser.context.grant_permissions(["clipboard-read", "clipboard-write"])
        browser.go("/domains/example.test/dns")
        box = browser.page.locator("[data-copy]").first
        box.get_by_role("button").click()
        box.get_by_role("button", name="Copied").wait_for()
        copied = browser.page.evaluate("navigator.clipboard.readText()")
        self.assertEqual(copied, box.locator("code, pre, textarea").first.text_content())
        browser.check()

"""Every form and filter of the panel, filled with what nobody should type: no failure, nothing reflected unescaped, no header made."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlencode

from attrs import Factory, define
from twisted.trial.unittest import SynchronousTestCase

from tests.system.administrator import Client, Page
from tests.system.server import Server
from tests.system.test_panel import SETTINGS, Crawler, furnish

MARK = "<script>alert(1)</script>"
HOSTILE = (
    "",
    " ",
    MARK,
    f"\"'>{MARK}",
    "x" * 6000,
    "a\r\nX-Injected: yes\r\n\r\n",
    "\x00",
    "\u202etxt.exe",
    "../../../etc/passwd",
    "//evil.example/",
    "{{ 7 * 7 }}{% for x in y %}",
    "-1",
    "99999999999999999999999",
    "1e9",
    "٣",
    "2026-99-99",
    "' OR 1=1; --",
    "%s%n%00",
    "@example.test",
    "a@" + "b." * 200 + "test",
)
# What would end the session that this test works in.
ENDING = re.compile(r"/(logout|me\b|admins/(secret|rotate)|scheme|admins)")


@define
class Found:
    """One form of a page."""

    method: str
    action: str
    hidden: dict[str, str] = Factory(dict)
    fields: list[str] = Factory(list)


class Forms(HTMLParser):
    """Gathers the forms of a page, with fields that belong to one from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []
        self._ids: dict[str, Found] = {}
        self._open: Found | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Found(given.get("method", "get").lower(), given.get("action", ""))
            self.found.append(self._open)
            if "id" in given:
                self._ids[given["id"]] = self._open
            return
        form = self._ids.get(given.get("form", ""), self._open)
        if tag == "button" and form is not None and "formaction" in given:
            self.found.append(Found("post", given["formaction"], form.hidden, form.fields))
        if tag not in ("input", "textarea", "select", "button") or form is None or not given.get("name"):
            return
        if given.get("type") == "hidden":
            form.hidden[given["name"]] = given.get("value", "")
        else:
            form.fields.append(given["name"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


class Hostile(SynchronousTestCase):
    """One server with something on every page, and an administrator who is not well."""

    def setUp(self) -> None:
        self.server = Server(self, SETTINGS)
        for name, value in (("_PASSES", 1), ("_MEMORY", 8 << 20)):  # the price of a passphrase is no matter of forms
            self.server.constants[f"mailx.identity.passphrase_file.{name}"] = value
        self.server.start()
        self.client = Client(self, self.server)
        self.client.set_up(self.server)
        furnish(self, self.server, self.client)
        crawler = Crawler(self.client)
        crawler.run()
        self.forms: dict[tuple[str, str], Found] = {}
        for path in crawler.found.values():
            page = self.client.get(path)
            if page.headers["Content-Type"].startswith("text/html"):
                parser = Forms()
                parser.feed(page.text)
                for form in parser.found:
                    self.forms.setdefault((form.method, re.sub(r"\d+|[0-9a-f]{16}", "N", form.action)), form)

    def test_every_form(self) -> None:
        problems = []
        for form in self.forms.values():
            if not ENDING.match(form.action):
                problems += self.abuse(form)
        self.assertGreater(len(self.forms), 40)
        # In the address, too.
        for form in [each for each in self.forms.values() if re.search(r"example\.test|N", each.action)]:
            problems += self.judge(form.action, "path", self.client.get(re.sub(r"[a-z]*@?example\.test", "%3Cscript%3E", form.action)))
        if problems:
            self.fail("\n".join(("", *problems)))
        self.assertNotIn('"level": "critical"', self.server.log())
        self.assertEqual(self.client.get("/").status, 200)  # logged in to the end

    def abuse(self, form: Found) -> Iterator[str]:
        for value in HOSTILE:
            filled = {**form.hidden, **dict.fromkeys(form.fields, value)}
            filled.pop("csrf", None)
            yield from self.judge(form.action, value, self.send(form, filled))
            for name in set(form.hidden) - {"csrf"}:
                yield from self.judge(form.action, value, self.send(form, {**filled, name: value}))

    def send(self, form: Found, filled: dict[str, str]) -> Page:
        if form.method == "post":
            return self.client.post(form.action, filled)
        return self.client.get(f"{form.action}?{urlencode(filled)}")

    def judge(self, where: str, value: str, page: Page) -> Iterator[str]:
        if page.status >= 500:
            yield f"{where} with {value[:40]!r}: {page.status}"
        if page.headers.get("Content-Type", "").startswith("text/html") and MARK in page.text:
            yield f"{where} with {value[:40]!r}: reflected as it is"
        if "X-Injected" in page.headers:
            yield f"{where} with {value[:40]!r}: makes a header"
        if page.location and not re.match(r"/(?![/\\])", page.location):
            yield f"{where} with {value[:40]!r}: leads to {page.location}"

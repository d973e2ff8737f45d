"""An administrator of a real server, at its control panel in a real browser, or by HTTP alone where no browser is needed."""

import re
from html import unescape
from http.client import HTTPConnection
from typing import Any
from unittest import TestCase
from urllib.parse import urlencode

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.system.browser import Visitor
from tests.system.server import PATIENCE, Server

NAME, PASSWORD = "ada", "a horse that is correct"


def panel(server: Server) -> str:
    """The URL of its control panel."""
    return f"http://127.0.0.1:{server.ports['panel.port']}"


class Administrator(Visitor):
    """In a browser."""

    def __init__(self, case: SynchronousTestCase, server: Server, **options: Any) -> None:
        super().__init__(case, panel(server), **options)
        self.server = server

    def go(self, path: str, status: int = 200) -> None:
        try:
            super().go(path, status)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.server.log()[-3000:]}") from None

    def set_up(self, name: str = NAME, password: str = PASSWORD) -> None:
        """Become the first administrator, with the code that the server said."""
        self.go("/setup")
        self.fill(code=self.server.code, name=name, password=password, again=password)
        self.press("Make the administrator")

    def log_in(self, name: str = NAME, password: str = PASSWORD) -> None:
        self.go("/login")
        self.fill(name=name, password=password)
        self.press("Log in")


@frozen
class Page:
    """What came of one request."""

    status: int
    text: str
    location: str
    headers: dict[str, str]


class Client:
    """Without a browser: it keeps cookies and sends the CSRF token of the page that it saw last."""

    def __init__(self, case: TestCase, server: Server) -> None:
        self.case = case
        self.port = server.ports["panel.port"]
        self.cookies: dict[str, str] = {}
        self.token = ""

    def get(self, path: str, **headers: str) -> Page:
        page = self._ask("GET", path, None, headers)
        if found := re.search(r'name="csrf" value="([^"]*)"', page.text):
            self.token = unescape(found[1])
        return page

    def post(self, path: str, form: dict[str, Any] | None = None, **headers: str) -> Page:
        """Values may be lists. The answer is that of the server, redirections are not followed."""
        body = urlencode({"csrf": self.token, **(form or {})}, doseq=True)
        origin = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, body, {**origin, **headers})

    def set_up(self, server: Server, name: str = NAME, password: str = PASSWORD) -> None:
        self.get("/setup")
        done = self.post("/setup", {"code": server.code, "name": name, "password": password, "again": password})
        self.case.assertEqual(done.status, 303, done.text)
        self.get("/")

    def log_in(self, name: str = NAME, password: str = PASSWORD) -> None:
        self.get("/login")
        done = self.post("/login", {"name": name, "password": password})
        self.case.assertEqual(done.status, 303, done.text)
        self.get("/")

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Page:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request(method, path, body, {**({"Cookie": cookies} if cookies else {}), **headers})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value
        return Page(answer.status, text, answer.headers.get("Location", ""), dict(answer.headers))

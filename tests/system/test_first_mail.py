"""From a fresh start to a webhook's mail at somebody else's server, all that has to be set done by a person in a browser.

What the browser showed is kept: pictures of each step, and a trace of everything that Playwright's viewer plays back.
"""

import hashlib
import hmac
import json
import re
import signal
from datetime import UTC, datetime

from tests.system.administrator import NAME, PASSWORD, Administrator, Client
from tests.system.browser import Visitor
from tests.system.neighbours import HERE, Neighbours
from tests.system.nginx import Nginx
from tests.system.postfix import PASSWORD as RELAY_PASSWORD
from tests.system.postfix import USERNAME, Postfix
from tests.system.server import Server, free_ports

BODY = {
    "type": "email_verification",
    "to": "user@example.com",
    "subject": "Verify your email",
    "token": "123456",
    "expiresAt": "2030-02-21T06:00:00Z",
    "link": "https://example.com/verify?token=123456",
}
CALL = "/webhook/outbound-email"


def signed_call(url: str, secret: str, *options: str) -> list[str]:
    """A curl command that posts BODY."""
    body, timestamp = json.dumps(BODY), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-TransLife-Timestamp": timestamp, "X-TransLife-Signature": signature}
    return ["curl", "-sS", *options, *(part for name, value in headers.items() for part in ("-H", f"{name}: {value}")), "-d", body, url]


class Upstream(Neighbours):
    """A server beside a smart host that wants TLS and a login."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = self.postfix("smart.example", "127.0.0.3", login=True, domains=("example.com",))

    def here(self, **settings: str) -> Server:
        names = self.names({"smart.example": "@ A 127.0.0.3"})
        return self.server(names, {name.replace("__", "."): value for name, value in settings.items()}, trusting=True)


class FirstMail(Upstream):
    """The story that the tour tells."""

    def test_it_arrives(self) -> None:
        server = self.here()
        browser = Administrator(self, server)
        browser.record("first-mail")
        browser.go("/")
        self.assertEqual(browser.path, "/setup")
        browser.set_up()
        self.assertEqual(browser.path, "/")
        browser.shoot("first-mail-1-overview")
        self.set_smart_host(browser, self.upstream)
        secret = self.set_receiver(browser)
        answer = json.loads(server.run(*signed_call(f"http://127.0.0.1:{server.ports['webhook.port']}{CALL}", secret)))
        self.assertIs(answer["ok"], True, answer)
        message = self.upstream.message(BODY["subject"])
        self.assertEqual(message["From"], f"no-reply@{HERE}")
        self.assertIn(f"Authenticated sender: {USERNAME}", " ".join(message["Received"].split()))
        self.assertIn(BODY["link"], message.as_string().replace("=\n", "").replace("=3D", "="))
        self.see_it(browser, answer["queued_id"])
        browser.check()
        self.assertNotIn(secret, server.log())
        self.assertNotIn(RELAY_PASSWORD, server.log())

    def set_smart_host(self, browser: Administrator, upstream: Postfix) -> None:
        """Choose the preset, fill in, test, save."""
        browser.go("/smtp")
        with browser.page.expect_navigation():
            browser.page.get_by_role("link", name="Port 587, STARTTLS").click()
        host = {"smarthost.host": "smart.example", "smarthost.port": str(upstream.port)}
        login = {"smarthost.username": USERNAME, "smarthost.password": RELAY_PASSWORD}
        browser.fill(**host, **login, sender=f"me@{HERE}", recipient="ada@example.com")
        browser.press("Test SMTP")
        said = browser.text()
        self.assertIn("It works.", said)
        self.assertIn("STARTTLS", said)
        self.assertNotIn(RELAY_PASSWORD, browser.page.content())
        browser.shoot("first-mail-2-test-smtp")
        browser.fill(**login)
        browser.press("Save")
        self.assertIn("smart.example", browser.text())
        browser.shoot("first-mail-3-smart-host")

    def set_receiver(self, browser: Administrator) -> str:
        """Name the sender's domain, and have a secret made; returns the secret."""
        browser.go("/settings")
        browser.fill(**{"webhook.sender_domain": HERE})
        browser.press("Save sender settings")
        browser.press("Make a random one for Shared secret of Webhook signature")
        browser.shoot("first-mail-4-secret")
        secret = browser.page.locator(".copy code").first.inner_text()
        self.assertGreater(len(secret), 20)
        browser.go("/settings")
        self.assertNotIn(secret, browser.page.content())
        return secret

    def see_it(self, browser: Administrator, number: int) -> None:
        """Its state in the list of calls, and what happened to the message."""

        def delivered() -> bool:
            browser.go(f"/calls/{number}")
            return "delivered" in browser.text()

        self.wait_until(delivered, browser.text)
        browser.shoot("first-mail-5-call")
        browser.go("/deliveries?what=user@example.com")
        self.assertIn("smart.example", browser.text())
        browser.shoot("first-mail-6-delivery")


class TestSMTP(Upstream):
    """The button, with every preset, and with what people get wrong."""

    def setUp(self) -> None:
        super().setUp()
        self.here_ = self.here()
        self.client = Client(self, self.here_)
        self.client.set_up(self.here_)

    def attempt(self, port: int, security: str, recipient: str = "ada@example.com", **more: str) -> str:
        """What the page says after the test."""
        fields = {"host": "smart.example", "port": str(port), "security": security, "timeout": "60", "verify": "true", **more}
        self.client.get("/smtp")
        form = {"sender": f"me@{HERE}", "recipient": recipient, **{f"smarthost.{name}": value for name, value in fields.items()}}
        page = self.client.post("/smtp/test", form)
        self.assertEqual(page.status, 200, page.text)
        self.assertNotIn(RELAY_PASSWORD, page.text)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))

    def test_presets(self) -> None:
        login = {"username": USERNAME, "password": RELAY_PASSWORD}
        for port, security, options in (
            (self.upstream.port, "starttls", login),
            (self.upstream.tls_port, "tls", login),
            (self.upstream.port, "plain", {}),
        ):
            before = len(self.upstream.messages())
            said = self.attempt(port, security, **options)
            self.assertIn("It works.", said, security)
            self.wait_until(lambda before=before: len(self.upstream.messages()) == before + 1, self.upstream.log)  # type: ignore[misc]
        self.assertEqual(len(re.findall(r"sasl_method=", self.upstream.log())), 2)

    def test_what_goes_wrong_is_explained(self) -> None:
        port = self.upstream.port
        for expected, said in (
            ("535", self.attempt(port, "starttls", username=USERNAME, password="wrong")),
            ("554", self.attempt(port, "starttls", "ada@elsewhere.example")),
            ("TLS", self.attempt(port, "tls")),
            ("refused", self.attempt(free_ports(1)[0], "plain")),
            ("nowhere.example", self.attempt(port, "plain", host="nowhere.example")),
        ):
            self.assertIn("It does not work.", said)
            self.assertIn(expected, said)
        self.assertEqual(self.upstream.messages(), [])

    def test_a_stranger_with_its_name(self) -> None:
        """Its certificate is not believed until the check is switched off."""
        other = self.postfix("impostor.example", "127.0.0.4", domains=("example.com",))
        self.assertIn("It does not work.", self.attempt(other.port, "starttls", host="127.0.0.4"))
        self.assertIn("It works.", self.attempt(other.port, "starttls", host="127.0.0.4", verify="false"))


class BehindNginx(Neighbours):
    """The receiver and the panel behind a reverse proxy that does the TLS."""

    def test_receiver(self) -> None:
        secret = "a secret that two programs share"
        settings = {
            "webhook.secret": f'"{secret}"',
            "webhook.sender_domain": f'"{HERE}"',
            "webhook.proxies": '["127.0.0.1/32"]',
            "webhook.allowed": '["127.0.0.5/32"]',
        }
        server = Server(self, settings)
        server.start()
        url = f"https://localhost:{self.nginx(server.ports['webhook.port']).port}{CALL}"
        direct = f"http://127.0.0.1:{server.ports['webhook.port']}{CALL}"
        trust = ("--cacert", str(self.authority.certificate))
        for expected, at, options in (
            (True, url, ("--interface", "127.0.0.5", *trust)),
            (False, url, ("--interface", "127.0.0.6", *trust)),
            (False, url, ("--interface", "127.0.0.6", "-H", "X-Forwarded-For: 127.0.0.5", *trust)),
            (False, direct, ("--interface", "127.0.0.6", "-H", "X-Forwarded-For: 127.0.0.5")),
        ):
            answer = json.loads(server.run(*signed_call(at, secret, *options)))
            if expected:
                self.assertIs(answer["ok"], True, answer)
            else:
                self.assertEqual(answer, {"ok": False, "error": "forbidden"})

    def test_panel(self) -> None:
        """It knows that the browser came by TLS: cookies are for TLS only, forms work, addresses are those of browsers."""
        server = Server(self, {"panel.proxies": '["127.0.0.1/32"]'})
        server.start()
        self.see_the_panel(f"https://localhost:{self.nginx(server.ports['panel.port']).port}", server)

    def see_the_panel(self, base: str, server: Server) -> None:
        """Set it up there, with cookies that are for TLS only."""
        browser = Visitor(self, base)
        browser.go("/setup")
        browser.fill(code=server.code, name=NAME, password=PASSWORD, again=PASSWORD)
        browser.press("Make the administrator")
        self.assertEqual(browser.path, "/")
        cookies = browser.context.cookies()
        self.assertTrue(cookies)
        for cookie in cookies:
            self.assertTrue(cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Strict", cookie["name"])
            self.assertTrue(cookie["name"].startswith("__Host-"))
        browser.check()

    def test_nobody_between(self) -> None:
        """Both speak TLS by themselves; the end of the server does not wait for a browser that keeps its connection."""
        secret = "a secret that two programs share"
        settings = {"panel.tls": "true", "webhook.tls": "true", "webhook.secret": f'"{secret}"', "webhook.sender_domain": f'"{HERE}"'}
        server = Server(self, settings)
        self.assertIn(f"https://localhost:{server.ports['panel.port']}/", server.start())
        url = f"https://localhost:{server.ports['webhook.port']}{CALL}"
        answer = json.loads(server.run(*signed_call(url, secret, "--cacert", str(server.certificate))))
        self.assertIs(answer["ok"], True, answer)
        self.see_the_panel(f"https://localhost:{server.ports['panel.port']}", server)
        self.assertIn(server.stop(), (0, -signal.SIGTERM))

    def nginx(self, upstream: int) -> Nginx:
        proxy = Nginx(self.authority.issue("localhost"), upstream)
        self.addCleanup(proxy.stop)
        proxy.start()
        return proxy

"""Every state change of the panel writes exactly one row of the audit log: each route that changes something is used once, for real.

The routes are those that the pages declare; one that is missing here fails the test. What is refused, previewed or asked
first writes none.
"""

import json
import re
import sqlite3
from collections.abc import Callable
from html import unescape
from time import time
from typing import Any

import pyotp
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity.encoding import canonical
from mailx.identity.enrolment import requested
from mailx.identity.user_key_file import UserKeyFile
from mailx.mail.address import Address
from mailx.web.panel.pages import PAGES
from tests.system.administrator import NAME, PASSWORD, Client, Page
from tests.system.daemon import wait
from tests.system.lists import shared_list
from tests.system.server import Server
from tests.system.test_panel import SETTINGS, post_call

# Every change has its secret, which no row may tell.
SECRETS = ("first secret", "second secret", "third secret", "fourth secret", "fifth secret", "sixth secret", PASSWORD)
USER, DOMAIN = "you@example.test", "example.test"


class EveryChange(SynchronousTestCase):
    """A long day of an administrator."""

    def setUp(self) -> None:
        # A disk that holds anything at all is full enough for an alert.
        fixed = {name: value for name, value in SETTINGS.items() if name != "webhook.secret"}
        self.server = Server(
            self,
            {
                **fixed,
                "webhook.signature": "false",
                "alerts.disk_percent": "1",
                "dns.timeout": "1",
                "contacts.list_networks": '["127.0.0.1"]',
            },
        )
        self.server.start()
        self.client = Client(self, self.server)
        self.used: set[str] = set()
        self.problems: list[str] = []
        self.seen = 0

    def test_each_writes_one_row(self) -> None:
        self.client.set_up(self.server)
        self.see("/setup", "admin.set_up", "admin.login")
        for part in (
            self.directory,
            self.domain_keys,
            self.keys,
            self.block_lists,
            self.peers,
            self.queue,
            self.webhook,
            self.settings,
            self.mailboxes,
            self.access,
            self.own,
            self.comings,
        ):
            part()
        changing = {route.path for page in PAGES for route in page.routes() if route.method == "POST"}
        self.problems += [f"{path}: not used here" for path in sorted(changing - self.used)]
        if self.problems:
            self.fail("\n".join(("", *self.problems)))
        told = self.client.get("/audit/export.jsonl").text
        for secret in (*SECRETS, self.recovery):
            self.assertNotIn(secret, told)

    # What an act is, and what it must leave.

    def rows(self) -> list[dict[str, Any]]:
        """The audit log, oldest first."""
        return [json.loads(line) for line in reversed(self.client.get("/audit/export.jsonl").text.splitlines())]

    def see(self, where: str, *actions: str) -> None:
        """Since the last look these actions were written, by the administrator, and no other."""
        rows = self.rows()
        new, self.seen = rows[self.seen :], len(rows)
        found = [row["action"] for row in new]
        if found != list(actions):
            self.problems.append(f"{where}: {found} in place of {list(actions)}")
        for row in new:
            if (row["actor"]["kind"], row["actor"]["name"], row["actor"]["address"]) != ("admin", NAME, "127.0.0.1"):
                self.problems.append(f"{where}: by {row['actor']}")

    def change(self, route: str, form: dict[str, Any] | None = None, *, expect: tuple[int, ...] = (303,), **names: Any) -> Page:
        """Use the route, first in ways that must not do anything."""
        path = re.sub(r"<(?:int:)?(\w+)>", lambda name: str(names[name[1]]), route)
        forged = self.client.post(path, {**(form or {}), "csrf": "0" * 64})
        foreign = self.client.post(path, form, Origin="http://elsewhere.example")
        if (forged.status, foreign.status) != (403, 403):
            self.problems.append(f"{route}: a forged form gets {forged.status}, a foreign one {foreign.status}")
        answer = self.client.post(path, form)
        if answer.status not in expect:
            self.problems.append(f"{route}: {answer.status} {self.complaint(answer)}")
        (action,) = {each.action for page in PAGES for each in page.routes() if (each.method, each.path) == ("POST", route)}
        self.used.add(route)
        self.see(route, *([action] if action else []))
        return answer

    def complaint(self, page: Page) -> str:
        found = re.findall(r'(?s)class="(?:message problem|error)"[^>]*>(.*?)</', page.text)
        return " ".join(unescape(text).strip() for text in found)

    def hidden(self, page: str, action: str, name: str) -> str:
        """The value of the hidden field ``name`` in the first form of ``page`` that posts to ``action``."""
        text = self.client.get(page).text
        form = re.search(rf'(?s)<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', text)
        self.assertIsNotNone(form, f"no form {action} at {page}")
        assert form is not None
        found = re.search(rf'name="{name}" value="([^"]*)"', form[1])
        self.assertIsNotNone(found, form[1])
        assert found is not None
        return unescape(found[1])

    def until(self, look: Callable[[], bool]) -> None:
        wait(look, lambda: self.server.log()[-2000:])

    # The day.

    def directory(self) -> None:
        added = self.change("/domains/add", {"name": DOMAIN}, expect=(200,))
        self.recovery = re.findall(r"mailx-recovery-1(?:-[A-Z2-7]{4})+", added.text)[0]
        self.change("/accounts/add", {"address": USER, "role": "user", "quota": "default", "password": SECRETS[0], "again": SECRETS[0]})
        self.change("/accounts/<address>/password", {"password": SECRETS[1], "again": SECRETS[1]}, address=USER)
        self.change("/accounts/<address>/quota", {"quota": "unlimited"}, address=USER)
        self.change("/accounts/<address>/role", {"role": "admin"}, address=USER)
        self.change("/accounts/<address>/suspend", address=USER)
        self.change("/accounts/<address>/resume", address=USER)
        self.change("/accounts/ask", {"do": "suspend", "address": [USER]}, expect=(200,))
        self.change("/accounts/suspend", {"address": [USER]})
        self.change("/accounts/resume", {"address": [USER]})
        self.change("/accounts/<address>/blocks/add", {"sender": "spam@example.org"}, address=USER)
        self.change("/accounts/<address>/blocks/delete", {"sender": "spam@example.org"}, address=USER)
        self.contacts()
        self.sealed()
        self.change("/aliases/add", {"alias": f"all@{DOMAIN}", "targets": USER})
        self.change("/aliases/edit", {"alias": f"all@{DOMAIN}", "targets": f"{USER}\nada@example.net"})
        self.change("/aliases/delete", {"alias": f"all@{DOMAIN}"})

    def contacts(self) -> None:
        at = "/accounts/<address>/contacts"
        self.change(f"{at}/accept", {"contact": "ada@example.org"}, address=USER)
        self.change(f"{at}/block", {"contact": "@spam.example"}, address=USER)
        self.change(f"{at}/remove", {"contact": "ada@example.org"}, address=USER)
        self.change(f"{at}/settings", {"requests": "all", "notices": "yes"}, address=USER)

    def block_lists(self) -> None:
        self.change("/blocklists/block", {"sender": "@spam.example"})
        self.change("/blocklists/unblock", {"sender": "@spam.example"})
        shared = dict(zip(("url", "key"), shared_list(self, "spam.example"), strict=True))
        shown = self.change("/blocklists/preview", shared, expect=(200,)).text
        self.change("/blocklists/add", {**shared, "digest": re.findall(r'name="digest" value="(\w+)"', shown)[0]})
        number = self.hidden("/blocklists", "/blocklists/remove", "id")
        self.change("/blocklists/refresh", {"id": number})
        self.change("/blocklists/remove", {"id": number})

    def peers(self) -> None:
        self.change("/peers/look", {"domain": "there.example"}, expect=(200,))
        self.change("/peers/<domain>/limits", {"per_minute": "5", "fallback": "never"}, domain="there.example")
        self.change("/peers/<domain>/block", domain="there.example")
        self.change("/peers/<domain>/unblock", domain="there.example")
        self.change("/peers/<domain>/forget", domain="there.example")

    def sealed(self) -> None:
        keys = UserKeyFile.fresh(Address.parse(USER))
        request = canonical(requested(keys.address, keys.public, keys.signer, int(time())).encode()).decode()
        self.change("/accounts/<address>/secrets/enrol", {"request": request}, address=USER)
        self.change("/accounts/<address>/secrets/off", address=USER)
        proof = {"password": SECRETS[1]}
        self.change("/accounts/<address>/secrets/seal", proof, expect=(200,), address=USER)
        self.change("/accounts/<address>/secrets/recovery", proof, expect=(200,), address=USER)
        self.change("/accounts/<address>/secrets/app-password", {"name": "phone", **proof}, expect=(200,), address=USER)
        self.change("/accounts/<address>/secrets/revoke", {"name": "phone"}, address=USER)
        self.change("/accounts/<address>/secrets/unseal", proof, address=USER)

    def domain_keys(self) -> None:
        self.change("/domains/<name>/keys/rotate", name=DOMAIN)
        self.change("/domains/<name>/keys/recover", {"recovery_key": self.recovery, "confirm": DOMAIN}, name=DOMAIN)
        self.change("/domains/<name>/keys/recovery", {"before": self.recovery}, expect=(200,), name=DOMAIN)
        self.change("/domain-keys/backup", {"passphrase": SECRETS[2], "again": SECRETS[2]}, expect=(200,))

    def keys(self) -> None:
        page = f"/domains/{DOMAIN}/dkim"
        self.change("/domains/<name>/dkim/create", {"algorithm": ["ed25519-sha256"]}, name=DOMAIN)
        self.change("/domains/<name>/dkim/activate", {"force": "yes"}, name=DOMAIN)
        self.change("/domains/<name>/dkim/rotate", name=DOMAIN)
        self.change("/domains/<name>/dkim/activate", {"force": "yes"}, name=DOMAIN)
        selectors = re.findall(rf"{page}/([\w-]+)/(retire|delete)", self.client.get(page).text)
        active = next(selector for selector, verb in selectors if verb == "retire")
        self.change("/domains/<name>/dkim/<selector>/retire", name=DOMAIN, selector=active)
        self.change("/domains/<name>/dkim/<selector>/delete", {"force": "yes"}, name=DOMAIN, selector=active)
        self.change("/accounts/<address>/retention", {"days": "90"}, address=USER)
        self.change("/accounts/<address>/export", expect=(200,), address=USER)
        self.change("/accounts/<address>/delete", {"confirm": USER}, address=USER)
        self.change("/accounts/<address>/restore", address=USER)
        self.change("/accounts/<address>/erase", {"confirm": USER}, address=USER)
        for selector in set(re.findall(rf"{page}/([\w-]+)/delete", self.client.get(page).text)):
            self.change("/domains/<name>/dkim/<selector>/delete", {"force": "yes"}, name=DOMAIN, selector=selector)
        self.change("/domains/<name>/delete", {"confirm": DOMAIN}, name=DOMAIN)

    def queue(self) -> None:
        for number in range(3):
            post_call(self.server, to=f"ada@{number}.example.net")
        self.until(lambda: len(self.waiting("deferred")) == 3)
        first, second, third = self.waiting("deferred")
        self.change("/queue/ask", {"do": "delete", "row": [str(first)]}, expect=(200,))
        self.change("/queue/hold", {"row": [str(first), str(second)]})
        self.change("/queue/release", {"row": [str(second)]})
        self.until(lambda: third in self.waiting("deferred"))
        self.change("/queue/retry", {"row": [str(third)]})
        self.change("/queue/delete", {"row": [str(first)]})
        self.until(lambda: self.waiting("deferred") == [second, third])
        self.change("/queue/bounce", {"which": "all", "sender": "no-reply@localhost.test"})

    def waiting(self, state: str) -> list[int]:
        """The numbers of the queue's rows in that state."""
        return [entry["entry"] for entry in json.loads(self.server.ctl("queue", "list", "--state", state, "--json"))["entries"]]

    def webhook(self) -> None:
        number = post_call(self.server, callbackUrl="https://callbacks.example/")["queued_id"]
        self.server.stop()
        with sqlite3.connect(self.server.directory / "var" / "mailx.db") as database:
            database.execute("UPDATE callbacks SET state = 'given_up'")
        database.close()
        self.server.start()
        action = f"/calls/{number}/callbacks/retry"
        self.change("/calls/<id>/callbacks/retry", {"callback": self.hidden(f"/calls/{number}", action, "callback")}, id=number)
        self.change("/suppressions/add", {"address": "gone@example.net", "note": "asked for it"})
        self.change("/suppressions/remove", {"id": self.hidden("/suppressions", "/suppressions/remove", "id")})
        template = {"subject": "Hello {{ to }}", "text": "Look: {{ link }}", "html": "<p>{{ link }}</p>"}
        self.change("/templates", {**template, "type": "email_verification"})
        self.change("/templates/<type>/preview", template, expect=(200,), type="email_verification")
        test = {**template, "recipient": self.server.account}
        self.change("/templates/<type>/test", test, expect=(200, 303), type="email_verification")
        self.change("/templates/<type>/reset", type="email_verification")
        self.change("/alerts/<id>/acknowledge", id=self.alert())

    def alert(self) -> str:
        """The number of the alert about the disk, waited for."""
        found: list[str] = []

        def look() -> bool:
            found[:] = re.findall(r'action="/alerts/(\d+)/acknowledge"', self.client.get("/alerts").text)
            return bool(found)

        self.until(look)
        return found[0]

    def settings(self) -> None:
        self.change("/settings", {"limits.account_hour": "77"})
        self.change("/settings/reset", {"key": "limits.account_hour"})
        self.change("/settings/generate", {"key": "webhook.secret"}, expect=(200,))
        self.change("/settings/reload")
        host = {"smarthost.host": "127.0.0.1", "smarthost.port": "1", "smarthost.security": "plain", "smarthost.password": SECRETS[2]}
        whole = {**host, "smarthost.timeout": "5", "smarthost.verify": "true", "smarthost.username": "relay"}
        test = {**whole, "sender": self.server.account, "recipient": "ada@example.net"}
        self.change("/smtp/test", test, expect=(200,))
        self.change("/smtp", whole)
        self.change("/smtp/reset")
        self.change("/certificates/reload")

    def mailboxes(self) -> None:
        place = {
            "name": "Reports",
            "host": "127.0.0.1",
            "port": "1",
            "timeout": "5",
            "verify": "yes",
            "username": "reader",
            "password": SECRETS[3],
        }
        added = self.change("/mailboxes/add/<kind>", place, kind="imaps")
        number = added.location.rpartition("/")[2]
        self.change("/mailboxes/<id>/change", {**place, "name": "Bounces", "password": SECRETS[4]}, id=number)
        self.change("/mailboxes/<id>/test", expect=(200,), id=number)
        self.change("/mailboxes/<id>/remove", id=number)

    def access(self) -> None:
        self.change("/admins", {"name": "bob", "password": SECRETS[5], "again": SECRETS[5]})
        self.change("/admins/<name>/password", {"password": SECRETS[4], "again": SECRETS[4]}, name="bob")
        other = Client(self, self.server)
        other.log_in("bob", SECRETS[4])
        self.second_factor(other, SECRETS[4])
        self.seen = len(self.rows())
        self.change("/admins/totp-reset", {"name": "bob"})
        self.change("/admins/disable", {"name": "bob"})
        self.change("/admins/enable", {"name": "bob"})
        self.change("/admins/remove", {"name": "bob"})
        made = self.change("/keys", {"name": "reader", "scope": ["read"]}, expect=(200,))
        self.assertIn("reader", made.text)
        self.change("/keys/revoke", {"name": "reader"})
        self.change("/keys/delete", {"name": "reader"})

    def second_factor(self, client: Client, password: str) -> None:
        """Set one up, uncounted."""
        client.get("/me")
        client.post("/me/second-factor/begin", {"password_begin": password})
        self.assertEqual(client.post("/me/second-factor", {"code": self.code(client)}).status, 200)

    def code(self, client: Client) -> str:
        """The code for the secret that the page shows."""
        text = re.sub(r"<[^>]+>", " ", client.get("/me/second-factor").text)
        secret = max(re.findall(r"(?:[A-Z2-7]{4} ){4,}[A-Z2-7]{2,4}", text), key=len)
        return pyotp.TOTP(secret.replace(" ", "")).now()

    def own(self) -> None:
        for route in ("/me/sessions/end", "/me/sessions/end-others"):
            Client(self, self.server).log_in()
            self.seen = len(self.rows())
            others = {} if route.endswith("others") else {"id": self.hidden("/me", "/me/sessions/end", "id")}
            self.change(route, others)
        self.change("/me/second-factor/begin", {"password_begin": PASSWORD})
        self.change("/me/second-factor", {"code": self.code(self.client)}, expect=(200,))
        self.change("/me/codes", {"password_codes": PASSWORD}, expect=(200,))
        self.change("/me/second-factor/off", {"password_off": PASSWORD})
        self.change("/me/password", {"old": PASSWORD, "password": SECRETS[5], "again": SECRETS[5]})

    def comings(self) -> None:
        """Logging in and out, and who fails to; last the secret of all sessions."""
        self.client.get("/")
        self.client.post("/scheme", {"scheme": "dark", "back": "/"})
        self.see("/scheme")
        self.client.post("/logout")
        self.client.log_in(NAME, SECRETS[5])
        self.see("/login", "admin.logout", "admin.login")
        stranger = Client(self, self.server)
        stranger.get("/login")
        stranger.post("/login", {"name": NAME, "password": "a wrong guess"})
        rows = self.rows()
        self.assertEqual([row["action"] for row in rows[self.seen :]], ["admin.login_failed"])
        self.seen = len(rows)
        self.client.get("/admins")
        path = "/admins/session-secret"
        self.assertEqual(self.client.post(path).status, 303)
        self.used.add(path)
        self.assertEqual(self.client.get("/").status, 303)
        self.client.log_in(NAME, SECRETS[5])
        self.see(path, "panel.session_secret", "admin.login")

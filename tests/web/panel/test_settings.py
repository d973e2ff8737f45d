"""The pages Settings and SMTP back end."""

import re
from collections.abc import Mapping
from typing import Any

from attrs import Factory, define, fields
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import Smarthost, sections
from mailx.config_file import Sources
from mailx.core import audit
from mailx.core.probing import Probe
from mailx.core.settings import Settings
from mailx.mail.address import Address
from mailx.web.panel.pages.settings import GROUPS, SettingsPage
from mailx.web.panel.pages.smtp import KEYS, Smtp
from tests.scenery import world
from tests.web.scene import Scene, scene_of

SECRET = "correct-horse-battery-staple"


@define
class Probing:
    """Takes note of what it was to try."""

    tried: list[tuple[Smarthost, str, str]] = Factory(list)
    answer: Probe = Probe(True, ("S: 220 mail.example.org", "C: EHLO me"), "The message was taken.")

    async def try_smarthost(self, settings: Smarthost, sender: Address, recipient: Address) -> Probe:
        self.tried.append((settings, str(sender), str(recipient)))
        return self.answer


class Base(TestCase):
    async def begin(self, environ: Mapping[str, str] | None = None) -> Scene:
        made = await world(self)
        sources = Sources(None, {"MAILX_ADMIN__SOCKET": "/run/mailx.sock", **(environ or {})})
        self.settings = Settings(sources.config, sources, made.store, made.cipher, made.reactor)
        await self.settings.load()
        self.probing = Probing()
        parts: dict[str, Any] = {"settings": self.settings, "mail_out_probe": self.probing}
        return await scene_of(self, pages=[SettingsPage, Smtp], parts=parts, in_world=made)

    async def audited(self, scene: Scene, action: str) -> list[audit.Entry]:
        return await scene.parts.audit.list(audit.Filter(action=action))


class Groups(SynchronousTestCase):
    def test_every_live_setting_is_shown_once(self) -> None:
        live = [f"{name}.{one.name}" for name, kind in sections().items() for one in fields(kind) if one.metadata["live"]]
        shown = [*KEYS, *[key for _, _, _, keys in GROUPS for key in keys]]
        self.assertEqual(sorted(shown), sorted(live))


class SettingsPages(Base):
    async def test_what_is_changed_holds_and_nothing_else(self) -> None:
        scene = await self.begin()
        page = await scene.get("/settings")
        self.assertEqual(page.status, 200)
        for key in ("webhook.skew", "alerts.mail", "log.level"):
            self.assertIn(f'name="{key}"', page.text)
        self.assertLess(len(page.text), 100_000)
        values = {"webhook.skew": " 60 ", "webhook.signature": "true", "webhook.secret": SECRET, "webhook.header_prefix": "X-TransLife"}
        page = await scene.post("/settings", values)
        self.assertEqual(page.location, "/settings")
        page = await scene.get("/settings")
        webhook = self.settings.current.webhook
        self.assertEqual((webhook.skew, webhook.secret, self.settings.origin("webhook.header_prefix")), (60, SECRET, "default"))
        self.assertNotIn(SECRET, page.text)
        self.assertIn("One is set", page.text)
        (entry,) = await self.audited(scene, "settings.change")
        self.assertEqual(entry.after, {"webhook.secret": audit.HIDDEN, "webhook.skew": 60})

    async def test_everything_that_belongs_to_a_group_is_linked_and_named(self) -> None:
        scene = await self.begin()
        page = (await scene.get("/settings")).text
        for group in GROUPS:
            self.assertIn(f'<a href="#{group[0]}">{group[1]}</a>', page)
        for href in ("/smtp", "/mailboxes", "/admins", "/keys", "/templates", "/queue", "/deliveries", "/delivery-log"):
            self.assertIn(f'<a class="button small" href="{href}">', page)
        self.assertIn("<code>webhook.sender_domain</code>", page)
        self.assertNotIn('class="optional"', page)
        await scene.post("/smtp", {"smarthost.host": "mail.example.org", "smarthost.verify": "false"})
        self.assertIn('<a href="/smtp#setting-smarthost-verify">', (await scene.get("/settings")).text)

    async def test_a_sender_domain_that_is_not_ours_is_told(self) -> None:
        scene = await self.begin()
        for domain, told in (("exmaple.test", True), ("example.test", False)):
            await scene.post("/settings", {"webhook.sender_domain": domain})
            self.assertEqual("is no domain of this server" in (await scene.get("/settings")).text, told, domain)

    async def test_lists_and_empty_secrets(self) -> None:
        scene = await self.begin()
        await scene.post("/settings", {"webhook.secret": SECRET})
        await scene.post("/settings", {"webhook.secret": "", "webhook.skew": "60"})
        self.assertEqual(self.settings.current.webhook.secret, SECRET)
        await scene.post("/settings", {"webhook.allowed": "192.0.2.0/24\r\n\r\n 2001:db8::/32 \r\n"})
        self.assertEqual(self.settings.current.webhook.allowed, ("192.0.2.0/24", "2001:db8::/32"))
        await scene.post("/settings", {"webhook.allowed": ""})
        self.assertEqual(self.settings.current.webhook.allowed, ())

    async def test_what_is_wrong_is_said_at_its_field_and_kept(self) -> None:
        scene = await self.begin()
        page = await scene.post(
            "/settings",
            {"webhook.skew": "1<b>x", "webhook.secret": SECRET, "webhook.signature": "perhaps", "webhook.header_prefix": "X Y"},
        )
        self.assertEqual(page.status, 422)
        self.assertIn('value="1&lt;b&gt;x"', page.text)
        self.assertIn("Must be a whole number from 1 to 86400; for example skew = 300</p>", page.text)
        self.assertIn("webhook.skew-error", page.text)
        self.assertIn("webhook.header_prefix-error", page.text)
        self.assertIn("webhook.signature-error", page.text)
        self.assertNotIn(SECRET, page.text)
        self.assertEqual(self.settings.current.webhook.skew, 300)
        self.assertEqual(await self.audited(scene, "settings.change"), [])

    async def test_fixed_ones_are_shown_and_refused(self) -> None:
        scene = await self.begin({"MAILX_WEBHOOK__SKEW": "77", "MAILX_WEBHOOK__SECRET": SECRET})
        page = await scene.get("/settings")
        self.assertIn("Set by MAILX_WEBHOOK__SKEW", page.text)
        self.assertNotIn('name="webhook.skew"', page.text)
        self.assertNotIn(SECRET, page.text)
        await scene.post("/settings", {"webhook.skew": "60"})
        self.assertEqual(self.settings.current.webhook.skew, 77)
        page = await scene.post("/settings/reset", {"key": "webhook.skew"})
        self.assertEqual(page.status, 422)
        self.assertIn("fixed by the environment variable MAILX_WEBHOOK__SKEW", page.text)

    async def test_back_to_the_default(self) -> None:
        scene = await self.begin()
        self.assertNotIn("Reset to default", (await scene.get("/settings")).text)
        await scene.post("/settings", {"webhook.skew": "60"})
        self.assertIn("Reset to default (300)", (await scene.get("/settings")).text)
        page = await scene.post("/settings/reset", {"key": "webhook.skew"})
        self.assertEqual((page.location, self.settings.current.webhook.skew), ("/settings", 300))
        self.assertEqual(self.settings.origin("webhook.skew"), "default")

    async def test_unsafe_ones_are_red(self) -> None:
        scene = await self.begin()
        self.assertNotIn("UNSAFE:", (await scene.get("/settings")).text)
        await scene.post("/settings", {"webhook.signature": "false"})
        text = (await scene.get("/settings")).text
        self.assertIn("UNSAFE:", text)
        self.assertIn("whoever reaches the port sends mail in your name", text)

    async def test_a_secret_made_here_is_shown_once(self) -> None:
        scene = await self.begin()
        page = await scene.post("/settings/generate", {"key": "webhook.secret"})
        secret = self.settings.current.webhook.secret
        self.assertRegex(secret, "^[0-9a-f]{64}$")
        self.assertIn(secret, page.text)
        self.assertNotIn(secret, (await scene.get("/settings")).text)
        self.assertEqual((await scene.post("/settings/generate", {"key": "smarthost.password"})).status, 422)

    async def test_two_administrators_at_once(self) -> None:
        scene = await self.begin()
        shown = dict(re.findall(r'<input type="hidden" name="(was\.[^"]+)" value="([^"]+)"', (await scene.get("/settings")).text))
        self.assertNotIn("was.webhook.secret", shown)
        await scene.post("/settings", {"webhook.skew": "60", "webhook.per_minute": "7"})
        mine = {"webhook.skew": "300", "webhook.per_minute": "8", "webhook.suppress": "false", **shown}
        page = await scene.post("/settings", mine)  # the skew is as it was shown, calls a minute are not
        self.assertEqual(page.status, 422)
        self.assertIn("Somebody else has set this to 7 meanwhile", page.text)
        webhook = self.settings.current.webhook
        self.assertEqual((webhook.skew, webhook.per_minute, webhook.suppress), (60, 7, True))
        again = dict(re.findall(r'<input type="hidden" name="(was\.[^"]+)" value="([^"]+)"', page.text))
        page = await scene.post("/settings", {**mine, **again})
        webhook = self.settings.current.webhook
        self.assertEqual((page.status, webhook.skew, webhook.per_minute, webhook.suppress), (303, 60, 8, False))

    async def test_other_settings_are_none_of_this_page(self) -> None:
        scene = await self.begin()
        await scene.post("/settings", {"smtp.port": "25", "smarthost.host": "192.0.2.1"})
        self.assertEqual((self.settings.current.smtp.port, self.settings.current.smarthost.host), (2525, ""))
        self.assertEqual((await scene.post("/settings/reset", {"key": "smtp.port"})).status, 422)
        self.assertEqual((await scene.post("/settings/reset", {"key": "x" * 2000})).status, 422)

    async def test_reading_the_file_again(self) -> None:
        scene = await self.begin()
        page = await scene.follow(await scene.post("/settings/reload"))
        self.assertIn("read again", page.text)
        self.assertEqual(len(await self.audited(scene, "settings.reload")), 1)


class SmtpPage(Base):
    async def test_presets(self) -> None:
        scene = await self.begin()
        for preset, security in (("587", "starttls"), ("465", "tls"), ("25", "plain")):
            page = await scene.get(f"/smtp?preset={preset}")
            self.assertRegex(page.text, f'name="smarthost.port" type="number" value="{preset}"')
            self.assertRegex(page.text, rf'<option value="{security}" selected>')
        self.assertEqual((await scene.get("/smtp?preset=<script>")).status, 200)
        self.assertEqual(self.settings.current.smarthost, Smarthost())

    async def test_saving(self) -> None:
        scene = await self.begin()
        page = await scene.follow(await scene.post("/smtp", FILLED))
        self.assertIn("through <strong>smtp.example.org</strong>", page.text)
        self.assertNotIn(SECRET, page.text)
        smarthost = self.settings.current.smarthost
        self.assertEqual((smarthost.host, smarthost.port, smarthost.username, smarthost.password), ("smtp.example.org", 465, "me", SECRET))
        await scene.post("/smtp/reset")
        self.assertEqual(self.settings.current.smarthost, Smarthost())

    async def test_the_display_name_is_found_here_too(self) -> None:
        scene = await self.begin()
        self.assertIn('name="webhook.sender_name"', (await scene.get("/smtp")).text)
        await scene.post("/smtp", {"webhook.sender_name": "Example Shop"})
        self.assertEqual(self.settings.current.webhook.sender_name, "Example Shop")
        self.assertIn("display name", (await scene.get("/smtp")).text)
        await scene.post("/smtp", {"smarthost.host": "mail.example.org"})
        await scene.post("/smtp/reset", {})
        self.assertEqual((self.settings.current.smarthost.host, self.settings.current.webhook.sender_name), ("", "Example Shop"))

    async def test_the_sender_of_a_test_may_be_of_the_allowed_domain(self) -> None:
        scene = await self.begin()
        asked = {"smarthost.host": "mail.example.org", "sender": "shop@elsewhere.test", "recipient": "you@example.net"}
        self.assertEqual((await scene.post("/smtp/test", asked)).status, 422)
        await scene.post("/settings", {"webhook.sender_domain": "elsewhere.test"})
        self.assertEqual((await scene.post("/smtp/test", asked)).status, 200)

    async def test_a_login_is_whole(self) -> None:
        scene = await self.begin()
        page = await scene.post("/smtp", {**FILLED, "smarthost.password": ""})
        self.assertEqual(page.status, 422)
        self.assertIn("smarthost.password-error", page.text)

    async def test_no_login_any_more(self) -> None:
        scene = await self.begin()
        await scene.post("/smtp", FILLED)
        page = await scene.post("/smtp", {**FILLED, "smarthost.username": "", "smarthost.password": ""})
        self.assertEqual(page.status, 303)
        smarthost = self.settings.current.smarthost
        self.assertEqual((smarthost.host, smarthost.username, smarthost.password), ("smtp.example.org", "", ""))

    async def test_the_password_goes_to_no_other_host(self) -> None:
        scene = await self.begin()
        await scene.post("/smtp", FILLED)
        other = {**FILLED, "smarthost.host": "evil.example.net", "smarthost.password": ""}
        for path in ("/smtp", "/smtp/test"):
            page = await scene.post(path, {**other, "sender": "me@example.test", "recipient": "you@example.org"})
            self.assertEqual(page.status, 422)
            self.assertIn("Is for another host; give it again", page.text)
        self.assertEqual((self.probing.tried, self.settings.current.smarthost.host), ([], "smtp.example.org"))
        page = await scene.post("/smtp", {**other, "smarthost.password": SECRET})
        self.assertEqual(self.settings.current.smarthost.host, "evil.example.net")

    async def test_what_is_typed_is_tested_not_saved(self) -> None:
        scene = await self.begin()
        page = await scene.post("/smtp/test", {**FILLED, "sender": "me@example.test", "recipient": "you@example.org"})
        self.assertEqual(page.status, 200)
        ((settings, sender, recipient),) = self.probing.tried
        self.assertEqual((settings.host, settings.port, settings.password), ("smtp.example.org", 465, SECRET))
        self.assertEqual((sender, recipient), ("me@example.test", "you@example.org"))
        self.assertIn("The message was taken.", page.text)
        self.assertIn("S: 220 mail.example.org", page.text)
        self.assertRegex(page.text, r'name="smarthost.host" type="text" value="smtp.example.org"')
        self.assertNotIn(SECRET, page.text)
        self.assertEqual(self.settings.current.smarthost, Smarthost())
        was = dict(re.findall(r'name="(was\.[^"]+)" value="([^"]+)"', (await scene.get("/smtp")).text))
        await self.settings.change({"smarthost.timeout": 7})
        filled = {**FILLED, "smarthost.timeout": "30", **was, "sender": "me@example.test", "recipient": "you@example.org"}
        page = await scene.post("/smtp/test", filled)
        await scene.post("/smtp", {**filled, **dict(re.findall(r'name="(was\.[^"]+)" value="([^"]+)"', page.text))})
        self.assertEqual((self.settings.current.smarthost.host, self.settings.current.smarthost.timeout), ("smtp.example.org", 7))
        (entry, _) = await self.audited(scene, "smtp.test")
        self.assertEqual((entry.target, entry.after), ("smtp.example.org", {"recipient": "you@example.org", "ok": True}))

    async def test_what_is_saved_is_tested(self) -> None:
        scene = await self.begin()
        await scene.post("/smtp", FILLED)
        await scene.post("/smtp/test", {**FILLED, "smarthost.password": "", "sender": "me@example.test", "recipient": "you@example.org"})
        self.assertEqual(self.probing.tried[0][0], self.settings.current.smarthost)

    async def test_wrong_tests(self) -> None:
        scene = await self.begin()
        for change, name in (
            ({"smarthost.host": ""}, "smarthost.host"),
            ({"smarthost.port": "0"}, "smarthost.port"),
            ({"sender": "me@example.net"}, "sender"),
            ({"recipient": "you"}, "recipient"),
            ({"recipient": "you@example.org\nRCPT TO:<others@example.org>"}, "recipient"),
        ):
            page = await scene.post("/smtp/test", {**FILLED, "sender": "me@example.test", "recipient": "you@example.org", **change})
            self.assertEqual(page.status, 422, change)
            self.assertIn(f"{name}-error", page.text)
        self.assertEqual(self.probing.tried, [])

    async def test_a_failure_is_told(self) -> None:
        scene = await self.begin()
        self.probing.answer = Probe(False, ("S: 535 <script>no</script>",), "The login was refused.", "Check name and password.")
        page = await scene.post("/smtp/test", {**FILLED, "sender": "me@example.test", "recipient": "you@example.org"})
        self.assertIn("Check name and password.", page.text)
        self.assertNotIn("<script>no", page.text)

    async def test_labels_and_names_are_unique(self) -> None:
        scene = await self.begin()
        for path in ("/smtp", "/settings"):
            ids = re.findall(r' id="([^"]+)"', (await scene.get(path)).text)
            self.assertEqual(len(ids), len(set(ids)), path)


FILLED = {
    "smarthost.host": "smtp.example.org",
    "smarthost.port": "465",
    "smarthost.security": "tls",
    "smarthost.username": "me",
    "smarthost.password": SECRET,
    "smarthost.timeout": "30",
    "smarthost.verify": "true",
}

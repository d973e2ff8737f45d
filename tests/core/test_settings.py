"""Settings that change while the server runs: what holds, who is told, what is refused, what survives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.config import Config
from mailx.config_file import ConfigError, Sources
from mailx.core import audit
from mailx.core.settings import DATABASE, DEFAULT, ENVIRONMENT, FILE, REREAD, Reloaded, Settings, SettingsError
from mailx.mail.reply import Unavailable
from mailx.store import Txn
from tests.scenery import World, configured, world


class Base(TestCase):
    """Settings over a real store, and a file."""

    engine = ""

    async def prepare(self, text: str = "", **environ: str) -> World:
        made = await world(self, engine=self.engine)
        self.path = Path(self.mktemp())
        self.path.write_text(text, encoding="utf-8")
        self.environ = {"MAILX_ADMIN__SOCKET": "/run/mailx.sock", **environ}
        return made

    async def settings(self, made: World, reactor: Any = None, store: Any = None) -> Settings:
        sources = Sources(self.path, self.environ)
        settings = Settings(sources.config, sources, store or made.store, made.cipher, reactor)
        await settings.load()
        return settings

    async def refused(self, settings: Settings, values: Mapping[str, Any]) -> dict[str, str]:
        before = settings.current
        error = await self.assertFailure(Deferred.fromCoroutine(settings.change(values)), SettingsError)
        self.assertIs(settings.current, before)
        return error.problems


class Changing(Base):
    """One server."""

    async def test_a_change_holds_at_once_and_after_a_restart(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made)
        self.assertEqual((settings.current.webhook.skew, settings.origin("webhook.skew")), (300, DEFAULT))
        await settings.change({"webhook.skew": 60, "webhook.allowed": ["192.0.2.0/24"], "smarthost.host": "smtp.example.org"})
        for each in (settings, await self.settings(made)):
            self.assertEqual((each.current.webhook.skew, each.origin("webhook.skew")), (60, DATABASE))
            self.assertEqual(each.current.webhook.allowed, ("192.0.2.0/24",))
            self.assertEqual(each.current.smarthost.host, "smtp.example.org")

    async def test_what_is_unset_is_as_by_default(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made)
        await settings.change({"webhook.skew": 60})
        await settings.change({"webhook.skew": None, "log.level": None})
        for each in (settings, await self.settings(made)):
            self.assertEqual((each.current.webhook.skew, each.origin("webhook.skew")), (300, DEFAULT))

    async def test_file_and_environment_fix_a_key(self) -> None:
        made = await self.prepare("[webhook]\nskew = 100\n[limits]\naccount_day = 7\n", MAILX_WEBHOOK__PER_MINUTE="9")
        settings = await self.settings(made)
        problems = await self.refused(settings, {"webhook.skew": 60, "webhook.per_minute": 1, "webhook.sender_name": "Me"})
        self.assertEqual(set(problems), {"webhook.skew", "webhook.per_minute"})
        self.assertIn(str(self.path), problems["webhook.skew"])
        self.assertIn("MAILX_WEBHOOK__PER_MINUTE", problems["webhook.per_minute"])
        self.assertEqual((settings.origin("webhook.skew"), settings.fixed_by("webhook.skew")), (FILE, str(self.path)))
        self.assertEqual(
            (settings.origin("webhook.per_minute"), settings.fixed_by("webhook.per_minute")), (ENVIRONMENT, "MAILX_WEBHOOK__PER_MINUTE")
        )

    async def test_the_file_of_a_secret_fixes_the_secret(self) -> None:
        made = await self.prepare("")
        secret = Path(self.mktemp())
        secret.write_text("0123456789abcdef\n")
        self.environ["MAILX_WEBHOOK__SECRET_FILE"] = str(secret.absolute())
        settings = await self.settings(made)
        self.assertEqual(settings.current.webhook.secret, "0123456789abcdef")
        self.assertIn("MAILX_WEBHOOK__SECRET_FILE", (await self.refused(settings, {"webhook.secret": "x" * 20}))["webhook.secret"])
        secret.unlink()  # the running server need not read it again
        await settings.change({"webhook.skew": 60})
        self.assertEqual(settings.current.webhook.secret, "0123456789abcdef")

    async def test_what_the_file_sets_later_goes_over_the_database(self) -> None:
        made = await self.prepare()
        await (await self.settings(made)).change({"webhook.skew": 60})
        self.path.write_text("[webhook]\nskew = 100\n")
        settings = await self.settings(made)
        self.assertEqual((settings.current.webhook.skew, settings.origin("webhook.skew")), (100, FILE))
        self.path.write_text("")
        self.assertEqual((await self.settings(made)).current.webhook.skew, 60)

    async def test_every_problem_is_named(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made)
        problems = await self.refused(
            settings,
            {
                "webhook.skew": 0,
                "webhook.allowed": ["nonsense"],
                "webhook.suppress": "yes",
                "smarthost.port": "25",
                "smarthost.security": "ssl",
                "smarthost.hots": "x",
                "smtp.port": 25,
                "alerts.queue_age": "soon",
                "webhook.sender_name": "a\r\nBcc: everybody@example.org",
            },
        )
        self.assertIn("did you mean smarthost.host?", problems["smarthost.hots"])
        self.assertIn("restart", problems["smtp.port"])
        problems = await self.refused(
            settings,
            {
                "webhook.skew": 0,
                "webhook.allowed": ["nonsense"],
                "webhook.suppress": "yes",
                "smarthost.port": "25",
                "smarthost.security": "ssl",
                "alerts.queue_age": "soon",
                "webhook.sender_name": "a\r\nBcc: everybody@example.org",
                "limits.account_day": 10**30,
                "webhook.sender_local": "no reply",
                "webhook.header_prefix": "X:",
                "webhook.public_web_url": "javascript:alert(1)",
                "webhook.callback_networks": ["10.0.0.0/8"] * 1001,
                "smarthost.username": "x" * 5000,
            },
        )
        self.assertEqual(len(problems), 13, problems)
        self.assertIn("must be a whole number from 1 to 86400", problems["webhook.skew"])

    async def test_a_change_is_checked_as_a_whole(self) -> None:
        made = await self.prepare('[[outbound.relays]]\nname = "smarthost"\nhosts = ["192.0.2.1"]\n')
        settings = await self.settings(made)
        self.assertEqual(list(await self.refused(settings, {"smarthost.username": "me"})), ["smarthost.password"])
        self.assertEqual(list(await self.refused(settings, {"smarthost.host": "192.0.2.2"})), ["outbound.relays[0].name"])
        await settings.change({"smarthost.username": "me", "smarthost.password": "secret"})

    async def test_a_secret_is_sealed_and_never_told(self) -> None:
        made = await self.prepare()
        store = audit.Recording(made.store, made.cipher)
        settings = await self.settings(made, store=store)
        with audit.acting(audit.Actor("admin", "ada"), "settings.change"):
            await settings.change({"webhook.secret": "correct horse battery", "webhook.skew": 60})
        stored = await made.store.read(lambda txn: txn.all("SELECT key, sealed FROM settings ORDER BY key"))
        self.assertEqual([key for key, _ in stored], ["webhook.secret", "webhook.skew"])
        self.assertNotIn(b"horse", b"".join(bytes(sealed) for _, sealed in stored))
        (entry,) = await audit.Log(made.store, made.cipher, made.reactor).list()
        self.assertEqual(entry.before, {"webhook.secret": "", "webhook.skew": 300})
        self.assertEqual(entry.after, {"webhook.secret": audit.HIDDEN, "webhook.skew": 60})
        self.assertNotIn("horse", repr(settings.current))
        problems = await self.refused(settings, {"webhook.secret": 4711})
        self.assertNotIn("4711", problems["webhook.secret"])

    async def test_a_change_that_changes_nothing_writes_nothing(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made, store=audit.Recording(made.store, made.cipher))
        heard: list[Config] = []
        settings.watch(["webhook"], heard.append)
        for _ in range(2):
            with audit.acting(audit.Actor("admin", "ada"), "settings.change"):
                await settings.change({"webhook.skew": 60, "smarthost.host": None})
        with audit.acting(audit.Actor("admin", "ada"), "settings.change"):
            await self.refused(settings, {"webhook.skew": 0})
        self.assertEqual(len(await audit.Log(made.store, made.cipher, made.reactor).list()), 1)
        self.assertEqual(len(heard), 1)

    async def test_who_watches_is_told_and_cannot_keep_others_from_it(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made, store=audit.Recording(made.store, made.cipher))
        heard: list[str] = []

        async def slowly(config: Config) -> None:
            await made.store.write(lambda txn: None)  # no part of the act
            heard.append(f"slowly {config.webhook.skew}")

        def fails(config: Config) -> None:
            raise ZeroDivisionError

        settings.watch(["webhook"], fails)
        settings.watch(["webhook", "alerts"], slowly)
        settings.watch(["smarthost"], lambda config: heard.append("never"))
        settings.watch(["webhook"], lambda config: heard.append(f"quickly {config.webhook.skew}"))
        with audit.acting(audit.Actor("admin", "ada"), "settings.change"):
            await settings.change({"webhook.skew": 60})
        self.assertEqual(sorted(heard), ["quickly 60", "slowly 60"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_nothing_holds_that_was_not_committed(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made)
        heard: list[Config] = []
        settings.watch(["webhook"], heard.append)

        def away(*args: Any) -> "Deferred[Any]":
            broken: Deferred[Any] = Deferred()
            broken.errback(Unavailable("disk full"))
            return broken

        self.patch(settings, "_store", type("Away", (), {"write": staticmethod(away), "read": made.store.read})())
        await self.assertFailure(Deferred.fromCoroutine(settings.change({"webhook.skew": 60})), Unavailable)
        self.assertEqual((settings.current.webhook.skew, heard), (300, []))

    async def test_a_value_that_cannot_be_used_stops_the_start_and_can_be_unset(self) -> None:
        made = await self.prepare()
        await (await self.settings(made)).change({"smarthost.host": "192.0.2.1"})
        self.path.write_text('[[outbound.relays]]\nname = "smarthost"\nhosts = ["192.0.2.1"]\n')
        sources = Sources(self.path, self.environ)
        settings = Settings(sources.config, sources, made.store, made.cipher)
        await self.assertFailure(Deferred.fromCoroutine(settings.load()), ConfigError)
        await settings.change({"smarthost.host": None})
        await self.settings(made)

    async def test_what_another_version_wrote_is_left_alone(self) -> None:
        made = await self.prepare()

        def write(txn: Txn) -> None:
            for key in ("smtp.port", "webhook.gone", "nowhere.port"):
                txn.execute("INSERT INTO settings (key, sealed) VALUES (?, ?)", (key, b"x"))

        await made.store.write(write)
        settings = await self.settings(made)
        await settings.change({"webhook.skew": 60})
        self.assertEqual((await made.store.read(lambda txn: txn.one("SELECT count(*) FROM settings"))), (4,))

    async def test_a_value_that_does_not_open(self) -> None:
        made = await self.prepare()
        await (await self.settings(made)).change({"webhook.skew": 60, "webhook.per_minute": 60})
        await made.store.write(lambda txn: txn.execute("UPDATE settings SET sealed = (SELECT max(sealed) FROM settings)"))
        error = await self.assertFailure(Deferred.fromCoroutine(self.settings(made)), ConfigError)
        self.assertIn("mailxctl config unset webhook.", str(error))
        sources = Sources(self.path, self.environ)
        settings = Settings(sources.config, sources, made.store, made.cipher)
        await self.assertFailure(Deferred.fromCoroutine(settings.load()), ConfigError)
        await settings.change({"webhook.skew": None, "webhook.per_minute": None})
        self.assertEqual((await self.settings(made)).origin("webhook.skew"), DEFAULT)

    async def test_the_remedy_names_what_helps(self) -> None:
        made = await self.prepare()
        await (await self.settings(made)).change(
            {"smarthost.host": "192.0.2.1", "smarthost.username": "me", "smarthost.password": "secret", "webhook.skew": 60}
        )
        self.path.write_text('[smarthost]\nusername = ""\n')
        error = await self.assertFailure(Deferred.fromCoroutine(self.settings(made)), ConfigError)
        self.assertTrue(str(error).endswith("; or `mailxctl config unset smarthost.password`"), str(error))
        self.path.write_text('[[outbound.relays]]\nname = "smarthost"\nhosts = ["192.0.2.1"]\n')
        error = await self.assertFailure(Deferred.fromCoroutine(self.settings(made)), ConfigError)
        self.assertTrue(str(error).endswith("; or `mailxctl config unset smarthost.host`"), str(error))

    async def test_alone_they_are_fixed(self) -> None:
        settings = Settings(configured(webhook={"skew": 60}))
        await settings.load()
        self.assertEqual((settings.origin("webhook.skew"), settings.origin("webhook.port")), (FILE, DEFAULT))
        self.assertEqual(list(await self.refused(settings, {"webhook.skew": 1})), ["webhook.skew"])
        self.assertEqual(await settings.reload(), Reloaded())


class Reloading(Base):
    """File and environment read again."""

    async def test_what_can_holds_the_rest_is_named(self) -> None:
        made = await self.prepare("[limits]\naccount_day = 7\n")
        settings = await self.settings(made)
        await settings.change({"webhook.skew": 60})
        heard: list[int] = []
        settings.watch(["limits"], lambda config: heard.append(config.limits.account_day))
        self.path.write_text('[limits]\naccount_day = 8\n[smtp]\nport = 4711\n[webhook]\nper_minute = 1\n[queue]\nretry = ["1m"]\n')
        reloaded = await settings.reload()
        self.assertEqual(reloaded.changed, ("queue.retry", "limits.account_day", "webhook.per_minute"))
        self.assertEqual(reloaded.restart, ("smtp.port",))
        self.assertEqual((heard, settings.current.smtp.port, settings.current.webhook.skew), ([8], 2525, 60))
        self.assertEqual(settings.origin("webhook.per_minute"), FILE)
        self.assertEqual((await settings.reload()).restart, ("smtp.port",))

    async def test_a_wrong_file_changes_nothing(self) -> None:
        made = await self.prepare("[limits]\naccount_day = 7\n")
        settings = await self.settings(made)
        before = settings.current
        self.path.write_text("[limits]\naccount_day = -1\naccount_huor = 3\n")
        error = await self.assertFailure(Deferred.fromCoroutine(settings.reload()), SettingsError)
        self.assertEqual(set(error.problems), {"limits.account_day", "limits.account_huor"})
        self.assertIs(settings.current, before)
        await settings.change({"webhook.skew": 60})

    async def test_what_could_not_be_applied_is_said(self) -> None:
        made = await self.prepare()
        settings = await self.settings(made)

        def refuse(config: Config) -> None:
            raise SettingsError({"limits.account_day": "is one too many"})

        settings.watch(["limits"], refuse)
        self.path.write_text("[limits]\naccount_day = 8\n")
        self.assertEqual((await settings.reload()).failed, ("limits.account_day: is one too many",))


class Nodes(Base):
    """Two servers on one database."""

    async def test_the_other_sees_it_within_half_a_minute(self) -> None:
        made = await self.prepare()
        clock = Clock()
        here, there = await self.settings(made), await self.settings(made, reactor=clock)
        heard: Deferred[Config] = Deferred()
        there.watch(["webhook"], heard.callback)
        there.start()
        await here.change({"webhook.skew": 60})
        clock.advance(REREAD)
        self.assertEqual((await heard).webhook.skew, 60)
        self.assertEqual(there.origin("webhook.skew"), DATABASE)
        await there.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_two_changes_at_once_both_hold(self) -> None:
        made = await self.prepare()
        here, there = await self.settings(made), await self.settings(made)
        await here.change({"webhook.skew": 60})
        await there.change({"webhook.per_minute": 7})
        for each in (there, await self.settings(made)):
            self.assertEqual((each.current.webhook.skew, each.current.webhook.per_minute), (60, 7))

    async def test_two_changes_that_do_not_go_together(self) -> None:
        made = await self.prepare()
        here, there = await self.settings(made), await self.settings(made)
        await here.change({"smarthost.username": "me", "smarthost.password": "secret"})
        await there.change({"smarthost.username": "you", "smarthost.password": "secret"})
        await there.change({"smarthost.username": None, "smarthost.password": None})
        self.assertEqual(list(await self.refused(await self.settings(made), {"smarthost.password": "secret"})), ["smarthost.username"])

    async def test_what_the_other_wrote_and_is_no_use_here(self) -> None:
        made = await self.prepare()
        clock = Clock()
        here = await self.settings(made)
        self.path.write_text('[[outbound.relays]]\nname = "smarthost"\nhosts = ["192.0.2.1"]\n')
        there = await self.settings(made, reactor=clock)
        there.start()
        await here.change({"smarthost.host": "192.0.2.1", "webhook.skew": 60})
        for _ in range(2):
            clock.advance(REREAD)
            await made.store.read(lambda txn: None)
        self.assertEqual(there.current.webhook.skew, 300)
        problems = await self.refused(there, {"webhook.per_minute": 7})
        self.assertIn("outbound.relays[0].name", problems)
        await there.stop()


class NodesOfPostgreSQL(Nodes):
    """The same with the other engine."""

    engine = "postgresql"

"""The first account, and what the person who started the server is told."""

import os
from pathlib import Path

from attrs import define, evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from mailx.config import SMTP, Config, Health, Panel, Server
from mailx.ops.welcome import FirstAccount, first_account, notice


@frozen
class Named:
    name: str


@define
class Directory:
    """What ``first_account`` sees of the directory."""

    known: list[str]
    users: dict[str, str]

    async def domains(self) -> list[Named]:
        return [Named(name) for name in self.known]

    async def totals(self) -> tuple[int, int]:
        return len(self.users), 0

    async def add_domain(self, name: str) -> None:
        self.known.append(name)

    async def add_user(self, address: str, password: str) -> None:
        self.users[address] = password


class FirstStart(SynchronousTestCase):
    def first(self, directory: Directory, domain: str = "localhost.test") -> FirstAccount | None:
        coroutine = first_account(directory, domain)  # type: ignore[arg-type]
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("waited for something")

    def test_an_empty_directory_gets_a_domain_and_an_account(self) -> None:
        directory = Directory([], {})
        first = self.first(directory)
        assert first is not None
        self.assertEqual(directory, Directory(["localhost.test"], {"me@localhost.test": first.password}))

    def test_a_start_that_was_cut_short_is_completed(self) -> None:
        directory = Directory(["localhost.test"], {})
        self.assertIsNotNone(self.first(directory))
        self.assertEqual(directory.known, ["localhost.test"])

    def test_whatever_exists_is_left_alone(self) -> None:
        for directory in (Directory(["example.test"], {}), Directory(["localhost.test"], {"a@localhost.test": "x"})):
            before = evolve(directory, known=list(directory.known), users=dict(directory.users))
            self.assertIsNone(self.first(directory))
            self.assertEqual(directory, before)

    def test_it_can_be_turned_off(self) -> None:
        directory = Directory([], {})
        self.assertIsNone(self.first(directory, ""))
        self.assertEqual(directory, Directory([], {}))


class Notice(SynchronousTestCase):
    def setUp(self) -> None:
        server = Server(data=f"{os.getcwd()}/var", secret_file="/etc/mailx.secret", hostname="mail.example.test")
        self.config = Config(server=server)
        self.first = FirstAccount("me@localhost.test", "pass-word")

    def test_every_listener_is_named_once(self) -> None:
        text = notice(self.config, None, None)
        for port in (2525, 2587, 2465, 2143, 2993, 2555, 2580, 2581):
            self.assertEqual(text.count(f"127.0.0.1:{port}\n"), 1)
        self.assertNotIn("LMTP", text)
        self.assertNotIn("password", text)

    def test_what_is_off_is_not_named(self) -> None:
        config = evolve(self.config, smtp=SMTP(port=0, submissions_port=0), health=Health(port=0))
        text = notice(config, None, self.first)
        self.assertNotIn(":2525", text)
        self.assertNotIn("smtps://", text)
        self.assertNotIn("health", text)

    def test_addresses_of_version_6_are_bracketed(self) -> None:
        config = evolve(self.config, server=evolve(self.config.server, interface="::1"))
        self.assertIn("[::1]:2525\n", notice(config, None, None))

    def test_the_first_start_shows_account_and_commands(self) -> None:
        text = notice(self.config, Path(os.getcwd()) / "var/tls/self-signed.crt", self.first)
        self.assertEqual(text.count("pass-word"), 3)
        self.assertIn("--cacert var/tls/self-signed.crt", text)
        self.assertIn("smtps://localhost:2465", text)

    def test_the_set_up_of_an_administrator(self) -> None:
        text = notice(self.config, None, None, "a-code")
        self.assertRegex(text, r"(?m)^  set up the administrator at +http://localhost:2580/\n  with the code +a-code$")
        self.assertNotIn("set up", notice(self.config, None, None))
        self.assertNotIn("a-code", notice(evolve(self.config, panel=Panel(port=0)), None, None, "a-code"))
        exposed = evolve(self.config, panel=Panel(interface="192.0.2.1", expose=True, tls=True))
        self.assertIn(" https://mail.example.test:2580/\n", notice(exposed, None, None, "a-code"))
        self.assertIn("control panel (HTTPS)", notice(exposed, None, None))

    def test_localhost_is_named_where_it_leads_here(self) -> None:
        for interface, host in (("127.0.0.1", "localhost"), ("::", "localhost"), ("192.0.2.1", "mail.example.test")):
            config = evolve(self.config, server=evolve(self.config.server, interface=interface))
            self.assertIn(f"smtps://{host}:2465", notice(config, Path("self-signed.crt"), self.first))

    def test_a_real_certificate_is_trusted_as_it_is(self) -> None:
        text = notice(self.config, None, self.first)
        self.assertNotIn("--cacert", text)
        self.assertIn("imaps://mail.example.test:2993/INBOX", text)


class Recovery(SynchronousTestCase):
    """Recovery keys are told when they are made, and at no other start."""

    def test_each_stands_below_its_domain(self) -> None:
        text = notice(Config(), None, None, "", {"example.test": "mailx-recovery-1-AAAA", "second.test": "mailx-recovery-1-BBBB"})
        self.assertIn("shown this once", text)
        self.assertIn("  example.test\n    mailx-recovery-1-AAAA\n  second.test\n    mailx-recovery-1-BBBB\n", text)

    def test_without_new_keys_nothing_is_said(self) -> None:
        self.assertNotIn("ecovery", notice(Config(), None, None))

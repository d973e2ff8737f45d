"""What is allowed, but unsafe."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailx.config import Config, Relay
from mailx.core.dangers import dangers
from tests.scenery import configured


class Dangers(SynchronousTestCase):
    def keys(self, **sections: dict[str, Any]) -> list[str]:
        return [danger.key for danger in dangers(configured(**sections))]

    def test_the_defaults_are_safe(self) -> None:
        self.assertEqual(list(dangers(Config())), [])

    def test_the_webhook(self) -> None:
        self.assertEqual(self.keys(webhook={"signature": False}), ["webhook.signature"])
        self.assertEqual(self.keys(webhook={"signature": False, "port": 0}), [])
        self.assertEqual(self.keys(webhook={"secret": "short", "callback_secret": "x"}), ["webhook.secret", "webhook.callback_secret"])
        self.assertEqual(self.keys(webhook={"secret": "0123456789abcdef"}), [])

    def test_the_smart_host(self) -> None:
        self.assertEqual(self.keys(smarthost={"host": "a.example", "security": "plain"}), ["smarthost.security"])
        self.assertEqual(self.keys(smarthost={"host": "a.example", "verify": False}), ["smarthost.verify"])
        self.assertEqual(self.keys(smarthost={"host": "", "security": "plain", "verify": False}), [])

    def test_the_rest(self) -> None:
        self.assertEqual(self.keys(imap={"plaintext_login": True}), ["imap.plaintext_login"])
        self.assertEqual(self.keys(pop3={"plaintext_login": True}), ["pop3.plaintext_login"])
        self.assertEqual(self.keys(outbound={"tls": "off"}), ["outbound.tls"])
        relays = (Relay("a", ("a.example",), "plain"), Relay("b", ("b.example",), verify=False))
        self.assertEqual(self.keys(outbound={"relays": relays}), ["outbound.relays[0] (a)", "outbound.relays[1] (b)"])

    def test_no_secret_is_told(self) -> None:
        told = " ".join(str(danger) for danger in dangers(configured(webhook={"secret": "hunter2"})))
        self.assertIn("can be guessed", told)
        self.assertNotIn("hunter2", told)

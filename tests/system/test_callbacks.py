"""Callbacks of a real server to a real program, across kills."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailx.webhook_client import CallRefused, WebhookClient, verify_callback
from tests.system.server import ADDRESS, PATIENCE, Server

SECRET = "a secret that two programs share"


class Hook(ThreadingHTTPServer):
    """A program that is told. While ``away`` is set it takes callbacks and says nothing; it never answers those, ``back`` or not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.told: list[tuple[dict[str, Any], bool]] = []  # body, and whether its signature is good
        self.away = threading.Event()
        self.begun = threading.Event()
        self.back = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def events(self) -> list[tuple[int, str]]:
        """(queued id, event), each once, in the order of their first coming."""
        return list(dict.fromkeys((told["queued_id"], told["event"]) for told, _ in self.told))


class _Asked(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = verify_callback(SECRET, self.headers["X-TransLife-Timestamp"], self.headers["X-TransLife-Signature"], body)
        told = json.loads(body)
        if told["event_id"] != self.headers["X-TransLife-Event-Id"]:
            good = False
        self.server.begun.set()
        if self.server.away.is_set():
            self.server.back.wait(PATIENCE)  # an end of the connection would be a failure, after which it is some time before the next try
            return
        self.server.told.append((told, good))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing is written."""


class Callbacks(SynchronousTestCase):
    def serve(self, **more: str) -> WebhookClient:
        self.hook = Hook()
        self.addCleanup(self.hook.server_close)
        self.addCleanup(self.hook.shutdown)
        self.addCleanup(self.hook.back.set)
        threading.Thread(target=self.hook.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        settings = {
            "webhook.secret": f'"{SECRET}"',
            "webhook.sender_domain": '"localhost.test"',
            "webhook.callback_url": f'"{self.hook.url}"',
            "webhook.callback_networks": '["127.0.0.0/8"]',
            **more,
        }
        self.server = Server(self, settings)
        self.server.start()
        return WebhookClient(f"http://127.0.0.1:{self.server.ports['webhook.port']}", SECRET)

    def until_told(self, events: list[tuple[int, str]]) -> None:
        """Returns when all of ``events`` have come."""
        deadline = monotonic() + PATIENCE
        while not set(events) <= set(self.hook.events()):
            self.assertLess(monotonic(), deadline, f"{self.hook.events()}: {self.server.log()[-3000:]}")
            sleep(0.02)

    def test_told_and_asked(self) -> None:
        client = self.serve()
        accepted = client.message(ADDRESS, "News", text="It works.")
        id = accepted["queued_id"]
        self.until_told([(id, "queued"), (id, "delivered")])
        self.assertEqual(self.hook.events(), [(id, "queued"), (id, "delivered")])
        self.assertTrue(all(good for _, good in self.hook.told), self.hook.told)
        status = client.status(id)
        self.assertEqual((status["state"], status["to"], status["queued_at"]), ("delivered", ADDRESS, accepted["queued_at"]))
        with self.assertRaises(CallRefused) as raised:
            client.status(id + 1)
        self.assertEqual(raised.exception.status, 404)
        self.assertEqual(self.server.subjects(), ["News"])

    def test_private_networks_are_refused_by_default(self) -> None:
        client = self.serve(**{"webhook.callback_networks": "[]"})
        client.message(ADDRESS, "News", text="It works.")
        deadline = monotonic() + PATIENCE
        while "the address is not one that may be posted to" not in self.server.log():
            self.assertLess(monotonic(), deadline)
            sleep(0.02)
        self.assertFalse(self.hook.begun.is_set())

    def test_killed_while_posting(self) -> None:
        client = self.serve()
        self.hook.away.set()
        ids = [client.message(ADDRESS, f"News {number}", text="It works.")["queued_id"] for number in range(5)]
        self.assertTrue(self.hook.begun.wait(PATIENCE))
        self.server.kill()
        self.hook.away.clear()
        self.hook.back.set()
        self.server.start()
        self.until_told([(id, event) for id in ids[:1] for event in ("queued", "delivered")])
        for id in ids:
            told = [event for known, event in self.hook.events() if known == id]
            self.assertEqual(told, ["queued", "delivered"][: len(told)])
        names = {(told["queued_id"], told["event"]): told["event_id"] for told, _ in self.hook.told}
        self.assertEqual(len(set(names.values())), len(names))

    def test_suppressed(self) -> None:
        client = self.serve()
        self.server.ctl("suppression", "add", "gone@example.net")
        with self.assertRaises(CallRefused) as raised:
            client.message("Gone@Example.NET", "News", text="It works.")
        self.assertEqual((raised.exception.status, raised.exception.error), (422, "recipient suppressed"))
        self.server.ctl("suppression", "remove", "gone@example.net")
        self.assertTrue(client.message("gone@example.net", "News", text="It works.")["ok"])
        self.assertIn("suppression.remove", self.server.ctl("audit"))

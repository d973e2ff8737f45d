"""The client against the receiver at a real port; and what it does when things go wrong."""

import hashlib
import hmac
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import time
from typing import Any
from unittest.mock import patch

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.web.webhook.server import ReceiverService
from mailx.webhook_client import CallRefused, WebhookClient, attachment, verify_callback
from tests.web.webhook.scene import SECRET, scene


class Calling(TestCase):
    """A receiver that listens."""

    timeout = 240

    async def setUp(self) -> None:
        self.scene = await scene(self, port=0)
        reactor = self.scene.office.world.reactor
        unused: Any = None
        self.scene.receiver._wall = time
        self.service = ReceiverService(self.scene.receiver, self.scene.settings, unused, reactor)
        self.service.startService()
        self.addCleanup(self.service.stopService)
        port: Any = self.service.ports["webhook"].getHost()
        self.url = f"http://127.0.0.1:{port.port}/"

    async def test_calls(self) -> None:
        client = WebhookClient(self.url, SECRET)
        expires = "2099-02-21T06:00:00Z"
        first = await deferToThread(client.verify_email, "user@example.com", token="1", expires_at=expires)
        second = await deferToThread(client.reset_password, "user@example.com", token="2", expires_at=expires, link="https://example.com/r")
        files = [attachment("a.pdf", b"\0", "application/pdf"), attachment("l.png", b"1", "image/png", content_id="l", inline=True)]
        third = await deferToThread(client.message, "user@example.com", "Hi", text="x", html="<p>x", attachments=files)
        self.assertEqual([each["queued_id"] for each in (first, second, third)], [1, 2, 3])
        self.assertEqual(len(await self.scene.office.entries()), 3)
        status = await deferToThread(client.status, 2)
        self.assertEqual(status["queued_id"], 2)

    async def test_one_key_one_mail(self) -> None:
        client = WebhookClient(self.url, SECRET)
        values = {"type": "message", "to": "user@example.com", "subject": "Hi", "text": "x"}
        answers = [await deferToThread(client.send, values, "key-1") for _ in range(2)]
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(len(await self.scene.office.entries()), 1)

    async def test_refused(self) -> None:
        for client, status, error, field in (
            (WebhookClient(self.url, "other"), 401, "invalid signature", ""),
            (WebhookClient(self.url), 401, "missing signature", ""),
            (WebhookClient(self.url, SECRET), 400, "invalid to: ", "to"),
        ):
            with self.assertRaises(CallRefused) as caught:
                await deferToThread(client.message, "nobody", "Hi", text="x")
            refused = caught.exception
            self.assertEqual((refused.status, refused.field), (status, field))
            self.assertTrue(refused.error.startswith(error))


class Trouble(SynchronousTestCase):
    """A server that fails at first."""

    def serve(self, answers: list[tuple[int, dict[str, str], bytes]]) -> tuple[str, list[str]]:
        keys: list[str] = []

        class Once(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                keys.append(self.headers["Idempotency-Key"])
                status, headers, body = answers.pop(0)
                if not status:
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        server = HTTPServer(("127.0.0.1", 0), Once)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}", keys

    def waits(self, call: Callable[[], object]) -> list[float]:
        waited: list[float] = []
        with patch("mailx.webhook_client.time.sleep", waited.append):
            call()
        return waited

    def test_tried_again_with_the_same_key(self) -> None:
        url, keys = self.serve([(503, {"Retry-After": "7"}, b"{}"), (0, {}, b""), (200, {}, b'{"ok": true, "queued_id": 1}')])
        waited = self.waits(lambda: WebhookClient(url).message("a@b.example", "s", text="x"))
        self.assertEqual(waited, [7.0, 1.0])
        self.assertEqual(len(set(keys)), 1)
        self.assertEqual(len(keys), 3)

    def test_not_for_ever(self) -> None:
        url, _ = self.serve([(503, {"Retry-After": "99999"}, b"no JSON")] * 3)
        waited = self.waits(lambda: self.assertRaises(CallRefused, WebhookClient(url).message, "a@b.example", "s", text="x"))
        self.assertEqual(waited, [30.0, 30.0])

    def test_somebody_else_there(self) -> None:
        for body in (b"<html>", b"\xff", b"[1]", b"5"):
            url, _ = self.serve([(200, {}, body)] * 3)
            self.waits(lambda url=url: self.assertRaises(OSError, WebhookClient(url).message, "a@b.example", "s", text="x"))  # type: ignore[misc]

    def test_nobody_there(self) -> None:
        url, _ = self.serve([(0, {}, b"")] * 3)
        self.waits(lambda: self.assertRaises(OSError, WebhookClient(url).message, "a@b.example", "s", text="x"))


class Callbacks(SynchronousTestCase):
    """Whose callback it is."""

    def test_verified(self) -> None:
        body, now = b'{"event": "delivered"}', datetime.now(UTC)
        old, none = "2001-01-01T00:00:00Z", "x"
        for timestamp, good in ((now.isoformat(), True), (now.strftime("%Y-%m-%dT%H:%M:%SZ"), True), (old, False), (none, False)):
            signature = hmac.new(b"s", timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            self.assertEqual(verify_callback("s", timestamp, signature, body), good, timestamp)
            self.assertFalse(verify_callback("s", timestamp, signature, body + b" "))
            self.assertFalse(verify_callback("t", timestamp, signature, body))
            self.assertFalse(verify_callback("s", timestamp, "é", body))

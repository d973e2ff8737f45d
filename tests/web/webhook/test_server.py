"""The receiver as a service: its port by TLS, and its end."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.ops.certificates import Certificates
from mailx.web.webhook.server import ReceiverService
from tests.web.webhook.scene import BODY, PATH, Scene, scene, sign


class Ports(TestCase):
    """A real port."""

    timeout = 240

    async def serve(self, **webhook: Any) -> tuple[Scene, ReceiverService, int]:
        made = await scene(self, port=0, **webhook)
        tls = Certificates(TLS(), Path(made.office.world.directory), "localhost.test")
        reactor = made.office.world.reactor
        service = ReceiverService(made.receiver, made.settings, tls, reactor)
        service.startService()
        self.addCleanup(service.stopService)
        host: Any = service.ports["webhook"].getHost()
        return made, service, host.port

    async def test_tls(self) -> None:
        _, _, port = await self.serve(tls=True)
        raw = json.dumps(BODY).encode()

        def call() -> tuple[int, bytes]:
            trust = ssl.create_default_context()
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=trust)
            connection.request("POST", PATH, raw, {"Content-Type": "application/json", **sign(raw)})
            answer = connection.getresponse()
            said = answer.read()
            connection.close()
            return answer.status, said

        status, said = await deferToThread(call)
        self.assertEqual((status, json.loads(said)["queued_id"]), (200, 1))

    async def test_ends_with_idle_connections(self) -> None:
        _, service, port = await self.serve()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def ask() -> int:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            return answer.status

        self.assertEqual(await deferToThread(ask), 200)
        await service.stopService()
        self.assertEqual(service.ports, {})
        connection.close()

    async def test_a_sender_that_the_settings_spoil(self) -> None:
        made, _, _ = await self.serve()
        for values in ({"sender_local": "a\r\nBcc: x"}, {"sender_local": ""}, {"sender_local": "a", "sender_name": "b\nc"}):
            await made.change(**values)
            said = await made.post(BODY)
            self.assertEqual((said.status, said.json["error"]), (503, "sender not configured"))

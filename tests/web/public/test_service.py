"""The port of the public site, over real TLS on loopback."""

import ssl
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.identity.documents import PATH
from mailx.ops.certificates import Certificates
from mailx.web.public.service import PublicService
from mailx.web.public.site import PublicSite
from mailx.web.public.well_known import WellKnown


class Service(TestCase):
    timeout = 240

    async def test_the_document_over_https(self) -> None:
        directory = Path(self.mktemp())
        tls = Certificates(TLS(), directory, "localhost")
        site = PublicSite([WellKnown({"localhost": b"{}"}.get)], reactor)
        service = PublicService(site, "127.0.0.1", 0, tls, reactor)
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        listening: Any = service.port
        port = listening.getHost().port
        context = ssl.create_default_context(cafile=str(directory / "tls" / "self-signed.crt"))

        def ask() -> tuple[HTTPResponse, bytes]:
            connection = HTTPSConnection("localhost", port, context=context, timeout=120)
            connection.request("GET", PATH)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer, body

        answer, body = await deferToThread(ask)
        self.assertEqual((answer.status, body, answer.headers["content-type"]), (200, b"{}", "application/json"))
        self.assertIsNone(answer.headers["strict-transport-security"])
        stopped: Any = service.stopService()
        await stopped
        with self.assertRaises(OSError):
            await deferToThread(ask)
        self.assertIsInstance(stopped, Deferred)

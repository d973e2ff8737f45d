"""Requests and answers in memory: never more than a little."""

from io import BytesIO
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from mailx.ops.site import BODY_LIMIT, InternalSite
from tests.core.behind import Behind


class Taking(Resource):
    isLeaf = True
    taken = b""

    def render_POST(self, request: Any) -> bytes:
        assert isinstance(request.content, BytesIO)
        self.taken = request.content.read()
        return b"taken"

    def render_GET(self, request: Any) -> bytes:
        return b"x" * 10000


class BodyTests(SynchronousTestCase):
    def post(self, head: bytes, body: bytes) -> bytes:
        resource = Taking()
        connection = InternalSite(resource).buildProtocol(None)
        transport = StringTransport()
        connection.makeConnection(transport)
        connection.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % head)
        for start in range(0, len(body), 65536):
            connection.dataReceived(body[start : start + 65536])
        self.assertIn(b"taken", transport.value())
        connection.connectionLost(Failure(ConnectionDone()))
        return resource.taken

    def test_small(self) -> None:
        self.assertEqual(self.post(b"Content-Length: 5", b"hello"), b"hello")

    def test_endless(self) -> None:
        body = b"x" * (3 * BODY_LIMIT)
        self.assertEqual(len(self.post(b"Content-Length: %d" % len(body), body)), BODY_LIMIT + 1)
        chunked = b"".join(b"10000\r\n%b\r\n" % (b"x" * 65536) for _ in range(40)) + b"0\r\n\r\n"
        self.assertEqual(len(self.post(b"Transfer-Encoding: chunked", chunked)), BODY_LIMIT + 1)


class AnswerTests(SynchronousTestCase):
    def test_a_client_that_reads_nothing(self) -> None:
        """Its requests wait, also those that are here already, and are all answered when it reads."""
        connection = InternalSite(Taking()).buildProtocol(None)
        transport = StringTransport()
        connection.makeConnection(transport)
        reader = Behind(transport)
        connection.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        self.assertLess(len(transport.value()), 2 * Behind.LIMIT)
        self.assertEqual(transport.producerState, "paused")
        answers = 0
        while reader.behind:
            answers += reader.read().count(b"HTTP/1.1 200 OK")
        self.assertEqual(answers + transport.value().count(b"HTTP/1.1 200 OK"), 100)
        self.assertEqual(transport.producerState, "producing")
        connection.connectionLost(Failure(ConnectionDone()))

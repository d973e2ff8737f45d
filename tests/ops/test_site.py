"""Bodies of requests: in memory, and never more than a little."""

from io import BytesIO
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from mailx.ops.site import BODY_LIMIT, InternalSite


class Taking(Resource):
    isLeaf = True
    taken = b""

    def render_POST(self, request: Any) -> bytes:
        assert isinstance(request.content, BytesIO)
        self.taken = request.content.read()
        return b"taken"


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

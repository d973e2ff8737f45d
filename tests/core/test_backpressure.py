"""Clients that send requests and take no answers: the requests wait, none is lost, and their order stays."""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPFactory, Request

from mailx.core.backpressure import PressedChannel
from tests.core.behind import Behind

SIZE = 10000  # octets of an answer


class Answered(Request):
    """A request for ``/later`` is begun at once, and ended by the test."""

    channel: Any

    def process(self) -> None:
        asked = self.channel.factory.asked
        asked.append(self)
        self.write(self.uri.ljust(Behind.LIMIT if self.uri == b"/later" else SIZE))  # type: ignore[no-untyped-call]
        if self.uri != b"/later":
            self.finish()  # type: ignore[no-untyped-call]


class Factory(HTTPFactory):
    protocol = PressedChannel  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = Answered
        return channel


class Pressed(SynchronousTestCase):
    def setUp(self) -> None:
        self.factory = Factory()
        self.channel = self.factory.buildProtocol(None)
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)
        self.addCleanup(self.channel.connectionLost, Failure(ConnectionDone()))
        self.reader = Behind(self.transport)

    def send(self, *paths: str) -> None:
        self.channel.dataReceived(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths))

    @property
    def asked(self) -> list[str]:
        return [request.uri.decode() for request in self.factory.asked]

    def test_requests_in_one_piece(self) -> None:
        paths = [f"/{number}" for number in range(100)]
        self.send(*paths)
        self.assertLess(len(self.transport.value()), Behind.LIMIT + 2 * SIZE)
        self.assertEqual(self.transport.producerState, "paused")
        while self.reader.behind:
            self.assertLess(len(self.reader.read()), Behind.LIMIT + 2 * SIZE)
        self.assertEqual(self.asked, paths)
        self.assertEqual(self.transport.producerState, "producing")

    def test_requests_that_still_came(self) -> None:
        """What TLS had in hand when it was told to pause is brought all the same."""
        self.send(*["/"] * 7)
        self.assertTrue(self.reader.behind)
        self.send("/more")
        self.send("/last")
        self.assertEqual(len(self.asked), 7)
        self.reader.read()
        self.assertEqual(self.asked[7:], ["/more", "/last"])

    def test_an_answer_that_takes_its_time(self) -> None:
        """Its client is behind, catches up, and gets the rest; what it asked for meanwhile comes after it."""
        self.send("/later", "/next", "/last")
        self.assertTrue(self.reader.behind)
        self.reader.read()
        self.assertEqual(self.asked, ["/later"])
        self.factory.asked[0].finish()
        self.assertEqual(self.asked, ["/later", "/next", "/last"])
        self.assertEqual(self.transport.producerState, "producing")

    def test_an_answer_that_ends_while_its_client_is_behind(self) -> None:
        self.send("/later", "/next")
        self.factory.asked[0].finish()
        self.assertEqual((self.asked, self.transport.producerState), (["/later"], "paused"))
        self.reader.read()
        self.assertEqual((self.asked, self.transport.producerState), (["/later", "/next"], "producing"))

"""Ports bound early and given out later, over real sockets."""

import socket

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.ops.sockets import BoundPorts, PortTaken
from tests.system.server import free_ports


class Binding(TestCase):
    def setUp(self) -> None:
        self.ports = BoundPorts(reactor)
        self.addCleanup(self.ports.release)
        (self.port,) = free_ports(1)
        self.factory = Factory.forProtocol(Protocol)
        self.factory.noisy = False

    def connect(self) -> None:
        socket.create_connection(("127.0.0.1", self.port), 5).close()

    async def test_a_bound_port_is_silent_until_it_is_listened_on(self) -> None:
        self.ports.bind("smtp.port", "127.0.0.1", self.port)
        self.assertRaises(ConnectionRefusedError, self.connect)
        listening = self.ports.listenTCP(self.port, self.factory, interface="127.0.0.1")
        self.connect()
        self.assertEqual((listening.getHost().host, listening.getHost().port), ("127.0.0.1", self.port))
        await listening.stopListening()
        self.assertRaises(ConnectionRefusedError, self.connect)

    async def test_a_port_that_was_not_bound_is_bound_now(self) -> None:
        listening = self.ports.listenTCP(self.port, self.factory, interface="127.0.0.1")
        self.connect()
        await listening.stopListening()

    def test_what_nobody_asked_for_is_given_up(self) -> None:
        self.ports.bind("smtp.port", "127.0.0.1", self.port)
        self.ports.release()
        with socket.create_server(("127.0.0.1", self.port)):
            self.connect()

    def test_a_taken_port_is_named_with_its_remedy(self) -> None:
        with socket.create_server(("127.0.0.1", self.port)):
            error = self.assertRaises(PortTaken, self.ports.bind, "imap.port", "127.0.0.1", self.port)
        self.assertEqual(
            str(error),
            f"imap.port = {self.port}: cannot listen on 127.0.0.1 (Address already in use); "
            "stop what uses it, or choose another port (here or by MAILX_IMAP__PORT)",
        )

    def test_a_port_that_another_listens_on_first_is_named(self) -> None:
        """Two may bind a port as long as nobody listens."""
        self.ports.bind("imap.port", "127.0.0.1", self.port)
        with socket.create_server(("127.0.0.1", self.port)):
            error = self.assertRaises(PortTaken, self.ports.listenTCP, self.port, self.factory, 50, "127.0.0.1")
        self.assertTrue(str(error).startswith(f"imap.port = {self.port}: cannot listen on 127.0.0.1"), error)

    def test_it_stands_in_for_the_reactor(self) -> None:
        clock = Clock()
        ports = BoundPorts(clock)
        ports.callLater(1, lambda: None)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        self.assertTrue(IReactorTime.providedBy(ports))
        self.assertTrue(IReactorTCP.providedBy(self.ports))

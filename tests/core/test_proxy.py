"""The PROXY protocol: both versions, every cut, trusted networks only."""

import struct
from socket import AF_INET6, inet_aton, inet_pton
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import proxy

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = IPv4Address("TCP", "203.0.113.9", 4242)
V1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 4242 25\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::9 2001:db8::1 4242 25\r\n"
V2 = SIGNATURE + b"\x21\x11\0\x0c" + inet_aton("203.0.113.9") + inet_aton("192.0.2.1") + struct.pack("!HH", 4242, 25)
V2_SIX = SIGNATURE + b"\x21\x21\0\x29" + inet_pton(AF_INET6, "2001:db8::9") * 2 + struct.pack("!HH", 4242, 25) + b"\x04\0\x02ab"
V2_LOCAL = SIGNATURE + b"\x20\0\0\0"


class Inner(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def connectionMade(self) -> None:
        self.transport.write(b"220 hello\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class ProxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.built: list[Inner] = []
        self.addresses: list[Any] = []
        self.clock = Clock()
        self.factory = proxy.wrap(Factory.forProtocol(Inner), ["10.0.0.0/8", "fd00::/8"], self.clock)

    def connect(self, host: str = "10.1.2.3") -> tuple[Any, Any]:
        peer = IPv6Address("TCP", host, 999) if ":" in host else IPv4Address("TCP", host, 999)
        transport = Aborting(peerAddress=peer)
        protocol = self.factory.buildProtocol(peer)
        protocol.makeConnection(transport)
        return protocol, transport

    def test_headers(self) -> None:
        for header, host in ((V1, "203.0.113.9"), (V1_SIX, "2001:db8::9"), (V2, "203.0.113.9"), (V2_SIX, "2001:db8::9")):
            protocol, transport = self.connect()
            self.assertEqual(transport.value(), b"")
            protocol.dataReceived(header + b"EHLO x\r\n")
            inner = protocol._inner
            self.assertEqual(transport.value(), b"220 hello\r\n", header)
            self.assertEqual(inner.data, b"EHLO x\r\n")
            self.assertEqual((inner.transport.getPeer().host, inner.transport.getPeer().port), (host, 4242))
            self.assertEqual(inner.transport.getHost().port, 25)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_proxy_itself(self) -> None:
        """LOCAL and UNKNOWN connections keep the proxy's own address."""
        for header in (V2_LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", SIGNATURE + b"\x21\0\0\0"):
            protocol, _ = self.connect()
            protocol.dataReceived(header)
            self.assertEqual(protocol._inner.transport.getPeer().host, "10.1.2.3")

    @given(st.sampled_from([V1, V1_SIX, V2, V2_SIX, V2_LOCAL]))
    def test_octet_by_octet(self, header: bytes) -> None:
        protocol, transport = self.connect()
        for octet in header + b"data":
            self.assertFalse(transport.aborted)
            protocol.dataReceived(bytes([octet]))
        self.assertEqual(protocol._inner.data, b"data")

    def test_refused(self) -> None:
        for data in (
            b"EHLO x\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4242\r\n",
            b"PROXY TCP4 2001:db8::9 192.0.2.1 4242 25\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 99999 25\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 -1 25\r\n",
            b"PROXY " + b"x" * 200,
            b"PROXY\r\n",
            SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
            SIGNATURE + b"\x21\x11\xff\xff",
            SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
        ):
            protocol, transport = self.connect()
            protocol.dataReceived(data)
            self.assertTrue(transport.aborted, data)
            self.assertIsNone(protocol._inner)
            self.assertEqual(transport.value(), b"")
            protocol.dataReceived(V1)
            self.assertIsNone(protocol._inner)

    @given(st.binary(max_size=150))
    def test_any_octets(self, data: bytes) -> None:
        """Whatever comes: a header, an end, or waiting; never more is kept than the longest header."""
        for start in (b"", b"PROXY ", SIGNATURE):
            try:
                header = proxy.parse(start + data)
            except proxy.Malformed:
                continue
            if header is not None:
                self.assertLessEqual(header.length, len(start + data))

    def test_late(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(b"PROXY ")
        self.clock.advance(proxy.PATIENCE + 1)
        self.assertTrue(transport.aborted)

    def test_others(self) -> None:
        """Whoever is not in the networks is served as it is, and cannot claim an address."""
        protocol, transport = self.connect("192.0.2.7")
        protocol.dataReceived(V1)
        self.assertIsInstance(protocol, Inner)
        self.assertEqual((protocol.data, protocol.transport.getPeer().host), (V1, "192.0.2.7"))

    def test_mapped(self) -> None:
        """An IPv4 proxy on a dual-stack socket is trusted by its IPv4 address."""
        self.assertIsInstance(self.connect("::ffff:10.1.2.3")[0], proxy.ProxiedProtocol)
        self.assertIsInstance(self.connect("fd00::1")[0], proxy.ProxiedProtocol)
        self.assertIsInstance(self.connect("::1")[0], Inner)

    def test_none(self) -> None:
        factory = Factory()
        self.assertIs(proxy.wrap(factory, []), factory)

    def test_end(self) -> None:
        protocol, _ = self.connect()
        protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        protocol, _ = self.connect()
        protocol.dataReceived(V1)
        protocol.connectionLost()
        self.assertTrue(protocol._inner.lost)

    def test_interfaces(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(V1)
        self.assertEqual(ITCPTransport.providedBy(protocol._inner.transport), ITCPTransport.providedBy(transport))


class Aborting(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

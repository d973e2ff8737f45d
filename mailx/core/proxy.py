"""PROXY protocol, versions 1 and 2: a front proxy tells a listener who the client is. Shared by every edge.

``wrap(factory, networks)`` lets connections from ``networks`` begin with a header, which they must; all others reach
``factory`` untouched, so nobody else can claim an address. After the header the inner protocol is built and sees a
transport whose ``getPeer`` and ``getHost`` tell the client's end. A header that is malformed, too long or not there
within ``PATIENCE`` seconds ends the connection without a word.
"""

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6
from ipaddress import ip_address, ip_network
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHandshakeListener, IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

log = Logger()

PATIENCE = 10.0
_V1_LIMIT = 107  # octets of a version 1 header with its CRLF
_V2_LIMIT = 4096  # octets of addresses and TLVs that a version 2 header may carry here
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Malformed(ValueError):
    """The connection does not begin with a PROXY header."""


@frozen
class Header:
    """What a header says: the client's end and ours, or None for connections of the proxy itself (health checks)."""

    source: IAddress | None
    destination: IAddress | None
    length: int  # octets of the header


def parse(data: bytes) -> Header | None:
    """The header that ``data`` begins with; None if more octets are needed; raises Malformed."""
    if data.startswith(_V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(b"PROXY "):
        return _parse_v1(data)
    if _V2_SIGNATURE.startswith(data) or b"PROXY ".startswith(data):
        return None
    raise Malformed("no PROXY header")


def _parse_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _V1_LIMIT)
    if end < 0:
        if len(data) >= _V1_LIMIT:
            raise Malformed("version 1 header too long")
        return None
    words = data[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Header(None, None, end + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise Malformed("malformed version 1 header")
    family = IPv4 if words[1] == "TCP4" else IPv6
    source, destination = (_endpoint(family, address, port) for address, port in ((words[2], words[4]), (words[3], words[5])))
    return Header(source, destination, end + 2)


def _endpoint(family: type[IPv4] | type[IPv6], address: str, port: str) -> IAddress:
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise Malformed("malformed port")
    try:
        return _address(family(address), int(port))
    except ValueError:
        raise Malformed("malformed address") from None


def _address(address: IPv4 | IPv6, port: int) -> IAddress:
    if isinstance(address, IPv6):
        if address.ipv4_mapped is None:
            return IPv6Address("TCP", str(address), port)
        address = address.ipv4_mapped
    return IPv4Address("TCP", str(address), port)


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    version_command, family, length = struct.unpack_from("!BBH", data, 12)
    if version_command >> 4 != 2 or version_command & 15 > 1:
        raise Malformed("unknown version 2 command")
    if length > _V2_LIMIT:
        raise Malformed("version 2 header too long")
    if len(data) < 16 + length:
        return None
    source: IAddress | None = None
    destination: IAddress | None = None
    if version_command & 15 == 1 and family in (0x11, 0x21):  # PROXY of a TCP connection; anything else has no address
        width = 4 if family == 0x11 else 16
        if length < 2 * width + 4:
            raise Malformed("version 2 header too short")
        addresses = data[16 : 16 + 2 * width]
        ports = struct.unpack_from("!HH", data, 16 + 2 * width)
        make = IPv4 if width == 4 else IPv6
        source = _address(make(addresses[:width]), ports[0])
        destination = _address(make(addresses[width:]), ports[1])
    return Header(source, destination, 16 + length)


def wrap(factory: IProtocolFactory, networks: Iterable[str], reactor: Any = None) -> IProtocolFactory:
    """``factory`` behind the PROXY protocol for connections from ``networks`` (CIDR); with none, ``factory`` itself."""
    trusted = tuple(ip_network(network, strict=False) for network in networks)
    return ProxyFactory(factory, trusted, reactor) if trusted else factory


class ProxyFactory(WrappingFactory):
    """Builds the inner protocol at once for direct clients, after the header for trusted proxies."""

    def __init__(self, factory: IProtocolFactory, trusted: tuple[Any, ...], reactor: Any = None) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._trusted = trusted
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]
        if self.trusts(addr):
            return ProxiedProtocol(self)
        inner: IProtocol | None = self.wrappedFactory.buildProtocol(addr)
        return inner

    def trusts(self, addr: IAddress) -> bool:
        try:
            address = ip_address(getattr(addr, "host", "").partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)


@implementer(IHandshakeListener)
class ProxiedProtocol(Protocol):
    """Reads the header, then passes everything on to the inner protocol."""

    transport: Any

    def __init__(self, factory: ProxyFactory) -> None:
        self.factory: ProxyFactory = factory
        self._header = b""
        self._inner: IProtocol | None = None
        self._deadline: Any = None
        self._ended = False

    def connectionMade(self) -> None:
        self._deadline = self.factory.reactor.callLater(PATIENCE, self._late)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        if self._ended:
            return
        self._header += data
        try:
            header = parse(self._header)
        except Malformed as error:
            self._end(str(error))
            return
        if header is not None:
            self._deadline.cancel()
            self._deadline = None
            self._begin(header)

    def _begin(self, header: Header) -> None:
        transport = Relayed(self.transport, header)
        inner = self.factory.wrappedFactory.buildProtocol(transport.getPeer())
        if inner is None:
            self._ended = True
            self.transport.loseConnection()
            return
        self._inner = inner
        rest, self._header = self._header[header.length :], b""
        inner.makeConnection(transport)
        if rest:
            inner.dataReceived(rest)

    def handshakeCompleted(self) -> None:
        """TLS that the inner protocol began is told to whoever is the transport's protocol: this one."""
        if IHandshakeListener.providedBy(self._inner):
            self._inner.handshakeCompleted()

    def _late(self) -> None:
        self._deadline = None
        self._end("no header in time")

    def _end(self, reason: str) -> None:
        self._ended = True
        peer = self.transport.getPeer()
        log.warn("PROXY header refused", event="proxy.refused", client_ip=getattr(peer, "host", ""), reason=reason)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._inner is not None:
            self._inner.connectionLost(reason)


class Relayed:
    """The transport as the inner protocol sees it: all of the real one, but for whose ends it names."""

    def __init__(self, transport: Any, header: Header) -> None:
        self._transport = transport
        self._header = header
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def getPeer(self) -> IAddress:
        peer: IAddress = self._header.source or self._transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        host: IAddress = self._header.destination or self._transport.getHost()
        return host

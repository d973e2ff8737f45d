"""Peers that misbehave: any chain of certificates, any octets, on 127.0.0.1; and certificates that no honest server makes."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from mailx.federation.banana import Expression, Reader, integer
from mailx.federation.banana_limits import BananaLimits, Violation
from mailx.federation.certificates import Issued

DIALECT = b"\x02\x82pb\x02\x80\x13\x87\x06\x81"  # the client's choice, and the version


def banana(value: Any) -> bytes:
    """Banana of nested lists, numbers and strings, without limits."""
    if isinstance(value, list):
        return integer(len(value))[:-1] + b"\x80" + b"".join(map(banana, value))
    if isinstance(value, int):
        return integer(value)
    return integer(len(value))[:-1] + b"\x82" + bytes(value)


def fields(**given: Any) -> list[Any]:
    """The jelly of named arguments whose values are jelly already."""
    return [b"dictionary", *([[b"unicode", name.encode()], value] for name, value in given.items())]


def message(identifier: int, name: bytes, method: bytes, arguments: Any = None, answer: int = 1) -> bytes:
    """A call."""
    return banana([b"message", identifier, name, method, answer, [b"tuple"], [b"dictionary"] if arguments is None else arguments])


HELLO = message(1, b"root", b"hello", fields(versions=[b"list", 1], calls=4))


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class TLS:
    """Connections of one context."""

    def __init__(self, context: SSL.Context, name: str = "there.example") -> None:
        self.context, self.name = context, name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self.context, None)
        if self.name:
            connection.set_tlsext_host_name(self.name.encode())
        return connection

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


def context(chain: list[bytes], private: Any, most: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    """A context that shows ``chain`` (DER) and believes everybody."""
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_max_proto_version(most)
    made.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if chain:
        leaf, *others = (x509.load_der_x509_certificate(each) for each in chain)
        made.use_certificate(leaf)
        for each in others:
            made.add_extra_chain_cert(each)
        made.use_privatekey(private)
    return made


def showing(issued: Issued, most: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    """A context of an honest certificate."""
    return context(list(issued.chain), load_der_private_key(issued.private, None), most)


class Forger:
    """Makes chains: ``authority`` signs a leaf for ``domain``; whatever is given is changed in them."""

    def __init__(self, authority: Ed25519PrivateKey, domain: str) -> None:
        self.authority, self.domain = authority, domain
        self.private: Any = Ed25519PrivateKey.generate()

    def chain(self, *, signer: Ed25519PrivateKey | None = None, start: float = -1, days: float = 2, **changes: Any) -> list[bytes]:
        """The leaf (signed by ``signer`` in place of the authority) and the authority."""
        begin = datetime.now(UTC) + timedelta(hours=start)
        end = begin + timedelta(days=days)
        names = changes.get("names", [x509.DNSName(self.domain)])
        ca_flag = changes.get("ca", True)
        ca = self._certificate("MailX", self.authority.public_key(), begin, end)
        ca = ca.add_extension(x509.BasicConstraints(ca=ca_flag, path_length=0 if ca_flag else None), critical=True)
        ca = ca.add_extension(_usage(True), critical=True)
        permitted = changes.get("permitted", [x509.DNSName(self.domain)])
        if permitted:
            ca = ca.add_extension(x509.NameConstraints(permitted, None), critical=True)
        leaf = self._certificate(self.domain, self.private.public_key(), begin, end)
        leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        leaf = leaf.add_extension(_usage(False), critical=True)
        purposes = changes.get("purposes", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        leaf = leaf.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if names:
            leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = [leaf.sign(signer or self.authority, None), ca.sign(self.authority, None)]
        return [each.public_bytes(Encoding.DER) for each in made]

    def _certificate(self, name: str, public: Any, begin: datetime, end: datetime) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MailX")])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        **{"digital_signature": not authority, "key_cert_sign": authority, "content_commitment": False, "key_encipherment": False},
        **{"data_encipherment": False, "key_agreement": False, "crl_sign": False, "encipher_only": False, "decipher_only": False},
    )


@implementer(IHandshakeListener)
class Raw(Protocol):
    """One end that sends what the test wants. ``heard`` are the expressions that came; ``ended`` fires at the end."""

    def __init__(self) -> None:
        self.heard: list[Expression] = []
        self.octets = 0
        self.shaken: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.over = False
        self._reader = Reader(BananaLimits(octets=2**30, string=2**30))
        self._wanted: list[tuple[int, Deferred[None]]] = []

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)  # never, when there is none

    def dataReceived(self, data: bytes) -> None:
        self.octets += len(data)
        with suppress(Violation):  # TLS, when this end speaks none
            self.heard += [expression for expression, _ in self._reader.feed(data)]
        self._tell()

    def connectionLost(self, reason: Any = None) -> None:
        self.over = True
        self._tell()
        self.ended.callback(None)

    async def hear(self, count: int) -> None:
        """``count`` expressions have come, or the connection has ended."""
        if len(self.heard) < count and not self.over:
            wanted: Deferred[None] = Deferred()
            self._wanted.append((count, wanted))
            await wanted

    def _tell(self) -> None:
        for count, wanted in list(self._wanted):
            if len(self.heard) >= count or self.over:
                self._wanted.remove((count, wanted))
                wanted.callback(None)

    @property
    def wire(self) -> Any:
        return self.transport


async def connected(reactor: Any, port: int, tls: TLS | None) -> Raw:
    """A raw client of ``port``; without ``tls`` in the clear."""
    raw = Raw()
    inner: Any = Factory.forProtocol(lambda: raw)
    factory = inner if tls is None else TLSMemoryBIOFactory(tls, True, inner)
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port, timeout=120).connect(factory)
    return raw


class RawServer(Factory):
    """A raw server: each connection is a :class:`Raw`; ``next`` fires with the first."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Raw] = []

    def buildProtocol(self, addr: Any) -> Any:
        raw = Raw()
        self.made.append(raw)
        return raw


def listening(reactor: Any, tls: TLS | None) -> tuple[Any, RawServer]:
    """A raw server on a free port."""
    server = RawServer()
    factory = server if tls is None else TLSMemoryBIOFactory(tls, False, server)
    return reactor.listenTCP(0, factory, interface="127.0.0.1"), server

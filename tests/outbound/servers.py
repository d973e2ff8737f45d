"""Mail servers and certificates on loopback for tests of mail out to the recipients' own servers."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import TestCase

reactor: Any = _reactor


@frozen
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def tlsa(self) -> str:
        """The TLSA record "3 1 1" for it."""
        spki = self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"3 1 1 {sha256(spki).hexdigest()}"

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def options(self) -> CertificateOptions:
        """For a server that shows it."""
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(self.key), certificate=crypto.X509.from_cryptography(self.certificate)
        )


def issue(*names: str, issuer: Issued | None = None, days: int = 9, authority: bool = False) -> Issued:
    """A certificate for ``names``; ended if ``days`` is negative; without ``issuer`` its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer.certificate.subject if issuer else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=99),
        now + timedelta(days=days),
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@cache
def root() -> Issued:
    """The authority that tests believe."""
    return issue("Authority of the tests", authority=True)


@define
class MailServer:
    """How a server behaves, and what it has got."""

    certificate: Issued | None = None  # announces STARTTLS if set
    greeting: str = "220 mx.example.org ESMTP"
    extensions: Sequence[str] = ("PIPELINING", "8BITMIME")
    rcpt: str = "250 2.1.5 fine"
    final: str = "250 2.0.0 taken"
    starttls: str = "220 go on"
    closes: bool = False  # after each message, without a word
    port: int = 0
    sessions: int = 0
    encrypted: int = 0  # sessions
    names: list[bytes | None] = field(factory=list)  # asked for by SNI
    messages: list[tuple[str, list[str], bytes]] = field(factory=list)  # sender, recipients, content


class _Session(LineReceiver):
    def __init__(self, server: MailServer) -> None:
        self.server = server
        self.tls = False
        self.lines: list[bytes] | None = None
        self.sender = ""
        self.recipients: list[str] = []

    def connectionMade(self) -> None:
        self.server.sessions += 1
        self.say(self.server.greeting)

    def say(self, line: str) -> None:
        self.sendLine(line.encode())

    def lineReceived(self, line: bytes) -> None:
        server = self.server
        if self.lines is not None:
            if line == b".":
                content = b"".join(one + b"\r\n" for one in self.lines)
                server.messages.append((self.sender, self.recipients, content))
                self.lines, self.recipients = None, []
                self.say(server.final)
                if server.closes:
                    self.transport.loseConnection()  # type: ignore[union-attr]
            else:
                self.lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            return
        verb = line[:4].upper()
        if verb == b"EHLO":
            words = ["mx.example.org", *server.extensions]
            if server.certificate is not None and not self.tls:
                words.append("STARTTLS")
            for word in words[:-1]:
                self.say(f"250-{word}")
            self.say(f"250 {words[-1]}")
        elif verb == b"STAR":
            self.say(server.starttls)
            if server.starttls.startswith("2") and server.certificate is not None:
                options = server.certificate.options()
                options.getContext().set_tlsext_servername_callback(self._named)
                self.transport.startTLS(options)  # type: ignore[union-attr]
                self.tls = True
                server.encrypted += 1
        elif verb == b"MAIL":
            self.sender = line[11:].partition(b">")[0].decode()
            self.say("250 2.1.0 fine")
        elif verb == b"RCPT":
            if server.rcpt.startswith("2"):
                self.recipients.append(line[9:].partition(b">")[0].decode())
            self.say(server.rcpt)
        elif verb == b"DATA":
            if self.recipients:
                self.lines = []
                self.say("354 go on")
            else:
                self.say("503 5.5.1 nobody")
        elif verb == b"QUIT":
            self.say("221 2.0.0 bye")
            self.transport.loseConnection()  # type: ignore[union-attr]
        else:
            self.say("250 2.0.0 fine")

    def _named(self, connection: SSL.Connection) -> None:
        self.server.names.append(connection.get_servername())


class _Factory(Factory):
    noisy = False

    def __init__(self, server: MailServer) -> None:
        self.server = server

    def buildProtocol(self, addr: object) -> Protocol:
        return _Session(self.server)


def listen(test_case: TestCase, server: MailServer, address: str = "127.0.0.1", port: int = 0) -> MailServer:
    """Let ``server`` answer at ``address`` until the test ends."""
    listening = reactor.listenTCP(port, _Factory(server), interface=address)
    test_case.addCleanup(listening.stopListening)
    server.port = listening.getHost().port
    return server

"""Certificates: over real handshakes in memory, with real files."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate as TrustRoot
from twisted.internet.ssl import CertificateOptions, TLSVersion, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailx.config import TLS, Certificate
from mailx.ops.certificates import Certificates, Unusable
from mailx.ops.self_signed import self_signed

SUITES = {
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
}


def issue(directory: Path, *names: str) -> Certificate:
    """Write a certificate for ``names`` and its key; the first name is the file's."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    stem = names[0].replace("*", "_")
    files = Certificate(str(directory / f"{stem}.crt"), str(directory / f"{stem}.key"))
    Path(files.certificate_file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    Path(files.key_file).write_bytes(pem)
    return files


class Client(Protocol):
    """Remembers how the connection ended."""

    lost: object = None

    def connectionLost(self, reason: object = None) -> None:
        self.lost = reason


@implementer(IOpenSSLClientConnectionCreator)
class Named:
    """A client that sends a server name, or none, and verifies nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        if self.name:
            connection.set_tlsext_host_name(self.name.encode())
        return connection


class Serving(SynchronousTestCase):
    """What a client is shown."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    def shown(self, certificates: Certificates, creator: object, factory: Factory | None = None) -> tuple[SSL.Connection, Client]:
        """The client's side of a handshake with a listener of ``factory``."""
        listening = factory or Factory.forProtocol(Protocol)
        wrapped = Client()
        client, _, _ = connectedServerAndClient(
            lambda: TLSMemoryBIOFactory(certificates.server_options(), False, listening).buildProtocol(None),
            lambda: TLSMemoryBIOFactory(creator, True, Factory.forProtocol(lambda: wrapped)).buildProtocol(None),
        )
        return client.getHandle(), wrapped

    def common_name(self, certificates: Certificates, name: str) -> str:
        handle, _ = self.shown(certificates, Named(name))
        return handle.get_peer_certificate().get_subject().CN

    def test_a_client_that_offers_application_protocols_is_served(self) -> None:
        """Ours know none, and go on (RFC 7301 3.2); one that knows some is asked."""

        class Offering(Named):
            def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
                connection = super().clientConnectionForTLS(protocol)
                connection.set_alpn_protos([b"imap", b"http/1.1"])
                return connection

        @implementer(IProtocolNegotiationFactory)
        class Web(Factory):
            protocol = Protocol

            def acceptableProtocols(self) -> list[bytes]:
                return [b"h2", b"http/1.1"]

        certificates = Certificates(TLS(), self.directory, "mail.example.test")
        for factory, chosen in ((Factory.forProtocol(Protocol), b""), (Web(), b"http/1.1")):
            handle, client = self.shown(certificates, Offering(""), factory)
            self.assertIsNone(client.lost)
            self.assertEqual(handle.get_alpn_proto_negotiated(), chosen)

    def test_the_generated_certificate_verifies(self) -> None:
        """A client that trusts it and checks the name (service-identity) completes the handshake."""
        certificates = Certificates(TLS(), self.directory, "mail.example.test")
        assert certificates.generated is not None
        trust = TrustRoot.loadPEM(certificates.generated.read_bytes())
        handle, client = self.shown(certificates, optionsForClientTLS("mail.example.test", trustRoot=trust))
        self.assertIsNone(client.lost)
        self.assertEqual(handle.get_protocol_version_name(), "TLSv1.3")
        _, client = self.shown(certificates, optionsForClientTLS("other.example.test", trustRoot=trust))
        self.assertIsNotNone(client.lost)

    def test_the_name_chooses_the_certificate(self) -> None:
        first, second = issue(self.directory, "a.test", "www.a.test"), issue(self.directory, "*.b.test")
        certificates = Certificates(TLS((first, second)), self.directory, "a.test")
        self.assertEqual(self.common_name(certificates, "www.a.test"), "a.test")
        self.assertEqual(self.common_name(certificates, "IMAP.B.test"), "*.b.test")
        self.assertEqual(self.common_name(certificates, "deep.imap.b.test"), "a.test")
        self.assertEqual(self.common_name(certificates, "unknown.test"), "a.test")
        self.assertEqual(self.common_name(certificates, ""), "a.test")

    def test_configured_names_go_before_the_certificates_own(self) -> None:
        first, second = issue(self.directory, "a.test"), issue(self.directory, "b.test")
        second = Certificate(second.certificate_file, second.key_file, ("c.test",))
        certificates = Certificates(TLS((first, second)), self.directory, "a.test")
        self.assertEqual(self.common_name(certificates, "c.test"), "b.test")
        self.assertEqual(self.common_name(certificates, "b.test"), "a.test")

    def test_changed_files_are_read_again(self) -> None:
        files = issue(self.directory, "a.test")
        certificates = Certificates(TLS((files,)), self.directory, "a.test")
        other = issue(self.directory, "b.test")
        os.replace(other.certificate_file, files.certificate_file)
        self.assertEqual(self.common_name(certificates, ""), "a.test")  # the key does not fit yet: the old pair stays
        os.replace(other.key_file, files.key_file)
        self.assertEqual(self.common_name(certificates, ""), "b.test")
        Path(files.certificate_file).unlink()
        self.assertEqual(self.common_name(certificates, ""), "b.test")

    def test_only_modern_suites(self) -> None:
        certificates = Certificates(TLS(), self.directory, "a.test")
        factory = TLSMemoryBIOFactory(certificates, False, Factory.forProtocol(Protocol))
        offered = set(certificates.serverConnectionForTLS(factory.buildProtocol(None)).get_cipher_list())
        self.assertEqual({name for name in offered if not name.startswith("TLS_")}, SUITES)

    def test_versions(self) -> None:
        old = CertificateOptions(lowerMaximumSecurityTo=TLSVersion.TLSv1_2)
        ancient = CertificateOptions(insecurelyLowerMinimumTo=TLSVersion.TLSv1_0, lowerMaximumSecurityTo=TLSVersion.TLSv1_1)
        from_12 = Certificates(TLS(), self.directory, "a.test")
        from_13 = Certificates(TLS(minimum="1.3"), self.directory, "a.test")
        self.assertIsNone(self.shown(from_12, old)[1].lost)
        self.assertIsNotNone(self.shown(from_12, ancient)[1].lost)
        self.assertIsNotNone(self.shown(from_13, old)[1].lost)
        self.assertIsNone(self.shown(from_13, CertificateOptions())[1].lost)


class Files(SynchronousTestCase):
    """Files that cannot be served are named."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    def reason(self, files: Certificate) -> str:
        return str(self.assertRaises(Unusable, Certificates, TLS((files,)), self.directory, "a.test"))

    def test_a_foreign_key(self) -> None:
        first, second = issue(self.directory, "a.test"), issue(self.directory, "b.test")
        self.assertIn("do not belong together", self.reason(Certificate(first.certificate_file, second.key_file)))

    def test_no_certificate(self) -> None:
        files = issue(self.directory, "a.test")
        Path(files.certificate_file).write_text("nonsense")
        self.assertIn("a.test.crt holds no certificate", self.reason(files))

    def test_no_key(self) -> None:
        files = issue(self.directory, "a.test")
        self.assertIn("holds no private key", self.reason(Certificate(files.certificate_file, files.certificate_file)))

    def test_a_missing_file(self) -> None:
        self.assertIn("none.crt cannot be read (No such file", self.reason(Certificate(str(self.directory / "none.crt"), "")))

    def test_the_generated_pair_is_kept_and_private(self) -> None:
        certificate, key = self_signed(self.directory, "a.test")
        before = certificate.read_bytes()
        self_signed(self.directory, "a.test")
        self.assertEqual(certificate.read_bytes(), before)
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        self_signed(self.directory, "b.test")
        self.assertNotEqual(certificate.read_bytes(), before)


class Looking(SynchronousTestCase):
    """What administrators see, and reading again by hand."""

    def test_overview(self) -> None:
        directory = Path(self.mktemp())
        certificates = Certificates(
            TLS(certificates=(issue(directory, "mail.example.test", "*.example.test"),)), directory, "mail.example.test"
        )
        (shown,) = certificates.overview()
        self.assertEqual(shown.names, ("mail.example.test", "*.example.test"))
        self.assertEqual(shown.issuer, "CN=mail.example.test")
        self.assertTrue(shown.self_signed)
        self.assertFalse(shown.generated)
        self.assertAlmostEqual(shown.expires - shown.begins, timedelta(days=9).total_seconds())
        self.assertEqual(shown.problem, "")

    def test_generated(self) -> None:
        (shown,) = Certificates(TLS(), Path(self.mktemp()), "mail.example.test").overview()
        self.assertTrue(shown.generated and shown.self_signed)
        self.assertIn("mail.example.test", shown.names)

    def test_reload(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, "mail.example.test")
        certificates = Certificates(TLS(certificates=(files,)), directory, "mail.example.test")
        before = certificates.overview()[0].serial
        issue(directory, "mail.example.test")
        self.assertEqual(certificates.reload(), [])
        self.assertNotEqual(certificates.overview()[0].serial, before)

    def test_broken(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, "mail.example.test")
        certificates = Certificates(TLS(certificates=(files,)), directory, "mail.example.test")
        before = certificates.overview()[0].serial
        Path(files.key_file).write_text("nothing")
        (problem,) = certificates.reload()
        self.assertIn(files.key_file, problem)
        (shown,) = certificates.overview()
        self.assertEqual((shown.serial, shown.problem), (before, problem))

    def test_others_that_were_unusable_at_first(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, "mail.example.test")
        certificates = Certificates(TLS(), directory, "mail.example.test")
        key = Path(files.key_file).read_text()
        Path(files.key_file).write_text("nothing")
        certificates.want(TLS(certificates=(files,)))
        (problem,) = certificates.reload()
        self.assertIn(files.key_file, problem)
        self.assertTrue(certificates.overview()[0].generated)
        Path(files.key_file).write_text(key)
        self.assertEqual(certificates.reload(), [])
        self.assertEqual(certificates.overview()[0].certificate_file, files.certificate_file)

"""The certificates that listeners serve: from files, chosen by server name, read again when a file changes.

Failure at the start is ``Unusable``, which names the file. A file that turns bad later is logged, and the
certificate read before goes on being served.
"""

import os
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import NO_OVERLAPPING_PROTOCOLS, Connection, Context
from OpenSSL.SSL import Error as SSLError
from service_identity import CertificateError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, CertificatePattern, DNSPattern
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolNegotiationFactory
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mailx.config import TLS, Certificate
from mailx.core.metrics import CERTIFICATE_EXPIRY
from mailx.ops.self_signed import self_signed

log = Logger()

# AEAD suites with forward secrecy only; TLS 1.3 has no others.
CIPHERS = AcceptableCiphers.fromOpenSSLCipherString(
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)
_VERSIONS = {"1.2": TLSVersion.TLSv1_2, "1.3": TLSVersion.TLSv1_3}


class Unusable(Exception):
    """A certificate or key file cannot be served. The text names the file and the remedy."""


@frozen
class Pair:
    """A certificate with its chain and key, as read: ready to serve."""

    options: CertificateOptions = field(repr=False)
    patterns: tuple[CertificatePattern, ...]
    label: str  # its first name, for logs and metrics
    expires: float  # seconds since 1970
    certificate: bytes = field(repr=False)  # DER

    def covers(self, name: DNS_ID) -> bool:
        return any(name.verify(pattern) for pattern in self.patterns)


@frozen
class Overview:
    """One certificate as its administrator sees it. Times are seconds since 1970."""

    names: tuple[str, ...]
    subject: str
    issuer: str
    serial: str  # hexadecimal
    fingerprint: str  # SHA-256, hexadecimal
    begins: float
    expires: float
    certificate_file: str
    key_file: str
    self_signed: bool
    generated: bool  # by this server, for itself
    problem: str  # why the files were not read again; empty: they were


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """All certificates of the server; what a TLS listener or ``startTLS`` is given.

    Unless ``settings`` names any, a self-signed one for ``hostname`` is kept in ``data``/tls.
    """

    def __init__(self, settings: TLS, data: Path, hostname: str) -> None:
        self._minimum = _VERSIONS[settings.minimum]
        self._data = data
        self._hostname = hostname
        self.generated: Path | None = None  # the self-signed certificate, if that is what is served
        self._certificates: tuple[Certificate, ...] = ()
        self._wanted = self._served = settings
        self.renew(settings)

    def renew(self, settings: TLS) -> None:
        """Serve the certificates of ``settings`` from now on. Raises Unusable: then those before are served until ``reload`` can."""
        self._wanted = settings
        certificates, generated, hostname = settings.certificates, None, self._hostname
        if not certificates:
            generated, key = self_signed(self._data / "tls", hostname)
            certificates = (Certificate(str(generated), str(key)),)
        stamps = [_stamp(certificate) for certificate in certificates]
        pairs = [self._read(certificate) for certificate in certificates]
        self._certificates, self._stamps, self._pairs, self.generated = certificates, stamps, pairs, generated
        self._served = settings
        self._problems = [""] * len(certificates)
        if not any(pair.covers(DNS_ID(hostname)) for pair in self._pairs):
            log.warn(
                "No certificate names this host: clients that verify will refuse it", event="tls.hostname_uncovered", hostname=hostname
            )

    def want(self, settings: TLS) -> None:
        """Serve the certificates of ``settings`` from the next ``reload`` on that can read them."""
        self._wanted = settings

    def server_options(self) -> IOpenSSLServerConnectionCreator:
        """What ``TLSMemoryBIOFactory``, ``wrapClientTLS`` and ``transport.startTLS`` take."""
        return self

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Connection:
        """A server-side connection that shows the first certificate unless the client names another."""
        self.refresh()
        return self._pairs[0].options.serverConnectionForTLS(protocol)

    def refresh(self) -> None:
        """Read again what has changed on disk. Two ``stat`` calls a certificate, so it may run at every connection."""
        for place, certificate in enumerate(self._certificates):
            stamp = _stamp(certificate)
            if stamp != self._stamps[place]:
                self._stamps[place] = stamp
                self._renew(place)

    def reload(self) -> list[str]:
        """Read everything again, changed or not; returns what is wrong. What cannot be read leaves the certificate before it served."""
        if self._served is not self._wanted:
            try:
                self.renew(self._wanted)
            except Unusable as error:
                log.error("Certificates not loaded: {reason}", event="tls.reload_failed", reason=str(error))
                return [str(error)]
        for place, certificate in enumerate(self._certificates):
            self._stamps[place] = _stamp(certificate)
            self._renew(place)
        return [problem for problem in self._problems if problem]

    def overview(self) -> list[Overview]:
        """What is served, the default first."""
        self.refresh()
        return [_overview(*each, self.generated is not None) for each in zip(self._certificates, self._pairs, self._problems, strict=True)]

    def _renew(self, place: int) -> None:
        self._problems[place] = ""
        try:
            self._pairs[place] = self._read(self._certificates[place])
        except Unusable as error:
            self._problems[place] = str(error)
            log.error("Certificate not reloaded: {reason}", event="tls.reload_failed", reason=str(error))
        else:
            log.info("Certificate reloaded", event="tls.reloaded", name=self._pairs[place].label)

    def _read(self, certificate: Certificate) -> Pair:
        chain = _chain(certificate.certificate_file)
        key = _key(certificate.key_file)
        options = CertificateOptions(
            certificate=X509.from_cryptography(chain[0]),
            privateKey=key,
            extraCertChain=[X509.from_cryptography(one) for one in chain[1:]],
            raiseMinimumTo=self._minimum,
            acceptableCiphers=CIPHERS,
            contextForServerName=self._context,
        )
        try:
            options.getContext().set_alpn_select_callback(_application)
            names = certificate.names
            patterns = tuple(DNSPattern.from_bytes(name.encode("idna")) for name in names) if names else tuple(extract_patterns(chain[0]))
        except (SSLError, CertificateError, ValueError):
            remedy = "give the certificate first in its file, and the key that belongs to it"
            raise Unusable(f"{certificate.certificate_file} and {certificate.key_file} do not belong together; {remedy}") from None
        label = next((one.pattern.decode("ascii") for one in patterns if isinstance(one, DNSPattern)), "unnamed")
        expires = chain[0].not_valid_after_utc.timestamp()
        CERTIFICATE_EXPIRY.labels(label).set(expires)
        return Pair(options, patterns, label, expires, chain[0].public_bytes(Encoding.DER))

    def certificate_for(self, name: str) -> bytes:
        """The certificate (DER) that a client is shown who asks for the host ``name``."""
        self.refresh()
        return (self._named(name.encode("ascii", "replace")) or self._pairs[0]).certificate

    def _context(self, server_name: bytes | None) -> Context | None:
        """The context for the name that a client asked for (RFC 6066 3); None keeps the first certificate."""
        pair = self._named(server_name or b"")
        return None if pair is None else pair.options.getContext()

    def _named(self, server_name: bytes) -> Pair | None:
        try:
            name = DNS_ID(server_name.decode("ascii"))
        except ValueError:
            return None
        return next((pair for pair in self._pairs if pair.covers(name)), None)


def _application(connection: Connection, offered: list[bytes]) -> Any:
    """The protocol (RFC 7301) that the listener speaks of those that a client offers. Whoever knows none goes on without a word of it."""
    tls: TLSMemoryBIOProtocol = connection.get_app_data()
    factory = IProtocolNegotiationFactory(getattr(tls.factory, "wrappedFactory", None), None)
    spoken = () if factory is None else factory.acceptableProtocols()
    return next((one for one in spoken if one in offered), NO_OVERLAPPING_PROTOCOLS)


def _overview(files: Certificate, pair: Pair, problem: str, generated: bool) -> Overview:
    certificate = x509.load_der_x509_certificate(pair.certificate)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = [*found.get_values_for_type(x509.DNSName), *[str(address) for address in found.get_values_for_type(x509.IPAddress)]]
    except (x509.ExtensionNotFound, ValueError):
        named = []
    subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    return Overview(
        names=files.names or tuple(named),
        subject=subject,
        issuer=issuer,
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        begins=certificate.not_valid_before_utc.timestamp(),
        expires=pair.expires,
        certificate_file=files.certificate_file,
        key_file=files.key_file,
        self_signed=subject == issuer,
        generated=generated,
        problem=problem,
    )


def _stamp(certificate: Certificate) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when one of the two files does."""

    def stat(path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    return stat(certificate.certificate_file), stat(certificate.key_file)


def _load(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror}); name a file that this user may read") from None


def _chain(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_load(path))
    except ValueError:
        raise Unusable(f"{path} holds no certificate; give PEM text that begins with BEGIN CERTIFICATE") from None


def _key(path: str) -> PKey:
    try:
        return PKey.from_cryptography_key(load_pem_private_key(_load(path), None))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise Unusable(f"{path} holds no private key in the clear; give an unencrypted PEM key, readable by this user only") from None

"""A certificate authority for the tests, and the TLSA records of what it issues."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID = timedelta(days=7)
_PEM = serialization.Encoding.PEM


class Authority:
    """Issues certificates into ``directory``; whoever trusts its ``certificate`` trusts them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.certificate = directory / "authority.pem"
        own = self._builder(self._name, self._key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.certificate.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def issue(self, *names: str) -> Path:
        """A file with key, certificate and chain for ``names``, the key first as Postfix wants it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = self._builder(subject, key.public_key()).add_extension(alternatives, critical=False)
        certificate = builder.add_extension(x509.BasicConstraints(False, None), critical=True).sign(self._key, hashes.SHA256())
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self._directory / f"{names[0]}.pem"
        path.write_bytes(private + certificate.public_bytes(_PEM) + self.certificate.read_bytes())
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _VALID)
        )


def tlsa(path: Path) -> str:
    """The data of the TLSA record (3 1 1: this key, SHA-256) of the certificate in ``path``."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    key = certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"3 1 1 {hashlib.sha256(key).hexdigest()}"

"""The certificate a server makes for itself while it has no other: ECDSA P-256, self-signed, kept in the data directory.

It is made anew only when it has expired or no longer names the host, because clients may have pinned it.
"""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname

VALID = timedelta(days=825)
CERTIFICATE = "self-signed.crt"
KEY = "self-signed.key"


def self_signed(directory: Path, hostname: str) -> tuple[Path, Path]:
    """The files (certificate, key) in ``directory`` of a certificate for ``hostname`` and the loopback; made if needed."""
    certificate, key = directory / CERTIFICATE, directory / KEY
    if not (key.exists() and _usable(certificate, hostname)):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate_pem, key_pem = _generate(hostname)
        _write(key, key_pem, 0o600)
        _write(certificate, certificate_pem, 0o644)
    return certificate, key


def _usable(path: Path, hostname: str) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        verify_certificate_hostname(certificate, hostname)
    except (OSError, ValueError, VerificationError, CertificateError):
        return False
    return certificate.not_valid_after_utc > datetime.now(UTC)


def _generate(hostname: str) -> tuple[bytes, bytes]:
    """A fresh certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names = [x509.DNSName(one) for one in dict.fromkeys((hostname, "localhost"))]
    addresses = [x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", "::1")]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, pkcs8, plain)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace ``path`` as a whole, readable by ``mode`` from its first octet on."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)

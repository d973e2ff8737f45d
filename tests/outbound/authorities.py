"""Certificates for tests: an authority, what it signs, and what is wrong with it."""

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509, PKey
from twisted.internet.ssl import CertificateOptions

PEM = serialization.Encoding.PEM


@frozen
class Authority:
    """A certificate that signs others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def file(self, directory: Path) -> str:
        """A PEM file for ``Contexts``."""
        path = directory / "authority.pem"
        path.write_bytes(self.certificate.public_bytes(PEM))
        return str(path)


@frozen
class Served:
    """What a server shows."""

    chain: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey

    def options(self) -> CertificateOptions:
        """What ``startTLS`` takes on the server's side."""
        leaf, *others = [X509.from_cryptography(one) for one in self.chain]
        return CertificateOptions(certificate=leaf, privateKey=PKey.from_cryptography_key(self.key), extraCertChain=others)


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name | None,
    signer: ec.EllipticCurvePrivateKey,
    age: timedelta,
    ca: bool,
    *names: str,
    extension: x509.ExtensionType | None = None,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    start = datetime.now(UTC) - timedelta(hours=1) - age
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=10))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@cache
def authority(name: str = "root") -> Authority:
    """A self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(_sign(name, key, None, key, timedelta(), True), key)


def intermediate(root: Authority, ca: bool = True) -> Authority:
    """An authority that ``root`` vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(_sign("intermediate", key, root.certificate.subject, root.key, timedelta(), ca), key)


def served(
    *names: str,
    by: Authority | None = None,
    through: Authority | None = None,
    days_ago: int = 0,
    extension: x509.ExtensionType | None = None,
) -> Served:
    """A server's certificate for ``names``, signed by the authority ``by`` (``through`` an intermediate one) or by itself.

    With ``extension`` that stands in place of the names.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    signer = through or by
    issuer, signing = (None, key) if signer is None else (signer.certificate.subject, signer.key)
    leaf = _sign(names[0], key, issuer, signing, timedelta(days=days_ago), False, *([] if extension else names), extension=extension)
    return Served((leaf, *(each.certificate for each in (through, by) if each is not None)), key)

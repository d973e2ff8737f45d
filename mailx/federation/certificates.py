"""Certificates of channels: the domain key is a certification authority for its own domain and nothing else.

A chain has exactly two certificates. The authority is the domain key itself, self-signed, with name constraints to its
domain (RFC 5280 4.2.1.10); the leaf names the domain and lives for days, because nobody asks for revocation: what ends
trust is that the domain key is believed no more. Any tool can check such a chain; here it is checked against the keys
that discovery gives (:func:`verify`), and authorities of the system never count.

Failure of a peer's chain is :class:`Untrusted`, whose reason may be told to both sides and holds nothing of the chain.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, SignatureAlgorithmOID

from mailx.identity.domain_keys import SKEW
from mailx.identity.statements import Signer, is_domain

T = TypeVar("T", bound=x509.ExtensionType)

VALID = timedelta(hours=48)
RENEW = timedelta(hours=24)  # before the end
_EARLY = timedelta(hours=1)  # clocks of others may be behind
_LONGEST = timedelta(days=8)  # a leaf that claims to live longer is refused: a stolen one would outlive its owner's patience
_CERTIFICATE_LIMIT = 4096  # octets of one
_COMMON_NAME = 64  # characters (RFC 5280 A.1)
# What a certificate of ours holds; a critical extension that is not listed is refused (RFC 5280 4.2).
_KNOWN = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
}


class Untrusted(Exception):
    """The chain proves nothing; ``reason`` is for the log, the administrator and the peer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen
class Issued:
    """A leaf with its private key, ready to serve. Times are seconds since 1970."""

    domain: str
    key: bytes  # the domain key that signed it
    chain: tuple[bytes, ...] = field(repr=False)  # DER, the leaf first
    private: bytes = field(repr=False)  # PKCS #8, DER
    renew: float
    expires: float


@frozen
class Claim:
    """Whose a chain says that it is; nothing of it is proved."""

    domain: str
    key: bytes  # of its authority


class _Remote(Ed25519PrivateKey):
    """A signer in the shape that the X.509 builder asks for; the private half cannot be had from it."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def public_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self._signer.public)

    def sign(self, data: object) -> bytes:
        return self._signer.sign(bytes(data))  # type: ignore[call-overload]

    def private_bytes(self, *_: object) -> NoReturn:
        raise TypeError("the key does not leave its place")

    def private_bytes_raw(self) -> NoReturn:
        raise TypeError("the key does not leave its place")

    def __copy__(self) -> "_Remote":
        return self

    def __deepcopy__(self, memo: object) -> "_Remote":
        return self


def issue(domain: str, signer: Signer, now: float) -> Issued:
    """A fresh leaf for ``domain``, signed by its key; takes less than a millisecond."""
    begin = datetime.fromtimestamp(int(now), UTC)
    authority_key, leaf_key = _Remote(signer), Ed25519PrivateKey.generate()
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "MailX"), x509.NameAttribute(NameOID.COMMON_NAME, _short(domain))]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _certificate(name, name, authority_key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName(domain)], None), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, None)
    )
    leaf = (
        _certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _short(domain))]), name, leaf_key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, None)
    )
    end = begin + VALID
    return Issued(
        domain,
        signer.public,
        tuple(each.public_bytes(Encoding.DER) for each in (leaf, authority)),
        leaf_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        (end - RENEW).timestamp(),
        end.timestamp(),
    )


def claim(chain: Sequence[bytes]) -> Claim:
    """The domain and the key that a peer's chain (DER, the leaf first) speaks for; raises Untrusted if it speaks for none."""
    leaf, authority = _read(chain)
    return Claim(_named(leaf), _raw(authority))


def verify(chain: Sequence[bytes], domain: str, keys: Collection[bytes], now: float, server: bool) -> bytes:
    """The one of ``keys`` that proves ``chain`` (DER, the leaf first) to be of ``domain``; raises Untrusted.

    ``server``: whether the peer is the side that was connected to. About a third of a millisecond.
    """
    leaf, authority = _read(chain)
    if _named(leaf) != domain:
        raise Untrusted("the certificate is of another domain")
    key = _raw(authority)
    if key not in keys:
        raise Untrusted("the certificate is signed by a key that is not the domain's")
    try:
        proof = Ed25519PublicKey.from_public_bytes(key)
        proof.verify(authority.signature, authority.tbs_certificate_bytes)
        proof.verify(leaf.signature, leaf.tbs_certificate_bytes)
    except (InvalidSignature, ValueError):
        raise Untrusted("the signature of the certificate is wrong") from None
    for certificate in (leaf, authority):
        _in_time(certificate, now)
    _fit(leaf, authority, domain, server)
    return key


class Certificates:
    """The certificates of our own domains, each made when it is first needed and again before it ends or when the key changes.

    ``signer`` gives the current key of a domain and raises KeyError for a domain that is not ours; ``seconds`` is the time.
    """

    def __init__(self, signer: Callable[[str], Signer], seconds: Callable[[], float]) -> None:
        self._signer = signer
        self._seconds = seconds
        self._issued: dict[str, Issued] = {}

    def of(self, domain: str) -> Issued:
        """The certificate to show for ``domain`` now: the same object as long as it is good; raises KeyError."""
        try:
            signer = self._signer(domain)
        except KeyError:
            self._issued.pop(domain, None)
            raise
        held = self._issued.get(domain)
        now = self._seconds()
        if held is None or held.key != signer.public or not held.expires - (VALID + _EARLY).total_seconds() <= now < held.renew:
            held = self._issued[domain] = issue(domain, signer, now)
        return held


def _certificate(subject: x509.Name, issuer: x509.Name, public: Ed25519PublicKey, begin: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _EARLY)
        .not_valid_after(begin + VALID)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _short(domain: str) -> str:
    """A name for people; what counts stands in the subject's alternative name."""
    return domain if len(domain) <= _COMMON_NAME else domain[: _COMMON_NAME - 3] + "..."


def _read(chain: Sequence[bytes]) -> tuple[x509.Certificate, x509.Certificate]:
    if len(chain) != 2:
        raise Untrusted("the peer shows a certificate that no domain key signed" if chain else "the peer shows no certificate")
    if any(len(each) > _CERTIFICATE_LIMIT for each in chain):
        raise Untrusted("the certificate is too large")
    try:
        leaf, authority = (x509.load_der_x509_certificate(each) for each in chain)
        for each in (leaf, authority):
            _extensions(each)
    except Untrusted:
        raise
    except Exception:  # whatever a parser makes of hostile octets
        raise Untrusted("the certificate is damaged") from None
    return leaf, authority


def _extensions(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3 or certificate.signature_algorithm_oid != SignatureAlgorithmOID.ED25519:
        raise Untrusted("the certificate is not signed with Ed25519")
    if any(extension.critical and extension.oid not in _KNOWN for extension in certificate.extensions):
        raise Untrusted("the certificate has a critical extension that is not known here")
    certificate.public_key()


def _named(leaf: x509.Certificate) -> str:
    """The one domain that the leaf names."""
    names = _extension(leaf, x509.SubjectAlternativeName)
    if names is None or len(names) != 1 or not isinstance(name := next(iter(names)), x509.DNSName):
        raise Untrusted("the certificate does not name exactly one domain")
    if not is_domain(name.value):
        raise Untrusted("the certificate does not name exactly one domain")
    return name.value


def _raw(authority: x509.Certificate) -> bytes:
    public = authority.public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise Untrusted("the certificate is not signed with Ed25519")
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _in_time(certificate: x509.Certificate, now: float) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin.timestamp() - SKEW:
        raise Untrusted("the certificate is not valid yet: compare the clocks of both servers")
    if now >= end.timestamp():
        raise Untrusted("the certificate has expired: compare the clocks of both servers")
    if end - begin > _LONGEST:
        raise Untrusted(f"the certificate is valid for longer than {_LONGEST.days} days")


def _fit(leaf: x509.Certificate, authority: x509.Certificate, domain: str, server: bool) -> None:
    """Whether the two are what they say: an authority for ``domain`` alone and a leaf for this side of a channel."""
    if authority.subject != authority.issuer or leaf.issuer != authority.subject:
        raise Untrusted("the certificates do not belong together")
    basic, usage = _extension(authority, x509.BasicConstraints), _extension(authority, x509.KeyUsage)
    if basic is None or not basic.ca or usage is None or not usage.key_cert_sign:
        raise Untrusted("the domain key is not shown as an authority")
    constraints = _extension(authority, x509.NameConstraints)
    if constraints is None or constraints.permitted_subtrees != [x509.DNSName(domain)] or constraints.excluded_subtrees:
        raise Untrusted("the authority is not constrained to its domain")
    basic, usage = _extension(leaf, x509.BasicConstraints), _extension(leaf, x509.KeyUsage)
    if basic is None or basic.ca or usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise Untrusted("the certificate is not that of a server")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or (ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH) not in purposes:
        raise Untrusted("the certificate is not meant for this side of a connection")
    public = leaf.public_key()
    if not isinstance(public, Ed25519PublicKey) and not (
        isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    ):
        raise Untrusted("the key of the certificate is of another kind than Ed25519 or P-256")


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None

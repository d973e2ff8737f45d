"""TLS of this server as a client, whatever the protocol: contexts, and what there is to say of the certificate that was shown.

The handshake itself accepts every certificate; whoever began it decides afterwards, before anything is sent, whether it may
be believed. ``errors`` are what OpenSSL found wrong with the chain, ``presented`` describes the certificate for people.
Authorities are those of the system (OpenSSL's paths, ``SSL_CERT_FILE`` included).
"""

from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from attrs import frozen
from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509
from OpenSSL.SSL import Connection, Context
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from mailx.mail.networks import is_address
from mailx.mail.printable import printable

SUITES = b"DEFAULT:!aNULL:!eNULL:!PSK:!SRP"
# Unverified TLS is for those who may as well listen to plain text: a weak key is better than none (RFC 7435 3).
LENIENT_SUITES = SUITES + b":@SECLEVEL=1"

NOT_YET_VALID, EXPIRED = 9, 10  # X509_V_ERR_*
_TROUBLES = {  # X509_V_ERR_* in words
    2: "its issuer is not an authority that this system knows",
    NOT_YET_VALID: "it is not valid yet",
    EXPIRED: "it has expired",
    18: "it is signed by itself and by no authority",
    19: "its chain ends in an authority that this system does not know",
    20: "its issuer is not an authority that this system knows, or the server does not send the chain between",
    21: "the server does not send the chain between its certificate and an authority",
    23: "it was revoked",
    24: "it is signed by a certificate that is no authority's",
    26: "it is not meant for servers",
}
_NAMES = 10  # of a certificate that are told
_TEXT = 200  # characters of a name that are told

_errors: WeakKeyDictionary[Connection, list[int]] = WeakKeyDictionary()  # the application data of a connection is Twisted's


def context(suites: bytes) -> Context:
    """A context of a client that believes nobody yet."""
    made = Context(SSL.TLS_CLIENT_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)  # RFC 8996 2
    made.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    made.set_cipher_list(suites)
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return made


def believe(made: Context, authorities: str = "") -> None:
    """Let ``made`` note what is wrong with chains; ``authorities``: a PEM file in place of the system's authorities."""
    if authorities:
        made.load_verify_locations(authorities)
    else:
        made.set_default_verify_paths()
    made.set_verify(SSL.VERIFY_PEER, _note)


def _note(connection: Connection, certificate: X509, error: int, depth: int, good: int) -> bool:
    """Remember what is wrong with the chain, and go on."""
    if not good:
        _errors.setdefault(connection, []).append(error)
    return True


def errors(connection: Connection) -> list[int]:
    """The X509_V_ERR_* that were found, the first first; of contexts that were told to ``believe``."""
    return _errors.get(connection, [])


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    """Makes one client connection that asks for ``name``."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        connection = Connection(self._context, None)
        if self._name.isascii() and not is_address(self._name):  # RFC 6066 3: A-labels, no literal addresses
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


def matches(certificate: Any, names: tuple[str, ...]) -> bool:
    """Whether the certificate holds one of ``names`` (RFC 9525; the common name is not looked at)."""
    for name in names:
        try:
            if is_address(name):
                verify_certificate_ip_address(certificate, name)
            else:
                verify_certificate_hostname(certificate, name)
        except (VerificationError, CertificateError, ValueError):
            continue
        return True
    return False


@frozen
class Presented:
    """A handshake that was done, for people to read."""

    version: str
    cipher: str
    names: tuple[str, ...] = ()
    issuer: str = ""
    expires: datetime | None = None
    trouble: str = ""  # why the certificate is not to be believed: "it has expired"; empty: it is

    def lines(self) -> tuple[str, ...]:
        """What a transcript says."""
        names = ", ".join(self.names) or "no names"
        until = f"{self.expires:%Y-%m-%d %H:%M} UTC" if self.expires is not None else "unknown"
        return (
            f"TLS: {self.version} {self.cipher}",
            f"TLS: certificate for {names}; issued by {self.issuer or 'nobody named'}; valid until {until}",
            f"TLS: the certificate cannot be trusted: {self.trouble}" if self.trouble else "TLS: the certificate is trusted",
        )


def presented(connection: Connection, name: str) -> Presented:
    """What ``connection`` came to, for somebody who wanted ``name``; never raises for what a certificate holds."""
    version, cipher = str(connection.get_protocol_version_name()), str(connection.get_cipher_name())
    try:
        return _presented(connection, name, version, cipher)
    except Exception:  # OpenSSL takes certificates that others choke on, in ways of their own; such a one proves nothing
        return Presented(version, cipher, trouble="it cannot be read")


def _presented(connection: Connection, name: str, version: str, cipher: str) -> Presented:
    chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    if not chain:
        return Presented(version, cipher, trouble="the server showed none")
    leaf = chain[0]
    found = errors(connection)
    trouble = ""
    if found:
        trouble = _TROUBLES.get(found[0], f"its chain does not verify (OpenSSL error {found[0]})")
    elif not matches(leaf, (name,)):
        trouble = f"it is not for the name {name}"
    return Presented(version, cipher, names(leaf), _told(_issuer(leaf)), leaf.not_valid_after_utc.astimezone(UTC), trouble)


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and addresses in ``certificate``, the first few."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    every = [*extension.get_values_for_type(x509.DNSName), *map(str, extension.get_values_for_type(x509.IPAddress))]
    return tuple(_told(one) for one in every[:_NAMES])


def _issuer(certificate: x509.Certificate) -> str:
    """Who issued it: the organisation and the common name, as far as there are any."""
    issuer = certificate.issuer
    found = [*issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME), *issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return ", ".join(dict.fromkeys(str(each.value) for each in found))


def _told(text: str) -> str:
    return printable(text[:_TEXT])

"""TLS of the client: contexts, the name asked for, and what is wrong with the certificate that was shown.

The handshake itself accepts every certificate; ``verdict`` says afterwards, before anything is sent, whether it may be
believed, in the terms of RFC 8460 4.3. Authorities are those of the system (OpenSSL's paths, ``SSL_CERT_FILE`` included).
"""

from ipaddress import ip_address
from typing import Any
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from OpenSSL.crypto import X509
from OpenSSL.SSL import Connection, Context
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from mailx.outbound import tlsa
from mailx.outbound.hop import DANE, EXPIRED, HOST_MISMATCH, NOT_TRUSTED, VALIDATION_FAILURE, VERIFY, Hop, Security

_SUITES = b"DEFAULT:!aNULL:!eNULL:!PSK:!SRP"
# Unverified TLS is for those who may as well listen to plain text: a weak key is better than none (RFC 7435 3).
_LENIENT_SUITES = _SUITES + b":@SECLEVEL=1"
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_*
_UNTRUSTED = frozenset((2, 18, 19, 20, 21, 27))  # no issuer, self-signed, unverifiable leaf, untrusted

_errors: WeakKeyDictionary[Connection, list[int]] = WeakKeyDictionary()  # what was wrong with chains; the application data is Twisted's


class Contexts:
    """The contexts that all connections share, made when first needed."""

    def __init__(self, authorities: str = "") -> None:
        """``authorities``: a PEM file in place of the system's authorities."""
        self._authorities = authorities
        self._made: dict[tuple[bool, bool], Context] = {}

    def creator(self, hop: Hop, security: Security) -> "Creator":
        """What ``startTLS`` is given for a connection to ``hop``."""
        strict = security.level in (VERIFY, DANE)
        believes = security.level != DANE and (strict or security.verify)
        context = self._made.get((strict, believes))
        if context is None:
            context = self._made[strict, believes] = _context(_SUITES if strict else _LENIENT_SUITES)
            if believes:
                self._believe(context)
        return Creator(context, (security.names or (hop.name,))[0])

    def _believe(self, context: Context) -> None:
        if self._authorities:
            context.load_verify_locations(self._authorities)
        else:
            context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER, _note)


def _context(suites: bytes) -> Context:
    context = Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)  # RFC 8996 2
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(suites)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def _note(connection: Connection, certificate: X509, error: int, depth: int, good: int) -> bool:
    """Remember the first thing that is wrong with the chain, and go on: ``verdict`` decides."""
    if not good:
        _errors.setdefault(connection, []).append(error)
    return True


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


def is_address(name: str) -> bool:
    """Whether ``name`` is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def verdict(connection: Connection, hop: Hop, security: Security) -> str:
    """What is wrong with the certificate, or "": for levels VERIFY and DANE, and where ``security.verify`` is set."""
    try:
        return _verdict(connection, hop, security)
    except Exception:  # OpenSSL takes certificates that others choke on, in ways of their own; such a one proves nothing
        return VALIDATION_FAILURE


def _verdict(connection: Connection, hop: Hop, security: Security) -> str:
    chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    if not chain:
        return VALIDATION_FAILURE
    names = security.names or (hop.name,)
    if security.level == DANE:
        return tlsa.verdict(chain, security.tlsa, names, matches)
    if connection in _errors:
        return failure(_errors[connection][0])
    return "" if matches(chain[0], names) else HOST_MISMATCH


def failure(error: int) -> str:
    """An OpenSSL verification error as a result type."""
    if error in (_EXPIRED, _NOT_YET_VALID):
        return EXPIRED
    return NOT_TRUSTED if error in _UNTRUSTED else VALIDATION_FAILURE


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

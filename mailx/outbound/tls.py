"""TLS of the client: contexts, the name asked for, and what is wrong with the certificate that was shown.

The handshake itself accepts every certificate; ``verdict`` says afterwards, before anything is sent, whether it may be
believed, in the terms of RFC 8460 4.3. Authorities are those of the system (OpenSSL's paths, ``SSL_CERT_FILE`` included).
"""

from OpenSSL.SSL import Connection, Context

from mailx.core.client_tls import EXPIRED as TIME_UP
from mailx.core.client_tls import (
    LENIENT_SUITES,
    NOT_YET_VALID,
    SUITES,
    Creator,
    believe,
    context,
    errors,
    matches,
)
from mailx.outbound import tlsa
from mailx.outbound.hop import DANE, EXPIRED, HOST_MISMATCH, NOT_TRUSTED, VALIDATION_FAILURE, VERIFY, Hop, Security

__all__ = ["Contexts", "failure", "matches", "verdict"]

_UNTRUSTED = frozenset((2, 18, 19, 20, 21, 27))  # no issuer, self-signed, unverifiable leaf, untrusted


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
        shared = self._made.get((strict, believes))
        if shared is None:
            shared = self._made[strict, believes] = context(SUITES if strict else LENIENT_SUITES)
            if believes:
                believe(shared, self._authorities)
        return Creator(shared, (security.names or (hop.name,))[0])


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
    if found := errors(connection):
        return failure(found[0])
    return "" if matches(chain[0], names) else HOST_MISMATCH


def failure(error: int) -> str:
    """An OpenSSL verification error as a result type."""
    if error in (TIME_UP, NOT_YET_VALID):
        return EXPIRED
    return NOT_TRUSTED if error in _UNTRUSTED else VALIDATION_FAILURE

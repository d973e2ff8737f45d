"""Whether TLSA records vouch for a certificate chain (RFC 7671, RFC 7672 3). Pure; the records have come from secure DNS.

Which records can be used at all :mod:`mailx.outbound.dane` decides.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.crypto import X509, Error, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from mailx.core.resolver import TLSA
from mailx.outbound.dane import usable
from mailx.outbound.hop import HOST_MISMATCH, VALIDATION_FAILURE

TA, EE = 2, 3
CERTIFICATE = 0
FULL, SHA256, SHA512 = 0, 1, 2
CHAIN_LIMIT = 10  # certificates of a chain that are looked at
ANCHORS_LIMIT = 8  # of those that may have issued one of the chain; each costs half a millisecond


def verdict(
    chain: Sequence[x509.Certificate],
    records: Sequence[TLSA],
    names: tuple[str, ...],
    matches: Callable[[Any, tuple[str, ...]], bool],
) -> str:
    """What is wrong with ``chain`` (the server's own certificate first), or "".

    DANE-EE vouches for the key alone: neither name nor dates count (RFC 7672 3.1.1). With DANE-TA the chain must lead to the
    certificate vouched for, and the server's own must hold one of ``names`` (RFC 7672 3.1.2, 3.2.3).
    """
    good = usable(records)
    leaf, *others = chain[:CHAIN_LIMIT]
    if any(_is(record, leaf) for record in good if record.usage == EE):
        return ""
    anchors = [one for one in others if any(_is(record, one) for record in good if record.usage == TA)]
    issuers = {one.issuer for one in (leaf, *others)}
    anchors += [anchor for anchor in _given(good) if anchor.subject in issuers]
    if not any(_leads(leaf, others, anchor) for anchor in anchors[:ANCHORS_LIMIT]):
        return VALIDATION_FAILURE
    return "" if matches(leaf, names) else HOST_MISMATCH


def _is(record: TLSA, certificate: x509.Certificate) -> bool:
    whole = certificate.public_bytes(Encoding.DER)
    selected = whole if record.selector == CERTIFICATE else public_key(certificate.tbs_certificate_bytes)
    if record.matching == SHA256:
        selected = hashlib.sha256(selected).digest()
    elif record.matching == SHA512:
        selected = hashlib.sha512(selected).digest()
    return selected == record.data


def _given(records: Sequence[TLSA]) -> list[x509.Certificate]:
    """Anchors that stand in DNS whole (2 0 0): the server need not send them (RFC 7671 5.2.3)."""
    found = []
    for record in records:
        if (record.usage, record.selector, record.matching) == (TA, CERTIFICATE, FULL):
            try:
                found.append(x509.load_der_x509_certificate(record.data))
            except ValueError:
                continue
    return found


def _leads(leaf: x509.Certificate, others: Sequence[x509.Certificate], anchor: x509.Certificate) -> bool:
    """Whether signatures, dates and constraints lead from ``leaf`` to ``anchor``, which need not be self-signed."""
    try:
        store = X509Store()
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
        store.add_cert(X509.from_cryptography(anchor))
        X509StoreContext(store, X509.from_cryptography(leaf), [X509.from_cryptography(one) for one in others]).verify_certificate()
    except (X509StoreContextError, Error):
        return False
    return True


def public_key(tbs: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a TBSCertificate exactly as it is encoded there (RFC 5280 4.1), whatever kind of key it is."""
    position, end = _content(tbs, 0)
    if tbs[position] == 0xA0:  # version
        position = _content(tbs, position)[1]
    for _ in range(5):  # serialNumber, signature, issuer, validity, subject
        position = _content(tbs, position)[1]
    return tbs[position : min(_content(tbs, position)[1], end)]


def _content(der: bytes, start: int) -> tuple[int, int]:
    """Where the content of the element at ``start`` begins and ends. The certificate was parsed before, so it is well-formed."""
    length = der[start + 1]
    position = start + 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(der[position : position + octets], "big")
        position += octets
    return position, position + length

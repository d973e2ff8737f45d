"""A verifiable random function: ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381 5 and 5.5).

The holder of a secret computes an output for any input, which looks random to all others, and can prove each one.
What touches the secret is done by libsodium in constant time. The search for a point (5.4.1.1) takes a time that
depends on the input: inputs are addresses of the domain itself, which it may know. Failure means :class:`Invalid`.
"""

from hashlib import sha512

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
    crypto_sign_seed_keypair,
)

PUBLIC_SIZE = 32
PROOF_SIZE = 80

_SUITE = b"\x03"
_POINT = 32
_CHALLENGE = 16
_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493


class Invalid(ValueError):
    """A key or a proof that does not hold."""


def public(secret: bytes) -> bytes:
    """The key that proofs made with ``secret`` are checked with."""
    return crypto_sign_seed_keypair(secret)[0]


def prove(secret: bytes, data: bytes) -> bytes:
    """The proof for ``data``, ``PROOF_SIZE`` octets (RFC 9381 5.1)."""
    hashed = sha512(secret).digest()
    scalar = bytes([hashed[0] & 248, *hashed[1:31], hashed[31] & 127 | 64])  # RFC 8032 5.1.5
    key = public(secret)
    point = _to_curve(key, data)
    gamma = crypto_scalarmult_ed25519_noclamp(scalar, point)
    nonce = crypto_core_ed25519_scalar_reduce(sha512(hashed[32:] + point).digest())  # 5.4.2.2
    challenge = _challenge(
        key, point, gamma, crypto_scalarmult_ed25519_base_noclamp(nonce), crypto_scalarmult_ed25519_noclamp(nonce, point)
    )
    product = crypto_core_ed25519_scalar_mul(_wide(challenge), crypto_core_ed25519_scalar_reduce(scalar + bytes(32)))
    return gamma + challenge + crypto_core_ed25519_scalar_add(nonce, product)


def output(proof: bytes) -> bytes:
    """The output that ``proof`` proves (5.2); trust it only from a proof that was made here or checked."""
    if len(proof) != PROOF_SIZE or not _holds(proof[:_POINT]):
        raise Invalid("not a proof")
    return sha512(_SUITE + b"\x03" + _eightfold(proof[:_POINT]) + b"\x00").digest()


def verify(key: bytes, data: bytes, proof: bytes) -> bytes:
    """The output for ``data`` if ``proof`` was made with the secret of ``key`` (5.3); raises Invalid."""
    if len(key) != PUBLIC_SIZE or not _holds(key):
        raise Invalid("not a key")
    gamma, challenge, response = proof[:_POINT], proof[_POINT : _POINT + _CHALLENGE], proof[_POINT + _CHALLENGE :]
    if len(proof) != PROOF_SIZE or not _holds(gamma) or int.from_bytes(response, "little") >= _ORDER:
        raise Invalid("not a proof")
    point = _to_curve(key, data)
    try:
        u = crypto_core_ed25519_sub(
            crypto_scalarmult_ed25519_base_noclamp(response), crypto_scalarmult_ed25519_noclamp(_wide(challenge), key)
        )
        v = crypto_core_ed25519_sub(
            crypto_scalarmult_ed25519_noclamp(response, point), crypto_scalarmult_ed25519_noclamp(_wide(challenge), gamma)
        )
    except RuntimeError:  # a scalar of zero, which an honest proof has with probability 2**-128
        raise Invalid("not a proof") from None
    if _challenge(key, point, gamma, u, v) != challenge:
        raise Invalid("the proof is for another key or another input")
    return output(proof)


def _holds(point: bytes) -> bool:
    """Whether it is a point of the prime-order group, in its only form: stricter than 5.4.5, which only refuses keys of low order."""
    return crypto_core_ed25519_is_valid_point(point)


def _challenge(*points: bytes) -> bytes:
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:_CHALLENGE]  # 5.4.3


def _wide(challenge: bytes) -> bytes:
    return challenge + bytes(32 - _CHALLENGE)


def _to_curve(key: bytes, data: bytes) -> bytes:
    """5.4.1.1: half of all candidates are points."""
    for counter in range(256):
        candidate = sha512(_SUITE + b"\x01" + key + data + bytes([counter]) + b"\x00").digest()[:_POINT]
        if int.from_bytes(candidate, "little") & (2**255 - 1) < _FIELD:  # RFC 8032 5.1.3: only the one form of each point
            try:
                return _eightfold(candidate)
            except RuntimeError:
                continue
    raise Invalid("no point for this input")


def _eightfold(point: bytes) -> bytes:
    """The point times the cofactor; raises RuntimeError if it is none."""
    for _ in range(3):
        point = crypto_core_ed25519_add(point, point)
    return point

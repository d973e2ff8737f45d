"""SCRAM-SHA-256 of RFC 5802 and RFC 7677, the server's side: keys, messages, proof. Pure: no I/O, no clock.

A message that breaks the grammar raises ``Malformed``; one that is well formed and must be refused (an unknown
extension, a channel binding we do not have, a downgrade) raises ``Unacceptable``.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping

from attrs import frozen

_CLIENT_FIRST = re.compile(rb"(?P<header>(?P<flag>p=(?P<type>[A-Za-z0-9.-]+)|[ny]),(?:a=(?P<authzid>[^,]+))?,)(?P<bare>.*)\Z", re.DOTALL)
_BARE = re.compile(rb"n=(?P<name>[^,]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]+)*\Z")
_FINAL = re.compile(
    rb"(?P<bare>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]+)*),p=(?P<proof>[A-Za-z0-9+/=]+)\Z"
)
_STRAY = re.compile(r"=(?!2C|3D)")


class Malformed(ValueError):
    """The client's message breaks the grammar."""


class Unacceptable(Exception):
    """The client's message is well formed, but the exchange must fail."""


@frozen(repr=False)
class Keys:
    """What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 3)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


@frozen
class ClientFirst:
    """A parsed client-first-message."""

    header: bytes  # gs2-header, as sent
    binding: str  # name of the channel binding asked for, or ""
    authzid: str
    name: str
    nonce: bytes
    bare: bytes


def derive(password: bytes, salt: bytes, iterations: int) -> Keys:
    """The keys of a (normalised) password; takes a few milliseconds."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(salt, iterations, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def _saslname(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a name is not UTF-8") from None
    if _STRAY.search(text) or "\0" in text:
        raise Malformed("a name is not a saslname")
    return text.replace("=2C", ",").replace("=3D", "=")


def parse_first(message: bytes, plus: bool, bindings: Mapping[str, bytes]) -> ClientFirst:
    """The client-first-message of SCRAM-SHA-256 or (``plus``) SCRAM-SHA-256-PLUS.

    ``bindings`` are the channel bindings that this connection has; having any means that -PLUS was offered.
    """
    match = _CLIENT_FIRST.match(message)
    if match is None:
        raise Malformed("not a client-first-message")
    if match["bare"].startswith(b"m="):
        raise Unacceptable("extensions-not-supported")
    bare = _BARE.match(match["bare"])
    if bare is None:
        raise Malformed("not a client-first-message")
    if (match["type"] is not None) != plus:
        raise Unacceptable("channel binding and mechanism disagree")
    if match["flag"] == b"y" and bindings:
        # The client can bind and believes that we cannot: somebody took -PLUS out of our offer (RFC 5802 6).
        raise Unacceptable("server-does-support-channel-binding")
    binding = (match["type"] or b"").decode("ascii")
    if binding and binding not in bindings:
        raise Unacceptable("unsupported-channel-binding-type")
    authzid = _saslname(match["authzid"]) if match["authzid"] else ""
    return ClientFirst(match["header"], binding, authzid, _saslname(bare["name"]), bare["nonce"], match["bare"])


def server_first(nonce: bytes, keys: Keys) -> bytes:
    """The server-first-message; ``nonce`` is the client's followed by ours."""
    return b"r=%b,s=%b,i=%d" % (nonce, b64encode(keys.salt), keys.iterations)


def verify_final(message: bytes, first: ClientFirst, challenge: bytes, nonce: bytes, binding: bytes, keys: Keys) -> bytes | None:
    """The server-final-message when the client-final-message proves the password, else None.

    ``challenge`` is the server-first-message sent, ``binding`` the data of the channel binding asked for.
    """
    match = _FINAL.match(message)
    if match is None:
        raise Malformed("not a client-final-message")
    try:
        bound = b64decode(match["binding"], validate=True)
        proof = b64decode(match["proof"], validate=True)
    except Base64Error:
        raise Malformed("not base64") from None
    if len(proof) != hashlib.sha256().digest_size:
        raise Malformed("the proof has a wrong size")
    auth_message = b",".join((first.bare, challenge, match["bare"]))
    signature = hmac.digest(keys.stored_key, auth_message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    good = hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key)
    good &= hmac.compare_digest(bound, first.header + binding)
    good &= hmac.compare_digest(match["nonce"], nonce)
    if not good:
        return None
    return b"v=" + b64encode(hmac.digest(keys.server_key, auth_message, "sha256"))

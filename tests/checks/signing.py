"""Signers for tests: keys, and signatures made with dkimpy's canonical forms, so that a mistake of ours shows."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dkim import rfc822_parse, select_headers
from dkim.canonicalization import CanonicalizationPolicy

MESSAGE = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject:  A  test\r\n\tfolded\r\n"
    b"Date: Fri, 01 May 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nHello  Bob, \r\n\r\n\tbye\r\n\r\n\r\n"
)
NAMES = ("from", "to", "subject", "date", "message-id")


@cache
def rsa(bits: int = 2048, exponent: int = 65537) -> RSAPrivateKey:
    return generate_private_key(exponent, bits)


@cache
def ed25519() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def record(key: Any, **tags: str) -> str:
    """The TXT record of ``key``."""
    if isinstance(key, Ed25519PrivateKey):
        kind, octets = "ed25519", key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        kind, octets = "rsa", key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "; ".join(f"{name}={value}" for name, value in ({"v": "DKIM1", "k": kind} | tags | {"p": b64encode(octets).decode()}).items())


def sign(key: Any, digest_of: bytes) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(hashlib.sha256(digest_of).digest())
    signature: bytes = key.sign(digest_of, PKCS1v15(), SHA256())
    return signature


def signature(message: bytes, key: Any = None, names: Sequence[str] = NAMES, body: bytes | None = None, **tags: str) -> bytes:
    """A DKIM-Signature field for ``message``; ``tags`` replace the usual ones, an empty one is left out."""
    key = key or rsa()
    all_tags = {
        "v": "1",
        "a": "ed25519-sha256" if isinstance(key, Ed25519PrivateKey) else "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": "example.org",
        "s": "s",
        "h": ":".join(names),
    } | tags
    return seal(message, key, b"DKIM-Signature", all_tags, body)


def seal(message: bytes, key: Any, field: bytes, tags: dict[str, str], body: bytes | None = None) -> bytes:
    """A field with ``tags`` that signs the fields of its h= and the body of ``message`` (or ``body``, canonical already)."""
    headers, text = rfc822_parse(message)
    form = CanonicalizationPolicy.from_c_value(tags.get("c", "simple/simple").encode())
    canonical = form.canonicalize_body(text) if body is None else body
    if "l" in tags:
        canonical = canonical[: int(tags["l"])]
    tags = {"bh": b64encode(hashlib.sha256(canonical).digest()).decode()} | tags
    start = b" " + "; ".join(f"{name}={value}" for name, value in tags.items() if value).encode() + b"; b="
    chosen = select_headers(form.canonicalize_headers(headers), [name.strip().encode().lower() for name in tags["h"].split(":")])
    [(name, value)] = form.canonicalize_headers([(field, start)])
    signed = b"".join(one + b":" + two for one, two in chosen) + name + b":" + value.rstrip()
    return field + b":" + start + b64encode(sign(key, signed)) + b"\r\n"


def chained(message: bytes, key: Any = None, domain: str = "forwarder.example", results: str = "", **changes: str) -> bytes:
    """``message`` with one more ARC set before it. ``changes``: cv, i, h, l, c of what is made; ``results``: of the AAR."""
    key = key or rsa()
    headers, _ = rfc822_parse(message)
    number = str(1 + sum(name.lower() == b"arc-seal" for name, _ in headers))
    number = changes.get("i", number)
    results = results or f"{domain}; dmarc=pass header.from=example.org"
    aar = f"ARC-Authentication-Results: i={number}; {results}\r\n".encode()
    tags = {"i": number, "a": "rsa-sha256", "c": changes.get("c", "relaxed/relaxed"), "d": domain, "s": "s"}
    if "l" in changes:
        tags["l"] = changes["l"]
    ams = seal(message, key, b"ARC-Message-Signature", tags | {"h": changes.get("h", ":".join(NAMES))})
    headers, _ = rfc822_parse(ams + aar + message)
    form = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    order = [b"arc-authentication-results", b"arc-message-signature", b"arc-seal"]
    sets = [one for one in form.canonicalize_headers(headers) if one[0] in order]
    sets.sort(key=lambda one: (_instance(one), order.index(one[0])))
    cv = changes.get("cv", "none" if number == "1" else "pass")
    start = f" i={number}; a=rsa-sha256; cv={cv}; d={domain}; s=s; b=".encode()
    signed = b"".join(name + b":" + value for name, value in sets) + b"arc-seal:" + start.strip()
    return b"ARC-Seal:" + start + b64encode(sign(key, signed)) + b"\r\n" + ams + aar + message


def _instance(field: tuple[bytes, bytes]) -> int:
    return int(field[1].partition(b"i=")[2].partition(b";")[0])

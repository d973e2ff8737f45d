"""One signature of a message, DKIM's or ARC's: read, and brought to the digests that a key can be asked about. Pure.

``Unusable`` is a signature that need not be looked at further; its ``result`` is one of RFC 8601 2.7.1 and its reason is safe
to show.
"""

import hashlib
import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping

from attrs import field, frozen

from mailx.core.key_record import Unusable
from mailx.core.resolver import ascii_name
from mailx.mail.canonical import Mail, Wanted, field_relaxed
from mailx.mail.tags import compact

NAMES = 500  # header fields that one signature may name
_SIGNATURE_OCTETS = 1024
_SLACK = 300  # seconds that clocks may differ

ALGORITHMS = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}  # and the kind of key each needs; RFC 8301 3.1 took rsa-sha1 away
_FORMS = {"simple": False, "relaxed": True}
_NUMBER = re.compile(r"[0-9]{1,76}\Z")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")
_FIELD_NAMES = re.compile(rb"[\t\r\n ]*:[\t\r\n ]*")


@frozen
class Signature:
    """What a signature says."""

    place: int  # of its field
    tags: Mapping[str, str] = field(repr=False)
    algorithm: str
    domain: str  # A-labels
    selector: str
    signature: bytes = field(repr=False)
    relaxed_header: bool = False
    body: Wanted | None = None
    body_digest: bytes = b""
    names: tuple[bytes, ...] = ()  # h=, lower case

    @property
    def question(self) -> str:
        """Where the key is (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def unsigned(mail: Mail, place: int, relaxed: bool) -> bytes:
    """The signature at ``place`` with its b= emptied, and no line end (RFC 6376 3.7)."""
    raw, _, value = mail.fields[place]
    specs = value.removesuffix(b"\r").split(b";")
    for number, spec in enumerate(specs):
        tag, equals, _ = spec.partition(b"=")
        if tag.strip() == b"b":
            specs[number] = tag + equals
    emptied = raw[: raw.index(b":") + 1] + b";".join(specs)
    return field_relaxed(emptied).removesuffix(b"\r\n") if relaxed else emptied


def digest(mail: Mail, signature: Signature) -> bytes:
    """The SHA-256 over the fields that ``signature`` covers, and over itself."""
    relaxed = signature.relaxed_header
    return hashlib.sha256(mail.covered(signature.names, relaxed) + unsigned(mail, signature.place, relaxed)).digest()


def read(place: int, tags: Mapping[str, str], now: float, *, covers: bool, form: str = "simple/simple") -> Signature:
    """The signature at ``place``; raises Unusable.

    ``covers``: it names header fields and has a body hash, as DKIM-Signature and ARC-Message-Signature do; ARC-Seal does not.
    ``form`` is the c= of those that have none.
    """
    for name in ("a", "b", "d", "s", "bh") if covers else ("a", "b", "d", "s"):
        if not tags.get(name):
            raise Unusable("permerror", f"no {name}=")
    if covers and "h" not in tags:
        raise Unusable("permerror", "no h=")
    if tags["a"] not in ALGORITHMS:
        raise Unusable("permerror", "unsupported algorithm")
    domain = ascii_name(tags["d"])
    if domain is None or not _SELECTOR.match(domain) or not _SELECTOR.match(tags["s"]):
        raise Unusable("permerror", "malformed domain or selector")
    _times(tags, now)
    signature = _octets(tags["b"])
    if not covers:
        return Signature(place, tags, tags["a"], domain, tags["s"], signature, True)
    if "q" in tags and "dns/txt" not in [method.strip() for method in tags["q"].split(":")]:
        raise Unusable("permerror", "unsupported key query")
    names = tuple(_FIELD_NAMES.split(compact(tags["h"]).encode().lower()))
    if len(names) > NAMES:
        raise Unusable("permerror", "too many header fields named")
    header, _, body = tags.get("c", form).partition("/")
    if header not in _FORMS or (body or "simple") not in _FORMS:
        raise Unusable("permerror", "unknown canonicalization")
    length = tags.get("l")
    if length is not None and not _NUMBER.match(length):
        raise Unusable("permerror", "malformed l=")
    wanted = Wanted(_FORMS[body or "simple"], None if length is None else int(length))
    digest = _octets(tags["bh"])
    return Signature(place, tags, tags["a"], domain, tags["s"], signature, _FORMS[header], wanted, digest, names)


def _times(tags: Mapping[str, str], now: float) -> None:
    """Check t= and x= (RFC 6376 3.5); raises Unusable."""
    for name in ("t", "x"):
        if name in tags and not _NUMBER.match(tags[name]):
            raise Unusable("permerror", f"malformed {name}=")
    if "x" in tags:
        if "t" in tags and int(tags["x"]) <= int(tags["t"]):
            raise Unusable("permerror", "expires before it was made")
        if int(tags["x"]) < now - _SLACK:
            raise Unusable("fail", "signature expired")


def _octets(text: str) -> bytes:
    try:
        octets = b64decode(compact(text), validate=True)
    except (Error, ValueError):
        raise Unusable("permerror", "malformed base64") from None
    if len(octets) > _SIGNATURE_OCTETS:
        raise Unusable("permerror", "signature too large")
    return octets

"""DKIM signatures on what goes out (RFC 6376, RFC 8463): keys, the fields that are covered, and the field that says so.

Pure computation, slow enough for a thread: about a fifth of a millisecond for each rsa-sha256 signature. Headers and
bodies are signed in relaxed form, whole: the tag l= is never used.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import TypeAlias

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from mailx.core import key_record
from mailx.mail.canonical import Mail, digest_relaxed, field_relaxed

RSA = "rsa-sha256"
ED25519 = "ed25519-sha256"
ALGORITHMS = (RSA, ED25519)
RSA_BITS = 2048  # RFC 8301 3.2; more does not fit into a DNS answer over UDP everywhere

# What a reader sees or acts on (RFC 6376 5.4.1), as the list h= writes it.
COVERED = tuple(
    b"From Reply-To Subject Date To Cc Message-ID In-Reply-To References Sender MIME-Version Content-Type Content-Transfer-Encoding"
    b" Content-ID Content-Description Resent-Date Resent-From Resent-Sender Resent-To Resent-Cc Resent-Message-ID List-ID List-Help"
    b" List-Unsubscribe List-Unsubscribe-Post List-Subscribe List-Post List-Owner List-Archive Auto-Submitted Autocrypt".split()
)
# Listed once more than they stand, so that nobody can add another behind our back (RFC 6376 8.15).
_SEALED = frozenset(b"from reply-to subject date to cc message-id mime-version content-type content-transfer-encoding".split())
FIELDS_LIMIT = 250  # fields that one signature covers
_COLUMNS = 76

_Private: TypeAlias = RSAPrivateKey | Ed25519PrivateKey


class Unsignable(Exception):
    """The message cannot be signed; the text says why."""


@frozen
class Signer:
    """A private key under its published name."""

    domain: str
    selector: str
    algorithm: str  # of ALGORITHMS
    _key: _Private = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """The base64 of the signature over ``data``."""
        if isinstance(self._key, RSAPrivateKey):
            return b64encode(self._key.sign(data, PKCS1v15(), SHA256()))
        return b64encode(self._key.sign(sha256(data).digest()))  # RFC 8463 3: of the hash


def generate(algorithm: str) -> tuple[bytes, str]:
    """A new key: the private half (PKCS #8) and what its record says behind p=. Slow: some hundred milliseconds for RSA."""
    if algorithm == ED25519:
        edwards = Ed25519PrivateKey.generate()
        public = edwards.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463 4
        return edwards.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), b64encode(public).decode("ascii")
    key = generate_private_key(65537, RSA_BITS)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), b64encode(public).decode("ascii")


def signer(domain: str, selector: str, algorithm: str, private: bytes) -> Signer:
    """The signer with the ``private`` half that ``generate`` made; raises ValueError if it is no such key."""
    # Checking the numbers of an RSA key takes 25 ms, and what comes from under our own seal was checked when it was made.
    key = load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey if algorithm == RSA else Ed25519PrivateKey):
        raise ValueError("the key is of another kind")
    return Signer(domain, selector, algorithm, key)


def record(algorithm: str, public: str) -> str:
    """The text of the TXT record that publishes a key (RFC 6376 3.6.1)."""
    return f"v=DKIM1; k={'rsa' if algorithm == RSA else 'ed25519'}; p={public}"


def publishes(text: bytes, algorithm: str, public: str) -> bool:
    """Whether the TXT record ``text`` offers just this key for mail: read as those read it who verify."""
    try:
        found = key_record.read(text)
        return found.public == key_record.read(record(algorithm, public).encode("ascii")).public and found.takes_sha256
    except key_record.KeyProblem:
        return False


@frozen
class Digest:
    """What all signatures on one message share."""

    covered: tuple[bytes, ...]  # names as h= lists them
    fields: bytes  # the covered fields in relaxed form
    body: bytes  # base64 of the hash of the body


def digest(mail: Mail, more: Sequence[bytes] = ()) -> Digest:
    """Read ``mail``; ``more`` are names of fields covered as well, where they stand. Raises Unsignable."""
    names = (*COVERED, *more)
    count = [mail.count(name.lower()) for name in names]
    if sum(count) > FIELDS_LIMIT:
        raise Unsignable("too many header fields")
    if not mail.count(b"from"):
        raise Unsignable("no From field")  # RFC 6376 5.4: From is covered always
    covered: list[bytes] = []
    for name, there in zip(names, count, strict=True):
        covered += [name] * (there + (name.lower() in _SEALED))
    lines = mail.covered([name.lower() for name in covered], True)
    return Digest(tuple(covered), lines, b64encode(digest_relaxed(mail.content, mail.body)))


def sign(content: bytes, signers: Sequence[Signer], now: int) -> bytes:
    """The DKIM-Signature fields of ``content`` (CRLF line ends), one for each of ``signers``; raises Unsignable."""
    shared = digest(Mail(content))
    return b"".join([_signature(shared, signer, now) for signer in signers])


def _signature(shared: Digest, signer: Signer, now: int) -> bytes:
    head = f"v=1; a={signer.algorithm}; c=relaxed/relaxed; d={signer.domain};\r\n\ts={signer.selector}; t={now};\r\n".encode("ascii")
    return signed(b"DKIM-Signature: " + head + body_tags(shared), shared.fields, signer)


def body_tags(shared: Digest) -> bytes:
    """The tags h= and bh=, folded, the line after them begun."""
    return b"\t" + folded(b"h=", shared.covered, b":") + b";\r\n\tbh=" + shared.body + b";\r\n\t"


def signed(head: bytes, data: bytes, signer: Signer) -> bytes:
    """The whole field that begins with ``head``, its tag b= added: the signature over ``data`` and over the field itself."""
    head += b"b="
    signature = signer.sign(data + field_relaxed(head)[:-2])  # RFC 6376 3.7: without the value of b= and the line end
    return head + b"\r\n\t ".join([signature[start : start + 72] for start in range(0, len(signature), 72)]) + b"\r\n"


def folded(head: bytes, words: Sequence[bytes], between: bytes) -> bytes:
    """``head`` and ``words`` with ``between`` after each but the last, on lines of at most 78 columns that begin with a tab."""
    lines = [head]
    for number, word in enumerate(words):
        piece = word if number == len(words) - 1 else word + between
        if len(lines[-1]) + len(piece) > _COLUMNS - 8 and lines[-1] != head:
            lines.append(b" ")
        lines[-1] += piece
    return b"\r\n\t".join(lines)

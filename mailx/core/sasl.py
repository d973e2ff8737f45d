"""SASL (RFC 4422), the server's side: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS.

An :class:`Exchange` takes the client's responses, already out of base64, and gives challenges until it gives the user.
It ends by :class:`LoginRefused` (the same for every reason but a temporary one) or :class:`Malformed` (not in the
mechanism's grammar); after either it is spent. A client's ``*`` is the edge's business.
"""

import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from hashlib import new as new_hash
from typing import TYPE_CHECKING, Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.SSL import Connection

from mailx.core import scram
from mailx.core.scram import Malformed
from mailx.core.users import User
from mailx.mail.address import Address, AddressError
from mailx.mail.envelope import Origin

if TYPE_CHECKING:
    from mailx.core.access import Access, Claim

__all__ = ["Exchange", "LoginRefused", "Malformed", "User", "channel_bindings", "written"]

_LIMIT = 4096  # octets of one response
_EXPORTER = b"EXPORTER-Channel-Binding"  # RFC 9266 2


class LoginRefused(Exception):
    """Nobody was logged in. ``temporary``: not judged (too many failures, the store is away, too busy); try again later.

    ``outcome`` is "refused", "throttled" or "unavailable", for counters. The text is the same for every reason of one kind.
    """

    def __init__(self, temporary: bool = False, outcome: str = "refused") -> None:
        super().__init__("Temporary authentication failure" if temporary else "Authentication credentials invalid")
        self.temporary = temporary
        self.outcome = outcome


class Exchange(Protocol):
    """One authentication exchange."""

    def first(self) -> bytes:
        """The first challenge, for a client that sent no initial response."""

    async def step(self, response: bytes) -> bytes | User:
        """The next challenge, or the user; raises LoginRefused, Malformed."""


def written(username: str) -> str:
    """``username`` as a log may have it: what is no address may be a password in the wrong place."""
    try:
        Address.parse(username)
    except AddressError:
        return ""
    return username


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None


def _check_authzid(authzid: str, name: str) -> None:
    """Nobody may act for somebody else."""
    if authzid and authzid.casefold() != name.casefold():
        raise LoginRefused


class _Steps(ABC):
    """What the exchanges share: the access they ask, and their end."""

    def __init__(self, access: "Access", origin: Origin) -> None:
        self._access = access
        self._origin = origin
        self._ended = False

    def first(self) -> bytes:
        return b""

    async def step(self, response: bytes) -> bytes | User:
        if self._ended or len(response) > _LIMIT:
            raise Malformed("out of turn" if self._ended else "too long")
        self._ended = True
        answer = await self._next(response)
        self._ended = isinstance(answer, User)
        return answer

    @abstractmethod
    async def _next(self, response: bytes) -> bytes | User:
        """What comes after ``response``, in turn."""


class Plain(_Steps):
    """PLAIN (RFC 4616)."""

    async def _next(self, response: bytes) -> bytes | User:
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise Malformed("not authzid NUL authcid NUL password")
        authzid, name, password = map(_text, parts)
        _check_authzid(authzid, name)
        return await self._access.login(name, password, self._origin, "PLAIN")


class Login(_Steps):
    """LOGIN: a name, then a password (draft-murchison-sasl-login)."""

    _name: str | None = None

    def first(self) -> bytes:
        return b"Username:"

    async def _next(self, response: bytes) -> bytes | User:
        if self._name is None:
            self._name = _text(response)
            return b"Password:"
        return await self._access.login(self._name, _text(response), self._origin, "LOGIN")


class CramMD5(_Steps):
    """CRAM-MD5 (RFC 2195). The server speaks first, so there is no initial response."""

    _challenge = b""

    def first(self) -> bytes:
        self._challenge = b"<%s@%s>" % (secrets.token_hex(16).encode("ascii"), b"mailx")
        return self._challenge

    async def _next(self, response: bytes) -> bytes | User:
        name, space, digest = response.rpartition(b" ")
        if not self._challenge or not space or not name or len(digest) != 32:
            raise Malformed("not name, space, digest")
        claim = await self._access.claim(_text(name), self._origin, "CRAM-MD5")
        key = claim.verifiers.plain
        expected = hmac.new(key or b"\0" * 16, self._challenge, "md5").hexdigest().encode("ascii")
        good = hmac.compare_digest(expected, digest.lower()) and key is not None
        return await self._access.settle(claim, good)


class Scram(_Steps):
    """SCRAM-SHA-256, with ``plus`` SCRAM-SHA-256-PLUS."""

    _claim: "Claim"
    _client: scram.ClientFirst | None = None
    _user: User | None = None

    def __init__(self, access: "Access", origin: Origin, bindings: Mapping[str, bytes], plus: bool) -> None:
        super().__init__(access, origin)
        self._bindings = bindings
        self._plus = plus

    async def _next(self, response: bytes) -> bytes | User:
        if self._user is not None:
            if response:
                raise Malformed("nothing is left to say")
            return await self._access.confirm(self._claim, self._user)  # the client took its time
        try:
            return await (self._begin(response) if self._client is None else self._finish(response, self._client))
        except scram.Unacceptable:
            raise LoginRefused from None

    async def _begin(self, response: bytes) -> bytes:
        client = scram.parse_first(response, self._plus, self._bindings)
        _check_authzid(client.authzid, client.name)
        self._claim = await self._access.claim(client.name, self._origin, self._mechanism)
        self._client = client
        self._nonce = client.nonce + secrets.token_urlsafe(18).encode("ascii")
        self._challenge = scram.server_first(self._nonce, self._claim.verifiers.scram)
        return self._challenge

    async def _finish(self, response: bytes, client: scram.ClientFirst) -> bytes:
        binding = self._bindings[client.binding] if client.binding else b""
        final = scram.verify_final(response, client, self._challenge, self._nonce, binding, self._claim.verifiers.scram)
        self._user = await self._access.settle(self._claim, final is not None)
        assert final is not None
        return final

    @property
    def _mechanism(self) -> str:
        return "SCRAM-SHA-256-PLUS" if self._plus else "SCRAM-SHA-256"


def channel_bindings(transport: Any) -> dict[str, bytes]:
    """What ties an exchange to this TLS connection: tls-exporter (RFC 9266), tls-server-end-point (RFC 5929 4).

    ``transport`` is a Twisted TLS transport; any other has no bindings.
    """
    connection = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(connection, Connection):
        return {}
    bindings = {}
    # Before TLS 1.3 exported keys are unique only with the extended master secret (RFC 9266 4.2), which cannot be asked for here.
    if connection.get_protocol_version_name() == "TLSv1.3":
        bindings["tls-exporter"] = connection.export_keying_material(_EXPORTER, 32, b"")
    certificate = connection.get_certificate()
    if certificate is not None and (end_point := _end_point(certificate.to_cryptography())) is not None:
        bindings["tls-server-end-point"] = end_point
    return bindings


def _end_point(certificate: x509.Certificate) -> bytes | None:
    """The certificate's hash under its signature's hash function, SHA-256 in place of MD5 and SHA-1.

    None where that is undefined: an Ed25519 signature names no hash function.
    """
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return new_hash(name, certificate.public_bytes(Encoding.DER)).digest()

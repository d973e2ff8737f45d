"""``/identity/ADDRESS``: the attested keys of a user; by the owner's name and password they are enrolled and revoked.

Somebody without keys and somebody who does not exist are answered alike. Passwords go through the same throttle as those of
mail clients, and only over TLS.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Sequence
from typing import Protocol

from mailx.core import audit
from mailx.core.access import Access, LoginRefused
from mailx.core.accounts import DirectoryError
from mailx.core.audit import Actor
from mailx.core.users import User
from mailx.identity.encoding import JSON, Malformed, parse
from mailx.identity.enrolment import LIMIT
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address, AddressError
from mailx.mail.envelope import Origin, new_id
from mailx.web.public.part import Declined, Names, Route, json_answer
from mailx.web.requests import Answer, Asked

RULE = "/identity/<address>"
FRESH = 300  # seconds that caches may keep somebody's keys
_REALM = {"www-authenticate": 'Basic realm="MailX", charset="UTF-8"'}
_CREDENTIALS_LIMIT = 2048  # characters
_STATUS = {"not_found": 404, "exists": 409, "in_use": 409, "invalid": 422, "limit": 422}


class Users(Protocol):
    """The keys of our users; :class:`mailx.core.user_keys.UserKeys`."""

    def history(self, address: Address) -> Awaitable[Sequence[Attestation]]: ...


class Clients(Protocol):
    """Those that their owners hold; :class:`mailx.core.client_keys.ClientKeys`."""

    async def enrol(self, address: str | Address, request: JSON) -> Attestation: ...

    async def off(self, address: str | Address) -> User: ...


class Identity:
    """Shows the keys of users, and takes them from their owners."""

    def __init__(self, users: Users, clients: Clients, access: Access) -> None:
        self._users = users
        self._clients = clients
        self._access = access

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", RULE, self.show),
            Route("PUT", RULE, self.enrol, LIMIT),
            Route("DELETE", RULE, self.revoke),
        )

    async def show(self, asked: Asked, names: Names) -> Answer:
        """All that was attested for the address, the oldest first."""
        address = _address(names)
        history = await self._users.history(address)
        if not history:
            raise Declined(404, "no keys of that address here")
        return json_answer({"address": address.key, "history": [each.statement.encode() for each in history]}, fresh=FRESH)

    async def enrol(self, asked: Asked, names: Names) -> Answer:
        """Attest the keys that the body asks for; the owner's password proves whose they are."""
        user = await self._owner(asked, _address(names))
        if isinstance(user, Answer):
            return user
        try:
            request = parse(asked.body, LIMIT)
        except Malformed:
            raise Declined(400, "the body is no request to enrol keys") from None
        with audit.acting(_actor(user, asked), "keys.enrol", str(user.address)):
            try:
                made = await self._clients.enrol(user.address, request)
            except DirectoryError as error:
                raise Declined(_STATUS.get(error.code, 422), f"{error.text}. {error.remedy}".strip()) from None
        return json_answer({"attestation": made.statement.encode()})

    async def revoke(self, asked: Asked, names: Names) -> Answer:
        """Seal nothing more for the owner."""
        user = await self._owner(asked, _address(names))
        if isinstance(user, Answer):
            return user
        with audit.acting(_actor(user, asked), "keys.revoke", str(user.address)):
            try:
                await self._clients.off(user.address)
            except DirectoryError as error:
                raise Declined(_STATUS.get(error.code, 422), f"{error.text}. {error.remedy}".strip()) from None
        return json_answer({})

    async def _owner(self, asked: Asked, address: Address) -> "User | Answer":
        """Who proves by a password to be the owner of ``address``, or the answer that says that nobody does; raises Declined."""
        if not asked.secure:
            raise Declined(403, "passwords are taken over TLS only")
        credentials = _credentials(asked.header("authorization"))
        if credentials is None:
            return _unauthorized()
        origin = Origin("HTTPS", new_id(), asked.address, tls="TLS")
        try:
            user = await self._access.login(*credentials, origin, "BASIC", owner=True)
        except LoginRefused as refused:
            if refused.temporary:
                raise Declined(429, "too many attempts, try again later", 60) from None
            return _unauthorized()
        if user.address.key != address.key:
            raise Declined(403, "these are the name and password of another account")
        return user


def _credentials(header: str) -> tuple[str, str] | None:
    """The name and password of an Authorization header (RFC 7617)."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _CREDENTIALS_LIMIT:
        return None
    try:
        name, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (Base64Error, ValueError):
        return None
    return (name, password) if colon and name and password else None


def _unauthorized() -> Answer:
    answer = json_answer({"error": "the name or the password of the account is not right"}, 401)
    return Answer(401, answer.body, {**answer.headers, **_REALM})


def _actor(user: User, asked: Asked) -> Actor:
    return Actor("user", str(user.address), asked.address)


def _address(names: Names) -> Address:
    try:
        return Address.parse(names["address"])
    except AddressError:
        raise Declined(404, "no keys of that address here") from None

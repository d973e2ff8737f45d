"""API keys: what programs administer the server with, over HTTP.

A key is ``mailx_`` with a visible part and a secret part: the first finds it, of the second only a keyed hash is kept, so
that it is shown once, when it is made. A key may do what its scopes say: ``read`` is looking at everything but secrets,
``GROUP:write`` changing what belongs to that group. Whoever holds ``access:write`` can make administrators and keys, and
so do everything. What is refused rises as ``DirectoryError``; a key that is not good is None, whatever is wrong with it.
"""

import hmac
import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Iterable
from time import time
from typing import TypeAlias

from attrs import frozen
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.store import Store, api_keys
from mailx.store.api_keys import Stored
from mailx.store.cipher import Cipher
from mailx.store.names import Missing, Taken

log = Logger()

READ = "read"
GROUPS = ("access", "directory", "dkim", "index", "keys", "peers", "queue", "settings", "webhook")
SCOPES = (READ, *(f"{group}:write" for group in GROUPS))
KEYS = 500
USED_SECONDS = 60  # a key's use is written at most this often
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
_KEY = re.compile(r"(mailx_[a-z2-7]{8})_([A-Za-z0-9_-]{43})\Z")
_YEARS = 100 * 366 * 86400  # the longest life of a key with an end
_PURPOSE = b"apikey"


@frozen
class Key:
    """One key as administrators see it. Times are seconds since 1970."""

    id: int
    name: str
    prefix: str
    scopes: tuple[str, ...]
    creator: str
    created: int
    expires: int | None
    revoked: int | None
    last_used: int | None

    def good(self, now: float) -> bool:
        """Whether it can be used."""
        return self.revoked is None and (self.expires is None or self.expires > now)

    def may(self, scope: str) -> bool:
        """Whether it has that scope."""
        return scope in self.scopes


Listed: TypeAlias = list[Key]


class ApiKeys:
    """All API keys."""

    def __init__(self, store: Store, cipher: Cipher, now: Callable[[], float] = time) -> None:
        self._store = store
        self._cipher = cipher
        self._now = now

    async def list(self) -> Listed:
        """Every key, by name."""
        return [_key(each) for each in await self._store.read(api_keys.all)]

    async def find(self, name: str) -> Key:
        """The key of that name; raises DirectoryError."""
        found = await self._store.read(api_keys.by_name, name) if _NAME.match(name) else None
        if found is None:
            raise _missing(name)
        return _key(found)

    async def add(self, name: str, scopes: Iterable[str], expires: int | None = None) -> tuple[Key, str]:
        """Make a key; returns it with its text, for the only time. ``expires``: seconds since 1970; None: never."""
        name, now = name.strip().lower(), int(self._now())
        if not _NAME.match(name):
            raise DirectoryError(
                "invalid", "this is not a name for a key", "Use up to 64 of the letters a-z, digits, and . _ - between them."
            )
        wanted = tuple(sorted(set(scopes)))
        if not wanted or not set(wanted) <= set(SCOPES):
            raise DirectoryError("invalid", "a key needs scopes that there are", f"Scopes are {', '.join(SCOPES)}.")
        if expires is not None and not now < expires < now + _YEARS:
            raise DirectoryError("invalid", "the key would not expire in the future", "Name a later time.")
        if len(await self._store.read(api_keys.all)) >= KEYS:
            raise DirectoryError("limit", f"there are {KEYS} keys already", "Delete those that were revoked.")
        prefix = "mailx_" + b32encode(secrets.token_bytes(5)).decode("ascii").lower()
        secret = secrets.token_urlsafe(32)
        audit.note(target=name, after={"name": name, "prefix": prefix, "scopes": list(wanted), "expires": expires})
        args = name, prefix, self._hash(prefix, secret), wanted, audit.by(), now, expires
        try:
            made = await self._store.write(api_keys.add, *args)
        except Taken:
            raise DirectoryError("exists", f"there is a key {name} already", "Choose another name, or delete that one.") from None
        log.info("API key made", event="apikey.added", key=name, prefix=prefix)
        return _key(made), f"{prefix}_{secret}"

    async def revoke(self, name: str) -> None:
        """The key is good for nothing any more."""
        found = await self.find(name)
        audit.note(target=name, before={"prefix": found.prefix, "revoked": False}, after={"revoked": True})
        try:
            await self._store.write(api_keys.revoke, name, int(self._now()))
        except Missing:
            raise DirectoryError("not_found", f"the key {name} was revoked already") from None
        log.info("API key revoked", event="apikey.revoked", key=name)

    async def delete(self, name: str) -> None:
        """Forget a key; it is good for nothing any more."""
        found = await self.find(name)
        audit.note(target=name, before={"prefix": found.prefix, "scopes": list(found.scopes)})
        try:
            await self._store.write(api_keys.delete, name)
        except Missing:
            raise _missing(name) from None
        log.info("API key deleted", event="apikey.deleted", key=name)

    async def authenticate(self, text: str) -> Key | None:
        """The key that ``text`` is, if it is good. Raises Unavailable."""
        match = _KEY.match(text)
        if match is None:
            return None
        found = await self._store.read(api_keys.by_prefix, match[1])
        hash = self._hash(match[1], match[2])
        if not hmac.compare_digest(hash, bytes(len(hash)) if found is None else found.hash) or found is None:
            return None
        key, now = _key(found), self._now()
        if not key.good(now):
            return None
        if key.last_used is None or now - key.last_used >= USED_SECONDS:
            await self._use(key, int(now))
        return key

    async def _use(self, key: Key, now: int) -> None:
        try:
            with audit.apart():
                await self._store.write(api_keys.used, key.id, now)
        except Unavailable as error:
            log.warn("A key's use was not noted: {reason}", event="apikey.not_noted", reason=error.reason)

    def _hash(self, prefix: str, secret: str) -> bytes:
        """The secret part has 256 random bits: a keyed hash is enough."""
        return self._cipher.hash(_PURPOSE, prefix.encode(), secret.encode())


def _key(found: Stored) -> Key:
    return Key(
        found.id, found.name, found.prefix, found.scopes, found.creator, found.created, found.expires, found.revoked, found.last_used
    )


def _missing(name: str) -> DirectoryError:
    return DirectoryError("not_found", f"there is no API key {name[:64]}", "`mailxctl apikey list` shows them.")

"""App passwords: further passwords of an account, one for each mail program, made here, shown once, revoked one by one.

They log in like the account's own password, wherever that does; an account that is sealed is opened by them too. What is
refused rises as ``DirectoryError``.
"""

import secrets
from time import time

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit, wrapping
from mailx.core.accounts import Accounts
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.users import DirectoryError, User
from mailx.mail.address import Address
from mailx.store import Store
from mailx.store import app_passwords as rows
from mailx.store.app_passwords import AppPassword, Found
from mailx.store.cipher import Cipher
from mailx.store.names import Missing, Taken

__all__ = ["AppPassword", "AppPasswords"]

log = Logger()

_NAME_LIMIT = 64  # characters


class AppPasswords:
    """All of them. ``sealed`` knows the accounts whose key they must open."""

    def __init__(self, store: Store, cipher: Cipher, accounts: Accounts, sealed: SealedAccounts) -> None:
        self._store = store
        self._cipher = cipher
        self._accounts = accounts
        self._sealed = sealed

    # Logins

    async def find(self, user: User | None, password: str) -> Found | None:
        """The app password of ``user`` that this is. Nobody (None) has none, and is asked for by the same steps. Raises Unavailable."""
        secret = wrapping.app_secret(password)
        if secret is None:
            return None
        account = 0 if user is None else user.id
        return await self._store.read(rows.find, account, rows.digest(self._cipher, account, secret))

    async def there(self, id: int) -> bool:
        """Whether it was not revoked; raises Unavailable."""
        return await self._store.read(rows.there, id)

    def note_used(self, id: int) -> None:
        """Keep that it was logged in with."""
        Deferred.fromCoroutine(self._note_used(id)).addErrback(_not_noted)

    async def _note_used(self, id: int) -> None:
        with audit.apart():
            await self._store.write(rows.note_used, id)

    # What administrators change

    async def every(self, address: str | Address) -> list[AppPassword]:
        """Those of an account, older ones first."""
        user = (await self._accounts.find(address)).user
        return await self._store.read(rows.every, self._cipher, user.id)

    async def add(self, address: str | Address, name: str, password: str = "") -> tuple[AppPassword, str]:
        """A new one for the program ``name``, and its text, told once. That of a sealed account needs the account's password."""
        name = _name(name)
        user, key = await self._sealed.held_key(address, password)
        text = wrapping.app_password()
        secret, salt = wrapping.app_secret(text) or b"", secrets.token_bytes(wrapping.SALT_OCTETS)
        public = wrapping.public_of(wrapping.seed_of(secret, salt))
        wrapped = None if key is None else wrapping.wrap(public, user.id, key)
        hash = rows.digest(self._cipher, user.id, secret)
        audit.note(target=str(user.address), after={"app_password": name})
        try:
            made = await self._store.write(
                rows.add, self._cipher, user.id, name, hash, secrets.token_bytes(16), salt, public, wrapped, int(time())
            )
        except Taken:
            raise DirectoryError(
                "exists", f"{user.address} has an app password of that name", "Revoke it first, or name this one."
            ) from None
        except rows.Full:
            raise DirectoryError("limit", f"{user.address} has {rows.LIMIT} app passwords already", "Revoke what nobody uses.") from None
        except Missing:
            raise DirectoryError("not_found", f"{user.address} was changed meanwhile", "Try again.") from None
        log.info("App password added", event="account.app_password_added", user_id=user.id, email=str(user.address))
        return made, text

    async def revoke(self, address: str | Address, name: str) -> None:
        """The app password is good for nothing any more, and the account's sessions end."""
        user = (await self._accounts.find(address)).user
        audit.note(target=str(user.address), before={"app_password": name})
        try:
            await self._store.write(rows.revoke, self._cipher, user.id, name.strip())
        except Missing:
            raise DirectoryError(
                "not_found", f"{user.address} has no app password {name!r}", f"`mailxctl user app-password list {user.address}` shows them."
            ) from None
        self._accounts.revoke(user.id)
        log.info("App password revoked", event="account.app_password_revoked", user_id=user.id, email=str(user.address))


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > _NAME_LIMIT or not name.isprintable():
        raise DirectoryError("invalid", "this is no name for an app password", f"Give up to {_NAME_LIMIT} characters: phone, laptop.")
    return name


def _not_noted(failure: Failure) -> None:
    log.failure("The use of an app password was not noted", failure, event="auth.app_password_not_noted")

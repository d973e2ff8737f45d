"""Sealed accounts whose key this server keeps, wrapped: made, opened by logins, given other passwords, and made ordinary again.

The account key is wrapped under each credential of the owner and under nothing else, so that whoever has the disk and the
server's secret opens nothing. What an administrator may not know is asked for: the password, or the recovery code. What is
refused rises as ``DirectoryError``; a store that does not answer as ``Unavailable``, too many passwords at once as ``Busy``.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Protocol

from attrs import evolve
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from mailx.core import audit, wrapping
from mailx.core.accounts import Accounts
from mailx.core.keyring import Keyring
from mailx.core.passwords import PasswordError, Passwords
from mailx.core.users import LOST_WITHOUT, SERVER, DirectoryError, User
from mailx.core.wrapping import WrongSecret
from mailx.mail.address import Address
from mailx.mail.reply import Unavailable
from mailx.store import Store, account_keys, app_passwords, sealed_mail
from mailx.store.account_keys import OPENING, PASSWORD, RECOVERY, SEALED, SEALING, Keys, Wrap
from mailx.store.cipher import Cipher

log = Logger()

_OWNERS = "Give the one that the owner has: it opens the account's key."


class Binding(Protocol):
    """What attests the public keys of accounts: :class:`mailx.core.user_keys.UserKeys`."""

    async def bind(self, account: int, sealing: bytes, signing: bytes, holder: str) -> object: ...

    async def revoke(self, account: int) -> object: ...


class Nobody:
    """Attests nothing, where no keys of domains are."""

    async def bind(self, account: int, sealing: bytes, signing: bytes, holder: str) -> None:
        """No attestation is made."""

    async def revoke(self, account: int) -> None:
        """There is none."""


class SealedAccounts:
    """The accounts with ``User.sealed == SERVER``. ``binding`` attests their public keys."""

    def __init__(
        self, store: Store, cipher: Cipher, accounts: Accounts, passwords: Passwords, keyring: Keyring, binding: Binding | None = None
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._accounts = accounts
        self._passwords = passwords
        self._keyring = keyring
        self._binding: Binding = binding or Nobody()
        self._opening: dict[int, DeferredLock] = {}
        accounts.on_revocation(keyring.drop)

    async def load(self) -> None:
        """Attest the keys of accounts whose sealing a crash cut short. Call once, when keys can be attested."""
        for account in await self._store.read(account_keys.unfinished):
            keys = await self._store.read(account_keys.one, account)
            if keys is not None:
                await (self._unbind(account) if keys.state == OPENING else self._try_to_bind(account))

    async def public(self, account: int) -> bytes | None:
        """The X25519 key to seal to, never one that was given up meanwhile; None if the account is not sealed here."""
        keys = await self._store.read(account_keys.one, account)
        return None if keys is None else keys.sealing

    # Logins

    async def open(self, user: User, password: str, found: app_passwords.Found | None = None) -> bool:
        """Open the account's keys with the password that just logged in (``found``: with that app password), if they are not open.

        False if that does not open them, which is a fault of the store. Raises Busy, Unavailable.
        """
        if await self._current(user.id):
            return True
        # A client that opens several connections at once pays for one.
        lock = self._opening.setdefault(user.id, DeferredLock())
        await lock.acquire()
        try:
            return await self._current(user.id) or await self._open(user, password, found)
        finally:
            lock.release()
            if not lock.locked:
                self._opening.pop(user.id, None)

    async def _current(self, account: int) -> bool:
        """Whether the keys that are open are those of now: another server may have exchanged them."""
        if self._keyring.get(account) is None:
            return False
        keys = await self._store.read(account_keys.one, account)
        held = self._keyring.get(account)
        return keys is None or (held is not None and keys.sealing == wrapping.public_of(held.sealing))

    async def _open(self, user: User, password: str, found: app_passwords.Found | None) -> bool:
        keys = await self._store.read(account_keys.one, user.id)
        if keys is None:
            return True  # no longer sealed
        try:
            if found is not None:
                secret = wrapping.app_secret(password) or b""
                key = wrapping.unwrap(wrapping.seed_of(secret, found.salt), user.id, found.wrapped or b"")
            else:
                key, _ = await self._unwrapped(user.id, password, "")
            opened = wrapping.unpack(key, user.id, keys.bundle)
        except WrongSecret:
            log.error("The keys of a sealed account do not open", event="keyring.not_opened", user_id=user.id)
            return False
        if not keys.bound and keys.state != OPENING:
            with audit.apart():
                await self._try_to_bind(user.id)
        now = await self._accounts.fresh(user.id)
        if now is not None and now.active and now.credentials_version == user.credentials_version:
            await self._keyring.put(opened)  # otherwise whoever logs in learns why
        return True

    async def _unwrapped(self, account: int, password: str, recovery: str) -> tuple[bytes, Wrap]:
        """The account key, by the password or by the recovery code, and what wrapped it; raises WrongSecret."""
        if password:
            wrap = await self._store.read(account_keys.wrap, account, PASSWORD)
            if wrap is None:
                raise WrongSecret
            try:
                seed = await self._passwords.stretch(password, wrap.salt, wrap.cost)
            except (PasswordError, ValueError):
                raise WrongSecret from None
        else:
            wrap = await self._store.read(account_keys.wrap, account, RECOVERY)
            secret = wrapping.recovery_secret(recovery)
            if wrap is None or secret is None:
                raise WrongSecret
            seed = wrapping.seed_of(secret, wrap.salt)
        return wrapping.unwrap(seed, account, wrap.wrapped), wrap

    # What administrators change

    async def seal(self, address: str | Address, password: str) -> str:
        """Seal an ordinary account; returns its recovery code, which is told once.

        Its sessions end; mail that is here already is sealed in the background.
        """
        user = (await self._accounts.find(address)).user
        if user.sealed:
            raise DirectoryError("exists", f"{user.address} is sealed already, held by the {user.sealed}", "Turn that off first.")
        known, verifiers = await self._accounts.verifiers(str(user.address), user.address)
        if known is None or not await self._accounts.credentials.fits(verifiers, password):
            raise DirectoryError("invalid", f"this is not the password of {user.address}", "The owner's password opens the account's key.")
        fresh = wrapping.fresh(user.id)
        code, wraps = await self._wraps(user.id, fresh.key, password)
        login = await self._accounts.credentials.fresh(password, proofs=False)
        stored = Keys(user.id, fresh.sealing, fresh.keys.signing.public, fresh.bundle(), SEALING)
        audit.note(target=str(user.address), before={"sealed": ""}, after={"sealed": SERVER})
        try:
            await self._accounts.change(account_keys.begin, stored, wraps, login, _rewrap(fresh), int(time()))
        except account_keys.Sealed:
            raise DirectoryError("exists", f"{user.address} is sealed already", "") from None
        self._accounts.revoke(user.id)
        log.info("Account sealed", event="account.sealed", user_id=user.id, email=str(user.address), holder=SERVER)
        with audit.apart():
            await self._try_to_bind(user.id)
            await self._keyring.put(fresh.keys)
        return code

    async def open_for_good(self, address: str | Address, password: str = "", recovery: str = "") -> None:
        """Make a sealed account ordinary again; its mail is opened in the background."""
        user, keys = await self._held(address)
        key, _ = await self._proved(user, password, recovery)
        opened = wrapping.unpack(key, user.id, keys.bundle)
        audit.note(target=str(user.address), before={"sealed": SERVER}, after={"sealed": ""})
        await self._accounts.change(partial(account_keys.turn, of=(SEALING, SEALED)), user.id, OPENING)
        log.info("Account opened", event="account.opened", user_id=user.id, email=str(user.address))
        with audit.apart():
            await self._unbind(user.id)
            await self._keyring.put(opened)

    async def ended(self, account: int) -> bool:
        """Make the account ordinary, unless something is sealed under its keys still. Its sessions end."""
        if not await self._accounts.change(account_keys.end, account):
            return False
        self._accounts.revoke(account)
        return True

    async def recovery_code(self, address: str | Address, password: str) -> str:
        """A new recovery code in place of the old one; it is told once."""
        user, _ = await self._held(address)
        key, _ = await self._proved(user, password, "")
        code, wrap = _recovery(user.id, key)
        audit.note(target=str(user.address), after={"recovery": audit.HIDDEN})
        await self._accounts.change(account_keys.set_wrap, user.id, wrap, int(time()))
        log.info("Recovery code changed", event="account.recovery_code", user_id=user.id, email=str(user.address))
        return code

    async def renew_keys(self, address: str | Address, password: str) -> None:
        """Other keys to seal to and to sign with. What was sealed to the former ones opens still, and nothing is converted."""
        user, keys = await self._held(address)
        key, _ = await self._proved(user, password, "")
        opened = wrapping.renewed(wrapping.unpack(key, user.id, keys.bundle))
        audit.note(target=str(user.address), after={"keys": "renewed"})
        stored = evolve(
            keys, sealing=wrapping.public_of(opened.sealing), signing=opened.signing.public, bundle=wrapping.pack(key, opened), bound=False
        )
        if not await self._accounts.change(account_keys.exchange, keys, stored):
            raise DirectoryError("exists", f"the keys of {user.address} were changed meanwhile", "Try again.")
        log.info("Keys of an account renewed", event="account.keys_renewed", user_id=user.id, email=str(user.address))
        with audit.apart():
            if self._keyring.get(user.id) is not None:  # first: what comes from now on is sealed to them
                await self._keyring.put(opened)
            await self._try_to_bind(user.id)

    async def set_password(self, address: str | Address, new: str, *, old: str = "", recovery: str = "", lose: bool = False) -> str:
        """Give any account a new password. That of a sealed one needs the old password or the recovery code.

        With ``lose`` it needs neither, the account gets new keys, and what was sealed is gone: the new recovery code is returned.
        """
        user = (await self._accounts.find(address)).user
        if user.sealed != SERVER:
            await self._accounts.set_password(user.address, new)
            return ""
        if not old and not recovery and lose:
            return await self._renew(user, new)
        try:
            key, was = await self._proved(user, old, recovery, LOST_WITHOUT)
        except DirectoryError:
            if not lose:
                raise
            return await self._renew(user, new)
        login = await self._accounts.credentials.fresh(new, proofs=False)
        wrap = await self._password(user.id, key, new)
        audit.note(target=str(user.address), after={"password": audit.HIDDEN})
        if not await self._accounts.change(account_keys.change_password, user.id, was, wrap, login, int(time())):
            raise DirectoryError("exists", "the password was changed meanwhile", "Look whether the new one is good, or try again.")
        self._accounts.pardon(user)
        log.info("Password changed", event="account.password", user_id=user.id, email=str(user.address))
        return ""

    async def _renew(self, user: User, new: str) -> str:
        """New keys: what the old ones sealed never opens again, and is removed."""
        fresh = wrapping.fresh(user.id)
        code, wraps = await self._wraps(user.id, fresh.key, new)
        login = await self._accounts.credentials.fresh(new, proofs=False)
        stored = Keys(user.id, fresh.sealing, fresh.keys.signing.public, fresh.bundle(), SEALING)
        audit.note(target=str(user.address), after={"password": audit.HIDDEN, "sealed_mail": "lost"})
        await self._accounts.change(account_keys.renew, stored, wraps, login, _rewrap(fresh), int(time()))
        self._accounts.pardon(user)
        log.warn("Password changed, sealed mail given up", event="account.sealed_lost", user_id=user.id, email=str(user.address))
        with audit.apart():
            await self._try_to_bind(user.id)
            await self._purge(user.id)
        return code

    async def _purge(self, account: int) -> None:
        while await self._store.write(sealed_mail.remove, account):
            pass

    async def held_key(self, address: str | Address, password: str = "") -> tuple[User, bytes | None]:
        """The account, and its account key if it is sealed here: for whoever wraps it for another credential."""
        user = (await self._accounts.find(address)).user
        return user, (await self._proved(user, password, ""))[0] if user.sealed == SERVER else None

    async def _held(self, address: str | Address) -> tuple[User, Keys]:
        user = (await self._accounts.find(address)).user
        keys = await self._store.read(account_keys.one, user.id) if user.sealed == SERVER else None
        if keys is None:
            raise DirectoryError("not_found", f"{user.address} is not sealed by this server", "`mailxctl user show` tells.")
        return user, keys

    async def _proved(self, user: User, password: str, recovery: str, remedy: str = _OWNERS) -> tuple[bytes, Wrap]:
        """The account key, and what wrapped it; raises DirectoryError unless the password or the code is right."""
        if not password and not recovery:
            raise DirectoryError("invalid", f"the mail of {user.address} is sealed under its password", remedy)
        try:
            return await self._unwrapped(user.id, password, recovery)
        except WrongSecret:
            what = "password" if password else "recovery code"
            raise DirectoryError("invalid", f"this is not the {what} of {user.address}", remedy) from None

    async def _bind(self, account: int) -> None:
        keys = await self._store.read(account_keys.one, account)
        if keys is not None:
            await self._binding.bind(account, keys.sealing, keys.signing, SERVER)
            await self._store.write(account_keys.bound, account, True)

    async def _try_to_bind(self, account: int) -> None:
        """The account is changed already, whatever comes of this: it is tried again at the next login, and at the next start."""
        try:
            await self._bind(account)
        except (DirectoryError, Unavailable) as error:
            reason = error.text if isinstance(error, DirectoryError) else error.reason
            log.warn("The keys of an account are not attested yet: {reason}", event="account.not_attested", user_id=account, reason=reason)

    async def _unbind(self, account: int) -> None:
        """What comes from now on is not sealed."""
        await self._binding.revoke(account)
        await self._store.write(account_keys.bound, account, False)

    async def _wraps(self, account: int, key: bytes, password: str) -> tuple[str, Sequence[Wrap]]:
        code, recovery = _recovery(account, key)
        return code, (await self._password(account, key, password), recovery)

    async def _password(self, account: int, key: bytes, password: str) -> Wrap:
        salt, cost = secrets.token_bytes(wrapping.SALT_OCTETS), self._passwords.cost
        try:
            seed = await self._passwords.stretch(password, salt, cost)
        except PasswordError as error:
            raise DirectoryError("invalid", str(error), "Choose another password.") from None
        return Wrap(PASSWORD, salt, cost, wrapping.wrap(wrapping.public_of(seed), account, key))


def _recovery(account: int, key: bytes) -> tuple[str, Wrap]:
    """A fresh recovery code, and the account key wrapped for it."""
    code, salt = wrapping.recovery_code(), secrets.token_bytes(wrapping.SALT_OCTETS)
    seed = wrapping.seed_of(wrapping.recovery_secret(code) or b"", salt)
    return code, Wrap(RECOVERY, salt, wrapping.CODE_COST, wrapping.wrap(wrapping.public_of(seed), account, key))


def _rewrap(fresh: wrapping.Fresh) -> Callable[[bytes], bytes]:
    """Wraps the account key for the credentials that have a public key."""
    return lambda public: wrapping.wrap(public, fresh.keys.account, fresh.key)

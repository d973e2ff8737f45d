"""Access by URL (RFC 4467): tokens with which an owner lets others fetch one message, or a part of one, for a while.

A token is a keyed hash of the URL under a key of its mailbox: whoever changes the URL has none, and a new key, or a new
mailbox of the same name, ends all that were given out. What cannot be had is None, whatever the reason.
"""

import hmac
from os import urandom
from typing import TYPE_CHECKING

from mailx.core.users import DirectoryError, parse
from mailx.mail.names import MailboxError, normal
from mailx.mail.rights import own_only
from mailx.store import Store, Txn, url_keys
from mailx.store import mailboxes as boxes

if TYPE_CHECKING:
    from mailx.core.users import User
    from mailx.store.cipher import Cipher

MECHANISM = b"INTERNAL"
_VERSION = b"01"  # in front of the token, so that there may be another one
_KEY = 32  # octets


class UrlAccess:
    """Makes tokens, looks at them, and takes all of a mailbox back."""

    def __init__(self, store: Store, cipher: "Cipher", names: boxes.Names) -> None:
        self._store = store
        self._cipher = cipher
        self._names = names

    async def token(self, user: "User", mailbox: str, rump: bytes) -> bytes:
        """What authorizes the URL ``rump``, of a mailbox of ``user``. Raises MailboxError "NONEXISTENT" or "NOPERM"."""
        own_only(mailbox)
        key = await self._store.write(url_keys.ensure, self._cipher, self._names, user.id, normal(mailbox), urandom(_KEY))
        return _token(key, rump)

    async def granted(self, address: str, mailbox: str, rump: bytes, token: bytes, viewer: int) -> int | None:
        """The id of the account at ``address`` if ``token`` is what authorizes ``rump``; mail sealed for one person is for nobody else."""
        try:
            who = parse(address)
            own_only(mailbox)
        except (DirectoryError, MailboxError):
            return None
        found = await self._store.read(self._key, who.local, who.domain, normal(mailbox))
        if found is None:
            return None
        account, sealed, key = found
        if not hmac.compare_digest(_token(key, rump), token) or (sealed and account != viewer):
            return None
        return account

    async def reset(self, user: "User", mailbox: str | None) -> None:
        """End every token of one mailbox, or of all of ``user``. Raises MailboxError "NONEXISTENT" or "NOPERM"."""
        if mailbox is not None:
            own_only(mailbox)
            mailbox = normal(mailbox)
        await self._store.write(url_keys.forget, self._names, user.id, mailbox)

    def _key(self, txn: Txn, local: str, domain: str, name: str) -> tuple[int, bool, bytes] | None:
        owner = url_keys.owner(txn, local, domain)
        if owner is None:
            return None
        try:
            mailbox = boxes.find(txn, self._names, owner[0], name)
        except MailboxError:
            return None
        key = url_keys.of_mailbox(txn, self._cipher, mailbox.id)
        return None if key is None else (*owner, key)


def _token(key: bytes, rump: bytes) -> bytes:
    return _VERSION + hmac.digest(key, rump, "sha256").hex().encode("ascii")

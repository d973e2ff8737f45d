"""Quotas as accounts see them, and as server administrators set them from their mail programs (RFC 9208).

An account's quota root is the empty name; administrators reach those of others as ``Users/anna@example.test``. A refusal is a
MailboxError or a DirectoryError; who is no administrator is told the same of every root, there or not.
"""

from collections.abc import Mapping

from mailx.core import audit
from mailx.core.accounts import Accounts
from mailx.core.audit import Actor
from mailx.core.mailboxes import Mailboxes, Quota
from mailx.core.users import DirectoryError, User, parse
from mailx.mail.mailbox import DELIMITER
from mailx.mail.names import MailboxError
from mailx.mail.rights import OTHERS

STORAGE = "STORAGE"
MESSAGE = "MESSAGE"
UNIT = 1024  # octets of storage
LIMIT = 2**52  # of any resource

_ADMINISTRATOR = "admin"


class Quotas:
    """Quota roots."""

    def __init__(self, mailboxes: Mailboxes, accounts: Accounts) -> None:
        self._mailboxes = mailboxes
        self._accounts = accounts

    async def get(self, user: User, root: str) -> Quota:
        """Raises MailboxError "NONEXISTENT"."""
        return await self._mailboxes.quota(await self._account(user, root))

    async def set(self, user: User, root: str, limits: Mapping[str, int], address: str) -> Quota:
        """Give a root these limits and no others: without one of storage the server's default applies. ``address``: where from.

        Raises MailboxError "NOPERM", "NONEXISTENT", "CANNOT".
        """
        if not await self._administrates(user):
            raise MailboxError("NOPERM", "Quotas are set by the administrator")
        if not limits.keys() <= {STORAGE, MESSAGE}:
            raise MailboxError("CANNOT", "Only STORAGE and MESSAGE have limits that can be set")
        if any(limit > LIMIT for limit in limits.values()):
            raise MailboxError("LIMIT", "That is more than can be counted")
        account = await self._account(user, root)
        actor = Actor("user", str(user.address), address)
        storage = limits.get(STORAGE)
        try:
            with audit.acting(actor, "user.quota", str(account.address)):
                # 0 would be no limit at all: what asks for nothing gets the least there is.
                await self._accounts.set_quota(account.address, None if storage is None else storage * UNIT or 1)
            with audit.acting(actor, "user.message_quota", str(account.address)):
                audit.note(target=str(account.address), after={"messages": limits.get(MESSAGE)})
                await self._mailboxes.set_message_quota(account, limits.get(MESSAGE))
        except DirectoryError as error:
            raise MailboxError("CANNOT", error.text) from None
        return await self._mailboxes.quota(account)

    async def _administrates(self, user: User) -> bool:
        """Whether the account is an administrator's now: a session may be older than that."""
        now = await self._accounts.user(user.id)
        return now is not None and now.active and now.role == _ADMINISTRATOR

    async def _account(self, user: User, root: str) -> User:
        prefix = OTHERS + DELIMITER
        if not root:
            return user
        if root.startswith(prefix) and await self._administrates(user):
            try:
                return (await self._accounts.find(parse(root.removeprefix(prefix)))).user
            except DirectoryError:
                pass
        raise MailboxError("NONEXISTENT", "No such quota root")

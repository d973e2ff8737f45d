"""Client-held accounts: the owner's program has the keys, this server attests the public halves and never sees the others.

An account becomes one when keys are enrolled for it: over HTTPS with the owner's password, or by an administrator who was
given the request. What is refused rises as ``DirectoryError``.
"""

from collections.abc import Callable
from time import time

from twisted.logger import Logger

from mailx.core import audit
from mailx.core.accounts import Accounts, DirectoryError, User
from mailx.core.user_keys import UserKeys
from mailx.core.users import CLIENT, SERVER
from mailx.identity import sealing
from mailx.identity.encoding import JSON, Malformed
from mailx.identity.enrolment import Enrolment
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address
from mailx.store import accounts as rows

log = Logger()


class ClientKeys:
    """Enrols keys, and takes accounts out again."""

    def __init__(self, accounts: Accounts, users: UserKeys, now: Callable[[], float] = time) -> None:
        self._accounts = accounts
        self._users = users
        self._now = now

    async def enrol(self, address: str | Address, request: JSON) -> Attestation:
        """Attest the keys that ``request`` (:mod:`mailx.identity.enrolment`) names for the account; those before them are replaced."""
        user = (await self._accounts.find(address)).user
        try:
            wanted = Enrolment.decode(request, int(self._now()))
        except Malformed as error:
            raise DirectoryError("invalid", f"this is no request to enrol keys: {error}", "Make one with `mailx-open --enrol`.") from None
        if wanted.address.key != user.address.key:
            raise DirectoryError("invalid", f"the request is for {wanted.address}, not for {user.address}", "Make one for this account.")
        if not sealing.usable(wanted.sealing):
            raise DirectoryError("invalid", "nothing can be sealed to this key", "Make new keys with `mailx-open --enrol`.")
        if user.sealed == SERVER:
            remedy = f"First: mailxctl user seal {user.address} off"
            raise DirectoryError("in_use", f"the keys of {user.address} are held by this server", remedy)
        audit.note(target=str(user.address), before={"sealed": user.sealed}, after={"sealed": CLIENT})
        attestation = await self._users.bind(user.id, wanted.sealing, wanted.signing, CLIENT)
        if user.sealed != CLIENT:  # not before: mail would be refused for want of a key
            await self._accounts.change(rows.set_client_held, user.id, True)
        log.info("Account sealed", event="account.sealed", user_id=user.id, email=str(user.address), holder=CLIENT)
        return attestation

    async def off(self, address: str | Address) -> User:
        """Seal nothing more for a client-held account. What was sealed stays so: only the owner's program opens it."""
        user = (await self._accounts.find(address)).user
        if user.sealed != CLIENT:
            raise DirectoryError("not_found", f"{user.address} holds no keys of its own", "`mailxctl user seal` shows who does.")
        audit.note(target=str(user.address), before={"sealed": CLIENT}, after={"sealed": ""})
        await self._accounts.change(rows.set_client_held, user.id, False)
        with audit.apart():
            await self._users.revoke(user.id)
        log.info("Account opened", event="account.opened", user_id=user.id, email=str(user.address))
        return user

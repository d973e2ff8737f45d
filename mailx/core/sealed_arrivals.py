"""Sealing what arrives: accounts that hold a key of their own take a form that only they open.

Of a *client-held* account it is stored like any message, and opened by the owner's program. Of a *server-held* one it waits until the
owner's login opens the account. What comes sealed already is taken as it is. What comes readable is sealed here, and the
domain of the account vouches that it was, so that what this server found out about it is believed when it is opened.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mailx.core import metrics
from mailx.core.content import Threads, copied
from mailx.core.forms import Own
from mailx.core.sealed_making import Addressed, Making
from mailx.core.sealers import Attested, Sealers
from mailx.core.users import SERVER as SERVER_HELD
from mailx.core.users import User
from mailx.identity.encoding import Malformed
from mailx.identity.seal_verdict import ARRIVAL, SENDER, SERVER, author_of
from mailx.identity.sealed_message import is_sealed
from mailx.identity.sealing import Sender
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Refused, Reply
from mailx.store.blobs import Blobs

UNUSABLE = Reply(451, "4.7.5", "The recipient's key cannot be used now")  # never store readable what its owner wants sealed


class ServerHeld(Protocol):
    """What this needs of ``core.sealed_accounts.SealedAccounts``."""

    async def public(self, account: int) -> bytes | None:
        """The X25519 key of an account that this server's logins open."""


class SealedArrivals:
    """Seals what arrives; ``Reception`` asks it."""

    def __init__(
        self,
        users: Attested,
        held: ServerHeld,
        sealers: Sealers,
        making: Making,
        blobs: Blobs,
        threads: Threads,
        *,
        local: Callable[[str], bool],
    ) -> None:
        """``users`` has the keys of client-held accounts, ``held`` those of server-held ones; ``local`` knows our domains."""
        self._users = users
        self._held = held
        self._sealers = sealers
        self._making = making
        self._blobs = blobs
        self._threads = threads
        self._local = local

    def wanted(self, users: Mapping[int, User]) -> Sequence[int]:
        """The accounts among ``users`` that hold keys."""
        return [id for id, user in users.items() if user.sealed]

    async def forms(self, envelope: Envelope, users: Sequence[User]) -> Mapping[int, Own]:
        """What these accounts take. Raises Refused, also where a key is missing: nothing is stored readable that should be sealed."""
        head = await self._making.head(envelope.message)
        made: dict[int, Own] = {}
        try:
            for user in users:
                own = await self._form(envelope, head, user)
                if own is not None:
                    made[user.id] = own
        except BaseException:
            for own in made.values():
                if not isinstance(own.message.content, bytes):
                    await self._threads(own.message.content.discard)
            raise
        return made

    async def _form(self, envelope: Envelope, head: bytes, user: User) -> Own | None:
        waits = user.sealed == SERVER_HELD
        if is_sealed(head):
            if not waits:
                return None
            return Own(await copied(envelope.message, self._blobs, self._threads), True, SENDER)
        key = await self._key(user)
        if key is None:
            raise Refused(UNUSABLE)
        author = author_of(head) or envelope.sender or user.address
        sender, sealed = await self._sender(envelope, author, user)
        try:
            wanted = [Addressed([key], [user.address], final=True)]
            (message,) = await self._making.made(envelope.message, author, sender, wanted)
        except Malformed:
            raise Refused(UNUSABLE) from None
        metrics.SEALED.labels("arriving").inc()
        return Own(message, waits, sealed)

    async def _key(self, user: User) -> bytes | None:
        if user.sealed == SERVER_HELD:
            return await self._held.public(user.id)
        attestation = await self._users.of(user.address)
        return None if attestation is None or attestation.revoked else attestation.sealing

    async def _sender(self, envelope: Envelope, author: Address, user: User) -> tuple[Sender | None, str]:
        """Who vouches: for mail of our own accounts as for what leaves, else the domain of the account that takes it."""
        if envelope.origin.ours and self._local(author.domain):
            return await self._sealers.sender(author, envelope.origin.account), SERVER
        return self._sealers.receiver(author, user.address.domain), ARRIVAL

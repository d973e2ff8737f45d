"""Who vouches for what this server seals: the sender's own key while it is open here, else the key of a domain of ours.

Nobody vouches for an author as whom the account that submitted the message may not send: it is sealed all the same.
"""

from typing import Protocol

from mailx.core.keyring import Keyring
from mailx.core.users import canonical_domain
from mailx.identity.sealing import RECEIVER, SERVER, Sender
from mailx.identity.statements import Signer
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address
from mailx.mail.reply import Unavailable


class DomainSigners(Protocol):
    """What this needs of ``core.domain_keys.DomainKeys``."""

    def signer(self, domain: str) -> Signer:
        """The current key; KeyError if the domain has none."""


class Attested(Protocol):
    """What sealing needs of ``core.user_keys.UserKeys``."""

    async def of(self, address: Address) -> Attestation | None: ...


class Speaking(Protocol):
    """What this needs of ``core.accounts.Accounts``."""

    async def may_send_as(self, account_id: int, address: Address | None) -> bool: ...


class Sealers:
    """Finds who vouches."""

    def __init__(self, domains: DomainSigners, users: Attested, accounts: Speaking, keyring: Keyring | None = None) -> None:
        self._domains = domains
        self._accounts = accounts
        self._users = users
        self._keyring = keyring

    async def sender(self, author: Address, account: int | None) -> Sender | None:
        """Who vouches for a message by ``author``, an address of ours, that ``account`` submitted; None: nobody can. Raises Unavailable."""
        if account is not None and not await self._accounts.may_send_as(account, author):
            return None
        keys = None if self._keyring is None or account is None else self._keyring.get(account)
        if keys is not None:
            try:
                attestation = await self._users.of(author)
            except Unavailable:
                attestation = None
            if attestation is not None and attestation.address.key == author.key and attestation.signing == keys.signing.public:
                return Sender(author, canonical_domain(author.domain), keys.signing, attestation, SERVER)
        return self._of(author, author.domain, SERVER)

    def receiver(self, author: Address, domain: str) -> Sender | None:
        """One of our domains says that it received a message by ``author`` readable, and nothing of who that is."""
        return self._of(author, domain, RECEIVER)

    def _of(self, author: Address, domain: str, by: str) -> Sender | None:
        name = canonical_domain(domain)
        try:
            return Sender(author, name, self._domains.signer(name), None, by)
        except KeyError:
            return None

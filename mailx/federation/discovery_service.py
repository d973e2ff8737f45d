"""The Discovery service: what other servers may ask about the domain that they reached.

``server`` gives its document, ``history`` the history of its key, ``keys`` the attested keys of some of its users, ``user``
the history of one's; the methods of the key log come beside them. Somebody without keys and somebody who does not exist
are answered alike, and each domain may ask for so many addresses a minute.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from mailx.core.limits import MINUTE, Budgets
from mailx.federation.channel import Channel
from mailx.federation.service import Fields, Later, Method, malformed, text, texts
from mailx.identity.encoding import canonical
from mailx.identity.statements import Statement
from mailx.identity.user_keys import Attestation
from mailx.mail.address import LOCAL_LIMIT, Address, AddressError
from mailx.mail.reply import Refused, Reply

NAME = "discovery"
ADDRESSES = 50  # of one call
PER_MINUTE = 1000  # addresses that one domain may ask for
_KEYS = 64  # of a history
_ADDRESS_LIMIT = LOCAL_LIMIT + 2 + 255  # characters
_TOO_MANY = Reply(450, "4.7.1", "Too many addresses asked for; ask again later")


class Domains(Protocol):
    """What our domains publish; :class:`mailx.core.domain_keys.DomainKeys`."""

    def published(self, domain: str) -> bytes | None: ...

    def history(self, domain: str) -> Sequence[Any]: ...


class Users(Protocol):
    """The keys of our users; :class:`mailx.core.user_keys.UserKeys`."""

    def of(self, address: Address) -> Awaitable[Attestation | None]: ...

    def history(self, address: Address) -> Awaitable[Sequence[Attestation]]: ...


class DiscoveryService:
    """Answers for our domains. ``separator``: of subaddresses; ``more``: methods beside its own (the key log's)."""

    name = NAME

    def __init__(self, domains: Domains, users: Users, reactor: Any, *, separator: str = "+", more: Mapping[str, Method] = {}) -> None:
        self._domains = domains
        self._users = users
        self._reactor = reactor
        self._separator = separator
        self._budgets = Budgets([(PER_MINUTE, MINUTE)])
        self.methods: Mapping[str, Method] = {
            **more,
            "server": self.server,
            "history": self.history,
            "keys": self.keys,
            "user": self.user,
        }

    async def server(self, channel: Channel, fields: Fields) -> Fields:
        """The document of the domain that was reached."""
        document = self._domains.published(channel.local)
        if document is None:
            raise Refused(Reply(550, "5.1.2", "The domain publishes nothing"))
        return {"document": document}

    async def history(self, channel: Channel, fields: Fields) -> Fields:
        """The statements of its keys, the oldest first."""
        return {"history": [_octets(key.statement) for key in self._domains.history(channel.local)[-_KEYS:]]}

    async def keys(self, channel: Channel, fields: Fields) -> Fields:
        """For each of ``addresses`` its attestation, or None."""
        asked = [self._address(channel, each) for each in texts(fields, "addresses", ADDRESSES, _ADDRESS_LIMIT)]
        self._charge(channel, len(asked))
        return {"keys": [await self._one(address) for address in asked]}

    async def user(self, channel: Channel, fields: Fields) -> Fields:
        """The attestations of ``address``, the oldest first; none if it has none."""
        address = self._address(channel, text(fields, "address", _ADDRESS_LIMIT))
        self._charge(channel, 1)
        return {"history": [_octets(each.statement) for each in (await self._users.history(address))[-_KEYS:]]}

    async def _one(self, address: Address) -> bytes | None:
        found = await self._users.of(address)
        if found is None and self._separator and (base := address.base(self._separator)) != address:
            found = await self._users.of(base)
        return None if found is None else _octets(found.statement)

    def _address(self, channel: Channel, written: str) -> Address:
        """An address of the domain that was reached; raises Refused."""
        try:
            address = Address.parse(written)
        except AddressError:
            raise malformed("address") from None
        if address.domain != channel.local:
            raise Refused(Reply(550, "5.1.2", "Ask the address's own domain"))
        return address

    def _charge(self, channel: Channel, count: int) -> None:
        """Count ``count`` addresses; raises Later when there were too many."""
        now = self._reactor.seconds()
        (bucket,) = self._budgets.get(channel.remote, now) or self._budgets.begin(channel.remote, now)
        wait = bucket.lacks(count)
        if wait:
            raise Later(_TOO_MANY, wait, "addresses asked for")
        bucket.take(count)


def _octets(statement: Statement) -> bytes:
    return canonical(statement.encode())

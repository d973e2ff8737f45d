"""The Contact service: what another server tells about itself and its users without being asked.

``announce`` brings a new key of its domain, signed by the one before; ``notice`` says that one of its users takes no mail from one of
ours, or takes it again. A notice changes nothing but what our user sees of a contact, is answered alike whether we know
anybody of these names or not, and is sent by servers only for users who want that.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from twisted.logger import Logger

from mailx.core import metrics
from mailx.core.limits import MINUTE, Budgets
from mailx.federation.channel import Channel
from mailx.federation.service import Fields, Later, Method, flag, malformed, octets, text
from mailx.identity.encoding import Malformed, parse
from mailx.identity.statements import Statement
from mailx.mail.address import LOCAL_LIMIT, Address, AddressError
from mailx.mail.reply import Refused, Reply

log = Logger()

NAME = "contact"
KEY = "domain-key"  # the kind of statement that is announced
STATEMENT_LIMIT = 16384  # octets
NOTICES = 60  # of one domain a minute
ANNOUNCEMENTS = 10  # likewise
_ADDRESS_LIMIT = LOCAL_LIMIT + 2 + 255  # characters
_TOO_MANY = Reply(450, "4.7.1", "Too many notices; come back later")
_OTHERS = Reply(550, "5.1.2", "Only a domain's own users are its business")


class Keys(Protocol):
    """:class:`mailx.core.peers.Peers`."""

    async def announced(self, domain: str, statement: Statement) -> None:
        """Follow a key that ``domain`` announces by its channel. Raises Refused if nothing permits it, Unavailable."""


class Noticed(Protocol):
    """:class:`mailx.core.contacts.Contacts`."""

    async def noticed(self, account: Address, by: Address, blocked: bool) -> None: ...


class ContactService:
    """Listens to other servers."""

    name = NAME

    def __init__(self, keys: Keys, contacts: Noticed, reactor: Any) -> None:
        self._keys = keys
        self._contacts = contacts
        self._reactor = reactor
        self._notices = Budgets([(NOTICES, MINUTE)])
        self._announcements = Budgets([(ANNOUNCEMENTS, MINUTE)])
        self.methods: Mapping[str, Method] = {"announce": self.announce, "notice": self.notice}

    async def announce(self, channel: Channel, fields: Fields) -> Fields:
        """``statement``: the new key of the domain that calls."""
        self._charge(self._announcements, channel)
        try:
            statement = Statement.decode(parse(octets(fields, "statement", STATEMENT_LIMIT), STATEMENT_LIMIT), KEY)
        except Malformed:
            raise malformed("statement") from None
        await self._keys.announced(channel.remote, statement)
        return {}

    async def notice(self, channel: Channel, fields: Fields) -> Fields:
        """``user`` of the domain that calls blocks ``sender`` of ours, or no longer (``blocked``)."""
        self._charge(self._notices, channel)
        user, sender, blocked = _address(fields, "user"), _address(fields, "sender"), flag(fields, "blocked")
        if user.domain != channel.remote or sender.domain != channel.local:
            raise Refused(_OTHERS)
        metrics.BLOCK_NOTICES.labels("in").inc()
        log.info("Another server's user blocks one of ours, or no longer", event="federation.notice", peer=channel.remote, blocked=blocked)
        await self._contacts.noticed(sender, user, blocked)
        return {}

    def _charge(self, budgets: Budgets, channel: Channel) -> None:
        now = self._reactor.seconds()
        (bucket,) = budgets.get(channel.remote, now) or budgets.begin(channel.remote, now)
        wait = bucket.lacks(1)
        if wait:
            raise Later(_TOO_MANY, wait, "notices")
        bucket.take(1)


def _address(fields: Fields, name: str) -> Address:
    try:
        return Address.parse(text(fields, name, _ADDRESS_LIMIT))
    except AddressError:
        raise malformed(name) from None

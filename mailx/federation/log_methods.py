"""What other servers may ask about key logs over a channel: methods of the service ``discovery``.

Whatever is asked for is public; limits keep an answer small. A log that is not ours is answered 550, an entry that is not
there 550 as well.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mailx.core.key_log import LEAVES_LIMIT, KeyLog, NoSuchEntry
from mailx.core.log_gossip import NAME_SIZE, NAMES_LIMIT, SALT_SIZE, LogGossip
from mailx.federation.channel import Channel
from mailx.federation.service import Fields, Method, items, malformed, number, octets, text
from mailx.identity.encoding import Malformed
from mailx.identity.key_log import octets as statement_octets
from mailx.identity.key_log import read_kind
from mailx.mail.reply import Refused, Reply

NO_LOG = Reply(550, "5.1.2", "No key log of this domain here")
NO_ENTRY = Reply(550, "5.1.0", "The key log has no such entry")
_NAME = 320  # characters of an address
_LARGEST = 2**53


class LogMethods:
    """The methods; each tells of the log of the domain that the channel is with."""

    def __init__(self, *, key_log: KeyLog, gossip: LogGossip) -> None:
        self._log = key_log
        self._gossip = gossip
        self.methods: Mapping[str, Method] = {
            "log_head": self._told(self._head),
            "log_consistency": self._told(self._consistency),
            "log_inclusion": self._told(self._inclusion),
            "log_leaves": self._told(self._leaves),
            "log_epochs": self._told(self._epochs),
            "log_history": self._told(self._history),
            "log_gossip": self._told(self._heads),
        }

    def _told(self, call: Callable[[Channel, Fields], Awaitable[dict[str, Any]]]) -> Method:
        """``call``, with replies for what is not there."""

        async def method(channel: Channel, fields: Fields) -> Fields:
            try:
                return await call(channel, fields)
            except NoSuchEntry:
                raise Refused(NO_ENTRY) from None
            except KeyError:
                raise Refused(NO_LOG) from None

        return method

    async def _head(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        return {"head": statement_octets((await self._log.head(channel.local)).statement)}

    async def _consistency(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        old, size = number(fields, "old", 0, _LARGEST), number(fields, "size", 0, _LARGEST)
        return {"proof": b"".join(await self._log.consistency(channel.local, old, size))}

    async def _inclusion(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        place, size = number(fields, "number", 0, _LARGEST), number(fields, "size", 0, _LARGEST)
        return {"proof": b"".join(await self._log.inclusion(channel.local, place, size))}

    async def _leaves(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        first, count = number(fields, "first", 0, _LARGEST), number(fields, "count", 1, LEAVES_LIMIT, LEAVES_LIMIT)
        return {"leaves": await self._log.leaves(channel.local, first, count)}

    async def _epochs(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        return {"epochs": [statement_octets(each.statement) for each in await self._log.epochs(channel.local)]}

    async def _history(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        try:
            kind = read_kind(text(fields, "kind", 32))
        except Malformed:
            raise malformed("kind") from None
        found = await self._log.history(channel.local, kind, text(fields, "name", _NAME))
        told = zip(found.entries, found.proofs, strict=True)
        return {
            "head": statement_octets(found.head.statement),
            "label": found.label,
            "entries": [[entry.number, entry.leaf.encode(), b"".join(proof)] for entry, proof in told],
            "statements": [statement_octets(each) for each in found.statements],
            "earlier": found.earlier,
        }

    async def _heads(self, channel: Channel, fields: Fields) -> dict[str, Any]:
        salt = octets(fields, "salt", SALT_SIZE)
        names = [octets({"names": name}, "names", NAME_SIZE) for name in items(fields, "names", NAMES_LIMIT)]
        return {"heads": await self._gossip.answer(channel.remote, salt, names)}

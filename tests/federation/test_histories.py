"""Asking a server whose key is not believed for the history of its keys, over real TLS."""

from typing import Any

from twisted.internet.threads import deferToThread

from mailx.federation.histories import AsShown, Histories
from mailx.federation.service import Fields
from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import canonical
from tests.federation.loopback import Key, Loopback, Side
from tests.identity.signers import signer

DOMAIN = "there.example"
RECOVERY = signer("recovery")


class Tells:
    """The service ``discovery`` of a server that says ``told``."""

    name = "discovery"

    def __init__(self, told: Any) -> None:
        self.told = told
        self.methods = {"history": self.history}

    async def history(self, channel: Any, fields: Fields) -> Fields:
        return {"history": self.told}


def written(*keys: DomainKey) -> list[bytes]:
    return [canonical(key.statement.encode()) for key in keys]


class Asking(Loopback):
    """``here`` believes no key of ``there``."""

    async def asked(self, told: Any, **more: Any) -> tuple[DomainKey, ...]:
        self.here.book.known.clear()
        self.listen({"discovery": Tells(told)})
        connector = self.connector(trust=AsShown()) if not more else self.connector(more["side"], trust=AsShown())
        domains = list((more.get("side") or self.here).keys)
        histories = Histories(connector, lambda: domains, deferToThread, self.here.seconds)
        return await histories.history(DOMAIN, self.servers)

    def keys(self) -> tuple[DomainKey, DomainKey]:
        """Those of ``there``, which has rotated its key."""
        now, current = int(self.here.seconds()), self.there.keys[DOMAIN]
        before = domain_keys.first(DOMAIN, RECOVERY.public, now - 100, Key(b"before".ljust(32)))
        return before, domain_keys.rotated(before, Key(b"before".ljust(32)), current, now - 50)

    async def test_the_history(self) -> None:
        keys = self.keys()
        self.assertEqual(await self.asked(written(*keys)), keys)

    async def test_nonsense(self) -> None:
        keys = self.keys()
        other = domain_keys.first("other.example", RECOVERY.public, 1_700_000_000, signer("other"))
        forged = domain_keys.rotated(keys[0], signer("thief"), signer("next"), keys[0].created)
        lies: tuple[Any, ...] = ("x", [], [1], [b"{}"], [b"x" * 100_000], written(other), written(keys[0], forged), written(*keys) * 33)
        for told in lies:
            self.assertEqual(await self.asked(told), (), told)
            await self.close()

    async def test_a_domain_of_ours_that_it_does_not_know(self) -> None:
        """It knows one of ours only, and is asked in the name of that."""
        side = Side("aaa.example", "here.example")
        self.there.book.known = {"here.example": (side.keys["here.example"].public,)}
        keys = self.keys()
        self.assertEqual(await self.asked(written(*keys), side=side), keys)

    async def test_nobody_there(self) -> None:
        self.listen()
        servers = self.servers
        await self.close()
        histories = Histories(self.connector(trust=AsShown()), lambda: ["here.example"], deferToThread)
        self.assertEqual(await histories.history(DOMAIN, servers), ())

"""Contents that are read for attempts: together, and each with its own fate."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.loading import Loading
from mailx.core.shipments import Shipment
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.message import Message
from mailx.mail.reply import Unavailable
from mailx.store import contents
from mailx.store.cipher import CipherError
from tests.core.mail_out import Office, office


class Together(TestCase):
    timeout = 240

    async def made(self) -> tuple[Office, Loading, list[Shipment]]:
        """Two messages that wait, and one of them for two destinations."""
        here = await office(self)
        for to in ("a@example.org", "b@example.org"):
            await here.send(to, content=b"Subject: %s\r\n\r\nHello\r\n" % to.encode())
        ids = [id for (id,) in await here.world.store.read(lambda txn: txn.all("SELECT id FROM messages ORDER BY id"))]
        loading = here.queue._sending._loading
        return here, loading, [self.shipment(id) for id in (*ids, ids[0])]

    def shipment(self, id: int) -> Shipment:
        envelope = Envelope("x", None, (), Message(b"", 0), Origin("test", "s", "127.0.0.1", 0, ""))
        none: Any = None
        return Shipment(b"", b"", none, envelope, [], 0, 100, id)

    def counted(self, here: Office, read: Callable[..., Any] | None = None) -> list[int]:
        found: list[int] = []
        before = here.queue._sending._loading._store.read

        def counting(job: Callable[..., Any], *args: Any) -> Any:
            if job is contents.opened:
                found.append(len(args[2]))
            return (read or before)(job, *args)

        store = type("Store", (), {"read": staticmethod(counting)})()
        self.patch(here.queue._sending._loading, "_store", store)
        return found

    async def test_one_reading(self) -> None:
        here, loading, shipments = await self.made()
        read = self.counted(here)
        await gatherResults([Deferred.fromCoroutine(loading.load(each)) for each in shipments])
        self.assertEqual(read, [2])
        found = [each.envelope.message.content for each in shipments]
        self.assertIn(b"a@example.org", found[0])
        self.assertIn(b"b@example.org", found[1])
        self.assertEqual(found[0], found[2])

    async def test_one_does_not_open(self) -> None:
        here, loading, shipments = await self.made()
        await here.world.store.write(
            lambda txn: txn.execute("UPDATE bodies SET content = ? WHERE message_id = ?", (b"0", shipments[0].message))
        )
        loads = [Deferred.fromCoroutine(loading.load(each)) for each in shipments]
        await self.assertFailure(loads[0], CipherError)
        await self.assertFailure(loads[2], CipherError)
        await loads[1]
        self.assertIn(b"b@example.org", shipments[1].envelope.message.content)

    async def test_the_store_does_not_answer(self) -> None:
        here, loading, shipments = await self.made()
        self.counted(here, lambda *args: fail(Unavailable("away")))
        for each in [Deferred.fromCoroutine(loading.load(one)) for one in shipments]:
            await self.assertFailure(each, Unavailable)

"""Mailboxes on other servers: kept sealed, changed with care, tested."""

from typing import Any

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailx.core import remote_mailboxes
from mailx.core.probing import Probe
from mailx.core.remote_mailboxes import Place, RemoteMailboxes
from mailx.core.users import DirectoryError
from tests.scenery import world

PLACE = Place("imaps", "Bounces", "imap.example.org", 993, "bounces", "very secret")


class Probes:
    """Notes what is tried."""

    def __init__(self) -> None:
        self.tried: list[tuple[Any, ...]] = []

    async def try_mailbox(self, *arguments: Any) -> Probe:
        self.tried.append(arguments)
        return Probe(False, ("S: * OK",), "No", "Try again.")


class Mailboxes(TestCase):
    engine = ""

    async def open(self) -> RemoteMailboxes:
        self.world = await world(self, engine=self.engine)
        self.probes = Probes()
        return RemoteMailboxes(self.world.store, self.world.cipher, self.probes, lambda: 1_800_000_000)

    async def refused(self, code: str, awaitable: Any) -> DirectoryError:
        with self.assertRaises(DirectoryError) as caught:
            await awaitable
        self.assertEqual(caught.exception.code, code)
        self.assertNotIn("very secret", caught.exception.text)
        return caught.exception

    async def test_life(self) -> None:
        made = await self.open()
        id = await made.add(PLACE)
        (mailbox,) = await made.list()
        self.assertEqual((mailbox.id, mailbox.place, mailbox.tested), (id, evolve(PLACE, password=""), None))
        self.assertEqual(await made.show(id), mailbox)
        await made.change(id, evolve(PLACE, name="Returned", password="", timeout=10))
        await made.test(id)
        self.assertEqual(self.probes.tried, [("imaps", "imap.example.org", 993, "bounces", "very secret", True, 10)])
        mailbox = await made.show(id)
        self.assertEqual((mailbox.place.name, mailbox.tested, mailbox.ok, mailbox.summary), ("Returned", 1_800_000_000, False, "No"))
        await made.change(id, evolve(PLACE, host="other.example.org", password="new"))
        self.assertEqual((await made.show(id)).tested, None)
        self.assertEqual(await made.remove(id), "Bounces")
        await self.refused("not_found", made.show(id))
        await self.refused("not_found", made.test(id))
        await self.refused("not_found", made.remove(id))

    async def test_a_password_goes_to_its_host_only(self) -> None:
        made = await self.open()
        id = await made.add(PLACE)
        for other in ({"host": "evil.example.org"}, {"port": 994}, {"username": "other"}, {"verify": False}):
            await self.refused("invalid", made.change(id, evolve(PLACE, password="", **other)))
        await made.change(id, evolve(PLACE, password="", host="IMAP.example.org"))

    async def test_what_is_refused(self) -> None:
        made = await self.open()
        for wrong in (
            {"name": ""},
            {"name": "a\nb"},
            {"name": "x" * 101},
            {"host": ""},
            {"host": "a b"},
            {"host": "http://example.org/"},
            {"username": ""},
            {"username": "a\r\nb"},
            {"password": ""},
            {"password": "a\r\nb"},
            {"port": 0},
            {"port": 65536},
            {"timeout": 0},
            {"timeout": 1000},
            {"kind": "smtp"},
        ):
            await self.refused("invalid", made.add(evolve(PLACE, **wrong)))
        self.assertEqual(await made.list(), ())

    async def test_names(self) -> None:
        made = await self.open()
        await made.add(PLACE)
        other = await made.add(evolve(PLACE, name="Other"))
        await self.refused("exists", made.add(PLACE))
        await self.refused("exists", made.change(other, PLACE))
        self.patch(remote_mailboxes, "LIMIT", 2)
        await self.refused("limit", made.add(evolve(PLACE, name="Third")))

    async def test_nothing_plain_is_stored(self) -> None:
        made = await self.open()
        id = await made.add(PLACE)
        await made.test(id)
        (row,) = await self.world.store.read(lambda txn: txn.all("SELECT * FROM remote_mailboxes"))
        kept = b"".join(bytes(each) for each in row if isinstance(each, bytes | memoryview))
        for word in (b"very secret", b"example.org", b"bounces"):  # long enough never to stand in random octets
            self.assertNotIn(word, kept)
        self.assertNotIn("very secret", repr(PLACE))

    async def test_damage(self) -> None:
        made = await self.open()
        id = await made.add(PLACE)
        await self.world.store.write(lambda txn: txn.execute("UPDATE remote_mailboxes SET guid = ?", (b"x" * 16,)))
        (mailbox,) = await made.list()
        self.assertEqual(mailbox.place.host, "")
        await self.refused("invalid", made.test(id))
        await self.refused("invalid", made.change(id, PLACE))
        await made.remove(id)
        self.assertEqual(await made.list(), ())


class MailboxesOnPostgreSQL(Mailboxes):
    engine = "postgresql"

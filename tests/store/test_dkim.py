"""Signing keys as rows, on both engines."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.store import dkim, domains
from mailx.store.dkim import Wrong
from mailx.store.names import Missing, Taken
from tests.scenery import DOMAIN, World, world

KEYS = [("one", "rsa-sha256", b"sealed 1", "AAAA"), ("two", "ed25519-sha256", b"sealed 2", "BBBB")]


class SQLite(TestCase):
    engine = "sqlite"
    world: World

    async def open(self) -> None:
        self.world = await world(self, engine=self.engine)

    async def write(self, job: Any, *args: Any) -> Any:
        return await self.world.store.write(job, *args)

    async def states(self) -> dict[str, str]:
        return {row[1]: row[3] for row in await self.world.store.read(dkim.overview, DOMAIN)}

    async def raised(self, kind: Any, job: Any, *args: Any) -> Any:
        try:
            await self.write(job, *args)
        except kind as error:
            return error
        self.fail(f"{job.__name__} raised nothing")

    async def test_a_life(self) -> None:
        await self.open()
        read = self.world.store.read
        await self.write(dkim.add, DOMAIN, KEYS, 100)
        self.assertEqual(await read(dkim.active), [])
        rows = await read(dkim.overview, None)
        self.assertEqual(
            [tuple(row) for row in rows], [(DOMAIN, name, kind, "next", public, 100, None, None) for name, kind, _, public in KEYS]
        )
        await self.write(dkim.activate, DOMAIN, 200)
        self.assertEqual([row[0] for row in await read(dkim.active)], [DOMAIN, DOMAIN])
        rows = await read(dkim.private, DOMAIN)
        self.assertEqual([(row[1], row[2], bytes(row[3])) for row in rows], [key[:3] for key in KEYS])
        await self.write(dkim.add, DOMAIN, [("three", "rsa-sha256", b"sealed 3", "CCCC")], 300)
        await self.write(dkim.activate, DOMAIN, 400)
        self.assertEqual(await self.states(), {"one": "retired", "two": "retired", "three": "active"})
        self.assertEqual([row[5:] for row in await read(dkim.overview, DOMAIN)], [(100, 200, 400), (100, 200, 400), (300, 400, None)])
        await self.write(dkim.retire, DOMAIN, "three", 500)
        self.assertEqual(await read(dkim.active), [])
        self.assertEqual((await self.raised(Wrong, dkim.delete, DOMAIN, "one", 399)).state, "retired")
        await self.write(dkim.delete, DOMAIN, "one", 400)
        self.assertEqual(set(await self.states()), {"two", "three"})

    async def test_what_is_refused(self) -> None:
        await self.open()
        self.assertEqual((await self.raised(Missing, dkim.add, "example.net", KEYS, 1)).kind, "domain")
        self.assertEqual((await self.raised(Wrong, dkim.activate, DOMAIN, 1)).state, "")
        await self.write(dkim.add, DOMAIN, KEYS, 1)
        self.assertEqual((await self.raised(Wrong, dkim.add, DOMAIN, KEYS, 1)).state, "next")
        self.assertEqual((await self.raised(Wrong, dkim.retire, DOMAIN, "one", 1)).state, "next")
        await self.write(dkim.activate, DOMAIN, 1)
        await self.raised(Taken, dkim.add, DOMAIN, KEYS, 1)
        self.assertEqual((await self.raised(Wrong, dkim.delete, DOMAIN, "one", 9)).state, "active")
        self.assertEqual((await self.raised(Missing, dkim.delete, DOMAIN, "none", 9)).kind, "key")
        await self.assertFailure(self.world.store.read(dkim.overview, "example.net"), Missing)

    async def test_they_go_with_their_domain(self) -> None:
        await self.open()
        await self.write(dkim.add, DOMAIN, KEYS, 1)
        await self.write(domains.delete, DOMAIN)
        self.assertEqual(await self.world.store.read(dkim.overview, None), [])


class PostgreSQL(SQLite):
    engine = "postgresql"

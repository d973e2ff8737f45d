"""A receiver whose disk is full: the sender is put off and tries again, and every message is there once."""

import errno
from typing import Any

from twisted.trial.unittest import TestCase

from mailx.store.blobs import BlobWriter
from tests.federation.post import THERE, Post, post
from tests.federation.test_transfers import CONTENT, large

_LIKE_IT_IS = 1  # pages: SQLite takes no less than it has
_NO_LIMIT = 1 << 30
_ROOM = 10_000_000  # octets: no content lies in a file


class Full(TestCase):
    """No space for files, or in the database."""

    timeout = 240

    async def made(self, **store: int) -> Post:
        made = await post(self, there={"store": {"spool_above": 100_000, **store}})
        await made.here.start()
        return made

    async def put_off(self, made: Post, content: bytes) -> None:
        """A message waits, for a reason of the other side's that passes; nothing of it stays there."""
        await made.here.send("you@other.test", content=content)
        await made.here.settled(deferred=1)
        (entry,) = await made.here.entries()
        assert entry.last is not None
        self.assertEqual((entry.attempts, entry.last.attempt.reply.enhanced[:4]), (1, "4.3."))
        self.assertEqual(await made.arrived(), [])
        await made.here.until(lambda: not made.there.files())

    async def goes_on(self, made: Post, content: bytes) -> None:
        """There is room again: what waited arrives once."""
        made.here.clock[0] += 3600
        await made.here.queue.hasten(THERE)
        made.here.queue.wake()
        await made.here.settled(sent=1)
        self.assertEqual([each.endswith(content) for each in await made.arrived()], [True])
        self.assertEqual(made.direct.tried, [])

    async def test_for_files(self) -> None:
        write_out = BlobWriter._write_out
        for room in (0, 2, 4):  # writes that succeed: none, some, all but the last
            made = await self.made(file_above=65536)
            written = [0]

            def full(writer: BlobWriter, data: bytes, made: Post = made, room: int = room, written: list[int] = written) -> None:
                written[0] += writer._blobs is made.there.blobs
                if written[0] > room:
                    raise OSError(errno.ENOSPC, "No space left on device")
                write_out(writer, data)

            patch = self.patch(BlobWriter, "_write_out", full)
            try:
                await self.put_off(made, large())
            finally:
                patch.restore()
            self.assertGreater(written[0], room)
            await self.goes_on(made, large())

    async def test_in_the_database(self) -> None:
        for content in (CONTENT + b"0123456789abcdef\r\n" * 5000, large()):
            made = await self.made(file_above=_ROOM, spool_above=_ROOM)
            await self.limit(made, _LIKE_IT_IS)
            await self.put_off(made, content)
            await self.limit(made, _NO_LIMIT)
            await self.goes_on(made, content)

    async def limit(self, made: Post, pages: int) -> None:
        """Let the receiver's database grow no larger than that."""
        writer = made.there.store._store._writer
        made_ready = writer.openfun

        def prepare(connection: Any) -> None:
            made_ready(connection)
            connection.execute(f"PRAGMA max_page_count = {pages}")

        writer.openfun = prepare  # of connections that come, for the one that failed is let go of
        await writer.runWithConnection(lambda session: session.raw.execute(f"PRAGMA max_page_count = {pages}").fetchall())

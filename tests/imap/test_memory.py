"""What a session leaves behind in memory when it ends: nothing large waits for the garbage collector."""

import gc

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailx.core.inflating import Inflating
from mailx.core.output import Output
from mailx.core.selected import Selected
from tests.imap.wire import Edge
from tests.scenery import world


def _views() -> int:
    """How many mailboxes are open, or lie around."""
    return sum(type(each) is Selected for each in gc.get_objects())


class MemoryTests(TestCase):
    async def test_the_columns_of_a_mailbox_go_at_once(self) -> None:
        """A large mailbox takes megabytes, and its messages are a few objects: the collector would come late."""
        made = await world(self)
        edge = Edge(made)
        self.addCleanup(edge.close)
        user = await made.user("me@example.test")
        await made.file(user, b"Subject: 1\r\n\r\nbody\r\n")
        for way in ("connection lost", "LOGOUT", "UNSELECT", "while it works"):
            gc.collect()
            gc.disable()
            self.addCleanup(gc.enable)
            client = edge.connect()
            await client.line()
            client.protocol.session.enter(user)
            await client.command(b"SELECT INBOX", b"a")
            await client.command(b"FETCH 1 (FLAGS ENVELOPE)", b"b")
            if way == "connection lost":
                client.disconnect()
            elif way == "while it works":
                client.send(b"c FETCH 1 BODY[]\r\nd SEARCH TEXT body\r\ne SORT (SUBJECT) UTF-8 ALL\r\n")
                client.disconnect()
            else:
                await client.command(way.encode(), b"c")
            end = reactor.seconds() + 20  # type: ignore[attr-defined]
            while _views() and reactor.seconds() < end:  # type: ignore[attr-defined]
                await deferLater(reactor, 0.01)  # a thread may still be at it
            self.assertEqual(_views(), 0, way)
            gc.enable()

    async def test_the_tables_of_compression_go_at_once(self) -> None:
        made = await world(self)
        edge = Edge(made)
        self.addCleanup(edge.close)
        user = await made.user("me@example.test")
        client = edge.connect()
        await client.line()
        client.protocol.session.enter(user)
        await client.command(b"COMPRESS DEFLATE", b"a")
        output, inflating = client.protocol.output, client.protocol._inflating
        assert isinstance(output, Output) and isinstance(inflating, Inflating)
        self.assertIsNotNone(output._deflate)
        client.disconnect()
        self.assertIsNone(output._deflate)
        self.assertIsNone(inflating._inflate)

"""COMPRESS in memory, on sockets with and without TLS, and against hostile input."""

import imaplib
import zlib
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.inflating import TURN, Inflating
from mailx.core.input import HIGH_WATER, Input
from tests.imap.messages import PLAIN
from tests.imap.test_clients import ServiceTests, coroutine
from tests.imap.test_protocol import EdgeTestCase
from tests.imap.wire import Client

imaplib.Commands.setdefault("COMPRESS", ("AUTH", "SELECTED"))


class Compressed:
    """What a client does to ``client`` after COMPRESS."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.octets = 0  # received, compressed
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._send = client.send
        client.transport.write = self._received  # type: ignore[method-assign]
        client.send = self._compress  # type: ignore[method-assign]

    def _received(self, data: bytes) -> None:
        self.octets += len(data)
        self.client.received(self._inflate.decompress(data))

    def packed(self, data: bytes) -> bytes:
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _compress(self, data: bytes) -> None:
        self._send(self.packed(data))

    def raw(self, data: bytes) -> None:
        self._send(data)


class CompressTests(EdgeTestCase):
    async def compressed(self, **config: Any) -> Compressed:
        self.served = await self.edge(**config)
        client = await self.served.login(select="INBOX")
        answer = await client.command(b"COMPRESS DEFLATE")
        self.assertEqual(answer, [b"t OK DEFLATE active"])
        return Compressed(client)

    @coroutine
    async def test_session(self) -> None:
        """Commands, literals and large answers go through; it is not announced again, and refused."""
        wire = await self.compressed()
        client = wire.client
        self.assertNotIn(b"COMPRESS", (await client.command(b"CAPABILITY"))[0])
        self.assertEqual(await client.command(b"COMPRESS DEFLATE"), [b"t BAD [COMPRESSIONACTIVE] Compression is active already"])
        content = b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 60000
        client.send(b"a APPEND INBOX {%d}\r\n" % len(content))
        self.assertTrue((await client.line()).startswith(b"+"))
        client.send(content + b"\r\n")
        await client.until(b"a OK")
        before = wire.octets
        lines = await client.command(b"FETCH 1 BODY.PEEK[]")
        self.assertEqual(b"\r\n".join(lines[1:-2]) + b"\r\n", content)
        self.assertLess(wire.octets - before, len(content) // 20)

    @coroutine
    async def test_sent_too_early(self) -> None:
        """What came behind COMPRESS without waiting is compressed or ends the session; it is never taken as it is."""
        for early, answer in ((None, b"b OK NOOP completed"), (b"b NOOP\r\n", b"* BYE Invalid compressed data")):
            edge = await self.edge()
            client = await edge.login()
            pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            packed = pack.compress(b"b NOOP\r\n") + pack.flush(zlib.Z_SYNC_FLUSH)
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            got = bytearray()
            client.transport.write = got.__iadd__  # type: ignore[method-assign, assignment]
            client.send(b"a COMPRESS DEFLATE\r\n" + (early or packed))
            while answer not in bytes(got[:0]) + (text := self._text(bytes(got), inflate)):
                inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                await deferLater(reactor, 0)
            self.assertTrue(text.endswith(answer + b"\r\n"), text)

    def _text(self, data: bytes, inflate: Any) -> bytes:
        _, _, packed = data.partition(b"DEFLATE active\r\n")
        text: bytes = inflate.decompress(packed)
        return text

    @coroutine
    async def test_garbage(self) -> None:
        """Octets that are no DEFLATE, and a stream that ends, end the session with BYE."""
        for bad in (b"\xff" * 20, None):
            wire = await self.compressed()
            wire.raw(bad or zlib.compressobj(wbits=-zlib.MAX_WBITS).flush())
            self.assertEqual(await wire.client.line(), b"* BYE Invalid compressed data")
            await wire.client.gone()

    @coroutine
    async def test_bomb(self) -> None:
        """A few kilobytes that stand for megabytes are read slowly; other sessions go on, and memory stays."""
        wire = await self.compressed()
        bomb = wire.packed(b"x" * 30_000_000 + b"\r\na NOOP\r\n")
        self.assertLess(len(bomb), 40_000)
        wire.raw(bomb)
        other = await self.served.login()
        self.assertEqual(await other.command(b"NOOP"), [b"t OK NOOP completed"])
        self.assertEqual(bytes(wire.client.data), b"")  # not through with it
        self.assertLess(len(wire.client.protocol.input._buffer), HIGH_WATER + 2 * TURN)
        self.assertIn(b" BAD [LIMIT] ", await wire.client.line())
        self.assertEqual(await wire.client.line(), b"a OK NOOP completed")

    @coroutine
    async def test_idle(self) -> None:
        """What is told in IDLE is flushed at once."""
        wire = await self.compressed()
        wire.client.send(b"i IDLE\r\n")
        await wire.client.until(b"+")
        await self.world.file(self.user, PLAIN)
        self.assertEqual(await wire.client.line(), b"* 1 EXISTS")
        wire.client.send(b"DONE\r\n")
        await wire.client.until(b"i OK")


class InflatingTests(SynchronousTestCase):
    def test_reader_that_is_full(self) -> None:
        """Nothing is opened while the reader takes no more, and the transport is let go when all is opened."""
        clock = Clock()
        calls: list[str] = []
        source = Input(lambda: None, lambda: None, lambda: None)
        inflating = Inflating(source, lambda: calls.append("stop"), lambda: calls.append("go"), clock, lambda: calls.append("broken"))
        pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        inflating.feed(pack.compress(b"y" * 1_000_000) + pack.flush(zlib.Z_SYNC_FLUSH))
        for _ in range(50):
            clock.advance(0)
        self.assertEqual(len(source._buffer), 3 * TURN)
        total = 0
        while len(source._buffer):
            piece = Deferred.fromCoroutine(source.some(50_000))
            total += len(self.successResultOf(piece))
            clock.advance(0)
        self.assertEqual(total, 1_000_000)
        self.assertEqual(calls[-1], "go")
        self.assertEqual(clock.getDelayedCalls(), [])
        inflating.close()


class SocketTests(ServiceTests):
    @coroutine
    async def test_sockets(self) -> None:
        """Large messages there and back, with implicit TLS, after STARTTLS, and on a plain socket."""
        await self.start(plaintext_login=True)
        big = b"Subject: x\r\n\r\n" + b"".join(b"%d and so on\r\n" % number for number in range(100_000))

        def talk(tls: bool, start: bool) -> None:
            client = self.connect(tls)
            if start:
                client.host = "localhost.test"
                client.starttls(self.trust)
            client.login("me@example.test", "secret")
            assert client._simple_command("COMPRESS", "DEFLATE")[0] == "OK"  # type: ignore[attr-defined]
            inflate, deflate = zlib.decompressobj(-15), zlib.compressobj(wbits=-15)
            sock, waiting = client.sock, bytearray()

            def read(size: int) -> bytes:
                while len(waiting) < size:
                    waiting.extend(inflate.decompress(sock.recv(65536)))
                data = bytes(waiting[:size])
                del waiting[:size]
                return data

            def readline() -> bytes:
                while b"\n" not in waiting:
                    waiting.extend(inflate.decompress(sock.recv(65536)))
                return read(waiting.index(b"\n") + 1)

            client.read = read  # type: ignore[method-assign]
            client.readline = readline  # type: ignore[method-assign]
            client.send = lambda data: sock.sendall(deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))  # type: ignore[method-assign]
            assert client.append("INBOX", "", "", big)[0] == "OK"
            client.select()
            for _ in range(3):
                assert client.fetch("1", "(BODY.PEEK[])")[1][0][1] == big
            client.logout()

        for tls, start in ((True, False), (False, True), (False, False)):
            await deferToThread(talk, tls, start)

"""Content in memory and spooled: the same octets either way, limits, full disks, and nothing left behind."""

import errno
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import headers
from mailx.core.content import Content
from mailx.mail.message import Message
from mailx.mail.reply import Refused
from mailx.store.blobs import Blobs, BlobWriter
from mailx.store.cipher import Cipher, Keys

HEAD = b"Return-Path: <>\r\nReceived: from x by y; z\r\n"
MAIL = b"Return-Path: <old@example.org>\r\nSubject: s\r\n\r\n" + b"0123456789abcd\r\n" * 40_000


def never(call: Callable[..., Any], *args: Any) -> "Deferred[Any]":
    raise AssertionError("what is small needs no thread")


def small(head: bytes = HEAD, limit: int = 10_000, fix: Callable[[bytes], bytes] | None = headers.incoming) -> Content:
    return Content(head, limit, fix, mock.sentinel.blobs, never, 10_000)


def chunks(content: bytes, sizes: list[int]) -> list[bytes]:
    found = []
    for size in sizes:
        found.append(content[:size])
        content = content[size:]
    return [*found, content]


class MemoryTests(SynchronousTestCase):
    def finished(self, content: Content) -> Message:
        return self.successResultOf(Deferred.fromCoroutine(content.finish()))

    @given(st.lists(st.integers(0, 40), max_size=8))
    def test_chunks(self, sizes: list[int]) -> None:
        """However the octets come, the message is the same: trace fields, fields without Return-Path, text."""
        content = small()
        for chunk in chunks(b"A: 1\r\nreturn-path: <a>\r\n b\r\nB: 2\r\n\r\nreturn-path: text\r\n", sizes):
            self.assertIsNone(content.write(chunk))
        message = self.finished(content)
        self.assertEqual(message.content, HEAD + b"A: 1\r\nB: 2\r\n\r\nreturn-path: text\r\n")
        self.assertEqual(message.size, len(HEAD) + 33)
        self.assertFalse(message.eight_bit)

    @given(st.binary(max_size=200))
    def test_untouched(self, octets: bytes) -> None:
        """Without a fix every octet stays."""
        content = small(b"", fix=None)
        content.write(octets)
        message = self.finished(content)
        self.assertEqual(message.content, octets)
        self.assertEqual(message.eight_bit, not octets.isascii())

    def test_no_fields(self) -> None:
        """Text without fields stays text: an empty line parts it from the trace fields."""
        for octets, then in ((b"hello\r\n", b"\r\nhello\r\n"), (b"\r\nhello\r\n", b"\r\nhello\r\n"), (b"", b"")):
            content = small()
            content.write(octets)
            self.assertEqual(self.finished(content).content, HEAD + then)

    def test_limit(self) -> None:
        """The limit counts what the client sent; one octet more is refused, and only ``finish`` says so."""
        content = small(limit=10)
        content.write(b"A: 123\r\n\r\n")
        self.assertEqual(self.finished(content).size, len(HEAD) + 10)
        content = small(limit=10)
        self.assertIsNone(content.write(b"A: 123\r\n"))
        self.assertIsNone(content.write(b"\r\n-"))
        self.assertIsNone(content.write(b"x" * 100_000))
        failure = self.failureResultOf(Deferred.fromCoroutine(content.finish()), Refused)
        self.assertEqual(str(failure.value.reply), "552 5.3.4 Message size exceeds fixed maximum message size")
        self.assertEqual(content.size, 100_011)

    def test_fields_limit(self) -> None:
        """More header fields than any mail has are refused, also in memory."""
        content = Content(HEAD, 10_000_000, headers.incoming, mock.sentinel.blobs, never, 10_000_000)
        content.write(b"X: y\r\n" * 50_000)
        failure = self.failureResultOf(Deferred.fromCoroutine(content.finish()), Refused)
        self.assertEqual(str(failure.value.reply), "554 5.6.0 Header section too large")

    def test_crumbs(self) -> None:
        """A message that comes two octets at a time takes hardly more memory than its size."""
        content = Content(HEAD, 10**6, None, mock.sentinel.blobs, never, 10**6)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(50_000):
            content.write(b"%02d" % (number % 100))
        self.assertLess(tracemalloc.get_traced_memory()[0], 150_000)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(content.finish())).size, len(HEAD) + 100_000)

    def test_abort(self) -> None:
        """What was aborted takes nothing and cannot be finished."""
        content = small()
        content.write(b"A: 1\r\n")
        content.abort()
        content.abort()
        self.assertIsNone(content.write(b"B: 2\r\n"))
        self.failureResultOf(Deferred.fromCoroutine(content.finish()), RuntimeError)


class SpoolTests(TestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        cipher = Cipher(Keys({1: bytes(32)}, 1, bytes(32)))
        self.blobs = Blobs(self.directory, cipher)
        self.running = 0
        self.idle: list[Deferred[None]] = []

    def content(self, limit: int = 10_000_000, above: int = 100_000, **others: Any) -> Content:
        arguments = {"head": HEAD, "fix": headers.incoming, "threads": self.threads} | others
        return Content(limit=limit, blobs=self.blobs, spool_above=above, **arguments)

    def files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.directory) for name in names]

    def threads(self, call: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        self.running += 1
        return deferToThread(call, *args).addBoth(self.ended)

    def ended(self, result: Any) -> Any:
        self.running -= 1
        if self.idle:
            reactor.callLater(0, self.idle.pop().callback, None)  # type: ignore[attr-defined]
        return result

    async def settled(self) -> None:
        """Until no thread runs, and what followed from the last one is done."""
        while self.running:
            waiting: Deferred[None] = Deferred()
            self.idle.append(waiting)
            await waiting

    async def feed(self, content: Content, octets: bytes, size: int = 30_000) -> int:
        """Write as an edge does, waiting when asked to; how often that was."""
        waited = 0
        for start in range(0, len(octets), size):
            waiting = content.write(octets[start : start + size])
            if waiting is not None:
                waited += 1
                await waiting
        return waited

    async def refused(self, content: Content) -> str:
        with self.assertRaises(Refused) as caught:
            await content.finish()
        return str(caught.exception.reply)

    async def test_same_octets(self) -> None:
        """What is spooled is what would have been in memory, whatever the chunks; the file lies sealed on disk."""
        for size in (1000, 30_000, 99_999, 700_000):
            content = self.content()
            await self.feed(content, MAIL, size)
            message = await content.finish()
            assert not isinstance(message.content, bytes)
            expected = HEAD + MAIL.partition(b"\r\n")[2]
            self.assertEqual(message.content.read(), expected)
            self.assertEqual((message.size, message.content.size), (len(expected), len(expected)))
            (name,) = self.files()
            with open(os.path.join(self.directory, name[:2], name), "rb") as file:
                self.assertNotIn(b"0123456789", file.read())
            message.content.discard()
            self.assertEqual(self.files(), [])

    async def test_submitted(self) -> None:
        """A long message gets its missing fields, and loses Bcc, before it goes into the file."""
        content = self.content(head=b"T: 1\r\n", fix=partial(headers.submitted, hostname="h", now=0))
        await self.feed(content, b"Bcc: secret@example.org\r\nFrom: a@b.c\r\n\r\n" + b"x" * 300_000)
        message = await content.finish()
        assert not isinstance(message.content, bytes)
        fields = message.content.read().partition(b"\r\n\r\n")[0].split(b"\r\n")
        self.assertEqual([field.partition(b":")[0] for field in fields], [b"T", b"Date", b"Message-ID", b"From"])

    async def test_back_pressure(self) -> None:
        """An edge faster than the disk is told to wait, and never more than a little waits in memory."""
        gate: list[tuple[Deferred[Any], Any]] = []

        def slow(call: Callable[..., Any], *args: Any) -> "Deferred[Any]":
            waiting: Deferred[Any] = Deferred()
            gate.append((waiting, lambda: call(*args)))
            return waiting

        content = self.content(threads=slow)
        content.write(MAIL[:200_000])
        self.assertEqual(len(gate), 1)
        self.assertIsNone(content.write(MAIL[200_000:300_000]))
        self.assertIsNone(content.write(MAIL[300_000:400_000]))
        first = content.write(MAIL[400_000:])
        assert first is not None
        self.assertNoResult(first)
        while gate:
            waiting, run = gate.pop(0)
            waiting.callback(run())
        self.successResultOf(first)

    async def test_too_large(self) -> None:
        """A spooled message that passes the limit is dropped at once."""
        content = self.content(limit=300_000)
        await self.feed(content, MAIL)
        await self.settled()
        self.assertEqual(self.files(), [])
        self.assertEqual(await self.refused(content), "552 5.3.4 Message size exceeds fixed maximum message size")

    async def test_endless_header(self) -> None:
        """Fields that never end are refused before they are spooled."""
        content = self.content()
        await self.feed(content, b"X: y\r\n" * 50_000)
        self.assertEqual(await self.refused(content), "554 5.6.0 Header section too large")
        self.assertEqual(self.files(), [])

    async def test_abort(self) -> None:
        """Aborting leaves nothing, whatever the thread is doing."""
        idle = self.content()
        await self.feed(idle, MAIL)
        busy = self.content()
        busy.write(MAIL)
        idle.abort()
        busy.abort()
        await self.settled()
        self.assertEqual(self.files(), [])

    async def full(self, after: int) -> None:
        """A disk that takes ``after`` writes."""
        real = BlobWriter._write_out
        calls = 0

        def fails(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > after:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        with mock.patch.object(BlobWriter, "_write_out", fails):
            content = self.content()
            await self.feed(content, MAIL)
            self.assertEqual(await self.refused(content), "452 4.3.1 Insufficient system storage")
        await self.settled()
        self.assertEqual(self.files(), [])

    async def test_full_disk(self) -> None:
        """A full disk is told by ``finish``, wherever it strikes, and nothing stays."""
        for after in range(4):
            await self.full(after)
        with mock.patch("os.fsync", side_effect=OSError(errno.EIO, "I/O error")):
            content = self.content()
            await self.feed(content, MAIL)
            self.assertEqual(await self.refused(content), "452 4.3.1 Insufficient system storage")
        self.assertEqual(self.files(), [])

    async def test_failing_thread(self) -> None:
        """A failure that is no disk's is logged, and refused all the same."""
        with mock.patch.object(BlobWriter, "write", side_effect=ValueError("broken")):
            content = self.content()
            await self.feed(content, MAIL)
            self.assertEqual(await self.refused(content), "452 4.3.1 Insufficient system storage")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.files(), [])

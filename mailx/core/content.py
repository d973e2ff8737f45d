"""Content on its way in: counted, its header section put right, held in memory or spooled to an encrypted file.

Memory holds at most ``spool_above`` octets of a message; a longer one is written by a thread while it arrives, and
the edge is told to wait when the disk is slower than the network. Failure is told once, by ``finish``; until then
whatever still arrives is counted and dropped. Whoever does not call ``finish`` calls ``abort``: nothing stays behind.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import headers
from mailx.mail import binary
from mailx.mail.message import Message, Spooled
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store.blobs import BlobFile, Blobs, BlobWriter
from mailx.store.cipher import CipherError

log = Logger()

_FIELDS = 262144  # octets of header fields that are put right; more are no mail
_CRUMB = 1024  # pieces of fewer octets are put together: each by itself would take many times its size
_WORTH = 131072  # octets that are worth a trip to a thread
_WAITING = 262144  # octets that may wait for the thread before the edge is told to pause

TOO_LARGE = Reply(552, "5.3.4", "Message size exceeds fixed maximum message size")
NO_SPACE = Reply(452, "4.3.1", "Insufficient system storage")
HEADER_TOO_LARGE = Reply(554, "5.6.0", "Header section too large")
NOT_STORABLE = Reply(554, "5.6.1", "NUL has no place in a header or in encoded text")


class Threads(Protocol):
    """Runs a blocking call in the thread pool."""

    def __call__(self, call: Callable[..., Any], *args: Any) -> "Deferred[Any]": ...


class Content:
    """The content of one message. Reactor thread only."""

    def __init__(
        self,
        head: bytes,
        limit: int,
        fix: Callable[[bytes], bytes] | None,
        blobs: Blobs,
        threads: Threads,
        spool_above: int,
    ) -> None:
        """``limit`` is in octets and does not count ``head``; ``fix`` puts the header fields right, None leaves all octets alone."""
        self.size = 0  # octets taken from the client so far
        self._limit = limit
        self._head = head
        self._fix = fix
        self._blobs = blobs
        self._threads = threads
        self._spool_above = spool_above
        self._eight_bit = False
        self._chunks: list[bytes] = []
        self._held = 0  # octets in _chunks
        self._refusal: Refused | None = None
        self._over = False  # finished or aborted
        self._spooled = False  # has gone over to a file
        self._busy = False  # a thread is writing
        self._waiters: list[Deferred[None]] = []
        self._writer: BlobWriter | None = None

    def write(self, data: bytes) -> "Deferred[None] | None":
        """Take the next octets. A Deferred asks the edge to send no more until it fires; it never fails."""
        self.size += len(data)
        if self._over or self._refusal is not None:
            return None
        if self.size > self._limit:
            self._refuse(Refused(TOO_LARGE))
            return None
        if not self._eight_bit and not data.isascii():
            self._eight_bit = True
        if len(data) < _CRUMB and self._chunks and len(self._chunks[-1]) < _CRUMB:
            self._chunks[-1] += data
        else:
            self._chunks.append(data)
        self._held += len(data)
        if not self._spooled:
            if self._held > self._spool_above:
                self._go_over()
        elif self._held >= _WORTH and not self._busy:
            self._spool()
        if not self._spooled or self._held <= _WAITING:
            return None
        return self._wait()

    async def finish(self) -> Message:
        """The whole message. Raises Refused: too large (552 5.3.4), no space on disk (452 4.3.1), header section too large (554 5.6.0)."""
        if self._over:
            raise RuntimeError("this content was finished or aborted before")
        self._over = True
        while self._busy:
            await self._wait()
        if self._refusal is not None:
            raise self._refusal
        if not self._spooled:
            whole = self._fixed(b"".join(self._chunks))
            self._chunks.clear()
            return Message(whole, len(whole), self._eight_bit)
        try:
            file: BlobFile = await self._threads(_finish, self._blobs, self._writer, self._chunks)
        except OSError as error:
            raise no_space(error) from None
        return Message(file, file.size, self._eight_bit)

    def abort(self) -> None:
        """Forget everything. After ``finish`` it does nothing: the message has an owner then."""
        if not self._over:
            self._over = True
            self._refuse(Refused(TOO_LARGE, "aborted"))

    def _fixed(self, whole: bytes) -> bytes:
        """``whole`` behind the trace fields, its own fields put right; raises Refused if they are too many."""
        if self._fix is None:
            return self._head + whole
        end = headers.end(whole)
        if end is None:
            end = len(whole)
        if end > _FIELDS:
            raise Refused(HEADER_TOO_LARGE)
        fields = self._fix(whole[:end])
        return b"".join((self._head, fields, headers.separator(whole[end:]) if not end else b"", memoryview(whole)[end:]))

    def _go_over(self) -> None:
        """Leave memory for a file."""
        whole = b"".join(self._chunks)
        try:
            if self._fix is not None and headers.end(whole) is None:
                raise Refused(HEADER_TOO_LARGE)
            whole = self._fixed(whole)
        except Refused as refused:
            self._refuse(refused)
            return
        self._spooled = True
        self._chunks = [whole]
        self._held = len(self._chunks[0])
        self._spool()

    def _spool(self) -> None:
        """Hand what is there to a thread."""
        self._busy = True
        chunks, self._chunks, self._held = self._chunks, [], 0
        self._threads(_write, self._blobs, self._writer, chunks).addCallbacks(self._written, self._failed)

    def _written(self, writer: BlobWriter) -> None:
        self._busy = False
        self._writer = writer
        if self._refusal is not None:
            self._drop()
        elif self._held >= _WORTH and not self._over:
            self._spool()
        self._release()

    def _failed(self, failure: Failure) -> None:
        """The thread failed, and left nothing of the file."""
        self._busy = False
        self._writer = None
        if not failure.check(OSError):
            log.failure("Spooling a message failed", failure, event="content.spool_failed")
        self._refuse(no_space(failure.value))

    def _refuse(self, refusal: Refused) -> None:
        """Keep nothing, and take no more."""
        self._refusal = self._refusal or refusal
        self._chunks.clear()
        self._held = 0
        if not self._busy:
            self._drop()
        self._release()

    def _drop(self) -> None:
        """Remove the file, if one was begun."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._threads(writer.abort).addErrback(
                lambda failure: log.failure("Removing an unfinished file failed", failure, event="content.abort_failed")
            )

    def _wait(self) -> "Deferred[None]":
        """Fires when the thread has taken what waited, or when nothing is kept any more."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)


def no_space(error: BaseException | None) -> Refused:
    """The refusal of a message that the disk did not take."""
    return Refused(NO_SPACE, f"{type(error).__name__}: {error}")


def _write(blobs: Blobs, writer: BlobWriter | None, chunks: Sequence[bytes]) -> BlobWriter:
    """Append ``chunks`` to the file, which begins here if there is none; on failure nothing of it stays. Runs in a thread."""
    writer = writer or blobs.spool()
    try:
        for chunk in chunks:
            writer.write(chunk)
    except BaseException:
        writer.abort()
        raise
    return writer


def _finish(blobs: Blobs, writer: BlobWriter | None, chunks: Sequence[bytes]) -> BlobFile:
    """Append the last ``chunks`` and make the file durable; on failure nothing of it stays. Runs in a thread."""
    return _write(blobs, writer, chunks).finish()


async def with_fields(message: Message, fields: bytes, blobs: Blobs, threads: Threads) -> Message:
    """``message`` with ``fields`` before its other trace fields. A spooled one is written anew and its old file removed.

    Raises Refused when the disk is full; the message is then as it was.
    """
    content = message.content
    if isinstance(content, bytes):
        at = headers.top(content)
        return Message(b"".join((content[:at], fields, memoryview(content)[at:])), message.size + len(fields), message.eight_bit)
    rewritten = await _rewritten(message, fields, blobs, threads)
    with suppress(OSError):  # the sweep finds it
        await threads(content.discard)
    return rewritten


async def copied(message: Message, blobs: Blobs, threads: Threads) -> Message:
    """``message`` to be accepted once more: a spooled one in a file of its own. Raises Refused when the disk is full."""
    return message if isinstance(message.content, bytes) else await _rewritten(message, b"", blobs, threads)


async def _rewritten(message: Message, fields: bytes, blobs: Blobs, threads: Threads) -> Message:
    try:
        file: BlobFile = await threads(_rewrite, blobs, message.content, fields)
    except OSError as error:
        raise no_space(error) from None
    except CipherError as error:
        raise Unavailable(str(error)) from None
    return Message(file, file.size, message.eight_bit)


def _rewrite(blobs: Blobs, old: BlobFile, fields: bytes) -> BlobFile:
    """A new file with ``fields`` put into the content of ``old``; on failure nothing of it stays. Runs in a thread."""
    writer = blobs.spool()
    try:
        for piece in blobs.iterate(old.name):
            if fields:
                at = headers.top(piece)
                piece, fields = piece[:at] + fields + piece[at:], b""
            writer.write(piece)
    except BaseException:
        writer.abort()
        raise
    return writer.finish()


def in_lines(content: bytes | Spooled) -> bytes:
    """A binary message in lines (:func:`mailx.mail.binary.storable`); for a thread. Raises Refused."""
    try:
        return binary.storable(content if isinstance(content, bytes) else content.read())
    except binary.NotStorable:
        raise Refused(NOT_STORABLE) from None
    except OSError as error:
        raise no_space(error) from None
    except CipherError as error:
        raise Unavailable(str(error)) from None

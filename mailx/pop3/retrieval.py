"""RETR and TOP on the wire: a message piece by piece, each read when the client has taken the one before (RFC 1939 3, 7).

Every line goes out ended by CRLF, a leading dot doubled: a bare LF, which IMAP's binary APPEND may have brought, is no way to
make a client see the end of the answer where it is not. When a read fails inside the answer, only the end of the connection
can still say so.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from twisted.internet.threads import deferToThreadPool

from mailx.core import headers
from mailx.core.fetch import Blob
from mailx.mail.lines import DotStuffer
from mailx.pop3.plain_header import in_ascii

PIECE = 131072  # octets read and written at a time
HEADER_LIMIT = 262144  # octets of a header section that are rewritten in ASCII; a longer one goes as it is
_HERE = 4096  # octets of one that needs no thread
_BARE = re.compile(rb"(?<!\r)\n")

Read = Callable[["bytes | Blob", int, int], Awaitable[bytes]]


class Lines:
    """Content that comes in pieces as the lines of an answer."""

    def __init__(self) -> None:
        self._stuffer = DotStuffer()
        self._return = False  # the last octet was CR

    def feed(self, data: bytes) -> bytes:
        return self._stuffer.feed(self._whole(data))

    def finish(self) -> bytes:
        return self._stuffer.finish()

    def _whole(self, data: bytes) -> bytes:
        if not data:
            return data
        after, self._return = self._return, data.endswith(b"\r")
        if data.count(b"\n") == data.count(b"\r\n"):
            return data
        if after and data.startswith(b"\n"):
            return b"\n" + _BARE.sub(b"\r\n", data[1:])
        return _BARE.sub(b"\r\n", data)


async def pieces(read: Read, content: "bytes | Blob", plain: bool, reactor: Any) -> AsyncIterator[bytes]:
    """The content, with ``plain`` its header section in ASCII. Raises OSError when it ends before its size."""
    size = content.size if isinstance(content, Blob) else len(content)
    start = 0
    if plain:
        head = await _header(read, content, size)
        if not head.isascii():
            start = len(head)
            if len(head) <= _HERE:
                yield in_ascii(head)
            else:
                yield await deferToThreadPool(reactor, reactor.getThreadPool(), in_ascii, head)
    while start < size:
        data = await read(content, start, min(PIECE, size - start))
        if not data:
            raise OSError("a content is shorter than its message")
        start += len(data)
        yield data


async def _header(read: Read, content: "bytes | Blob", size: int) -> bytes:
    """The header section; nothing if there is none within bounds."""
    reach = min(4096, size)
    while True:
        data = await read(content, 0, reach)
        end = headers.end(data)
        if end is not None:
            return data[:end]
        if reach == size:
            return data
        if reach >= HEADER_LIMIT:
            return b""
        reach = min(reach * 8, HEADER_LIMIT, size)


class Top:
    """Cuts a message that comes in pieces behind its header section and ``lines`` of its body."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._tail = b"\r\n"  # a message without fields begins with the empty line
        self._body = False
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """What of ``data`` is to be sent."""
        start = 0
        if not self._body:
            seen = self._tail + data
            end = seen.find(b"\r\n\r\n")
            if end < 0:
                self._tail = seen[-3:]
                return data
            start = end + 4 - len(self._tail)
            self._body = True
        end = start
        while self._left:
            found = data.find(b"\n", end)
            if found < 0:
                return data
            end = found + 1
            self._left -= 1
        self.done = True
        return data[:end]

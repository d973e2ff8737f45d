"""One message on its way in: its lines checked, its size counted, its octets handed to the reception.

Whatever is wrong is remembered and told once, when the message's end has come: until then the octets are taken and
thrown away, so that no octet of a body can ever be run as a command.
"""

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.lines import Fault, LineScan
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply
from mailx.smtp import replies

log = Logger()

_FAULTS = {
    Fault.BARE: Reply(550, "5.6.0", Fault.BARE.value),
    Fault.NUL: Reply(550, "5.6.0", Fault.NUL.value),
    Fault.LONG: Reply(500, "5.6.0", Fault.LONG.value),  # the code of RFC 5321 4.5.3.1.9
}


class Content(Protocol):
    """What the reception gives for a new message; see :class:`mailx.core.content.Content`."""

    def write(self, data: bytes) -> "Deferred[None] | None": ...

    async def finish(self) -> Message: ...

    def abort(self) -> None: ...


class Incoming:
    """Takes one message into ``content``. ``size_limit`` and ``line_limit`` are in octets."""

    __slots__ = ("size", "_content", "_scan", "_limit", "_reply", "_blocked", "_open_line")

    def __init__(self, content: Content, size_limit: int, line_limit: int) -> None:
        self.size = 0
        self._content: Content | None = content
        self._scan = LineScan(line_limit)
        self._limit = size_limit
        self._reply: Reply | None = None
        self._blocked: Deferred[None] | None = None
        self._open_line = False

    @property
    def refused(self) -> Reply | None:
        """Why the message will be refused, as far as is known."""
        return self._reply

    def write(self, data: bytes) -> "Deferred[None] | None":
        """Take the next octets; a Deferred asks to stop reading until it fires (it never fails)."""
        self.size += len(data)
        if self._content is None or not data:
            return None
        self._scan.scan(data)
        if self._scan.fault is not None:
            self._refuse(_FAULTS[self._scan.fault])
            return None
        if self.size > self._limit:
            self._refuse(replies.TOO_LARGE)
            return None
        self._open_line = data[-1] != 10
        try:
            blocked = self._content.write(data)
        except Exception:
            self._failed(Failure())
            return None
        if blocked is not None:
            self._blocked = blocked.addErrback(self._failed)
        return blocked

    async def finish(self) -> Message:
        """The whole message; raises Refused. A last line without its CRLF (BDAT) is completed."""
        fault = self._scan.finish()
        if fault is not None and self._content is not None:
            self._refuse(_FAULTS[fault])
        elif self._open_line:
            self.write(b"\r\n")
        if self._blocked is not None:
            await self._blocked
        content = self._content
        if self._reply is not None or content is None:
            raise Refused(self._reply or replies.LOCAL_ERROR)
        self._content = None
        return await content.finish()

    def abort(self) -> None:
        """Nothing stays behind."""
        content, self._content = self._content, None
        if content is not None:
            content.abort()

    def _refuse(self, reply: Reply) -> None:
        self._reply = reply
        self.abort()

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Refused):
            self._refuse(failure.value.reply)
        else:
            log.failure("Message could not be taken", failure)
            self._refuse(replies.LOCAL_ERROR)

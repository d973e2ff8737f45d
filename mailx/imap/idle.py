"""IDLE (RFC 2177): what changes in the selected mailbox is told at once, until the client says DONE.

Every 29 minutes the client hears that the server is there, so that neither a NAT in between nor a dead peer goes
unnoticed; an idling session has no idle timeout.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from mailx.core.input import BareLine, Hangup, LongLine
from mailx.imap.answers import Bad
from mailx.imap.arrival import Command, Farewell
from mailx.imap.session import Session, log
from mailx.imap.updates import tell

KEEPALIVE_SECONDS = 29 * 60
_LINE_LIMIT = 100


async def idle(session: Session, command: Command, _: None) -> bytes:
    watch = Watch(session, expunge=True, keepalive=True)
    session.peer.write(b"+ idling\r\n")
    log.info(
        "IMAP IDLE mode entered",
        event="imap.idle",
        connection_id=session.origin.connection,
        session_id=session.origin.connection,
        mailbox=session.selected.mailbox.id if session.selected is not None else None,
        heartbeat_interval="29m",
    )
    watch.start()
    try:
        session.peer.interruptible(True)
        line = await session.peer.input.line(_LINE_LIMIT)
    except (LongLine, BareLine):
        line = b""
    finally:
        session.peer.interruptible(False)
        await watch.stop()
    if line.upper() != b"DONE":
        raise Bad(b"DONE expected")
    return b"IDLE completed"


async def between(session: Session, wait: Callable[[], Awaitable[None]]) -> None:
    """``wait()`` for the next command of a client that wants to hear of changes meanwhile (RFC 5465 3)."""
    watch = Watch(session, expunge=session.notify is not None and session.notify.at_once, keepalive=False)
    watch.start()
    try:
        await wait()
        watch.hasten()
    finally:
        await watch.stop()


class Watch:
    """Tells one client what happens while it waits. Changes that come together are told together."""

    def __init__(self, session: Session, expunge: bool, keepalive: bool) -> None:
        """``expunge``: removed messages may be told. ``keepalive``: something is said from time to time."""
        self._session = session
        self._expunge = expunge
        self._keeps_alive = keepalive
        self._watching = False
        self._reactor = session.services.reactor
        self._keepalive: Any = None
        self._due: Any = None
        self._telling: Deferred[None] | None = None
        self._again = False  # something changed while the client was being told

    def start(self) -> None:
        self._watching = True
        if self._keeps_alive:
            self._keepalive = self._reactor.callLater(KEEPALIVE_SECONDS, self._still_here)
        view, notify = self._session.selected, self._session.notify
        if notify is not None:
            notify.on_change = self._changed
        if view is not None:
            view.on_change = self._changed
        if view is not None or notify is not None:
            self._changed()

    def hasten(self) -> None:
        """Tell now what would be told in the reactor's next turn: what happened before a command is not told behind its answer."""
        if self._due is not None:
            self._due.cancel()
            self._tell()

    async def stop(self) -> None:
        """Tell no more; waits for what is being told."""
        for call in (self._keepalive, self._due):
            if call is not None:
                call.cancel()
        self._keepalive = self._due = None
        self._watching = False
        view, notify = self._session.selected, self._session.notify
        if view is not None:
            view.on_change = None
        if notify is not None:
            notify.on_change = None
        if self._telling is not None:
            await self._telling

    def _still_here(self) -> None:
        if not self._session.inside_response:
            self._session.peer.write(b"* OK Still here\r\n")
            self._session.peer.flush()
        self._keepalive = self._reactor.callLater(KEEPALIVE_SECONDS, self._still_here)

    def _changed(self) -> None:
        if self._telling is not None:
            self._again = True
        elif self._due is None:
            self._due = self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        self._due = None
        telling = Deferred.fromCoroutine(self._tell_all())
        if not telling.called:
            self._telling = telling

    async def _tell_all(self) -> None:
        peer = self._session.peer
        if self._session.services.tracing:
            log.debug("IMAP IDLE notification", event="imap.idle_notification", connection_id=self._session.origin.connection)
        try:
            alive = await tell(self._session, expunge=self._expunge)
            if self._session.notify is not None:
                await self._session.notify.tell()
            peer.flush()
            await peer.room()  # what comes meanwhile is told together
        except Hangup:
            return
        except Farewell as farewell:
            peer.end(farewell.line)
            return
        except Exception:
            log.failure("IMAP IDLE failed", event="imap.idle_failed", connection_id=self._session.origin.connection)
            peer.end(Farewell(b"Internal error").line)
            return
        finally:
            self._telling = None
        if not alive:
            peer.end(Farewell(self._session.lost).line)
        elif self._again and self._watching:
            self._again = False
            self._changed()

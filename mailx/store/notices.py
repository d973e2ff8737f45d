"""Changes between nodes: NOTIFY payloads, and the connection that listens for them.

A notice says which mailbox reached which mod-sequence; what happened is read from the database. Notices of this
node itself are dropped. Failure: the connection is opened again with growing pauses, and then the listener is told
``Change(mailbox=0, modseq=0, partial=True)``: some notices may have been missed, compare every mailbox watched.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.mail.mailbox import AccountChange, Change, of_account
from mailx.store.engine import Pool, Session

log = Logger()

CHANNEL = "mailx_changes"
_PAYLOAD = 7900  # octets; PostgreSQL takes fewer than 8000
_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the connection is opened again; the last one repeats


def encode(node: str, changes: Sequence[Change]) -> Iterator[str]:
    """Payloads ``node mailbox:modseq[!] ...``; ``!`` marks a mailbox that is gone. ``account@kind:mailbox`` tells of an account."""
    payload = node
    for change in changes:
        if change.account is not None:
            item = f" {change.account.account}@{change.account.kind}:{change.account.mailbox}"
        else:
            item = f" {change.mailbox}:{change.modseq}{'!' if change.gone else ''}"
        if len(payload) + len(item) > _PAYLOAD:
            yield payload
            payload = node
        payload += item
    yield payload


def decode(payload: str) -> tuple[str, list[Change]]:
    """The node and the changes of a payload; raises ValueError."""
    node, *items = payload.split(" ")
    changes = []
    for item in items:
        account, told, of = item.partition("@")
        if told:
            changes.append(of_account(_account_change(int(account), of)))
            continue
        mailbox, _, modseq = item.removesuffix("!").partition(":")
        changes.append(Change(int(mailbox), int(modseq), gone=item.endswith("!"), partial=True))
    return node, changes


def _account_change(account: int, told: str) -> AccountChange:
    kind, _, mailbox = told.partition(":")
    if kind not in ("name", "subscription", "metadata", "acl", "sessions"):
        raise ValueError(kind)
    return AccountChange(account, kind, int(mailbox))  # type: ignore[arg-type]


@implementer(IReadDescriptor)
class Notices:
    """Listens on a connection of its own and calls ``tell(change)`` on the reactor thread."""

    def __init__(
        self, reactor: Any, pool: Pool, connect: "Callable[[], psycopg.Connection[Any]]", node: str, tell: Callable[[Change], Any]
    ) -> None:
        self._reactor = reactor
        self._pool = pool  # whose threads wait for the server
        self._connect = connect
        self._node = node
        self._tell = tell
        self._connection: psycopg.Connection[Any] | None = None
        self._descriptor = -1  # a duplicate: libpq closes its own descriptor before the reactor could forget it
        self._failures = 0
        self._stopped = False

    async def start(self) -> None:
        """Connect and listen; raises psycopg.Error."""
        connection = await self._pool.runWithConnection(self._open)
        if self._stopped:
            connection.close()
            return
        self._connection = connection
        self._descriptor = os.dup(connection.fileno())
        self._failures = 0
        self._reactor.addReader(self)
        self.doRead()

    def stop(self) -> None:
        """Stop listening."""
        self._stopped = True
        self._close()

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "notices"

    def doRead(self) -> None:
        """The server sent something, or went away."""
        connection = self._connection
        if connection is None:
            return
        try:
            connection.pgconn.consume_input()
            while (notice := connection.pgconn.notifies()) is not None:
                self._received(notice.extra.decode("ascii", "replace"))
        except psycopg.Error as error:
            self._lost(str(error))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up the descriptor."""
        if self._connection is not None:
            self._lost(str(reason.value))

    def _open(self, _: Session) -> "psycopg.Connection[Any]":
        connection = self._connect()
        connection.execute(f"LISTEN {CHANNEL}")
        return connection

    def _received(self, payload: str) -> None:
        try:
            node, changes = decode(payload)
        except ValueError:
            log.warn("A notice of another node is malformed", event="store.notice_malformed")
            return
        if node != self._node:
            for change in changes:
                self._tell(change)

    def _lost(self, reason: str) -> None:
        self._close()
        if not self._stopped:
            log.warn("The connection for notices was lost: {reason}", event="store.notices_lost", reason=reason)
            self._retry()

    def _retry(self) -> None:
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        self._reactor.callLater(pause, self._again)

    def _again(self) -> None:
        if self._stopped:
            return
        Deferred.fromCoroutine(self.start()).addCallbacks(self._reopened, self._not_reopened)

    def _reopened(self, _: None) -> None:
        if not self._stopped:
            log.info("Notices are received again", event="store.notices_back")
            self._tell(Change(0, 0, partial=True))

    def _not_reopened(self, failure: Failure) -> None:
        if not self._stopped:
            log.warn("The connection for notices cannot be opened: {reason}", event="store.notices_lost", reason=str(failure.value))
            self._retry()

    def _close(self) -> None:
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        self._reactor.removeReader(self)
        os.close(self._descriptor)
        self._descriptor = -1
        connection.close()

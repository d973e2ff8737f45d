"""One POP3 client's session: who it is, its maildrop, what it may do. Nothing in this module waits."""

from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from mailx.config import POP3, Server
from mailx.core.access import Access
from mailx.core.input import Hangup
from mailx.core.mailboxes import Mailboxes
from mailx.core.reading_session import OVER, Peer, ReadingSession
from mailx.core.tracing import Tracing
from mailx.core.users import User
from mailx.mail.envelope import Origin
from mailx.pop3.maildrop import Locks, Maildrop

log = Logger(namespace="mailx.pop3")

AUTHORIZATION = "authorization"  # the states of RFC 1939 3
TRANSACTION = "transaction"


@frozen
class Services:
    """What every session of a server shares."""

    settings: POP3
    server: Server
    mailboxes: Mailboxes
    access: Access
    reactor: Any
    locks: Locks
    tracing: bool | Tracing = False  # log every command


class Session(ReadingSession):
    """The state of one connection."""

    services: Services

    def __init__(self, services: Services, peer: Peer, origin: Origin) -> None:
        super().__init__(services, peer, origin, AUTHORIZATION)
        self.username: str | None = None  # of USER, for the PASS that follows
        self.utf8 = False  # the client takes UTF-8 in headers (RFC 6856 2.1)
        self._maildrop: Maildrop | None = None
        self._updating = False
        self._left = False

    @property
    def maildrop(self) -> Maildrop:
        """Of a session that has one; raises Hangup when the connection was lost meanwhile."""
        if self._maildrop is None:
            raise Hangup
        return self._maildrop

    def enter(self, user: User) -> bool:
        """Take the maildrop's lock for ``user``; False if another session has it. ``opened`` or ``leave`` follows."""
        if self.state == OVER:
            raise Hangup
        if not self.services.locks.take(user.id):
            return False
        self.services.access.hold(user)
        self.user = user
        self.origin = evolve(self.origin, account=user.id)
        return True

    def opened(self, maildrop: Maildrop) -> None:
        """The maildrop that the session works on. Raises Hangup when the connection was lost meanwhile."""
        if self.state == OVER:
            maildrop.close()
            raise Hangup
        self._maildrop = maildrop
        self.state = TRANSACTION

    def not_opened(self) -> None:
        """The maildrop cannot be had: the session is as before the login."""
        self._release()

    async def update(self) -> None:
        """The UPDATE state (RFC 1939 6): nobody else has the maildrop before it is over, not even if the client is gone."""
        maildrop = self.maildrop
        self._updating = True
        try:
            await maildrop.update()
        finally:
            self._updating = False
            if self._left:
                self._release()

    def leave(self) -> None:
        """End the session; may be called again. What is marked stays, unless ``update`` runs."""
        self.state = OVER
        self._left = True
        if not self._updating:
            self._release()

    def _release(self) -> None:
        maildrop, self._maildrop = self._maildrop, None
        if maildrop is not None:
            maildrop.close()
        user, self.user = self.user, None
        if user is not None:
            self.services.locks.give_back(user.id)
            self.services.access.release(user)

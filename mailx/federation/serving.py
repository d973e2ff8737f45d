"""The peer's calls on one connection: which method answers, and what a refusal says.

A method that takes longer than a call may is answered all the same: a refusal in its place would say that nothing was done.
The peer has its own limit, and asks again. Exceptions are logged here; the peer is told that there was a local error.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.federation.banana_limits import Violation
from mailx.federation.broker import Broker
from mailx.federation.calls import Clock
from mailx.federation.channel import Channel
from mailx.federation.load import Load, Reading
from mailx.federation.service import LOCAL_ERROR, STOPPING, UNKNOWN_METHOD, Fields, Later, Method, Plain, Service
from mailx.mail.reply import Refused, Reply

log = Logger()

RETRY = 60  # seconds after which a peer may come back to a server that stops


class Link(Channel, Reading, Protocol):
    """A channel that can be told to wait."""


class Serving:
    """At most ``most`` calls at a time, those above ``timeout`` seconds are logged. ``idle`` is called whenever none is left."""

    def __init__(
        self,
        broker: Broker,
        services: Mapping[str, Service],
        reactor: Clock,
        *,
        most: int,
        timeout: float,
        load: Load,
        idle: Callable[[], None],
    ) -> None:
        self.draining = False
        self._broker, self._services, self._reactor = broker, services, reactor
        self._most, self._timeout, self._load, self._idle = most, timeout, load, idle
        self._running: dict[int, int] = {}  # the sizes of calls
        self._ended = False

    @property
    def running(self) -> int:
        """Calls that are being answered."""
        return len(self._running)

    def called(self, link: Link, identifier: int, name: str, method: str, fields: dict[str, Plain], size: int) -> None:
        """A call has come. Raises Violation when there are too many."""
        if not identifier or identifier in self._running:
            raise Violation("a call has no number of its own")
        if len(self._running) >= self._most:
            raise Violation(f"more than {self._most} calls at a time")
        if self.draining:
            self._broker.refuse(identifier, STOPPING, RETRY)
            return
        service = self._services.get(name)
        found = service.methods.get(method) if service is not None else None
        if found is None:
            self._broker.refuse(identifier, UNKNOWN_METHOD)
            return
        self._running[identifier] = size
        self._load.take(link, size)
        Deferred.fromCoroutine(self._serve(link, identifier, found, fields, f"{name}.{method}"))

    def end(self) -> None:
        """The connection has ended: nobody waits for the answers of what still runs."""
        self._ended = True

    async def _serve(self, link: Link, identifier: int, method: Method, fields: Fields, what: str) -> None:
        began = self._reactor.seconds()
        say: tuple[Any, ...]
        try:
            say = (self._broker.answer, identifier, await method(link, fields))
        except Later as refused:
            say = (self._broker.refuse, identifier, _safe(refused.reply), refused.retry_after)
        except Refused as refused:
            say = (self._broker.refuse, identifier, _safe(refused.reply))
        except Exception:
            log.failure("A peer's call failed", event="federation.failed", method=what, remote=link.remote)
            say = (self._broker.refuse, identifier, LOCAL_ERROR)
        size = self._running.pop(identifier)  # its place is free as soon as the peer has the answer
        self._answer(say, what, link.remote)
        seconds = self._reactor.seconds() - began
        if seconds > self._timeout:
            log.warn("A peer's call took too long", event="federation.slow", method=what, remote=link.remote, seconds=round(seconds, 1))
        self._load.give(size)
        if not self._running:
            self._idle()

    def _answer(self, say: tuple[Any, ...], what: str, remote: str) -> None:
        try:
            self._say(*say)
        except (TypeError, ValueError):  # what the method gave cannot be said
            log.failure("A peer's call failed", event="federation.failed", method=what, remote=remote)
            self._say(self._broker.refuse, say[1], LOCAL_ERROR)

    def _say(self, say: Callable[..., int], *what: Any) -> None:
        if not self._ended:
            say(*what)


def _safe(reply: Reply) -> Reply:
    """A refusal is never told with a code that means yes."""
    return reply if 400 <= reply.code < 600 else LOCAL_ERROR

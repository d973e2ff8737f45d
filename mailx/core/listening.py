"""What every edge does with its ports: how many may wait to be let in, where TLS comes from, and how they end.

Ports close first; then sessions get time to finish what they do; what is left is told to go, and at last cut off.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort

BACKLOG = 511  # connections that may wait to be accepted
LAST_WORDS = 1.0  # seconds that a session which is cut may take to go


class TLSProvider(Protocol):
    """Where the certificates come from; see :class:`mailx.ops.certificates.Certificates`."""

    def server_options(self) -> Any: ...


class Listener(Protocol):
    """One port's sessions."""

    @property
    def sessions(self) -> Sized: ...

    def revoke(self, account: int) -> None:
        """The sessions of ``account`` end."""

    def drain(self) -> "Deferred[None]":
        """Let sessions finish; fires when none is left."""

    def cut(self) -> None:
        """Tell what is left to go."""

    def abort(self) -> None:
        """Give up what is left after that."""


@frozen
class Ending:
    """How the sessions ended: ``finished`` by themselves, ``left`` when their time was over; in ``seconds``."""

    finished: int
    left: int
    seconds: float

    @property
    def told(self) -> dict[str, object]:
        """The same in a line of the log."""
        return {"graceful": not self.left, "active_sessions_completed": self.finished, "total_duration_ms": round(self.seconds * 1000)}


L = TypeVar("L", bound=Listener)


class Edge(Service, Generic[L]):
    """One protocol's ports as a service: bound, told of revoked accounts, ended.

    Ports are bound in ``privilegedStartService``, so that a daemon may bind one below 1024 and then drop its rights.
    ``ports`` maps names to listening ports, ``listeners`` are their factories.
    """

    def __init__(self, reactor: Any, patience: float) -> None:
        """``patience``: seconds that sessions may take to finish when the service stops."""
        self._reactor = reactor
        self._patience = patience
        self.ports: dict[str, IListeningPort] = {}
        self.listeners: list[L] = []

    @abstractmethod
    def bind(self) -> None:
        """Open every port that the settings turn on; raises CannotListenError."""

    @abstractmethod
    def started(self) -> None:
        """The ports are open: for the log."""

    @abstractmethod
    def stopped(self, ending: Ending) -> None:
        """The sessions have ended: for the log."""

    def privilegedStartService(self) -> None:
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self.bind()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if not self.ports:
            self.bind()
        self.started()

    def revoke(self, account: int) -> None:
        """The sessions of ``account`` end."""
        for listener in self.listeners:
            listener.revoke(account)

    def stopService(self) -> "Deferred[None]":
        """Fires when no session is left, at the latest ``patience`` and a moment later."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ending = await end(self.ports.values(), self.listeners, self._reactor, self._patience)
        self.ports.clear()
        self.listeners.clear()
        self.stopped(ending)


async def end(ports: Iterable[IListeningPort], listeners: Sequence[Listener], reactor: Any, patience: float) -> Ending:
    """Close ``ports`` and end all sessions, at the latest ``patience`` and LAST_WORDS seconds from now."""
    began = reactor.seconds()
    await DeferredList([maybeDeferred(port.stopListening) for port in ports])
    before = _count(listeners)
    drained = DeferredList([listener.drain() for listener in listeners])
    await _either(drained, reactor, patience)
    left = _count(listeners)
    for listener in listeners:
        listener.cut()
    await _either(drained, reactor, LAST_WORDS)
    for listener in listeners:
        listener.abort()
    return Ending(before - left, left, reactor.seconds() - began)


def _count(listeners: Iterable[Listener]) -> int:
    return sum(len(listener.sessions) for listener in listeners)


def _either(done: "Deferred[Any]", reactor: Any, seconds: float) -> "Deferred[None]":
    """Fires when ``done`` does or ``seconds`` are over, whichever comes first."""
    either: Deferred[None] = Deferred()
    timer = reactor.callLater(seconds, either.callback, None)

    def first(result: Any) -> Any:
        if timer.active():
            timer.cancel()
            either.callback(None)
        return result

    done.addCallback(first)
    return either

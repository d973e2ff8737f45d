"""Reaching a server that an administrator named: its addresses, a connection, and what kept one from being made.

For trying servers out; every failure is :class:`Fault` with the words for it.
"""

from typing import Any, Protocol, TypeVar, cast

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError, NoRouteError, TCPTimedOutError, TimeoutError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as Connected
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.core import faults
from mailx.core.client_tls import LENIENT_SUITES, Creator, context
from mailx.core.faults import Fault
from mailx.core.probing import Transcript
from mailx.core.resolver import DNSFailure, ascii_name, system_addresses
from mailx.mail.networks import is_address

ADDRESSES = 4  # of one host that are tried
EACH = 30.0  # seconds that one answer may take at most, whatever is configured: somebody waits before a browser
TOTAL = 50.0  # seconds that all of it may take
_GUESS_SECONDS = 5.0  # for finding out whether a silent server waits for TLS
# What OpenSSL says of octets that are no TLS.
_NO_TLS = ("wrong version number", "packet length too long", "record layer failure", "unknown protocol", "http request", "bad record type")

P = TypeVar("P", bound=Connected)


@frozen
class Patience:
    """How long a test may take. ``until`` is a time of the reactor's."""

    each: float  # seconds for one answer
    until: float

    @classmethod
    def of(cls, timeout: float, reactor: Any) -> "Patience":
        """With ``timeout`` seconds for each answer, from now on."""
        return cls(min(timeout, EACH), reactor.seconds() + TOTAL)

    def now(self, reactor: Any) -> float:
        """Seconds that what begins now may take."""
        return max(1.0, min(self.each, self.until - float(reactor.seconds())))


class Addresses(Protocol):
    """Looks names up: :class:`mailx.core.resolver.Resolver`."""

    async def addresses(self, name: str) -> list[str]:
        """IP addresses; raises DNSFailure."""


async def addresses(host: str, resolver: Addresses, reactor: Any) -> tuple[str, list[str]]:
    """The name of ``host`` as certificates have it (A-labels), and its IP addresses. Raises Fault."""
    name = host.strip().removeprefix("[").removesuffix("]")
    if is_address(name):
        return name, [name]
    found = ascii_name(name)
    if not name or found is None:
        raise Fault(faults.NO_NAME)
    name = found.removesuffix(".")
    if name == "localhost":  # RFC 6761 6.3: never asked of a server
        return name, ["127.0.0.1", "::1"]
    every: list[str] = await deferToThreadPool(reactor, reactor.getThreadPool(), system_addresses, name)
    try:
        every = every or await resolver.addresses(name)
    except DNSFailure:
        raise Fault(faults.NO_DNS) from None
    if not every:
        raise Fault(faults.NO_NAME)
    return name, every[:ADDRESSES]


async def connected(
    every: list[str], port: int, made: "type[P] | Any", patience: Patience, transcript: Transcript, reactor: Any
) -> tuple[P, str]:
    """What ``made()`` is after it was connected to the first of ``every`` address that takes it, and that address. Raises Fault."""
    fault = Fault(faults.UNREACHABLE, "no address")
    for address in every:
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        transcript.note(f"-- connecting to {place}")
        endpoint = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        try:
            return cast(P, await endpoint(reactor, address, port, patience.now(reactor)).connect(_Once(made))), address
        except ConnectError as error:
            fault = _fault(error)
            transcript.note(f"-- {place}: {fault.kind}")
        if reactor.seconds() >= patience.until:
            break
    raise fault


def _fault(error: ConnectError) -> Fault:
    if isinstance(error, ConnectionRefusedError):
        return Fault(faults.REFUSED)
    if isinstance(error, (TimeoutError, TCPTimedOutError)):
        return Fault(faults.TIMEOUT)
    return Fault(faults.UNREACHABLE, "there is no route to it" if isinstance(error, NoRouteError) else "the network says no")


def answered_in_clear(reason: Failure) -> bool:
    """Whether a handshake ended for ``reason`` because the server's octets were no TLS."""
    arguments = getattr(reason.value, "args", ())
    texts = [str(part).lower() for each in arguments if isinstance(each, (list, tuple)) for inner in each for part in inner]
    return any(hint in text for text in texts for hint in _NO_TLS)


async def speaks_tls(address: str, port: int, name: str, reactor: Any) -> bool:
    """Whether the server begins with TLS: found out by one more connection."""
    done: Deferred[bool] = Deferred()
    endpoint = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
    try:
        guess = cast(_Guess, await endpoint(reactor, address, port, _GUESS_SECONDS).connect(_Once(lambda: _Guess(name, done))))
    except ConnectError:
        return False
    timer = reactor.callLater(_GUESS_SECONDS, guess.transport.abortConnection)
    try:
        return await done
    finally:
        if timer.active():
            timer.cancel()


@implementer(IHandshakeListener)
class _Guess(Connected):
    """Begins TLS and says whether it came about."""

    transport: Any

    def __init__(self, name: str, done: "Deferred[bool]") -> None:
        self._name = name
        self._done: Deferred[bool] | None = done

    def connectionMade(self) -> None:
        self.transport.startTLS(Creator(context(LENIENT_SUITES), self._name))

    def handshakeCompleted(self) -> None:
        self._tell(True)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tell(False)

    def _tell(self, found: bool) -> None:
        done, self._done = self._done, None
        if done is not None:
            done.callback(found)


class _Once(Factory):
    noisy = False

    def __init__(self, made: Any) -> None:
        self._made = made

    def buildProtocol(self, addr: object) -> Any:
        return self._made()

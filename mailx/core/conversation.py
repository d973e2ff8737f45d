"""A conversation by lines with another server, as a client: for trying mailboxes elsewhere out.

``begin`` finds the server and connects; ``say``, ``line`` and ``octets`` talk; ``encrypt`` begins TLS. Every failure is
:class:`Fault`. Whatever the server does, lines, octets and time are bounded, and everything that is said goes into the
transcript, with the caller's word for what must not be seen there.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from OpenSSL.SSL import Context
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx.core import faults
from mailx.core.client_tls import LENIENT_SUITES, SUITES, Creator, believe, context, presented
from mailx.core.faults import Fault
from mailx.core.probing import IMAPS, POP3S, Probe, Transcript
from mailx.core.reaching import Addresses, Patience, addresses, answered_in_clear, connected, speaks_tls

log = Logger()

LINE_LIMIT = 8192  # octets of a line
LIMIT = 1 << 20  # octets that a server may say in all
_TURN = 200  # lines after which others have their turn


class Trust:
    """Contexts for certificates that must be right and for others; made when first needed."""

    def __init__(self, authorities: str = "") -> None:
        """``authorities``: a PEM file in place of the system's authorities."""
        self._authorities = authorities
        self._contexts: dict[bool, Context] = {}

    def creator(self, name: str, strict: bool) -> Creator:
        """What ``startTLS`` is given."""
        made = self._contexts.get(strict)
        if made is None:
            made = self._contexts[strict] = context(SUITES if strict else LENIENT_SUITES)
            believe(made, self._authorities)
        return Creator(made, name)


@implementer(IHandshakeListener)
class Conversation(Protocol):
    """One connection. One wait at a time."""

    transport: Any

    def __init__(self, transcript: Transcript, patience: Patience, reactor: Any) -> None:
        self.transcript = transcript
        self.encrypted = False
        self._patience = patience
        self._reactor = reactor
        self._buffer = bytearray()
        self._heard = 0  # octets
        self._lines = 0  # read
        self._fault: Fault | None = None
        self._waiting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._end: IDelayedCall | None = None
        self._handshaking = False
        self._quiet = True  # the server has said nothing yet

    # What the session uses.

    def say(self, line: str, shown: str = "") -> None:
        """Send a line; ``shown`` stands in the transcript in its place. Raises Fault when it is more than one line."""
        octets = line.encode()
        if b"\r" in octets or b"\n" in octets or b"\0" in octets:
            raise Fault(faults.WRONG_CREDENTIALS)
        self.transcript.client(shown or line)
        if self._fault is None:
            self.transport.write(octets + b"\r\n")

    async def line(self) -> bytes:
        """The server's next line, without its end. Raises Fault."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_LIMIT:
                self._break(Fault(faults.FLOOD))
            await self._more()
        if end > LINE_LIMIT:
            self._break(Fault(faults.FLOOD))
            raise Fault(faults.FLOOD)
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._lines += 1
        if self._lines % _TURN == 0 and self._buffer:
            await deferLater(self._reactor, 0)
        self.transcript.server(line)
        return line

    async def octets(self, count: int) -> bytes:
        """The server's next ``count`` octets. Raises Fault."""
        if count > LIMIT:
            self._break(Fault(faults.FLOOD))
        while len(self._buffer) < count:
            await self._more()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        self.transcript.server(found)
        return found

    async def encrypt(self, creator: Creator, name: str, verify: bool) -> None:
        """Begin TLS, and go on only if the certificate may be believed or ``verify`` is False. Raises Fault."""
        if self._buffer:  # said in the clear, and it would count as said inside
            self._break(Fault(faults.BABBLE))
        self._handshaking = True
        if self._fault is None:
            self.transport.startTLS(creator)
        while self._handshaking:
            await self._more()
        self.encrypted = True
        shown = presented(self.transport.getHandle(), name)
        self.transcript.note(*shown.lines())
        if shown.trouble and verify:
            raise Fault(faults.CERTIFICATE, shown.trouble)
        if shown.trouble:
            self.transcript.note("TLS: going on nevertheless, for certificates are not checked (UNSAFE)")

    def close(self) -> None:
        """The end: nothing is waited for."""
        self._break(Fault(faults.CLOSED))

    # Octets in.

    def connectionMade(self) -> None:
        self._end = self._reactor.callLater(max(0.0, self._patience.until - self._reactor.seconds()), self._break, Fault(faults.SLOW))

    def dataReceived(self, data: bytes) -> None:
        self._quiet = False
        self._heard += len(data)
        if self._heard > LIMIT:
            self._break(Fault(faults.FLOOD))
        elif self._fault is None:
            self._buffer += data
            self._wake()

    def handshakeCompleted(self) -> None:
        self._handshaking = False
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._handshaking:
            self._break(Fault(faults.PLAIN_PORT if answered_in_clear(reason) else faults.TLS_BROKEN))
        self._break(Fault(faults.CLOSED))

    # Waiting.

    async def _more(self) -> None:
        """Wait until there is something new. Raises Fault."""
        if self._fault is not None:
            raise self._fault
        self._waiting = waiting = Deferred[None]()
        self._timer = self._reactor.callLater(self._patience.each, self._break, Fault(faults.SILENT if self._quiet else faults.SLOW))
        await waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._rest()
            waiting.callback(None)

    def _rest(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _break(self, fault: Fault) -> None:
        """The conversation ends; whoever waits hears why."""
        if self._fault is not None:
            return
        self._fault = fault
        if fault.kind == faults.FLOOD:
            self._buffer.clear()  # otherwise the server's last words are still to be read
        self._rest()
        if self._end is not None and self._end.active():
            self._end.cancel()
        self.transport.abortConnection()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(fault)


class Caller:
    """Begins conversations. ``trust`` decides which authorities are believed."""

    def __init__(self, resolver: Addresses, reactor: Any, trust: Trust | None = None) -> None:
        self._resolver = resolver
        self._reactor = reactor
        self._trust = trust or Trust()

    async def begin(self, host: str, port: int, tls: bool, verify: bool, timeout: float, transcript: Transcript) -> "Call":
        """Connect, with TLS from the first octet or without. Raises Fault."""
        patience = Patience.of(timeout, self._reactor)
        name, every = await addresses(host, self._resolver, self._reactor)
        made: tuple[Conversation, str] = await connected(
            every, port, lambda: Conversation(transcript, patience, self._reactor), patience, transcript, self._reactor
        )
        conversation, address = made
        call = Call(conversation, name, address, port, self._trust.creator(name, verify), verify, self._reactor)
        try:
            if tls:
                await call.encrypt()
        except BaseException:
            conversation.close()
            raise
        return call

    async def try_mailbox(
        self,
        kind: str,
        host: str,
        port: int,
        verify: bool,
        timeout: float,
        secrets: Sequence[str],
        session: "Callable[[Call], Awaitable[str]]",
    ) -> Probe:
        """Connect for a mailbox of this ``kind`` (of ``PORTS``) and have ``session`` talk; what came of it. Never raises Fault.

        ``secrets`` stand in no transcript; what ``session`` answers is the summary.
        """
        transcript = Transcript(secrets)
        call: Call | None = None
        try:
            call = await self.begin(host, port, kind in (IMAPS, POP3S), verify, timeout, transcript)
            probe = transcript.probe(await session(call))
        except Fault as fault:
            probe = transcript.failed(fault, host, port)
        finally:
            if call is not None:
                call.conversation.close()
        log.info("A mailbox elsewhere was tried", event="probe.mailbox", kind=kind, host=host, port=port, ok=probe.ok)
        return probe


class Call:
    """A conversation with the server that was named."""

    def __init__(
        self, conversation: Conversation, name: str, address: str, port: int, creator: Creator, verify: bool, reactor: Any
    ) -> None:
        self.conversation = conversation
        self.address = address
        self._name = name
        self._port = port
        self._creator = creator
        self._verify = verify
        self._reactor = reactor

    async def encrypt(self) -> None:
        """Begin TLS. Raises Fault."""
        await self.conversation.encrypt(self._creator, self._name, self._verify)

    async def greeting(self) -> bytes:
        """The server's first line; of a server that is silent it is found out whether it waits for TLS. Raises Fault."""
        try:
            return await self.conversation.line()
        except Fault as fault:
            if fault.kind != faults.SILENT or self.conversation.encrypted:
                raise
        self.conversation.transcript.note("-- no word; trying whether it waits for TLS")
        if await speaks_tls(self.address, self._port, self._name, self._reactor):
            raise Fault(faults.TLS_PORT)
        raise Fault(faults.SILENT)

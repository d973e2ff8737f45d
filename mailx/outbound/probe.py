"""Tries a smart host out as mail would meet it: connection, TLS, login and one real message, by the client's own code.

Every way to fail ends in a :class:`Probe` that says why; of what the host said its transcript has everything but what
belongs to the login.
"""

from base64 import b64encode
from functools import partial
from secrets import token_hex
from time import time
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.config import Smarthost
from mailx.core import faults
from mailx.core.client_tls import Creator
from mailx.core.faults import Fault
from mailx.core.probing import Probe, Transcript, clean
from mailx.core.reaching import Addresses, Patience, addresses, connected, speaks_tls
from mailx.mail.address import Address
from mailx.mail.compose import ComposeError, compose
from mailx.mail.envelope import GENERATED, Demands, Envelope, Origin, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from mailx.outbound.client import Connection, Rendering
from mailx.outbound.dialogue import NO_LOGIN, NO_TLS, TLS_FAILED, UNENCRYPTED_LOGIN, Opening
from mailx.outbound.hop import ENCRYPT, NONE, VERIFY, Hop, Login, Security, Unreachable
from mailx.outbound.tls import Contexts
from mailx.outbound.traced import GREETING, MESSAGE, TracedWire
from mailx.outbound.wire import BABBLE, EARLY, SLOW, STUCK

log = Logger()

_GOODBYE = 2.0  # seconds for the answer to QUIT
_TICK = 0.5  # seconds between two looks at the deadlines
_TEXT = """\
This is a test message of the mail server {hostname}.

Somebody who administers it has asked for it, to see whether mail goes out through
{host}, port {port}. It has arrived, so it does. Nobody needs to answer.
"""


class _Believing(Contexts):
    """Contexts that find out what is wrong with a certificate even where that does not matter: it is told."""

    def creator(self, hop: Hop, security: Security) -> Creator:
        return super().creator(hop, evolve(security, verify=True))


class MailOutProbe:
    """See :class:`mailx.core.probing.IMailOutProbe`."""

    def __init__(self, hostname: str, outgoing: Rendering, resolver: Addresses, reactor: Any, authorities: str = "") -> None:
        """``outgoing`` signs the message; ``authorities``: a PEM file in place of the system's authorities."""
        self._hostname = hostname
        self._outgoing = outgoing
        self._resolver = resolver
        self._reactor = reactor
        self._contexts = _Believing(authorities)
        self._threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())

    async def try_smarthost(self, settings: Smarthost, sender: Address, recipient: Address) -> Probe:
        """Connect, log in and send one real message from ``sender`` to ``recipient``. Never raises for what the host does."""
        transcript = Transcript((settings.password, b64encode(settings.password.encode()).decode()))
        try:
            envelope = self._message(settings, sender, recipient)
            probe = transcript.probe(await self._run(settings, envelope, transcript))
        except Fault as fault:
            probe = transcript.failed(fault, settings.host, settings.port)
        log.info(
            "The smart host was tried",
            event="probe.smarthost",
            host=settings.host,
            port=settings.port,
            security=settings.security,
            ok=probe.ok,
        )
        return probe

    def _message(self, settings: Smarthost, sender: Address, recipient: Address) -> Envelope:
        if not clean(settings.username + settings.password):
            raise Fault(faults.WRONG_CREDENTIALS)
        try:
            content = compose(
                sender=sender,
                to=recipient,
                subject=f"Test message from {self._hostname}",
                date=time(),
                message_id=f"{token_hex(16)}@{self._hostname}",
                text=_TEXT.format(hostname=self._hostname, host=settings.host, port=settings.port),
                fields=(("Auto-Submitted", "auto-generated"),),
            )
        except ComposeError as error:
            raise Fault(faults.CONTENT, f"it cannot be made: {error}") from None
        origin = Origin(GENERATED, new_id(), helo=self._hostname)
        demands = Demands(utf8=not (sender.ascii and recipient.ascii))
        return Envelope(new_id(), sender, (recipient,), Message(content, len(content), not content.isascii()), origin, demands=demands)

    async def _run(self, settings: Smarthost, envelope: Envelope, transcript: Transcript) -> str:
        """The whole test; what there is to say of it. Raises Fault."""
        reactor = self._reactor
        patience = Patience.of(settings.timeout, reactor)
        name, every = await addresses(settings.host, self._resolver, reactor)
        made: tuple[TracedWire, str] = await connected(
            every, settings.port, lambda: TracedWire(reactor.seconds, transcript, name, patience.each), patience, transcript, reactor
        )
        wire, address = made
        hop = Hop(name, address, settings.port, settings.security == "tls")
        watch = LoopingCall(lambda: wire.look(patience.until))
        watch.clock = reactor
        watch.start(_TICK, now=False)
        try:
            reply = await self._session(settings, hop, wire, envelope)
        finally:
            wire.quit()
            await self._ended(wire)
            watch.stop()
        return f"{settings.host} took the message for {envelope.recipients[0]}: {reply}"

    async def _session(self, settings: Smarthost, hop: Hop, wire: TracedWire, envelope: Envelope) -> Reply:
        """Everything from the greeting to the answer to the message, which is a "yes". Raises Fault."""
        level = NONE if settings.security == "plain" else VERIFY if settings.verify else ENCRYPT
        login = Login(settings.username, settings.password) if settings.username else None
        opening = Opening(hop, Security(level, (hop.name,)), login, self._hostname, self._contexts, self._threads)
        try:
            opened = await opening.open(wire)
        except Unreachable as unreachable:
            raise await self._unopened(unreachable, hop, wire) from None
        found = await Connection("probe", wire, opened).send(envelope, envelope.recipients, self._outgoing)
        attempt = found[envelope.recipients[0]]
        if not attempt.reply.done:
            raise _refused(attempt.reply, wire, login is not None)
        return attempt.reply

    async def _unopened(self, unreachable: Unreachable, hop: Hop, wire: TracedWire) -> Fault:
        """Why no session came about."""
        if not wire.said and not hop.implicit_tls and await speaks_tls(hop.address, hop.port, hop.name, self._reactor):
            return Fault(faults.TLS_PORT)
        return _unreachable(unreachable, wire)

    async def _ended(self, wire: TracedWire) -> None:
        """Wait a little for the answer to QUIT."""
        timer = self._reactor.callLater(_GOODBYE, wire.transport.abortConnection)
        waiter: Deferred[None] = wire.ended
        await waiter
        if timer.active():
            timer.cancel()


def _unreachable(unreachable: Unreachable, wire: TracedWire) -> Fault:
    """What kept a session from being opened."""
    reply = unreachable.reply
    if unreachable.tls_failure and wire.presented is not None and wire.presented.trouble:
        return Fault(faults.CERTIFICATE, wire.presented.trouble)
    if reply == TLS_FAILED and wire.fault == SLOW:
        return Fault(faults.SLOW if wire.said else faults.SILENT)
    if reply == TLS_FAILED:
        return Fault(faults.PLAIN_PORT if wire.in_clear else faults.TLS_BROKEN)
    if reply in (NO_TLS, UNENCRYPTED_LOGIN):
        return Fault(faults.TLS_BROKEN if "STARTTLS" in wire.said else faults.NO_STARTTLS)
    if reply == NO_LOGIN:
        return _no_login(wire)
    if wire.code("AUTH"):
        return _login_refused(reply, wire)
    if fault := _broken(reply, wire):
        return fault
    return Fault(faults.NOT_WELCOME, wire.said.get("HELO") or wire.said.get("EHLO") or wire.said.get(GREETING) or reply.text)


def _broken(reply: Reply, wire: TracedWire) -> Fault | None:
    """The fault of a session that ended before its time."""
    if reply in (SLOW, STUCK):
        return Fault(faults.SLOW if wire.said else faults.SILENT)
    if reply in (BABBLE, EARLY):
        return Fault(faults.BABBLE)
    if reply.enhanced == "4.4.2":
        return Fault(faults.CLOSED)
    return None


def _no_login(wire: TracedWire) -> Fault:
    offered = wire.offered.get("AUTH", "")
    if offered:
        return Fault(faults.NO_MECHANISM, offered)
    return Fault(faults.AUTH_NEEDS_TLS if wire.presented is None and "STARTTLS" in wire.offered else faults.NO_AUTH)


def _login_refused(reply: Reply, wire: TracedWire) -> Fault:
    """RFC 4954 6; servers are free with the codes."""
    code, said = wire.code("AUTH"), wire.said["AUTH"]
    if code in (530, 538):
        return Fault(faults.AUTH_NEEDS_TLS)
    if code in (504, 534):
        return Fault(faults.NO_MECHANISM, said)
    if code in (535, 550, 554):
        return Fault(faults.WRONG_PASSWORD, said)
    if code == 235 or code == 334:  # it said yes, and did not prove that it knows the password
        return Fault(faults.LOGIN_REFUSED, reply.text)
    return Fault(faults.LOGIN_REFUSED, said)


def _refused(reply: Reply, wire: TracedWire, login: bool) -> Fault:
    """What kept the message from being taken: the first command that got no "yes"."""
    for verb, refusal in (("MAIL", _sender), ("RCPT", _recipient), ("DATA", _content), (MESSAGE, _content)):
        if wire.code(verb) >= 400:
            return refusal(wire.code(verb), wire.said[verb], login)
    return _broken(reply, wire) or Fault(faults.CONTENT, reply.text)


def _sender(code: int, said: str, login: bool) -> Fault:
    if code in (530, 535, 538) or (not login and "authentication" in said.lower()):
        return Fault(faults.LOGIN_WANTED, said)
    return Fault(faults.LATER if code in (421, 452) else faults.SENDER, said)


def _recipient(code: int, said: str, login: bool) -> Fault:
    """Servers say at RCPT what they think of the sender, too."""
    text = said.lower()
    if code in (530, 535, 538) or (not login and "authentication" in text):
        return Fault(faults.LOGIN_WANTED, said)
    if "relay" in text or code == 551 or (not login and " 5.7.1" in text and "sender" not in text):
        return Fault(faults.RELAY_DENIED, said)
    if "sender" in text:
        return Fault(faults.SENDER, said)
    return Fault(faults.LATER if code < 500 else faults.RECIPIENT, said)


def _content(code: int, said: str, login: bool) -> Fault:
    return Fault(faults.LATER if code < 500 else faults.CONTENT, said)

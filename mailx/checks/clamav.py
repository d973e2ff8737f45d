"""The virus scanner: messages go to clamd over its socket (INSTREAM), and what it says decides.

Content is sent in pieces as fast as clamd takes them; a large message is read in a thread first. A scan takes at most
``clamav.timeout``, the wait for a turn included. A scanner that cannot be reached, is too slow or talks nonsense is away:
the message is deferred or accepted as the settings say, never refused. The owner's own filing (IMAP APPEND) is not scanned.
"""

import re
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailx import config
from mailx.core import metrics
from mailx.core.policy import Findings, Policy
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Reply

log = Logger()

_PIECE = 65536
_REPLY_OCTETS = 4096
_AT_ONCE = 8  # scans; clamd has ten threads unless told otherwise
_FOUND = re.compile(rb"stream: (.{1,1000}) FOUND\Z")
_NAME = re.compile(r"[^A-Za-z0-9._/-]")
_NAME_LETTERS = 100

INFECTED = "The message holds malicious software"
AWAY = Reply(451, "4.3.0", "The message could not be scanned now; try again later")


class Away(Exception):
    """The scanner gave no verdict; the text is for the log."""


@implementer(IPushProducer)
class Scan(Protocol):
    """One INSTREAM session: ``done`` fires with clamd's answer, or fails with Away."""

    def __init__(self, content: bytes) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._content = memoryview(content)
        self._sent = 0
        self._paused = False
        self._received = b""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.transport.write(b"zINSTREAM\0")  # type: ignore[union-attr]
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Send pieces, each behind its length, until the transport has enough; the empty one is the end."""
        self._paused = False
        while not self._paused and self._sent <= len(self._content):
            piece = self._content[self._sent : self._sent + _PIECE]
            self._sent += len(piece) or 1  # past the end: all is sent
            self.transport.writeSequence([len(piece).to_bytes(4, "big"), bytes(piece)])  # type: ignore[union-attr]
            if not len(piece):
                self.transport.unregisterProducer()  # type: ignore[union-attr]
                self._content = memoryview(b"")

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        answer, ended, _ = self._received.partition(b"\0")
        if ended or len(self._received) > _REPLY_OCTETS:
            self._end(answer if ended else None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(None)

    def abort(self) -> None:
        """Give up."""
        self._end(None)

    def _end(self, answer: bytes | None) -> None:
        self._paused = True
        self.transport.abortConnection()  # type: ignore[union-attr]
        if not self.done.called:
            if answer is None:
                self.done.errback(Away("no answer"))
            else:
                self.done.callback(answer)


class ClamAV(Policy):
    """The policy: scans whatever comes in, submissions too."""

    def __init__(self, settings: config.ClamAV, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._endpoint = _endpoint(settings.socket, settings.timeout, reactor) if settings.socket else None

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        if self._endpoint is None or envelope.filing is not None:
            return None
        if envelope.message.size > self._settings.max_size:
            metrics.SCANS.labels("skipped").inc()
            findings.verdicts["virus"] = "skipped"
            return None
        scan = Deferred.fromCoroutine(self._scan(envelope.message.content))
        scan.addTimeout(self._settings.timeout, self._reactor)
        try:
            virus = await scan
        except (Away, TimeoutError, CancelledError) as error:
            return self._away(envelope, findings, str(error) if isinstance(error, Away) else "too slow")
        except Exception:
            log.failure("A message could not be scanned", event="checks.failed", check="clamav", message_id=envelope.id)
            return self._away(envelope, findings, "internal error")
        metrics.SCANS.labels("found" if virus else "clean").inc()
        findings.verdicts["virus"] = f"found {virus}" if virus else "none"
        if not virus:
            return None
        log.warn("A virus was found", event="checks.virus", message_id=envelope.id, virus=virus, outcome=self._settings.found)
        if self._settings.found == "junk":
            findings.junk = True
            return None
        return Reply(550, "5.7.1", f"{INFECTED}: {virus}")

    def _away(self, envelope: Envelope, findings: Findings, reason: str) -> Reply | None:
        metrics.SCANS.labels("away").inc()
        findings.verdicts["virus"] = "unknown"
        log.warn(
            "The virus scanner is away", event="checks.scanner_away", message_id=envelope.id, reason=reason, outcome=self._settings.away
        )
        return AWAY if self._settings.away == "defer" else None

    async def _scan(self, content: Any) -> str:
        """The name of the virus in ``content``, empty for none; raises Away."""
        await self._turns.acquire()
        try:
            if not isinstance(content, bytes):
                content = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), content.read)
            scan = Scan(content)
            try:
                await connectProtocol(self._endpoint, scan)
            except CancelledError:
                raise
            except Exception as error:
                raise Away(type(error).__name__) from None
            try:
                return verdict(await scan.done)
            finally:
                scan.abort()
        finally:
            self._turns.release()


def verdict(answer: bytes) -> str:
    """The name of the virus in clamd's answer, empty for none; raises Away for any other answer."""
    if answer == b"stream: OK":
        return ""
    found = _FOUND.match(answer)
    if found is None:
        raise Away("too large for it" if b"size limit exceeded" in answer else "no verdict")
    return _NAME.sub("_", found[1].decode("ascii", "replace"))[:_NAME_LETTERS]


def _endpoint(socket: str, timeout: int, reactor: Any) -> Any:
    """Where clamd listens: host:port, or a Unix socket."""
    host, colon, port = socket.rpartition(":")
    if colon and port.isdecimal() and "/" not in socket:
        return HostnameEndpoint(reactor, host.strip("[]"), int(port), timeout)
    return UNIXClientEndpoint(reactor, socket, timeout)

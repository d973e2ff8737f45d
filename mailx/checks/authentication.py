"""Who stands behind a message from a stranger: SPF, DKIM, ARC and DMARC as one policy.

It looks at what comes in on the MX port from networks that are not trusted, puts an Authentication-Results field before it,
and does what the settings say. A message waits for DNS at most as long as ``checks.timeout``, and for its turn no longer
either; nobody waits for a thread, for no thread waits for the network. What cannot be found out is a temperror, an error in
here too: the message is then accepted unverified, or deferred where a rejection might have hung on it and the settings say so.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from time import time
from typing import Any, TypeVar

from attrs import define, evolve, field
from authres import AuthenticationResult
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from mailx import config
from mailx.checks import arc, dkim, dmarc, results, spf
from mailx.checks.patience import Names, Patient
from mailx.core import metrics
from mailx.core.author import Authors, authors
from mailx.core.policy import Findings, Policy
from mailx.core.resolver import DNSFailure, ascii_name
from mailx.mail.canonical import Mail
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.message import Message
from mailx.mail.reply import Reply

log = Logger()

T = TypeVar("T")

_AT_ONCE = 200  # messages being checked
_THREADS = 2  # for messages that are not small
_LARGE_AT_ONCE = 4  # of those, each held whole
_SMALL = 32768  # octets that are looked at where they are: a thread would cost more
_SMALL_HEADER = 16384  # octets
_SHARE = 0.7  # of the time: what SPF and the keys of signatures may take of it
_FEW = 5  # signatures that are verified where they are

SPF_FAILED = Reply(550, "5.7.23", "The sender's domain does not allow this server to send for it (SPF)")
SPF_UNCLEAR = Reply(451, "4.7.24", "The sender's domain could not be asked about this server (SPF); try again later")
DMARC_FAILED = Reply(550, "5.7.26", "The author's domain asks to reject what it does not authenticate (DMARC)")
DMARC_UNCLEAR = Reply(451, "4.4.3", "The author's domain could not be asked about this message; try again later")

_STRICTNESS: dict[str, int] = {"none": 0, "quarantine": 1, "reject": 2}


@define
class _Work:
    """What is being found out about one message."""

    authors: Authors = Authors()
    signatures: list[dkim.Candidate] = field(factory=list)
    chain: arc.Chain = field(factory=lambda: arc.Chain(arc.NONE))


@define
class _Found:
    """What was found out."""

    sender: spf.Verdict | None = None
    signatures: Sequence[dkim.Verdict] = ()
    chain: arc.Verdict = arc.NONE
    authors: Sequence[dmarc.Verdict] = ()  # the gravest first
    believed: str = ""  # the domain of the forwarder whose word holds in place of DMARC's


class Authentication(Policy):
    """The policy. ``stop`` ends its threads."""

    def __init__(self, settings: config.Checks, hostname: str, resolver: Names, reactor: Any) -> None:
        self._settings = settings
        self._hostname = hostname
        self._resolver = resolver
        self._reactor = reactor
        self._spf = spf.SPF(hostname, self._thread)
        networks = tuple(ip_network(network, strict=False) for network in settings.trusted)
        self._trusts = lru_cache(maxsize=1000)(lambda address: any(ip_address(address) in network for network in networks))
        self._forwarders = frozenset(filter(None, map(ascii_name, settings.arc_trusted)))
        self._on = settings.dkim or settings.spf != "off" or settings.dmarc != "off"
        self._places = DeferredSemaphore(_AT_ONCE)
        self._large = DeferredSemaphore(_LARGE_AT_ONCE)
        self._pool = ThreadPool(0, _THREADS, name="checks")
        self._state = "new"

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        if not self._on or not self._stranger(envelope.origin):
            return None
        started = self._reactor.seconds()
        deadline = started + self._settings.timeout
        try:
            await self._turn(self._places, deadline)
            try:
                found = await self._find(envelope, deadline)
            finally:
                self._places.release()
            reply = self._judge(found, findings)
            self._tell(envelope, found, findings, reply)
        except DNSFailure:
            return self._unfound("busy", findings)
        except Exception:
            log.failure("A message could not be checked", event="checks.failed", check="authentication", message_id=envelope.id)
            return self._unfound("error", findings)
        metrics.CHECK_SECONDS.observe(self._reactor.seconds() - started)
        return reply

    def stop(self) -> None:
        """End the threads; what is being checked becomes a temperror."""
        if self._state == "running":
            self._pool.stop()
        self._state = "stopped"

    def _stranger(self, origin: Origin) -> bool:
        """Whether mail from there is checked: it came to the MX port, from no trusted network, and nobody logged in."""
        if origin.account is not None or "SMTP" not in origin.protocol or not origin.address:
            return False
        try:
            return not self._trusts(origin.address.partition("%")[0])
        except ValueError:
            return True

    async def _turn(self, places: DeferredSemaphore, deadline: float) -> None:
        """Wait for a place; raises DNSFailure when the deadline comes first."""
        place = places.acquire()
        if not place.called:
            place.addTimeout(max(0.0, deadline - self._reactor.seconds()), self._reactor)
            try:
                await place
            except (TimeoutError, CancelledError):
                raise DNSFailure("no turn in time") from None

    async def _find(self, envelope: Envelope, deadline: float) -> _Found:
        """Everything about one message. SPF and the keys are looked up side by side, and leave time for the policy."""
        settings, found, now = self._settings, _Found(), self._reactor.seconds()
        patient = Patient(self._resolver, now + (deadline - now) * _SHARE, self._reactor)
        sending = None
        if settings.spf != "off" or settings.dmarc != "off":
            origin = envelope.origin
            sending = Deferred.fromCoroutine(self._spf.check(patient, origin.address.partition("%")[0], envelope.sender, origin.helo))
        work = await self._look(envelope.message, patient)
        found.signatures, found.chain = await self._verify(work, patient)
        found.sender = None if sending is None else await sending
        if settings.dmarc != "off":
            found.authors = await self._policies(work.authors, found, dmarc.Checker(patient.longer(deadline)))
            if len(found.authors) == 1 and found.authors[0].result != "pass":
                self._hear(found, found.authors[0])
        return found

    def _hear(self, found: _Found, author: dmarc.Verdict) -> None:
        """Whether a trusted forwarder vouches for ``author``. While its key cannot be had, nobody knows."""
        found.believed = arc.vouches(found.chain, self._forwarders, author.domain)
        newest = found.chain.sealers[-1] if found.chain.sealers else ""
        unknown = found.chain.result == "temperror" and newest in self._forwarders
        # A forger may claim a forwarder whose key is out of reach: that must not open what is shut.
        if unknown and author.result == "fail" and self._settings.unclear == "defer":
            found.authors = (evolve(author, result="temperror"),)

    async def _look(self, message: Message, patient: Patient) -> _Work:
        """Read and hash the message; in a thread unless it is small."""
        content, now = message.content, time()
        if isinstance(content, bytes) and _small(content):
            return _looked_at(content, self._settings, now)
        await self._turn(self._large, patient.deadline)
        try:
            return await self._thread(lambda: _looked_at(content if isinstance(content, bytes) else content.read(), self._settings, now))
        finally:
            self._large.release()

    async def _thread(self, call: Callable[[], T]) -> T:
        """``call`` in a thread of the checks."""
        if self._state == "new":
            self._pool.start()
            self._state = "running"
        if self._state == "stopped":
            raise DNSFailure("the checks have stopped")
        result: T = await deferToThreadPool(self._reactor, self._pool, call)
        return result

    async def _verify(self, work: _Work, patient: Patient) -> tuple[list[dkim.Verdict], arc.Verdict]:
        """Look the keys up, each once, and ask them."""
        signatures = [each.signature for each in work.signatures if each.signature is not None]
        signatures += [signature for signature, _ in work.chain.signatures]
        questions = list(dict.fromkeys([signature.question for signature in signatures]))
        answers: list[Sequence[bytes] | None] = []
        if questions:
            answers = await gatherResults([Deferred.fromCoroutine(_texts(patient, question)) for question in questions])
        records = dict(zip(questions, answers, strict=True))
        if len(signatures) > _FEW:
            return await self._thread(lambda: _verified(work, records))
        return _verified(work, records)

    async def _policies(self, authors: Authors, found: _Found, checker: dmarc.Checker) -> list[dmarc.Verdict]:
        """DMARC for every domain of From, the gravest first: each must stand behind the message (RFC 9989 11.5)."""
        identifiers = [dmarc.Identifier(each.domain, "dkim", each.result) for each in found.signatures]
        if found.sender is not None:
            identifiers.append(dmarc.Identifier(found.sender.domain, "spf", found.sender.result))
        identifiers = [each for each in identifiers if each.domain and each.result in ("pass", "temperror")]
        verdicts = []
        for domain in authors.domains:
            try:
                verdicts.append(await checker.check(domain, identifiers))
            except DNSFailure:
                verdicts.append(dmarc.Verdict("temperror", domain, "reject"))
        if not authors.clear:
            verdicts.append(dmarc.Verdict("permerror", "", "quarantine"))
        return sorted(verdicts, key=_gravity, reverse=True)

    def _judge(self, found: _Found, findings: Findings) -> Reply | None:
        """What the settings make of it."""
        settings = self._settings
        authenticated = bool(found.believed) or (bool(found.authors) and all(verdict.result == "pass" for verdict in found.authors))
        reply = None
        if not found.believed:
            reply = next(filter(None, [self._dmarc(verdict, findings) for verdict in found.authors]), None)
        if found.sender is not None and not authenticated and reply is None:
            if found.sender.result == "fail":
                if settings.spf == "reject":
                    reply = SPF_FAILED
                findings.junk = findings.junk or settings.spf == "junk"
            elif found.sender.result == "temperror" and settings.spf == "reject" and settings.unclear == "defer":
                reply = SPF_UNCLEAR
        return reply

    def _dmarc(self, verdict: dmarc.Verdict, findings: Findings) -> Reply | None:
        mode = self._settings.dmarc
        if verdict.result in ("fail", "permerror") and verdict.policy != "none":
            if verdict.policy == "reject" and mode == "enforce":
                return DMARC_FAILED
            findings.junk = findings.junk or mode in ("enforce", "junk")
        elif verdict.result == "temperror" and verdict.policy == "reject" and mode == "enforce" and self._settings.unclear == "defer":
            return DMARC_UNCLEAR
        return None

    def _unfound(self, reason: str, findings: Findings) -> Reply | None:
        """The reply when nothing at all was found out."""
        settings = self._settings
        findings.verdicts["authentication"] = f"temperror {reason}"
        metrics.CHECKS.labels("authentication", "temperror").inc()
        rejects = settings.dmarc == "enforce" or settings.spf == "reject"
        return DMARC_UNCLEAR if rejects and settings.unclear == "defer" else None

    def _tell(self, envelope: Envelope, found: _Found, findings: Findings, reply: Reply | None) -> None:
        """Put the results into the findings, the log and the counters."""
        told: list[AuthenticationResult] = []
        verdicts = findings.verdicts
        if found.sender is not None:
            told.append(results.of_spf(found.sender, envelope.sender))
            verdicts["spf"] = f"{found.sender.result} {results.named(found.sender.domain)}".rstrip()
        if self._settings.dkim:
            told += [results.of_dkim(each) for each in found.signatures] or [results.nothing("dkim")]
            verdicts["dkim"] = ", ".join([f"{each.result} {results.named(each.domain)}".rstrip() for each in found.signatures]) or "none"
            told.append(results.of_arc(found.chain, envelope.origin.address))
            verdicts["arc"] = found.chain.result
        if found.authors:
            author = found.authors[0]
            reason = f"overridden by the ARC seal of {found.believed}" if found.believed else ""
            told.append(results.of_dmarc(author, reason))
            verdicts["dmarc"] = f"{author.result} {results.named(author.domain)}".rstrip()
        lines = [str(each) for each in told]
        findings.fields += results.header(self._hostname, lines)
        findings.results = results.value(lines)
        for name, verdict in verdicts.items():
            if name in ("spf", "dkim", "arc", "dmarc"):
                metrics.CHECKS.labels(name, _result(verdict)).inc()
        log.info(
            "Message checked",
            event="checks.verdict",
            message_id=envelope.id,
            connection_id=envelope.origin.connection,
            client_ip=envelope.origin.address,
            outcome="accepted" if reply is None else str(reply.code),
            junk=findings.junk,
            **{name: verdicts[name] for name in ("spf", "dkim", "arc", "dmarc") if name in verdicts},
        )


def _result(verdict: str) -> str:
    """The result of several verdicts: the best."""
    words = [one.partition(" ")[0] for one in verdict.split(", ")]
    return "pass" if "pass" in words else words[0]


def _gravity(verdict: dmarc.Verdict) -> tuple[int, int]:
    """How much a verdict weighs among those on several authors: by what is asked for, failures before what is unclear."""
    order = {"fail": 4, "permerror": 3, "temperror": 2, "none": 1, "pass": 0}[verdict.result]
    return _STRICTNESS[verdict.policy] if order > 1 else -1, order


def _small(content: bytes) -> bool:
    return len(content) <= _SMALL_HEADER or (len(content) <= _SMALL and content.find(b"\r\n\r\n", 0, _SMALL_HEADER) >= 0)


def _looked_at(content: bytes, settings: config.Checks, now: float) -> _Work:
    """Read and hash a message; pure."""
    mail = Mail(content)
    work = _Work(authors(mail))
    if settings.dkim:
        work.signatures = dkim.examine(mail, work.authors.domains, now)
        dkim.hash_all(mail, work.signatures)
        work.chain = arc.examine(mail, now)
        arc.hash_all(mail, work.chain)
    return work


def _verified(work: _Work, records: dict[str, Sequence[bytes] | None]) -> tuple[list[dkim.Verdict], arc.Verdict]:
    """The verdicts, with the keys' records by their questions; pure."""
    verdicts = [dkim.conclude(each, records[each.signature.question] if each.signature is not None else ()) for each in work.signatures]
    return verdicts, arc.conclude(work.chain, records)


async def _texts(patient: Patient, question: str) -> Sequence[bytes] | None:
    try:
        found: Sequence[bytes] = (await patient.query(question, "TXT")).records
    except DNSFailure:
        return None
    return found

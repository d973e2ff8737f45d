"""SPF (RFC 7208): whether a domain lets a client send in its name.

pyspf evaluates records; what it wants to know from DNS it is told beforehand. An evaluation that meets a question without an
answer ends there, the answers are looked up side by side by the server's resolver, and it starts anew with them: it is a
function of its answers, takes a fraction of a millisecond, and no thread ever waits for the network. What a domain's
evaluation asked last time is looked up before its first start, so that it mostly needs one. Policies that are long, or full
of macros, are evaluated in a thread of the checks.

``SPF.check`` never raises: no answer, or an error inside pyspf, is a temperror. Limits are those of RFC 7208 4.6.4 (ten
terms, two void look-ups), and beyond them a bound on questions, on records, and on starts.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Protocol, TypeVar

import spf
from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from mailx.checks.patience import Names
from mailx.core.resolver import Answer, DNSFailure, ascii_name
from mailx.mail.address import Address

log = Logger()

T = TypeVar("T")

QUESTIONS = 150  # ten terms with ten MX hosts each, and a few
STARTS = 40
_RECORD_OCTETS = 4096  # of one TXT record; more is no policy
_RECORDS = 250  # addresses of one name; nobody has more
_OCTETS = 16384  # of all of them
_LIGHT = 1024  # octets of policies, in all starts together, that are evaluated where they are
_MACROS = 4  # how much more an octet weighs where macros stand
_REMEMBERED = 2000  # domains whose questions are remembered
_FORESEEN = 30  # questions remembered of one

# pyspf's own words hold what strangers wrote, so they stay inside.
_REASONS = {"temperror": "no answer from DNS", "permerror": "policy cannot be evaluated"}
_FAILED = object()  # the answer of a question that nobody answered

_Question = tuple[str, str]


@frozen
class Verdict:
    """``result`` is one of RFC 7208 2.6; ``domain`` is whose policy was asked, ``identity`` "mailfrom" or "helo"."""

    result: str
    domain: str
    identity: str
    reason: str = ""


@frozen
class Claim:
    """Who claims to send what: the client's address and name, and the sender that is checked."""

    address: str
    local: str
    domain: str
    helo: str


class _Missing(Exception):
    """An answer is not there yet."""


class _Query(spf.query):  # type: ignore[misc]
    """One evaluation, from the answers in ``answers``; the questions it lacks go into ``missing``."""

    def __init__(self, claim: Claim, receiver: str, answers: dict[_Question, Any], explain: bool) -> None:
        super().__init__(claim.address, f"{claim.local}@{claim.domain}", claim.helo, receiver=receiver)
        self.l, self.o, self.d = claim.local, claim.domain, claim.domain  # pyspf takes the first @ for the border
        self.answers = answers
        self.missing: list[_Question] = []
        self.questions: dict[_Question, None] = {}
        self._explain = explain

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """The records of ``name``; what pyspf overlooks or counts (void look-ups) stays as it does."""
        question = _question(name, qtype)
        if question is None:
            return []
        self.questions[question] = None
        answer = self.answers.get(question)
        if answer is None:
            self.missing.append(question)
            raise _Missing
        if answer is _FAILED:
            if qtype == "PTR":
                return []  # RFC 7208 5.5: the mechanism does not match
            raise spf.TempError("no answer from DNS")
        if not answer and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("Void lookup limit exceeded")
        return list(answer)

    def cidrmatch(self, ipaddrs: Sequence[str], n: int) -> bool:
        """Whether the client is in one of the networks; in numbers, for a name may have hundreds of addresses."""
        family, rest = (AF_INET6, 128 - n) if self.v == "ip6" else (AF_INET, 32 - n)
        own = int(self.ipaddr) >> rest
        try:
            return any(int.from_bytes(inet_pton(family, each)) >> rest == own for each in ipaddrs)
        except (OSError, ValueError):
            raise spf.PermError("no address") from None

    def dns_mx(self, domainname: str) -> list[Any]:
        """The addresses of all MX hosts, asked for together."""
        hosts = self.dns(domainname, "MX")
        if len(hosts) > spf.MAX_MX:
            raise spf.PermError("More than 10 MX records returned")
        self._foresee([host for _, host in hosts])
        return [address for _, host in sorted(hosts) for address in self.dns_a(host, self.A)]

    def validated_ptrs(self) -> list[str]:
        """The names of the client's address that lead back to it; a name whose address nobody tells is skipped (5.5)."""
        names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        self._foresee(names)
        found = []
        for name in names:
            try:
                if self.cidrmatch(self.dns_a(name, self.A), self.cidrmax):
                    found.append(name)
            except spf.TempError:
                continue
        return found

    def get_explanation(self, spec: str) -> str | None:
        """Explanations are written by strangers and shown to strangers: they are only looked up when asked for."""
        if not self._explain:
            return None
        explanation: str | None = super().get_explanation(spec)
        return explanation

    def _foresee(self, names: Sequence[str]) -> None:
        wanted = [_question(name, self.A) for name in names]
        lacking = [question for question in wanted if question is not None and question not in self.answers]
        if lacking:
            self.questions.update(dict.fromkeys(lacking))
            self.missing += lacking
            raise _Missing


class Threads(Protocol):
    """Runs a call in a thread."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class SPF:
    """Checks senders; ``hostname`` is the receiver that macros may name."""

    def __init__(self, hostname: str, threads: Threads) -> None:
        self._hostname = hostname
        self._threads = threads
        self._foreseen: OrderedDict[str, tuple[_Question, ...]] = OrderedDict()

    async def check(self, names: Names, address: str, sender: Address | None, helo: str) -> Verdict:
        """Whether ``address`` may send as ``sender``, or as the server ``helo`` when there is no sender (RFC 7208 2.4)."""
        identity, local, domain = "helo", "postmaster", ascii_name(helo) or ""
        if sender is not None and sender.domain:
            identity, local, domain = "mailfrom", sender.local, ascii_name(sender.domain) or ""
        if "." not in domain or domain.startswith("["):  # 4.3: an address literal, a name that is none
            return Verdict("none", "", identity)
        try:
            result, reason, _ = await self.evaluate(names, Claim(address, local, domain, helo))
        except Exception:
            log.failure("SPF could not be evaluated", event="checks.failed", check="spf")
            result, reason = "temperror", "internal error"
        return Verdict(result, domain, identity, reason)

    async def evaluate(self, names: Names, claim: Claim, explain: bool = False) -> tuple[str, str, str]:
        """(result, reason, explanation)."""
        answers: dict[_Question, Any] = {}
        await _ask(names, self._foreseen.get(claim.domain, ()), answers)
        spent = 0  # where answers are at hand, one start follows the other in the same turn of the reactor
        for _ in range(STARTS):
            query = _Query(claim, self._hostname, answers, explain)
            octets, weight = _weight(answers)
            if octets > _OCTETS:
                return "permerror", "policy too large", ""
            spent += weight
            result, explanation = _evaluated(query) if spent <= _LIGHT else await self._threads(partial(_evaluated, query))
            if not query.missing:
                self._remember(claim.domain, tuple(query.questions)[:_FORESEEN])
                return result, _REASONS.get(result, ""), explanation
            if len(answers) + len(query.missing) > QUESTIONS:
                break
            await _ask(names, query.missing, answers)
        return "permerror", "too many DNS questions", ""

    def _remember(self, domain: str, questions: tuple[_Question, ...]) -> None:
        self._foreseen[domain] = questions
        self._foreseen.move_to_end(domain)
        if len(self._foreseen) > _REMEMBERED:
            self._foreseen.popitem(last=False)


def _evaluated(query: _Query) -> tuple[str, str]:
    """(result, explanation); they mean nothing when something is missing."""
    try:
        result, _, explanation = query.check()
    except _Missing:
        return "", ""
    return result, explanation


def _weight(answers: dict[_Question, Any]) -> tuple[int, int]:
    """The octets of all SPF records, and how much work they and the addresses may be."""
    every = [text for (_, kind), found in answers.items() if kind == "TXT" and found is not _FAILED for (text,) in found]
    texts = [text for text in every if text[:6].lower() == b"v=spf1"]
    octets = sum(map(len, texts))
    others = sum(len(found) for (_, kind), found in answers.items() if kind != "TXT" and found is not _FAILED)
    return octets, others + (octets * _MACROS if any(b"%" in text for text in texts) else octets)


async def _ask(names: Names, questions: Sequence[_Question], answers: dict[_Question, Any]) -> None:
    """Look ``questions`` up side by side."""
    if len(questions) == 1:
        await _look_up(names, questions[0], answers)
    elif questions:
        await gatherResults([Deferred.fromCoroutine(_look_up(names, question, answers)) for question in dict.fromkeys(questions)])


async def _look_up(names: Names, question: _Question, answers: dict[_Question, Any]) -> None:
    try:
        answers[question] = _records(await names.query(*question), question[1])
    except DNSFailure:
        answers[question] = _FAILED


def _question(name: str, kind: str) -> _Question | None:
    """What to ask for ``name``; None for what can be no name."""
    name = str(name).removesuffix(".").lower()
    if not name or not all(0 < len(label) < 64 for label in name.split(".")):
        return None
    return name, kind


def _records(answer: Answer, kind: str) -> list[Any]:
    """The records as pyspf takes them."""
    if kind == "TXT":
        return [(text,) for text in answer.records if len(text) <= _RECORD_OCTETS]
    if kind == "MX":
        return [(mx.preference, mx.host) for mx in answer.records[:_RECORDS]]
    return list(answer.records[:_RECORDS])

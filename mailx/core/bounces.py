"""Bounces: who is told what of a message's fate, and the report that tells it.

Whoever gave up, put off or finished recipients asks for an envelope with the report and hands it to reception like any
other message. The rules, in their order:

* Nobody answers the null reverse-path (RFC 5321 4.5.5), nor a report or another automatic *answer*, whatever its sender: two servers
  would answer each other for ever. What became of it stands in the timeline, and the dead letter stays in the queue.
* NOTIFY (RFC 3461) decides for each recipient. Unsaid: failures and delays.
* Failures of list and bulk mail go to its envelope sender, for that is what such senders are for. Delays of it, and of
  anything else that was sent automatically (RFC 3834), are told only where NOTIFY asks for them.
* A message from outside whose sender was found forged at its arrival (SPF, DMARC) is reported to nobody: the report, of
  a failed forwarding or of a success, would hit a stranger.
* A sender at a local domain must still exist.

Failure: what cannot be read of the original is left out of the report; the directory's Unavailable passes through.
"""

import re
from collections.abc import Sequence
from functools import partial
from secrets import token_hex
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core import metrics
from mailx.core.accounts import Accounts
from mailx.core.content import Threads
from mailx.core.courier import Attempt
from mailx.core.srs import SRS
from mailx.core.timeline import Timeline
from mailx.core.trace import received
from mailx.core.users import canonical_domain
from mailx.mail import dates, dsn, header
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Demands, Envelope, Notify, Origin, Wish, new_id
from mailx.mail.message import Message, Spooled
from mailx.mail.reply import Reply
from mailx.store.cipher import CipherError

log = Logger()

_IN_PLACE = 65536  # octets of an original that are rendered without a thread,
_TOLD_IN_PLACE = 20  # and recipients: a millisecond
_RETURN_PATH = re.compile(rb"(?i)return-path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_WORD = re.compile(rb"(?:\([^)]{0,200}\)[ \t]*)?([^\s;(]{1,100})")
_HOST = re.compile(r"(\S*) ?(\[[^]\s]*\])?")
_SERVER = re.compile(r"\[[0-9a-f:.]+\]:[0-9]")  # as our own words name one
_FORGED = re.compile(r"(?:^|;)\s*(?:spf=(?:fail|softfail)|dmarc=fail)\b")
_VOUCHED = re.compile(r"(?:^|;)\s*dmarc=pass\b")
_REWRITTEN = ("srs0", "srs1")  # senders of forwarded mail: reception knows what they stand for

_ANSWER = "answer"
_MASS = "mass"
_ASKED = {
    dsn.FAILED: Notify.FAILURE,
    dsn.DELAYED: Notify.DELAY,
    dsn.DELIVERED: Notify.SUCCESS,
    dsn.RELAYED: Notify.SUCCESS,
    dsn.EXPANDED: Notify.SUCCESS,
}


@frozen
class Report:
    """What became of one recipient. ``original`` is the address before an alias forwarded it, else the same."""

    recipient: Address
    original: Address
    wish: Wish
    attempt: Attempt
    action: str  # of mail.dsn.ACTIONS
    attempts: int = 1
    will_retry_until: int | None = None  # seconds since 1970
    attempted: int | None = None  # when the attempt was made, if not just now


class Bounces:
    """Makes reports for the senders of messages."""

    def __init__(self, hostname: str, accounts: Accounts, timeline: Timeline | None, reactor: Any, srs: SRS | None = None) -> None:
        """``srs`` knows whom a sender stands for that was rewritten."""
        self._srs = srs
        self._hostname = hostname
        self._accounts = accounts
        self._timeline = timeline
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())

    async def envelope(self, original: Envelope, reports: Sequence[Report]) -> Envelope | None:
        """The report of ``reports`` about ``original``, or None when nobody is to be told. Raises Unavailable."""
        asked = [report for report in reports if _asked(report)]
        if not asked:
            return None
        if original.sender is None:
            self._nobody(original, asked, "null sender")
            return None
        full = _returns_all(original, asked)
        content = await self._content(original.message.content, full)
        if original.origin.account is None and _forged(self._results(original, content)):
            self._nobody(original, asked, "forged sender")
            return None
        automatic = _automatic(content)
        if automatic == _ANSWER:
            self._nobody(original, asked, "automatic answer")
            return None
        if automatic:
            asked = [report for report in asked if report.action != dsn.DELAYED or report.wish.notify & Notify.DELAY]
            if not asked:
                return None
        if not await self._exists(original.sender):
            self._nobody(original, asked, "sender gone")
            return None
        return await self._made(original, original.sender, asked, content, full)

    def _nobody(self, original: Envelope, reports: Sequence[Report], reason: str) -> None:
        """Nobody may be told: the timeline and, of failures, the log say so."""
        failed = [str(report.recipient) for report in reports if report.action == dsn.FAILED]
        if failed:
            metrics.DELIVERY_REPORTS.labels("unreported").inc()
            log.warn("A failure is reported to nobody", event="bounce.unreported", message_id=original.id, reason=reason, recipients=failed)
            if self._timeline is not None:
                self._timeline.note(original.id, "unreported", reason=reason, recipients=failed)

    def _results(self, original: Envelope, content: bytes) -> str:
        """What the checks at arrival found, as the Authentication-Results field says it."""
        if original.forwarding is not None:
            return original.forwarding.results
        value = header.unfold(_fields(content).get(b"authentication-results", b"")).decode("ascii", "replace")
        server, _, results = value.partition(";")  # reception lets nobody else's field with this server's name pass
        return results if server.strip().lower() == self._hostname.lower() else ""

    async def _exists(self, sender: Address) -> bool:
        """Whether mail to ``sender`` has a chance; of those elsewhere their servers know."""
        if not self._accounts.local(sender.domain) or sender.local.lower().startswith(_REWRITTEN):
            return True
        resolved = await self._accounts.resolve(sender)
        return resolved is not None and bool(resolved.remotes or any(user.active for user in resolved.users))

    async def _reader(self, sender: Address) -> Address:
        """Who reads a report to ``sender``: forwarding may have rewritten it."""
        original = await self._srs.reverse(sender) if self._srs is not None and self._accounts.local(sender.domain) else None
        return original if original is not None and original.ascii else sender

    async def _content(self, content: bytes | Spooled, full: bool) -> bytes:
        """The original, or its beginning, without the Return-Path that this server put before it."""
        limit = dsn.FULL_LIMIT + dsn.HEADER_LIMIT if full else 2 * dsn.HEADER_LIMIT
        if isinstance(content, bytes):
            beginning = content[:limit]
        else:
            try:
                beginning = await self._threads(content.read, limit)
            except (OSError, CipherError) as error:
                log.error("The original of a report is not readable: {reason}", event="bounce.unreadable", reason=str(error))
                beginning = b""
        found = _RETURN_PATH.match(beginning)
        return beginning[found.end() :] if found else beginning

    async def _made(self, original: Envelope, sender: Address, reports: Sequence[Report], content: bytes, full: bool) -> Envelope:
        id = new_id()
        now = int(time())  # of day: the event loop goes by a clock of its own
        reader = await self._reader(sender)
        notice = dsn.Notice(
            hostname=self._hostname,
            to=reader,
            message_id=f"{token_hex(16)}@{self._hostname}",
            boundary=token_hex(16),
            now=now,
            log_id=original.id,
            outcomes=tuple([_outcome(report, now) for report in reports]),
            content=content,
            full=full,
            arrived=_arrived(content),
            envelope_id=original.demands.id,
            utf8=original.demands.utf8,
        )
        large = len(content) > _IN_PLACE or len(reports) > _TOLD_IN_PLACE
        rendered = await self._threads(dsn.render, notice) if large else dsn.render(notice)
        origin = Origin(GENERATED, new_id(), helo=self._hostname)
        whole = received(self._hostname, origin, id, None, (sender,), now) + rendered
        # RFC 8689 5: what must not travel in the clear must not do so on its way back.
        demands = Demands(utf8=not sender.ascii, require_tls=original.demands.require_tls)
        self._note(original, id, reader, reports)
        return Envelope(id, None, (sender,), Message(whole, len(whole), not whole.isascii()), origin, demands=demands)

    def _note(self, original: Envelope, id: str, sender: Address, reports: Sequence[Report]) -> None:
        for action in dict.fromkeys([report.action for report in reports]):
            metrics.DELIVERY_REPORTS.labels(action).inc()
            log.info("Delivery report made", event="bounce.made", kind=action, message_id=original.id, report_id=id)
            if self._timeline is not None:
                recipients = [str(report.recipient) for report in reports if report.action == action]
                self._timeline.note(original.id, "reported", kind=action, recipients=recipients, to=str(sender), report=id)
        if self._timeline is not None:
            self._timeline.note(id, "reports", (original.id,), of=original.id)


def _asked(report: Report) -> bool:
    """Whether the sender wants to hear of this (RFC 3461 4.1, 5.2)."""
    if report.action in (dsn.RELAYED, dsn.DELIVERED) and report.attempt.reports:
        return False  # the next server tells
    notify = report.wish.notify
    if notify == Notify.UNSAID:
        return report.action in (dsn.FAILED, dsn.DELAYED)
    return bool(notify & _ASKED[report.action])


def _forged(results: str) -> bool:
    """Whether the checks at arrival (an Authentication-Results value) say that the sender's name was abused."""
    return bool(_FORGED.search(results)) and not _VOUCHED.search(results)


def _automatic(content: bytes) -> str:
    """_ANSWER for an automatic answer, _MASS for what else no person waits for, "" for the rest (RFC 3834 2 and 5)."""
    fields = _fields(content)
    submitted = _word(fields, b"auto-submitted")
    kind = _word(fields, b"content-type")
    if submitted == b"auto-replied" or kind == b"multipart/report":
        return _ANSWER
    mass = _word(fields, b"precedence") in (b"bulk", b"junk", b"list") or b"list-id" in fields or b"list-unsubscribe" in fields
    return _MASS if mass or submitted not in (b"", b"no") else ""


def _fields(content: bytes) -> dict[bytes, bytes]:
    """The header fields of ``content``, of each name the first."""
    end = content.find(b"\r\n\r\n", 0, dsn.HEADER_LIMIT)
    return header.first(header.split(content, 0, end if end >= 0 else min(len(content), dsn.HEADER_LIMIT)))


def _word(fields: dict[bytes, bytes], name: bytes) -> bytes:
    """The first word of a field, lower case, without parameters and comments."""
    found = _WORD.match(header.unfold(fields.get(name, b"")))
    return found[1].lower() if found else b""


def _returns_all(original: Envelope, reports: Sequence[Report]) -> bool:
    """Whether the whole message goes back: of failures only (RFC 3461 4.3), and nothing large or secret (RFC 8689 5)."""
    demands = original.demands
    asked = demands.returns == "FULL" and not demands.require_tls
    return asked and original.message.size <= dsn.FULL_LIMIT and any(report.action == dsn.FAILED for report in reports)


def _outcome(report: Report, now: int) -> dsn.Outcome:
    attempt = report.attempt
    said = str(attempt.reply)
    recipient = str(report.original)
    host = attempt.host
    if report.recipient != report.original:  # where an alias leads is its owner's affair
        said = _hidden(said, report.recipient, recipient) or str(Reply(attempt.reply.code, attempt.reply.enhanced, "")).strip()
        host = ""
    name, literal = _HOST.match(host).groups()  # type: ignore[union-attr]
    return dsn.Outcome(
        recipient=recipient,
        action=report.action,
        status=dsn.status(attempt.reply.enhanced, attempt.reply.code),
        original=report.wish.original,
        remote=name or literal or "",
        diagnostic=said,
        attempted=now if report.attempted is None else report.attempted,
        retry_until=report.will_retry_until,
    )


def _hidden(said: str, target: Address, alias: str) -> str:
    """What was said, with ``alias`` for the recipient ``target``; nothing if it names that in another way, or a server, too."""
    told = re.sub(re.escape(str(target)), lambda _: alias, said, flags=re.IGNORECASE)
    rest = told.lower().replace(alias.lower(), "")
    named = any(word and word in rest for word in (target.local.lower(), target.domain, canonical_domain(target.domain)))
    return "" if named or _SERVER.search(rest) else told


def _arrived(content: bytes) -> int | None:
    """When the message came, by the Received field that this server put before it."""
    moment = dates.parse(header.unfold(_fields(content).get(b"received", b"")).rpartition(b";")[2].strip())
    return None if moment is None else moment.seconds

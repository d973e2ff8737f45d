"""What is told of a message that was accepted: its timeline, counters, thresholds of quotas, and reports of success.

Everything here happens after the commit and must not fail it: a report that cannot be made is logged.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter
from twisted.logger import Logger

from mailx.core import metrics, quota
from mailx.core.accounts import Accounts, User
from mailx.core.bounces import Report
from mailx.core.courier import Attempt
from mailx.core.forms import Forms
from mailx.core.policy import Findings
from mailx.core.progress import DELIVERED, Progress, Step
from mailx.core.receivers import Reached
from mailx.core.timeline import Timeline
from mailx.core.tracing import Tracing
from mailx.mail import dsn
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Notify
from mailx.mail.reply import Reply
from mailx.store.delivery import Outcome, Placed, Problem
from mailx.store.messages import charge

log = Logger()

_NAMED = 50  # addresses that the facts of one note name; it is found by all
_DELIVERED = Attempt(Reply(250, "2.1.5", "Delivered to the mailbox"))
_EXPANDED = Attempt(Reply(250, "2.1.5", "Passed on to several addresses"))


class Arrivals:
    """Tells of arrivals. ``tracing`` turns on the debug line of every quota update."""

    def __init__(self, directory: Accounts, timeline: Timeline | None, reactor: Any, tracing: bool | Tracing, progress: Progress) -> None:
        self._directory = directory
        self._timeline = timeline
        self._reactor = reactor
        self._tracing = tracing
        self._progress = progress
        self._received: dict[str, Counter] = {}  # by protocol: looking a label up costs more than counting

    def placed(self, envelope: Envelope, size: int, outcomes: Iterable[tuple[User, Outcome | None]]) -> int:
        """Note what accounts now use; in how many mailboxes the message lies."""
        cost = charge(size)
        placed = 0
        for user, outcome in outcomes:
            if isinstance(outcome, Placed):
                placed += 1
                self._directory.note_used(user.id, outcome.used)
                quota.passed(user, outcome.used - cost, outcome.used)
                if self._tracing:
                    quota.updated(user, outcome.used, envelope.id, size)
            elif outcome is Problem.FULL:
                quota.exceeded(user, size)
        return placed

    def count(self, protocol: str, size: int, placed: int, started: float) -> None:
        """Count a message that came by ``protocol`` and was stored."""
        received = self._received.get(protocol)
        if received is None:
            received = self._received[protocol] = metrics.RECEIVED.labels(protocol)
        received.inc()
        if placed:
            metrics.DELIVERED.inc(placed)
        metrics.MESSAGE_OCTETS.observe(size)
        metrics.DELIVERY_SECONDS.observe(self._reactor.seconds() - started)

    def refused(self, envelope: Envelope, findings: Findings, reply: Reply) -> None:
        """Note that the whole message was refused."""
        if self._timeline is not None:
            keys, facts = _came(envelope, findings, b"")
            self._timeline.note(envelope.id, "refused", keys, reply=str(reply), **facts)

    def accepted(
        self, envelope: Envelope, forms: Forms, findings: Findings, reached: Reached, outcomes: Mapping[int, Outcome | None]
    ) -> None:
        """Note where the message came from, and where it went.

        The Message-ID of one that was only stored sealed is not noted: what it says is for its recipients.
        """
        if self._progress.active:
            self._tell(envelope, reached, outcomes)
        timeline = self._timeline
        if timeline is None:
            return
        names = [form.sealed.identifiers[0] for form in forms.stored if form.sealed is not None]
        keys, facts = _came(envelope, findings, names[0] if names else b"")
        keys += [name.decode("utf-8", "replace") for name in names[1:] if name]
        timeline.note(envelope.id, "accepted", keys, **facts)
        for event, told in forms.notes:
            timeline.note(envelope.id, event, (), **(told | {"recipients": told["recipients"][:_NAMED]}))
        served = [str(user.address) for id, user in reached.users.items() if isinstance(outcomes[id], Placed)]
        if served:
            junk = {"mailbox": "junk"} if findings.junk else {}
            timeline.note(envelope.id, "stored", served, accounts=served[:_NAMED], **junk)
        if reached.onward:
            onward = [str(one.address) for one in reached.onward.values()]
            forwarder = {"forwarder": reached.forwarder} if reached.forwarder else {}
            timeline.note(envelope.id, "queued", onward, recipients=onward[:_NAMED], count=len(onward), **forwarder)

    def _tell(self, envelope: Envelope, reached: Reached, outcomes: Mapping[int, Outcome | None]) -> None:
        """Tell of the mailboxes that took the message."""
        origin, size = envelope.origin, envelope.message.size
        for id, user in reached.users.items():
            if isinstance(outcomes[id], Placed):
                to = user.address
                self._progress.tell(
                    Step(envelope.id, 0, to, DELIVERED, _DELIVERED, "", origin.account, origin.protocol, to, envelope.sender, size, 1, 0)
                )

    def successes(self, envelope: Envelope, reached: Reached, replies: Mapping[Address, Reply]) -> list[Report]:
        """The reports that the sender asked for (NOTIFY=SUCCESS, RFC 3461 5.2.7 and 5.3) and that this server owes.

        ``replies`` say of each recipient whether it was accepted.
        """
        reports = []
        for recipient, wish in envelope.wishes.items():
            if not wish.notify & Notify.SUCCESS:
                continue
            if recipient in reached.expanded:
                reports.append(Report(recipient, recipient, wish, _EXPANDED, dsn.EXPANDED))
            elif recipient not in reached.passing and recipient in replies and replies[recipient].done:
                reports.append(Report(recipient, recipient, wish, _DELIVERED, dsn.DELIVERED))
        return reports


def _came(envelope: Envelope, findings: Findings, message_id: bytes) -> tuple[list[str], dict[str, Any]]:
    """What the message is found by, and the facts of its arrival."""
    origin = envelope.origin
    sender = str(envelope.sender or "")
    recipients = [str(recipient) for recipient in envelope.recipients]
    keys = [sender, *recipients] if sender else list(recipients)
    facts: dict[str, Any] = {
        "protocol": origin.protocol,
        "sender": sender,
        "recipients": recipients[:_NAMED],
        "count": len(recipients),
        "size": envelope.message.size,
    }
    if message_id:
        text = facts["message_id"] = message_id.decode("utf-8", "replace")
        keys.append(text)
    for name, value in (("client", origin.address), ("helo", origin.helo), ("tls", origin.tls), ("account", origin.account)):
        if value:
            facts[name] = value
    if findings.verdicts:
        facts["checks"] = dict(findings.verdicts)
    return keys, facts

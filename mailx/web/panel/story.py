"""A message's timeline as people read it: what happened, step by step, in sentences.

Everything in a timeline may be a stranger's text (addresses, Message-IDs, names of clients, replies), and facts may be of
any shape that JSON has: what is not expected is told as it is, never trusted.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from mailx.core.timeline import Event, Trace
from mailx.web.panel.links import shown

_FIRST, _LAST = 4, 6  # steps of a long story that is told shortly
_NAMES = 5  # recipients named in one sentence
_PROTOCOLS = {"HTTP": "the webhook", "generated": "this server itself", "IMAP": "IMAP"}
_SECURITY = {
    "plain": "not encrypted",
    "encrypted": "encrypted",
    "verified": "encrypted, certificate verified",
    "dane": "encrypted, verified by DANE",
    "federated": "by federation: both servers proved their domains",
    "sealed": "by federation, and sealed: only the recipient's own key opens it",
}
_REPORTS = {
    "failed": "a bounce",
    "delayed": "a warning of the delay",
    "relayed": "a confirmation",
    "delivered": "a confirmation",
    "expanded": "a confirmation",
}
_KINDS = {
    "accepted": "good",
    "stored": "good",
    "delivered": "good",
    "refused": "bad",
    "bounced": "bad",
    "unreported": "bad",
    "deferred": "warn",
    "held": "warn",
    "put_off": "warn",
    "deleted": "warn",
}
_SENTENCES = {
    "accepted": "Accepted from {sender} for {recipients}{by}.",
    "refused": "Refused: the message from {sender} for {recipients}{by}.",
    "stored": "Stored{folder} for {accounts}.",
    "queued": "Queued for {recipients}{forwarder}.",
    "delivered": "Attempt {attempts}: delivered to the server of {recipient}{way}.",
    "deferred": "Attempt {attempts}: not delivered to {recipient} yet{way}.",
    "bounced": "Attempt {attempts}: given up for {recipient}{way}.",
    "put_off": "{count} more recipients of the same destination wait with it.",
    "held": "Held: it is not sent until somebody releases it.",
    "released": "Released by hand: it is tried at once.",
    "retried": "Tried again at once, by hand.",
    "deleted": "Deleted by hand, without a word to anybody.",
    "reported": "{report} about {recipients} was sent to {to}.",
    "unreported": "Nobody could be told that {recipients} was not reached.",
    "reports": "This message is a report about another one.",
}
_QUEUED = frozenset(("queued", "delivered", "deferred", "bounced", "held", "released", "retried"))
_VERDICTS = {
    **dict.fromkeys(("pass", "clean"), "good"),
    **dict.fromkeys(("fail", "permerror", "reject", "infected"), "bad"),
    **dict.fromkeys(("softfail", "temperror", "quarantine"), "warn"),
}
_TOLD = {  # facts that a sentence tells already
    "accepted": ("sender", "recipients", "count", "protocol"),
    "refused": ("sender", "recipients", "count", "protocol"),
    "stored": ("accounts", "mailbox"),
    "queued": ("recipients", "count", "forwarder"),
    "delivered": ("recipient", "attempts", "relay"),
    "deferred": ("recipient", "attempts", "relay"),
    "bounced": ("recipient", "attempts", "relay", "report"),
    "put_off": ("count",),
    "reported": ("kind", "to", "recipients", "report"),
    "unreported": ("recipients",),
    "reports": ("of",),
}
_LABELS = {
    "message_id": "Message-ID",
    "size": "Size",
    "client": "Client",
    "helo": "Called itself",
    "tls": "TLS",
    "security": "Connection",
    "account": "Account",
    "checks": "Checks",
    "verdicts": "Checks",
    "host": "Server",
    "proof": "Acknowledgement",
    "next": "Next attempt",
    "reason": "Reason",
}


@frozen
class Fact:
    """One detail of a step. ``kind``: text, size, moment or checks."""

    label: str
    value: Any
    kind: str = "text"


@frozen
class Step:
    """One thing that happened."""

    time: float
    event: str
    kind: str  # good, warn, bad or ""
    text: str
    facts: tuple[Fact, ...] = ()
    reply: str = ""
    link: str = ""  # the queue id of another message that this one leads to


@frozen
class Story:
    """What happened to one message."""

    id: str
    sender: str
    recipients: str
    size: int | None
    message_id: str
    queued: bool  # the queue may have more
    steps: tuple[Step, ...]
    left_out: int = 0  # steps between the first and the last ones

    def short(self) -> "Story":
        """The same with its beginning and its end only."""
        more = len(self.steps) - _FIRST - _LAST
        return self if more <= 0 else evolve(self, steps=self.steps[:_FIRST] + self.steps[-_LAST:], left_out=more)


def told(trace: Trace, names: Mapping[int, str]) -> Story:
    """The story of ``trace``; ``names`` are those of accounts."""
    arrival: Mapping[str, Any] = next((event.facts for event in trace.events if event.event in ("accepted", "refused")), {})
    size = arrival.get("size")
    return Story(
        trace.envelope,
        _sender(arrival),
        _recipients(arrival.get("recipients"), arrival.get("count")),
        size if isinstance(size, int) else None,
        shown(arrival.get("message_id") or "", 300),
        any(event.event in _QUEUED for event in trace.events) and trace.events[-1].event != "deleted",
        tuple(_step(event, names) for event in trace.events),
    )


def accounts(traces: list[Trace]) -> set[int]:
    """The ids of accounts that the traces name."""
    return {id for trace in traces for event in trace.events if isinstance(id := event.facts.get("account"), int)}


def _step(event: Event, names: Mapping[int, str]) -> Step:
    facts = event.facts
    link = facts.get("report") if event.event in ("bounced", "reported") else facts.get("of") if event.event == "reports" else ""
    reply = facts.get("reply")
    return Step(
        event.time,
        shown(event.event, 40).replace("_", " "),
        _KINDS.get(event.event, ""),
        _sentence(event.event, facts),
        tuple(_facts(event.event, facts, names)),
        shown(reply) if reply else "",
        shown(link or "", 40),
    )


def _sentence(event: str, facts: Mapping[str, Any]) -> str:
    """What happened, in a sentence."""
    report = _REPORTS.get(str(facts.get("kind")), "a report")
    words = {
        "event": shown(event, 40),
        "sender": _sender(facts),
        "recipient": shown(facts.get("recipient") or "the recipient", 320),
        "recipients": _recipients(facts.get("recipients"), facts.get("count")),
        "accounts": _recipients(facts.get("accounts"), None),
        "by": _by(facts),
        "folder": " in the Spam folder" if facts.get("mailbox") == "junk" else "",
        "forwarder": f", forwarded by {shown(facts['forwarder'], 255)}" if facts.get("forwarder") else "",
        "way": f" through the relay {shown(facts['relay'], 100)}" if facts.get("relay") else "",
        "attempts": _number(facts.get("attempts")),
        "count": _number(facts.get("count")),
        "report": report[:1].upper() + report[1:],
        "to": shown(facts.get("to") or "the sender", 320),
    }
    return _SENTENCES.get(event, "{event}.").format(**words)


def _by(facts: Mapping[str, Any]) -> str:
    protocol = facts.get("protocol")
    if not protocol:
        return ""
    return f" by {_PROTOCOLS.get(str(protocol), shown(protocol, 20))}"


def _sender(facts: Mapping[str, Any]) -> str:
    return shown(facts.get("sender") or "<> (the null sender)", 320) if facts else "an unknown sender"


def _recipients(value: Any, count: Any) -> str:
    """The first of them by name, the others by number."""
    names = value if isinstance(value, list) else [value] if value else []
    total = count if isinstance(count, int) and not isinstance(count, bool) and count > len(names) else len(names)
    text = ", ".join(shown(name, 320) for name in names[:_NAMES])
    more = total - min(len(names), _NAMES)
    if not text:
        return f"{total} recipients" if total else "nobody"
    return f"{text} and {more:,} more" if more > 0 else text


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def _facts(event: str, facts: Mapping[str, Any], names: Mapping[int, str]) -> Iterator[Fact]:
    """The details that the sentence does not tell."""
    told = {*_TOLD.get(event, ()), "reply"}
    known = [name for name in _LABELS if name in facts and name not in told]
    for name in [*known, *[name for name in facts if name not in _LABELS and name not in told]]:
        value = facts[name]
        if value in (None, "", [], {}):
            continue
        yield _fact(name, value, names)


def _fact(name: str, value: Any, names: Mapping[int, str]) -> Fact:
    label = _LABELS.get(name, shown(name, 40))
    if name == "size" and isinstance(value, int):
        return Fact(label, value, "size")
    if name == "next" and isinstance(value, int) and 0 < value < 1 << 40:
        return Fact(label, value, "moment")
    if name == "account" and isinstance(value, int):
        return Fact(label, names.get(value, f"{value}, deleted since"))
    if name == "proof":  # the whole of it is in what `mailxctl --json trace` prints
        return Fact(label, "signed by the recipient's domain")
    if name == "security":
        return Fact(label, _SECURITY.get(str(value), shown(value, 40)))
    if isinstance(value, Mapping):
        return Fact(label, tuple((shown(key, 40), shown(each, 100), _verdict(each)) for key, each in list(value.items())[:20]), "checks")
    if isinstance(value, list):
        return Fact(label, ", ".join(shown(each, 320) for each in value[:20]))
    return Fact(label, shown(value))


def _verdict(value: Any) -> str:
    return _VERDICTS.get(str(value).partition(" ")[0].lower(), "")

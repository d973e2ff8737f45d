"""``mailxctl trace``: what happened to a message."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from mailx.ctl import output
from mailx.ctl.session import Command, Session, pass_session
from mailx.mail.printable import printable

# How facts are told, in this order; all others follow as they are.
_WORDS = (
    ("kind", "{}"),
    ("sender", "from {}"),
    ("recipient", "to {}"),
    ("recipients", "to {}"),
    ("to", "told {}"),
    ("accounts", "in the mailbox of {}"),
    ("mailbox", "in its folder for {}"),
    ("forwarder", "forwarded for {}"),
    ("size", "{}"),
    ("message_id", "Message-ID {}"),
    ("protocol", "by {}"),
    ("account", "account {}"),
    ("helo", "client {}"),
    ("client", "[{}]"),
    ("host", "server {}"),
    ("relay", "through relay {}"),
    ("tls", "{}"),
    ("security", "connection {}"),
    ("proof", "acknowledgement {}"),
    ("of", "about {}"),
    ("report", "report {}"),
    ("attempts", "attempt {}"),
    ("next", "next attempt {}"),
    ("reason", "reason: {}"),
)
_OWN_LINE = ("reply", "checks", "verdicts")
_INDENT = " " * 28


@click.command(cls=Command, short_help="Tell what happened to a message.")
@click.argument("what")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Messages to tell of, the newest.")
@pass_session
def trace(session: Session, what: str, limit: int) -> None:
    """Tell what happened to a message, or to the newest messages of an address.

    WHAT is an address (of the sender or a recipient), a Message-ID, or a queue id, as Received fields and the log have it.
    """
    if not what.strip():
        raise session.failed("invalid", "an address, a Message-ID or a queue id must be given", "mailxctl trace --help")
    answer = session.call("GET", "/v1/trace", {"what": what, "limit": limit})
    session.say(answer, *_told(what, limit, answer["messages"]))


def _told(what: str, limit: int, messages: list[Any]) -> Iterator[str]:
    if not messages:
        yield f"Nothing is known of {what}: no message, or none since timelines are kept (queue.keep_days)."
        yield "Look for the whole address, the Message-ID of the message, or the id in its Received field."
        return
    for number, message in enumerate(messages):
        if number:
            yield ""
        yield f"Message {message['id']}"
        for event in message["events"]:
            lines = list(_lines(event["facts"]))
            yield f"  {output.moment(event['time']).removesuffix(' UTC')}  {event['event']:<10} {lines[0] if lines else ''}".rstrip()
            yield from [_INDENT + line for line in lines[1:]]
    if len(messages) == limit:
        yield ""
        yield "There may be older ones: see --limit. All times are UTC."
    else:
        yield "All times are UTC."


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts of one event for people: one line, then one for each that is long."""
    rest = dict(facts)
    if rest.get("count") == len(rest.get("recipients") or ()):
        del rest["count"]
    told = [words.format(_value(name, rest.pop(name))) for name, words in _WORDS if rest.get(name) not in (None, "", [])]
    long = [(name, value) for name in _OWN_LINE if (value := rest.pop(name, None)) not in (None, "", {})]
    told += [f"{name} {_value(name, value)}" for name, value in rest.items() if value not in (None, "", [], {})]
    if told:
        yield printable(", ".join(told))
    for name, value in long:
        yield printable(f"{name}: {_value(name, value)}")


def _value(name: str, value: Any) -> str:
    if name == "size" and isinstance(value, int):
        return output.size(value)
    if name == "next" and isinstance(value, str):
        return output.moment(value).removesuffix(" UTC")
    if name == "proof":  # the whole of it stands in the answer under --json
        return "signed"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return str(value)

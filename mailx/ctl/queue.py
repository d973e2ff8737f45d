"""``mailxctl queue``: mail that waits to go out, and what became of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import click

from mailx.config import seconds
from mailx.core.queue_states import CHANGEABLE, MEANT, STATES, WAITING
from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session
from mailx.mail.printable import printable

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[int]):
    """A time as the configuration writes it."""

    name = "DURATION"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        """Seconds."""
        try:
            return seconds(value)
        except ValueError:
            self.fail(f"{value!r} is no duration: give one such as 90s, 30m, 2h or 7d", parameter, context)


@click.group(cls=Group, short_help="Mail to other servers: look and change.")
def queue() -> None:
    """Mail to other servers: list, show, retry, hold, release, bounce, delete, purge."""


def filters(command: F) -> F:
    """The options that choose entries."""
    for option in (
        click.option("--older", type=Duration(), help="Only what was accepted longer ago than this: 30m, 2h, 7d."),
        click.option("--recipient", metavar="ADDRESS", help="Only this recipient, or @DOMAIN."),
        click.option("--sender", metavar="ADDRESS", help="Only mail of this sender, or @DOMAIN; <> is the null sender."),
        click.option("--relay", metavar="NAME", help="Only what goes through this relay."),
        click.option("--domain", metavar="NAME", help="Only recipients of this domain."),
        click.option("--state", type=click.Choice(STATES), multiple=True, help="Only entries in this state; may stand several times."),
    ):
        command = option(command)
    return command


def chosen(**options: Any) -> dict[str, Any]:
    """The filters that were given, as the API takes them."""
    states = options.pop("state", ())
    found = {name: value for name, value in options.items() if value not in (None, "")}
    if states:
        found["state"] = ",".join(states)
    return found


@queue.command("list", short_help="List what waits.")
@filters
@click.option("--all", "everything", is_flag=True, help="Also what has ended: sent, failed.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="Entries that are shown, the oldest first.")
@pass_session
def list_(session: Session, /, limit: int, everything: bool, **options: Any) -> None:
    """List what waits, one entry for each recipient of each message; with --all or --state also what has ended."""
    wanted = chosen(**options)
    hidden = () if everything or "state" in wanted else tuple(state for state in STATES if state not in WAITING)
    entries, more, counts = _entries(session, ({"state": ",".join(WAITING)} if hidden else {}) | wanted, limit)
    session.say({"entries": entries, "more": more, "counts": counts}, *_listing(entries, more, counts, hidden))


def _entries(session: Session, wanted: dict[str, Any], limit: int) -> tuple[list[Any], bool, dict[str, int]]:
    """At most ``limit`` entries, whether there may be more, and how many the queue has in each state."""
    found: list[Any] = []
    counts: dict[str, int] = {}
    after: int | None = 0
    while after is not None and len(found) < limit:
        page = session.call("GET", "/v1/queue", {**wanted, "after": after, "limit": limit - len(found)})
        found += page["entries"]
        counts = page.get("counts", counts)
        after = page["next"]
    return found, after is not None, counts


def _listing(entries: Sequence[Any], more: bool, counts: dict[str, int], hidden: Sequence[str]) -> Iterator[str]:
    if entries:
        rows = [
            (one["id"], one["state"], one["recipient"], one["sender"] or "<>", _when(one), one["attempts"], _said(one)) for one in entries
        ]
        yield from output.table(("QUEUE ID", "STATE", "RECIPIENT", "SENDER", "NEXT OR END", "TRIED", "LAST REPLY"), rows)
    else:
        yield "Nothing waits." if hidden else "No entries."
    yield ""
    yield "In all: " + ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts) + " (sent ones of the last day)."
    if any(counts.get(state) for state in hidden):
        yield "What has ended is shown with --all, or with --state sent or failed."
    if more:
        yield "There are more: see --limit and the filters of `mailxctl queue list --help`."
    if entries:
        yield f"Next: mailxctl queue show {entries[0]['id']}"


def _when(entry: Any) -> str:
    moment = entry["next"] or entry["finished"]
    return output.moment(moment) if moment else "-"


def _said(entry: Any) -> str:
    reply = printable(entry["last"]["reply"]) if entry["last"] else "-"
    return reply if len(reply) <= 60 else f"{reply[:57]}..."


@queue.command(short_help="Show a message, and each attempt with its reply.")
@click.argument("id")
@pass_session
def show(session: Session, id: str) -> None:
    """Show the message with the queue id ID: its recipients, and each attempt with its reply."""
    if not id.isalnum():  # nor would it fit into the path
        raise session.failed("invalid", f"{id!r} is no queue id", "`mailxctl queue list` shows the ids; `mailxctl trace` finds them.")
    answer = session.call("GET", f"/v1/queue/{quote(id, safe='')}")
    first = answer["entries"][0]
    lines = [
        f"Message {answer['id']} from {first['sender'] or '<>'}, {output.size(first['size'])}, accepted {output.moment(first['accepted'])}",
    ]
    for one in answer["entries"]:
        lines += ["", *_shown(one)]
    session.say(answer, *lines, "", *_steps(answer))


def _shown(entry: Any) -> Iterator[str]:
    forwarded = f", for {entry['original']}" if entry["original"] != entry["recipient"] else ""
    yield f"{entry['recipient'] or '(does not open)'}{forwarded}: {entry['state']}"
    if entry["relay"]:
        yield f"  through relay {entry['relay']}"
    if entry["next"]:
        yield f"  next attempt {output.moment(entry['next'])}, {entry['attempts_left']} left"
    if entry["finished"]:
        yield f"  ended {output.moment(entry['finished'])}"
    past = entry["history"]
    if entry["last"] and entry["last"] not in past:
        past = [*past, entry["last"]]
    for attempt in past:
        where = f"  {attempt['host']}" if attempt["host"] else ""
        tls = f"  {attempt['tls']}" if attempt["tls"] else "  no TLS" if attempt["security"] == "plain" else ""  # or it is not known
        yield printable(f"  {output.moment(attempt['time'])}{where}{tls}")
        yield printable(f"    {attempt['reply']}")


def _steps(answer: Any) -> Iterator[str]:
    """What can be done with the message now."""
    id, states = answer["id"], {one["state"] for one in answer["entries"]}
    if states & {"pending", "deferred"}:
        yield f"Next: mailxctl queue retry {id}, or hold, bounce, delete"
    elif "held" in states:
        yield f"Next: mailxctl queue release {id}, or bounce, delete"
    elif "failed" in states:
        yield f"Next: mailxctl queue retry {id} tries it again from the beginning; delete forgets it"
    yield f"More: mailxctl trace {id}"


def changing(command: F) -> F:
    """The argument and the options of a command that changes entries."""
    command = filters(command)
    command = click.option("--all", "everything", is_flag=True, help="Every entry that the command can change.")(command)
    command = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    return click.argument("id", required=False)(command)


@queue.command(short_help="Try again now what waits or has failed.")
@changing
@pass_session
def retry(session: Session, /, **options: Any) -> None:
    """Try again now what waits: by queue ID, by filter, or --all. What is held or has failed only by queue ID or with --state."""
    _change(session, "retry", "Try", "now", "{} will be tried {}.", ("Watch", "show {}", "list"), **options)


@queue.command(short_help="Keep what waits from being sent.")
@changing
@pass_session
def hold(session: Session, /, **options: Any) -> None:
    """Keep what waits from being sent: by queue ID, by filter, or --all."""
    _change(
        session,
        "hold",
        "Hold",
        "back",
        "{} will not be sent until released.",
        ("Undo it", "release {}", "release, with the same options"),
        **options,
    )


@queue.command(short_help="Let what is held be sent.")
@changing
@pass_session
def release(session: Session, /, **options: Any) -> None:
    """Let what is held be sent: by queue ID, by filter, or --all."""
    _change(session, "release", "Release", "", "{} will be tried {}.", ("Watch", "show {}", "list"), **options)


@queue.command(short_help="Give up what waits, and tell the senders.")
@changing
@pass_session
def bounce(session: Session, /, **options: Any) -> None:
    """Give up what waits or is held, and tell the senders: by queue ID, by filter, or --all."""
    _change(session, "bounce", "Give up", "and tell the senders", "{} given up; the senders are told.", None, ask=True, **options)


@queue.command(short_help="Remove entries without a word to anybody.")
@changing
@pass_session
def delete(session: Session, /, **options: Any) -> None:
    """Remove entries without a word to anybody: by queue ID, by filter, or --all."""
    _change(session, "delete", "Delete", "without a word to the senders", "{} deleted.", None, ask=True, **options)


@queue.command(short_help="Remove what has ended.")
@click.option("--state", type=click.Choice(("sent", "failed")), multiple=True, help="Only these; default: both.")
@click.option("--older", type=Duration(), help="Only what was accepted longer ago than this: 30m, 2h, 7d.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def purge(session: Session, state: tuple[str, ...], older: int | None, yes: bool) -> None:
    """Remove what has ended: sent entries, and dead letters with their messages."""
    options: dict[str, Any] = {"state": state or ("sent", "failed"), "older": older, "yes": yes}
    _change(session, "delete", "Delete", "that ended", "{} deleted.", None, ask=True, **options)


def _change(
    session: Session,
    action: str,
    verb: str,
    how: str,
    done: str,
    step: tuple[str, str, str] | None,
    *,
    ask: bool = False,
    yes: bool = False,
    everything: bool = False,
    **options: Any,
) -> None:
    """Apply ``action`` to what the options select, after a question where it is worth one. ``step``: what next, by id and without."""
    wanted = chosen(**options)
    if not wanted and not everything:
        raise session.failed(
            "nothing_selected", "nothing was selected", f"Name a queue id, a filter or --all: mailxctl queue {action} --help"
        )
    by_id = "id" in wanted
    if not by_id and action in MEANT:
        wanted = {"state": ",".join(MEANT[action])} | wanted
    if not yes and (ask or not by_id):
        entries, more, _ = _entries(session, {"state": ",".join(CHANGEABLE[action])} | wanted, 100)
        if entries:
            count = f"{len(entries)} or more entries" if more else _counted(len(entries))
            session.confirm(" ".join(part for part in (verb, count, how) if part) + "?", "nothing was changed")
    answer = session.call("POST", f"/v1/queue/{action}", body=wanted | ({"all": True} if everything else {}))
    count = answer["count"]
    if not count:
        session.say(answer, "Nothing was changed: nothing fits, or it is being sent right now or in another state.", *_look(wanted))
        return
    when = "at once" if session.served else "when the server starts"
    lines = [done.format(_counted(count), when)]
    if step:
        words, with_id, without = step
        lines.append(f"{words}: mailxctl queue {with_id.format(wanted['id']) if by_id else without}")
    session.say(answer, *lines)


def _look(wanted: dict[str, Any]) -> Iterator[str]:
    yield f"Look: mailxctl queue show {wanted['id']}" if "id" in wanted else "Look: mailxctl queue list"


def _counted(count: int) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"

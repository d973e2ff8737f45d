"""The queue: what waits to go out, what came of it, and what administrators do about it by hand.

A queue may have a million entries: lists are a page, counts stop at a limit, and a change of many goes on in the background
when it takes longer than a few seconds. Every change of a selection is asked about first, with the number of entries
that are meant. What is being sent at the moment is left alone.
"""

from collections.abc import Mapping
from typing import Any

from mailx import config
from mailx.core import audit, queue_search
from mailx.core.ledger import Entry, Ledger, Selection
from mailx.core.parcels import Past
from mailx.core.queue_search import Wanted
from mailx.core.queue_states import CHANGEABLE, MEANT, STATES, WAITING
from mailx.core.users import DirectoryError
from mailx.web.panel.errands import Errand, Errands
from mailx.web.panel.links import asked, shown, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.parts import Parts

PAGE = 50
RECIPIENTS = 20  # of one message on a page
CHOSEN = 500  # entries ticked at a time
COUNTED = 100_000  # entries that are counted before it says "more than"

KINDS = {"pending": "busy", "sending": "busy", "deferred": "warn", "held": "warn", "sent": "good", "failed": "bad"}
_FILTERS = ("state", "domain", "relay", "sender", "recipient", "id", "older")
_ALL = "all"
_NOTHING = Wanted(Selection(ids=(0,)))  # no row has this id
_VERBS = {  # title of the question, what becomes of the entries, what was done
    "retry": ("Try again now", "They are tried at once.", "will be tried at once"),
    "hold": ("Hold", "They are not sent until they are released.", "will not be sent until released"),
    "release": ("Release", "They are tried at once.", "will be tried at once"),
    "bounce": ("Give up", "They are given up, and their senders are told.", "given up; the senders are told"),
    "delete": ("Delete", "They are removed without a word to anybody. This cannot be undone.", "deleted"),
}


class Queue(Page):
    """Lists, one message, and the five changes."""

    path = "/queue"
    title = "Queue"
    group = "Mail"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._errands = Errands(parts.reactor)

    async def stop(self) -> None:
        """End what goes on in the background."""
        await self._errands.stop()

    @property
    def _ledger(self) -> Ledger:
        ledger: Ledger = self.parts.queue.ledger
        return ledger

    @show("/queue")
    async def index(self, visit: Visit) -> View:
        filters = _filters(visit.query)
        context: dict[str, Any] = {
            "filters": {name: filters.get(name, "") for name in _FILTERS},
            "filtered": bool(filters),
            "states": STATES,
            "kinds": KINDS,
            "state_choices": [(state, state) for state in STATES],
            "relay_choices": self._relays(),
            "counts": await self._ledger.counts(),
            "going_on": self._errands.going_on(),
            "entries": (),
            "newer": to("queue", query=filters) if visit.after() else "",
            "older": "",
            "problem": "",
            "partial": False,
        }
        try:
            found = await queue_search.find(self._ledger, self._wanted(filters), visit.after(), PAGE)
        except DirectoryError as error:
            return View("queue.html", {**context, "problem": f"{error.text}. {error.remedy}"}, status=422)
        names = await self._names(found.entries)
        context["entries"] = [_row(entry, names) for entry in found.entries]
        context["partial"] = found.following is not None and len(found.entries) < PAGE
        if found.following is not None:
            context["older"] = to("queue", query={**filters, "after": found.following})
        return View("queue.html", context)

    @show("/queue/<id>")
    async def message(self, visit: Visit) -> View:
        """The recipients of one message, with all attempts that are kept."""
        id = visit.path["id"]
        entries = await self._ledger.list(Selection(envelope=id), visit.after(), RECIPIENTS + 1)
        if not entries:
            raise DirectoryError("not_found", f"The queue has no message {shown(id, 40)}.", "Its deliveries may tell more.")
        listed = [await self._ledger.show(entry.id) for entry in entries[:RECIPIENTS]]
        names = await self._names(entries[:1])
        rows = [
            {**_row(one.entry, names), "history": _history(one.history, one.entry.last), "possible": _possible({one.entry.state})}
            for one in listed
        ]
        states = {one.entry.state for one in listed}
        context = {
            "id": id,
            "first": rows[0],
            "rows": rows,
            "kinds": KINDS,
            "possible": _possible(states),
            "several": len(entries) > 1,
            "verbs": _VERBS,
            "newer": to("queue", id) if visit.after() else "",
            "older": to("queue", id, query={"after": entries[RECIPIENTS - 1].id}) if len(entries) > RECIPIENTS else "",
            "story": to("deliveries", id),
        }
        return View("queue_message.html", context, title=f"Message {id}")

    @show("/queue/changes/<id>")
    async def errand(self, visit: Visit) -> View:
        """How far a change of many entries is."""
        errand = self._errands.find(visit.path["id"])
        if errand is None:
            raise DirectoryError("not_found", "This change is not remembered any more.", "The audit log has it.")
        return View("queue_change.html", {"errand": errand}, title=errand.title)

    @change("/queue/ask", action="")
    async def ask(self, visit: Visit) -> View:
        """How many entries are meant, before anything is changed."""
        act = visit.form.choice("do", tuple(_VERBS))
        wanted, fields = self._meant(visit, act)
        count = await queue_search.count(self._ledger, wanted, COUNTED)
        title, what, _ = _VERBS[act]
        filters = {name: value for name, value in fields.items() if name in _FILTERS}
        context = {"act": act, "verb": title, "what": what, "count": count, "fields": fields, "filters": filters, "back": _back(visit)}
        return View("queue_ask.html", context, title="Are you sure?")

    @change("/queue/retry", action="queue.retry")
    async def retry(self, visit: Visit) -> Redirect:
        return await self._change(visit, "retry")

    @change("/queue/hold", action="queue.hold")
    async def hold(self, visit: Visit) -> Redirect:
        return await self._change(visit, "hold")

    @change("/queue/release", action="queue.release")
    async def release(self, visit: Visit) -> Redirect:
        return await self._change(visit, "release")

    @change("/queue/bounce", action="queue.bounce")
    async def bounce(self, visit: Visit) -> Redirect:
        return await self._change(visit, "bounce")

    @change("/queue/delete", action="queue.delete")
    async def delete(self, visit: Visit) -> Redirect:
        return await self._change(visit, "delete")

    async def _change(self, visit: Visit, act: str) -> Redirect:
        if act == "bounce" and not self.parts.queue.running:
            raise DirectoryError(
                "invalid", "the queue does not run, so that no sender could be told", "Start it, or delete without a word."
            )
        wanted, fields = self._meant(visit, act)
        call = getattr(self._ledger, act)
        back = "/queue" if act == "delete" and not visit.form.text("which") else _back(visit)
        title, _, done = _VERBS[act]
        errand = Errand(f"{title}: entries of the queue", visit.admin.name, back, self.parts.reactor.seconds())
        audit.note(target="queue" if "which" in fields else fields["id"], after=_noted(fields))
        await self._errands.run(errand, lambda errand: queue_search.change(self._ledger, wanted, call, errand.step))
        if not errand.ended:
            return Redirect(to("queue", "changes", errand.id), "There are so many entries that this goes on for a while.", "notice")
        if not errand.done:
            return Redirect(back, "Nothing was changed: nothing fits, or it is being sent right now or in another state.", "notice")
        return Redirect(back, f"{errand.done:,} {'entry' if errand.done == 1 else 'entries'} {done}.")

    def _meant(self, visit: Visit, act: str) -> tuple[Wanted, dict[str, Any]]:
        """What the form means, and the fields that say it again; raises FormError.

        ``which`` is "all" for everything that the filters find, "ticked" for the rows; without it a message is meant, by its id, or
        one of its rows.
        """
        form, which = visit.form, visit.form.text("which")
        filters = _filters({name: form.text(name) for name in _FILTERS})
        if which == _ALL:
            named = self._states(filters)
            states = [state for state in named or MEANT.get(act, CHANGEABLE[act]) if state in CHANGEABLE[act]]
            if "state" not in filters and act in MEANT:
                states = list(MEANT[act])
            wanted = self._wanted({**filters, "state": ",".join(states)}) if states else _NOTHING
            return wanted, {**filters, "which": _ALL}
        rows = form.texts("row", 20)
        if not which and not rows and (envelope := form.text("id", limit=100)):
            return Wanted(Selection(states=CHANGEABLE[act], envelope=envelope)), {"id": envelope}
        if not rows:
            raise FormError({"": "No entry was ticked."})
        if len(rows) > CHOSEN or not all(row.isascii() and row.isdigit() and len(row) < 19 for row in rows):
            raise FormError({"": f"At most {CHOSEN} entries can be ticked at a time."})
        ids = tuple(sorted({int(row) for row in rows}))
        return Wanted(Selection(states=CHANGEABLE[act], ids=ids)), {**filters, "row": rows, "which": "ticked"}

    def _wanted(self, filters: Mapping[str, str]) -> Wanted:
        """What the filters select; raises DirectoryError."""
        values = {name: value for name, value in filters.items() if name not in ("state", "older")}
        if states := self._states(filters):
            values["state"] = ",".join(states)
        if older := filters.get("older"):
            try:
                values["older"] = str(config.seconds(older))
            except ValueError:
                raise DirectoryError("invalid", f"{shown(older, 20)} is no duration", "Give one such as 90s, 30m, 2h or 7d.") from None
        return queue_search.wanted(values, self._ledger.routed)

    def _states(self, filters: Mapping[str, str]) -> tuple[str, ...]:
        """The states that are meant: those that wait unless others are named; none for all."""
        state = filters.get("state", "")
        return () if state == _ALL else tuple(state.split(",")) if state else WAITING

    def _relays(self) -> list[tuple[str, str]]:
        """The choices of relays; none where there are no relays."""
        current = self.parts.settings.current
        names = [relay.name for relay in current.outbound.relays] + ([config.SMARTHOST] if current.smarthost.host else [])
        return [("", "any way"), *[(name, name) for name in names]] if names else []

    async def _names(self, entries: Any) -> dict[int, str]:
        """The names of the accounts that sent, as far as they still exist."""
        ids = {entry.account for entry in entries if entry.account is not None}
        users = [await self.parts.accounts.user(id) for id in sorted(ids)]
        return {user.id: str(user.address) for user in users if user is not None}


def _filters(query: Mapping[str, str]) -> dict[str, str]:
    """The filters that are not empty; "waiting" is what holds without any."""
    found = {name: asked(query, name) for name in _FILTERS}
    return {name: value for name, value in found.items() if value and not (name == "state" and value == "waiting")}


def _back(visit: Visit) -> str:
    """The list, or the message, that the form came from."""
    form = visit.form
    if not form.text("which") and (id := form.text("id", limit=100) or form.text("of", limit=100)):
        return to("queue", id)
    return to("queue", query=_filters({name: form.text(name) for name in _FILTERS if name != "id"} | {"id": form.text("id", limit=100)}))


def _possible(states: set[str]) -> list[str]:
    """What can be done to entries in these states."""
    return [act for act, those in CHANGEABLE.items() if states & set(those)]


def _noted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit log has of the selection."""
    if "row" in fields:
        return {"entries": [int(row) for row in fields["row"]]}
    return {name: value for name, value in fields.items() if name != "which"} or {"entries": "all"}


def _row(entry: Entry, names: Mapping[int, str]) -> dict[str, Any]:
    waiting = entry.state in ("pending", "deferred")
    forwarded = entry.original != entry.recipient
    return {
        "id": entry.id,
        "envelope": entry.envelope,
        "path": to("queue", entry.envelope),
        "state": entry.state,
        "sender": shown(entry.sender or "<>", 320),
        "recipient": shown(entry.recipient, 320) or "(does not open)",
        "original": shown(entry.original, 320) if forwarded else "",
        "destination": shown(entry.destination, 255),
        "relay": shown(entry.relay, 100),
        "attempts": entry.attempts,
        "left": max(0, entry.waits + 1 - entry.attempts) if waiting else None,
        "next": entry.due if waiting else None,
        "created": entry.created,
        "finished": entry.finished or None,
        "size": entry.size,
        "account": "" if entry.account is None else names.get(entry.account, f"account {entry.account}, deleted"),
        "last": None if entry.last is None else _attempt(entry.last),
    }


def _history(history: tuple[Past, ...], last: Past | None) -> list[dict[str, Any]]:
    pasts = [*history, last] if last is not None and last not in history else list(history)
    return [_attempt(past) for past in pasts]


def _attempt(past: Past) -> dict[str, Any]:
    attempt = past.attempt
    reply = attempt.reply
    kind = "good" if reply.done else "warn" if reply.temporary else "bad"
    encryption = shown(attempt.tls, 100) or ("not encrypted" if attempt.security == "plain" else "")
    return {
        "time": past.time,
        "reply": shown(reply),
        "kind": kind,
        "host": shown(attempt.host, 300),
        "tls": encryption,
        "security": attempt.security,
    }

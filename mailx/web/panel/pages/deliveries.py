"""Deliveries: what happened to a message, found by an address, a Message-ID or a queue id; without one, the newest messages.

A page has ten messages, and of each its beginning and its end; the page of one message has all steps that are kept, a
hundred at a time.
"""

from mailx.core.timeline import Trace
from mailx.core.users import DirectoryError
from mailx.web.panel.links import asked, shown, to
from mailx.web.panel.page import Page, View, Visit, show
from mailx.web.panel.story import Story, accounts, told

PAGE = 10  # messages
PAGES = 20
STEPS = 100  # of one message on its page
_WHAT = 1000  # characters
_REPORTS = 200  # messages found by a queue id: itself, and the reports about it


class Deliveries(Page):
    """Stories of messages, the newest first."""

    path = "/deliveries"
    title = "Deliveries"
    group = "Mail"

    @show("/deliveries")
    async def index(self, visit: Visit) -> View:
        what, number = asked(visit.query, "what"), min(visit.page_number(), PAGES)
        context = {
            "what": what,
            "days": self.parts.settings.current.queue.keep_days,
            "stories": (),
            "newer": "",
            "older": "",
            "problem": "",
        }
        if len(what) > _WHAT:
            problem = "Give the whole address, the Message-ID or the queue id: nothing longer."
            return View("deliveries.html", {**context, "what": "", "problem": problem}, status=422)
        timeline = self.parts.timeline
        most = number * PAGE
        traces: list[Trace] = await (timeline.trace(what, most) if what else timeline.recent(most))
        context["stories"] = [story.short() for story in await self._told(traces[::-1][most - PAGE :])]
        if number > 1:
            context["newer"] = to("deliveries", query={"what": what, "page": number - 1})
        if len(traces) == most and number < PAGES:
            context["older"] = to("deliveries", query={"what": what, "page": number + 1})
        return View("deliveries.html", context, title=f"Deliveries: {shown(what, 100)}" if what else "")

    @show("/deliveries/<id>")
    async def message(self, visit: Visit) -> View:
        """One message by its queue id."""
        id = visit.path["id"]
        found = [trace for trace in await self.parts.timeline.trace(id, _REPORTS) if trace.envelope == id]
        if not found:
            raise DirectoryError("not_found", f"Nothing is known of a message {shown(id, 40)}.", "Search for an address or the Message-ID.")
        (story,) = await self._told(found)
        pages = max(1, -(-len(story.steps) // STEPS))
        number = min(visit.page_number(), pages)
        context = {
            "story": story,
            "steps": story.steps[(number - 1) * STEPS : number * STEPS],
            "newer": to("deliveries", id, query={"page": number - 1}) if number > 1 else "",
            "older": to("deliveries", id, query={"page": number + 1}) if number < pages else "",
        }
        return View("delivery.html", context, title=f"Message {story.id}")

    async def _told(self, traces: list[Trace]) -> list[Story]:
        users = [await self.parts.accounts.user(id) for id in sorted(accounts(traces))]
        names = {user.id: str(user.address) for user in users if user is not None}
        return [told(trace, names) for trace in traces]

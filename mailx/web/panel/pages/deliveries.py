"""Deliveries: what happened to a message, found by an address, a Message-ID or a queue id; without one, the newest messages."""

from mailx.core.timeline import TRACES, Trace
from mailx.web.panel.links import asked, shown, to
from mailx.web.panel.page import Page, View, Visit, show
from mailx.web.panel.story import accounts, told

MOST = 200  # messages on a page
_WHAT = 1000  # characters
_LIMITS = (TRACES, 50, 100, MOST)


class Deliveries(Page):
    """Stories of messages, the newest first."""

    path = "/deliveries"
    title = "Deliveries"
    group = "Mail"

    @show("/deliveries")
    async def index(self, visit: Visit) -> View:
        return await self._found(visit, asked(visit.query, "what"))

    @show("/deliveries/<id>")
    async def message(self, visit: Visit) -> View:
        """What a queue id finds: an address that other pages can lead to."""
        return await self._found(visit, visit.path["id"].strip())

    async def _found(self, visit: Visit, what: str) -> View:
        wanted = visit.query.get("limit", "")
        limit = int(wanted) if wanted in map(str, _LIMITS) else TRACES
        context = {
            "what": what,
            "limit": limit,
            "limit_choices": [(each, str(each)) for each in _LIMITS],
            "days": self.parts.settings.current.queue.keep_days,
        }
        if len(what) > _WHAT or "\0" in what:
            problem = "Give the whole address, the Message-ID or the queue id: nothing longer."
            return View("deliveries.html", {**context, "what": "", "stories": (), "more": "", "problem": problem}, status=422)
        timeline = self.parts.timeline
        traces: list[Trace] = await (timeline.trace(what, limit) if what else timeline.recent(limit))
        users = [await self.parts.accounts.user(id) for id in sorted(accounts(traces))]
        names = {user.id: str(user.address) for user in users if user is not None}
        stories = [told(trace, names) for trace in reversed(traces)]
        larger = next((each for each in _LIMITS if each > limit), 0)
        more = to("deliveries", query={"what": what, "limit": larger}) if len(traces) == limit and larger else ""
        title = f"Deliveries: {shown(what, 100)}" if what else "Deliveries"
        return View("deliveries.html", {**context, "stories": stories, "more": more, "problem": ""}, title=title)

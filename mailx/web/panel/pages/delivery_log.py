"""The delivery log: its newest lines, a search through it, and the whole of it as a text file."""

from mailx.core.progress import BOUNCED, DEFERRED, DELIVERED
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import Download, Page, View, Visit, show

PAGE = 100
_OUTCOMES = (DELIVERED, DEFERRED, BOUNCED)
_KINDS = {DELIVERED: "good", DEFERRED: "warn", BOUNCED: "bad"}


class DeliveryLog(Page):
    """Lines of text as they are kept, a page at a time."""

    path = "/delivery-log"
    title = "Delivery log"
    group = "Mail"

    @show("/delivery-log")
    async def index(self, visit: Visit) -> View:
        filters = {"text": visit.query.get("text", "").strip()[:200], "outcome": visit.query.get("outcome", "")}
        if filters["outcome"] not in _OUTCOMES:
            filters["outcome"] = ""
        found = await self.parts.delivery_log.search(filters["text"], filters["outcome"], visit.after(), PAGE)
        entries = [
            {
                "time": entry.time.replace("T", " ").partition(".")[0],
                "outcome": entry.outcome,
                "kind": _KINDS.get(entry.outcome, ""),
                "id": shown(entry.envelope, 100),
                "story": to("deliveries", query={"what": entry.envelope}),
                "sender": shown(entry.sender),
                "recipient": shown(entry.recipient),
                "host": shown(entry.host or entry.destination),
                "tls": shown(entry.tls),
                "attempts": shown(entry.attempts, 10),
                "reply": shown(entry.reply),
            }
            for entry in found.entries
        ]
        context = {
            "entries": entries,
            "filters": filters,
            "filtered": any(filters.values()),
            "outcomes": [("", "all"), *((outcome, outcome) for outcome in _OUTCOMES)],
            "size": await self.parts.delivery_log.size(),
            "limit": self.parts.settings.current.queue.delivery_log,
            "newest": to("delivery-log", query=filters) if visit.after() else "",
            "older": to("delivery-log", query={**filters, "after": found.older}) if found.older else "",
        }
        return View("delivery_log.html", context)

    @show("/delivery-log/download")
    async def download(self, visit: Visit) -> Download:
        return Download("delivery-log.txt", self.parts.delivery_log.text())

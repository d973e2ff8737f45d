"""Alerts: what is open, what was, and how administrators are told; acknowledging."""

from mailx.core.alert_notices import Alert
from mailx.core.alerts import EVENTS
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import Page, Redirect, View, Visit, change, show

PAGE = 50


class Alerts(Page):
    """Open alerts first, then past ones, a page at a time."""

    path = "/alerts"
    title = "Alerts"
    group = "Overview"

    def badge(self) -> int:
        """Alerts that nobody has acknowledged."""
        return self.parts.alerts.count

    @show("/alerts")
    async def index(self, visit: Visit) -> View:
        before = visit.after()
        past = await self.parts.alerts.past(before, PAGE + 1)
        settings = self.parts.settings.current.alerts
        context = {
            "open": [] if before else [_row(alert) for alert in await self.parts.alerts.open()],
            "past": [_row(alert) for alert in past[:PAGE]],
            "mail": [shown(address) for address in settings.mail],
            "url": bool(settings.url),
            "newest": to("alerts") if before else "",
            "older": to("alerts", query={"after": past[PAGE - 1].id}) if len(past) > PAGE else "",
        }
        return View("alerts.html", context)

    @change("/alerts/<id>/acknowledge", action="alert.acknowledge")
    async def acknowledge(self, visit: Visit) -> Redirect:
        await self.parts.alerts.acknowledge(visit.id())
        return Redirect("/alerts", "Acknowledged.")


def _row(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "title": alert.title,
        "text": shown(alert.text),
        "opened": alert.opened,
        "closed": alert.closed,
        "acknowledged": alert.acknowledged,
        "by": shown(alert.acknowledged_by, 100),
        "event": alert.kind in EVENTS,
    }

"""The certificates that listeners serve: what they say, how long they hold, and reading their files again."""

from mailx.web.panel.cards import days_left
from mailx.web.panel.links import shown
from mailx.web.panel.page import Page, Redirect, View, Visit, change, show
from mailx.web.panel.pages.settings import concluded


class Certificates(Page):
    """Certificates come from files (section tls); the page shows them and reads them again."""

    path = "/certificates"
    title = "TLS certificates"
    group = "Server"

    @show("/certificates")
    async def index(self, visit: Visit) -> View:
        hostname = self.parts.settings.current.server.hostname
        rows = []
        for one in self.parts.certificates.overview():
            days, kind = days_left(self.parts, one)
            names = [shown(name, 255) for name in one.names[:50]]
            fields = {"subject": shown(one.subject), "issuer": shown(one.issuer), "problem": shown(one.problem)}
            rows.append({"one": one, "days": days, "kind": kind, "names": names, "more": len(one.names) - len(names), **fields})
        return View("certificates.html", {"certificates": rows, "hostname": hostname})

    @change("/certificates/reload", action="certificates.reload")
    async def reload(self, visit: Visit) -> Redirect:
        problems = self.parts.certificates.reload()
        await concluded(self.parts.audit)  # of several some may have been read
        if problems:
            return Redirect("/certificates", shown(f"Not everything was read again: {'; '.join(problems)}", 500), "problem")
        return Redirect("/certificates", "The certificates were read again. New connections get them at once.")

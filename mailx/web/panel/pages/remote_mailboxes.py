"""Other mailboxes: optional, and apart from the delivery of mail. Where they are, how to log in, and a test of each.

There is a form for each protocol. A stored password is never shown, and goes to its host only.
"""

from collections.abc import Mapping

from mailx.core.probing import IMAP, IMAPS, POP3, POP3S, PORTS, Probe
from mailx.core.remote_mailboxes import HOST_LIMIT, NAME_LIMIT, PASSWORD_LIMIT, TIMEOUT_MOST, USERNAME_LIMIT, Place, RemoteMailbox
from mailx.core.users import DirectoryError
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

# Kind: its name, and what it is.
KINDS: Mapping[str, tuple[str, str]] = {
    IMAP: ("IMAP", "Port 143: plain at first, encrypted by STARTTLS where the server offers it."),
    IMAPS: ("IMAPS", "Port 993: encrypted from the first octet."),
    POP3: ("POP3", "Port 110: plain at first, encrypted by STLS where the server offers it."),
    POP3S: ("POP3S", "Port 995: encrypted from the first octet."),
}


class RemoteMailboxes(Page):
    """All of them by protocol, one with its form, and the result of a test."""

    path = "/mailboxes"
    title = "Other mailboxes"
    group = "Server"

    @show("/mailboxes")
    async def index(self, visit: Visit) -> View:
        mailboxes = await self.parts.remote_mailboxes.list()
        kinds = [
            {
                "kind": kind,
                "name": name,
                "help": help,
                "port": PORTS[kind],
                "mailboxes": [_row(one) for one in mailboxes if one.place.kind == kind],
            }
            for kind, (name, help) in KINDS.items()
        ]
        return View("mailboxes.html", {"kinds": kinds})

    @show("/mailboxes/add/<kind>")
    async def adding(self, visit: Visit) -> View:
        kind = _kind(visit)
        context = {"kind": kind, "what": KINDS[kind][0], "help": KINDS[kind][1], "port": PORTS[kind], "timeout": 30}
        return View("mailbox_add.html", context, title=f"New {KINDS[kind][0]} mailbox")

    @change("/mailboxes/add/<kind>", action="mailbox.add", shown="adding")
    async def add(self, visit: Visit) -> Redirect:
        kind = _kind(visit)
        if not visit.form.exact("password", limit=PASSWORD_LIMIT):
            raise FormError({"password": "Fill this in."})
        id = await self.parts.remote_mailboxes.add(_typed(visit, kind))
        return Redirect(to("mailboxes", str(id)), "The mailbox is kept. Test whether it can be reached.")

    @show("/mailboxes/<id>")
    async def one(self, visit: Visit) -> View:
        return await self._view(visit.id())

    async def _view(self, id: int, probe: Probe | None = None) -> View:
        mailbox = await self.parts.remote_mailboxes.show(id)
        name, help = KINDS[mailbox.place.kind]
        context = {"mailbox": _row(mailbox), "what": name, "help": help, "probe": probe}
        return View("mailbox.html", context, title=shown(mailbox.place.name, NAME_LIMIT))

    @change("/mailboxes/<id>/change", action="mailbox.change", shown="one")
    async def save(self, visit: Visit) -> Redirect:
        id = visit.id()
        kind = (await self.parts.remote_mailboxes.show(id)).place.kind
        try:
            await self.parts.remote_mailboxes.change(id, _typed(visit, kind))
        except DirectoryError as error:
            if "assword" in error.remedy:
                raise FormError({"password": f"{error.text}. {error.remedy}"}) from None
            raise
        return Redirect(to("mailboxes", str(id)), "Saved.")

    @change("/mailboxes/<id>/test", action="mailbox.test", shown="one")
    async def test(self, visit: Visit) -> View:
        id = visit.id()
        return await self._view(id, await self.parts.remote_mailboxes.test(id))

    @change("/mailboxes/<id>/remove", action="mailbox.remove", shown="one")
    async def remove(self, visit: Visit) -> Redirect:
        name = await self.parts.remote_mailboxes.remove(visit.id())
        return Redirect("/mailboxes", f"{name} was removed, its password too.")


def _kind(visit: Visit) -> str:
    kind = visit.path["kind"]
    if kind not in KINDS:
        raise DirectoryError("not_found", "There is no such kind of mailbox", "Choose IMAP, IMAPS, POP3 or POP3S.")
    return kind


def _typed(visit: Visit, kind: str) -> Place:
    """The form as it was filled in; raises FormError."""
    form = visit.form
    return Place(
        kind,
        form.needed("name", NAME_LIMIT),
        form.needed("host", HOST_LIMIT),
        form.number("port", 1, 65535),
        form.needed("username", USERNAME_LIMIT),
        form.exact("password", limit=PASSWORD_LIMIT),
        form.ticked("verify"),
        form.number("timeout", 1, TIMEOUT_MOST),
    )


def _row(mailbox: RemoteMailbox) -> dict[str, object]:
    place = mailbox.place
    return {
        "id": mailbox.id,
        "name": shown(place.name, NAME_LIMIT),
        "host": shown(place.host, HOST_LIMIT),
        "port": place.port,
        "username": shown(place.username, USERNAME_LIMIT),
        "verify": place.verify,
        "timeout": place.timeout,
        "tested": mailbox.tested,
        "ok": mailbox.ok,
        "summary": shown(mailbox.summary),
    }

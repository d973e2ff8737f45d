"""The templates of mail: edited, seen as they will look, tried out with a real mail, and put back to the default."""

from time import time

from mailx.core.letters import AUTOMATIC, letter
from mailx.core.template_language import FILTERS, SOURCE_LIMIT, VARIABLES, Rendered, Template
from mailx.core.templates import PATHS, TYPES, Problems
from mailx.core.users import DirectoryError
from mailx.mail.address import Address, AddressError
from mailx.mail.compose import SENDER_NAME, ComposeError
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Refused, Unavailable
from mailx.web.panel.page import Form, FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.picture import HEIGHT, WIDTH, picture

_TITLES = {"email_verification": "Confirmation of an address", "password_reset": "New password"}
_MEANINGS = {
    "to": "the recipient's address",
    "subject": "the subject that the call names",
    "token": "the one-time token",
    "expiresAt": "when it expires, as the call says it",
    "expires": "when it expires, for people",
    "link": "the link of the call, or the one made of webhook.public_web_url",
    "sender_name": "the display name of the sender",
    "web_url": "webhook.public_web_url",
}


class Templates(Page):
    """One template for each type of call that has one."""

    path = "/templates"
    title = "Mail templates"
    group = "Webhook"

    @show("/templates")
    async def index(self, visit: Visit) -> View:
        templates = self.parts.templates
        entries = [
            {"type": type, "title": _TITLES[type], "default": templates.is_default(type), "subject": templates.get(type).subject}
            for type in TYPES
        ]
        return View("templates.html", {"entries": entries})

    @show("/templates/<type>")
    async def edit(self, visit: Visit) -> View:
        type = _type(visit)
        kept: Template = self.parts.templates.get(type)
        try:
            return await self._shown(type, _template(visit.form, kept))
        except FormError:
            return await self._shown(type, kept)

    @change("/templates", action="template.save", shown="edit")
    async def save(self, visit: Visit) -> Redirect:
        type = _type(visit)
        try:
            await self.parts.templates.save(type, _template(visit.form))
        except Problems as problems:
            raise FormError(problems.problems) from None
        return Redirect(f"/templates/{type}", "The template holds from now on.")

    @change("/templates/<type>/preview", action="", shown="edit")
    async def preview(self, visit: Visit) -> View:
        type = _type(visit)
        template = _template(visit.form)
        try:
            await self.parts.templates.preview(type, template)
        except Problems as problems:
            raise FormError(problems.problems) from None
        return await self._shown(type, template)

    @change("/templates/<type>/reset", action="template.reset", shown="edit")
    async def reset(self, visit: Visit) -> Redirect:
        type = _type(visit)
        await self.parts.templates.reset(type)
        return Redirect(f"/templates/{type}", "The default holds again.")

    @change("/templates/<type>/test", action="template.test", shown="edit")
    async def test(self, visit: Visit) -> Redirect:
        type = _type(visit)
        try:
            recipient = Address.parse(visit.form.needed("recipient", 320))
        except AddressError as error:
            raise FormError({"recipient": f"This is no mail address: {error}."}) from None
        try:
            rendered = await self.parts.templates.preview(type, _template(visit.form))
        except Problems as problems:
            raise FormError(problems.problems) from None
        envelope = self._mail(rendered, recipient, visit.address)
        try:
            await self.parts.reception.accept(envelope)
        except Unavailable:
            raise
        except Refused as refused:
            raise FormError({"recipient": f"The mail was not accepted: {refused.reply.text}."}) from None
        return Redirect(f"/templates/{type}", f"A mail with sample values is on its way to {recipient}. What was typed is not saved.")

    def _mail(self, rendered: Rendered, recipient: Address, address: str) -> Envelope:
        """The test mail; raises FormError."""
        current = self.parts.settings.current
        webhook = current.webhook
        if not webhook.sender_domain:
            raise FormError({"recipient": "Set the sender domain (webhook.sender_domain) first: mail is sent from it."})
        try:
            sender = Address.parse(f"{webhook.sender_local}@{webhook.sender_domain}")
            return letter(
                current.server.hostname,
                address,
                webhook.port,
                sender,
                recipient,
                time(),
                subject=rendered.subject,
                sender_name=webhook.sender_name,
                text=rendered.text,
                html=rendered.html,
                fields=AUTOMATIC,
            )
        except AddressError:
            raise FormError({"recipient": "Correct the local part of the sender (webhook.sender_local) first."}) from None
        except ComposeError as error:
            if error.name == SENDER_NAME:
                raise FormError({"recipient": "Correct the display name of the sender (webhook.sender_name) first."}) from None
            raise FormError({error.name: f"This cannot be sent: {error}."}) from None

    async def _shown(self, type: str, template: Template) -> View:
        """The page with ``template`` in its fields and what it makes of sample values, as far as it does."""
        templates = self.parts.templates
        rendered: Rendered | None = None
        try:
            rendered = await templates.preview(type, template)
        except Problems:
            rendered = None
        context = {
            "type": type,
            "template": template,
            "default": templates.is_default(type),
            "rendered": rendered,
            "picture": picture(rendered.html) if rendered is not None and rendered.html.strip() else "",
            "width": WIDTH,
            "height": HEIGHT,
            "variables": [(name, _MEANINGS[name]) for name in VARIABLES],
            "filters": ", ".join(FILTERS),
            "path": PATHS[type],
        }
        return View("template.html", context, title=_TITLES[type])


def _type(visit: Visit) -> str:
    type = visit.path.get("type") or visit.form.text("type", limit=100)
    if type not in TYPES:
        raise DirectoryError("not_found", "There is no such template")
    return type


def _template(form: Form, kept: Template | None = None) -> Template:
    """What was typed; ``kept`` where nothing was. Raises FormError."""
    if kept is not None and "subject" not in form.values:
        return kept
    return Template(
        form.text("subject", limit=2000), form.exact("text", limit=SOURCE_LIMIT + 1), form.exact("html", limit=SOURCE_LIMIT + 1)
    )

"""Calls of the webhook: what was asked for, what became of it, and whether whoever asked has heard of it."""

from collections.abc import Mapping

from mailx.config import Config, is_loopback
from mailx.core.calls import BOUNCED, DEFERRED, DELIVERED, QUEUED, STATES, Call
from mailx.core.users import DirectoryError
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import Page, Redirect, View, Visit, change, show
from mailx.web.webhook.receiver import CALLS as ADDRESS

PAGE = 50
KINDS = {QUEUED: "busy", DEFERRED: "warn", DELIVERED: "good", BOUNCED: "bad"}
CALLBACKS = {  # state: (words, kind of badge)
    "waiting": ("waiting", "busy"),
    "posting": ("being posted", "busy"),
    "behind": ("after the one before", ""),
    "done": ("posted", "good"),
    "given_up": ("given up", "bad"),
}
_ROWS = {
    "pending": "waiting",
    "sending": "being sent",
    "deferred": "waits for the next attempt",
    "held": "held",
    "sent": "sent",
    "failed": "failed",
}


class Calls(Page):
    """The list, and one call with its callbacks."""

    path = "/calls"
    title = "Calls"
    group = "Webhook"

    @show("/calls")
    async def index(self, visit: Visit) -> View:
        number = visit.query.get("number", "").strip()[:18]
        state = visit.query.get("state", "")
        state = state if state in STATES else ""
        before = visit.after()
        if number:
            found = [call] if number.isascii() and number.isdigit() and (call := await self.parts.calls.show(int(number))) else []
        else:
            found = await self.parts.calls.latest((state,) if state else (), before, PAGE + 1)
        older = to("calls", query={"state": state, "after": found[PAGE - 1].id}) if len(found) > PAGE else ""
        webhook = self.parts.settings.current.webhook
        context = {
            "calls": [_row(call) for call in found[:PAGE]],
            "number": number,
            "state": state,
            "states": [("", "Any"), *[(each, each.capitalize()) for each in STATES]],
            "kinds": KINDS,
            "older": older,
            "newest": to("calls", query={"state": state}) if before else "",
            "given_up": (await self.parts.callbacks.counts())[1],
            "foreign": "" if not webhook.sender_domain or self.parts.accounts.local(webhook.sender_domain) else webhook.sender_domain,
            "example": _example(self.parts.settings.current),
            "ready": bool(webhook.sender_domain and (webhook.secret or not webhook.signature)),
        }
        return View("calls.html", context)

    @show("/calls/<id>")
    async def one(self, visit: Visit) -> View:
        call = await self.parts.calls.show(visit.id())
        if call is None:
            raise DirectoryError(
                "not_found", f"there is no call {visit.path['id'][:19]}", "Calls are kept as long as queue.keep_days says."
            )
        fates = await self.parts.fates.of(call.envelope)
        callbacks = await self.parts.callbacks.of_call(call.id)
        url = call.callback or (self.parts.settings.current.webhook.callback_url if callbacks and not call.damaged else "")
        context = {
            "call": _row(call),
            "kinds": KINDS,
            "timeline": to("deliveries", call.envelope),
            "url": shown(url.partition("?")[0]),
            "query": "?" in url,  # where tokens stand
            "own_url": bool(call.callback),
            "fates": [
                {
                    "recipient": shown(fate.recipient) or "(does not open)",
                    "state": _ROWS.get(fate.state, fate.state),
                    "attempts": fate.attempts,
                    "due": fate.due if fate.state in ("pending", "deferred") else None,
                    "pasts": [
                        {"time": past.time, "reply": shown(past.attempt.reply), "host": shown(past.attempt.host)} for past in fate.pasts
                    ],
                }
                for fate in fates
            ],
            "callbacks": [
                {
                    "id": told.id,
                    "event": told.event,
                    "happened": told.happened,
                    "words": CALLBACKS[told.state][0],
                    "kind": CALLBACKS[told.state][1],
                    "due": told.due if told.state == "waiting" else None,
                    "given_up": told.state == "given_up",
                    "attempts": [{"time": at, "said": said} for at, said in told.history],
                }
                for told in callbacks
            ],
        }
        return View("call.html", context, title=f"Call {call.id}")

    @change("/calls/<id>/callbacks/retry", action="callback.retry", shown="one")
    async def retry(self, visit: Visit) -> Redirect:
        await self.parts.callbacks.retry(visit.form.number("callback", 1, 2**62))
        return Redirect(to("calls", str(visit.id())), "The callback is posted again.")


def _example(config: Config) -> Mapping[str, object]:
    """Where programs call, and a call to copy. Its secret is for them to fill in."""
    webhook, interface = config.webhook, config.server.interface
    host = interface if is_loopback(interface) else config.server.hostname
    place = f"http{'s' if webhook.tls else ''}://{f'[{host}]' if ':' in host else host}:{webhook.port}{ADDRESS}"
    body = '{"type":"email_verification","to":"user@example.com","subject":"Verify","token":"123","expiresAt":"2030-01-01T06:00:00Z"}'
    lines = [f"body='{body}'"]
    headers = ["Content-Type: application/json"]
    if webhook.signature:
        lines.append('timestamp="$(date -u +%Y-%m-%dT%H:%M:%SZ)"')
        lines.append("""signature="$(printf '%s' "$timestamp.$body" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d ' ' -f 1)\"""")
        headers += [f"{webhook.header_prefix}-Timestamp: $timestamp", f"{webhook.header_prefix}-Signature: $signature"]
    lines.append(" \\\n  ".join([f'curl -X POST "{place}"', *[f'-H "{header}"' for header in headers], '-d "$body"']))
    return {"place": place, "signed": webhook.signature, "lines": "\n".join(lines)}


def _row(call: Call) -> dict[str, object]:
    """What a template shows of a call."""
    return {
        "id": call.id,
        "envelope": call.envelope,
        "type": call.type,
        "state": call.state,
        "created": call.created,
        "changed": call.changed,
        "to": "(does not open)" if call.damaged else shown(call.to),
        "sender": shown(call.sender),
        "subject": shown(call.subject, 200),
        "link": to("calls", str(call.id)),
        "signed": bool(call.secret),
        "damaged": call.damaged,
    }

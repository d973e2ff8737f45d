"""What the overview shows, card by card. A subsystem adds one function to ``CARDS``.

A card is asked at every visit, so it must cost one small read at most. One that the store cannot answer is left out and named;
the others are shown.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from attrs import Factory, frozen
from twisted.internet.threads import deferToThreadPool

from mailx.core.alerts import UNSAFE
from mailx.core.dangers import dangers
from mailx.core.disk import Disk, disk
from mailx.core.figures import CALLS, CALLS_REFUSED, COARSE, FAILED, FINE, LOCAL, PUT_OFF, SENT
from mailx.mail.times import duration
from mailx.web.panel.charts import Kind, chart
from mailx.web.panel.links import setting, shown
from mailx.web.panel.parts import Certificate, Parts
from mailx.web.rendering import octets, plural

_ALERTS = 5  # that are shown here; the others have a page
_DAY = 86400
_FULL = 90  # per cent of the disk, unless alerts say otherwise
_SOON = 14  # days before a certificate's end, unless alerts say otherwise

# State of the queue's rows, what it means, and how it looks.
_STATES = (
    ("pending", "Waiting for the first attempt", "busy"),
    ("sending", "Being sent", "busy"),
    ("deferred", "Put off until the next attempt", "warn"),
    ("held", "Held by an administrator", "warn"),
    ("failed", "Failed", "bad"),
    ("sent", "Sent within a day", "good"),
)

FATES = (
    Kind("delivered", "Delivered", (SENT, LOCAL)),
    Kind("deferred", "Put off", (PUT_OFF,)),
    Kind("bounced", "Failed", (FAILED,)),
)
CALL_FATES = (Kind("delivered", "Taken", (CALLS,)), Kind("refused", "Refused", (CALLS_REFUSED,)))


@frozen
class Tile:
    """One number. ``kind``: "", warn or bad."""

    name: str
    figure: str
    note: str = ""
    kind: str = ""
    href: str = ""


@frozen
class Card:
    """One part of the overview: a template, what it shows, and the numbers that stand above all cards."""

    title: str
    template: str = ""  # "": tiles only
    context: Mapping[str, Any] = Factory(dict)
    tiles: tuple[Tile, ...] = ()
    wide: bool = False


async def warnings(parts: Parts) -> Card | None:
    """Settings that are unsafe, and alerts that nobody has closed."""
    unsafe = [(danger, setting(danger.key)) for danger in dangers(parts.settings.current)]
    opened = [alert for alert in await parts.alerts.open() if alert.kind != UNSAFE]
    if not unsafe and not opened:
        return None
    texts = [(shown(alert.title), shown(alert.text, 300)) for alert in opened[:_ALERTS]]
    return Card("Needs your attention", "cards/warnings.html", {"unsafe": unsafe, "alerts": texts, "count": len(opened)}, wide=True)


async def start(parts: Parts) -> Card | None:
    """What is left to do before the receiver takes calls; gone when it does."""
    settings = parts.settings.current
    webhook, smarthost = settings.webhook, settings.smarthost
    secret = bool(webhook.secret) or not webhook.signature
    if not webhook.port or (webhook.sender_domain and secret):
        return None
    steps = (
        ("Name the domain that mail of the webhook comes from.", "Sender", setting("webhook.sender_domain"), bool(webhook.sender_domain)),
        ("Make the secret that calling programs sign with.", "Secret", setting("webhook.secret"), secret),
        ("Where port 25 is closed: name the smart host that takes mail out, and test it.", "SMTP back end", "/smtp", bool(smarthost.host)),
    )
    return Card("Before programs can send", "cards/start.html", {"steps": steps}, wide=True)


async def waiting(parts: Parts) -> Card:
    """The queue, by state."""
    counts = await parts.queue.ledger.counts()
    waits = counts.get("pending", 0) + counts.get("sending", 0) + counts.get("deferred", 0)
    tile = Tile("In the queue", f"{waits:,}", f"{plural(counts.get('held', 0), 'recipient')} held", href="/queue")
    states = [(state, text, counts.get(state, 0), kind) for state, text, kind in _STATES]
    return Card("Queue", "cards/queue.html", {"states": states}, (tile,))


async def day(parts: Parts) -> Card:
    """What became of mail within 24 hours."""
    drawn = chart(await parts.figures.series(FINE, 48, of=6), FATES)
    delivered, deferred, bounced = drawn.totals
    tiles = (
        Tile("Delivered", f"{delivered:,}", "recipients within 24 hours"),
        Tile("Failed", f"{bounced:,}", f"within 24 hours; put off {plural(deferred, 'time')}", "warn" if bounced else ""),
    )
    return Card("Deliveries within 24 hours", "cards/chart.html", {"chart": drawn, "id": "day"}, tiles)


async def month(parts: Parts) -> Card:
    """What became of mail within 30 days."""
    return Card(
        "Deliveries within 30 days",
        "cards/chart.html",
        {"chart": chart(await parts.figures.series(COARSE, 30, of=24), FATES), "id": "month"},
    )


async def calls(parts: Parts) -> Card | None:
    """Webhook calls within 24 hours."""
    if not parts.settings.current.webhook.port:
        return None
    drawn = chart(await parts.figures.series(FINE, 48, of=6), CALL_FATES)
    taken, refused = drawn.totals
    tile = Tile("Webhook calls", f"{taken:,}", f"within 24 hours; {refused:,} refused", href="/calls")
    return Card("Webhook calls within 24 hours", "cards/chart.html", {"chart": drawn, "id": "calls"}, (tile,))


async def server(parts: Parts) -> Card:
    """The program, the accounts, their mail and the disk that holds it."""
    accounts, used = await parts.accounts.totals()
    reactor, settings = parts.reactor, parts.settings.current
    data = await deferToThreadPool(reactor, reactor.getThreadPool(), _disk, settings.server.data)
    tiles = [Tile("Accounts", f"{accounts:,}", f"{octets(used)} of mail", href="/accounts")]
    if data is not None:
        kind = "bad" if data.full >= (settings.alerts.disk_percent or _FULL) else ""
        tiles.append(Tile("Disk", f"{data.full} %", f"{octets(data.free)} free", kind))
    shown = {
        "hostname": settings.server.hostname,
        "running": duration(reactor.seconds() - parts.started),
        "accounts": accounts,
        "used": used,
        "disk": data,
    }
    return Card("Server", "cards/server.html", shown, tuple(tiles))


def _disk(path: str) -> Disk | None:
    try:
        return disk(path)
    except OSError:
        return None


async def certificates(parts: Parts) -> Card:
    """How long certificates hold."""
    rows = []
    for one in parts.certificates.overview():
        days, kind = days_left(parts, one)
        rows.append({"name": one.names[0] if one.names else one.subject, "days": days, "expires": one.expires, "kind": kind})
    return Card("TLS certificates", "cards/certificates.html", {"certificates": rows})


def days_left(parts: Parts, certificate: Certificate) -> tuple[int, str]:
    """The days until a certificate ends, and the kind of badge that they deserve."""
    days = int((certificate.expires - parts.reactor.seconds()) // _DAY)
    soon = parts.settings.current.alerts.certificate_days or _SOON
    return days, "bad" if days < 0 else "warn" if days < soon else "good"


Maker: TypeAlias = Callable[[Parts], Awaitable[Card | None]]

# In the order of the page.
CARDS: tuple[Maker, ...] = (warnings, start, waiting, day, month, calls, server, certificates)

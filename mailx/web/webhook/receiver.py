"""The receiver: decides about each call, and hands its mail to reception.

The order of the checks is part of what callers were promised: path and method, source, rate, secret, signature, JSON, fields,
sender policy. A call that repeats an earlier one is answered by that one's record. What is refused leaves nothing behind;
temporary trouble gets 503.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from time import time
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx import config
from mailx.core import metrics, templates
from mailx.core.calls import Call, Calls, Posted
from mailx.core.content import Threads
from mailx.core.figures import CALLS as CALLS_TAKEN
from mailx.core.figures import CALLS_REFUSED, Figures
from mailx.core.letters import AUTOMATIC, letter
from mailx.core.limits import MINUTE, Bucket
from mailx.core.settings import Settings
from mailx.core.templates import Problems, Templates
from mailx.mail.address import Address, AddressError
from mailx.mail.compose import SENDER_NAME, ComposeError
from mailx.mail.envelope import Envelope
from mailx.mail.networks import within
from mailx.mail.reply import Refused, Reply
from mailx.web.sources import caller
from mailx.web.webhook import body, openapi, schema, signature
from mailx.web.webhook.answers import Answer, Declined, Invalid
from mailx.web.webhook.rates import Rates
from mailx.web.webhook.request import Asked
from mailx.web.webhook.schema import Order

log = Logger()

CALLS, HEALTH, DESCRIPTION = "/webhook/outbound-email", "/healthz", "/openapi.json"
STATUS = CALLS + "/"

RETRY_AFTER = 30  # seconds
_LINES = 600  # refusals that the log tells of in a minute
_IN_THREAD = 65536  # octets of a body that is verified and read in a thread
_KEY = re.compile(rb"[\x21-\x7e]{1,255}\Z")
_JSON = re.compile(r"application/json\s*(?:;\s*charset=\"?utf-8\"?\s*)?;?\s*\Z", re.IGNORECASE)
_STATUS_ID = re.compile(r"[0-9]{1,18}\Z", re.ASCII)


class Reception(Protocol):
    """What the receiver needs of :class:`mailx.core.reception.Reception`."""

    async def accept(self, envelope: Envelope, *, call: Posted | None = None) -> Mapping[Address, Reply]: ...


class Suppressions(Protocol):
    """What the receiver needs of the list of addresses that nothing is sent to."""

    async def holds(self, address: Address) -> bool: ...


class Status(Protocol):
    """Tells how far a call has come: HTTP status and JSON. ``secret`` is the fingerprint that the caller has shown to know."""

    async def answer(self, id: int, secret: str) -> tuple[int, Mapping[str, Any]]: ...


@frozen
class _Read:
    """A call whose signature is good and whose fields are right."""

    order: Order
    signed: bytes | None  # the signature in octets
    key: str  # of idempotency


class Receiver:
    """Answers calls. ``wall`` gives seconds since 1970."""

    def __init__(
        self,
        settings: Settings,
        reception: Reception,
        calls: Calls,
        templates: Templates,
        suppressions: Suppressions,
        status: Status,
        figures: Figures,
        told: Callable[[], object],
        hostname: str,
        reactor: Any,
        wall: Callable[[], float] = time,
    ) -> None:
        """``told()`` is called when a call has entered whose fate is to be posted somewhere."""
        self._settings = settings
        self._reception = reception
        self._calls = calls
        self._templates = templates
        self._suppressions = suppressions
        self._status = status
        self._hostname = hostname
        self._wall = wall
        self._told = told
        self._figures = figures
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._seconds: Callable[[], float] = reactor.seconds
        self._rates = Rates(reactor.seconds)
        self._lines = Bucket(_LINES, MINUTE, _LINES, reactor.seconds())
        self.port = 0  # that calls come in by

    def door(self, asked: Asked, peer: str) -> Answer | None:
        """What refuses a call before its body is there; ``peer`` is the other end of the connection. Fills in the caller's address."""
        try:
            self._enter(asked, peer)
        except Declined as declined:
            return self._refused(asked, declined)
        return None

    def _enter(self, asked: Asked, peer: str) -> None:
        status = asked.path.startswith(STATUS)
        if asked.path != CALLS and not status:
            if asked.path not in (HEALTH, DESCRIPTION):
                raise Declined(404, "not found")
            if asked.method not in ("GET", "HEAD"):
                raise Declined(405, "method not allowed", allow="GET, HEAD")
            return
        if asked.method != ("GET" if status else "POST"):
            raise Declined(405, "method not allowed", allow="GET" if status else "POST")
        settings = self._settings.current.webhook
        asked.address = caller(peer, asked.joined("X-Forwarded-For"), settings.proxies)
        if settings.allowed and not within(asked.address, settings.allowed):
            raise Declined(403, "forbidden")
        wait = self._rates.take(asked.address, settings.per_minute)
        if wait:
            raise Declined(429, "too many requests", retry_after=wait)

    @property
    def body_size(self) -> int:
        """Octets that a body may have."""
        return self._settings.current.webhook.body_size

    def is_proxy(self, address: str) -> bool:
        """Whether many callers may come from ``address``."""
        return within(address, self._settings.current.webhook.proxies)

    def too_large(self, asked: Asked) -> Answer:
        """The answer to a body beyond ``webhook.body_size``."""
        return self._refused(asked, Declined(413, "body too large"))

    def overloaded(self, asked: Asked) -> Answer:
        """The answer to a body for which there is no memory now."""
        return self._refused(asked, _later())

    async def answer(self, asked: Asked) -> Answer:
        """The answer to a call that the door let in and whose body is whole. Never raises."""
        try:
            if asked.path == HEALTH:
                return Answer(200, {"ok": True})
            if asked.path == DESCRIPTION:
                return Answer(200, openapi.description(self._settings.current.webhook.header_prefix))
            if asked.path != CALLS:
                return await self._asked_for_status(asked)
            answer = await self._post(asked)
        except Declined as declined:
            return self._refused(asked, declined)
        except Refused as refused:
            log.warn("A call was not taken now: {reason}", event="webhook.unavailable", reason=refused.reason)
            return self._refused(asked, _later())
        except Exception:
            log.failure("A call failed", event="webhook.failed", client_ip=asked.address)
            return self._refused(asked, Declined(500, "internal error"))
        metrics.WEBHOOK_CALLS.labels("200").inc()
        self._figures.note(CALLS_TAKEN)
        return answer

    def _refused(self, asked: Asked, declined: Declined) -> Answer:
        status = declined.answer.status
        metrics.WEBHOOK_CALLS.labels(str(status)).inc()
        if asked.path == CALLS:
            self._figures.note(CALLS_REFUSED)
        now = self._seconds()
        self._lines.fill(now)
        if not self._lines.lacks(1):  # a flood of calls is no flood of lines
            self._lines.take(1)
            log.info("Call refused: {error}", event="webhook.refused", status=status, error=declined.error, client_ip=asked.address)
        return declined.answer

    async def _asked_for_status(self, asked: Asked) -> Answer:
        """How far a call has come; signed over the path in place of a body."""
        settings = self._settings.current.webhook
        self._verified(asked, settings, asked.path.encode())
        id = asked.path.removeprefix(STATUS)
        if not _STATUS_ID.match(id):
            raise Declined(404, "not found")
        secret = self._calls.fingerprint(settings.secret) if settings.signature else ""
        status, value = await self._status.answer(int(id), secret)
        return Answer(status, value)

    def _verified(self, asked: Asked, settings: config.Webhook, signed: bytes) -> bytes | None:
        """The good signature over ``signed``; None where none is demanded. Raises Declined."""
        if not settings.signature:
            return None
        if not settings.secret:
            raise Declined(503, "webhook secret not configured")
        prefix = settings.header_prefix
        names = f"{prefix}-Timestamp", f"{prefix}-Signature"
        if any(asked.doubled(name) for name in names):
            raise signature.wrong()
        timestamp, given = (asked.value(name) for name in names)
        return signature.verify(settings.secret.encode(), timestamp, given, signed, self._wall(), settings.skew)

    async def _post(self, asked: Asked) -> Answer:
        settings = self._settings.current.webhook
        read: _Read
        if len(asked.body) > _IN_THREAD:
            read = await self._threads(self._read, asked, settings)
        else:
            read = self._read(asked, settings)
        digest = self._calls.digest(asked.body)
        replay = self._calls.replay(read.signed, asked.body) if read.signed is not None else None
        key = self._calls.key(read.key) if read.key else None
        try:
            return await self._accepted(asked, read, settings, digest, replay, key)
        except Declined:
            # What stands in the way now did not when the call came first.
            earlier = await self._calls.find(replay, key) if replay or key else None
            if earlier is None:
                raise
            return _recorded(earlier, digest)

    def _read(self, asked: Asked, settings: config.Webhook) -> _Read:
        """Verify the signature, then read the call. Raises Declined. Runs in a thread when the body is large."""
        signed = self._verified(asked, settings, asked.body)
        kind = asked.value("Content-Type")
        if asked.doubled("Content-Type") or (kind is not None and not _JSON.match(kind.decode("latin-1"))):
            raise Declined(415, "unsupported media type")
        if asked.values("Content-Encoding"):
            raise Declined(415, "unsupported content encoding")
        order = schema.read(body.parse(asked.body))
        key = asked.value("Idempotency-Key")
        if asked.doubled("Idempotency-Key") or (key is not None and not _KEY.match(key)):
            raise Invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
        return _Read(order, signed, key.decode() if key else "")

    async def _accepted(
        self, asked: Asked, read: _Read, settings: config.Webhook, digest: bytes, replay: bytes | None, key: bytes | None
    ) -> Answer:
        """Hand the mail over; the answer when it is durable. Raises Declined and Unavailable."""
        order = read.order
        sender = _sender(order, settings)
        if settings.suppress and await self._suppressions.holds(order.to):
            raise Declined(422, "recipient suppressed", "to")
        now = self._wall()
        make = partial(self._message, order, settings, sender, asked.address, now)
        envelope: Envelope
        if len(asked.body) > _IN_THREAD:
            envelope = await self._threads(make)
        else:
            envelope = make()
        id = envelope.id
        host = self._calls.host_key(order.callback) if order.callback or settings.callback_url else None
        queued_at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        posted = self._calls.posted(
            id,
            type=order.type,
            to=order.given_to,
            subject=order.subject,
            sender=str(sender),
            queued_at=queued_at,
            created=int(now),
            digest=digest,
            callback=order.callback,
            host=host,
            secret=self._calls.fingerprint(settings.secret) if settings.signature else "",
            replay=replay,
            idempotency=key,
        )
        try:
            await self._reception.accept(envelope, call=posted)
        except Refused as refused:
            if refused.reply.temporary:
                raise
            raise Declined(422, f"recipient refused: {refused.reply.text}", "to") from None
        if posted.entered is None:
            raise RuntimeError("a message was accepted without its call")
        if posted.repeats:
            return _recorded(self._calls.opened(posted.entered), digest, replay is not None and posted.entered.replay == replay)
        if host is not None:
            self._told()
        log.info("Call accepted", event="webhook.accepted", call=posted.entered.id, message_id=id, type=order.type, client_ip=asked.address)
        return _success(order.given_to, order.subject, posted.entered.id, queued_at)

    def _message(self, order: Order, settings: config.Webhook, sender: Address, address: str, now: float) -> Envelope:
        """The mail that ``order`` asks for. Raises Declined."""
        subject, text, html = order.subject, order.text, order.html
        fields: tuple[tuple[str, str], ...] = ()
        if order.type != schema.MESSAGE:
            given = templates.values(
                order.type,
                settings,
                to=order.given_to,
                subject=order.subject,
                token=order.token,
                expires_at=order.expires_at,
                expires=order.expires,
                given_link=order.link,
            )
            try:
                rendered = self._templates.render(order.type, given)
            except Problems:
                log.error("A mail template cannot render a call", event="template.failed", type=order.type)
                raise Declined(503, "template cannot be rendered", retry_after=RETRY_AFTER) from None
            subject, text, html, fields = rendered.subject, rendered.text, rendered.html, AUTOMATIC
        try:
            return letter(
                self._hostname,
                address,
                self.port,
                sender,
                order.to,
                now,
                subject=subject,
                sender_name=order.name or settings.sender_name,
                reply_to=order.reply_to,
                text=text,
                html=html,
                attachments=order.attachments,
                fields=fields,
            )
        except ComposeError as error:
            if error.name == SENDER_NAME and not order.name:
                raise Declined(503, "sender not configured") from None
            raise Invalid("fromName" if error.name == SENDER_NAME else error.name, str(error)) from None


def _sender(order: Order, settings: config.Webhook) -> Address:
    """Who sends: by the settings, and by the call as far as they let it. Raises Declined."""
    if not settings.sender_domain:
        raise Declined(503, "sender domain not configured")
    local = settings.sender_local
    wanted = order.local_part
    if wanted and wanted != local:
        listed = settings.local_parts == "listed" and wanted in settings.allowed_local_parts
        if settings.local_parts != "any" and not listed:
            raise Invalid("fromLocalPart", "not allowed here", 422)
        local = wanted
    return _address(local, settings.sender_domain)


@lru_cache(maxsize=256)
def _address(local: str, domain: str) -> Address:
    """The sender; raises Declined where the settings make none."""
    try:
        return Address.parse(f"{local}@{domain}")
    except AddressError:
        raise Declined(503, "sender not configured") from None


def _success(to: str, subject: str, id: int, queued_at: str) -> Answer:
    return Answer(200, {"ok": True, "to": to, "subject": subject, "queued_id": id, "queued_at": queued_at})


def _recorded(earlier: Call, digest: bytes, same: bool = False) -> Answer:
    """What the earlier call was answered. Raises Declined if it was another one under the same idempotency key."""
    if earlier.damaged:  # it was accepted, so nothing is queued again; whether it asked for the same nobody knows any more
        raise Declined(422, "accepted before, but its record is damaged")
    if not same and earlier.digest != digest:
        raise Declined(422, "idempotency key was used with another body", "Idempotency-Key")
    return _success(earlier.to, earlier.subject, earlier.id, earlier.queued_at)


def _later() -> Declined:
    return Declined(503, "temporarily unavailable", retry_after=RETRY_AFTER)

"""What a call may say: each field with its form and limits, and the call as a value.

What no rule names is ignored. The first field with a wrong value is refused by name. No text may hold control characters but the
texts of a message, which may have lines; so nothing in a field can become another header field.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from mailx.core.urls import target
from mailx.mail import compose
from mailx.mail.address import Address, AddressError
from mailx.mail.compose import Attachment, ComposeError
from mailx.web.webhook.answers import Invalid
from mailx.web.webhook.signature import moment

VERIFICATION, RESET, MESSAGE = TYPES = ("email_verification", "password_reset", "message")

ADDRESS = 320  # characters
SUBJECT = 998
TOKEN = 4096
URL = 2000
NAME = 255
LOCAL = 64
TEXT = 1 << 20
ATTACHMENTS = 50

_LINES_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SPACE = re.compile(r"\s")
_NO_URL = re.compile(r"[\s<>\"\\^`{|}]")
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")


@frozen
class Order:
    """What a call asks for."""

    type: str  # of TYPES
    to: Address
    given_to: str  # as the caller wrote it
    subject: str
    token: str = ""
    expires_at: str = ""
    expires: float = 0.0  # seconds since 1970
    link: str = ""
    local_part: str = ""  # empty: the one of the settings
    name: str = ""
    reply_to: Address | None = None
    text: str = ""
    html: str = ""
    attachments: tuple[Attachment, ...] = ()
    callback: str = ""


def read(body: Mapping[str, Any]) -> Order:
    """The order in ``body``; raises Invalid."""
    kind = body.get("type")
    if kind not in TYPES:
        raise Invalid("type", "required" if kind is None else f"must be one of {', '.join(TYPES)}")
    given_to = _required(body, "to", ADDRESS)
    to = _address("to", given_to)
    subject = _required(body, "subject", SUBJECT)
    local = _text(body, "fromLocalPart", LOCAL)
    if local and not _LOCAL_PART.match(local):
        raise Invalid("fromLocalPart", "must be the part of an address before the @: letters, digits and signs, ASCII only")
    url = _text(body, "callbackUrl", URL)
    if url:
        try:
            target(url)
        except ValueError as error:
            raise Invalid("callbackUrl", str(error)) from None
    if kind == MESSAGE:
        return _message(body, kind, to, given_to, subject, local, url)
    token = _required(body, "token", TOKEN)
    expires_at = _required(body, "expiresAt", SUBJECT)
    expires = moment(expires_at)
    if expires is None:
        raise Invalid("expiresAt", "must be an ISO 8601 timestamp such as 2026-02-21T06:00:00Z")
    link = _link(_text(body, "link", URL))
    return Order(kind, to, given_to, subject, token, expires_at, expires, link, local, callback=url)


def _message(body: Mapping[str, Any], kind: str, to: Address, given_to: str, subject: str, local: str, url: str) -> Order:
    """An order of the type ``message``."""
    name = _text(body, "fromName", NAME)
    reply = _text(body, "replyTo", ADDRESS)
    reply_to = _address("replyTo", reply) if reply else None
    text, html = _lines(body, "text"), _lines(body, "html")
    if not text and not html:
        raise Invalid("text", "required unless there is html")
    return Order(
        kind,
        to,
        given_to,
        subject,
        local_part=local,
        name=name,
        reply_to=reply_to,
        text=text,
        html=html,
        attachments=_attachments(body),
        callback=url,
    )


def _attachments(body: Mapping[str, Any]) -> tuple[Attachment, ...]:
    value = body.get("attachments")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Invalid("attachments", "must be a list of objects")
    if len(value) > ATTACHMENTS:
        raise Invalid("attachments", f"more than {ATTACHMENTS}")
    found = tuple(_attachment(f"attachments[{index}].", each) for index, each in enumerate(value))
    ids = [each.id for each in found if each.id]
    if len(set(ids)) < len(ids):
        raise Invalid("attachments", "two have the same contentId")
    return found


def _attachment(prefix: str, value: Mapping[str, Any]) -> Attachment:
    name = _required(value, "filename", NAME, prefix)
    kind = _text(value, "contentType", compose.TYPE_LIMIT + 60, prefix) or "application/octet-stream"
    id = _text(value, "contentId", compose.ID_LIMIT, prefix)
    inline = value.get("inline", False)
    if not isinstance(inline, bool):
        raise Invalid(prefix + "inline", "must be true or false")
    content = value.get("content")
    if not isinstance(content, str):
        raise Invalid(prefix + "content", "required" if content is None else "must be a text")
    try:
        one = Attachment(name, kind, b64decode(_SPACE.sub("", content), validate=True), id, inline)
        compose.check(one)
    except (NotBase64, ValueError) as error:
        if isinstance(error, ComposeError):
            raise Invalid(prefix + error.name, str(error)) from None
        raise Invalid(prefix + "content", "must be base64") from None
    return one


def _text(body: Mapping[str, Any], name: str, limit: int, prefix: str = "") -> str:
    """The one-line text ``name``; empty when it is absent, null or empty."""
    value = body.get(name)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise Invalid(prefix + name, "must be a text")
    try:
        return compose.checked(name, value, limit)
    except ComposeError as error:
        raise Invalid(prefix + name, str(error)) from None


def _required(body: Mapping[str, Any], name: str, limit: int, prefix: str = "") -> str:
    value = _text(body, name, limit, prefix)
    if not value.strip():
        raise Invalid(prefix + name, "required")
    return value


def _lines(body: Mapping[str, Any], name: str) -> str:
    """The text ``name``, which may have lines."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid(name, "must be a text")
    if len(value) > TEXT:
        raise Invalid(name, f"longer than {TEXT} characters")
    if _LINES_CONTROL.search(value):
        raise Invalid(name, "control characters other than tabs and line ends are not allowed")
    return value


def _address(name: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise Invalid(name, f"must be one mail address: {error}") from None


def _link(text: str) -> str:
    """A link that a mail program may follow: http or https with a host."""
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not _NO_URL.search(text)
    except ValueError:
        good = False
    if not good:
        raise Invalid("link", "must be an http or https URL")
    return text

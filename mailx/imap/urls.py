"""IMAP URLs of messages and of their parts (RFC 5092), with what authorizes others to fetch them (RFC 4467). Pure.

Mailbox names in URLs are UTF-8, percent-encoded. Whatever is no URL of a message reads as None.
"""

import re
from datetime import datetime
from urllib.parse import unquote_to_bytes

from attrs import frozen

URL_LIMIT = 8192  # octets
_LARGEST = 0xFFFFFFFF

_URL = re.compile(
    rb"""
    (?P<rump>
        (?:imap://(?P<server>[^/?\#;]*(?:;AUTH=[^/?\#;@]*)?(?:@[^/?\#;@]*)?)(?=/))?
        (?:(?P<root>/)?(?P<mailbox>[^;?\#]*?)(?:;UIDVALIDITY=(?P<uidvalidity>[1-9][0-9]{0,9}))?/)?
        ;UID=(?P<uid>[1-9][0-9]{0,9})
        (?:/;SECTION=(?P<section>[^;?\#]+?))?
        (?:/;PARTIAL=(?P<offset>[0-9]{1,19})(?:\.(?P<count>[1-9][0-9]{0,18}))?)?
        (?:(?:;EXPIRE=(?P<expire>[0-9A-Za-z:.+-]{1,40}))?;URLAUTH=(?P<access>[^:;/?\#]+))?
    )
    (?::(?P<mechanism>[A-Za-z0-9.-]+):(?P<token>[0-9A-Fa-f]+))?
    """,
    re.IGNORECASE | re.VERBOSE,
)


@frozen
class MessageURL:
    """One message, or octets of it."""

    rump: bytes  # what a token authorizes: the URL without mechanism and token
    server: str | None  # host, port dropped; None: a relative URL
    user: str | None
    mailbox: str  # "" : the selected one
    uidvalidity: int | None
    uid: int
    section: bytes  # as in BODY[...]; b"" is the whole message
    offset: int = 0
    count: int | None = None
    expires: float | None = None  # seconds since 1970
    access: str = ""  # "" : no URLAUTH
    mechanism: bytes = b""
    token: bytes = b""


def parse(url: bytes) -> MessageURL | None:
    """What ``url`` names."""
    match = _URL.fullmatch(url) if len(url) <= URL_LIMIT else None
    if match is None or not url.isascii():
        return None
    try:
        mailbox = unquote_to_bytes(match["mailbox"] or b"").decode("utf-8")
        expires = None if match["expire"] is None else _moment(match["expire"].decode("ascii"))
        server, user = _server(match["server"])
        access = unquote_to_bytes(match["access"] or b"").decode("utf-8")
    except ValueError:
        return None
    uid, uidvalidity = int(match["uid"]), None if match["uidvalidity"] is None else int(match["uidvalidity"])
    section = unquote_to_bytes(match["section"] or b"")
    if uid > _LARGEST or uidvalidity is not None and uidvalidity > _LARGEST or b"\r" in section or b"\n" in section:
        return None
    if match["mechanism"] is not None and not access or (server is not None and not mailbox) or "\0" in mailbox:
        return None
    if server is None and "://" in mailbox:  # another scheme
        return None
    return MessageURL(
        match["rump"],
        server,
        user,
        mailbox,
        uidvalidity,
        uid,
        section,
        int(match["offset"] or 0),
        None if match["count"] is None else int(match["count"]),
        expires,
        access.lower(),
        (match["mechanism"] or b"").upper(),
        (match["token"] or b"").lower(),
    )


def _server(octets: bytes | None) -> tuple[str | None, str | None]:
    """Host and user of ``user;AUTH=...@host:port``; raises ValueError."""
    if octets is None:
        return None, None
    user, at, host = octets.rpartition(b"@")
    name = unquote_to_bytes(re.sub(rb"(?i);AUTH=.*", b"", user)).decode("utf-8")
    host = re.sub(rb":[0-9]*\Z", b"", host)
    if not host:
        raise ValueError("no host")
    return unquote_to_bytes(host).decode("utf-8").lower(), name if at and name else None


def _moment(text: str) -> float:
    """The seconds since 1970 of a date and time with its zone (RFC 3339); raises ValueError."""
    moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    if moment.tzinfo is None or "T" not in text.upper():
        raise ValueError("no zone")
    return moment.timestamp()

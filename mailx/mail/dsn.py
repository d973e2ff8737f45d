"""Delivery status notifications: what became of a message, for people and for programs (RFC 3461, 3464, 6522, 6533).

Pure rendering: who is told what is decided elsewhere. The answer is a whole message with CRLF line ends, whose own
header is always ASCII but for a recipient that is not. Everything from outside (remote texts, the original's header, ORCPT,
ENVID) is hostile: it becomes printable text of bounded length, or is left out, and can neither begin a field nor end a part.
"""

import re
from binascii import b2a_qp
from hashlib import blake2b
from textwrap import wrap

from attrs import frozen

from mailx.mail import header
from mailx.mail.address import Address
from mailx.mail.advice import advice
from mailx.mail.times import date_field

FAILED, DELAYED, DELIVERED, RELAYED, EXPANDED = ACTIONS = ("failed", "delayed", "delivered", "relayed", "expanded")

HEADER_LIMIT = 65536  # octets of the original's header that are returned
FULL_LIMIT = 1 << 20  # octets of the original that are returned whole

_COLUMNS = 76
_LINE = 998  # octets of a line without its CRLF, RFC 5322 2.1.1
_TEXT_LIMIT = 900  # characters of a remote server's text
_WORD_LIMIT = 200  # characters of a word that is told to people
_SUBJECT_LIMIT = 200
_TOKEN_LIMIT = 500  # characters of ORCPT (RFC 3461 4.2), ENVID, a host's name
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z", re.ASCII)
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,500}>")
_SAFE = re.compile(rb"[\t\r\n\x20-\x7e]*\Z")
_BLANK = re.compile(r" (?=\S)")
_QCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")  # RFC 6533 3: what a utf-8-addr-xtext must write as \x{HEX}


@frozen
class Outcome:
    """What became of one recipient."""

    recipient: str  # the address as the sender knows it
    action: str  # one of ACTIONS
    status: str  # RFC 3463, "5.1.1"
    original: str = ""  # ORCPT, decoded: "rfc822;someone@example.org"
    remote: str = ""  # name of the server that said so; empty: this one
    diagnostic: str = ""  # what was said: "550 5.1.1 No such user"
    attempted: int | None = None  # when it was last tried, seconds since 1970
    retry_until: int | None = None


@frozen
class Notice:
    """One notification to be rendered. Times are seconds since 1970."""

    hostname: str
    to: Address
    message_id: str  # of the notification, without angle brackets
    boundary: str  # random
    now: int
    log_id: str  # by which this server knows the original
    outcomes: tuple[Outcome, ...]
    content: bytes  # the original or its beginning, without what this server put before it
    full: bool = False  # ``content`` is the whole original and is to be returned
    arrived: int | None = None
    envelope_id: str = ""  # ENVID, decoded
    utf8: bool = False  # the original came by SMTPUTF8


def render(notice: Notice) -> bytes:
    """The notification as a message."""
    content = notice.content
    whole = notice.full and len(content) <= FULL_LIMIT and _fits(content)
    machine, kind = _machine(notice)
    parts = [_part("text/plain; charset=utf-8", _text(notice, whole)), _part(kind, machine), _returned(notice, whole)]
    boundary = notice.boundary
    while any(boundary.encode() in part for part in parts):
        boundary = blake2b(boundary.encode(), digest_size=16).hexdigest()
    opening = f"--{boundary}\r\n".encode()
    body = b"".join([opening + part + b"\r\n" for part in parts])
    head = _head(notice, boundary)
    if not body.isascii():
        head += b"Content-Transfer-Encoding: 8bit\r\n"
    return head + b"\r\n" + body + f"--{boundary}--\r\n".encode()


def status(enhanced: str, code: int) -> str:
    """``enhanced`` if it is a status of RFC 3463, otherwise the general one of the reply ``code``."""
    return enhanced if _STATUS.match(enhanced) else f"{code // 100 if code // 100 in (2, 4, 5) else 5}.0.0"


def printable(text: str, limit: int = _TEXT_LIMIT, ascii_only: bool = False) -> str:
    """``text`` on one line, without anything that is no letter, digit, sign or single blank."""
    kept = [char if char.isprintable() and (char.isascii() or not ascii_only) else "?" for char in " ".join(text[: 4 * limit].split())]
    return "".join(kept)[:limit]


def _head(notice: Notice, boundary: str) -> bytes:
    to = str(notice.to)
    lines = [
        f"Date: {date_field(notice.now)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{notice.hostname}>",
        f"To: {f'<{to}>' if to.isprintable() else 'undisclosed-recipients:;'}",
        f"Subject: {_subject(notice)}",
        f"Message-ID: <{notice.message_id}>",
    ]
    found = _MESSAGE_ID.fullmatch(header.unfold(_fields(notice.content).get(b"message-id", b"")))
    if found is not None:
        lines += [f"In-Reply-To: {found[0].decode()}", f"References: {found[0].decode()}"]
    lines += [
        "Auto-Submitted: auto-replied",  # RFC 3834 5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    return "".join([f"{line}\r\n" for line in lines]).encode()


def _subject(notice: Notice) -> str:
    actions = {outcome.action for outcome in notice.outcomes}
    if FAILED in actions:
        return "Your message could not be delivered"
    if DELAYED in actions:
        return "Your message is delayed"
    return "Your message was delivered" if DELIVERED in actions else "Your message was passed on"


# What people read.

_INTRODUCTIONS = {
    FAILED: "could not be delivered to these recipients, and will not be tried again:",
    DELAYED: "has not been delivered yet to these recipients; this server goes on trying, and you need not send it again:",
    DELIVERED: "was delivered to these recipients:",
    RELAYED: "was passed on to servers that do not confirm delivery, for these recipients:",
    EXPANDED: "was accepted for these addresses, which pass it on to others:",
}


def _text(notice: Notice, whole: bool) -> bytes:
    subject = printable(header.decode(_fields(notice.content).get(b"subject", b"")[: 4 * _SUBJECT_LIMIT]), _SUBJECT_LIMIT).strip()
    message = f'your message "{subject}"' if subject else "your message"
    when = f" of {date_field(notice.arrived)}" if notice.arrived is not None else ""
    paragraphs = [f"This is the mail server {notice.hostname}."]
    for action in ACTIONS:
        outcomes = [outcome for outcome in notice.outcomes if outcome.action == action]
        if outcomes:
            opening = f"{message}{when} {_INTRODUCTIONS[action]}"
            paragraphs.append(_wrapped(opening[:1].upper() + opening[1:]))
            paragraphs += [_told(outcome) for outcome in outcomes]
    what = "Your whole message is" if whole else "The header of your message is"
    paragraphs.append(
        _wrapped(f"{what} attached. If you ask the administrator of {notice.hostname} about it, name the id {notice.log_id}.")
    )
    return "\r\n\r\n".join(paragraphs).encode(errors="replace") + b"\r\n"


def _told(outcome: Outcome) -> str:
    lines = [f"  {printable(outcome.recipient)}"]
    if outcome.action == FAILED:
        explained = advice(outcome.status)
        lines += [_wrapped(explained.meaning, "    "), _wrapped(explained.remedy, "    ")]
    said = printable(outcome.diagnostic)
    if said and outcome.action in (FAILED, DELAYED):
        who = f"The server {printable(outcome.remote, _TOKEN_LIMIT)}" if outcome.remote else "This server"
        lines += [_wrapped(f"{who} said:", "    "), _wrapped(said, "      ")]
    if outcome.action == DELAYED and outcome.retry_until is not None:
        lines.append(_wrapped(f"It is tried until {date_field(outcome.retry_until)}; then you will be told.", "    "))
    return "\r\n".join(lines)


def _wrapped(text: str, indent: str = "") -> str:
    words = [word[start : start + _WORD_LIMIT] for word in text.split() for start in range(0, len(word), _WORD_LIMIT)]
    return "\r\n".join(
        wrap(" ".join(words), 72, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    )


# What programs read.


def _machine(notice: Notice) -> tuple[bytes, str]:
    """The content of the second part, and its type."""
    utf8 = not all(outcome.recipient.isascii() and outcome.original.isascii() for outcome in notice.outcomes)
    fields = [_field("Reporting-MTA", f"dns; {notice.hostname}")]
    if _is_token(notice.envelope_id, ascii_only=not utf8):
        fields.insert(0, _field("Original-Envelope-Id", notice.envelope_id))
    if notice.arrived is not None:
        fields.append(_field("Arrival-Date", date_field(notice.arrived)))
    groups = ["".join(fields), *["".join(_recipient(outcome, notice.log_id, utf8)) for outcome in notice.outcomes]]
    return "\r\n".join(groups).encode(errors="replace"), "message/global-delivery-status" if utf8 else "message/delivery-status"


def _recipient(outcome: Outcome, log_id: str, utf8: bool) -> list[str]:
    """The fields of one recipient (RFC 3464 2.3)."""
    fields = []
    kind, _, address = outcome.original.partition(";")
    kind, address = kind.strip(), address.strip()
    if _is_token(kind, ascii_only=True) and _is_token(address, ascii_only=not utf8):
        fields.append(_field("Original-Recipient", f"{kind}; {address}"))
    fields.append(_field("Final-Recipient", _typed(outcome.recipient, utf8)))
    fields.append(_field("Action", outcome.action))
    fields.append(_field("Status", outcome.status))
    if _is_token(outcome.remote, ascii_only=not utf8):
        fields.append(_field("Remote-MTA", f"dns; {outcome.remote}"))
    said = printable(outcome.diagnostic, ascii_only=not utf8)
    if said:
        fields.append(_field("Diagnostic-Code", f"{'smtp' if outcome.remote else 'x-mailx'}; {said}"))
    if outcome.attempted is not None:
        fields.append(_field("Last-Attempt-Date", date_field(outcome.attempted)))
    fields.append(_field("Final-Log-ID", log_id))
    if outcome.action == DELAYED and outcome.retry_until is not None:
        fields.append(_field("Will-Retry-Until", date_field(outcome.retry_until)))
    return fields


def _typed(address: str, utf8: bool) -> str:
    """An address with its type (RFC 3464 2.1.2, RFC 6533 3)."""
    if address.isascii() and address.isprintable():
        return f"rfc822; {address}"
    if utf8 and address.isprintable():
        return f"utf-8; {address}"
    return "utf-8; " + _QCHAR.sub(_escaped, address)[:_TEXT_LIMIT]


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{{{ord(match[0]):X}}}"


def _is_token(text: str, ascii_only: bool) -> bool:
    """Whether ``text`` can stand in a field as it is."""
    return 0 < len(text) <= _TOKEN_LIMIT and text.isprintable() and text.isascii() >= ascii_only


def _field(name: str, value: str) -> str:
    """``name: value``, folded at blanks; ``value`` is printable."""
    lines: list[str] = []
    line = f"{name}:"
    for number, word in enumerate(_BLANK.split(value.strip())):
        if number and len(line) + 1 + len(word) > _COLUMNS:
            lines.append(line)
            line = ""
        line += f" {word}"
    lines.append(line)
    return "\r\n".join(lines) + "\r\n"


# What is returned of the original.


def _returned(notice: Notice, whole: bool) -> bytes:
    content = notice.content
    if whole:
        kind = "message/global" if notice.utf8 else "message/rfc822"
        eight_bit = not content.isascii()
        return _entity(kind, "8bit" if eight_bit else "7bit", content if content.endswith(b"\r\n") else content + b"\r\n")
    return _part("message/global-headers" if notice.utf8 else "text/rfc822-headers", _block(content))


def _block(content: bytes) -> bytes:
    """The header of ``content``, at most HEADER_LIMIT octets of it, ending with a whole line."""
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n")
    block = content[:HEADER_LIMIT] if end < 0 else content[: min(end + 2, HEADER_LIMIT)] if end else b""
    if not block.endswith(b"\r\n"):
        whole = block.rfind(b"\r\n")
        block = block[: whole + 2] if whole >= 0 else block + b"\r\n"
    return block


def _fits(content: bytes) -> bool:
    """Whether ``content`` can travel unencoded as 8bit (RFC 2045 2.8)."""
    bare = content.count(b"\r") != content.count(b"\r\n") or content.count(b"\n") != content.count(b"\r\n")
    return not bare and b"\0" not in content and max(map(len, content.split(b"\r\n")), default=0) <= _LINE


def _part(kind: str, content: bytes) -> bytes:
    """A body part in 7 bits, quoted-printable if it must be."""
    if _SAFE.match(content) and _fits(content):
        return _entity(kind, "7bit", content)
    quoted = [b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in content.split(b"\r\n")]
    return _entity(kind, "quoted-printable", b"\r\n".join(quoted))


def _entity(kind: str, encoding: str, content: bytes) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + content


def _fields(content: bytes) -> dict[bytes, bytes]:
    block = _block(content)
    return header.first(header.split(block, 0, len(block)))

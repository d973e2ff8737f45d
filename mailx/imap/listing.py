"""LIST with its extensions, LSUB, STATUS and NAMESPACE (RFC 9051 6.3.9-6.3.11, RFC 5258, RFC 5819, RFC 6154, RFC 2342)."""

import re
from collections.abc import Sequence

from mailx.imap import text
from mailx.imap.arrival import Command
from mailx.imap.commands import Listing, Status
from mailx.imap.session import Session
from mailx.mail.mailbox import DELIMITER, Mailbox


def matcher(reference: str, patterns: Sequence[str]) -> re.Pattern[str]:
    """What the names match that ``reference`` and ``patterns`` ask for: ``*`` anything, ``%`` anything in one level.

    Runs of wildcards become one, so that no pattern takes long to match.
    """
    return re.compile("|".join(_expression(reference + pattern) for pattern in patterns) + r"\Z")


def _expression(pattern: str) -> str:
    pattern = re.sub(r"[*%]*\*[*%]*", "*", re.sub("%+", "%", pattern))
    head, delimiter, rest = pattern.partition(DELIMITER)
    inbox = head.upper() == "INBOX"
    if inbox:
        pattern = "INBOX" + delimiter + rest
    pieces = [{"*": ".*", "%": f"[^{DELIMITER}]*"}.get(piece, re.escape(piece)) for piece in re.split(r"([*%])", pattern) if piece]
    return "(?:" + "".join(pieces) + r")\Z"


async def listing(session: Session, command: Command, asked: Listing) -> None:
    if asked.patterns == ("",):
        # RFC 9051 6.3.9: an empty name asks for the delimiter
        session.peer.write(b'* LIST (\\Noselect) "%b" ""\r\n' % DELIMITER.encode("ascii"))
        return
    mailboxes = await session.services.mailboxes.list(session.owner())
    subscribed = await session.services.mailboxes.subscriptions(session.owner()) if asked.subscribed else []
    lines = []
    for name, mailbox, attributes in _entries(asked, mailboxes, subscribed):
        lines.append(_line(b"LIST", attributes, name))
        if asked.status and mailbox is not None:
            lines.append(await _status(session, mailbox, asked.status))
    session.peer.write(b"".join(lines))


Entry = tuple[str, Mailbox | None, list[str]]


def _entries(asked: Listing, mailboxes: Sequence[Mailbox], subscribed: Sequence[str]) -> list[Entry]:
    """The names to list with their attributes, in order."""
    known = {mailbox.name: mailbox for mailbox in mailboxes}
    chosen = set(subscribed) if asked.subscribed else set(known)
    if asked.special_use:
        chosen = {name for name in chosen if name in known and known[name].special_use}
    parents = {parent for name in known for parent in _above(name)}
    matches = matcher(asked.reference, asked.patterns).match
    above = {parent for name in chosen for parent in _above(name)} if asked.recursive else set()
    names = list(known) + [name for name in subscribed if name not in known] + sorted(above - set(known))
    entries = []
    for name in dict.fromkeys(names):
        if name not in chosen and name not in above or not matches(name):
            continue
        mailbox = known.get(name)
        attributes = [] if mailbox is not None else ["\\NonExistent"]
        if asked.children and mailbox is not None:
            attributes.append("\\HasChildren" if name in parents else "\\HasNoChildren")
        if asked.show_subscribed and (name in subscribed or mailbox is not None and mailbox.subscribed):
            attributes.append("\\Subscribed")
        if mailbox is not None and mailbox.special_use:
            attributes.append(mailbox.special_use)
        entries.append((name, mailbox, attributes))
    return entries


def _above(name: str) -> list[str]:
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]


def _line(word: bytes, attributes: Sequence[str], name: str) -> bytes:
    return b'* %b (%b) "%b" %b\r\n' % (word, text.names(attributes), DELIMITER.encode("ascii"), text.mailbox(name))


async def lsub(session: Session, command: Command, asked: Listing) -> None:
    """LSUB (RFC 3501 6.3.9): with ``%``, a parent whose children are subscribed stands for them as \\Noselect."""
    names = await session.services.mailboxes.subscriptions(session.owner())
    matches = matcher(asked.reference, asked.patterns).match
    found: dict[str, tuple[str, ...]] = {name: () for name in names if matches(name)}
    if asked.patterns[0].endswith("%"):
        for name in names:
            for parent in _above(name):
                if matches(parent):
                    found.setdefault(parent, ("\\Noselect",))
    session.peer.write(b"".join(_line(b"LSUB", attributes, name) for name, attributes in found.items()))


async def status(session: Session, command: Command, asked: Status) -> None:
    mailbox = await session.services.mailboxes.status(session.owner(), asked.mailbox)
    session.peer.write(await _status(session, mailbox, asked.items))


async def _status(session: Session, mailbox: Mailbox, items: Sequence[bytes]) -> bytes:
    if b"HIGHESTMODSEQ" in items:
        session.condstore = True  # RFC 7162 3.1
    values = {
        b"MESSAGES": mailbox.messages,
        b"UIDNEXT": mailbox.uidnext,
        b"UIDVALIDITY": mailbox.uidvalidity,
        b"UNSEEN": mailbox.unseen,
        b"DELETED": mailbox.deleted,
        b"SIZE": mailbox.size,
        b"HIGHESTMODSEQ": mailbox.modseq,
        b"APPENDLIMIT": session.services.settings.append_size,
    }
    if b"RECENT" in items:
        values[b"RECENT"] = await session.services.mailboxes.recent(mailbox)
    pairs = b" ".join(b"%b %d" % (item, values[item]) for item in items)
    return b"* STATUS %b (%b)\r\n" % (text.mailbox(mailbox.name), pairs)


async def namespace(session: Session, command: Command, _: None) -> None:
    """One personal namespace, no others' and no shared one."""
    session.peer.write(b'* NAMESPACE (("" "%b")) NIL NIL\r\n' % DELIMITER.encode("ascii"))

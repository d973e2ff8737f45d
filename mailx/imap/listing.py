"""LIST with its extensions, LSUB, STATUS and NAMESPACE (RFC 9051 6.3.9-6.3.11, RFC 5258, RFC 5819, RFC 6154, RFC 2342),
RFC 8440 and RFC 9590."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from mailx.imap import metadata, text
from mailx.imap.acl import rights_line
from mailx.imap.answers import Bad
from mailx.imap.arrival import Command
from mailx.imap.commands import Listing, Status
from mailx.imap.session import Session
from mailx.mail.mailbox import DELIMITER, Flag, Mailbox
from mailx.mail.names import order
from mailx.mail.rights import OTHERS

_DELETED = int(Flag.DELETED)
WILDCARDS_LIMIT = 64  # in one pattern
_SLICE = 100  # names matched in one go
_REMEMBERED = 30  # mailboxes of a list whose lines are kept for when the client asks again


@lru_cache(64)
def matcher(reference: str, patterns: tuple[str, ...]) -> re.Pattern[str]:
    """What matches the names that ``reference`` and ``patterns`` ask for: ``*`` anything, ``%`` anything in one level.

    Raises Bad for a pattern with too many wildcards.
    """
    return re.compile("|".join(_expression(reference + pattern) for pattern in patterns), re.DOTALL)


def _expression(pattern: str) -> str:
    """Each wildcard takes as little as it can and never tries again (atomic groups), so no pattern takes long.

    That finds every match: what a later wildcard must take, it can, unless a ``*`` comes before it, and that one does
    try again.
    """
    pattern = re.sub(r"[*%]*\*[*%]*", "*", re.sub("%+", "%", pattern))
    head, delimiter, rest = pattern.partition(DELIMITER)
    if head.upper() == "INBOX":
        pattern = "INBOX" + delimiter + rest
    pieces = re.split(r"([*%])", pattern)
    if len(pieces) > 2 * WILDCARDS_LIMIT:
        raise Bad(b"Too many wildcards", b"LIMIT")
    texts = [re.escape(piece) for piece in pieces[::2]]
    texts[-1] += r"\Z"
    expression, closing = texts[0], ""
    for wildcard, following in zip(pieces[1::2], texts[1:], strict=True):
        if wildcard == "%":
            expression += f"(?>[^{DELIMITER}]*?{following})"
        else:
            expression += f"{closing}(?>.*?{following}"
            closing = ")"
    return f"(?:{expression}{closing})"


async def listing(session: Session, command: Command, asked: Listing) -> None:
    if asked.patterns == ("",):
        # RFC 9051 6.3.9: an empty name asks for the delimiter
        session.peer.write(b'* LIST (\\Noselect) "%b" ""\r\n' % DELIMITER.encode("ascii"))
        return
    mailboxes = await session.services.mailboxes.list(session.owner())
    mailboxes += await session.services.mailboxes.sharing.list(session.owner())
    plain = not (asked.subscribed or asked.status or asked.my_rights or asked.metadata)
    told = session.listed
    if plain and told is not None and told[0] is asked and told[1] == session.utf8 and told[2] == mailboxes:
        session.peer.write(told[3])
        return
    subscribed = await session.services.mailboxes.subscriptions(session.owner()) if asked.subscribed else []
    catalogue = Catalogue(asked, mailboxes, subscribed)
    answers = []
    for names in catalogue.slices():
        lines = []
        for name in names:
            lines.append(_line(b"LIST", catalogue.attributes(name), session.name(name), catalogue.child_info(name)))
            mailbox = catalogue.known.get(name)
            if mailbox is not None:
                await _add(session, asked, mailbox, lines)
        answers.append(b"".join(lines))
        session.peer.write(answers[-1])
        await session.peer.ready()
    few = plain and len(mailboxes) <= _REMEMBERED and len(answers) == 1
    session.listed = (asked, session.utf8, mailboxes, answers[0]) if few else None


async def _add(session: Session, asked: Listing, mailbox: Mailbox, lines: list[bytes]) -> None:
    """What RETURN wants besides the attributes; of what the client may not read there is no STATUS (RFC 5819 2)."""
    if asked.status and "r" in mailbox.rights:
        lines.append(await _status(session, mailbox, asked.status))
    if asked.my_rights:
        lines.append(rights_line(session, mailbox.name, mailbox.rights))
    if asked.metadata:
        lines.append(await metadata.listed(session, mailbox, asked.metadata))


class Catalogue:
    """The names that a LIST may answer with, in order, and what is said of each (RFC 5258 3)."""

    def __init__(self, asked: Listing, mailboxes: Sequence[Mailbox], subscribed: Sequence[str]) -> None:
        self.known = {mailbox.name: mailbox for mailbox in mailboxes}
        self._asked = asked
        self._subscribed = frozenset(subscribed)
        self._parents = {parent for name in self.known for parent in _above(name)}
        self._matches = matcher(asked.reference, asked.patterns).match
        chosen = dict.fromkeys(subscribed if asked.subscribed else self.known)
        if asked.special_use:
            chosen = {name: None for name in chosen if name in self.known and self.known[name].special_use}
        elif not asked.subscribed and any(pattern.endswith("%") for pattern in asked.patterns):
            # A level of the hierarchy that is no mailbox is listed for what lies under it (RFC 9051 6.3.9).
            chosen.update(dict.fromkeys(sorted(self._parents - self.known.keys())))
        self._above = {parent for name in chosen for parent in _above(name)} if asked.recursive else set()
        # A parent that is not chosen stands for children that are, unless all of these are listed themselves.
        for_others = {parent for name in chosen if not self._matches(name) for parent in _above(name)} if asked.recursive else set()
        listed = chosen.keys() | for_others
        if listed <= self.known.keys():
            self._names = [name for name in self.known if name in listed]
        else:
            self._names = sorted(listed, key=order)

    def slices(self) -> Iterator[list[str]]:
        """The names that match, in portions that take a short time."""
        for start in range(0, len(self._names), _SLICE):
            yield [name for name in self._names[start : start + _SLICE] if self._matches(name)]

    def attributes(self, name: str) -> tuple[str, ...]:
        asked, mailbox = self._asked, self.known.get(name)
        if mailbox is None:
            attributes = ["\\NonExistent"] if asked.extended else ["\\NonExistent", "\\Noselect"]
            if name in self._parents and asked.children:
                attributes.append("\\HasChildren")
        else:
            attributes = [("\\HasChildren" if name in self._parents else "\\HasNoChildren")] if asked.children else []
        if asked.show_subscribed and (name in self._subscribed or mailbox is not None and mailbox.subscribed):
            attributes.append("\\Subscribed")
        if mailbox is not None and mailbox.special_use:
            attributes.append(mailbox.special_use)
        return tuple(attributes)

    def child_info(self, name: str) -> bytes:
        """What RECURSIVEMATCH says of a name whose children match the selection (RFC 5258 4)."""
        if not self._above or name not in self._above:
            return b""
        options = [
            word for word, asked in ((b'"SUBSCRIBED"', self._asked.subscribed), (b'"SPECIAL-USE"', self._asked.special_use)) if asked
        ]
        return b' ("CHILDINFO" (%b))' % b" ".join(options)


def _above(name: str) -> Sequence[str]:
    if DELIMITER not in name:
        return ()
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]


@lru_cache(4096)
def _line(word: bytes, attributes: tuple[str, ...], name: bytes, extended: bytes = b"") -> bytes:
    return b'* %b (%b) "%b" %b%b\r\n' % (word, text.names(attributes), DELIMITER.encode("ascii"), name, extended)


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
    session.peer.write(b"".join(_line(b"LSUB", attributes, session.name(name)) for name, attributes in found.items()))


async def status(session: Session, command: Command, asked: Status) -> None:
    mailbox = await session.services.mailboxes.status(session.owner(), asked.mailbox)
    session.peer.write(await _status(session, mailbox, asked.items))


_OF_MAILBOX = frozenset((b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"DELETED", b"SIZE", b"MAILBOXID"))  # told by it alone


async def _status(session: Session, mailbox: Mailbox, items: Sequence[bytes]) -> bytes:
    if b"HIGHESTMODSEQ" in items:
        session.learn_modseqs()
    told = session.told_status
    if told is not None and told[0] is mailbox and told[1] is items and told[2] == session.utf8:
        return told[3]
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
    if b"DELETED-STORAGE" in items:
        values[b"DELETED-STORAGE"] = await _deleted_storage(session, mailbox)
    ids = {b"MAILBOXID": b"MAILBOXID (%b)" % session.mailbox_id(mailbox)} if b"MAILBOXID" in items else {}
    pairs = b" ".join(ids[item] if item in ids else b"%b %d" % (item, values[item]) for item in items)
    line = b"* STATUS %b (%b)\r\n" % (session.name(mailbox.name), pairs)
    if _OF_MAILBOX.issuperset(items):
        session.told_status = mailbox, items, session.utf8, line
    return line


async def _deleted_storage(session: Session, mailbox: Mailbox) -> int:
    """Octets that an EXPUNGE would free (RFC 9208 4.1.4)."""
    if not mailbox.deleted:
        return 0
    view = await session.services.mailboxes.select(session.owner(), mailbox.name, True)
    try:
        return sum(size for size, flags in zip(view.sizes, view.flags, strict=True) if flags & _DELETED)
    finally:
        view.close()


async def namespace(session: Session, command: Command, _: None) -> None:
    """One personal namespace, that of other people, and no shared one."""
    delimiter = DELIMITER.encode("ascii")
    session.peer.write(b'* NAMESPACE (("" "%b")) (("%b%b" "%b")) NIL\r\n' % (delimiter, OTHERS.encode("ascii"), delimiter, delimiter))

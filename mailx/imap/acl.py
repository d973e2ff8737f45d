"""Rights to mailboxes: SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314).

Who may not look a mailbox up hears of it what is said of one that does not exist.
"""

from attrs import frozen

from mailx.core.sharing import ALL, RightsError
from mailx.imap import text
from mailx.imap.answers import Bad
from mailx.imap.arrival import Command
from mailx.imap.session import Session
from mailx.imap.tokens import Tokens
from mailx.mail.rights import ORDER, shown

_OBSOLETE = ("c", "d")  # offered to clients of RFC 2086


@frozen
class Line:
    """One identifier of a mailbox's list, and the rights to give it."""

    mailbox: str
    identifier: str
    rights: str = ""


def set_line(tokens: Tokens) -> Line:
    line = _line(tokens)
    tokens.space()
    rights = tokens.astring()
    tokens.end()
    return Line(line.mailbox, line.identifier, _text(rights))


def line(tokens: Tokens) -> Line:
    found = _line(tokens)
    tokens.end()
    return found


def _line(tokens: Tokens) -> Line:
    tokens.space()
    name = tokens.mailbox()
    tokens.space()
    return Line(name, _text(tokens.astring()))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Bad(b"Not UTF-8") from None


async def set_acl(session: Session, command: Command, asked: Line) -> None:
    try:
        await session.services.mailboxes.sharing.grant(session.owner(), asked.mailbox, asked.identifier, asked.rights)
    except RightsError:
        raise Bad(b"Unknown right") from None


async def delete_acl(session: Session, command: Command, asked: Line) -> None:
    await session.services.mailboxes.sharing.withdraw(session.owner(), asked.mailbox, asked.identifier)


async def get_acl(session: Session, command: Command, name: str) -> None:
    mailbox, grants = await session.services.mailboxes.sharing.grants(session.owner(), name)
    parts = [b"* ACL " + session.name(mailbox.name)]
    for grant in grants:
        identifier = text.astring(("-" * grant.negative + grant.who).encode())
        parts.append(b"%b %b" % (identifier, shown(grant.rights).encode("ascii")))
    session.peer.write(b" ".join(parts) + b"\r\n")


async def list_rights(session: Session, command: Command, asked: Line) -> None:
    mailbox, owner = await session.services.mailboxes.sharing.grantable(session.owner(), asked.mailbox, asked.identifier)
    if owner:
        rights = shown(ALL).encode("ascii")
    else:
        rights = b" ".join([b'""', *[letter.encode("ascii") for letter in (*ORDER, *_OBSOLETE)]])
    identifier = text.astring(asked.identifier.encode())
    session.peer.write(b"* LISTRIGHTS %b %b %b\r\n" % (session.name(mailbox.name), identifier, rights))


async def my_rights(session: Session, command: Command, name: str) -> None:
    mailbox = await session.services.mailboxes.sharing.mine(session.owner(), name)
    session.peer.write(rights_line(session, mailbox.name, mailbox.rights))


def rights_line(session: Session, name: str, rights: frozenset[str]) -> bytes:
    """The MYRIGHTS response, as LIST can return it too (RFC 8440)."""
    return b"* MYRIGHTS %b %b\r\n" % (session.name(name), shown(rights).encode("ascii"))

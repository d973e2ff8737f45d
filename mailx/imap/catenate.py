"""What the URLs of CATENATE name (RFC 4469): messages and parts of messages that the client may read anyway.

A URL that names nothing is refused with BADURL; what it names is read in pieces.
"""

from collections.abc import AsyncIterator

from mailx.core.fetch import Blob, Need, Row
from mailx.core.selected import Selected
from mailx.imap import fetch_grammar, sections, urls
from mailx.imap.answers import Bad, No
from mailx.imap.commands import Section
from mailx.imap.session import Session
from mailx.imap.tokens import Tokens
from mailx.imap.urls import MessageURL
from mailx.mail.names import MailboxError

PIECE = 262144  # octets read at a time
_ECHOED = 1000


async def octets(session: Session, url: bytes, limit: int) -> AsyncIterator[bytes]:
    """The octets that ``url`` names; raises No with BADURL, or TOOBIG for more than ``limit``."""
    named = urls.parse(url)
    if named is None or not _ours(session, named):
        raise refused(url)
    view = session.selected if not named.mailbox or _is_selected(session, named) else None
    if view is None and not named.mailbox:
        raise refused(url)
    own = view is None
    try:
        if view is None:
            view = await session.services.mailboxes.select(session.owner(), named.mailbox, True)
        section = section_of(named)
        row = await row_of(session, view, named)
        if section is None or row is None or row.content is None:
            raise refused(url)
        async for piece in pieces(session, section, row, limit):
            if piece is None:
                raise refused(url)
            yield piece
    except MailboxError:
        raise refused(url) from None
    finally:
        if own and view is not None:
            view.close()


def refused(url: bytes) -> No:
    """The answer to a URL that names nothing."""
    shown = url if len(url) <= _ECHOED and url.isascii() and b"]" not in url and url.decode("ascii").isprintable() else b"..."
    return No(b"No such message, or no such part of it", b"BADURL " + shown)


def section_of(named: MessageURL) -> Section | None:
    """The body section that a URL names; None if it is none."""
    try:
        tokens = Tokens([named.section + b"]"])
        section = fetch_grammar.section(tokens, peek=True, offset=named.offset, count=named.count)
        tokens.end()
    except Bad:
        return None
    return section


async def row_of(session: Session, view: Selected, named: MessageURL) -> Row | None:
    """The message that a URL names in the mailbox ``view``."""
    if named.uidvalidity not in (None, view.mailbox.uidvalidity):
        return None
    async for rows in session.services.mailboxes.fetch(view, [named.uid], Need.SUMMARY | Need.CONTENT):
        for row in rows:
            return row
    return None


async def pieces(session: Session, section: Section, row: Row, limit: int) -> AsyncIterator[bytes | None]:
    """The octets of a section, in pieces; None if the message has no such part."""
    content = row.content
    assert content is not None
    size = content.size if isinstance(content, Blob) else len(content)
    found = sections.extent(section, row.summary, size)
    if found is None:
        yield None
        return
    read = session.services.mailboxes.read
    if sections.selects_fields(section):
        fields = sections.select(section, await read(content, found.start, found.size))
        if len(fields) > limit:
            raise No(b"Message too large", b"TOOBIG")
        yield fields
        return
    found = sections.cut(section, found)
    if found.size > limit:
        raise No(b"Message too large", b"TOOBIG")
    for start in range(found.start, found.end, PIECE):
        wanted = min(PIECE, found.end - start)
        some = await read(content, start, wanted)
        if len(some) != wanted:
            raise No(b"Message is expunged already", b"EXPUNGEISSUED")
        yield some


def _is_selected(session: Session, named: MessageURL) -> bool:
    return session.selected is not None and session.selected.mailbox.name == named.mailbox


def _ours(session: Session, named: MessageURL) -> bool:
    """Whether the URL speaks of this account on this server; a relative one does."""
    if named.server is None:
        return True
    return names_account(session, named)


def names_account(session: Session, named: MessageURL) -> bool:
    """Whether the user of an absolute URL is the session's: by address, or by its local part at its domain."""
    address = session.owner().address
    hosts = (session.services.server.hostname.lower(), address.domain.lower())
    user = (named.user or "").lower()
    return named.server in hosts and (user == str(address).lower() or named.server == hosts[1] and user == address.local.lower())

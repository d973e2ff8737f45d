"""GENURLAUTH, RESETKEY and URLFETCH (RFC 4467), with URLFETCH's parts as they are, decoded, or described (RFC 5524).

What a URL does not authorize is NIL, as is what is not there: nobody learns which.
"""

from functools import partial
from time import time

from attrs import evolve, frozen
from twisted.internet.threads import deferToThreadPool

from mailx.core.fetch import Blob, Row
from mailx.core.url_access import MECHANISM
from mailx.imap import binary_sections, catenate, sections, text, urls
from mailx.imap.answers import Bad, No
from mailx.imap.arrival import Command
from mailx.imap.commands import Section
from mailx.imap.sections import Extent
from mailx.imap.session import Session
from mailx.imap.tokens import Tokens
from mailx.imap.urls import MessageURL
from mailx.mail import mime, structure
from mailx.mail.mime import Part
from mailx.mail.names import MailboxError
from mailx.mail.summary import Summary
from mailx.mail.transfer import decoder, unchanged

URLS_LIMIT = 100  # of one command
_WORDS = (b"BODY", b"BINARY", b"BODYPARTSTRUCTURE")


@frozen
class Wanted:
    """One URL of URLFETCH; without ``words`` its octets are asked for as RFC 4467 has it."""

    url: bytes
    words: tuple[bytes, ...] = ()


def generate(tokens: Tokens) -> list[bytes]:
    """The URLs to authorize; every mechanism must be INTERNAL."""
    found: list[bytes] = []
    while not found or not tokens.at_end():
        tokens.space()
        found.append(tokens.astring())
        tokens.space()
        if tokens.keyword() != MECHANISM:
            raise No(b"The only mechanism is INTERNAL", b"CANNOT")
        if len(found) > URLS_LIMIT:
            raise Bad(b"Too many URLs", b"LIMIT")
    return found


def reset(tokens: Tokens) -> str | None:
    """The mailbox whose key goes; None: all."""
    if tokens.at_end():
        return None
    tokens.space()
    name = tokens.mailbox()
    while not tokens.at_end():
        tokens.space()
        if tokens.keyword() != MECHANISM:
            raise No(b"The only mechanism is INTERNAL", b"CANNOT")
    return name


def fetched(tokens: Tokens) -> list[Wanted]:
    found: list[Wanted] = []
    while not found or not tokens.at_end():
        tokens.space()
        found.append(_wanted(tokens))
        if len(found) > URLS_LIMIT:
            raise Bad(b"Too many URLs", b"LIMIT")
    return found


def _wanted(tokens: Tokens) -> Wanted:
    if not tokens.take(b"("):
        return Wanted(tokens.astring())
    url = tokens.astring()
    words: dict[bytes, None] = {}
    while tokens.take(b" "):
        word = tokens.keyword()
        if word not in _WORDS or word in words:
            raise Bad(b"Unknown URLFETCH item")
        words[word] = None
    tokens.expect(b")")
    if {b"BODY", b"BINARY"} <= words.keys():  # RFC 5524 3
        raise Bad(b"BODY and BINARY exclude each other")
    return Wanted(url, tuple(words) or (b"BODY",))


async def genurlauth(session: Session, command: Command, asked: list[bytes]) -> None:
    """A URL that nothing could be fetched by is BAD (RFC 4467 7)."""
    made = []
    for url in asked:
        named = urls.parse(url)
        if named is None or not named.access or named.token or named.server is None or not catenate.names_account(session, named):
            raise Bad(b"Not the URL of a message of yours, with its access")
        if not _known_access(named.access):
            raise Bad(b"No such access")
        try:
            token = await session.services.mailboxes.url_access.token(session.owner(), named.mailbox, named.rump)
        except MailboxError:
            raise Bad(b"No such mailbox of yours") from None
        made.append(b"%b:%b:%b" % (named.rump, MECHANISM.lower(), token))
    session.peer.write(b"* GENURLAUTH %b\r\n" % b" ".join(map(text.string, made)))


async def resetkey(session: Session, command: Command, name: str | None) -> bytes:
    await session.services.mailboxes.url_access.reset(session.owner(), name)
    return b"All keys removed" if name is None else b"[URLMECH %b] RESETKEY completed" % MECHANISM


async def urlfetch(session: Session, command: Command, asked: list[Wanted]) -> None:
    for wanted in asked:
        await _fetch(session, wanted)
        await session.peer.ready()


def _known_access(access: str) -> bool:
    kind, plus, who = access.partition("+")
    return kind in ("user", "submit") and bool(who) if plus else kind in ("authuser", "anonymous")


def _allowed(session: Session, access: str, domain: str) -> bool:
    """Whether the URL is meant for this client (RFC 4467 3); submit+ is for servers that send mail, and none is here.

    A user without a domain is one of ``domain``, the owner's.
    """
    kind, _, who = access.partition("+")
    if kind == "user":
        return (who if "@" in who else f"{who}@{domain.lower()}") == str(session.owner().address).lower()
    return kind in ("authuser", "anonymous")


async def _fetch(session: Session, wanted: Wanted) -> None:
    """One response; the message is read with its owner's eyes."""
    peer = session.peer
    named = urls.parse(wanted.url)
    section = None if named is None else catenate.section_of(named)
    account = None if named is None or section is None else await _granted(session, named)
    peer.write(b"* URLFETCH %b " % text.astring(wanted.url))
    session.inside_response = True
    if named is None or section is None or account is None:
        peer.write(b"NIL")
    else:
        await _fetch_granted(session, wanted, named, section, account)
    peer.write(b"\r\n")
    session.inside_response = False


async def _granted(session: Session, named: MessageURL) -> int | None:
    """The account whose mail the URL gives out to this session."""
    if named.mechanism != MECHANISM or named.server is None or named.user is None:
        return None
    address = named.user if "@" in named.user else f"{named.user}@{named.server}"
    if not _allowed(session, named.access, address.rpartition("@")[2]):
        return None
    if named.expires is not None and named.expires < time():
        return None
    access = session.services.mailboxes.url_access
    return await access.granted(address, named.mailbox, named.rump, named.token, session.owner().id)


async def _fetch_granted(session: Session, wanted: Wanted, named: MessageURL, section: Section, account: int) -> None:
    try:
        view = await session.services.mailboxes.select_of(account, named.mailbox, True)
    except MailboxError:
        session.peer.write(b"NIL")
        return
    try:
        row = await catenate.row_of(session, view, named)
        content = None if row is None else row.content
        size = content.size if isinstance(content, Blob) else len(content or b"")
        found = None if row is None or content is None else sections.extent(section, row.summary, size)
        if row is None or found is None:
            session.peer.write(b"NIL")
            return
        if not wanted.words:
            await _octets(session, section, row, found)
            return
        words = [word for word in (b"BODYPARTSTRUCTURE", b"BODY", b"BINARY") if word in wanted.words]
        for place, word in enumerate(words):
            session.peer.write(b" " * bool(place) + b"(" + word + b" ")
            if word == b"BODYPARTSTRUCTURE":
                session.peer.write(await _structure(session, section, row, b"BINARY" in words))
            elif word == b"BINARY":
                await _decoded(session, section, row, size)
            else:
                await _octets(session, section, row, found)
            session.peer.write(b")")
    finally:
        view.close()


async def _octets(session: Session, section: Section, row: Row, found: Extent) -> None:
    """The section as it is."""
    assert row.content is not None
    if sections.selects_fields(section):
        block = await session.services.mailboxes.read(row.content, found.start, found.size)
        fields = sections.select(section, block)
        session.peer.write(b"{%d}\r\n%b" % (len(fields), fields))
        return
    size = sections.cut(section, found).size
    session.peer.write(b"{%d}\r\n" % size)
    async for piece in catenate.pieces(session, section, row, size):
        session.peer.write(piece or b"")
        await session.peer.ready()


async def _decoded(session: Session, section: Section, row: Row, size: int) -> None:
    """The section out of its transfer encoding; NIL where nobody knows that, or where it is none (RFC 5524 3)."""
    assert row.content is not None
    read = partial(session.services.mailboxes.read, row.content)
    try:
        octets, nul = await binary_sections.measured(section, row.summary, size, read)
    except No:
        session.peer.write(b"NIL")
        return
    session.peer.write(b"%b{%d}\r\n" % (b"~" * nul, octets))
    async for piece in binary_sections.pieces(section, row.summary, size, read):
        session.peer.write(piece)
        await session.peer.ready()


async def _structure(session: Session, section: Section, row: Row, decoded: bool) -> bytes:
    """BODYSTRUCTURE of the part that the section names, or of the one that holds it; ``decoded``: as it is out of its encoding."""
    if not section.path:
        assert row.summary is not None
        return row.summary.bodystructure
    assert row.content is not None and row.summary is not None
    content = await session.services.mailboxes.read(row.content)
    reactor = session.services.reactor
    found: bytes = await deferToThreadPool(reactor, reactor.getThreadPool(), _rendered, content, row.summary, section.path, decoded)
    return found


def _rendered(content: bytes, summary: Summary, path: tuple[int, ...], decoded: bool) -> bytes:
    """Runs in a thread."""
    place = summary.part(path)
    if place is None:
        return b"NIL"
    part = _same(mime.parse(content), place.header_start, place.body_end)
    encoding = part.encoding.decode("latin-1")
    if decoded and part.message is None and not part.children and not unchanged(encoding) and (made := decoder(encoding)) is not None:
        octets = made.feed(content[part.body_start : part.body_end]) + made.finish()
        plain = b"binary" if b"\0" in octets else b"7bit" if octets.isascii() else b"8bit"
        # What has no lines of its own while it is encoded has none to count (RFC 5524 3).
        part = evolve(part, encoding=plain, body_end=part.body_start + len(octets), lines=0)
    try:
        return structure.structures(part)[0]
    except structure.TooLarge:
        return b"NIL"


def _same(root: Part, start: int, end: int) -> Part:
    """The part that lies between the offsets; of several, the outermost."""
    return next((part for part in root.walk() if part.header_start == start and part.body_end == end), root)

"""BINARY, BINARY.PEEK and BINARY.SIZE: parts out of their transfer encoding (RFC 3516 4.3).

The message as a whole and what holds other parts have no encoding of their own. A part that lies in a file is read
twice, once for its size and once for its octets, so that none of it need be held.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from mailx.imap import sections
from mailx.imap.answers import No
from mailx.imap.commands import Section
from mailx.mail.summary import Summary
from mailx.mail.transfer import Decoder, decoder

PIECE = 65536  # octets decoded in one go
Read = Callable[[int, int], Awaitable[bytes]]  # offset and number of octets


def decoding(section: Section, summary: Summary | None) -> Decoder | None:
    """What decodes the part that ``section`` names; None if there is no such part. Raises No with UNKNOWN-CTE."""
    if not section.path:
        return decoder("binary")
    assert summary is not None
    part = summary.part(section.path)
    if part is None:
        return None
    made = decoder("binary" if part.message or part.multipart else part.encoding)
    if made is None:
        raise No(b"The transfer encoding of the part is not known", b"UNKNOWN-CTE")
    return made


def decoded(section: Section, summary: Summary | None, content: bytes) -> bytes | None:
    """The octets of the part in ``content``, the partial range applied; None for NIL."""
    found = sections.extent(section, summary, len(content))
    made = decoding(section, summary)
    if found is None or made is None:
        return None
    return sections.partial(section, made.feed(content[found.start : found.end]) + made.finish())


async def pieces(section: Section, summary: Summary | None, size: int, read: Read) -> AsyncIterator[bytes]:
    """The octets of a part that is there, in a content of ``size`` octets, the partial range applied."""
    found = sections.extent(section, summary, size)
    made = decoding(section, summary)
    assert found is not None and made is not None
    skip, left = section.offset, section.count
    for start in range(found.start, found.end, PIECE):
        wanted = min(PIECE, found.end - start)
        octets = await read(start, wanted)
        if len(octets) != wanted:
            raise OSError("a content is shorter than its message")
        some = made.feed(octets)
        if start + wanted == found.end:
            some += made.finish()
        some, skip = some[skip:], max(0, skip - len(some))
        if left is not None:
            some = some[:left]
            left -= len(some)
        if some:
            yield some
        if left == 0:
            return


async def measured(section: Section, summary: Summary | None, size: int, read: Read) -> tuple[int, bool]:
    """How many octets ``pieces`` gives, and whether NUL is among them."""
    count, nul = 0, False
    async for piece in pieces(section, summary, size, read):
        count += len(piece)
        nul = nul or b"\0" in piece
    return count, nul

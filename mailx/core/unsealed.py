"""What is inside a sealed message, and how it is framed when it is taken out. Pure; whoever reads large ones does so in a thread.

The container is read to its end first (``look``), so that nobody sees half of a message that turns out damaged, and again in
pieces for whoever stores it (``inner``). Failure means :class:`~mailx.identity.encoding.Malformed`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from attrs import frozen

from mailx.core import headers
from mailx.identity import sealed_message, sealing
from mailx.identity.seal_verdict import ARRIVAL, Verdict, trace
from mailx.identity.sealing import Altered, Opened

Source = Callable[[], Iterable[bytes]]  # the sealed message in pieces, from its beginning at each call

HEAD = 262144  # octets of the inner message in which its fields are looked for


@frozen
class Looked:
    """A container that was read to its end."""

    fields: bytes  # of the message that carried it
    opened: Opened
    head: bytes  # of the message in it
    altered: bool


def look(source: Source, privates: Sequence[bytes]) -> Looked:
    """Read everything once; raises Malformed."""
    fields, container = sealed_message.split(source())
    opened = sealing.opened(container, privates)
    head = bytearray()
    altered = False
    try:
        for piece in opened.pieces:
            if len(head) < HEAD:
                head += piece
    except Altered:
        altered = True
    return Looked(fields, opened, bytes(head[:HEAD]), altered)


def framed(
    looked: Looked, verdict: Verdict, hostname: str, clean: Callable[[bytes], bytes], carried: Callable[[bytes], bytes] | None = None
) -> tuple[bytes, int, bytes]:
    """What stands before the inner message, how many octets of that are replaced, and by what.

    The verdict stands in the name of ``hostname``. ``clean`` takes away what the inner fields say in names that they must not.
    What the carrying server wrote, outside, and inside if it sealed the message when it arrived, stays, or what ``carried`` leaves of it.
    """
    above = trace(looked.fields)
    before = (above if carried is None else carried(above)) + verdict.field(hostname)
    head, end = looked.head, headers.end(looked.head)
    if end is None and looked.opened.size > len(head):
        return before, 0, b"\r\n"  # so many fields are no mail: it is shown as text, and nobody takes it for what this server says
    if not end and end is not None:
        return before, 0, headers.separator(head)
    if verdict.sealed == ARRIVAL:
        if carried is None:
            return before, 0, b""
        clean = carried
    end = len(head) if end is None else end
    return before, end, clean(head[:end])


def inner(source: Source, privates: Sequence[bytes], before: bytes, skipped: int) -> Iterator[bytes]:
    """``before``, then the inner message behind the octets that it replaces."""
    yield before
    _, container = sealed_message.split(source())
    try:
        for piece in sealing.opened(container, privates).pieces:
            if skipped >= len(piece):
                skipped -= len(piece)
                continue
            yield piece[skipped:]
            skipped = 0
    except Altered:
        return  # the field says so


def marked(source: Source, field: bytes) -> Iterator[bytes]:
    """The message as it came, marked."""
    first = True
    for piece in source():
        if first:
            at = headers.top(piece)
            piece, first = piece[:at] + field + piece[at:], False
        yield piece

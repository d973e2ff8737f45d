"""UIDBATCHES: ranges of UIDs with a number of messages each, from the newest on (RFC 10022)."""

from attrs import frozen

from mailx.core.selected import Selected
from mailx.imap import esearch
from mailx.imap.answers import Bad, No
from mailx.imap.arrival import Command
from mailx.imap.session import Session
from mailx.imap.tokens import Tokens

LEAST = 500  # messages of a batch


@frozen
class UidBatches:
    size: int
    first: int = 1  # number of the first batch wanted, the newest messages being in batch 1
    last: int | None = None


def uid_batches(tokens: Tokens) -> UidBatches:
    tokens.space()
    size = _positive(tokens)
    first, last = 1, None
    if tokens.take(b" "):
        first = _positive(tokens)
        tokens.expect(b":")
        last = _positive(tokens)
    tokens.end()
    if last is not None and last < first:
        raise Bad(b"The first batch comes first", b"CLIENTBUG")
    return UidBatches(size, first, last)


def _positive(tokens: Tokens) -> int:
    number = tokens.number()
    if not number:
        raise Bad(b"Number expected")
    return number


async def run(session: Session, command: Command, asked: UidBatches) -> None:
    if asked.size < LEAST:
        raise No(b"A batch has 500 messages or more", b"TOOFEW")
    ranges = batches(session.view(), asked)
    session.peer.write(b"* UIDBATCHES (%b)%b%b\r\n" % (esearch.tagged_by(command.tag), b" " if ranges else b"", b",".join(ranges)))


def batches(view: Selected, asked: UidBatches) -> list[bytes]:
    """Each range with its highest UID first; the last one ends in 1, so that the client sees that it is the last (RFC 10022 3.1.4)."""
    uids = view.uids
    count = -(-len(uids) // asked.size)
    found: list[bytes] = []
    for number in range(asked.first, count + 1 if asked.last is None else min(asked.last, count) + 1):
        end = len(uids) - (number - 1) * asked.size
        found.append(b"%d:%d" % (uids[end - 1], uids[end - asked.size] if number < count else 1))
    return found

"""Messages that come in pieces: what has arrived so far, kept over the end of a connection so that the rest may follow.

Bounded in number, for each peer and in all, and in time; who has many gives one up for who has few, so that slow ones do not keep all
places. Larger ones lie in an encrypted file (:mod:`mailx.core.content`). What
is given up leaves nothing behind. A piece out of order, or beyond what was announced, is refused.
"""

from collections import Counter
from hashlib import sha256
from typing import Any

from attrs import define, field

from mailx.core.content import Content
from mailx.federation.channel import Channel
from mailx.federation.proof import HEADER, NO_HEADER, fields
from mailx.federation.transfers import BEGIN_AGAIN
from mailx.identity.transfers import Manifest
from mailx.mail.envelope import Origin
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply

KEPT = 600.0  # seconds that the next piece may take
MOST = 256  # of all peers
MOST_OF_PEER = 64
SLOW = 60.0  # seconds without a piece after which a place may be taken by anybody, when there is no other
_LOOK = 30.0  # seconds between looks for those that are given up

OUT_OF_ORDER = Reply(451, "4.5.0", "Not the piece that is next; begin again")
NOT_AS_SAID = Reply(554, "5.7.7", "The content is not what its manifest says")
TOO_MANY = Reply(451, "4.3.2", "Too many messages are under way; try again later")

Key = tuple[str, str, bytes]  # our domain, theirs, the transfer's id


def key_of(channel: Channel, id: bytes) -> Key:
    """What tells the message from all others, over whichever channel of its sender it comes."""
    return channel.local, channel.remote, id


@define(eq=False)
class Upload:
    """One message on its way in."""

    manifest: Manifest
    envelope: str  # its id
    origin: Origin
    content: Content
    touched: float
    offset: int = 0
    header: bytes | None = None  # its fields, once they are complete
    _head: bytearray = field(factory=bytearray)
    _digest: Any = field(factory=sha256)

    async def add(self, data: bytes) -> None:
        """The next octets; returns when there is room for more. Raises Refused."""
        if self.offset + len(data) > self.manifest.size:
            raise Refused(NOT_AS_SAID)
        self.offset += len(data)
        self._digest.update(data)
        if self.header is None:
            before = len(self._head)
            self._head += data[: HEADER - before]
            if not before or b"\r\n\r\n" in self._head[max(0, before - 3) :]:  # small pieces cost no look at all that came before
                self.header = fields(bytes(self._head))
            if self.header is None and len(self._head) >= HEADER:
                raise Refused(NO_HEADER)
        waiting = self.content.write(data)
        if waiting is not None:
            await waiting

    async def finish(self) -> Message:
        """The whole message. Raises Refused when it is not what was announced, or is not to be had."""
        if self.offset != self.manifest.size or self._digest.digest() != self.manifest.digest or not self.header:
            raise Refused(NOT_AS_SAID)
        return await self.content.finish()


class Uploads:
    """Those of one server."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._all: dict[Key, Upload] = {}
        self._watch: Any = None

    def __len__(self) -> int:
        return len(self._all)

    def find(self, key: Key) -> Upload | None:
        """The one with this key, if there is one."""
        return self._all.get(key)

    def resumed(self, key: Key, manifest: Manifest) -> Upload | None:
        """What has come of the same content; what has come of another is given up."""
        found = self._all.get(key)
        if found is None:
            return None
        if (found.manifest.digest, found.manifest.size) != (manifest.digest, manifest.size):
            self.drop(key)
            return None
        found.manifest = manifest  # for whom it is may have changed
        return found

    def room(self, key: Key) -> bool:
        """Whether one more may begin, if need be in the place of another."""
        held = self._held()
        return held[key[1]] < MOST_OF_PEER and (len(self._all) < MOST or self._dispensable(held, key[1]) is not None)

    def make_room(self, key: Key) -> bool:
        """Give one up if one more, which begins now, needs its place; whether there is room."""
        if not self.room(key):
            return False
        if len(self._all) >= MOST and (given_up := self._dispensable(self._held(), key[1])) is not None:
            self.drop(given_up)
        return True

    def _held(self) -> Counter[str]:
        return Counter([remote for _, remote, _ in self._all])

    def _dispensable(self, held: Counter[str], remote: str) -> Key | None:
        """What makes room for ``remote``: the slowest of the peer that has most, or one that is slow of those that have no fewer."""
        greedy, most = held.most_common(1)[0]
        unfair = most > held[remote] + 1
        ones = [each for each in self._all if (each[1] == greedy if unfair else held[each[1]] >= held[remote])]
        slowest = min(ones, key=lambda each: self._all[each].touched)
        return slowest if unfair or self._reactor.seconds() - self._all[slowest].touched >= SLOW else None

    def keep(self, key: Key, upload: Upload) -> None:
        """It has begun."""
        self._all[key] = upload
        if self._watch is None:
            self._watch = self._reactor.callLater(_LOOK, self._look)

    async def add(self, key: Key, offset: int, data: bytes) -> int:
        """A piece that begins at ``offset``; how much there is now. One that was here already is no error. Raises Refused."""
        upload = self._all.get(key)
        if upload is None:
            raise Refused(BEGIN_AGAIN)
        if offset + len(data) <= upload.offset:
            return upload.offset
        if offset != upload.offset:
            raise Refused(OUT_OF_ORDER)
        upload.touched = self._reactor.seconds()  # by what is new only: to say the same again keeps no place
        try:
            await upload.add(data)
        except Refused:
            self.drop(key)
            raise
        return upload.offset

    def take(self, key: Key) -> Upload:
        """The one with this key, which is the caller's from now on. Raises Refused."""
        upload = self._all.pop(key, None)
        if upload is None:
            raise Refused(BEGIN_AGAIN)
        return upload

    def drop(self, key: Key) -> None:
        """Give it up."""
        upload = self._all.pop(key, None)
        if upload is not None:
            upload.content.abort()

    def stop(self) -> None:
        """Give all up."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for key in list(self._all):
            self.drop(key)

    def _look(self) -> None:
        before = self._reactor.seconds() - KEPT
        for key in [key for key, upload in self._all.items() if upload.touched < before]:
            self.drop(key)
        self._watch = self._reactor.callLater(_LOOK, self._look) if self._all else None

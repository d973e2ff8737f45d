"""The first call on a channel: which version is spoken, what each side can do, and how much it takes at once. Pure.

The side that connected sends the versions it knows; the other answers with the highest that both know. Fields that are
not known are ignored, so that later versions can say more.
"""

from collections.abc import Collection, Mapping

from attrs import frozen

from mailx.federation.service import Fields, Plain, malformed, number, texts
from mailx.mail.reply import Refused, Reply

VERSION = 1
VERSIONS = (VERSION,)
_MOST = 64  # versions or capabilities
_WORD = 64  # characters of a capability


@frozen
class Hello:
    """What the peer said of itself, checked; ``fields`` is all of it."""

    version: int
    capabilities: frozenset[str]
    message_size: int  # 0: it did not say
    calls: int  # that may be under way at a time; 0: it takes none
    idle: int  # seconds after which it closes an unused connection; 0: it did not say
    fields: Mapping[str, Plain]


def say(capabilities: Collection[str], message_size: int, calls: int, idle: int, more: Fields) -> dict[str, Plain]:
    """The fields of a hello; ``more`` cannot change the others."""
    words: list[Plain] = [*sorted(capabilities)]
    return {**more, "capabilities": words, "message_size": message_size, "calls": calls, "idle": idle}


def offered(fields: Fields) -> int:
    """The version to speak with a peer that offers ``fields``. Raises Refused."""
    offer = fields.get("versions")
    if not isinstance(offer, list) or len(offer) > _MOST:
        raise malformed("versions")
    known = [version for version in VERSIONS if version in offer]
    if not known:
        raise Refused(Reply(554, "5.5.0", f"No version in common; this server speaks {', '.join(map(str, VERSIONS))}"))
    return max(known)


def heard(fields: Fields, version: int) -> Hello:
    """What the peer said. Raises Refused."""
    return Hello(
        version,
        frozenset(texts(fields, "capabilities", _MOST, _WORD, [])),
        number(fields, "message_size", default=0),
        number(fields, "calls", 0, 1024, default=1),
        number(fields, "idle", 0, 86400, default=0),
        fields,
    )


def answered(fields: Fields) -> Hello:
    """What the peer answered to our hello. Raises Refused."""
    version = number(fields, "version", 1)
    if version not in VERSIONS:
        raise Refused(Reply(554, "5.5.0", "No version in common"), "the peer chose a version that was not offered")
    return heard(fields, version)

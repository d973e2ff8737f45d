"""What the index knows to lack a string."""

from array import array

from mailx.core.index import Index
from mailx.core.looking import lookup_for
from mailx.core.search import Text


async def lacking(index: Index, account: int, needle: str) -> set[int]:
    """The ids of messages of ``account`` that surely do not have ``needle``."""
    lookup = lookup_for(Text(needle))
    assert lookup is not None
    ids = array("q", range(1, 10_000))
    told = await index.found(account, 0, ids, lookup)
    return set() if told is None else set(ids).difference(*([ids[place] for place in places] for places in told))

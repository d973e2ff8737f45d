"""What the index knows to lack a string."""

from array import array

from mailx.core.index import Index
from mailx.core.looking import lookup_for
from mailx.core.lookup import LACKS
from mailx.core.search import Text


async def lacking(index: Index, account: int, needle: str) -> set[int]:
    """The ids of messages of ``account`` that surely do not have ``needle``."""
    lookup = lookup_for(Text(needle))
    assert lookup is not None
    ids = array("q", range(1, 10_000))
    return {id for id, verdict in zip(ids, await index.verdicts(account, 0, ids, lookup), strict=False) if verdict == LACKS}

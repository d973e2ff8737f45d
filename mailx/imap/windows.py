"""The range of PARTIAL, in SEARCH, SORT and FETCH (RFC 9394 4)."""

import re

from mailx.imap.answers import Bad
from mailx.imap.commands import Partial
from mailx.imap.tokens import NUMBER_LIMIT, Tokens

_PARTIAL = re.compile(rb"([1-9][0-9]{0,9}):([1-9][0-9]{0,9})(?![0-9])|-([1-9][0-9]{0,9}):-([1-9][0-9]{0,9})(?![0-9])")


def window(tokens: Tokens) -> Partial:
    """The range of PARTIAL, in either order (RFC 9394 4)."""
    ends = tokens.match(_PARTIAL)
    first, last = sorted(abs(int(end)) for end in ends.split(b":"))
    if last > NUMBER_LIMIT:
        raise Bad(b"Invalid range")
    return Partial(first, last, ends.startswith(b"-"))

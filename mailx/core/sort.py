"""SORT (RFC 5256) and SORT=DISPLAY (RFC 5957): the keys, and how messages are put in order."""

from typing import Literal

from attrs import frozen

By = Literal["arrival", "cc", "date", "from", "size", "subject", "to", "displayfrom", "displayto"]


@frozen
class SortKey:
    """One sort criterion; ``reverse`` turns its order around."""

    by: By
    reverse: bool = False

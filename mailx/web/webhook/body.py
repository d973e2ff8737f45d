"""The body of a call read as JSON, strictly: UTF-8, an object without duplicate keys, nothing that JSON does not know.

What is no such JSON is refused as ``invalid json``, whatever is wrong with it. Depth is bounded.
"""

import json
from collections.abc import Sequence
from typing import Any

from mailx.web.webhook.answers import Declined

DEPTH = 20  # objects and lists within each other


def parse(body: bytes) -> dict[str, Any]:
    """The object that ``body`` writes; raises Declined."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_unknown)
    except (ValueError, RecursionError):
        raise Declined(400, "invalid json") from None
    if not isinstance(value, dict) or _deep(value):
        raise Declined(400, "invalid json")
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate key")
    return found


def _unknown(name: str) -> None:
    """``NaN`` and ``Infinity`` are Python's, not JSON's."""
    raise ValueError(name)


def _deep(value: dict[str, Any]) -> bool:
    """Whether ``value`` has more than DEPTH levels. Each value is looked at once."""
    level: list[Any] = [value]
    for _ in range(DEPTH):
        below: list[Any] = []
        for one in level:
            if type(one) is dict:
                below += [each for each in one.values() if type(each) is dict or type(each) is list]
            else:
                below += [each for each in one if type(each) is dict or type(each) is list]
        if not below:
            return False
        level = below
    return True

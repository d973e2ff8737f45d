"""A DNS for tests that holds what a test says, and answers at once; faults are DNSFailure."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from mailx.core.resolver import MX, Answer, DNSFailure

FAULT = "fault"  # in place of records: nobody knows
SILENCE = "silence"  # in place of records: no answer, ever
_ALIASES = 8

Zone = Mapping[tuple[str, str], Any]


class Names:
    """Answers from ``zone``: {(name, type): records}. MX records are (preference, host), TXT are str or bytes."""

    def __init__(self, zone: Zone) -> None:
        self.zone = {(name.lower(), kind): records for (name, kind), records in zone.items()}
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        for _ in range(_ALIASES):
            found = self.zone.get((name, kind))
            alias = self.zone.get((name, "CNAME"))
            if found is not None or alias is None:
                break
            name = alias[0]
        else:
            raise DNSFailure("a loop")
        if found == FAULT:
            raise DNSFailure("a fault")
        if found == SILENCE:
            await Deferred()
        if found is None:
            exists = any(owner == name or owner.endswith("." + name) for owner, _ in self.zone)
            return Answer(name, (), False, 60, exists)
        return Answer(name, _records(found, kind), False, 60, True)


def _records(found: Sequence[Any], kind: str) -> tuple[Any, ...]:
    if kind == "TXT":
        return tuple(text if isinstance(text, bytes) else text.encode() for text in found)
    if kind == "MX":
        return tuple(MX(preference, host) for preference, host in found)
    return tuple(found)


async def at_once(call: Any) -> Any:
    """In place of a thread."""
    return call()

"""ARC sets (RFC 8617 4): which of a message's fields belong together, and what they say of themselves.

Pure, bounded, and never raises. Whether the signatures in them fit is asked elsewhere.
"""

import re
from collections.abc import Mapping

from attrs import Factory, frozen

from mailx.mail.canonical import Mail
from mailx.mail.tags import MalformedTags, signature

SETS = 50  # RFC 8617 5.1.1.3 asks to refuse chains that are longer
RESULTS, MESSAGE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
NAMES = (RESULTS, MESSAGE, SEAL)  # in the order in which a seal covers them (RFC 8617 5.1.1)
_NUMBERED = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]{0,3})[ \t\r\n]*;")  # in ARC-Authentication-Results
_INSTANCE = re.compile(r"[1-9][0-9]{0,3}\Z")


@frozen
class Chain:
    """The ARC sets of a message as they stand."""

    sets: tuple[tuple[int, int, int], ...] = ()  # by instance: the places of results, message signature, seal
    tags: Mapping[int, Mapping[str, str]] = Factory(dict)  # of message signatures and seals by their place
    instances: int = 0  # the highest instance that anything claims
    problem: str = ""  # why the sets are no chain
    failed: bool = False  # the last seal says that the chain had failed before it


def read(mail: Mail) -> Chain:
    """The chain of ``mail``; one without sets and without a problem if there is none."""
    tags: dict[int, Mapping[str, str]] = {}
    found: dict[bytes, dict[int, int]] = {name: {} for name in NAMES}
    problems: list[str] = []
    if not any(mail.count(name) for name in NAMES):
        return Chain()
    if any(mail.count(name) > SETS for name in NAMES):
        return Chain(instances=SETS, problem="too many sets")
    for name, numbers in found.items():
        for place in mail.places.get(name, ()):
            value = mail.fields[place][2]
            try:
                number = _numbered(value) if name == RESULTS else _number(tags, place, value)
            except MalformedTags as error:
                problems.append(str(error))
                continue
            if number in numbers:
                problems.append("an instance stands twice")
            numbers.setdefault(number, place)
    last = max([number for numbers in found.values() for number in numbers], default=0)
    seal = found[SEAL].get(last)
    failed = seal is not None and tags[seal].get("cv") == "fail"
    if not problems and any(len(numbers) < last for numbers in found.values()):
        problems.append("incomplete sets")
    if problems:
        return Chain((), tags, last, problems[0], failed)
    sets = tuple([(found[RESULTS][number], found[MESSAGE][number], found[SEAL][number]) for number in range(1, last + 1)])
    return Chain(sets, tags, last, "", failed)


def _numbered(value: bytes) -> int:
    match = _NUMBERED.match(value)
    if match is None:
        raise MalformedTags("malformed instance")
    return int(match[1])


def _number(tags: dict[int, Mapping[str, str]], place: int, value: bytes) -> int:
    """The instance of a signature or seal, whose tags go into ``tags``."""
    tags[place] = signature(value)
    if not _INSTANCE.match(tags[place].get("i", "")):
        raise MalformedTags("malformed instance")
    return int(tags[place]["i"])

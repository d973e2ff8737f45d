"""Tag lists, ``v=1; a=rsa-sha256; ...``, of signatures, keys and policies (RFC 6376 3.2). Pure.

Names are case-sensitive, values lose the white space around them, and a name that stands twice spoils the whole list.
"""

import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_BLANKS = " \t\r\n"
_TAGS = 64  # in one list
SIGNATURE_OCTETS = 8192  # of one signature; more is none


class MalformedTags(ValueError):
    """The text is no tag list."""


def parse(text: str) -> dict[str, str]:
    """The tags of ``text`` in their order; raises MalformedTags."""
    specs = text.split(";", _TAGS + 1)
    if len(specs) > _TAGS:
        raise MalformedTags("too many tags")
    if not specs[-1].strip(_BLANKS):
        specs.pop()
    found: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip(_BLANKS)
        if not equals or not _NAME.match(name):
            raise MalformedTags("malformed tag")
        if name in found:
            raise MalformedTags("a tag stands twice")
        found[name] = value.strip(_BLANKS)
    if not found:
        raise MalformedTags("no tags")
    return found


def signature(value: bytes) -> dict[str, str]:
    """The tags of the raw value of a signature field; raises MalformedTags, whose text is safe to show."""
    if len(value) > SIGNATURE_OCTETS:
        raise MalformedTags("signature too large")
    try:
        return parse(value.decode("utf-8"))
    except (MalformedTags, UnicodeDecodeError):
        raise MalformedTags("malformed signature") from None


def compact(value: str) -> str:
    """``value`` without the white space that may stand inside it: base64 is folded."""
    return "".join(value.split())

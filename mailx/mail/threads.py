"""What ties messages together: message identifiers (RFC 5322 3.6.4) and base subjects (RFC 5256 2.1).

Identifiers are octets without their angle brackets. Nothing raises.
"""

import re

from mailx.mail.charset import fold

REFERENCES_LIMIT = 100  # identifiers kept of one field: the first (the thread's root) and the last ones
IDENTIFIER_LIMIT = 1000  # octets
SUBJECT_LIMIT = 1000  # characters of a subject that base_subject looks at

_BRACKETED = re.compile(rb"<\s*+([^<>\s]++)[^<>]*+>")
_WORDS = re.compile(rb"[^\s<>]++")


def message_id(value: bytes) -> bytes:
    """The identifier in a raw Message-ID value, ``b""`` if there is none. One without brackets counts as its first word."""
    match = _BRACKETED.search(value)
    if match is None:
        match = _WORDS.search(value)
        return match[0][:IDENTIFIER_LIMIT] if match else b""
    return match[1][:IDENTIFIER_LIMIT]


def message_ids(value: bytes) -> tuple[bytes, ...]:
    """The identifiers in a raw References or In-Reply-To value, in their order, none twice, at most REFERENCES_LIMIT."""
    found = list(dict.fromkeys(_BRACKETED.findall(value)))
    if len(found) > REFERENCES_LIMIT:
        del found[1 : len(found) - REFERENCES_LIMIT + 1]
    return tuple(identifier[:IDENTIFIER_LIMIT] for identifier in found)


# RFC 5256 5, in lower case. A blob is [anything]; a leader is blobs, then re: fw: fwd:, perhaps with one more blob.
_LEADERS = re.compile(r"(?>(?:(?>(?:\[[^\[\]]*+\] *+)*)(?:re|fwd?) *+(?:\[[^\[\]]*+\] *+)?:| )+)")
_BLOBS = re.compile(r"(?>(?:\[[^\[\]]*+\] *+)+)")
_STARTS = re.compile(r"[ \[rf]")


def base_subject(subject: str) -> str:
    """The base of a decoded ``subject``, case-folded: what SORT and THREAD compare (RFC 5256 2.1)."""
    text = " ".join(fold(subject[:SUBJECT_LIMIT]).split())  # step 1
    while True:
        if text.endswith("(fwd)"):
            text = _without_trailers(text)  # step 2
        if _STARTS.match(text):
            text = _without_leaders(text)  # steps 3 to 5
        if not (text.startswith("[fwd:") and text.endswith("]")):  # step 6
            return text
        text = text[5:-1].strip(" ")


_REPLY = re.compile(r"(?>(?:\[[^\[\]]*+\] *+)*)(?:re|fwd?) *+(?:\[[^\[\]]*+\] *+)?:")


def is_reply(subject: str) -> bool:
    """Whether a ``subject`` (decoded and folded) says that the message answers or forwards another (RFC 5256 2.1)."""
    text = " ".join(subject[:SUBJECT_LIMIT].split())
    return text.endswith("(fwd)") or text.startswith("[fwd:") and text.endswith("]") or _REPLY.match(text) is not None


def _without_trailers(text: str) -> str:
    while text.endswith("(fwd)"):
        text = text[:-5].rstrip(" ")
    return text


def _without_leaders(text: str) -> str:
    while True:
        leaders = _LEADERS.match(text)
        if leaders:
            text = text[leaders.end() :]
        blobs = _BLOBS.match(text)
        if blobs is None:
            return text
        if blobs.end() < len(text):  # step 4: a blob goes only if something stays
            text = text[blobs.end() :]
            continue
        return text[text.rindex("[") :]

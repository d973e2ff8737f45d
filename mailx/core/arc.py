"""ARC: the seal of a forwarder, who says what was found about a message when it came (RFC 8617).

Pure computation for a thread, as :mod:`mailx.core.dkim`. What came of the chain that a message brings was checked at its
arrival and stands in ``results``; a chain of which nothing is known is passed on as it is, without a seal of ours.
"""

import re
from collections.abc import Sequence

from attrs import frozen

from mailx.core.dkim import RSA, Signer, body_tags, digest, folded, signed, tags
from mailx.mail.canonical import Field, field_relaxed, fields, split
from mailx.mail.parameters import without_comments

INSTANCES = 50  # RFC 8617 5.2: longer chains have failed

_SEAL, _MESSAGE, _RESULTS = b"arc-seal", b"arc-message-signature", b"arc-authentication-results"
_NAMES = (_RESULTS, _MESSAGE, _SEAL)  # in the order in which a seal covers them (RFC 8617 5.1.1)
_VERDICT = re.compile(r"(?:^|;)\s*arc\s*=\s*([a-z]+)", re.IGNORECASE)
_INSTANCE = re.compile(rb"[1-9][0-9]?\Z")
_QUOTED = re.compile(rb'"(?>(?:[^"\\]++|\\[\s\S])*)(?:"|\Z)')
_CONTROLS = re.compile(r"[\0-\x20\x7f]+")
_FIELDS_LIMIT = 4 * INSTANCES  # ARC fields that are looked at; more are no chain


@frozen
class Chain:
    """The ARC sets of a message as they stand."""

    sets: tuple[tuple[Field, ...], ...]  # by instance: results, message signature, seal
    instances: int  # the highest instance that anything claims
    whole: bool  # each set is complete and none is missing
    failed: bool  # the last seal says that the chain had failed before it


def chain(header: bytes) -> Chain:
    """The chain in ``header``; its signatures are not checked here."""
    found = fields(header, _NAMES)
    if len(found) > _FIELDS_LIMIT:
        return Chain((), INSTANCES, False, True)
    sets: dict[int, dict[bytes, Field]] = {}
    whole = True
    for each in found:
        number = _instance(each)
        one = sets.setdefault(number, {})
        whole = whole and number > 0 and each.name not in one
        one.setdefault(each.name, each)
    last = max(sets, default=0)
    whole = whole and len(sets) == last and all(len(one) == len(_NAMES) for one in sets.values())
    seal = sets.get(last, {}).get(_SEAL)
    ordered = tuple(tuple(sets[number][name] for name in _NAMES) for number in range(1, last + 1)) if whole else ()
    return Chain(ordered, last, whole, seal is not None and _tag(seal, b"cv") == b"fail")


def _instance(field: Field) -> int:
    """The instance of an ARC field; 0 if it has none."""
    value = _tag(field, b"i")
    return int(value) if _INSTANCE.match(value) else 0


def _tag(field: Field, name: bytes) -> bytes:
    value = field.raw.partition(b":")[2].replace(b"\r\n", b"")
    if field.name == _RESULTS:  # only i= is a tag there, and stands first (RFC 8617 4.1.1)
        value = value.partition(b";")[0]
    return b"".join(tags(value).get(name, b"").split()).lower()


def verdict(known: Chain, results: str) -> str:
    """What a new seal says of the chain before it: "none", "pass", "fail", or "" when there must be no new seal."""
    if known.instances == 0 and known.whole:
        return "none"
    if known.failed or known.instances >= INSTANCES:  # RFC 8617 5.1.2: a failed chain stays as it is
        return ""
    if not known.whole:
        return "fail"
    # What strangers wrote may stand in comments and quoted strings.
    said = _VERDICT.search(_QUOTED.sub(b"", without_comments(results.encode("utf-8", "replace"))).decode())
    return said[1].lower() if said is not None and said[1].lower() in ("pass", "fail") else ""


def seal(content: bytes, signers: Sequence[Signer], hostname: str, results: str, now: int) -> bytes:
    """The ARC set to put before ``content``; empty if it must not be sealed. ``results`` is what Authentication-Results said.

    Raises Unsignable.
    """
    known = chain(split(content)[0])
    validation = verdict(known, results)
    if not validation or not signers:
        return b""
    # One set has one signature, and most who check know RSA only.
    signer = next((one for one in signers if one.algorithm == RSA), signers[0])
    number = known.instances + 1
    who = f"d={signer.domain}; s={signer.selector}"
    told = _CONTROLS.sub(" ", results).strip("; ") or "none"
    words = [
        word.encode("utf-8", "replace") for word in (f" i={number}", f" {hostname}", *(f" {part.strip()}" for part in told.split(";")))
    ]
    findings = folded(b"ARC-Authentication-Results:", words, b";") + b"\r\n"
    shared = digest(content, (b"DKIM-Signature",))
    head = f"ARC-Message-Signature: i={number}; a={signer.algorithm}; c=relaxed/relaxed; {who};\r\n\tt={now};\r\n".encode("ascii")
    message = signed(head + body_tags(shared), shared.fields, signer)
    # RFC 8617 5.1.2: a seal on a chain that failed covers its own set alone.
    before = [each.raw for one in known.sets for each in one] if validation != "fail" else []
    data = b"".join([field_relaxed(raw) for raw in (*before, findings, message)])
    sealed = signed(
        f"ARC-Seal: i={number}; a={signer.algorithm}; t={now}; cv={validation};\r\n\t{who};\r\n\t".encode("ascii"), data, signer
    )
    return sealed + message + findings

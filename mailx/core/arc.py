"""ARC: the seal of a forwarder, who says what was found about a message when it came (RFC 8617).

Pure computation for a thread, as :mod:`mailx.core.dkim`. What came of the chain that a message brings was checked at its
arrival and stands in ``results``; a chain of which nothing is known is passed on as it is, without a seal of ours.
"""

import re
from collections.abc import Sequence

from mailx.core.dkim import RSA, Signer, body_tags, digest, folded, signed
from mailx.mail import chain
from mailx.mail.canonical import Mail, field_relaxed
from mailx.mail.chain import SETS, Chain
from mailx.mail.parameters import without_comments

_VERDICT = re.compile(r"(?:^|;)\s*arc\s*=\s*([a-z]+)", re.IGNORECASE)
_QUOTED = re.compile(rb'"(?>(?:[^"\\]++|\\[\s\S])*)(?:"|\Z)')
_CONTROLS = re.compile(r"[\0-\x20\x7f]+")


def verdict(known: Chain, results: str) -> str:
    """What a new seal says of the chain before it: "none", "pass", "fail", or "" when there must be no new seal."""
    if not known.sets and not known.problem:
        return "none"
    if known.failed or known.instances >= SETS:  # RFC 8617 5.1.2: a failed chain stays as it is
        return ""
    if known.problem:
        return "fail"
    # What strangers wrote may stand in comments and quoted strings.
    said = _VERDICT.search(_QUOTED.sub(b"", without_comments(results.encode("utf-8", "replace"))).decode())
    return said[1].lower() if said is not None and said[1].lower() in ("pass", "fail") else ""


def seal(content: bytes, signers: Sequence[Signer], hostname: str, results: str, now: int) -> bytes:
    """The ARC set to put before ``content``; empty if it must not be sealed. ``results`` is what Authentication-Results said.

    Raises Unsignable.
    """
    mail = Mail(content)
    known = chain.read(mail)
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
    shared = digest(mail, (b"DKIM-Signature",))
    head = f"ARC-Message-Signature: i={number}; a={signer.algorithm}; c=relaxed/relaxed; {who};\r\n\tt={now};\r\n".encode("ascii")
    message = signed(head + body_tags(shared), shared.fields, signer)
    # RFC 8617 5.1.2: a seal on a chain that failed covers its own set alone.
    before = [mail.canonical(place, True) for one in known.sets for place in one] if validation != "fail" else []
    data = b"".join([*before, field_relaxed(findings), field_relaxed(message)])
    sealed = signed(
        f"ARC-Seal: i={number}; a={signer.algorithm}; t={now}; cv={validation};\r\n\t{who};\r\n\t".encode("ascii"), data, signer
    )
    return sealed + message + findings

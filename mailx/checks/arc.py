"""ARC (RFC 8617): whether the forwarders of a message vouch for one another, in the three steps of DKIM.

Pure and bounded, and never raises. The chain passes when every set is complete, the newest message signature fits and all
seals do; what an older forwarder changed legitimately breaks its message signature, so those are not asked. A chain that a
forwarder found broken itself (cv=fail) stays so.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence

from attrs import define, evolve, field, frozen
from authres import AuthResError, core_features

from mailx.checks import signature
from mailx.checks.signature import ALGORITHMS, Signature
from mailx.core import key_record
from mailx.core.key_record import KeyProblem, Unusable
from mailx.core.resolver import ascii_name
from mailx.mail import chain
from mailx.mail.canonical import Mail, hash_body
from mailx.mail.header import unfold
from mailx.mail.tags import SIGNATURE_OCTETS

_FORM = "relaxed/relaxed"  # what forwarders mean that leave c= out, whatever RFC 6376 3.5 says of DKIM's


@frozen
class Verdict:
    """What is known of the chain."""

    result: str  # "none", "pass", "fail", "temperror"
    reason: str = ""
    sealers: tuple[str, ...] = ()  # domains of the seals, oldest first
    results: tuple[bytes, ...] = ()  # values of the ARC-Authentication-Results behind the instance, oldest first
    whole: bool = False  # the newest message signature covers the author and the whole body


NONE = Verdict("none")


@define
class Chain:
    """A chain on its way to its verdict; no ``signatures`` when the verdict is there already."""

    verdict: Verdict
    signatures: list[tuple[Signature, bytes]] = field(factory=list)  # the newest message signature, then the seals; digests


def examine(mail: Mail, now: float) -> Chain:
    """The chain of ``mail``; the hash of the body is still missing."""
    sets = chain.read(mail)
    if sets.problem:
        return Chain(Verdict("fail", sets.problem))
    if not sets.sets:
        return Chain(NONE)
    try:
        return _chain(mail, sets, now)
    except Unusable as unusable:
        return Chain(Verdict("fail", unusable.reason))


def _chain(mail: Mail, sets: chain.Chain, now: float) -> Chain:
    if sets.failed:
        raise Unusable("fail", "a forwarder found the chain broken")
    order: list[int] = []
    sealed: list[tuple[Signature, bytes]] = []
    for number, (results, message, seal) in enumerate(sets.sets, 1):
        tags = sets.tags[seal]
        if tags.get("cv") != ("none" if number == 1 else "pass"):
            raise Unusable("fail", "wrong cv=")
        if "h" in tags:
            raise Unusable("fail", "h= in a seal")
        read = signature.read(seal, tags, now, covers=False)
        order += [results, message]
        sealed.append((read, _sealed(mail, order, read)))
        order.append(seal)
    message = sets.sets[-1][1]
    newest = signature.read(message, sets.tags[message], now, covers=True, form=_FORM)
    if chain.SEAL in newest.names:
        raise Unusable("fail", "a message signature covers seals")
    sealers = tuple([read.domain for read, _ in sealed])
    values = tuple([mail.fields[results][2].partition(b";")[2] for results, _, _ in sets.sets])
    return Chain(Verdict("fail", "", sealers, values), [(newest, b""), *sealed])


def _sealed(mail: Mail, order: Sequence[int], seal: Signature) -> bytes:
    """What ``seal`` signs: all earlier sets, its own, and itself without b= (RFC 8617 5.1.1)."""
    fields = [mail.canonical(place, True) for place in order]
    return hashlib.sha256(b"".join([*fields, signature.unsigned(mail, seal.place, True)])).digest()


def hash_all(mail: Mail, found: Chain) -> None:
    """Hash what the newest message signature covers."""
    if not found.signatures:
        return
    newest, _ = found.signatures[0]
    assert newest.body is not None
    hash_body(mail.content, mail.body, [newest.body])
    if newest.body.digest != newest.body_digest or not newest.body.enough:
        found.verdict = Verdict("fail", "body has changed", found.verdict.sealers)
        found.signatures = []
    else:
        found.signatures[0] = newest, signature.digest(mail, newest)
        authors = mail.count(b"from")
        found.verdict = evolve(found.verdict, whole=newest.body.whole and 0 < authors <= newest.names.count(b"from"))


def conclude(candidate: Chain, records: Mapping[str, Sequence[bytes] | None]) -> Verdict:
    """The verdict on ``candidate``; ``records`` are the TXT records under each question, None where DNS gave no answer."""
    if not candidate.signatures:
        return candidate.verdict
    verdict = candidate.verdict
    for read, digest in candidate.signatures:
        found = records.get(read.question)
        if found is None:
            return Verdict("temperror", "no answer for a key", verdict.sealers)
        if not any(_signed(record, read, digest) for record in found[:4]):
            return Verdict("fail", "a signature does not verify", verdict.sealers)
    return evolve(verdict, result="pass")


def _signed(record: bytes, read: Signature, digest: bytes) -> bool:
    try:
        key = key_record.read(record)
    except KeyProblem:
        return False
    return key.kind == ALGORITHMS[read.algorithm] and key.takes_sha256 and key.signed(digest, read.signature)


def vouches(verdict: Verdict, trusted: Collection[str], author: str) -> str:
    """The forwarder of ``trusted`` in whose word mail of ``author`` passed DMARC when it came there; empty if there is none.

    Asked from the newest back, and no further than the first that is not trusted: what came before it anyone may have made up.
    """
    if verdict.result != "pass" or not verdict.whole:
        return ""
    for sealer, results in zip(reversed(verdict.sealers), reversed(verdict.results), strict=True):
        if sealer not in trusted:
            break
        if _passed(results, author):
            return sealer
    return ""


def _passed(results: bytes, author: str) -> bool:
    """Whether an ARC-Authentication-Results says that mail of ``author`` passed DMARC."""
    if len(results) > SIGNATURE_OCTETS:
        return False
    try:
        header = core_features().parse_value(unfold(results).decode("ascii"))
    except (AuthResError, UnicodeDecodeError):
        return False
    for result in header.results:
        if result.method == "dmarc" and result.result == "pass":
            named = [each.value for each in result.properties if (each.type, each.name) == ("header", "from")]
            return bool(named) and ascii_name(str(named[0]).rpartition("@")[2]) == author
    return False

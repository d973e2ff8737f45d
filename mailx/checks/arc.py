"""ARC (RFC 8617): whether the forwarders of a message vouch for one another, in the three steps of DKIM.

Pure and bounded, and never raises. The chain passes when every set is complete, the newest message signature fits and all
seals do; what an older forwarder changed legitimately breaks its message signature, so those are not asked. A chain that a
forwarder found broken itself (cv=fail) stays so.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence

from attrs import define, evolve, field, frozen
from authres import AuthResError, core_features

from mailx.checks import keys, signature
from mailx.checks.canonical import hash_body
from mailx.checks.keys import KeyProblem
from mailx.checks.signature import ALGORITHMS, Mail, Signature, Unusable
from mailx.core.resolver import ascii_name
from mailx.mail.header import unfold

SETS = 50  # RFC 8617 5.1.1.3 asks to refuse chains that are longer
_RESULTS, _MESSAGE, _SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_FORM = "relaxed/relaxed"  # what forwarders mean that leave c= out, whatever RFC 6376 3.5 says of DKIM's
_NUMBERED = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]{0,3})[ \t\r\n]*;")


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
    if not any(name in mail.places for name in (_RESULTS, _MESSAGE, _SEAL)):
        return Chain(NONE)
    try:
        return _chain(mail, now)
    except Unusable as unusable:
        return Chain(Verdict("fail", unusable.reason))


def _chain(mail: Mail, now: float) -> Chain:
    results, messages, seals = (_places(mail, name) for name in (_RESULTS, _MESSAGE, _SEAL))
    count = len(seals)
    if not set(results) == set(messages) == set(seals) == set(range(1, count + 1)):
        raise Unusable("fail", "incomplete sets")
    order: list[int] = []
    sealed: list[tuple[Signature, bytes]] = []
    for number in range(1, count + 1):
        tags = signature.tags(mail, seals[number])
        if tags.get("cv") == "fail" and number == count:
            raise Unusable("fail", "a forwarder found the chain broken")
        if tags.get("cv") != ("none" if number == 1 else "pass"):
            raise Unusable("fail", "wrong cv=")
        if "h" in tags:
            raise Unusable("fail", "h= in a seal")
        read = signature.read(mail, seals[number], tags, now, covers=False)
        order += [results[number], messages[number]]
        sealed.append((read, _sealed(mail, order, read)))
        order.append(seals[number])
    newest = signature.read(mail, messages[count], signature.tags(mail, messages[count]), now, covers=True, form=_FORM)
    if _SEAL in newest.names:
        raise Unusable("fail", "a message signature covers seals")
    sealers = tuple([read.domain for read, _ in sealed])
    values = tuple([mail.fields[results[number]][2].partition(b";")[2] for number in range(1, count + 1)])
    return Chain(Verdict("fail", "", sealers, values), [(newest, b""), *sealed])


def _places(mail: Mail, name: bytes) -> dict[int, int]:
    """The places of the fields of ``name`` by their instance; raises Unusable for one that has none or that of another."""
    places = mail.places.get(name, [])
    if not 0 < len(places) <= SETS:
        raise Unusable("fail", "incomplete sets" if not places else "too many sets")
    found: dict[int, int] = {}
    for place in places:
        if name == _RESULTS:
            match = _NUMBERED.match(mail.fields[place][2])
            if match is None:
                raise Unusable("fail", "malformed instance")
            number = int(match[1])
        else:
            number = signature.instance(signature.tags(mail, place))
        if number in found:
            raise Unusable("fail", "an instance stands twice")
        found[number] = place
    return found


def _sealed(mail: Mail, order: Sequence[int], seal: Signature) -> bytes:
    """What ``seal`` signs: all earlier sets, its own, and itself without b= (RFC 8617 5.1.1)."""
    fields = [mail.canonical(place, True) for place in order]
    return hashlib.sha256(b"".join([*fields, mail.unsigned(seal.place, True)])).digest()


def hash_all(mail: Mail, chain: Chain) -> None:
    """Hash what the newest message signature covers."""
    if not chain.signatures:
        return
    newest, _ = chain.signatures[0]
    assert newest.body is not None
    hash_body(mail.content, mail.body, [newest.body])
    if newest.body.digest != newest.body_digest or not newest.body.enough:
        chain.verdict = Verdict("fail", "body has changed", chain.verdict.sealers)
        chain.signatures = []
    else:
        chain.signatures[0] = newest, mail.digest(newest.names, newest.place, newest.relaxed_header)
        authors = mail.count(b"from")
        chain.verdict = evolve(chain.verdict, whole=newest.body.whole and 0 < authors <= newest.names.count(b"from"))


def conclude(chain: Chain, records: Mapping[str, Sequence[bytes] | None]) -> Verdict:
    """The verdict on ``chain``; ``records`` are the TXT records under each question, None where DNS gave no answer."""
    if not chain.signatures:
        return chain.verdict
    verdict = chain.verdict
    for read, digest in chain.signatures:
        found = records.get(read.question)
        if found is None:
            return Verdict("temperror", "no answer for a key", verdict.sealers)
        if not any(_signed(record, read, digest) for record in found[:4]):
            return Verdict("fail", "a signature does not verify", verdict.sealers)
    return evolve(verdict, result="pass")


def _signed(record: bytes, read: Signature, digest: bytes) -> bool:
    try:
        key = keys.read(record)
    except KeyProblem:
        return False
    return key.kind == ALGORITHMS[read.algorithm] and key.signed(digest, read.signature)


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
    if len(results) > signature.FIELD_OCTETS:
        return False
    try:
        header = core_features().parse_value(unfold(results).decode("ascii"))
    except (AuthResError, UnicodeDecodeError):
        return False
    for result in header.results:
        if result.method == "dmarc" and result.result == "pass":
            named = [each.value for each in result.properties if (each.type, each.name) == ("header", "from")]
            return not named or ascii_name(str(named[0]).rpartition("@")[2]) == author
    return False

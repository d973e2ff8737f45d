"""DKIM (RFC 6376, 8301, 8463): which domains answer for a message, found out in three steps.

``examine`` reads the signatures and hashes what they cover, ``conclude`` asks a key whether it signed; between them the keys
are looked up. All of it is pure, takes bounded time whatever the message holds, and never raises: what is wrong with a
signature is its verdict. A verdict of "pass" vouches for the whole message; a signature that leaves part of the body open
(l=) or comes with a weak key is "policy" (RFC 8601 2.7.1), and nobody relies on it.
"""

from collections.abc import Collection, Sequence

from attrs import define, evolve, field, frozen

from mailx.checks import signature
from mailx.checks.signature import ALGORITHMS, Signature
from mailx.core import key_record
from mailx.core.key_record import KeyProblem, Unusable
from mailx.core.resolver import ascii_name
from mailx.mail import tags as tag_list
from mailx.mail.canonical import Mail, hash_body
from mailx.mail.tags import MalformedTags, compact

LOOKED_AT = 10  # signatures verified
_READ = 100  # signatures read, to find those of the author among them
_RECORDS = 4  # keys tried under one name (RFC 6376 3.6.2.2 leaves several undefined)
_SHOWN = 8  # letters of b= that name a signature (RFC 6008 3)


@frozen
class Verdict:
    """What is known of one signature. ``domain`` is A-labels in a "pass"; in other verdicts the texts may be anything."""

    result: str  # "pass", "fail", "policy", "neutral", "temperror", "permerror"
    reason: str = ""
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    shown: str = ""  # the first letters of b=
    testing: bool = False  # the signer only tries (t=y): a failure means nothing


@define
class Candidate:
    """A signature on its way to its verdict; ``signature`` is None when the verdict is there already."""

    verdict: Verdict
    signature: Signature | None = None
    digest: bytes = field(default=b"", repr=False)


def examine(mail: Mail, authors: Collection[str], now: float) -> list[Candidate]:
    """The signatures that are to be verified, at most LOOKED_AT, those of the domains ``authors`` first; hashes still missing."""
    found = []
    for place in mail.places.get(b"dkim-signature", ())[:_READ]:
        verdict = Verdict("neutral")
        try:
            tags = tag_list.signature(mail.fields[place][2])
            verdict = _claimed(tags)
            found.append(_candidate(place, tags, verdict, now))
        except MalformedTags as error:
            found.append(Candidate(evolve(verdict, result="neutral", reason=str(error))))
        except Unusable as unusable:
            found.append(Candidate(evolve(verdict, result=unusable.result, reason=unusable.reason)))
    found.sort(key=lambda each: each.signature is None or not _related(each.signature.domain, authors))
    return found[:LOOKED_AT]


def _candidate(place: int, tags: dict[str, str], verdict: Verdict, now: float) -> Candidate:
    if tags.get("v") != "1":
        raise Unusable("permerror", "unsupported version")
    read = signature.read(place, tags, now, covers=True)
    if b"from" not in read.names:
        raise Unusable("permerror", "From is not signed")
    identity = tags.get("i")
    if identity is not None and not _within(identity.rpartition("@")[2].lower(), read):
        raise Unusable("permerror", "i= is not within d=")
    return Candidate(evolve(verdict, domain=read.domain), read)


def _claimed(tags: dict[str, str]) -> Verdict:
    """Whose a signature claims to be; the texts are a stranger's."""
    domain, selector, algorithm, shown = (tags.get(name, "") for name in "dsab")
    return Verdict("neutral", "", domain, selector, algorithm, compact(shown)[:_SHOWN])


def _within(domain: str, read: Signature) -> bool:
    claimed = ascii_name(domain) or ""
    return claimed == read.domain or claimed.endswith("." + read.domain)


def _related(domain: str, authors: Collection[str]) -> bool:
    return any(domain == author or domain.endswith("." + author) or author.endswith("." + domain) for author in authors)


def hash_all(mail: Mail, candidates: Sequence[Candidate]) -> None:
    """Hash what the candidates cover; those whose body is another one get their verdict."""
    signatures = [each.signature for each in candidates if each.signature is not None]
    hash_body(mail.content, mail.body, [each.body for each in signatures if each.body is not None])
    for each in candidates:
        read = each.signature
        if read is None or read.body is None:
            continue
        if read.body.digest != read.body_digest or not read.body.enough:
            each.verdict = evolve(each.verdict, result="fail", reason="body has changed")
            each.signature = None
        elif read.names.count(b"from") < mail.count(b"from"):
            each.verdict = evolve(each.verdict, result="fail", reason="a From was added")
            each.signature = None
        else:
            each.digest = signature.digest(mail, read)


def conclude(candidate: Candidate, records: Sequence[bytes] | None) -> Verdict:
    """The verdict on ``candidate``; ``records`` are the TXT records under its question, None if DNS gave no answer."""
    read = candidate.signature
    if read is None:
        return candidate.verdict
    result, reason, testing = "permerror", "no key", False
    if records is None:
        return evolve(candidate.verdict, result="temperror", reason="no answer for the key")
    for record in records[:_RECORDS]:
        try:
            key = key_record.read(record)
        except KeyProblem as problem:
            result, reason = problem.result, problem.reason
            continue
        result, reason = _verified(read, key, candidate.digest)
        testing = key.testing
        if result in ("pass", "policy"):
            break
    return evolve(candidate.verdict, result=result, reason=reason, testing=testing)


def _verified(read: Signature, key: key_record.Key, digest: bytes) -> tuple[str, str]:
    if key.kind != ALGORITHMS[read.algorithm] or not key.takes_sha256:
        return "permerror", "the key is for another algorithm"
    if key.strict and (ascii_name(read.tags.get("i", "@" + read.domain).rpartition("@")[2]) or "") != read.domain:
        return "permerror", "i= is not d="
    if not key.signed(digest, read.signature):
        return "fail", "signature does not verify"
    if read.body is not None and not read.body.whole:
        return "policy", "part of the body is not signed"
    return "pass", ""

"""What the proof in a sealed message is worth, and how an Authentication-Results field (RFC 8601) says so. Pure.

``pass``: the key of the author, or of the author's domain, vouches for exactly this message. ``none``: nobody of the author's
does; the message may still have been sealed by the recipient's own server when it arrived readable. ``fail``: somebody pretends.
``permerror``: it does not open, or its proof cannot be read; ``temperror``: the keys could not be had.
"""

import re
from collections.abc import Collection, Mapping

from attrs import frozen

from mailx.identity.sealing import CLIENT, RECEIVER, Opened, Proof
from mailx.identity.user_keys import CLIENT as HELD_BY_CLIENT
from mailx.mail import addresses, header
from mailx.mail.address import Address, AddressError

PASS, FAIL, NONE, TEMPERROR, PERMERROR = "pass", "fail", "none", "temperror", "permerror"
USER, DOMAIN = "user", "domain"  # whose key
SENDER, SERVER, ARRIVAL = "sender", "server", "arrival"  # where it was sealed: by the sender, by the sender's server, when it arrived

_METHOD = "mailx-seal"
_TRACE = (b"return-path", b"received", b"received-spf", b"authentication-results", b"delivered-to")
_FROM_LIMIT = 4096  # octets
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\Z")


@frozen
class Verdict:
    """``result`` is one of the words above; ``text`` tells people more, and is ours."""

    result: str
    text: str = ""
    author: Address | None = None
    key: str = ""  # USER or DOMAIN, whose key vouches
    sealed: str = ""  # SENDER, SERVER or ARRIVAL
    end_to_end: bool = False  # the sender's own program sealed it, with a key that no server has

    def field(self, hostname: str) -> bytes:
        """The header field that says so in the name of ``hostname``."""
        words = [f"{_METHOD}={self.result}"]
        if self.text:
            words.append(f'reason="{self.text}"')
        if self.author is not None and _LOCAL.match(self.author.local) and _NAME.match(self.author.domain):
            words.append(f"header.from={self.author}")
        if self.key:
            words.append(f"policy.key={self.key}")
        if self.sealed:
            words.append(f"policy.sealed={self.sealed}")
        if self.end_to_end:
            words.append("policy.end-to-end=yes")
        return b"Authentication-Results: " + ";\r\n\t".join([hostname, " ".join(words)]).encode("ascii", "replace") + b"\r\n"


@frozen
class Believed:
    """What is believed of those who vouch: ``keys`` of the proof's domain or, where a user does, the user's ``signers``.

    None: they could not be had. ``signers`` says who holds each key, as the domain attested it: the proof may claim anything.
    """

    keys: Collection[bytes] | None = None
    signers: Mapping[bytes, str] | None = None


def judged(opened: Opened, head: bytes, believed: Believed, own: Collection[str]) -> Verdict:
    """What an opened message is worth that begins with ``head``; ``own`` are the domains of the recipient, A-labels."""
    author = author_of(head)
    if opened.unreadable:
        return Verdict(PERMERROR, "the proof cannot be read", author)
    proof = opened.proof
    if proof is None:
        return Verdict(NONE, "nobody says who sealed it", author)
    if proof.boxes != opened.boxes:
        return Verdict(FAIL, "the proof was made for others", author)
    key = DOMAIN if proof.attestation is None else USER
    keys: Collection[bytes] | None = believed.keys if proof.attestation is None else believed.signers
    if keys is None:
        return Verdict(TEMPERROR, "the keys of who sealed it could not be had", author)
    if not _vouched(proof, keys):
        return Verdict(FAIL, "no valid key vouches for it", author, key)
    if proof.by == RECEIVER or domain_of(proof.sender) != proof.domain:
        if proof.domain in own and proof.attestation is None:
            return Verdict(NONE, "sealed when it arrived", author, "", ARRIVAL)
        return Verdict(FAIL, "another domain than the author's vouches for it", author, key)
    if author is None or author.key != proof.sender.key:
        return Verdict(FAIL, "its author is not who sealed it", author, key)
    by_client = proof.by == CLIENT and proof.attestation is not None
    held = proof.attestation is not None and (believed.signers or {}).get(proof.attestation.signing) == HELD_BY_CLIENT
    return Verdict(PASS, "", author, key, SENDER if by_client else SERVER, by_client and held)


def _vouched(proof: Proof, keys: Collection[bytes]) -> bool:
    """Whether one of ``keys`` signed the proof, as the proof says."""
    attested = proof.attestation
    if attested is None:
        return any([proof.statement.signed_by(key) for key in keys])
    return attested.address.key == proof.sender.key and attested.signing in keys and proof.statement.signed_by(attested.signing)


def author_of(head: bytes) -> Address | None:
    """The only address of the only From field in the header section that ``head`` begins with; None if it is not so clear."""
    end = head.find(b"\r\n\r\n")
    fields = head if end < 0 else head[: end + 2]
    if _BARE.search(fields):
        return None  # programs differ in where such lines end, so in what From says
    values = [value for _, name, value in header.split(fields, 0, len(fields)) if name.lower() == b"from"]
    if len(values) != 1 or len(values[0]) > _FROM_LIMIT:
        return None
    entries = addresses.parse(header.unfold(values[0]))
    if len(entries) != 1 or not entries[0].mailbox or not entries[0].host or values[0].count(b"<") > 1:
        return None
    try:
        return Address.parse(f"{entries[0].mailbox.decode()}@{entries[0].host.decode()}")
    except (AddressError, UnicodeDecodeError):
        return None


def domain_of(address: Address) -> str:
    """The domain of ``address`` as keys name it: lower case, A-labels; empty if it is no name."""
    try:
        return (
            address.domain.encode("ascii").decode() if address.domain.isascii() else address.domain.encode("idna").decode("ascii").lower()
        )
    except UnicodeError:
        return ""


def trace(fields: bytes) -> bytes:
    """What carrying a sealed message added to its ``fields`` that belongs before the message in it, too."""
    kept = []
    for raw, name, _ in header.split(fields, 0, len(fields)):
        if name.lower() == b"from":
            break  # what stands above the message's own fields was added on the way
        if name.lower() in _TRACE:
            kept.append(raw if raw.endswith(b"\n") else raw + b"\r\n")
    return b"".join(kept)

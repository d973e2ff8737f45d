"""Sealed mail on the owner's side: a library to seal and open messages.

    keys = UserKeyFile.open(Path("ann.keys").read_bytes(), passphrase)
    sites = Sites(keys.known)
    for made in seal(source, keys, [Address.parse("bob@example.org")], sites): ...
    found = unseal(source, keys, sites)

A ``source`` gives the message in pieces, from its beginning at each call. Nothing is ever left readable silently: if one recipient
has no keys, nothing is sealed for the others either. Messages of any size are worked on in little memory. Failure is CannotSeal,
or one of the exceptions that each function names.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from time import time
from urllib.parse import quote

from attrs import evolve, frozen

from mailx.core import headers
from mailx.core.unsealed import Looked, Source, framed, inner, look
from mailx.identity import sealed_message, sealing
from mailx.identity.enrolment import requested
from mailx.identity.seal_verdict import FAIL, Believed, Verdict, author_of, domain_of, judged
from mailx.identity.sealing import CLIENT, Sender
from mailx.identity.statements import mapping
from mailx.identity.user_key_file import UserKeyFile
from mailx.identity.user_keys import Attestation
from mailx.mail import addresses, header
from mailx.mail.address import Address, AddressError
from mailx.sealed_directory import NotTrusted, Sites

_FIELDS = 262144  # octets of header fields of a message to seal
_HIDDEN = frozenset((b"bcc", b"resent-bcc"))
_RESULTS = frozenset((b"authentication-results",))


class CannotSeal(Exception):
    """The message cannot be sealed; the text is for people."""


@frozen
class Made:
    """One sealed message, to be sent to ``recipients``; ``pieces`` yields it once."""

    recipients: tuple[Address, ...]
    pieces: Iterator[bytes]


@frozen
class Found:
    """An opened message; ``pieces`` yields it, behind a field that says what the seal was worth."""

    verdict: Verdict
    pieces: Iterator[bytes]


def seal(source: Source, keys: UserKeyFile, recipients: Sequence[Address], sites: Sites) -> list[Made]:
    """Seal a message for ``recipients`` in the name of the owner of ``keys``, one for each destination.

    Recipients whom the message does not name get one of their own. Raises CannotSeal, NotFound, NotTrusted.
    """
    fields, end = _fields(source)
    author = author_of(fields + b"\r\n")
    if author is None or author.key != keys.address.key:
        raise CannotSeal(f"the message is not from {keys.address}: its field From must name this address and no other")
    if keys.attestation is None or keys.attestation.signing != keys.signer.public:
        raise CannotSeal(f"the keys are not attested yet: run mailx-open --enrol {keys.address}")
    fields = _submitted(fields, domain_of(author))
    digest, size = sha256(fields), len(fields)
    for piece in _after(source, end):
        digest.update(piece)
        size += len(piece)
    public = {address: sites.user(address).sealing for address in recipients}
    sender = Sender(author, domain_of(author), keys.signer, keys.attestation, CLIENT)
    named = _named(fields)
    made, now = [], int(time())
    for members, open_ in _groups(recipients, named):
        content = _chained(fields, _after(source, end))
        container = sealing.sealed([public[address] for address in members], content, size, digest.digest(), sender, now)
        head = sealed_message.head(author, members if open_ else (), now)
        made.append(Made(members, _chained(head, sealed_message.encoded(container))))
    return made


def unseal(source: Source, keys: UserKeyFile, sites: Sites | None) -> Found:
    """Open a sealed message with ``keys``; without ``sites`` nobody is asked who sealed it. Raises Malformed, NotForUs, NotTrusted."""
    looked: Looked = look(source, keys.privates)
    proof = looked.opened.proof
    believed = Believed() if proof is None or sites is None else sites.believed(proof)
    own = domain_of(keys.address)
    verdict = judged(looked.opened, looked.head, believed, [own])
    if looked.altered:
        verdict = Verdict(FAIL, "its content is not what was signed", author_of(looked.head))
    before, skipped, fields = framed(looked, verdict, own, _without_results, partial(headers.unclaimed, hostname=own))
    return Found(verdict, inner(source, keys.privates, before + fields, skipped))


def recipients_of(source: Source) -> list[Address]:
    """Whom the fields To, Cc and Bcc of a message name."""
    fields, _ = _fields(source)
    found: dict[str, Address] = {}
    for _, name, value in header.split(fields, 0, len(fields)):
        if name.lower() in (b"to", b"cc", b"bcc"):
            for entry in addresses.parse(header.unfold(value)):
                if entry.mailbox and entry.host:
                    try:
                        address = Address.parse(f"{entry.mailbox.decode()}@{entry.host.decode()}")
                    except (AddressError, UnicodeDecodeError):
                        raise CannotSeal("the message names somebody whose address cannot be read") from None
                    found.setdefault(address.key, address)
    return list(found.values())


def enrol(keys: UserKeyFile, sites: Sites, login: tuple[str, str]) -> UserKeyFile:
    """Have the keys attested by the domain, by the account's name and password. Raises Declined, NotFound, NotTrusted, Malformed."""
    domain = domain_of(keys.address)
    request = requested(keys.address, keys.public, keys.signer, int(time()))
    answer = mapping(sites.call("PUT", _place(sites, keys.address), request.encode(), login), "an answer")
    attestation = Attestation.decode(answer.get("attestation"))
    if (attestation.address.key, attestation.sealing, attestation.signing) != (keys.address.key, keys.public, keys.signer.public):
        raise NotTrusted(f"{domain} attested other keys than those that were sent")
    if not attestation.good(sites.domain(domain), int(time())):
        raise NotTrusted(f"{domain} attested the keys with another key than the one that it publishes")
    return evolve(keys, attestation=attestation)


def revoke(keys: UserKeyFile, sites: Sites, login: tuple[str, str]) -> UserKeyFile:
    """Have nothing more sealed to the keys; they go on opening what was. Raises Declined, NotFound, NotTrusted."""
    sites.call("DELETE", _place(sites, keys.address), None, login)
    return evolve(keys, attestation=None)


def _place(sites: Sites, address: Address) -> str:
    return f"{sites.site(domain_of(address))}/identity/{quote(address.key, safe='@')}"


def _groups(recipients: Sequence[Address], named: frozenset[str]) -> Iterator[tuple[tuple[Address, ...], bool]]:
    """Those of one destination together; those whom the message names apart from those whom it does not."""
    groups: dict[tuple[str, bool], list[Address]] = {}
    for address in dict.fromkeys(recipients):
        groups.setdefault((domain_of(address), address.key in named), []).append(address)
    for (_, open_), members in groups.items():
        for start in range(0, len(members), sealing.BOXES):
            yield tuple(members[start : start + sealing.BOXES]), open_


def _named(fields: bytes) -> frozenset[str]:
    found = set()
    for _, name, value in header.split(fields, 0, len(fields)):
        if name.lower() in (b"to", b"cc"):
            for entry in addresses.parse(header.unfold(value)):
                found.add(f"{(entry.mailbox or b'').decode('utf-8', 'replace')}@{(entry.host or b'').decode('utf-8', 'replace')}".lower())
    return frozenset(found)


def _fields(source: Source) -> tuple[bytes, int]:
    """The header fields of a message, and where they end."""
    head = b""
    for piece in source():
        head += piece
        end = headers.end(head)
        if end is not None or len(head) > _FIELDS:
            break
    else:
        end = len(head)
    if not end or end > _FIELDS:
        raise CannotSeal("this is no message: it begins with no header fields, or with too many")
    return head[:end], end


def _submitted(fields: bytes, domain: str) -> bytes:
    fields = headers.submitted(fields, domain, time())
    return header.fields(fields, _HIDDEN, but_not=True)[:-2]


def _without_results(fields: bytes) -> bytes:
    return header.fields(fields, _RESULTS, but_not=True)[:-2]


def _after(source: Source, skipped: int) -> Iterator[bytes]:
    """The message behind its first octets."""
    for piece in source():
        if skipped >= len(piece):
            skipped -= len(piece)
            continue
        yield piece[skipped:]
        skipped = 0


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


__all__ = ["CannotSeal", "Found", "Made", "Sites", "UserKeyFile", "enrol", "recipients_of", "revoke", "seal", "unseal"]

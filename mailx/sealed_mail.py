"""Sealed mail on the owner's side: a library to seal and open messages, and the commands ``mailx-seal`` and ``mailx-open``.

    keys = UserKeyFile.open(Path("ann.keys").read_bytes(), passphrase)
    sites = Sites(keys.known)
    for made in seal(source, keys, [Address.parse("bob@example.org")], sites): ...
    found = unseal(source, keys, sites)

A ``source`` gives the message in pieces, from its beginning at each call. Nothing is ever left readable silently: if one recipient
has no keys, nothing is sealed for the others either. The commands work on files of any size in little memory.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import quote

import click
from attrs import evolve, frozen

from mailx import __version__
from mailx.core import headers
from mailx.core.unsealed import Looked, Source, framed, inner, look
from mailx.identity import sealed_message, sealing
from mailx.identity.encoding import Malformed, canonical
from mailx.identity.enrolment import requested
from mailx.identity.seal_verdict import FAIL, Believed, Verdict, author_of, domain_of, judged
from mailx.identity.sealing import CLIENT, NotForUs, Sender
from mailx.identity.statements import mapping
from mailx.identity.user_key_file import UserKeyFile
from mailx.identity.user_keys import Attestation
from mailx.mail import addresses, header
from mailx.mail.address import Address, AddressError
from mailx.sealed_directory import Declined, NotFound, NotTrusted, Sites
from mailx.sealed_files import KeyFile, asked, failed, line, put, spooled

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


# The commands


def _common(function: Any) -> Any:
    """Options of both commands."""
    options = [
        click.option(
            "-k",
            "--key",
            "key_file",
            metavar="FILE",
            envvar="MAILX_KEYS",
            default="~/.mailx-keys",
            show_default=True,
            help="The owner's keys.",
        ),
        click.option("--passphrase-file", metavar="FILE", help="Read the passphrase of the keys from the first line of FILE."),
        click.option("--site", "sites", multiple=True, metavar="DOMAIN=URL", help="Where the site of a domain is, if not at the domain."),
        click.option("--cafile", metavar="FILE", help="PEM file with authorities believed besides the system's."),
        click.option("--forget", multiple=True, metavar="DOMAIN", help="Believe the key that the domain shows now."),
        click.option("--unix", is_flag=True, help="Write lines that end with LF, not CRLF."),
        click.version_option(__version__),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _sites(keys: UserKeyFile, sites: Sequence[str], cafile: str | None, forget: Sequence[str]) -> Sites:
    places = {}
    for each in sites:
        domain, equals, url = each.partition("=")
        if not equals or not url.startswith("https://"):
            failed(f"{each} is not DOMAIN=https://...")
        places[domain.lower()] = url
    try:
        return Sites({domain: key for domain, key in keys.known.items() if domain not in forget}, places, cafile)
    except OSError:
        failed(f"{cafile} has no certificates of authorities that can be read")


@click.command()
@click.argument("recipients", nargs=-1)
@click.option("-o", "--output", metavar="DIRECTORY", help="Write a file for each destination, and say whom to send it to.")
@_common
def seal_command(
    recipients: tuple[str, ...],
    output: str | None,
    key_file: str,
    passphrase_file: str | None,
    sites: tuple[str, ...],
    cafile: str | None,
    forget: tuple[str, ...],
    unix: bool,
) -> None:
    """Seal the message on standard input for RECIPIENTS (default: those whom it names) so that only they can open it.

    Keys of recipients are looked up at their domains and checked; if one has none, nothing is sealed.
    """
    kept = KeyFile(key_file, passphrase_file)
    keys = kept.open()
    looking = _sites(keys, sites, cafile, forget)
    source, close = spooled(sys.stdin.buffer)
    try:
        wanted = [Address.parse(each) for each in recipients] or recipients_of(source)
        if not wanted:
            failed("the message names nobody: give the recipients")
        made = seal(source, keys, wanted, looking)
        kept.write(evolve(keys, known=looking.known))
        if output is not None:
            _put_each(made, Path(output), unix)
        elif len(made) > 1:
            failed("the recipients need messages of their own (several destinations, or hidden ones): give --output DIRECTORY")
        else:
            put(made[0].pieces, sys.stdout.buffer, unix)
    except (CannotSeal, NotFound, NotTrusted, Malformed) as error:
        failed(f"not sealed: {error}")
    except AddressError as error:
        failed(f"not an address: {error}")
    finally:
        close()


def _put_each(made: Sequence[Made], directory: Path, unix: bool) -> None:
    for number, each in enumerate(made, 1):
        path = directory / f"sealed-{number}.eml"
        try:
            with path.open("xb") as file:
                put(each.pieces, file, unix)
        except OSError as error:
            failed(f"{path} cannot be written: {error.strerror}")
        click.echo(f"{path}: {' '.join([str(address) for address in each.recipients])}")


@click.command()
@click.option("--offline", is_flag=True, help="Ask nobody who sealed the message.")
@click.option("--enrol", metavar="ADDRESS", help="Have keys attested for the account (made if FILE is not there).")
@click.option("--new-keys", is_flag=True, help="With --enrol: replace the keys by new ones; the old ones go on opening.")
@click.option("--request", is_flag=True, help="With --enrol: print the request, for an administrator to enrol.")
@click.option("--revoke", "revoked", metavar="ADDRESS", help="Have nothing more sealed to the keys.")
@click.option("--password-file", metavar="FILE", help="Read the account's password from the first line of FILE.")
@_common
def open_command(
    offline: bool,
    enrol: str | None,
    new_keys: bool,
    request: bool,
    revoked: str | None,
    password_file: str | None,
    key_file: str,
    passphrase_file: str | None,
    sites: tuple[str, ...],
    cafile: str | None,
    forget: tuple[str, ...],
    unix: bool,
) -> None:
    """Open the sealed message on standard input. A field Authentication-Results says who sealed it, and whether that holds."""
    kept = KeyFile(key_file, passphrase_file)
    if enrol is not None:
        keys = _own(kept, enrol, new_keys)
        if request:
            made = requested(keys.address, keys.public, keys.signer, int(time()))
            kept.write(keys)
            click.echo(canonical(made.encode()).decode())
            return
    else:
        keys = kept.open()
    looking = _sites(keys, sites, cafile, forget)
    try:
        if enrol is not None or revoked is not None:
            _change(kept, keys, looking, revoked is not None, password_file)
        else:
            _open(kept, keys, None if offline else looking, unix)
    except (NotFound, NotTrusted, Declined) as error:
        failed(str(error))
    except NotForUs:
        failed("this message is sealed for other keys")
    except Malformed as error:
        failed(f"this does not open: {error}")


def _own(kept: KeyFile, address: str, new: bool) -> UserKeyFile:
    """The keys to enrol for ``address``; ends the program if the file is somebody else's."""
    try:
        wanted = Address.parse(address)
    except AddressError as error:
        failed(f"{address} is not an address: {error}")
    if not kept.path.exists():
        return UserKeyFile.fresh(wanted)
    keys = kept.open()
    if keys.address.key != wanted.key:
        failed(f"{kept.path} has the keys of {keys.address}: name another file with --key")
    return keys.renewed() if new else keys


def _change(kept: KeyFile, keys: UserKeyFile, sites: Sites, revoking: bool, password_file: str | None) -> None:
    """Enrol or revoke at the server."""
    if not revoking:
        kept.write(keys)  # before anything is sealed to them
    password = asked(f"Password of {keys.address}") if password_file is None else line(password_file)
    login = (str(keys.address), password)
    changed = revoke(keys, sites, login) if revoking else enrol(keys, sites, login)
    kept.write(evolve(changed, known=sites.known))
    told = "Nothing more is sealed to the keys of" if revoking else "Mail is sealed from now on for"
    click.echo(f"{told} {keys.address}. Keep {kept.path} safe: nobody else has what is in it.", err=True)


def _open(kept: KeyFile, keys: UserKeyFile, sites: Sites | None, unix: bool) -> None:
    source, close = spooled(sys.stdin.buffer)
    try:
        found = unseal(source, keys, sites)
        if sites is not None:
            kept.write(evolve(keys, known=sites.known))
        put(found.pieces, sys.stdout.buffer, unix)
    finally:
        close()


__all__ = ["CannotSeal", "Found", "Made", "Sites", "UserKeyFile", "enrol", "recipients_of", "revoke", "seal", "unseal"]

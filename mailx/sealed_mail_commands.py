"""The commands ``mailx-seal`` and ``mailx-open``: sealed mail on the owner's side, from standard input to standard output.

What they do is :mod:`mailx.sealed_mail`. Whatever goes wrong ends the program with one line that says what to do.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

import click
from attrs import evolve

from mailx import __version__
from mailx.identity.encoding import Malformed, canonical
from mailx.identity.enrolment import requested
from mailx.identity.sealing import NotForUs
from mailx.identity.user_key_file import UserKeyFile
from mailx.mail.address import Address, AddressError
from mailx.sealed_directory import Declined, NotFound, NotTrusted, Sites
from mailx.sealed_files import KeyFile, asked, failed, line, put, spooled
from mailx.sealed_mail import CannotSeal, Made, enrol, recipients_of, revoke, seal, unseal


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

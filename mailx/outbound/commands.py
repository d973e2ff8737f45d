"""MAIL and RCPT as the client writes them, with the parameters that the server knows; and what it would have to know.

Pure. What goes into a command line is checked here once more: nothing that came from a stranger can end a line.
"""

import re
from collections.abc import Mapping

import idna

from mailx.core.courier import DANE, VERIFIED
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Envelope, Notify, Wish
from mailx.mail.reply import Refused, Reply

ENVID_LIMIT = 100  # characters, RFC 3461 4.4
ORCPT_LIMIT = 500  # characters, RFC 3461 4.2

TOO_LARGE = Reply(552, "5.3.4", "Message too large for the next server")
NO_UTF8 = Reply(550, "5.6.7", "The next server does not take internationalised addresses or header fields (SMTPUTF8)")
NO_REQUIRETLS = Reply(550, "5.7.30", "The next server does not promise TLS all the way (REQUIRETLS)")
NO_ADDRESS = Reply(550, "5.1.3", "The address cannot be sent")

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NOT_XTEXT = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")
_NOTIFY = ((Notify.SUCCESS, "SUCCESS"), (Notify.FAILURE, "FAILURE"), (Notify.DELAY, "DELAY"))


def path(address: Address | None, utf8: bool) -> str:
    """``address`` as it stands in a command; raises Refused. Without ``utf8`` its domain is written in A-labels."""
    if address is None:
        return "<>"
    if not utf8 and not address.ascii:
        if not address.local.isascii():
            raise Refused(NO_UTF8)
        try:
            address = Address(address.local, idna.encode(address.domain, uts46=True).decode("ascii"))
        except idna.IDNAError:
            raise Refused(NO_ADDRESS) from None
    text = str(address)
    if _CONTROLS.search(text):
        raise Refused(NO_ADDRESS)
    return f"<{text}>"


def mail(envelope: Envelope, extensions: Mapping[str, str], size: int, eight_bit: bool, utf8: bool) -> bytes:
    """The MAIL command; raises Refused."""
    demands = envelope.demands
    words = ["MAIL FROM:" + path(envelope.sender, utf8)]
    if "SIZE" in extensions:
        words.append(f"SIZE={size}")
    if eight_bit:
        words.append("BODY=8BITMIME")
    if utf8:
        words.append("SMTPUTF8")
    if demands.require_tls:
        words.append("REQUIRETLS")
    if "DSN" in extensions:
        if demands.returns in ("FULL", "HDRS"):
            words.append("RET=" + demands.returns)
        if demands.id and len(id := xtext(demands.id)) <= ENVID_LIMIT:
            words.append("ENVID=" + id)
    return " ".join(words).encode() + b"\r\n"


def rcpt(address: Address, wish: Wish | None, dsn: bool, utf8: bool) -> bytes:
    """The RCPT command; raises Refused."""
    line = "RCPT TO:" + path(address, utf8)
    if dsn and wish is not None:
        if wish.notify:
            line += " NOTIFY=" + notify(wish.notify)
        if wish.original and len(original := orcpt(wish.original, utf8)) <= ORCPT_LIMIT:
            line += " ORCPT=" + original
    return line.encode() + b"\r\n"


def notify(wanted: int) -> str:
    """A NOTIFY parameter: NEVER stands alone (RFC 3461 4.1)."""
    if wanted & Notify.NEVER:
        return "NEVER"
    return ",".join(word for flag, word in _NOTIFY if wanted & flag)


def xtext(text: str) -> str:
    """``text`` in xtext (RFC 3461 4): what is not printable ASCII, and "+" and "=", as +XX."""
    return _NOT_XTEXT.sub(lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode()), text)


def orcpt(original: str, utf8: bool) -> str:
    """An ORCPT parameter, "rfc822;" and the address in xtext; one beyond ASCII by RFC 6533 3."""
    kind, _, address = original.partition(";")
    if address.isascii():
        return f"{xtext(kind)};{xtext(address)}"
    if utf8 and not _CONTROLS.search(address):
        return "utf-8;" + "".join(each if not each.isascii() else _escaped(each) for each in address)
    return "utf-8;" + "".join(_escaped(each) for each in address)


def _escaped(character: str) -> str:
    if character.isascii() and character not in "\\+=" and "\x21" <= character <= "\x7e":
        return character
    return f"\\x{{{ord(character):02X}}}"


def lacking(demands: Demands, extensions: Mapping[str, str], security: str) -> Reply | None:
    """Why the session must not be used for such a message; None if it may (RFC 8689 4.2.1)."""
    if demands.require_tls and (security not in (VERIFIED, DANE) or "REQUIRETLS" not in extensions):
        return NO_REQUIRETLS
    return None

"""Mailbox addresses as RFC 5321 4.1.2 and RFC 6531 3.3 write them.

``Address`` is the address as given, with its domain lower-cased; ``key`` is what lookups compare.
"""

import re

from attrs import frozen

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_DOT_STRING = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*\Z")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"\Z')
_LABEL = r"[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9_\u0080-\U0010ffff-]*[A-Za-z0-9\u0080-\U0010ffff])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_LITERAL = re.compile(r"\[[A-Za-z0-9.:-]+\]\Z")

LOCAL_LIMIT = 64  # octets, RFC 5321 4.5.3.1.1
DOMAIN_LIMIT = 255  # octets, RFC 5321 4.5.3.1.2


class AddressError(ValueError):
    """The text is no mailbox address."""


@frozen
class Address:
    """One mailbox. ``local`` is unquoted, ``domain`` lower case without a trailing dot."""

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The address that ``text`` (``local@domain``, no angle brackets) writes; raises AddressError."""
        local, at, domain = text.rpartition("@")
        if not at or not local:
            raise AddressError("an address is local-part@domain")
        if local.startswith('"'):
            quoted = _QUOTED.match(local)
            if quoted is None:
                raise AddressError("malformed quoted local part")
            local = re.sub(r"\\(.)", r"\1", quoted[1])
        elif not _DOT_STRING.match(local):
            raise AddressError("malformed local part")
        if not _DOMAIN.match(domain) and not _LITERAL.match(domain):
            raise AddressError("malformed domain")
        if len(local.encode()) > LOCAL_LIMIT:
            raise AddressError(f"the local part is longer than {LOCAL_LIMIT} octets")
        if len(domain.encode()) > DOMAIN_LIMIT:
            raise AddressError(f"the domain is longer than {DOMAIN_LIMIT} octets")
        return cls(local, domain.lower())

    @property
    def key(self) -> str:
        """What two spellings of one mailbox share: everything lower case."""
        return f"{self.local.lower()}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """Whether the address can travel without SMTPUTF8."""
        return self.local.isascii() and self.domain.isascii()

    def base(self, separator: str) -> "Address":
        """The address without its subaddress (RFC 5233): ``user+tag@d`` is ``user@d``."""
        head, found, _ = self.local.partition(separator)
        return Address(head, self.domain) if found and head else self

    def __str__(self) -> str:
        if not self.domain:  # the bare postmaster of RFC 5321 4.1.1.3
            return self.local
        if _DOT_STRING.match(self.local):
            return f"{self.local}@{self.domain}"
        quoted = re.sub(r'([\\"])', r"\\\1", self.local)
        return f'"{quoted}"@{self.domain}'

"""The values of the directory: who an account is, what an address reaches, which names are allowed, how it says no."""

import re
import unicodedata

import idna
from attrs import field, frozen

from mailx.mail.address import Address, AddressError

ROLES = ("user", "owner", "admin")
ACTIVE = "active"
SUSPENDED = "suspended"
DELETED = "deleted"  # till its grace is over
STATES = (ACTIVE, SUSPENDED, DELETED)
SERVER = "server"
CLIENT = "client"
LOST_WITHOUT = (
    "Give the old password or the recovery code. Without either that mail must be given up: `--lose-sealed-mail`, or its box in the panel."
)

REMEDIES = {
    "account": "`mailxctl user list` shows the accounts.",
    "domain": "Add it with `mailxctl domain add`.",
    "alias": "`mailxctl alias list` shows the aliases.",
    "block": "`mailxctl block list` shows the list.",
}

_LEVELS = 12  # of a domain that blocks are looked for at, so that a name of a hundred labels costs no more
_ACCOUNT_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z")


class DirectoryError(Exception):
    """The directory refuses: ``code`` is not_found, exists, invalid, in_use, limit or unpublished; both texts are safe to show."""

    def __init__(self, code: str, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.remedy = remedy


@frozen
class User:
    """One account, as of a moment ago. ``quota`` and ``used`` are octets; quota 0 is unlimited."""

    id: int
    address: Address
    role: str  # one of ROLES
    state: str  # one of STATES
    quota: int  # the configured default already applied
    used: int
    credentials_version: bytes = field(repr=False)  # new with every password
    sealed: str = ""  # SERVER: opened by a login here; CLIENT: never here; empty: not at all

    @property
    def active(self) -> bool:
        """Whether it may log in and be delivered to."""
        return self.state == ACTIVE

    def room(self, octets: int) -> bool:
        """Whether ``octets`` more fit into its quota."""
        return not self.quota or self.used + octets <= self.quota


@frozen
class Resolved:
    """What a local address reaches: one account, or the targets of an alias or a catch-all; suspended ones included."""

    users: tuple[User, ...]
    remotes: tuple[Address, ...] = ()  # addresses elsewhere, to which an alias passes mail on


@frozen
class Details:
    """An account as its administrator sees it. Times are seconds since 1970."""

    user: User
    created: int
    last_login: int | None
    own_quota: int | None  # None: the configured default applies
    aliases: tuple[str, ...] = ()
    deleted: int | None = None  # when it was; None: it is not
    retention: int | None = None  # days that its mail stays, 0: for good; None: as the server's setting says
    warned: int = 0  # percent of the quota of whose crossing the owner was told last, while that lasts
    warned_at: int | None = None


@frozen
class Domain:
    """A local domain with the number of its accounts and aliases."""

    name: str
    created: int
    accounts: int
    aliases: int


@frozen
class Alias:
    """An alias and what it reaches; the local part ``*`` catches all."""

    address: Address
    targets: tuple[Address, ...]  # accounts, then addresses elsewhere
    created: int
    remotes: tuple[Address, ...] = ()  # those of the targets that are elsewhere


@frozen
class Block:
    """A blocked sender: an address, or ``@domain`` for all of a domain."""

    pattern: str
    created: int


def domain_name(text: str) -> str:
    """The one spelling of a domain that is stored: lower case, no trailing dot, A-labels (RFC 5890); raises DirectoryError."""
    name = canonical_domain(text.strip())
    try:
        Address.parse(f"x@{name}")
    except AddressError:
        name = ""
    if not name or not name.isascii() or name.startswith("["):
        raise DirectoryError("invalid", f"{text!r} is not a domain name", "Give a name such as example.org.")
    return name


def canonical_domain(name: str) -> str:
    """``name`` in lower case with A-labels, or merely in lower case when it is not a valid international name."""
    name = name.removesuffix(".").lower()
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def canonical(address: Address) -> tuple[str, str]:
    """(local, domain) as names are stored: lower case, NFC, A-labels."""
    local = address.local.lower()
    if not local.isascii():
        local = unicodedata.normalize("NFC", local)
    return local, canonical_domain(address.domain)


def account_name(text: str) -> Address:
    """The address of a new account; raises DirectoryError when it breaks the rules for names."""
    address = parse(text)
    if not _ACCOUNT_NAME.match(address.local):
        raise DirectoryError(
            "invalid",
            f"{address.local!r} is not a name for an account",
            "Use the letters a-z, digits, and . _ - between them; other spellings can be aliases.",
        )
    return address


def parse(text: str) -> Address:
    """The address that an administrator typed, in its stored spelling; raises DirectoryError."""
    try:
        local, domain = canonical(Address.parse(text.strip()))
        return Address(local, domain)
    except AddressError as error:
        raise DirectoryError("invalid", f"{text!r} is not a mail address: {error}", "Give it as name@domain.") from None


def alias_target(text: str) -> Address:
    """What an alias is to reach: as :func:`parse`, but the local part keeps its case, which other servers may mind (RFC 5321 2.4)."""
    address = parse(text)
    return Address(Address.parse(text.strip()).local, address.domain)


def block_pattern(text: str) -> str:
    """The stored spelling of a blocked sender, ``local@domain`` or ``@domain``; raises DirectoryError."""
    text = text.strip()
    if text.startswith("@") or "@" not in text:
        return "@" + domain_name(text.removeprefix("@"))
    address = parse(text)
    return f"{address.local}@{address.domain}"


def block_patterns(address: Address) -> list[str]:
    """All that would block ``address``: itself, its domain, and the domains above that down to two labels."""
    local, domain = canonical(address)
    labels = domain.split(".")
    above = [".".join(labels[place:]) for place in range(max(1, len(labels) - _LEVELS), len(labels) - 1)]
    return [f"{local}@{domain}", f"@{domain}", *[f"@{each}" for each in above]]


def check_quota(quota: int | None) -> None:
    """Raise DirectoryError unless an account can have ``quota`` octets; None: the configured default."""
    if quota is not None and not 0 <= quota < 2**62:
        raise DirectoryError("invalid", f"{quota} is not a quota", "Give octets, 0 for unlimited.")

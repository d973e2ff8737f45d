"""What trying another server out comes to: every line that went over the wire, in one word whether it worked, and what to do if not.

The panel shows a ``Probe`` to an administrator. A transcript never holds a password, nor anything of an exchange that
carries one. The probes themselves are the edges': they never raise for what the other server does or fails to do.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from attrs import frozen

from mailx.config import Smarthost
from mailx.mail.address import Address

IMAP = "imap"
IMAPS = "imaps"
POP3 = "pop3"
POP3S = "pop3s"

# The kinds of mailboxes on other servers, with the port of each (RFC 6335's registry; RFC 8314 for those with TLS from the first octet).
PORTS: Mapping[str, int] = MappingProxyType({IMAP: 143, IMAPS: 993, POP3: 110, POP3S: 995})


@frozen
class Probe:
    """How it went. Lines of the transcript begin with ``S: `` (the server's), ``C: `` (ours) or ``TLS: ``, ``-- `` (what happened)."""

    ok: bool
    transcript: tuple[str, ...]
    summary: str
    remedy: str = ""


class IMailOutProbe(Protocol):
    """Tries the smart host of ``settings`` out."""

    async def try_smarthost(self, settings: Smarthost, sender: Address, recipient: Address) -> Probe:
        """Connect, log in and send one real message from ``sender`` to ``recipient``. Never raises for what the host does."""
        ...


class IMailboxProbe(Protocol):
    """Tries a mailbox on another server out, by IMAP or POP3."""

    async def try_mailbox(self, kind: str, host: str, port: int, username: str, password: str, verify: bool, timeout: int) -> Probe:
        """Connect, log in, look and log out; nothing there is changed. ``kind`` is one of ``PORTS``. Never raises for what the host does."""
        ...

"""What trying another server out comes to: what went over the wire, in one line whether it worked, and what to do if not.

The panel shows a ``Probe`` to an administrator. A ``Transcript`` never holds a password, nor anything of an exchange that
carries one, and is bounded whatever the server says. The probes themselves are the edges': they never raise for what the
other server does or fails to do.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from attrs import frozen

from mailx.config import Smarthost
from mailx.core.faults import ADVICE, Fault
from mailx.mail.address import Address
from mailx.mail.printable import printable

IMAP = "imap"
IMAPS = "imaps"
POP3 = "pop3"
POP3S = "pop3s"

# The kinds of mailboxes on other servers, with the port of each (RFC 8314 for those with TLS from the first octet).
PORTS: Mapping[str, int] = MappingProxyType({IMAP: 143, IMAPS: 993, POP3: 110, POP3S: 995})

_LINES = 400  # of a transcript
_LINE = 500  # characters of one
_HIDDEN = "(hidden: it repeats what was sent to log in)"


@frozen
class Probe:
    """How it went. A line of the transcript begins with ``S: `` (the server's), ``C: `` (ours), ``TLS: `` or ``-- `` (what happened)."""

    ok: bool
    transcript: tuple[str, ...]
    summary: str
    remedy: str = ""


class Transcript:
    """What went over the wire, line by line, without secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lines: list[str] = []
        self._secrets = [secret for secret in secrets if secret]
        self._left = _LINES

    def hide(self, secret: str) -> None:
        """Show no line that holds ``secret`` from now on."""
        if secret:
            self._secrets.append(secret)

    def server(self, line: bytes) -> None:
        """The server said ``line``."""
        if self._left <= 0:  # looking for secrets takes its time, and nobody sees it
            self._add("")
            return
        text = line[: 4 * _LINE].decode("utf-8", "replace")
        self._add("S: " + (_HIDDEN if repeats(text, self._secrets) else text))

    def client(self, line: str) -> None:
        """We said ``line``, which holds no secret."""
        self._add("C: " + line)

    def note(self, *lines: str) -> None:
        """Something happened; ``lines`` as they are to be shown."""
        for line in lines:
            self._add(line)

    def probe(self, summary: str) -> Probe:
        """It worked."""
        return Probe(True, tuple(self._lines), clear(summary))

    def failed(self, fault: Fault, host: str, port: int) -> Probe:
        """It did not, for this reason."""
        summary, remedy = ADVICE[fault.kind]
        said = "(hidden)" if repeats(fault.said, self._secrets) else fault.said
        told = clear(summary.format(host=host or "The server", port=port, said=said or "it does not say why"))
        return Probe(False, tuple(self._lines), told, remedy)

    def _add(self, line: str) -> None:
        self._left -= 1
        if self._left >= 0:
            self._lines.append(clear(line))
        elif self._left == -1:
            self._lines.append("-- more is not shown")


def clean(text: str) -> bool:
    """Whether ``text`` has no control characters: names and passwords with some are never sent."""
    return not any(ord(each) < 32 or ord(each) == 127 for each in text)


def clear(line: str) -> str:
    """``line`` of bounded length, in which nothing steers a terminal or a text's direction."""
    return printable(line[:_LINE])


def repeats(text: str, secrets: Sequence[str]) -> bool:
    """Whether ``text`` holds eight characters in a row of a secret, or the whole of a shorter one, in capitals or not."""
    text = text.lower()
    return any(
        secret[start : start + 8] in text
        for secret in (each.lower() for each in secrets if each)
        for start in range(max(1, len(secret) - 7))
    )


class IMailOutProbe(Protocol):
    """Tries the smart host of ``settings`` out."""

    async def try_smarthost(self, settings: Smarthost, sender: Address, recipient: Address) -> Probe:
        """Connect, log in and send one real message from ``sender`` to ``recipient``. Never raises for what the host does."""
        ...


class IMailboxProbe(Protocol):
    """Tries a mailbox on another server out, by IMAP or POP3."""

    async def try_mailbox(self, kind: str, host: str, port: int, username: str, password: str, verify: bool, timeout: int) -> Probe:
        """Connect, log in, look and log out; nothing there is changed. ``kind`` is one of ``PORTS``.

        Never raises for what the host does.
        """
        ...


class MailboxProbes:
    """The probes of both protocols as one."""

    def __init__(self, imap: IMailboxProbe, pop3: IMailboxProbe) -> None:
        self._probes = {IMAP: imap, IMAPS: imap, POP3: pop3, POP3S: pop3}

    async def try_mailbox(self, kind: str, host: str, port: int, username: str, password: str, verify: bool, timeout: int) -> Probe:
        """See IMailboxProbe."""
        return await self._probes[kind].try_mailbox(kind, host, port, username, password, verify, timeout)

"""Tries a POP3 mailbox on another server out: greeting, capabilities, TLS, login, count of messages, goodbye. Nothing is changed.

Every way to fail ends in a :class:`Probe` that says why. A password goes over an unencrypted connection only to this machine
itself, or where certificates are not checked either.
"""

import re
from base64 import b64encode
from typing import Any

from mailx.config import is_loopback
from mailx.core import faults
from mailx.core.conversation import Call, Caller, Trust
from mailx.core.faults import Fault
from mailx.core.probing import Probe, Transcript, clean
from mailx.core.reaching import Addresses

_CAPABILITIES = 100  # lines that are read
_STAT = re.compile(r"([0-9]{1,10}) ([0-9]{1,15})")
_PASSES = ("[SYS/TEMP]", "[IN-USE]", "[LOGIN-DELAY]")  # RFC 2449 8.1, RFC 3206: nothing is wrong with the password


class POP3Probe:
    """See :class:`mailx.core.probing.IMailboxProbe`."""

    def __init__(self, resolver: Addresses, reactor: Any, trust: Trust | None = None) -> None:
        """``trust`` decides which authorities are believed."""
        self._caller = Caller(resolver, reactor, trust)

    async def try_mailbox(self, kind: str, host: str, port: int, username: str, password: str, verify: bool, timeout: int) -> Probe:
        """Connect, log in, look and log out. Never raises for what the host does."""
        secrets = (password, b64encode(password.encode()).decode())
        return await self._caller.try_mailbox(
            kind,
            host,
            port,
            verify,
            timeout,
            secrets,
            lambda call: _Session(call, call.conversation.transcript, verify).run(username, password),
        )


class _Session:
    def __init__(self, call: Call, transcript: Transcript, verify: bool) -> None:
        self._call = call
        self._conversation = call.conversation
        self._transcript = transcript
        self._verify = verify

    async def run(self, username: str, password: str) -> str:
        """The whole session; what there is to say of it. Raises Fault."""
        good, said = _status(await self._call.greeting())
        if not good:
            raise Fault(faults.NOT_WELCOME, said)
        capabilities = await self._capabilities()
        if not self._conversation.encrypted and "STLS" in capabilities:
            good, said = await self._ask("STLS")
            if not good:
                raise Fault(faults.TLS_BROKEN)
            await self._call.encrypt()
            capabilities = await self._capabilities()  # RFC 2595 4: what was said before does not count
        if not self._conversation.encrypted:
            if self._verify and not is_loopback(self._call.address):
                raise Fault(faults.NO_STARTTLS)
            self._transcript.note("-- the password goes unencrypted (UNSAFE)")
        await self._log_in(username, password, capabilities)
        return await self._look()

    async def _capabilities(self) -> dict[str, str]:
        """Name in capitals to parameters; empty where the server knows no CAPA (RFC 2449 5)."""
        good, _ = await self._ask("CAPA")
        found: dict[str, str] = {}
        if not good:
            return found
        for _ in range(_CAPABILITIES):
            line = (await self._conversation.line()).decode("ascii", "replace")
            if line == ".":
                return found
            name, _, parameters = line.partition(" ")
            found[name.upper()] = parameters.upper()
        raise Fault(faults.FLOOD)

    async def _log_in(self, username: str, password: str, capabilities: dict[str, str]) -> None:
        if not clean(username + password):
            raise Fault(faults.WRONG_CREDENTIALS)
        plain = username.isascii() and password.isascii()
        if "PLAIN" in capabilities.get("SASL", "").split() and (not plain or "USER" not in capabilities):
            good, said = await self._authenticate(username, password)
        else:
            if capabilities and "USER" not in capabilities and not self._conversation.encrypted:
                raise Fault(faults.AUTH_NEEDS_TLS)
            good, said = await self._ask(f"USER {username}", "USER (hidden)")
            if good:
                good, said = await self._ask(f"PASS {password}", "PASS (hidden)")
        if not good:
            raise Fault(faults.LOGIN_REFUSED if said.upper().startswith(_PASSES) else faults.WRONG_PASSWORD, said)

    async def _authenticate(self, username: str, password: str) -> tuple[bool, str]:
        """By SASL PLAIN, which carries every name and password (RFC 4616, RFC 5034)."""
        response = b64encode(b"\0%b\0%b" % (username.encode(), password.encode())).decode("ascii")
        self._transcript.hide(response)
        self._conversation.say("AUTH PLAIN")
        line = await self._conversation.line()
        if not line.startswith(b"+ ") and line != b"+":
            good, said = _status(line)
            if good:
                raise Fault(faults.BABBLE)
            return False, said
        return await self._ask(response, "(hidden)")

    async def _look(self) -> str:
        """Count messages, and say goodbye."""
        good, said = await self._ask("STAT")
        found = _STAT.match(said) if good else None
        if found is None:
            raise Fault(faults.BABBLE)
        try:
            await self._ask("QUIT")
        except Fault:  # it has gone without a word: all was seen by then
            pass
        return f"Logged in: {int(found[1])} messages of {int(found[2])} octets."

    async def _ask(self, command: str, shown: str = "") -> tuple[bool, str]:
        """Whether the server says yes to ``command``, and its words. Raises Fault."""
        self._conversation.say(command, shown)
        return _status(await self._conversation.line())


def _status(line: bytes) -> tuple[bool, str]:
    """Whether ``line`` is a "yes", and what it says; raises Fault when it is neither "yes" nor "no"."""
    word, _, text = line.decode("utf-8", "replace").partition(" ")
    if word.upper() not in ("+OK", "-ERR"):
        raise Fault(faults.BABBLE)
    return word.upper() == "+OK", text.strip()

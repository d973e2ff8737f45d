"""Tries an IMAP mailbox on another server out: greeting, capabilities, TLS, login, folders, goodbye. Nothing there is changed.

Every way to fail ends in a :class:`Probe` that says why. A password goes over an unencrypted connection only to this machine
itself, or where certificates are not checked either.
"""

import re
from base64 import b64encode
from typing import Any

from attrs import frozen

from mailx.config import is_loopback
from mailx.core import faults
from mailx.core.conversation import Call, Caller, Trust
from mailx.core.faults import Fault
from mailx.core.probing import Probe, Transcript, clean
from mailx.core.reaching import Addresses

_LITERAL = re.compile(rb"\{([0-9]{1,9})\}\Z")
_MESSAGES = re.compile(rb"MESSAGES ([0-9]{1,10})", re.IGNORECASE)
_CODE = re.compile(r"\[([A-Z-]+)")
_LITERALS = 200  # in one response
_PASSES = frozenset(("UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG"))  # response codes of RFC 5530 that say nothing of the password


@frozen
class _Answer:
    """How a command ended, and what came before."""

    status: str  # OK, NO, BAD
    text: str
    untagged: tuple[bytes, ...]


class IMAPProbe:
    """See :class:`mailx.core.probing.IMailboxProbe`."""

    def __init__(self, resolver: Addresses, reactor: Any, trust: Trust | None = None) -> None:
        """``trust`` decides which authorities are believed."""
        self._caller = Caller(resolver, reactor, trust)

    async def try_mailbox(self, kind: str, host: str, port: int, username: str, password: str, verify: bool, timeout: int) -> Probe:
        """Connect, log in, look and log out. Never raises for what the host does."""
        secrets = (password, _quoted(password)[1:-1], b64encode(password.encode()).decode())
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
        self._number = 0

    async def run(self, username: str, password: str) -> str:
        """The whole session; what there is to say of it. Raises Fault."""
        greeting = (await self._call.greeting()).decode("utf-8", "replace")
        words = greeting.upper().split(None, 2)
        if words[:1] != ["*"] or len(words) < 2 or words[1] not in ("OK", "PREAUTH", "BYE"):
            raise Fault(faults.BABBLE)
        if words[1] == "BYE":
            raise Fault(faults.NOT_WELCOME, greeting[5:].strip())
        capabilities = await self._capabilities()
        if not self._conversation.encrypted and "STARTTLS" in capabilities:
            answer = await self._ask("STARTTLS")
            if answer.status != "OK":
                raise Fault(faults.TLS_BROKEN)
            await self._call.encrypt()
            capabilities = await self._capabilities()  # RFC 9051 6.2.1: what was said before does not count
        if words[1] == "OK":
            self._protected(capabilities)
            await self._log_in(username, password, capabilities)
        return await self._look()

    def _protected(self, capabilities: frozenset[str]) -> None:
        """Whether a password may be sent. Raises Fault."""
        if self._conversation.encrypted:
            return
        if "LOGINDISABLED" in capabilities:
            raise Fault(faults.AUTH_NEEDS_TLS)
        if self._verify and not is_loopback(self._call.address):
            raise Fault(faults.NO_STARTTLS)
        self._transcript.note("-- the password goes unencrypted (UNSAFE)")

    async def _capabilities(self) -> frozenset[str]:
        answer = await self._ask("CAPABILITY")
        found: set[str] = set()
        for line in answer.untagged:
            words = line.decode("ascii", "replace").upper().split()
            if words[:1] == ["CAPABILITY"]:
                found.update(words[1:])
        if answer.status != "OK" or not found:
            raise Fault(faults.BABBLE)
        return frozenset(found)

    async def _log_in(self, username: str, password: str, capabilities: frozenset[str]) -> None:
        if not clean(username + password):
            raise Fault(faults.WRONG_CREDENTIALS)
        plain = username.isascii() and password.isascii()
        if "AUTH=PLAIN" in capabilities and (not plain or "LOGINDISABLED" in capabilities):
            answer = await self._authenticate(username, password)
        elif "LOGINDISABLED" in capabilities:
            raise Fault(faults.NO_MECHANISM, " ".join(sorted(each for each in capabilities if each.startswith("AUTH="))))
        elif plain:
            answer = await self._ask(f"LOGIN {_quoted(username)} {_quoted(password)}", "LOGIN (hidden)")
        else:
            answer = await self._ask("LOGIN", "LOGIN", (username.encode(), password.encode()))
        if answer.status != "OK":
            found = _CODE.match(answer.text.upper())
            code = found[1] if found else ""
            if code == "PRIVACYREQUIRED":
                raise Fault(faults.AUTH_NEEDS_TLS)
            wrong = answer.status == "NO" and code not in _PASSES
            raise Fault(faults.WRONG_PASSWORD if wrong else faults.LOGIN_REFUSED, answer.text)

    async def _authenticate(self, username: str, password: str) -> _Answer:
        """By SASL PLAIN, which carries every name and password (RFC 4616)."""
        response = b64encode(b"\0%b\0%b" % (username.encode(), password.encode())).decode("ascii")
        self._transcript.hide(response)
        return await self._ask("AUTHENTICATE PLAIN", "AUTHENTICATE PLAIN", (), response)

    async def _look(self) -> str:
        """Count folders and messages, and say goodbye."""
        listed = await self._ask('LIST "" "*"')
        folders = sum(1 for line in listed.untagged if line[:5].upper() == b"LIST ")
        status = await self._ask("STATUS INBOX (MESSAGES)")
        found = next((match for line in status.untagged if line[:7].upper() == b"STATUS " and (match := _MESSAGES.search(line))), None)
        try:
            await self._ask("LOGOUT")
        except Fault:  # it has gone without a word: all was seen by then
            pass
        messages = f", {int(found[1])} messages in INBOX" if found else ""
        return f"Logged in: {folders} folders{messages}."

    async def _ask(self, command: str, shown: str = "", literals: tuple[bytes, ...] = (), response: str = "") -> _Answer:
        """Give a command and read to its end. ``literals`` are its last arguments, ``response`` answers a challenge. Raises Fault."""
        self._number += 1
        tag = f"a{self._number}"
        left = list(literals)
        size = f" {{{len(left[0])}}}" if left else ""
        self._conversation.say(f"{tag} {command}{size}", f"{tag} {shown or command}{size}")
        untagged: list[bytes] = []
        while True:
            line = await self._response()
            if line.startswith(b"+"):
                if left:
                    octets = left.pop(0)
                    following = f" {{{len(left[0])}}}" if left else ""
                    self._conversation.say(octets.decode() + following, "(hidden)" + following)
                elif response:
                    self._conversation.say(response, "(hidden)")
                    response = ""
                else:
                    raise Fault(faults.BABBLE)
            elif line.startswith(b"* "):
                untagged.append(line[2:])
            else:
                begin, _, rest = line.partition(b" ")
                status, _, text = rest.decode("utf-8", "replace").partition(" ")
                if begin != tag.encode() or status.upper() not in ("OK", "NO", "BAD"):
                    raise Fault(faults.BABBLE)
                return _Answer(status.upper(), text, tuple(untagged))

    async def _response(self) -> bytes:
        """One response with its literals, whose octets are never read as anything else. Raises Fault."""
        whole = b""
        for _ in range(_LITERALS):
            line = await self._conversation.line()
            found = _LITERAL.search(line)
            if found is None:
                return whole + line
            whole += line[: found.start()] + await self._conversation.octets(int(found[1]))
        raise Fault(faults.FLOOD)


def _quoted(text: str) -> str:
    """A quoted string (RFC 9051 4.3); ``text`` is ASCII without controls."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

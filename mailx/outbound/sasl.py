"""How the client proves who it is: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256 (RFC 4616, RFC 2195, RFC 5802, RFC 7677).

Each mechanism answers the server's challenges, given and taken without base64. ``SASLError`` means that the server cannot be
believed or understood; its text is safe to show and never holds a secret.
"""

import hashlib
import hmac
import re
import secrets
from abc import abstractmethod
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable
from typing import Any

from mailx.core.passwords import PasswordError, saslprep
from mailx.outbound.hop import Login

LEAST_ITERATIONS = 4096  # RFC 7677 4: fewer make guessing too easy for whoever listens
MOST_ITERATIONS = 1000000  # more would only keep our processor busy
_FIRST = re.compile(
    rb"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<iterations>[1-9][0-9]{0,8})(?:,[A-Za-z]=[^,]+)*\Z"
)
_FINAL = re.compile(rb"v=(?P<signature>[A-Za-z0-9+/=]+)(?:,[A-Za-z]=[^,]+)*\Z")

Threads = Callable[..., Awaitable[Any]]
"""Runs a blocking call in a thread: ``await threads(call, *arguments)``."""


class SASLError(Exception):
    """The exchange cannot go on."""


class Mechanism:
    """One login by one mechanism."""

    initial: bytes | None = None  # what goes with the AUTH command, if anything

    @abstractmethod
    async def respond(self, challenge: bytes) -> bytes:
        """The answer to the server's next challenge; raises SASLError."""

    def finish(self) -> None:
        """The server let us in; raises SASLError if it has not proved who it is although it had to."""


class Plain(Mechanism):
    def __init__(self, login: Login, threads: Threads) -> None:
        if "\0" in login.username + login.password:
            raise SASLError("a name or password that PLAIN cannot carry")
        self.initial = b"\0%b\0%b" % (login.username.encode(), login.password.encode())

    async def respond(self, challenge: bytes) -> bytes:
        raise SASLError("a challenge although PLAIN has none")


class LoginMechanism(Mechanism):
    """LOGIN: name, then password; the challenges' texts mean nothing."""

    def __init__(self, login: Login, threads: Threads) -> None:
        self._words = [login.username.encode(), login.password.encode()]

    async def respond(self, challenge: bytes) -> bytes:
        if not self._words:
            raise SASLError("a third challenge although LOGIN has two")
        return self._words.pop(0)


class CramMD5(Mechanism):
    def __init__(self, login: Login, threads: Threads) -> None:
        self._login: Login | None = login

    async def respond(self, challenge: bytes) -> bytes:
        login, self._login = self._login, None
        if login is None or not challenge:
            raise SASLError("a challenge that CRAM-MD5 does not have")
        digest = hmac.new(login.password.encode(), challenge, "md5").hexdigest()
        return b"%b %b" % (login.username.encode(), digest.encode("ascii"))


class ScramSHA256(Mechanism):
    """The server must prove that it knows the password too: a "yes" without its signature is a "no"."""

    def __init__(self, login: Login, threads: Threads, nonce: str = "") -> None:
        try:
            name, self._password = saslprep(login.username), saslprep(login.password).encode()
        except PasswordError as error:
            raise SASLError(str(error)) from None
        self._threads = threads
        self._nonce = (nonce or secrets.token_urlsafe(18)).encode("ascii")
        escaped = name.replace("=", "=3D").replace(",", "=2C").encode()
        self._bare = b"n=%b,r=%b" % (escaped, self._nonce)
        self.initial = b"n,," + self._bare
        self._expected: bytes | None = None  # the signature that the server must show
        self._proved = False

    async def respond(self, challenge: bytes) -> bytes:
        if self._expected is None:
            return await self._prove(challenge)
        found = _FINAL.match(challenge)
        if self._proved or found is None or not hmac.compare_digest(_decoded(found["signature"]), self._expected):
            raise SASLError("the server does not know the password")
        self._proved = True
        return b""

    async def _prove(self, challenge: bytes) -> bytes:
        found = _FIRST.match(challenge)
        if found is None or not found["nonce"].startswith(self._nonce) or len(found["nonce"]) <= len(self._nonce):
            raise SASLError("a challenge that SCRAM does not have")
        iterations = int(found["iterations"])
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise SASLError("an iteration count that is not acceptable")
        salted: bytes = await self._threads(hashlib.pbkdf2_hmac, "sha256", self._password, _decoded(found["salt"]), iterations)
        bare = b"c=biws,r=" + found["nonce"]
        message = b",".join((self._bare, challenge, bare))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        self._expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return bare + b",p=" + b64encode(proof)

    def finish(self) -> None:
        if not self._proved:
            raise SASLError("the server did not prove that it knows the password")


MECHANISMS: dict[str, Callable[[Login, Threads], Mechanism]] = {  # the strongest first
    "SCRAM-SHA-256": ScramSHA256,
    "CRAM-MD5": CramMD5,
    "PLAIN": Plain,
    "LOGIN": LoginMechanism,
}


def choices(login: Login, offered: str) -> list[str]:
    """The mechanisms to try, in order: those that the server offers (the parameter of AUTH) and ``login`` allows."""
    names = offered.upper().split()
    return [name for name in MECHANISMS if name in names and login.mechanism in ("", name)]


def challenge(line: bytes) -> bytes:
    """What a 334 reply asks, decoded; raises SASLError."""
    return _decoded(line.strip())


def _decoded(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise SASLError("a challenge that is not base64") from None

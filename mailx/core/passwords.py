"""Passwords: how they are prepared, what is kept of them, and the threads in which they are hashed.

What is kept (:class:`Verifiers`) is sealed by whoever stores it. bcrypt answers PLAIN and LOGIN, the SCRAM keys answer
SCRAM-SHA-256, and the password itself is kept only where CRAM-MD5 was asked for. Of a sealed account's password there is
bcrypt alone, and what :meth:`Passwords.stretch` makes of it opens the account's key. Hashing costs a quarter of a second by
design, so it has a small pool of its own, and a bounded queue before it: when that is full, :class:`Busy` says so at once.
"""

import json
import secrets
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, TypeVar

import bcrypt
from attrs import evolve, frozen
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mailx.core.scram import Keys, derive

T = TypeVar("T")

BCRYPT_COST = 12
BCRYPT_LIMIT = 72  # octets; bcrypt ignores what follows
SCRAM_ITERATIONS = 15000  # RFC 7677 4 asks for 4096 at the least and names this figure
ARGON_PASSES = 3  # of Argon2id: with so much memory less than a tenth of a second
ARGON_OCTETS = 64 * 1024 * 1024
_ARGON_PASSES_LIMIT = 10  # what a stored value may ask for at most
_ARGON_OCTETS_LIMIT = 1024 * 1024 * 1024
_SALT_OCTETS = 16
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike


class PasswordError(ValueError):
    """The text cannot be a password; the message says why and is safe to show."""


class Busy(Exception):
    """Too many passwords wait to be hashed."""


def prepare(password: str) -> bytes:
    """``password`` as it is hashed: the OpaqueString profile of RFC 8265 4.2; raises PasswordError."""
    text = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    text = unicodedata.normalize("NFC", text)
    if not text:
        raise PasswordError("the password is empty")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") for char in text):
        raise PasswordError("the password has control or unassigned characters")
    return text.encode()


def saslprep(password: str) -> str:
    """``password`` as a SCRAM client normalises it (RFC 5802 2.2, RFC 4013); raises PasswordError."""
    text = "".join(" " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char))
    text = unicodedata.normalize("NFKC", text)
    prohibited: tuple[Callable[[str], bool], ...] = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    if not text or any(table(char) for char in text for table in prohibited):
        raise PasswordError("the password has characters that SASLprep forbids")
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text)) or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1]))
    ):
        raise PasswordError("the password mixes writing directions")
    return text


def generate() -> str:
    """A fresh password that is easy to type: 20 letters and digits in groups, 99 random bits."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(5)) for _ in range(4))


@frozen(repr=False)
class Verifiers:
    """What is kept of one password. Never shown, never logged."""

    bcrypt: bytes
    scram: Keys
    plain: bytes | None = None  # for CRAM-MD5 only

    def encode(self) -> bytes:
        """As JSON, to be sealed."""
        fields: dict[str, Any] = {
            "bcrypt": self.bcrypt.decode("ascii"),
            "scram-sha-256": {
                "salt": b64encode(self.scram.salt).decode("ascii"),
                "iterations": self.scram.iterations,
                "stored": b64encode(self.scram.stored_key).decode("ascii"),
                "server": b64encode(self.scram.server_key).decode("ascii"),
            },
        }
        if self.plain is not None:
            fields["cram-md5"] = b64encode(self.plain).decode("ascii")
        return json.dumps(fields).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> "Verifiers":
        """What :meth:`encode` wrote."""
        fields = json.loads(data)
        scram = fields["scram-sha-256"]
        keys = Keys(b64decode(scram["salt"]), int(scram["iterations"]), b64decode(scram["stored"]), b64decode(scram["server"]))
        plain = fields.get("cram-md5")
        return cls(fields["bcrypt"].encode("ascii"), keys, None if plain is None else b64decode(plain))

    def with_salt(self, salt: bytes) -> "Verifiers":
        """The same with another SCRAM salt: how one decoy looks different for each unknown name."""
        return evolve(self, scram=evolve(self.scram, salt=salt[:_SALT_OCTETS]))


class Passwords:
    """Hashes and checks passwords in threads of its own.

    ``cost`` is bcrypt's, ``waiting`` the number of passwords that may wait for a thread, ``reversible`` whether new
    verifiers hold the password itself (for CRAM-MD5).
    """

    def __init__(
        self,
        reactor: Any,
        *,
        cost: int = BCRYPT_COST,
        threads: int = 2,
        waiting: int = 64,
        iterations: int = SCRAM_ITERATIONS,
        reversible: bool = False,
        argon: tuple[int, int] = (ARGON_PASSES, ARGON_OCTETS),
    ) -> None:
        """``argon``: passes and octets of memory of Argon2id, for passwords that open keys."""
        self.reversible = reversible
        self._argon = argon
        self._reactor = reactor
        self._cost = cost
        self._limit = threads + waiting
        self._iterations = iterations
        self._pool = ThreadPool(0, threads, name="passwords")
        self._pending = 0
        self._state = "new"

    async def make(self, password: str, proofs: bool = True) -> Verifiers:
        """The verifiers of a new password; raises PasswordError when it cannot be one, Busy.

        Without ``proofs`` nothing answers SCRAM and CRAM-MD5: what does is quicker to guess from, or is the password itself.
        """
        opaque = prepare(password)
        if len(opaque) > BCRYPT_LIMIT:
            raise PasswordError(f"the password is longer than {BCRYPT_LIMIT} octets")
        try:
            normal = saslprep(password).encode()
        except PasswordError:
            normal = opaque  # RFC 8265 allows more than SASLprep did; a client that has such a password sends it so
        made = await self._run(self._make, opaque, normal)
        return made if proofs else evolve(self.decoy(), bcrypt=made.bcrypt)

    def _make(self, opaque: bytes, normal: bytes) -> Verifiers:
        hashed = bcrypt.hashpw(opaque, bcrypt.gensalt(self._cost))
        keys = derive(normal, secrets.token_bytes(_SALT_OCTETS), self._iterations)
        return Verifiers(hashed, keys, normal if self.reversible else None)

    async def hash(self, password: str) -> bytes:
        """The bcrypt hash of a new password alone, for logins that are never answered by proofs; raises PasswordError, Busy."""
        opaque = prepare(password)
        if len(opaque) > BCRYPT_LIMIT:
            raise PasswordError(f"the password is longer than {BCRYPT_LIMIT} octets")
        return await self._run(lambda: bcrypt.hashpw(opaque, bcrypt.gensalt(self._cost)))

    async def verify(self, hashed: bytes, password: str) -> bool:
        """Whether ``password`` has the bcrypt hash ``hashed``; costs the same whatever the password. Raises Busy."""
        try:
            opaque = prepare(password)
            possible = len(opaque) <= BCRYPT_LIMIT
        except PasswordError:
            opaque, possible = b"-", False
        matches = await self._run(bcrypt.checkpw, opaque[:BCRYPT_LIMIT], hashed)
        return matches and possible

    @property
    def cost(self) -> str:
        """How :meth:`stretch` makes keys of passwords now; kept beside what such a key wraps."""
        return f"argon2id:{self._argon[0]}:{self._argon[1]}"

    async def stretch(self, password: str, salt: bytes, cost: str) -> bytes:
        """32 octets made of ``password`` by Argon2id; raises PasswordError, Busy, ValueError for an unknown ``cost``."""
        opaque = prepare(password)
        name, _, numbers = cost.partition(":")
        passes, _, octets = numbers.partition(":")
        if name != "argon2id" or not 1 <= int(passes) <= _ARGON_PASSES_LIMIT or not 8192 <= int(octets) <= _ARGON_OCTETS_LIMIT:
            raise ValueError("no such way to make a key of a password")
        try:
            return await self._run(argon2id.kdf, 32, opaque, salt, int(passes), int(octets))
        except (CryptoError, MemoryError):
            raise Busy from None  # there is no memory for it now

    def decoy(self) -> Verifiers:
        """Verifiers that no password fits, as costly to check as real ones."""
        digest = "".join(secrets.choice(_BCRYPT_ALPHABET) for _ in range(31))
        hashed = bcrypt.gensalt(self._cost) + digest.encode("ascii")
        keys = Keys(secrets.token_bytes(_SALT_OCTETS), self._iterations, secrets.token_bytes(32), secrets.token_bytes(32))
        return Verifiers(hashed, keys, secrets.token_bytes(16) if self.reversible else None)

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        if self._pending >= self._limit or self._state == "stopped":
            raise Busy
        if self._state == "new":
            self._pool.start()
            self._state = "running"
        self._pending += 1
        try:
            result: T = await deferToThreadPool(self._reactor, self._pool, self._unless_stopped, function, args)
            return result
        finally:
            self._pending -= 1

    def _unless_stopped(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if self._state == "stopped":
            raise Busy
        return function(*args)

    def stop(self) -> None:
        """End the threads; what waits fails with Busy, what runs (a quarter of a second) is waited for."""
        running, self._state = self._state == "running", "stopped"
        if running:
            self._pool.stop()

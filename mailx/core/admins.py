"""Administrators of the server: who they are, what they log in with, and the very first one.

They are apart from mail accounts: a name that is no address, a password of their own, a second factor if they want one.
Passwords are hashed in threads (:mod:`mailx.core.passwords`). Unknown name, wrong password and disabled administrator
take the same steps and get the same answer, ``NotLoggedIn``; ``Throttled`` is said before anything is looked up. What is
refused to an administrator who is logged in rises as ``DirectoryError``; ``Unavailable`` and ``Busy`` come through.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from time import time
from typing import Any, Protocol, TypeAlias, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailx.core import audit, metrics, second_factor
from mailx.core.audit import Actor
from mailx.core.passwords import BCRYPT_LIMIT, PasswordError, Passwords, prepare
from mailx.core.second_factor import Offer
from mailx.core.throttle import Charge, Throttle, network
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.store import Store, Txn, admins
from mailx.store.admins import ACTIVE, DISABLED, PURPOSE, LastOne, Settled, Stored
from mailx.store.cipher import Cipher, CipherError
from mailx.store.names import Missing, Taken

log = Logger()
T = TypeVar("T")

LEAST = 10  # characters of a password
UNKNOWN = "(unknown)"  # in the audit log: what was typed as a name may be a password
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?\Z")
_PLACES = 10  # networks remembered of one administrator
_PER_PAIR = 5  # failures an hour: one name from one address, an address, and a name from addresses it never came from
_PER_ADDRESS = 20
_PER_NAME = 100
_CODES_PER_PAIR = 5  # wrong second factors an hour
_CODES_PER_ADDRESS = 10
_CODES_PER_NAME = 20  # who gets there knows the password: few guesses, wherever they come from
_OFFER_SECONDS = 900  # that a secret waits for its first code
_LOOK_SECONDS = 10.0  # between looks whether there is an administrator, while there seems to be none
_CODE_TRIES = 20  # of the first-run code, an hour, that are answered and logged
_TOLD = 600  # failed logins an hour that the audit log keeps


class NotLoggedIn(Exception):
    """Name, password, second factor or administrator are not right; which of them is not told."""


class Throttled(Exception):
    """Too many attempts failed; after ``seconds`` it can be tried again."""

    def __init__(self, seconds: int = 3600) -> None:
        super().__init__("too many attempts")
        self.seconds = seconds


class SetUpRefused(Exception):
    """The first administrator was not made; the text says why and is safe to show. ``code``: the code was not right."""

    def __init__(self, text: str, code: bool = False) -> None:
        super().__init__(text)
        self.code = code


class Listener(Protocol):
    """Who is told of what concerns security (:mod:`mailx.core.alerts`)."""

    def tell(self, kind: str, subject: str, text: str) -> None: ...

    def login_failed(self) -> None: ...


@frozen
class Admin:
    """One administrator. Times are seconds since 1970."""

    id: int
    name: str
    enabled: bool
    second_factor: bool
    codes: int  # recovery codes left
    created: int
    last_login: int | None


Listed: TypeAlias = list[Admin]  # named here, since Admins has a method `list`
Texts: TypeAlias = list[str]


class Admins:
    """All administrators. ``passwords`` should be theirs alone, so that mail logins do not keep them waiting."""

    def __init__(self, store: Store, cipher: Cipher, passwords: Passwords, clock: IReactorTime, now: Callable[[], float] = time) -> None:
        self.alerts: Listener | None = None
        self._store = store
        self._cipher = cipher
        self._passwords = passwords
        self._now = now
        self._clock = clock
        self._throttle = Throttle(_PER_PAIR, _PER_ADDRESS, _PER_NAME, clock.seconds)
        self.codes_throttle = Throttle(_CODES_PER_PAIR, _CODES_PER_ADDRESS, _CODES_PER_NAME, clock.seconds)
        self._set_up_throttle = Throttle(_CODE_TRIES, _CODE_TRIES, _CODE_TRIES, clock.seconds)
        self._decoy = passwords.decoy().bcrypt
        self._empty = False
        self._look_again = 0.0
        self._code: tuple[bytes, bytes] | None = None  # salt and hash of the first-run code
        self._told: list[float] = []

    async def load(self) -> None:
        """See whether there is anybody, and from where administrators usually come. Call once, before anything else."""
        found = await self._store.read(admins.all)
        self._empty = not found
        for each in found:
            for place in self._places(each):
                self._know(each.name, place)

    def _know(self, name: str, address: str) -> None:
        """Guesses from elsewhere, of the password or of the second factor, lock nobody out here."""
        for throttle in (self._throttle, self.codes_throttle):
            throttle.know(name, address)

    # The first administrator

    @property
    def empty(self) -> bool:
        """Whether there is no administrator yet. Another node may make the first one: so this is looked at anew now and then."""
        if self._empty and self._clock.seconds() >= self._look_again:
            self._look_again = self._clock.seconds() + _LOOK_SECONDS
            Deferred.fromCoroutine(self._look())
        return self._empty

    async def _look(self) -> None:
        try:
            self._empty = self._empty and not await self._store.read(admins.count)
        except Unavailable as error:
            log.warn("Administrators were not counted: {reason}", event="admin.not_counted", reason=error.reason)

    def set_up_code(self) -> str:
        """A fresh code with which the first administrator can be made: to be shown to whoever started the server, once.

        Only its hash stays, in memory; a code made before is good no more.
        """
        code, salt = second_factor.new_code(), secrets.token_bytes(16)
        self._code = salt, _code_hash(salt, code)
        return code

    async def set_up(self, code: str, name: str, password: str, address: str) -> Admin:
        """Make the first administrator; raises SetUpRefused, Throttled, DirectoryError (name or password), Busy, Unavailable."""
        if not self._empty:
            raise SetUpRefused("There is an administrator already. Log in.")
        salt, expected = self._code or (b"", b"")
        if not hmac.compare_digest(_code_hash(salt, code), expected) or self._code is None:
            # The right one is let in at any time: 80 bits are not guessed, and nobody locks the owner out with wrong ones.
            if self._set_up_throttle.charge("", address) is None:
                raise Throttled
            log.warn("Set-up refused: wrong code", event="admin.set_up_refused", client_ip=address)
            raise SetUpRefused("This is not the code that the server showed when it started.", code=True)
        name, sealed, guid = await self._prepared(name, password)
        with audit.acting(Actor("admin", name, address), "admin.set_up", name):
            audit.note(after={"name": name, "state": ACTIVE})
            try:
                id = await self._store.write(admins.add, name, guid, secrets.token_bytes(16), sealed, int(self._now()), True)
            except Settled:
                self._empty = False
                raise SetUpRefused("There is an administrator already. Log in.") from None
        self._empty, self._code = False, None
        self._know(name, address)
        log.info("First administrator made", event="admin.set_up", admin=name, client_ip=address)
        return Admin(id, name, True, False, 0, int(self._now()), None)

    # What administrators (and mailxctl) change

    async def list(self) -> Listed:
        """Every administrator, by name."""
        return [_admin(each) for each in await self._store.read(admins.all)]

    async def find(self, name: str) -> Admin:
        """The administrator ``name``; raises DirectoryError."""
        return _admin(await self._stored(name))

    async def add(self, name: str, password: str) -> Admin:
        """Make an administrator; raises DirectoryError."""
        name, sealed, guid = await self._prepared(name, password)
        audit.note(target=name, after={"name": name, "state": ACTIVE})
        try:
            id = await self._store.write(admins.add, name, guid, secrets.token_bytes(16), sealed, int(self._now()))
        except Taken:
            raise DirectoryError("exists", f"there is an administrator {name} already", "Choose another name.") from None
        self._empty, self._code = False, None
        log.info("Administrator added", event="admin.added", admin=name)
        return Admin(id, name, True, False, 0, int(self._now()), None)

    async def set_password(self, name: str, password: str, keep: int = 0) -> None:
        """Replace the password; every session of the administrator but ``keep`` ends."""
        found = await self._stored(name)
        hashed = await self._hashed(found.name, password)
        audit.note(target=found.name, after={"password": audit.HIDDEN})
        sealed = self._cipher.seal(PURPOSE, found.guid, hashed)
        await self._change(found, admins.set_password, found.id, sealed, secrets.token_bytes(16), keep)
        for throttle in (self._throttle, self.codes_throttle):
            throttle.forgive(found.name, self._places(found))
        log.info("Administrator's password changed", event="admin.password", admin=found.name)

    async def enable(self, name: str) -> None:
        """Let the administrator log in again."""
        await self._set_state(name, ACTIVE)

    async def disable(self, name: str) -> None:
        """Let the administrator log in no more; every session ends. The last who may log in cannot be disabled."""
        await self._set_state(name, DISABLED)

    async def _set_state(self, name: str, state: str) -> None:
        found = await self._stored(name)
        if found.state == state:
            audit.unchanged()
            return
        audit.note(target=found.name, before={"state": found.state}, after={"state": state})
        await self._change(found, admins.set_state, found.id, state, secrets.token_bytes(16))
        log.info("Administrator's state changed", event="admin.state", admin=found.name, status=state)

    async def remove(self, name: str) -> None:
        """Remove the administrator; the last who may log in cannot be removed."""
        found = await self._stored(name)
        audit.note(target=found.name, before={"name": found.name, "state": found.state})
        await self._change(found, admins.remove, found.id)
        log.info("Administrator removed", event="admin.removed", admin=found.name)

    async def reset_totp(self, name: str, keep: int = 0) -> None:
        """Take the second factor of an administrator away; every session but ``keep`` ends."""
        found = await self._stored(name)
        if found.totp is None:
            raise DirectoryError("invalid", f"{found.name} has no second factor")
        audit.note(target=found.name, before={"second_factor": True}, after={"second_factor": False})
        await self._change(found, admins.end_totp, found.id, secrets.token_bytes(16), keep)
        log.info("Administrator's second factor taken away", event="admin.second_factor", admin=found.name, status="off")

    async def _change(self, found: Stored, job: Callable[..., T], *args: Any) -> T:
        try:
            return await self._store.write(job, *args)
        except Missing:
            raise _missing(found.name) from None
        except LastOne:
            remedy = "Add another one first."
            raise DirectoryError("in_use", f"{found.name} is the last administrator who may log in", remedy) from None

    # What administrators change about themselves, with their password again

    async def prove(self, name: str, password: str, address: str) -> Stored:
        """The row of the administrator whose name and password these are; raises NotLoggedIn, Throttled, Busy, Unavailable."""
        name, charge = self.charge(self._throttle, name, address)
        try:
            found = await self._store.read(admins.by_name, name)
            good = await self._passwords.verify(self._decoy if found is None else self._bcrypt(found), password)
        except BaseException:
            self._throttle.refund(charge)  # nothing was learnt
            raise
        if found is None or not good or found.state != ACTIVE:
            await self.refused(self._throttle, found, name, address, "admin.login_failed")
            raise NotLoggedIn
        self._throttle.refund(charge)
        return found

    def charge(self, throttle: Throttle, name: str, address: str) -> tuple[str, Charge]:
        """The name as it is stored, and the attempt in the books; raises Throttled."""
        name = name.strip().lower()
        if not _NAME.match(name):
            name = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() + "#"
        charge = throttle.charge(name, address)
        if charge is None:
            log.warn("Administrator's login throttled", event="admin.login_throttled", client_ip=address)
            metrics.ADMIN_LOGINS.labels("throttled").inc()
            raise Throttled
        return name, charge

    async def refused(self, throttle: Throttle, found: Stored | None, name: str, address: str, action: str) -> None:
        """Tell log, audit log and alerts of an attempt that failed; the same whether or not there is such a name."""
        known = UNKNOWN if found is None else found.name
        log.warn("Administrator's login failed", event="admin.login_failed", action=action, client_ip=address)
        metrics.ADMIN_LOGINS.labels("failed").inc()
        actor = Actor("admin", known, address)
        await self._record(actor, action)
        if self.alerts is not None:
            self.alerts.login_failed()
        if not throttle.allows(name, address):
            await self._record(actor, "admin.locked_out")
            if self.alerts is not None:
                self.alerts.tell("security.lockout", network(address), f"Too many logins of administrators failed from {network(address)}.")

    async def _record(self, actor: Actor, action: str) -> None:
        now = self._now()
        self._told = [when for when in self._told if when > now - 3600]
        if len(self._told) >= _TOLD:
            return  # a flood of guesses must not fill the disk: the log file has them all
        self._told.append(now)
        try:
            with audit.acting(actor, action):
                await self._store.write(_nothing)
        except Unavailable:
            log.warn("The audit log cannot be written", event="audit.not_written", action=action)

    def came_from(self, found: Stored, address: str) -> bytes:
        """The administrator's usual places with ``address`` among them, sealed; also remembered here."""
        self._know(found.name, address)
        place = network(address)
        places = [place, *(each for each in self._places(found) if each != place)][:_PLACES]
        return self._cipher.seal(PURPOSE, found.guid, json.dumps(places).encode())

    async def change_password(self, name: str, old: str, new: str, address: str, keep: int) -> None:
        """Replace one's own password; every other session ends. Raises NotLoggedIn when ``old`` is not right."""
        await self.prove(name, old, address)
        await self.set_password(name, new, keep)

    async def offer_totp(self, name: str, password: str, address: str, issuer: str) -> Offer:
        """A new secret, that becomes the second factor with its first code (``begin_totp``)."""
        found = await self.prove(name, password, address)
        secret = second_factor.new_secret()
        audit.note(target=found.name, after={"second_factor": "offered"})
        waits = json.dumps({"secret": secret, "until": int(self._now()) + _OFFER_SECONDS}).encode()
        await self._change(found, admins.offer_totp, found.id, self._cipher.seal(PURPOSE, found.guid, waits))
        return second_factor.offer(secret, found.name, issuer)

    async def offered_totp(self, name: str, issuer: str) -> Offer | None:
        """The secret that waits for its first code, if one does."""
        found = await self._stored(name)
        secret = self._offered(found)
        return second_factor.offer(secret, found.name, issuer) if secret else None

    def _offered(self, found: Stored) -> str:
        """The secret that waits for its first code; "" after a while: who finds the session open later has not given the password."""
        if found.totp_pending is None:
            return ""
        try:
            waits = json.loads(self._opened(found, found.totp_pending))
            return str(waits["secret"]) if waits["until"] > self._now() else ""
        except (ValueError, TypeError):
            return ""

    async def begin_totp(self, name: str, code: str, address: str, keep: int) -> tuple[str, ...]:
        """Make the offered secret the second factor; returns fresh recovery codes, for the only time. Raises DirectoryError."""
        found = await self._stored(name)
        secret = self._offered(found)
        if not secret:
            raise DirectoryError("invalid", "no second factor was begun, or a while ago", "Begin again.")
        name, charge = self.charge(self._throttle, name, address)
        step = second_factor.matching_step(secret, code, 0, self._now())
        if not step:
            raise DirectoryError(
                "invalid", "this code is not right", "See that the clock of the telephone is right, and type the code that it shows now."
            )
        self._throttle.refund(charge)
        codes, hashes = self._codes(found)
        audit.note(target=found.name, before={"second_factor": found.totp is not None}, after={"second_factor": True})
        sealed = self._cipher.seal(PURPOSE, found.guid, secret.encode())
        args = found.id, found.totp_pending, sealed, step, hashes, secrets.token_bytes(16), keep
        if not await self._change(found, admins.begin_totp, *args):
            raise DirectoryError("invalid", "the second factor was begun again elsewhere", "Begin again.")
        log.info("Administrator's second factor set up", event="admin.second_factor", admin=found.name, status="on")
        return codes

    async def end_totp(self, name: str, password: str, address: str, keep: int) -> None:
        """Take one's own second factor away."""
        await self.prove(name, password, address)
        await self.reset_totp(name, keep)

    async def new_codes(self, name: str, password: str, address: str) -> tuple[str, ...]:
        """Fresh recovery codes, for the only time; those before are good no more."""
        found = await self.prove(name, password, address)
        if found.totp is None:
            raise DirectoryError("invalid", f"{found.name} has no second factor", "Set it up first.")
        codes, hashes = self._codes(found)
        audit.note(target=found.name, before={"recovery": found.codes}, after={"recovery": len(codes)})
        await self._change(found, admins.replace_codes, found.id, hashes)
        return codes

    # What sessions ask

    def second_factor(self, found: Stored, code: str) -> tuple[int, bytes]:
        """(step of a one-time password, hash of a recovery code) that ``code`` is; (0, b"") when it is not good."""
        if found.totp is None:
            return 0, b""
        if second_factor.is_one_time(code):
            return second_factor.matching_step(self._opened(found, found.totp), code, found.totp_step, self._now()), b""
        return 0, admins.code_hash(self._cipher, found.guid, second_factor.normal_code(code))

    def _codes(self, found: Stored) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
        codes = tuple(second_factor.new_code() for _ in range(second_factor.RECOVERY_CODES))
        return codes, tuple(admins.code_hash(self._cipher, found.guid, second_factor.normal_code(code)) for code in codes)

    async def _stored(self, name: str) -> Stored:
        wanted = name.strip().lower()
        found = await self._store.read(admins.by_name, wanted) if _NAME.match(wanted) else None
        if found is None:
            raise _missing(name)
        return found

    async def _prepared(self, name: str, password: str) -> tuple[str, bytes, bytes]:
        """(name, sealed hash, what binds the seal) of a new administrator."""
        name = name.strip().lower()
        if not _NAME.match(name):
            remedy = "Use up to 64 of the letters a-z, digits, and . _ @ + - between them."
            raise DirectoryError("invalid", "this is not a name for an administrator", remedy)
        guid = secrets.token_bytes(16)
        return name, self._cipher.seal(PURPOSE, guid, await self._hashed(name, password)), guid

    async def _hashed(self, name: str, password: str) -> bytes:
        try:
            opaque = prepare(password)
            if len(opaque.decode()) < LEAST:
                raise PasswordError(f"the password is shorter than {LEAST} characters")
            if len(opaque) > BCRYPT_LIMIT:
                raise PasswordError(f"the password is longer than {BCRYPT_LIMIT} octets")
            if opaque.decode().lower() == name:
                raise PasswordError("the password is the name")
        except PasswordError as error:
            raise DirectoryError("invalid", str(error), "Choose another password.") from None
        return await self._passwords.hash(password)

    def _bcrypt(self, found: Stored) -> bytes:
        try:
            return self._cipher.open(PURPOSE, found.guid, found.password)
        except CipherError:
            log.error("An administrator's password does not open", event="admin.unreadable", admin=found.name)
            return self._decoy

    def _opened(self, found: Stored, sealed: bytes) -> str:
        try:
            return self._cipher.open(PURPOSE, found.guid, sealed).decode("ascii")
        except CipherError as error:
            raise Unavailable(f"the second factor of {found.name} does not open") from error

    def _places(self, found: Stored) -> Texts:
        try:
            places = json.loads(self._cipher.open(PURPOSE, found.guid, found.places)) if found.places else []
        except (CipherError, ValueError):
            return []
        return [place for place in places if isinstance(place, str)]


def _admin(found: Stored) -> Admin:
    return Admin(found.id, found.name, found.state == ACTIVE, found.totp is not None, found.codes, found.created, found.last_login)


def _missing(name: str) -> DirectoryError:
    return DirectoryError("not_found", f"there is no administrator {name[:64]}", "`mailxctl admin list` shows them.")


def _code_hash(salt: bytes, code: str) -> bytes:
    return hashlib.sha256(salt + second_factor.normal_code(code).encode("utf-8", "surrogatepass")).digest()


def _nothing(txn: Txn) -> None:
    """What changes nothing, and yet is to be told."""

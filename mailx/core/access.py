"""Who may come in: password logins, the memory of recent ones, the throttle, and the start of SASL exchanges.

Unknown name, wrong password and suspended account take the same steps and get the same answer. The throttle is asked
before anything is hashed or looked up, and knows names only as typed, so its answer tells nothing about them either.
A failure of the store or a full queue of passwords is ``LoginRefused(temporary=True)``, and charged to nobody.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from hashlib import blake2b
from time import time

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx import config
from mailx.core import sasl
from mailx.core.accounts import Accounts
from mailx.core.app_passwords import AppPasswords
from mailx.core.cache import Cache
from mailx.core.holding import Holding
from mailx.core.keyring import Keyring
from mailx.core.login_log import LoginLog
from mailx.core.passwords import Busy, Passwords, Verifiers
from mailx.core.sasl import Exchange, LoginRefused, Malformed
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.throttle import Charge, Throttle
from mailx.core.users import SERVER, User, canonical
from mailx.mail.address import Address, AddressError
from mailx.mail.envelope import Origin
from mailx.mail.reply import Unavailable
from mailx.store.app_passwords import Found

__all__ = ["Access", "Claim", "LoginRefused", "Malformed"]

log = Logger()

_REMEMBERED = 20000  # logins
_NAME_LIMIT = 320  # octets: a local part, an @, a domain (RFC 5321 4.5.3.1)
_FLUSH_SECONDS = 60.0  # last logins are written at most this often


@define(repr=False)
class Claim:
    """Somebody claims to be ``name``; the verifiers fit ``user``, or nobody."""

    name: str
    address: Address | None
    origin: Origin
    mechanism: str
    started: float
    user: User | None = None
    verifiers: Verifiers = field(init=False)
    found: Found | None = None  # the app password that this is
    charge: Charge | None = None


class Access:
    """Logins. ``settings`` gives limits and how long a login is remembered; ``clock`` counts seconds and calls later."""

    def __init__(
        self,
        accounts: Accounts,
        settings: config.Accounts,
        passwords: Passwords,
        clock: IReactorTime,
        *,
        sealed: SealedAccounts | None = None,
        app_passwords: AppPasswords | None = None,
        keyring: Keyring | None = None,
        login_log: LoginLog | None = None,
    ) -> None:
        """``sealed`` opens accounts whose keys their owners' passwords open, ``keyring`` keeps those keys while sessions are open."""
        self._accounts = accounts
        self._sealed = sealed
        self._app_passwords = app_passwords
        self._keyring = keyring
        self._passwords = passwords
        self._clock = clock
        self._binds = settings.channel_binding
        self._throttle = Throttle(settings.failures_per_hour, settings.failures_per_address, settings.failures_per_account, clock.seconds)
        self._secret = secrets.token_bytes(32)
        self._remembers = settings.login_cache > 0
        self._remembered: Cache[bytes, tuple[int, bytes, Found | None]] = Cache(_REMEMBERED, settings.login_cache, clock.seconds)
        self._running: dict[bytes, list[Deferred[User]]] = {}
        self._logins = LastLogins(accounts, clock)
        self._holding = Holding(accounts, clock)
        self._login_log = login_log
        accounts.on_pardon(self._throttle.forgive)

    def on_revocation(self, call: Callable[[int], None]) -> None:
        """``call(account id)`` whenever the sessions of an account must end: see :meth:`Accounts.on_revocation`."""
        self._accounts.on_revocation(call)

    # SASL

    def mechanisms(self, tls: bool, plaintext: bool) -> tuple[str, ...]:
        """What to offer: nothing before TLS unless ``plaintext`` (the unsafe setting) allows it."""
        if not tls and not plaintext:
            return ()
        offered = ["PLAIN", "LOGIN"]
        if self._passwords.reversible:
            offered.append("CRAM-MD5")
        offered.append("SCRAM-SHA-256")
        if tls and self._binds:
            offered.append("SCRAM-SHA-256-PLUS")
        return tuple(offered)

    def begin(self, mechanism: str, origin: Origin, bindings: Mapping[str, bytes]) -> Exchange:
        """Begin an exchange on a connection with the channel ``bindings``; KeyError when the mechanism is not known."""
        name = mechanism.upper()
        if name == "PLAIN":
            return sasl.Plain(self, origin)
        if name == "LOGIN":
            return sasl.Login(self, origin)
        if name == "CRAM-MD5" and self._passwords.reversible:
            return sasl.CramMD5(self, origin)
        if name == "SCRAM-SHA-256" or (name == "SCRAM-SHA-256-PLUS" and self._binds):
            # Bindings tell SCRAM that -PLUS was offered: then a client that could bind and does not was deceived (RFC 5802 6).
            return sasl.Scram(self, origin, bindings if self._binds else {}, name.endswith("-PLUS"))
        raise KeyError(mechanism)

    # Passwords

    async def login(self, username: str, password: str, origin: Origin, mechanism: str = "LOGIN", owner: bool = False) -> User:
        """The user whose name and password these are; raises LoginRefused. ``owner``: an app password is not enough."""
        claim = self._open(username, origin, mechanism)
        mac = self._mac(claim.name, f"\0{password}" if owner else password)
        user = await self._recall(claim, mac)
        if user is not None:
            return self._admit(claim, await self._unlock(claim, user, password))
        waiting = self._running.get(mac)
        if waiting is not None:
            # A client that opens several connections at once asks the same question: one answer does for all, at one price.
            answer: Deferred[User] = Deferred()
            waiting.append(answer)
            return self._admit(claim, await answer)
        self._running[mac] = []
        try:
            user = await self._check(claim, password, owner)
        except BaseException as error:
            for answer in self._running.pop(mac):
                answer.errback(error)
            raise
        if self._remembers:
            self._remembered.put(mac, (user.id, user.credentials_version, claim.found))
        for answer in self._running.pop(mac):
            answer.callback(user)
        return user

    async def _check(self, claim: Claim, password: str, owner: bool) -> User:
        self._charge(claim)
        await self._look_up(claim)
        try:
            if self._app_passwords is not None and not owner:
                claim.found = await self._app_passwords.find(claim.user, password)
            good = claim.found is not None or await self._passwords.verify(claim.verifiers.bcrypt, password)
        except Unavailable:
            raise self._undecided(claim, "store") from None
        except Busy:
            raise self._undecided(claim, "busy") from None
        return await self._judge(claim, good, password)

    async def _unlock(self, claim: Claim, user: User, password: str) -> User:
        """Open the keys of a sealed account; raises LoginRefused when that cannot be done now, or the account changed meanwhile."""
        if user.sealed != SERVER or self._sealed is None:
            return user
        try:
            opened = await self._sealed.open(user, password, claim.found)
        except Unavailable:
            raise self._undecided(claim, "store") from None
        except Busy:
            raise self._undecided(claim, "busy") from None
        if not opened:
            raise self._undecided(claim, "keys")
        claim.user = user
        return await self.confirm(claim, user)

    def hold(self, user: User) -> None:
        """A session of the account is open: to be told of each, that its mail can be read for so long, and no longer than it may."""
        self._holding.hold(user)
        if self._keyring is not None:
            self._keyring.hold(user.id)

    def release(self, user: User) -> None:
        """That session is over."""
        self._holding.release(user)
        if self._keyring is not None:
            self._keyring.release(user.id)

    def _mac(self, name: str, password: str) -> bytes:
        """A keyed hash under which a login is remembered: the key lives in this process only, the password nowhere."""
        text = f"{len(name)}:{name}{password}".encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._secret, digest_size=32).digest()

    async def _recall(self, claim: Claim, mac: bytes) -> User | None:
        """The user of a remembered login, if the account still has that password and is active."""
        remembered = self._remembered.get(mac)
        if remembered is None:
            return None
        id, version, claim.found = remembered
        if claim.found is not None and not await self._still(claim, claim.found):
            self._remembered.pop(mac)
            return None
        user = await self._current(claim, id)
        if user is None or not user.active or not hmac.compare_digest(user.credentials_version, version):
            return None
        return user

    async def _still(self, claim: Claim, found: Found) -> bool:
        """Whether the app password was not revoked since."""
        try:
            return self._app_passwords is not None and await self._app_passwords.there(found.id)
        except Unavailable:
            raise self._undecided(claim, "store") from None

    # Claims: what a password login and an exchange of proofs have in common

    def _open(self, username: str, origin: Origin, mechanism: str) -> Claim:
        """A claim that the throttle admits; raises LoginRefused."""
        name = username.strip().casefold()
        if len(name) > _NAME_LIMIT or not name.isprintable():  # a database takes no NUL and no stray surrogate
            name = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        address = _address(name)
        if address is not None:  # one budget for all spellings of an address: quoted, composed, with A-labels
            name = "@".join(canonical(address))
        claim = Claim(name, address, origin, mechanism, self._clock.seconds())
        if not self._throttle.allows(name, origin.address):
            raise self._throttled(claim)
        return claim

    async def claim(self, username: str, origin: Origin, mechanism: str) -> Claim:
        """Begin a login by proof; raises LoginRefused when throttled or the store is away."""
        claim = self._open(username, origin, mechanism)
        await self._look_up(claim)
        return claim

    async def settle(self, claim: Claim, good: bool) -> User:
        """End a login by proof: the user if the proof is ``good``; raises LoginRefused."""
        self._charge(claim)
        return await self._judge(claim, good)

    def _charge(self, claim: Claim) -> None:
        claim.charge = self._throttle.charge(claim.name, claim.origin.address)
        if claim.charge is None:
            raise self._throttled(claim)

    async def _look_up(self, claim: Claim) -> None:
        try:
            claim.user, claim.verifiers = await self._accounts.verifiers(claim.name, claim.address)
        except Unavailable:
            raise self._undecided(claim, "store") from None

    async def _judge(self, claim: Claim, good: bool, password: str = "") -> User:
        user = claim.user
        if user is None or not good or not user.active:
            raise self._refused(claim, good)
        if claim.found is not None and not await self._still(claim, claim.found):
            raise self._refused(claim, False)
        current = await self.confirm(claim, user)  # hashing took a while
        if current.sealed == SERVER:
            if not password:
                raise self._refused(claim, False)  # a proof of the password opens nothing
            current = await self._unlock(claim, current, password)
        if claim.found is not None and self._app_passwords is not None:
            self._app_passwords.note_used(claim.found.id)
        if claim.charge is not None:
            self._throttle.refund(claim.charge)
        return self._admit(claim, current)

    async def confirm(self, claim: Claim, user: User) -> User:
        """``user`` as of now; LoginRefused if it was suspended since it was read, or has another password."""
        current = await self._current(claim, user.id)
        if current is None or not current.active or current.credentials_version != user.credentials_version:
            raise self._refused(claim, True)
        return current

    async def _current(self, claim: Claim, id: int) -> User | None:
        try:
            return await self._accounts.user(id)
        except Unavailable:
            raise self._undecided(claim, "store") from None

    # Verdicts

    def _admit(self, claim: Claim, user: User) -> User:
        self._throttle.know(claim.name, claim.origin.address)
        self._logins.note(user.id)
        if self._login_log is not None:
            self._login_log.note(user.id, claim.origin.address, claim.mechanism)
        log.info(
            "Authentication successful",
            event="auth.success",
            user_id=user.id,
            email=str(user.address),
            ip_address=claim.origin.address,
            auth_method=claim.mechanism,
            connection_id=claim.origin.connection,
            session_id=claim.origin.connection,
            duration_ms=self._duration(claim),
        )
        return user

    def _refused(self, claim: Claim, good: bool) -> LoginRefused:
        if claim.user is None:
            log.error("Authentication failed", error="user_not_found", **self._fields(claim))
        elif good and not claim.user.active:
            fields = {"user_id": claim.user.id, "status": claim.user.state, **self._fields(claim)}
            log.warn("Authentication failed", error="account_suspended", **fields)
        else:
            log.warn("Authentication failed", error="invalid_credentials", user_id=claim.user.id, **self._fields(claim))
        return LoginRefused()

    def _throttled(self, claim: Claim) -> LoginRefused:
        log.warn("Authentication failed", error="throttled", **self._fields(claim))
        return LoginRefused(temporary=True, outcome="throttled")

    def _undecided(self, claim: Claim, reason: str) -> LoginRefused:
        if claim.charge is not None:
            self._throttle.refund(claim.charge)
        log.warn("Authentication failed", error="unavailable", reason=reason, **self._fields(claim))
        return LoginRefused(temporary=True, outcome="unavailable")

    def _fields(self, claim: Claim) -> dict[str, object]:
        # What is no address may be a password typed into the wrong field: it is not written down.
        return {
            "event": "auth.failure",
            "email": str(claim.address) if claim.address is not None else "",
            "ip_address": claim.origin.address,
            "auth_method": claim.mechanism,
            "connection_id": claim.origin.connection,
            "session_id": claim.origin.connection,
            "duration_ms": self._duration(claim),
        }

    def _duration(self, claim: Claim) -> float:
        return round((self._clock.seconds() - claim.started) * 1000, 1)

    async def stop(self) -> None:
        """Write the last logins that wait, and end the threads."""
        self._holding.stop()
        await self._logins.stop()
        self._passwords.stop()


class LastLogins:
    """When accounts last logged in: written together, at once after a quiet minute, else at most once a minute."""

    def __init__(self, accounts: Accounts, clock: IReactorTime) -> None:
        self._accounts = accounts
        self._clock = clock
        self._waiting: dict[int, int] = {}
        self._next = 0.0
        self._call: object | None = None

    def note(self, account_id: int) -> None:
        """The account logged in now."""
        now = self._clock.seconds()
        self._waiting[account_id] = int(time())
        if self._call is None:
            self._call = self._clock.callLater(max(0.0, self._next - now), self._flush)

    def _flush(self) -> None:
        self._call = None
        self._next = self._clock.seconds() + _FLUSH_SECONDS
        Deferred.fromCoroutine(self.write()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        log.failure("Last logins not written", failure=failure, event="auth.last_login_failed")

    async def write(self) -> None:
        """Write what waits; when the store is away it waits on."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            await self._accounts.note_logins(sorted(waiting.items()))
        except Unavailable:
            self._waiting = {**waiting, **self._waiting}

    async def stop(self) -> None:
        """Write what waits, and wait no more."""
        if self._call is not None:
            self._call.cancel()  # type: ignore[attr-defined]
            self._call = None
        await self.write()


def _address(name: str) -> Address | None:
    try:
        return Address.parse(name)
    except AddressError:
        return None

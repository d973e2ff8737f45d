"""Logins and sessions of administrators: what the panel's frame works with.

``begin`` checks name and password and gives a token: of a session, or (``Begun.second``) of a login that still owes its
second factor, which ``confirm`` exchanges for one. A token is 256 random bits, new with every login, and kept only as
HMAC under the panel's secret; the CSRF token is another HMAC of it, so that neither tells the other. A session ends with
its time (panel.session_hours, panel.idle_minutes), with ``end``, with whatever gives its administrator a new generation
(password, second factor, disabling), and with a new panel secret. Nothing is cached: what ended, ended on every node.
"""

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mailx.core import audit, metrics
from mailx.core.admins import Admins, NotLoggedIn, Throttled
from mailx.core.audit import Actor
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.store import Store, admin_sessions, admins
from mailx.store.admin_sessions import Changed, Login, Stored
from mailx.store.cipher import Cipher, CipherError
from mailx.store.names import Missing

__all__ = ["Begun", "NotLoggedIn", "Session", "Sessions", "Throttled"]

log = Logger()

CHALLENGE_SECONDS = 300  # for the second factor
SESSIONS = 20  # of one administrator
TOUCH_SECONDS = 60  # a session that is used is written at most this often
_TOKEN_OCTETS = 32
_TOKEN_LIMIT = 1000  # characters
_AGENT = 200
_PANEL, _ORIGIN, _CHALLENGE = b"panel", b"session", b"challenge"
_SWEEP_SECONDS = 3600.0


@frozen
class Begun:
    """What a browser gets: the token of a session, or of a login that owes its second factor."""

    token: str = field(repr=False)
    second: bool = False


@frozen
class Session:
    """One session. Times are seconds since 1970."""

    id: int
    admin_id: int
    name: str
    created: int
    seen: int
    address: str  # where it began
    agent: str  # the browser, as it calls itself
    csrf: str = field(default="", repr=False)  # that forms of this session must bring; only where the session was found by its token


Listed: TypeAlias = list[Session]


class Sessions:
    """All sessions: ``await load()`` first, then ``start``; ``stop`` before the store closes."""

    def __init__(
        self, store: Store, cipher: Cipher, admins: Admins, settings: Settings, reactor: Any, now: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._admins = admins
        self._settings = settings
        self._reactor = reactor
        self._now = now
        self._guid = b""
        self._secret = b""
        self._due: IDelayedCall | None = None
        self._sweeping: Deferred[None] | None = None

    async def load(self) -> None:
        """Read the panel's secret, or make it."""
        held = await self._store.read(admin_sessions.secret)
        if held is None:
            with audit.apart():
                held = await self._store.write(admin_sessions.create_secret, *self._new_secret())
        self._guid = bytes(held[0])
        self._secret = self._cipher.open(_PANEL, self._guid, bytes(held[1]))

    def _new_secret(self) -> tuple[bytes, bytes]:
        guid = secrets.token_bytes(16)
        return guid, self._cipher.seal(_PANEL, guid, secrets.token_bytes(32))

    def mark(self, purpose: str, text: str) -> str:
        """A keyed hash of ``text`` for one purpose, for what needs a token before there is a session."""
        return self._mac(f"mark {purpose}".encode(), text).hex()

    def _mac(self, purpose: bytes, text: str) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    # Logins

    async def begin(self, name: str, password: str, address: str, agent: str = "") -> Begun:
        """Log in with name and password; raises NotLoggedIn, Throttled, Busy, Unavailable."""
        found = await self._admins.prove(name, password, address)
        if found.totp is None:
            return await self._open(found, address, agent, 0, b"")
        owed = {
            "admin": found.id,
            "generation": found.generation.hex(),
            "panel": self._guid.hex(),
            "until": int(self._now()) + CHALLENGE_SECONDS,
        }
        sealed = self._cipher.seal(_CHALLENGE, b"", json.dumps(owed).encode())
        return Begun(urlsafe_b64encode(sealed).decode("ascii"), second=True)

    async def confirm(self, token: str, code: str, address: str, agent: str = "") -> Begun:
        """Bring the second factor that ``begin`` asked for: a one-time password, or a recovery code. Raises what ``begin`` does."""
        found = await self._owing(token)
        throttle = self._admins.codes_throttle
        name, charge = self._admins.charge(throttle, found.name, address)
        step, recovery = self._admins.second_factor(found, code)
        if step or recovery:
            try:
                begun = await self._open(found, address, agent, step, recovery)
            except NotLoggedIn:
                pass
            except BaseException:
                throttle.refund(charge)  # the code was right; it can be tried again when the store answers
                raise
            else:
                throttle.refund(charge)
                return begun
        await self._admins.refused(throttle, found, name, address, "admin.second_factor_failed")
        raise NotLoggedIn

    async def _owing(self, token: str) -> admins.Stored:
        """The administrator who owes the second factor; raises NotLoggedIn when the login is too old, or no login of ours."""
        try:
            owed = json.loads(self._cipher.open(_CHALLENGE, b"", urlsafe_b64decode(token[:_TOKEN_LIMIT].encode("ascii"))))
        except (CipherError, NotBase64, ValueError):
            raise NotLoggedIn from None
        if owed["until"] < self._now() or owed["panel"] != self._guid.hex():
            raise NotLoggedIn
        found = await self._store.read(admins.by_id, owed["admin"])
        if found is None or found.state != admins.ACTIVE or found.generation.hex() != owed["generation"]:
            raise NotLoggedIn
        return found

    async def _open(self, found: admins.Stored, address: str, agent: str, step: int, code: bytes) -> Begun:
        """Begin the session; what it costs, what it changes and the audit row are one transaction."""
        token = secrets.token_urlsafe(_TOKEN_OCTETS)
        hash = self._mac(b"token", token)
        origin = json.dumps({"address": address, "agent": agent[:_AGENT]}).encode()
        login = Login(
            found.id,
            found.generation,
            hash,
            self._cipher.seal(_ORIGIN, hash, origin),
            self._admins.came_from(found, address),
            int(self._now()),
            step,
            code,
        )
        with audit.acting(Actor("admin", found.name, address), "admin.login", found.name):
            audit.note(after={"second_factor": "recovery code" if code else "one-time password" if step else "none"})
            try:
                await self._store.write(admin_sessions.begin, login, SESSIONS)
            except Changed:
                raise NotLoggedIn from None
        metrics.ADMIN_LOGINS.labels("success").inc()
        log.info("Administrator logged in", event="admin.login", admin=found.name, client_ip=address)
        return Begun(token)

    # Sessions

    async def find(self, token: str) -> Session | None:
        """The session whose token this is, if it still lives; it counts as used. Raises Unavailable."""
        if not token or len(token) > _TOKEN_LIMIT:
            return None
        hash = self._mac(b"token", token)
        guid, found = await self._store.read(admin_sessions.find, hash)
        if guid != self._guid:  # another node made a new secret
            await self.load()
            return None
        if found is None or not self._lives(found):
            return None
        await self._touch(found)
        return self._session(found, self._mac(b"csrf", token).hex())

    def _lives(self, found: Stored) -> bool:
        panel, now = self._settings.current.panel, self._now()
        return found.seen + panel.idle_minutes * 60 > now and found.created + panel.session_hours * 3600 > now

    async def _touch(self, found: Stored) -> None:
        now = int(self._now())
        if now - found.seen < min(TOUCH_SECONDS, self._settings.current.panel.idle_minutes * 6):
            return
        try:
            with audit.apart():
                await self._store.write(admin_sessions.touch, found.id, now)
        except Unavailable as error:
            log.warn("A session's use was not noted: {reason}", event="admin.session_not_touched", reason=error.reason)

    def _session(self, found: Stored, csrf: str = "") -> Session:
        try:
            origin = json.loads(self._cipher.open(_ORIGIN, found.hash, found.origin))
        except (CipherError, ValueError):
            origin = {}
        address, agent = str(origin.get("address", "")), str(origin.get("agent", ""))
        return Session(found.id, found.admin, found.name, found.created, found.seen, address, agent, csrf)

    async def end(self, token: str, address: str = "") -> None:
        """Log out; nothing happens when the token is of no session."""
        session = await self.find(token)
        if session is not None:
            with audit.acting(Actor("admin", session.name, address), "admin.logout", session.name), suppress(Missing):
                await self._store.write(admin_sessions.end, session.id, session.admin_id)

    async def of(self, admin: int) -> Listed:
        """The living sessions of one administrator, the latest used first."""
        return [self._session(each) for each in await self._store.read(admin_sessions.of, admin) if self._lives(each)]

    async def end_one(self, admin: int, id: int) -> None:
        """End one session of that administrator; raises DirectoryError when there is none."""
        audit.note(after={"session": "ended"})
        try:
            await self._store.write(admin_sessions.end, id, admin)
        except Missing:
            raise DirectoryError("not_found", "this session has ended already") from None

    async def end_others(self, admin: int, keep: int) -> int:
        """End every session of that administrator but ``keep``; returns how many ended."""
        audit.note(after={"sessions": "all others ended"})
        return await self._store.write(admin_sessions.end_others, admin, keep)

    async def rotate_secret(self) -> int:
        """A new secret for the panel: every session of every administrator ends. Returns how many ended."""
        audit.note(target="panel", after={"session_secret": audit.HIDDEN})
        guid, sealed = self._new_secret()
        ended = await self._store.write(admin_sessions.rotate_secret, guid, sealed)
        await self.load()
        log.warn("The panel's session secret was replaced", event="admin.session_secret", admin=audit.by(), sessions=ended)
        if self._admins.alerts is not None:
            text = f"The panel has a new session secret; {ended} sessions ended."
            self._admins.alerts.tell("security.session_secret", "panel", text)
        return ended

    # Upkeep

    def start(self) -> None:
        """Drop what has ended: now, and once an hour."""
        self._due = self._reactor.callLater(_SWEEP_SECONDS, self.start)
        if self._sweeping is None:
            self._sweeping = Deferred.fromCoroutine(self._sweep())

    async def stop(self) -> None:
        """Begin nothing more, and wait for what runs."""
        if self._due is not None and self._due.active():
            self._due.cancel()
        if self._sweeping is not None:
            await self._sweeping

    async def _sweep(self) -> None:
        panel, now = self._settings.current.panel, int(self._now())
        try:
            await self._store.write(admin_sessions.sweep, now - panel.idle_minutes * 60, now - panel.session_hours * 3600)
        except Unavailable as error:
            log.warn("Ended sessions were not dropped: {reason}", event="admin.sessions_not_swept", reason=error.reason)
        finally:
            self._sweeping = None

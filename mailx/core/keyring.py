"""The keys of sealed accounts whose owners are here: in memory only, and no longer than that.

A login opens them (:mod:`mailx.core.sealed_accounts`). They stay while a session of the account is open and at most the
login cache's seconds after the last of them; then nothing here can read the account's mail until somebody logs in again.
Reactor thread only; what is handed out may be used in any thread.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.identity.statements import SeedSigner
from mailx.store.cipher import Cipher
from mailx.store.vault import Vault

log = Logger()
T = TypeVar("T")

ENTERING = 5.0  # seconds that a login has to become a session, where logins are not remembered


class AccountSigner(SeedSigner):
    """Signs for an account. The seed is kept, so that the keys can be wrapped again."""

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.seed = seed


@frozen(repr=False)
class AccountKeys:
    """What opens one account: never shown, never logged, never stored as it is."""

    account: int
    sealing: bytes  # X25519 private key, 32 octets
    signing: AccountSigner
    vault: bytes  # key of what lies in the store, 32 octets
    former: tuple[bytes, ...] = ()  # earlier values of ``sealing``, for mail that was sealed to those


@define
class _Open:
    keys: AccountKeys
    vault: Vault
    ending: IDelayedCall | None = None


@define(eq=False)
class Keyring:
    """Opened keys by account. ``seconds``: how long they outlive the last session."""

    _cipher: Cipher
    _reactor: Any
    _seconds: float
    _open: dict[int, _Open] = field(init=False, factory=dict)
    _sessions: dict[int, int] = field(init=False, factory=dict)
    _opened: list[Callable[[int], "Deferred[None] | None"]] = field(init=False, factory=list)
    _closed: list[Callable[[int], object]] = field(init=False, factory=list)

    def get(self, account: int) -> AccountKeys | None:
        """The keys of an account; None: its owner is not logged in, or it has none."""
        held = self._open.get(account)
        return None if held is None else held.keys

    def vault(self, account: int) -> Vault | None:
        """What seals and opens the account's mail in the store; None as for ``get``."""
        held = self._open.get(account)
        return None if held is None else held.vault

    def accounts(self) -> list[int]:
        """The accounts that are open now."""
        return list(self._open)

    def put(self, keys: AccountKeys) -> "Deferred[None]":
        """Keep opened keys from now on. Fires when whoever waited for them has done what was to be done at once; never fails."""
        held = self._open.get(keys.account)
        if held is not None:
            held.keys, held.vault = keys, Vault(self._cipher, keys.vault)
        else:
            self._open[keys.account] = _Open(keys, Vault(self._cipher, keys.vault))
            metrics.SEALED_OPEN.inc()
        self._end_later(keys.account, max(self._seconds, ENTERING))
        waited = [self._told(call, keys.account) for call in self._opened]
        return gatherResults(waited).addCallback(lambda _: None)

    def hold(self, account: int) -> None:
        """A session of the account is open: its keys stay."""
        self._sessions[account] = self._sessions.get(account, 0) + 1
        held = self._open.get(account)
        if held is not None and held.ending is not None:
            held.ending.cancel()
            held.ending = None

    def release(self, account: int) -> None:
        """A session that ``hold`` told of is over."""
        left = self._sessions.pop(account, 1) - 1
        if left > 0:
            self._sessions[account] = left
        elif account in self._open:
            self._end_later(account, self._seconds)

    def drop(self, account: int) -> None:
        """Forget the keys now, whoever is there."""
        held = self._open.pop(account, None)
        if held is None:
            return
        if held.ending is not None and held.ending.active():
            held.ending.cancel()
        metrics.SEALED_OPEN.dec()
        for call in self._closed:
            call(account)

    def on_open(self, call: Callable[[int], "Deferred[None] | None"]) -> None:
        """``call(account)`` whenever a login has opened keys; what it answers is waited for a moment."""
        self._opened.append(call)

    def on_close(self, call: Callable[[int], object]) -> None:
        """``call(account)`` when the keys are forgotten: forget with them what they opened."""
        self._closed.append(call)

    def stop(self) -> None:
        """Forget everything."""
        for account in list(self._open):
            self.drop(account)

    def _end_later(self, account: int, seconds: float) -> None:
        held = self._open[account]
        if held.ending is not None and held.ending.active():
            held.ending.cancel()
            held.ending = None
        if not self._sessions.get(account):
            held.ending = self._reactor.callLater(seconds, self._end, account)

    def _end(self, account: int) -> None:
        held = self._open.get(account)
        if held is not None:
            held.ending = None
            self.drop(account)

    def _told(self, call: Callable[[int], "Deferred[None] | None"], account: int) -> "Deferred[None]":
        answer = call(account)
        done: Deferred[None] = Deferred()
        if answer is None:
            done.callback(None)
        else:
            answer.addErrback(_failed).addBoth(lambda _: done.callback(None))
        return done


def _failed(failure: Failure) -> None:
    log.failure("What follows the opening of an account failed", failure, event="keyring.failed")

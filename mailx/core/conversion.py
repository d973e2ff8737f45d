"""Conversion: the mail that an account has already, sealed when the account becomes one that its owner opens, or opened again.

It goes on in the background while the account's keys are in memory, and keeps them there until it is through; what a stop
cuts short goes on at the owner's next login. Each message is one transaction, and every message can be read at any time.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.content import Threads
from mailx.core.index import Index
from mailx.core.keyring import Keyring
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.sealing import identifiers
from mailx.mail.reply import Unavailable
from mailx.mail.summary import Summary
from mailx.store import Store, account_keys, sealed_mail
from mailx.store.account_keys import OPENING, SEALED, SEALING
from mailx.store.blobs import BlobFile, Blobs
from mailx.store.cipher import HASH_SIZE, Cipher, CipherError
from mailx.store.messages import open_content, open_summary, scope, seal_content, seal_summary
from mailx.store.sealed_mail import Converted, Held
from mailx.store.vault import Vault

log = Logger()

_BATCH = 32  # messages read at a time
_OCTETS = 1024 * 1024  # of them in the database
_TRIES = 60  # until it is left to the next login
_PAUSE = 0.002  # seconds between two messages, for everybody else
_SETTLE = 60.0  # seconds in which mail may still come the old way
_UNLINK_AFTER = 30.0  # seconds for which a session may still be reading a file that was replaced

Made = tuple[Converted, BlobFile | None]


class Conversion:
    """Converts accounts: ``start`` once, ``stop`` before the store closes. ``index`` is the search index, if there is one.

    ``forget`` is called when what memory has of ordinary mail must go, for some of it is sealed now.
    """

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        blobs: Blobs,
        keyring: Keyring,
        sealed: SealedAccounts,
        threads: Threads,
        reactor: Any,
        *,
        file_above: int,
        index: Index | None = None,
        forget: Callable[[], None] = lambda: None,
        settle: float = _SETTLE,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._keyring = keyring
        self._sealed = sealed
        self._threads = threads
        self._reactor = reactor
        self._file_above = file_above
        self._index = index
        self._forget = forget
        self._settle = settle
        self._running: dict[int, Deferred[None]] = {}
        self._sleeping: set[Deferred[None]] = set()
        self._replaced: dict[str, IDelayedCall] = {}  # files that go soon
        self._stopped = False

    def start(self) -> None:
        """Go on with what was begun, whenever its owner logs in."""
        self._keyring.on_open(self._opened)

    async def stop(self) -> None:
        """Convert no more; returns when the message at hand is through."""
        self._stopped = True
        for sleeping in list(self._sleeping):
            sleeping.cancel()
        for running in list(self._running.values()):
            await followed(running)
        replaced, self._replaced = self._replaced, {}
        for call in replaced.values():
            call.cancel()
        await self._threads(self._unlink, list(replaced))

    async def through(self, account: int) -> None:
        """Returns when nothing runs for the account; for tests and tools."""
        running = self._running.get(account)
        if running is not None:
            await followed(running)

    def _opened(self, account: int) -> None:
        if account in self._running or self._stopped:
            return
        self._running[account] = Deferred()
        Deferred.fromCoroutine(self._begun(account)).addErrback(_failed, account).addBoth(self._ended, account)

    def _ended(self, _: object, account: int) -> None:
        self._running.pop(account).callback(None)

    async def _begun(self, account: int) -> None:
        """Go on with a conversion, if one was begun: only then the keys are held, and let go when it is through."""
        keys = await self._store.read(account_keys.one, account)
        if keys is None or keys.state not in (SEALING, OPENING):
            return
        self._keyring.hold(account)
        try:
            await self._convert(account)
        finally:
            self._keyring.release(account)

    async def _convert(self, account: int) -> None:
        """Convert until nothing is left to do, whichever way it is to go by then."""
        for _ in range(_TRIES):
            if self._stopped or self._keyring.vault(account) is None:
                return
            keys = await self._store.read(account_keys.one, account)
            if keys is None or keys.state not in (SEALING, OPENING):
                return
            if keys.state == SEALING and self._index is not None:
                await self._index.drop(account)
            ended = await (self._seal(account, keys.position) if keys.state == SEALING else self._open(account, keys.position))
            if ended:
                if self._index is not None:
                    self._index.turned(account)
                log.info("Older mail of an account was converted", event="account.converted", user_id=account, state=keys.state)
        log.warn(
            "Older mail of an account is not converted yet: some of it cannot be read", event="account.conversion_unended", user_id=account
        )

    async def _seal(self, account: int, position: int) -> bool:
        """Seal what is there, then what came meanwhile the old way; whether all of it is sealed."""
        while await self._pass(account, SEALING, position):
            position = 0
        await self._sleep(self._settle)
        if self._stopped or await self._pass(account, SEALING, 0):
            return False
        while await self._store.write(sealed_mail.forget_hashes, account, HASH_SIZE):
            await self._sleep(_PAUSE)
        if self._index is not None:
            await self._index.drop(account)
        self._forget()
        if self._stopped or self._keyring.vault(account) is None:
            return False
        return await self._store.write(partial(account_keys.turn, of=(SEALING,)), account, SEALED)

    async def _open(self, account: int, position: int) -> bool:
        """Open what is there; whether nothing is sealed any more, neither here nor among what waits."""
        await self._pass(account, OPENING, position)
        if self._stopped or self._keyring.vault(account) is None:
            return False
        if await self._sealed.ended(account):
            return True
        await self._sleep(1.0)
        await self._store.write(account_keys.advance, account, OPENING, 0)
        return False

    async def _pass(self, account: int, state: str, position: int) -> int:
        """Convert everything beyond the message ``position``; how many there were. Ends where the account is to go another way."""
        count = 0
        while not self._stopped and (vault := self._keyring.vault(account)) is not None:
            batch = await self._store.read(sealed_mail.after, account, position, state == OPENING, _BATCH, _OCTETS)
            if not batch:
                break
            for held in batch:
                if self._stopped:
                    return count
                count += await self._one(account, held, vault, state == SEALING)
                await self._sleep(_PAUSE)
            position = batch[-1].id
            if not await self._store.write(account_keys.advance, account, state, position):
                return 0
        return count

    async def _one(self, account: int, held: Held, vault: Vault, sealing: bool) -> int:
        """Convert one message; 0 if it does not open, or is gone."""
        try:
            made: Made = await self._threads(self._made, account, held, vault, sealing)
        except (CipherError, OSError) as error:
            log.error("A message was not converted: {reason}", event="account.not_converted", user_id=account, reason=str(error))
            return 0
        converted, file = made
        done, replaced = False, None
        if self._keyring.vault(account) is vault:  # else its keys may have been given up
            done, replaced = await self._store.write(sealed_mail.convert, account, converted)
        if not done and file is not None:
            await self._threads(file.discard)
        if replaced is not None:
            self._replaced[replaced] = self._reactor.callLater(_UNLINK_AFTER, self._unlink_soon, replaced)
        return int(done)

    def _made(self, account: int, held: Held, vault: Vault, sealing: bool) -> Made:
        """Runs in a thread."""
        was, new = (self._cipher, vault) if sealing else (vault, self._cipher)
        data = open_summary(was, held.guid, held.summary)
        if held.file is None:
            content = open_content(was, held.guid, held.content or b"")
        else:
            content = self._blobs.read(held.file) if sealing else vault.read(self._blobs, held.file, held.guid)
        file = None
        if len(content) > self._file_above:
            file = vault.put(self._blobs, held.guid, content) if sealing else self._blobs.put(content)
        within = scope(account)
        found = [identifier for identifier in identifiers(Summary(data)) if identifier]
        hashes = [(was.hash(b"thread", within, each), new.hash(b"thread", within, each)) for each in found]
        stored = seal_content(new, held.guid, content) if file is None else None
        name = None if file is None else file.name
        return Converted(held.id, seal_summary(new, held.guid, data), stored, name, sealing, hashes), file

    def _unlink_soon(self, name: str) -> None:
        self._replaced.pop(name, None)
        self._threads(self._unlink, [name]).addErrback(_not_removed)

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            self._blobs.unlink(name)

    async def _sleep(self, seconds: float) -> None:
        if self._stopped:
            return
        sleeping: Deferred[None] = deferLater(self._reactor, seconds)
        self._sleeping.add(sleeping)
        try:
            await sleeping
        except CancelledError:
            pass
        finally:
            self._sleeping.discard(sleeping)


def followed(running: "Deferred[None]") -> "Deferred[None]":
    """Fires with ``running``, and leaves it as it is."""
    follower: Deferred[None] = Deferred()
    running.addCallback(lambda _: follower.callback(None))
    return follower


def _failed(failure: Failure, account: int) -> None:
    if isinstance(failure.value, Unavailable):
        log.warn(
            "A conversion was interrupted: {reason}", event="account.conversion_interrupted", user_id=account, reason=failure.value.reason
        )
    else:
        log.failure("A conversion failed", failure, event="account.conversion_failed")


def _not_removed(failure: Failure) -> None:
    log.failure("A file was not removed", failure, event="account.file_not_removed")

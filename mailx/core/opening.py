"""Opening: mail that waited for its owner becomes entries, under the account's key, as soon as that is here.

At a login, and at once while the owner is here. Each message is opened in a thread, sealed under the account's vault key, and
placed by the transaction that removes what waited: whatever stops in between, it is there once, with one UID. What cannot be
read now (the store is away, a damaged file) stays, is logged, and is tried again.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from time import time
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics, wrapping
from mailx.core.accounts import Accounts
from mailx.core.content import Threads
from mailx.core.conversion import followed
from mailx.core.keyring import AccountKeys, Keyring
from mailx.core.sealing import Sealed, vault_threads, vaulted
from mailx.core.storing import Storing, prepared
from mailx.mail.names import INBOX
from mailx.mail.reply import Unavailable
from mailx.store import Store, account_keys, waiting
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher, CipherError
from mailx.store.delivery import Consignment, Outcome, Placed, Problem, Target
from mailx.store.mailboxes import name_hash
from mailx.store.messages import open_content
from mailx.store.vault import Vault
from mailx.store.waiting import Waiting

log = Logger()

_BATCH = 16  # messages of one transaction
_OCTETS = 1024 * 1024  # of them in the database
_PATIENCE = 2.0  # seconds that a login waits for its mail; what takes longer goes on behind it
_EVERY = 15.0  # seconds between looks for what others (another node) brought or changed
_ASKED = 500  # accounts of one reading


class Unsealed(Protocol):
    """An opened message; ``pieces`` runs in a thread."""

    @property
    def pieces(self) -> Callable[[], Iterable[bytes]]: ...


class Unsealing(Protocol):
    """Opens what was sealed for an account: :class:`mailx.core.unsealing.Unsealing`."""

    async def opened(
        self, source: Callable[[], Iterable[bytes]], privates: Sequence[bytes], own: Collection[str], received: int
    ) -> Unsealed:
        """What is to be stored in place of ``source``; raises only what ``source`` raises."""


@frozen
class _Ready:
    """A message that was opened, and what it was."""

    was: Waiting
    sealed: Sealed
    threads: tuple[bytes, ...]


class Opening:
    """Opens what waits: ``start`` once, ``stop`` before the store closes."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        blobs: Blobs,
        accounts: Accounts,
        keyring: Keyring,
        unsealing: Unsealing,
        threads: Threads,
        reactor: Any,
        *,
        file_above: int,
    ) -> None:
        """Contents of more than ``file_above`` octets lie in files."""
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._accounts = accounts
        self._keyring = keyring
        self._unsealing = unsealing
        self._threads = threads
        self._reactor = reactor
        self._file_above = file_above
        self._storing = Storing(store, threads)
        self._running: dict[int, Deferred[None]] = {}
        self._again: set[int] = set()
        self._logins: dict[int, bytes] = {}  # of each open account, what changes with its password
        self._next: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Open at every login from now on."""
        self._keyring.on_open(self._opened)
        self._keyring.on_close(lambda account: self._logins.pop(account, None))
        self._next = self._reactor.callLater(_EVERY, self._look_around)

    async def stop(self) -> None:
        """Open no more; returns when what runs is through."""
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        for running in list(self._running.values()):
            await followed(running)

    def look(self, account: int) -> None:
        """Something may have come for the account: open it, if its owner is here."""
        if self._stopped or self._keyring.get(account) is None:
            return
        if account in self._running:
            self._again.add(account)
            return
        self._running[account] = Deferred()
        Deferred.fromCoroutine(self._open_all(account)).addErrback(self._failed, account).addBoth(self._ended, account)

    def _opened(self, account: int) -> "Deferred[None]":
        """A login opened the account: it waits for its mail, but not for long."""
        self.look(account)
        patience: Deferred[None] = Deferred()
        running = self._running.get(account)
        if running is None:
            patience.callback(None)
            return patience
        late = self._reactor.callLater(_PATIENCE, patience.callback, None)

        def done(result: None) -> None:
            if late.active():
                late.cancel()
                patience.callback(None)

        running.addCallback(done)
        return patience

    def _ended(self, _: object, account: int) -> None:
        self._running.pop(account).callback(None)
        if account in self._again:
            self._again.discard(account)
            self.look(account)

    def _failed(self, failure: Failure, account: int) -> None:
        if isinstance(failure.value, Unavailable):
            log.warn("Mail that waits was not opened: {reason}", event="opening.interrupted", user_id=account, reason=failure.value.reason)
        elif not failure.check(CancelledError):
            log.failure("Mail that waits was not opened", failure, event="opening.failed")

    def _look_around(self) -> None:
        self._next = self._reactor.callLater(_EVERY, self._look_around)
        accounts = self._keyring.accounts()
        if accounts:
            Deferred.fromCoroutine(self._look_for(accounts)).addErrback(self._failed, 0)

    async def _look_for(self, accounts: Sequence[int]) -> None:
        for start in range(0, len(accounts), _ASKED):
            await self._still(accounts[start : start + _ASKED])
        for account in await self._store.read(waiting.who, accounts):
            self.look(account)

    async def _still(self, accounts: Sequence[int]) -> None:
        """End what is open of accounts that another node suspended, deleted, opened for good, or gave another password."""
        there = await self._store.read(account_keys.logins, accounts)
        for account in accounts:
            now = there.get(account)
            if self._keyring.get(account) is not None and (now is None or self._logins.setdefault(account, now) != now):
                log.info("An account was changed elsewhere", event="keyring.changed", user_id=account)
                self._accounts.revoke(account)

    async def _open_all(self, account: int) -> None:
        user = await self._accounts.user(account)
        if user is None:
            return
        details = await self._accounts.find(user.address)
        own = {user.address.domain, *[name.rpartition("@")[2] for name in details.aliases]}
        after = 0
        while not self._stopped:
            rows = await self._store.read(waiting.some, account, after, _BATCH, _OCTETS)
            stored = await self._store.read(account_keys.one, account) if rows else None
            keys, vault = self._keyring.get(account), self._keyring.vault(account)
            if stored is None or keys is None or vault is None:
                return
            if stored.sealing != wrapping.public_of(keys.sealing):
                # Another server has exchanged the keys: what was sealed to the new ones would not open. The next login brings them.
                log.info("The keys of an account were exchanged elsewhere", event="keyring.outdated", user_id=account)
                self._accounts.revoke(account)
                return
            after = rows[-1].id
            ready = []
            try:
                for row in rows:
                    one = await self._ready(row, keys, vault, own)
                    if one is not None:
                        ready.append(one)
            except BaseException:
                await self._storing.discard(*[one.sealed.file for one in ready])
                raise
            # All at once, in their order: what meets in one commit is one transaction.
            placing = [Deferred.fromCoroutine(self._place(account, one)) for one in ready]
            for _, result in await DeferredList(placing, consumeErrors=True):
                if isinstance(result, Failure):
                    result.raiseException()

    async def _ready(self, row: Waiting, keys: AccountKeys, vault: Vault, own: Collection[str]) -> _Ready | None:
        """The message opened and sealed for the store; None if it cannot be read."""
        try:
            content = await self._threads(self._content, row)
            file = row.file
            source = (lambda: self._blobs.iterate(file)) if file is not None else (lambda: iter((content,)))
            unsealed = await self._unsealing.opened(source, (keys.sealing, *keys.former), own, row.received)
            sealed: Sealed = await self._threads(self._sealed, unsealed, vault)
        except (CipherError, OSError) as error:
            log.error("Mail that waits cannot be read: {reason}", event="opening.unreadable", user_id=keys.account, reason=str(error))
            return None
        return _Ready(row, sealed, vault_threads(vault, keys.account, sealed.identifiers))

    def _content(self, row: Waiting) -> bytes:
        """What was sealed for the owner, without the server's own encryption. Runs in a thread."""
        return b"" if row.content is None else open_content(self._cipher, row.guid, row.content)

    def _sealed(self, unsealed: Unsealed, vault: Vault) -> Sealed:
        """Runs in a thread."""
        return vaulted(b"".join(unsealed.pieces()), vault, self._blobs, self._file_above)

    async def _place(self, account: int, ready: _Ready) -> None:
        """Make it an entry in place of what waited; in INBOX if its mailbox is gone."""
        outcome = await self._placed(account, ready, ready.was.mailbox)
        if outcome is Problem.GONE:
            outcome = await self._placed(account, ready, None)
        if not isinstance(outcome, Placed):  # somebody else has opened it, or the account is gone
            await self._storing.discard(ready.sealed.file)
            return
        metrics.OPENED.inc()
        self._accounts.note_used(account, outcome.used)
        if ready.was.file is not None:
            try:
                await self._threads(self._blobs.unlink, ready.was.file)
            except OSError:
                log.failure("A file was not removed", event="opening.file_not_removed")  # the sweep finds it

    async def _placed(self, account: int, ready: _Ready, mailbox: bytes | None) -> Outcome | None:
        place = name_hash(self._cipher, account, INBOX) if mailbox is None else mailbox
        target = Target(account, place, 0, ready.was.flags, ready.threads, must=True)
        delivery = prepared(ready.sealed, (target,), int(time()), ready.was.received)
        answer = await self._storing.commit(Consignment((delivery,), opens=ready.was.id), [ready.sealed])
        outcome: Outcome | None = answer[0][0]
        return outcome

"""Bringing: messages of an import come into their account's mailboxes, many in one transaction, all of one call or none.

They are sealed as ordinary mail of the account is, and find their threads; no policy is asked, nobody is told, for they are old.
Failure is :class:`Refused`, or MailboxError "TRYCREATE" and "OVERQUOTA"; then nothing of the call was kept.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from time import time

from attrs import frozen

from mailx.core import metrics, quota
from mailx.core.accounts import Accounts, User
from mailx.core.content import Threads, no_space
from mailx.core.forms import Owns
from mailx.core.keyring import Keyring
from mailx.core.sealing import Sealed, Sealing
from mailx.core.storing import Storing, prepared
from mailx.core.users import SERVER
from mailx.mail.envelope import Envelope, Origin, new_id
from mailx.mail.message import Message
from mailx.mail.names import MailboxError, normal
from mailx.mail.reply import Unavailable
from mailx.store import Store, imports
from mailx.store.cipher import Cipher, CipherError
from mailx.store.delivery import Consignment, Delivery, Placed, Problem, Target
from mailx.store.imports import Entry, Journal
from mailx.store.mailboxes import name_hash
from mailx.store.vault import Vault

PROTOCOL = "import"


@frozen
class Brought:
    """One message and where it goes. ``flags`` are bits of the account, keywords among them."""

    key: bytes  # hash of what names it at its source
    mailbox: str
    message: Message
    flags: int = 0
    received: int | None = None


@frozen
class _Ready:
    """A message made ready for the store."""

    sealed: Sealed
    digest: bytes  # SHA-256 of what was brought
    threads: tuple[bytes, ...]
    waiting: bool = False


class Bringing:
    """See ``Reception.bring``."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        sealing: Sealing,
        storing: Storing,
        directory: Accounts,
        threads: Threads,
        default_quota: int,
        keyring: Keyring | None,
        owns: Owns | None,
        waits: Callable[[int], None],
    ) -> None:
        """``owns`` seals for owners who are not here; ``waits(account)`` hears of mail that waits for them."""
        self._store = store
        self._cipher = cipher
        self._sealing = sealing
        self._storing = storing
        self._directory = directory
        self._threads = threads
        self._default_quota = default_quota
        self._keyring = keyring
        self._owns = owns
        self._waits = waits
        self._received = metrics.RECEIVED.labels(PROTOCOL)

    async def bring(self, user: User, import_id: int, messages: Sequence[Brought]) -> int:
        """Store those of ``messages`` that have not come before; how many."""
        try:
            ready = await self._ready(user, messages)
        except BaseException:
            await self._storing.discard(*[each.message.content for each in messages])
            raise
        while (placed := await self._placed(user, import_id, messages, ready)) is None:
            # An answer was lost and they are brought again, or somebody else brings them now: every round finds fewer to bring.
            # When none of them turns out to be known, the import itself was forgotten.
            before = len(messages)
            messages, ready = await self._missing(import_id, messages, ready)
            if not messages:
                return 0
            if len(messages) == before:
                await self._storing.discard(*[one.sealed.file for one in ready])
                raise Unavailable("the import was forgotten meanwhile")
        if placed:
            self._directory.note_used(user.id, placed[-1].used)
            self._received.inc(len(placed))
            metrics.DELIVERED.inc(len(placed))
            if any(one.waiting for one in ready):
                self._waits(user.id)
        return len(placed)

    async def _missing(self, import_id: int, messages: Sequence[Brought], ready: list[_Ready]) -> tuple[list[Brought], list[_Ready]]:
        """Those that have not come yet, each once; what was sealed of the others is thrown away."""
        known = {each.key for each in await self._store.read(imports.known, import_id, [each.key for each in messages])}
        fresh: dict[bytes, tuple[Brought, _Ready]] = {}
        for each, one in zip(messages, ready, strict=True):
            if each.key in known or each.key in fresh:
                await self._storing.discard(one.sealed.file)
            else:
                fresh[each.key] = each, one
        return [each for each, _ in fresh.values()], [one for _, one in fresh.values()]

    async def _placed(self, user: User, import_id: int, messages: Sequence[Brought], ready: Sequence[_Ready]) -> Sequence[Placed] | None:
        """Commit them; None if one of them has come before, and then nothing is changed."""
        now, context = int(time()), import_id.to_bytes(8, "big")
        deliveries: list[Delivery] = []
        entries: list[Entry] = []
        places = {name: name_hash(self._cipher, user.id, normal(name)) for name in {each.mailbox for each in messages}}
        for each, one in zip(messages, ready, strict=True):
            target = Target(user.id, places[each.mailbox], self._default_quota, each.flags, one.threads)
            deliveries.append(prepared(one.sealed, (target,), now, each.received, one.waiting))
            entries.append(Entry(each.key, digest_hash(self._cipher, context, one.digest), each.flags))
        files = [one.sealed for one in ready]
        answers = await self._storing.commit(Consignment(tuple(deliveries), journal=Journal(import_id, tuple(entries))), files)
        if any(each.met for each in answers):
            return None
        outcomes = [outcomes[0] for outcomes in answers]
        placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
        if len(placed) == len(messages):
            return placed
        await self._storing.discard(*[one.file for one in files])
        if Problem.GONE in outcomes:
            raise MailboxError("TRYCREATE", "A mailbox was deleted meanwhile")
        quota.exceeded(user, sum(each.message.size for each in messages))
        raise MailboxError("OVERQUOTA", "Quota exceeded")

    async def _ready(self, user: User, messages: Sequence[Brought]) -> list[_Ready]:
        """All of them sealed for the account; their spools are files of the store then. Raises Refused."""
        vault = self._vault(user)
        if user.sealed and vault is None:
            return await self._for_owner(user, messages)
        try:
            done: list[_Ready] = await self._threads(self._sealed, user.id, messages, vault)
        except OSError as error:
            raise no_space(error) from None
        except CipherError as error:
            raise Unavailable(str(error)) from None
        return done

    def _vault(self, user: User) -> Vault | None:
        return None if user.sealed != SERVER or self._keyring is None else self._keyring.vault(user.id)

    def _sealed(self, account: int, messages: Sequence[Brought], vault: Vault | None) -> list[_Ready]:
        """Runs in a thread: many small messages in one trip."""
        ready: list[_Ready] = []
        try:
            for each in messages:
                digest = _digest(each.message)
                sealed = self._sealing.now(each.message, vault)
                ready.append(_Ready(sealed, digest, self._sealing.threads_now(sealed, account, vault)))
        except BaseException:
            for one in ready:
                one.sealed.discard()
            raise
        return ready

    async def _for_owner(self, user: User, messages: Sequence[Brought]) -> list[_Ready]:
        """Sealed so that the absent owner opens them."""
        if self._owns is None:
            raise Unavailable("the account's keys are not open")
        ready: list[_Ready] = []
        origin = Origin(PROTOCOL, new_id())
        try:
            for each in messages:
                digest: bytes = await self._threads(_digest, each.message)
                envelope = Envelope(new_id(), None, (user.address,), each.message, origin)
                own = (await self._owns.forms(envelope, [user])).get(user.id)
                message, waiting = (each.message, False) if own is None else (own.message, own.waiting)
                sealed = await self._sealing.seal(message, not waiting)
                (threads,) = await self._sealing.threads(sealed, [user.id])
                ready.append(_Ready(sealed, digest, () if waiting else threads, waiting))
                if own is not None:
                    await self._storing.discard(each.message.content)
        except BaseException:
            await self._storing.discard(*[one.sealed.file for one in ready])
            raise
        return ready


def digest_hash(cipher: Cipher, context: bytes, digest: bytes) -> bytes:
    """How the digest of a message is kept: it tells nobody without the server's keys whether a known message is there."""
    return cipher.hash(b"imported", context, digest)


def _digest(message: Message) -> bytes:
    content = message.content
    return sha256(content if isinstance(content, bytes) else content.read()).digest()

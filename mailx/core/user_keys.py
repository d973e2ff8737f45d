"""The keys of our users: attested by their domain's key, in the key log, renewed before they end.

Here are public halves only. Who has keys is answered from memory. When the domain key changes, everything that it attests
is attested anew behind the scenes; an account that is deleted takes its keys with it. What is refused rises as
``DirectoryError``; when the store cannot answer, ``mail.reply.Unavailable`` comes through.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit
from mailx.core.accounts import Accounts, DirectoryError
from mailx.core.cache import Cache
from mailx.core.domain_keys import DomainKeys
from mailx.core.keystore import DomainSigner
from mailx.core.users import canonical
from mailx.identity import key_log, user_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import canonical as encoded
from mailx.identity.encoding import parse
from mailx.identity.statements import Statement
from mailx.identity.user_keys import CLIENT, HISTORY_LIMIT, SERVER, Attestation
from mailx.mail.address import Address
from mailx.mail.log_leaf import USER_KEY
from mailx.mail.reply import Unavailable
from mailx.store import Row, Store
from mailx.store import user_keys as rows
from mailx.store.names import Missing
from mailx.store.user_keys import Attested, Overtaken

__all__ = ["CLIENT", "SERVER", "Attestation", "UserKeys"]

log = Logger()

FRESH_SECONDS = 60.0
RENEW_SECONDS = 30 * 86400  # before the end of an attestation
_UPKEEP_SECONDS = 3600.0
_CACHED = 20000
_SLICE = 50
_ATTEMPTS = 3  # at an attestation that others overtake


@frozen
class _Wanted:
    """An attestation to be made."""

    address: Address
    account: int
    sealing: bytes
    signing: bytes
    holder: str
    after: int
    revoked: bool = False


class UserKeys:
    """The keys of all accounts that have some. ``now`` is the time since 1970."""

    def __init__(self, store: Store, accounts: Accounts, domain_keys: DomainKeys, reactor: Any, now: Callable[[], float] = time) -> None:
        self._store = store
        self._accounts = accounts
        self._domain_keys = domain_keys
        self._reactor = reactor
        self._now = now
        self._holders: dict[int, str] = {}
        self._generation = 0
        self._known: Cache[str, Attestation] = Cache(_CACHED, FRESH_SECONDS, reactor.seconds)
        self._renewing = DeferredLock()
        self._upkeep = LoopingCall(self._renew_soon)
        self._upkeep.clock = reactor
        self._stopping = False
        accounts.on_revocation(self._perhaps_gone)
        domain_keys.on_change(self._domain_changed)

    async def load(self) -> None:
        """Read who has keys. Call once, before anything else; raises Unavailable."""
        await self._read()

    def start(self) -> None:
        """Renew what ends soon, now and from time to time."""
        self._upkeep.start(_UPKEEP_SECONDS)

    async def stop(self) -> None:
        self._stopping = True
        if self._upkeep.running:
            self._upkeep.stop()
        await self._renewing.acquire()  # a slice that is under way is finished
        self._renewing.release()

    # What is asked

    def holder(self, account: int) -> str:
        """SERVER or CLIENT: who keeps the private halves of the account's keys; empty for an account without keys."""
        return self._holders.get(account, "")

    async def of(self, address: Address) -> Attestation | None:
        """The keys that mail to ``address`` is sealed to; None when it has none (or is not the address of an account itself)."""
        name = _stored(address)
        held = self._known.get(name)
        if held is None:
            generation = self._generation
            statement = await self._store.read(rows.latest, name)
            if statement is None:
                return None
            held = _decoded(statement)
            if generation == self._generation:
                self._known.put(name, held)
        try:
            keys = self._domain_keys.valid(held.address.domain)
            if held.revoked or held.good(keys, int(self._now())):
                return None if held.revoked else held
            return await self._again(held)
        except (KeyError, DirectoryError):  # the domain is no longer ours, or the account is gone
            return None

    async def _again(self, held: Attestation) -> Attestation | None:
        """The same keys attested by the key of today, which all of the domain's are before long: mail must not go unsealed until then."""
        for account, statement in await self._store.read(rows.in_force, str(held.address)):
            held = _decoded(bytes(statement))
            if held.good(self._domain_keys.valid(held.address.domain), int(self._now())):  # somebody else was faster
                return held
            with audit.apart():
                await self._attest(_Wanted(held.address, int(account), held.sealing, held.signing, held.holder, held.serial))
        now_held = await self._latest(str(held.address))
        good = now_held is not None and now_held.good(self._domain_keys.valid(held.address.domain), int(self._now()))
        return now_held if good else None

    async def history(self, address: Address) -> tuple[Attestation, ...]:
        """Everything attested for ``address``, oldest first, revocations included; of a very long history the end."""
        return tuple(_decoded(each) for each in await self._store.read(rows.history, _stored(address), HISTORY_LIMIT))

    async def statements(self, kind: str, name: str) -> Sequence[Statement]:
        """What the key log has entries of: ``kind`` as of :mod:`mailx.mail.log_leaf`, ``name`` an address or a domain of ours."""
        if kind == USER_KEY:
            return [_decoded(each).statement for each in await self._store.read(rows.history, name, HISTORY_LIMIT)]
        try:
            return [key.statement for key in self._domain_keys.history(name)]
        except KeyError:
            return []

    # What changes

    async def bind(self, account: int, sealing: bytes, signing: bytes, holder: str) -> Attestation:
        """Attest these public halves as the account's keys; those before them are replaced. The same keys again: nothing is written.

        Raises DirectoryError: no such account, a domain without keys, or octets that are no keys.
        """
        if holder not in (SERVER, CLIENT) or len(sealing) != 32 or len(signing) != 32:
            raise DirectoryError("invalid", "these are no keys of a user", "Make a new pair and try again.")
        user = await self._accounts.fresh(account)
        if user is None:
            raise DirectoryError("not_found", "the account is gone", "`mailxctl user list` shows the accounts.")
        for _ in range(_ATTEMPTS):
            held = await self._latest(str(user.address))
            if held is not None and not held.revoked and (held.sealing, held.signing, held.holder) == (sealing, signing, holder):
                signer = self._signer(user.address.domain)
                if held.signed_by([signer.public]) and held.valid_until > self._now() + RENEW_SECONDS and self.holder(account):
                    return held
            wanted = _Wanted(user.address, account, sealing, signing, holder, held.serial if held is not None else 0)
            made = await self._attest(wanted)
            if made is not None:
                log.info("Keys of a user attested", event="keys.user_attested", user_id=account, serial=made.serial, holder=holder)
                return made
        raise DirectoryError("in_use", f"the keys of {user.address} change all the time", "Try again later.")

    async def revoke(self, account: int) -> None:
        """The account has no keys any more; mail to it is sealed no longer. Nothing happens if it has none."""
        for statement in await self._store.read(rows.of_account, account):
            held: Attestation | None = _decoded(statement)
            while held is not None and not held.revoked:
                wanted = _Wanted(held.address, account, held.sealing, held.signing, held.holder, held.serial, revoked=True)
                if await self._attest(wanted) is not None:
                    log.info("Keys of a user revoked", event="keys.user_revoked", user_id=account, serial=held.serial + 1)
                    break
                held = await self._latest(str(held.address))

    async def _latest(self, address: str) -> Attestation | None:
        statement = await self._store.read(rows.latest, address)
        return None if statement is None else _decoded(statement)

    async def _attest(self, wanted: _Wanted) -> Attestation | None:
        """Make it and write it; None if another came between."""
        attestation, row = self._made(wanted, self._signer(wanted.address.domain))
        audit.note(target=str(wanted.address), after={"keys": "revoked" if wanted.revoked else f"serial {row.serial}"})
        try:
            await self._store.write(rows.add, row)
        except Overtaken:
            return None
        except Missing as error:
            raise DirectoryError(
                "not_found", f"there is no {error.kind} {error.name}", "`mailxctl user list` shows the accounts."
            ) from None
        finally:
            self._forget()
        if wanted.revoked:
            self._holders.pop(wanted.account, None)
        else:
            self._holders[wanted.account] = wanted.holder
        return attestation

    def _made(self, wanted: _Wanted, signer: DomainSigner) -> tuple[Attestation, Attested]:
        """Pure computation, half a millisecond."""
        address, serial, now = wanted.address, wanted.after + 1, int(self._now())
        signers = signer, *self._domain_keys.former(address.domain)
        attestation = user_keys.attested(
            address, wanted.sealing, wanted.signing, serial, now, wanted.holder, *signers, revoked=wanted.revoked
        )
        statement = attestation.statement
        leaf = key_log.leaf(
            self._domain_keys.log_secret(address.domain), USER_KEY, str(address), serial, statement, wanted.revoked, attestation.valid_from
        )
        return attestation, Attested(
            str(address),
            serial,
            wanted.after,
            address.domain,
            wanted.account,
            wanted.holder,
            encoded(statement.encode()),
            signer.public,
            attestation.valid_until,
            wanted.revoked,
            leaf,
        )

    def _signer(self, domain: str) -> DomainSigner:
        try:
            return self._domain_keys.signer(domain)
        except KeyError:
            raise DirectoryError("invalid", f"{domain} has no key that opens", f"See `mailxctl key show {domain}`.") from None

    def _forget(self) -> None:
        self._generation += 1
        self._known.clear()

    async def _read(self) -> None:
        generation = self._generation
        found = await self._store.read(rows.holders)
        if generation == self._generation:  # else what was changed meanwhile is known better
            self._holders = found

    # Behind the scenes

    def _domain_changed(self, domain: str, key: DomainKey) -> None:
        self._forget()
        self._renew_soon()

    def _perhaps_gone(self, account: int) -> None:
        """An account's sessions end: it may have been deleted."""
        if self.holder(account):
            self._renew_soon()

    def _renew_soon(self) -> "Deferred[None]":
        with audit.apart():  # nobody asked for it
            return Deferred.fromCoroutine(self._renew()).addErrback(self._not_renewed)

    def _not_renewed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Unavailable):
            log.warn("Keys of users not renewed: {reason}", event="keys.not_renewed", reason=error.reason)
        else:
            log.failure("Keys of users not renewed", failure=failure, event="keys.not_renewed")

    async def _renew(self) -> None:
        """Revoke what has no account any more, and attest anew what ends soon or what a former domain key attested."""
        await self._renewing.acquire()
        try:
            while not self._stopping and (gone := await self._store.read(rows.orphans, _SLICE)):
                if not await self._renewed(gone, revoked=True):
                    break
            for domain in self._domain_keys.domains():
                await self._renew_domain(domain)
            await self._read()
        finally:
            self._renewing.release()

    async def _renew_domain(self, domain: str) -> None:
        while not self._stopping:
            try:
                signer = self._domain_keys.signer(domain)
            except KeyError:
                return
            due = await self._store.read(rows.due, domain, signer.public, int(self._now()) + RENEW_SECONDS, _SLICE)
            if not due or not await self._renewed(due, revoked=False):
                return

    async def _renewed(self, due: Sequence[Row], revoked: bool) -> int:
        made = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._remade, due, revoked)
        try:
            return await self._store.write(rows.renew, made) if made else 0
        finally:
            self._forget()

    def _remade(self, due: Sequence[Row], revoked: bool) -> list[Attested]:
        """In a thread."""
        made = []
        for account, statement in due:
            held = _decoded(bytes(statement))
            wanted = _Wanted(held.address, int(account), held.sealing, held.signing, held.holder, held.serial, revoked)
            try:
                made.append(self._made(wanted, self._domain_keys.signer(held.address.domain))[1])
            except KeyError:  # the domain went in between
                continue
        return made


def _decoded(statement: bytes) -> Attestation:
    return Attestation.decode(parse(statement))


def _stored(address: Address) -> str:
    """The spelling that rows have."""
    return "@".join(canonical(address))

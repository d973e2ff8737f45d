"""The keys that domains sign with, and their lives: next, active, retired.

A key is made as ``next``, so that its record can be published; ``activate`` lets it sign and retires the one before, which
stays published until the mail that it signed has arrived everywhere. Which domains sign is answered from memory; a change
made here is known at once, one made by another process within a minute. What is refused rises as ``DirectoryError``.
"""

from collections.abc import Callable, Mapping, Sequence
from time import gmtime, strftime, time
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailx.core import audit
from mailx.core.accounts import Accounts, DirectoryError
from mailx.core.cache import Cache
from mailx.core.dkim import ALGORITHMS, ED25519, RSA, Signer, generate, record, signer
from mailx.core.users import canonical_domain, domain_name
from mailx.mail.envelope import GENERATED, Envelope
from mailx.store import Store, dkim
from mailx.store.cipher import Cipher, CipherError
from mailx.store.dkim import ACTIVE, NEXT, RETIRED
from mailx.store.names import Missing, Taken

__all__ = ["ACTIVE", "KEEP_DAYS", "NEXT", "RETIRED", "Key", "Signing"]

log = Logger()
T = TypeVar("T")

KEEP_DAYS = 7  # that a retired key stays published: longer than any queue keeps trying
FRESH_SECONDS = 60.0
_CACHED_DOMAINS = 1000  # whose private keys are held open
_PURPOSE = b"dkim"
_SUFFIXES = {RSA: "r", ED25519: "e"}


@frozen
class Key:
    """One key as its administrator sees it. Times are seconds since 1970."""

    domain: str
    selector: str
    algorithm: str
    state: str  # NEXT, ACTIVE or RETIRED
    public: str  # what its record says behind p=
    created: int
    activated: int | None
    retired: int | None

    @property
    def name(self) -> str:
        """Where its record stands."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The text of its record."""
        return record(self.algorithm, self.public)


@frozen
class _Open:
    ids: tuple[int, ...]
    signers: tuple[Signer, ...]


class Signing:
    """The keys of all domains. ``reactor`` gives the time and the threads."""

    def __init__(self, store: Store, cipher: Cipher, accounts: Accounts, reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._accounts = accounts
        self._reactor = reactor
        self._active: Mapping[str, tuple[int, ...]] = {}  # domain -> ids of its active keys
        self._until = 0.0
        self._reading = False
        self._generation = 0
        self._open: Cache[str, _Open] = Cache(_CACHED_DOMAINS, float("inf"), reactor.seconds)

    async def load(self) -> None:
        """Read which domains sign. Call once, before anything else."""
        await self._read()

    # What sending asks

    def any(self) -> bool:
        """Whether any domain signs."""
        if self._reactor.seconds() >= self._until and not self._reading:
            Deferred.fromCoroutine(self._read()).addErrback(self._not_read)
        return bool(self._active)

    def _not_read(self, failure: Failure) -> None:
        log.failure("Signing domains not read", failure=failure, level=LogLevel.warn, event="dkim.unavailable")

    async def _read(self) -> None:
        self._reading = True
        generation = self._generation
        try:
            rows = await self._store.read(dkim.active)
            if generation == self._generation:
                found: dict[str, tuple[int, ...]] = {}
                for domain, id in rows:
                    found[domain] = (*found.get(domain, ()), int(id))
                self._active = found
        finally:
            self._reading = False
            self._until = self._reactor.seconds() + FRESH_SECONDS

    async def speaks_for(self, envelope: Envelope, author: str) -> str:
        """The domain that signs a message by an author at the domain ``author``; empty when none of ours may.

        It is the author's domain or one above it (RFC 9989 calls that aligned), it has active keys, and the message comes
        from an account of that domain or from this server itself: else one customer could speak as another.
        """
        origin = envelope.origin
        if not origin.ours:
            return ""
        domain = author
        while domain and domain not in self._active:
            domain = domain.partition(".")[2]
        if not domain or origin.protocol == GENERATED:
            return domain
        if envelope.sender is not None and canonical_domain(envelope.sender.domain) == domain:  # it was checked to be the account's own
            return domain
        user = await self._accounts.user(origin.account) if origin.account is not None else None
        return domain if user is not None and user.address.domain == domain else ""

    async def signers(self, domain: str) -> Sequence[Signer]:
        """The opened active keys of ``domain``; raises Unavailable."""
        ids = self._active.get(domain)
        if ids is None:
            return ()
        held = self._open.get(domain)
        if held is None or held.ids != ids:
            rows = await self._store.read(dkim.private, domain)
            held = _Open(tuple(int(row[0]) for row in rows), tuple(filter(None, (self._opened(domain, *row[1:]) for row in rows))))
            self._open.put(domain, held)
        return held.signers

    def _opened(self, domain: str, selector: str, algorithm: str, sealed: bytes) -> Signer | None:
        try:
            return signer(domain, selector, algorithm, self._cipher.open(_PURPOSE, _context(domain, selector), bytes(sealed)))
        except (CipherError, ValueError) as error:
            log.error("A signing key does not open: {reason}", event="dkim.unreadable", domain=domain, selector=selector, reason=str(error))
            return None

    # What administrators ask and change

    async def keys(self, domain: str | None = None) -> list[Key]:
        """The keys of ``domain``, or of all domains, oldest first."""
        name = None if domain is None else domain_name(domain)
        try:
            return [Key(*row) for row in await self._store.read(dkim.overview, name)]
        except Missing as error:
            raise _missing(error) from None

    async def create(self, domain: str, algorithms: Sequence[str] = ALGORITHMS) -> list[Key]:
        """Make the next keys of ``domain``, one of each of ``algorithms``; returns them."""
        domain = domain_name(domain)
        if not algorithms or any(algorithm not in ALGORITHMS for algorithm in algorithms):
            raise DirectoryError("invalid", "no such algorithm", f"Algorithms are {', '.join(ALGORITHMS)}.")
        present = await self.keys(domain)
        taken = {key.selector for key in present}
        made = []
        for algorithm in dict.fromkeys(algorithms):
            selector = _selector(algorithm, taken)
            private, public = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), generate, algorithm)
            made.append((selector, algorithm, self._cipher.seal(_PURPOSE, _context(domain, selector), private), public))
        audit.note(target=domain, after={"selectors": [each[0] for each in made], "algorithms": [each[1] for each in made]})
        remedy = f"Publish those and run `mailxctl dkim activate {domain}`, or delete them."
        await self._change({NEXT: (f"{domain} has keys already that wait to be activated", remedy)}, dkim.add, domain, made, int(time()))
        log.info("Signing keys made", event="dkim.created", domain=domain, selectors=[each[0] for each in made])
        return [key for key in await self.keys(domain) if key.state == NEXT]

    async def rotate(self, domain: str) -> list[Key]:
        """Make the keys that are to replace the active ones, of the same kinds; returns them."""
        algorithms = [key.algorithm for key in await self.keys(domain) if key.state == ACTIVE]
        if not algorithms:
            remedy = f"Make its first ones with `mailxctl dkim create {domain}`."
            raise DirectoryError("not_found", f"{domain} has no active keys to replace", remedy)
        return await self.create(domain, algorithms)

    async def activate(self, domain: str) -> list[Key]:
        """Sign with the next keys from now on; those that did are retired. Returns the active keys."""
        domain = domain_name(domain)
        remedy = f"Make some with `mailxctl dkim create {domain}`."
        keys = await self.keys(domain)
        signing, following = ([key.selector for key in keys if key.state == state] for state in (ACTIVE, NEXT))
        audit.note(target=domain, before={"signs": signing}, after={"signs": following})
        await self._change({"": (f"{domain} has no keys that wait to be activated", remedy)}, dkim.activate, domain, int(time()))
        log.info("Signing keys activated", event="dkim.activated", domain=domain)
        return [key for key in await self.keys(domain) if key.state == ACTIVE]

    async def retire(self, domain: str, selector: str) -> None:
        """Sign with this key no more."""
        domain = domain_name(domain)
        reason = (f"the key {selector} does not sign", "")
        audit.note(target=domain, before={"signs": selector}, after={"retired": selector})
        await self._change({NEXT: reason, RETIRED: reason}, dkim.retire, domain, selector, int(time()))
        log.info("Signing key retired", event="dkim.retired", domain=domain, selector=selector)

    async def delete(self, domain: str, selector: str, force: bool = False) -> None:
        """Forget a key that does not sign; a retired one only KEEP_DAYS after it last did, unless ``force``."""
        domain = domain_name(domain)
        now = int(time())
        reasons = {
            ACTIVE: (f"the key {selector} signs", f"Replace it with `mailxctl dkim rotate {domain}`, or retire it first."),
            RETIRED: (
                f"mail signed with {selector} may still be on its way",
                f"Keep its record published until it has been retired for {KEEP_DAYS} days, or give --force.",
            ),
        }
        audit.note(target=domain, before={"selector": selector})
        await self._change(reasons, dkim.delete, domain, selector, now if force else now - KEEP_DAYS * 86400)
        log.info("Signing key deleted", event="dkim.deleted", domain=domain, selector=selector)

    async def _change(self, reasons: Mapping[str, tuple[str, str]], job: Callable[..., T], *args: Any) -> T:
        """Write, then read again who signs: also after a failure, since a COMMIT that failed may have happened."""
        try:
            return await self._store.write(job, *args)
        except Missing as error:
            raise _missing(error) from None
        except Taken as error:
            raise DirectoryError("exists", f"the selector {error.name} is taken", "Try again.") from None
        except dkim.Wrong as error:
            text, remedy = reasons[error.state]
            raise DirectoryError("not_found" if not error.state else "in_use", text, remedy) from None
        finally:
            self._generation += 1
            self._until = 0.0
            await self._read()


def _missing(error: Missing) -> DirectoryError:
    remedy = "`mailxctl domain list` shows the domains." if error.kind == "domain" else "`mailxctl dkim list` shows the keys."
    return DirectoryError("not_found", f"there is no {error.kind} {error.name}", remedy)


def _context(domain: str, selector: str) -> bytes:
    """What binds a sealed private key to its place."""
    return f"{selector}._domainkey.{domain}".encode("ascii")


def _selector(algorithm: str, taken: set[str]) -> str:
    """A name for a key made today that no other of the domain has."""
    base = f"m{strftime('%Y%m%d', gmtime())}{_SUFFIXES[algorithm]}"
    name = base
    number = 1
    while name in taken:
        number += 1
        name = f"{base}{number}"
    taken.add(name)
    return name

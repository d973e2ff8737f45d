"""The directory: domains, accounts, aliases and block lists, with a cache before the store.

Deliveries ask for the same addresses again and again, so what an address reaches is answered from memory. Every change
made here clears the caches once it is committed; an entry older than a minute is read again, so that a change made by
another process on the same database is seen within that time. What is refused rises as ``DirectoryError``; when the
store cannot answer, ``mail.reply.Unavailable`` comes through.
"""

from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailx import config
from mailx.core import audit
from mailx.core.cache import Cache
from mailx.core.catalogue import Catalogue, alias_of
from mailx.core.credentials import Credentials
from mailx.core.passwords import Passwords, Verifiers
from mailx.core.users import (
    ACTIVE,
    DELETED,
    LOST_WITHOUT,
    REMEDIES,
    ROLES,
    SERVER,
    SUSPENDED,
    Alias,
    Block,
    Details,
    DirectoryError,
    Domain,
    Resolved,
    User,
    account_name,
    alias_target,
    block_pattern,
    block_patterns,
    canonical,
    canonical_domain,
    check_quota,
    domain_name,
    parse,
)
from mailx.mail.address import Address
from mailx.mail.mailbox import Change
from mailx.store import Row, Store, Txn, accounts, aliases, blocks, domains, mailboxes
from mailx.store.account_keys import Login
from mailx.store.cipher import Cipher
from mailx.store.names import Missing, Taken

__all__ = ["Accounts", "Alias", "Block", "Details", "DirectoryError", "Domain", "Resolved", "User"]

log = Logger()
T = TypeVar("T")

FRESH_SECONDS = 60.0
ALIAS_TARGETS = 100  # of one alias: each message to it becomes as many
_READS = 3  # of an account that is changed while it is read: no session begins of one that was suspended meanwhile
_CACHED_ADDRESSES = 20000
_CACHED_ACCOUNTS = 20000
_CACHED_BLOCK_LISTS = 2000


class Accounts:
    """The directory. ``cipher`` seals credentials and block lists; ``clock`` counts seconds."""

    def __init__(self, store: Store, cipher: Cipher, settings: config.Accounts, passwords: Passwords, clock: IReactorTime) -> None:
        self._store = store
        self._cipher = cipher
        self._settings = settings
        self.credentials = Credentials(cipher, passwords)
        self._seconds: Callable[[], float] = clock.seconds
        self._domains: frozenset[str] = frozenset()
        self._domains_until = 0.0
        self._reading_domains = False
        self._generation = 0
        self._users: Cache[int, User] = Cache(_CACHED_ACCOUNTS, FRESH_SECONDS, clock.seconds)
        self._reach: Cache[str, tuple[tuple[int, ...], tuple[Address, ...]]] = Cache(_CACHED_ADDRESSES, FRESH_SECONDS, clock.seconds)
        self._blocks: Cache[int, frozenset[bytes]] = Cache(_CACHED_BLOCK_LISTS, FRESH_SECONDS, clock.seconds)
        self._pardons: list[Callable[[str], None]] = []
        self._revocations: list[Callable[[int], None]] = []
        self.catalogue = Catalogue(store, cipher, self._details)
        self.listen = store.listen  # for whoever must know what was missed
        self.listen(self._heard)

    def _heard(self, change: Change) -> None:
        if change.account is not None and change.account.kind == "sessions" and not change.account.entries:  # of another node
            self._forget()
            self.revoke(change.account.account)

    async def load(self) -> None:
        """Read the domains and finish erasures that a crash interrupted. Call once, before anything else."""
        await self._read_domains()
        for id in await self._store.read(accounts.unfinished):
            await self._finish_erasure(id)

    def on_pardon(self, call: Callable[[str], None]) -> None:
        """``call(name)`` whenever an administrator gives an account a new password."""
        self._pardons.append(call)

    def on_revocation(self, call: Callable[[int], None]) -> None:
        """``call(account id)`` whenever those logged in must be no longer: suspended, deleted, or the password changed."""
        self._revocations.append(call)

    def revoke(self, id: int) -> None:
        """Those logged in must be no longer."""
        for call in self._revocations:
            call(id)

    # What deliveries and logins ask

    def local(self, domain: str) -> bool:
        """Whether mail for ``domain`` ends here."""
        if self._seconds() >= self._domains_until and not self._reading_domains:
            self._reading_domains = True
            Deferred.fromCoroutine(self._read_domains()).addErrback(self._domains_not_read)
        return domain in self._domains or (not domain.isascii() and canonical_domain(domain) in self._domains)

    def _domains_not_read(self, failure: Failure) -> None:
        log.failure("Domains not read", failure=failure, level=LogLevel.warn, event="directory.unavailable")

    async def _read_domains(self) -> None:
        self._reading_domains = True
        generation = self._generation
        try:
            found = frozenset(await self._store.read(domains.names))
            if generation == self._generation:
                self._domains = found
        finally:
            self._reading_domains = False
            self._domains_until = self._seconds() + FRESH_SECONDS

    async def resolve(self, address: Address) -> Resolved | None:
        """What ``address`` reaches, suspended accounts included; None when it is not local or reaches nobody.

        Its name is tried as it stands, without its subaddress, as postmaster, as the domain's catch-all.
        ``Address("postmaster", "")`` is the bare postmaster of RFC 5321 4.5.1.
        """
        key = address.key
        reached = self._reach.get(key)
        if reached is not None:
            ids, remotes = reached
            users = tuple(user for id in ids if (user := self._users.get(id)) is not None)
            if len(users) == len(ids):
                return Resolved(users, remotes) if users or remotes else None
        return await self._look_up(address, key)

    async def _look_up(self, address: Address, key: str) -> Resolved | None:
        local, domain = canonical(address)
        bare_postmaster = not domain and local == "postmaster"
        if not bare_postmaster and domain not in self._domains:
            return None
        names = [local]
        if self._settings.separator and (base := Address(local, domain).base(self._settings.separator).local) != local:
            names.append(base)
        generation = self._generation
        elsewhere: list[str] = []
        if bare_postmaster:
            rows = [row for row in [await self._store.read(accounts.admin, "")] if row is not None]
        else:
            rows, elsewhere = await self._store.read(accounts.reach, self._cipher, domain, names, names[-1] == "postmaster")
        users = tuple(self._user(row) for row in rows)
        remotes = tuple(Address.parse(text) for text in elsewhere)
        if generation == self._generation:
            self._reach.put(key, (tuple(user.id for user in users), remotes))
            for user in users:
                self._users.put(user.id, user)
        return Resolved(users, remotes) if users or remotes else None

    async def user(self, account_id: int) -> User | None:
        """The account, as of at most a minute ago; None when it is gone."""
        return self._users.get(account_id) or await self.fresh(account_id)

    async def fresh(self, account_id: int) -> User | None:
        """The account as the database has it now."""
        for _ in range(_READS):
            generation = self._generation
            row = await self._store.read(accounts.by_id, account_id)
            if generation == self._generation:
                break
        user = None if row is None else self._user(row)
        if user is not None and generation == self._generation:
            self._users.put(user.id, user)
        return user

    def note_used(self, account_id: int, used: int) -> None:
        """A transaction that was committed left the account with ``used`` octets."""
        user = self._users.get(account_id)
        if user is not None and user.used != used:
            self._users.replace(account_id, evolve(user, used=used))

    async def may_send_as(self, account_id: int, address: Address | None) -> bool:
        """Whether the account may name ``address`` as the sender: whatever reaches it, it may speak for.

        The null reverse-path (None) is free to all (RFC 8098 3). A suspended account may not send at all, even in a
        session that was open before.
        """
        if address is None:
            user = await self.user(account_id)
            return user is not None and user.active
        resolved = await self.resolve(address)
        return resolved is not None and any(user.id == account_id and user.active for user in resolved.users)

    async def blocked(self, account_id: int, sender: Address | None) -> bool:
        """Whether the account's block list has ``sender``, its domain or one above that. The null sender is never blocked."""
        if sender is None:
            return False
        hashes = await self._blocked_hashes(account_id)
        return bool(hashes) and any(blocks.digest(self._cipher, account_id, pattern) in hashes for pattern in block_patterns(sender))

    async def blocks_any(self, account_id: int) -> bool:
        """Whether the account's block list has anybody at all."""
        return bool(await self._blocked_hashes(account_id))

    async def _blocked_hashes(self, account_id: int) -> frozenset[bytes]:
        hashes = self._blocks.get(account_id)
        if hashes is None:
            generation = self._generation
            hashes = await self._store.read(blocks.hashes, account_id)
            if generation == self._generation:
                self._blocks.put(account_id, hashes)
        return hashes

    def blocks_changed(self, account_id: int) -> None:
        """A transaction that was committed changed the account's block list."""
        self._generation += 1
        self._blocks.pop(account_id)

    async def verifiers(self, name: str, address: Address | None) -> tuple[User | None, Verifiers]:
        """The account that logs in as ``name`` and its verifiers.

        A name that is nobody's gets verifiers that nothing fits, by the same steps: the same trip to the database (never
        the cache, which only existing accounts would be in), the same opening of a seal, and a salt that stays the same
        for that name (RFC 5802 9 leaves the server to hide who exists).
        """
        local, domain = canonical(address) if address is not None else (name, "")
        row = await self._store.read(accounts.credentials, local, domain)
        if row is None:
            return None, self.credentials.nobody(f"{local}@{domain}")
        return self._user(row), self.credentials.opened(bytes(row[7]), bytes(row[9]))

    async def note_logins(self, logins: Sequence[tuple[int, int]]) -> None:
        """Keep (account id, seconds since 1970) as last logins."""
        await self._store.write(accounts.note_logins, logins)

    async def totals(self) -> tuple[int, int]:
        """How many accounts there are, and the octets charged to all of them."""
        return await self._store.read(accounts.totals)

    def _user(self, row: Row) -> User:
        id, local, domain, role, state, quota, used, guid, sealed = row[:9]
        limit = self._settings.quota if quota is None else int(quota)
        return User(int(id), Address(local, domain), role, state, limit, int(used), bytes(guid), sealed)

    # What administrators change

    async def change(self, job: Callable[..., T], *args: Any) -> T:
        """Write, then clear the caches: also after a failure, since a COMMIT that failed may have happened."""
        try:
            return await self._store.write(job, *args)
        except Missing as error:
            raise DirectoryError("not_found", f"there is no {error.kind} {error.name}", REMEDIES.get(error.kind, "")) from None
        except Taken as error:
            remedy = "" if error.kind == "domain" else "Choose another name, or delete that one first."
            raise DirectoryError("exists", f"{error.name} is taken: it exists as {_article(error.kind)}", remedy) from None
        finally:
            self._forget()

    def _forget(self) -> None:
        self._generation += 1
        self._users.clear()
        self._reach.clear()
        self._blocks.clear()

    async def domains(self) -> list[Domain]:
        """Every domain, by name."""
        return [Domain(*row) for row in await self._store.read(domains.overview)]

    async def add_domain(self, name: str) -> str:
        """Make mail for ``name`` end here; returns its stored spelling."""
        name = domain_name(name)
        audit.note(target=name, after={"domain": name})
        await self.change(domains.add, name, int(time()))
        await self._read_domains()
        log.info("Domain added", event="domain.added", domain=name)
        return name

    async def delete_domain(self, name: str) -> None:
        """Remove a domain that has no accounts and no aliases."""
        name = domain_name(name)
        audit.note(target=name, before={"domain": name})
        try:
            await self.change(domains.delete, name)
        except domains.InUse as error:
            raise DirectoryError(
                "in_use", f"{name} still has {error.accounts} accounts and {error.aliases} aliases", "Delete those first."
            ) from None
        await self._read_domains()
        log.info("Domain deleted", event="domain.deleted", domain=name)

    async def users(self, domain: str | None = None, after: int = 0, limit: int = 1000) -> list[Details]:
        """At most ``limit`` accounts with ids above ``after``, by id; of one domain or of all."""
        rows = await self._store.read(accounts.page, None if domain is None else domain_name(domain), after, limit)
        return [self._details(row) for row in rows]

    async def find(self, address: str | Address) -> Details:
        """The account whose address this is, with its aliases; raises DirectoryError."""
        wanted = parse(str(address))
        row = await self._store.read(accounts.by_name, wanted.local, wanted.domain)
        if row is None:
            raise DirectoryError("not_found", f"there is no account {wanted}", REMEDIES["account"])
        names = await self._store.read(aliases.overview, None, row[0])
        return self._details(row, dict.fromkeys(str(Address(local, domain)) for local, domain, *_ in names))

    def _details(self, row: Row, names: Iterable[str] = ()) -> Details:
        last_login = None if row[10] is None else int(row[10])
        return Details(self._user(row), int(row[9]), last_login, None if row[5] is None else int(row[5]), tuple(names), *row[11:15])

    async def add_user(self, address: str | Address, password: str, role: str = "", quota: int | None = None) -> User:
        """Make an account with the default mailboxes. ``quota`` None: the configured default; 0: unlimited.

        Without a ``role`` the first account of the server becomes its admin, every later one a user.
        """
        wanted = account_name(str(address))
        if role and role not in ROLES:
            raise DirectoryError("invalid", f"{role!r} is not a role", f"Roles are {', '.join(ROLES)}.")
        check_quota(quota)
        login = await self.credentials.fresh(password)
        audit.note(target=str(wanted), after={"address": str(wanted), "role": role or "default", "quota": quota})
        id, role = await self.change(_add_account, self._cipher, wanted, role, quota, login, int(time()))
        log.info("Account added", event="account.added", user_id=id, email=str(wanted), role=role)
        return User(id, wanted, role, ACTIVE, self._settings.quota if quota is None else quota, 0, login.guid)

    async def set_password(self, address: str | Address, password: str) -> None:
        """Replace the password; sessions and throttling of the old one end. Of a sealed account only ``SealedAccounts`` does it."""
        user = (await self.find(address)).user
        if user.sealed == SERVER:
            raise DirectoryError("in_use", f"the mail of {user.address} is sealed under its password", LOST_WITHOUT)
        login = await self.credentials.fresh(password)
        audit.note(target=str(user.address), after={"password": audit.HIDDEN})
        await self.change(accounts.change_password, user.id, login.sealed, login.guid)
        self.pardon(user)
        log.info("Password changed", event="account.password", user_id=user.id, email=str(user.address))

    def pardon(self, user: User) -> None:
        """The account has a new password: what was held against it is forgotten, and who logged in with the old one leaves."""
        for call in self._pardons:
            call(str(user.address))
        self.revoke(user.id)

    async def set_quota(self, address: str | Address, quota: int | None) -> None:
        """Set the quota in octets; 0: unlimited, None: the configured default."""
        check_quota(quota)
        found = await self.find(address)
        user = found.user
        if found.own_quota == quota:
            audit.unchanged()
            return
        audit.note(target=str(user.address), before={"quota": found.own_quota}, after={"quota": quota})
        await self.change(accounts.set_quota, user.id, quota)
        log.info("Quota changed", event="account.quota", user_id=user.id, email=str(user.address), limit_bytes=quota)

    async def set_role(self, address: str | Address, role: str) -> None:
        """Set the role."""
        if role not in ROLES:
            raise DirectoryError("invalid", f"{role!r} is not a role", f"Roles are {', '.join(ROLES)}.")
        user = (await self.find(address)).user
        if user.role == role:
            audit.unchanged()
            return
        audit.note(target=str(user.address), before={"role": user.role}, after={"role": role})
        await self.change(accounts.set_role, user.id, role)
        log.info("Role changed", event="account.role", user_id=user.id, email=str(user.address), role=role)

    async def set_state(self, address: str | Address, state: str) -> None:
        """Suspend the account (no login, no delivery, and its sessions end) or make it active again."""
        if state not in (ACTIVE, SUSPENDED):
            raise DirectoryError("invalid", f"{state!r} is not a state", f"States are {ACTIVE}, {SUSPENDED}.")
        user = (await self.find(address)).user
        if user.state == state:
            audit.unchanged()
            return
        if user.state == DELETED:
            raise DirectoryError("in_use", f"{user.address} was deleted", f"Have it back first: `mailxctl user restore {user.address}`.")
        audit.note(target=str(user.address), before={"state": user.state}, after={"state": state})
        await self.change(accounts.set_state, user.id, state)
        if state != ACTIVE:
            self.revoke(user.id)
        log.info("Account state changed", event="account.state", user_id=user.id, email=str(user.address), status=state)

    async def erase_user(self, address: str | Address) -> None:
        """Remove the account and all its mail. Its address is free, and its sessions end, at once; the mail goes in slices."""
        user = (await self.find(address)).user
        audit.note(target=f"account {user.id} of {user.address.domain}", before={"role": user.role, "state": user.state})
        await self.change(accounts.begin_deletion, user.id)
        self.revoke(user.id)
        await self._finish_erasure(user.id)
        log.info("Account erased", event="account.erased", user_id=user.id, domain=user.address.domain)

    async def _finish_erasure(self, id: int) -> None:
        while not await self._store.write(accounts.delete_slice, id):
            pass

    async def aliases(self, domain: str | None = None) -> list[Alias]:
        """Every alias, by domain and name."""
        return await self.catalogue.every_alias(domain)

    async def add_alias(self, alias: str | Address, targets: Sequence[str | Address]) -> Alias:
        """Make ``alias`` (``*@domain``: everything else of the domain) reach ``targets``: accounts, and addresses elsewhere."""
        name = parse(str(alias))
        separator = self._settings.separator
        if separator and separator in name.local:
            text = f"{name} has the subaddress separator {separator!r}"
            raise DirectoryError("invalid", text, "Mail to it reaches the name before the separator anyway.")
        users, remotes = await self._reached(targets)
        made = Alias(name, tuple(user.address for user in users) + remotes, int(time()), remotes)
        audit.note(target=str(name), after={"targets": [str(target) for target in made.targets]})
        await self.change(aliases.add, self._cipher, name.local, name.domain, *_keys(users, remotes), made.created)
        log.info("Alias added", event="alias.added", alias=str(name), targets=_texts(users), forwards=len(remotes))
        return made

    async def change_alias(self, alias: str | Address, targets: Sequence[str | Address]) -> None:
        """Make an alias that exists reach ``targets`` and nothing else."""
        name = parse(str(alias))
        users, remotes = await self._reached(targets)
        audit.note(target=str(name), before={"targets": await self._targets(name)}, after={"targets": [*_texts(users), *map(str, remotes)]})
        await self.change(aliases.replace, self._cipher, name.local, name.domain, *_keys(users, remotes))
        log.info("Alias changed", event="alias.changed", alias=str(name), targets=_texts(users), forwards=len(remotes))

    async def _reached(self, targets: Sequence[str | Address]) -> tuple[tuple[User, ...], tuple[Address, ...]]:
        """The accounts and the addresses elsewhere that an alias is to reach."""
        if not targets:
            raise DirectoryError("invalid", "an alias needs at least one target", "Name the account or the address that it reaches.")
        if len(targets) > ALIAS_TARGETS:
            raise DirectoryError("limit", f"an alias reaches at most {ALIAS_TARGETS} addresses", "A mailing list does this better.")
        wanted = dict.fromkeys(alias_target(str(target)) for target in targets)
        remotes = tuple(target for target in wanted if not self.local(target.domain))
        users = [(await self.find(target)).user for target in wanted if self.local(target.domain)]
        return tuple({user.id: user for user in users}.values()), remotes

    async def _targets(self, name: Address) -> list[str]:
        """What the alias reaches now, for the audit log."""
        found = await self._store.read(aliases.one, self._cipher, name.local, name.domain)
        return [] if found is None else [str(target) for target in alias_of(found).targets]

    async def delete_alias(self, alias: str | Address) -> None:
        """Remove an alias."""
        name = parse(str(alias))
        audit.note(target=str(name), before={"targets": await self._targets(name)})
        await self.change(aliases.delete, name.local, name.domain)
        log.info("Alias deleted", event="alias.deleted", alias=str(name))

    async def blocks(self, address: str | Address) -> list[Block]:
        """The block list of an account."""
        user = (await self.find(address)).user
        return [Block(*block) for block in await self._store.read(blocks.patterns, self._cipher, user.id)]

    async def block(self, address: str | Address, sender: str) -> Block:
        """Refuse mail to the account from ``sender`` (``name@domain``, or ``@domain`` for all of it)."""
        user = (await self.find(address)).user
        pattern, now = block_pattern(sender), int(time())
        audit.note(target=str(user.address), after={"blocked": pattern})
        try:
            await self.change(blocks.add, self._cipher, user.id, pattern, now)
        except blocks.Full:
            raise DirectoryError("limit", f"the list has {blocks.LIMIT} entries already", "Block whole domains instead.") from None
        log.info("Sender blocked", event="block.added", user_id=user.id)
        return Block(pattern, now)

    async def unblock(self, address: str | Address, sender: str) -> None:
        """Take ``sender`` off the account's block list."""
        user = (await self.find(address)).user
        audit.note(target=str(user.address), before={"blocked": block_pattern(sender)})
        await self.change(blocks.delete, self._cipher, user.id, block_pattern(sender))
        log.info("Sender unblocked", event="block.deleted", user_id=user.id)


def _keys(users: Iterable[User], remotes: Iterable[Address]) -> tuple[list[int], list[str]]:
    return [user.id for user in users], [str(remote) for remote in remotes]


def _texts(users: Iterable[User]) -> list[str]:
    return [str(user.address) for user in users]


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _add_account(txn: Txn, cipher: Cipher, address: Address, role: str, quota: int | None, login: Login, now: int) -> tuple[int, str]:
    """The job of ``add_user``: the account and its mailboxes, or neither."""
    id, role = accounts.add(txn, address.local, address.domain, role, quota, login.sealed, login.guid, now)
    mailboxes.create_defaults(txn, cipher, id, now)
    return id, role

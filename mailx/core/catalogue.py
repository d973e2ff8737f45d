"""The directory as its administrator looks through it: domains, accounts and aliases, searched and a page at a time.

A hundred thousand accounts are never read at once: a page goes on behind the last address of the one before. What is not
there is ``DirectoryError``; when the store cannot answer, ``Unavailable`` comes through.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import frozen

from mailx.core.users import ROLES, STATES, Alias, Details, DirectoryError, Domain, canonical_domain, domain_name, parse
from mailx.mail.address import Address
from mailx.store import Row, Store, Txn, accounts, aliases, domains
from mailx.store.cipher import Cipher

T = TypeVar("T")

_TEXT_LIMIT = 320  # characters: an address has no more


@frozen
class Batch(Generic[T]):
    """A page of what was searched for; ``following`` is the ``after`` of the next one, or empty."""

    items: tuple[T, ...]
    following: str = ""


@frozen
class Wanted:
    """Which accounts are meant; what is empty does not matter."""

    domain: str = ""
    text: str = ""  # somewhere in the address
    role: str = ""
    state: str = ""


@frozen
class Belongings:
    """What goes with an account when it is deleted."""

    mailboxes: int
    messages: int
    blocks: int
    aliases: tuple[str, ...]  # those that reach nobody else


class Catalogue:
    """Reads the directory. ``details`` makes what administrators see of a row of an account."""

    def __init__(self, store: Store, cipher: Cipher, details: Callable[[Row], Details]) -> None:
        self._store = store
        self._cipher = cipher
        self._details = details

    async def domains(self, text: str = "", after: str = "", limit: int = 50) -> Batch[Domain]:
        """Domains with ``text`` in their names, by name."""
        rows = await self._store.read(domains.page, canonical_domain(_bounded(text)), after, limit + 1)
        return _batch([Domain(*row) for row in rows], limit, lambda domain: domain.name)

    async def domain(self, name: str) -> Domain:
        """One domain; raises DirectoryError "not_found"."""
        name = domain_name(name)
        row = await self._store.read(domains.one, name)
        if row is None:
            raise DirectoryError("not_found", f"there is no domain {name}", "It may have been deleted.")
        return Domain(*row)

    async def accounts(self, wanted: Wanted, after: str = "", limit: int = 50) -> Batch[Details]:
        """Accounts that are meant, by domain and name."""
        if (wanted.role and wanted.role not in ROLES) or (wanted.state and wanted.state not in STATES):
            raise DirectoryError("invalid", "there is no such filter", "Choose one of the list.")
        domain = domain_name(wanted.domain) if wanted.domain else None
        which = accounts.Which(domain, _bounded(wanted.text), wanted.role, wanted.state)
        rows = await self._store.read(accounts.search, which, _behind(after), limit + 1)
        return _batch([self._details(row) for row in rows], limit, lambda details: str(details.user.address))

    async def belongings(self, account_id: int) -> Belongings:
        """What goes with an account."""
        mailboxes, messages, blocks, names = await self._store.read(accounts.belongings, account_id)
        return Belongings(mailboxes, messages, blocks, tuple(str(Address(*name)) for name in names))

    async def aliases(self, domain: str = "", text: str = "", after: str = "", limit: int = 50) -> Batch[Alias]:
        """Aliases of ``domain``, or of all, with ``text`` in their addresses, by domain and name."""
        of = domain_name(domain) if domain else None
        found = await self._store.read(aliases.page, self._cipher, of, _bounded(text), _behind(after), limit + 1)
        return _batch([alias_of(each) for each in found], limit, lambda alias: f"{alias.address.local}@{alias.address.domain}")

    async def every_alias(self, domain: str | None = None) -> list[Alias]:
        """Every alias of ``domain``, or of all, by domain and name."""
        found: dict[Address, list[Address]] = {}
        created: dict[Address, int] = {}
        rows, elsewhere = await self._store.read(_all_aliases, self._cipher, None if domain is None else domain_name(domain))
        for local, name, made, target, target_domain in rows:
            alias = Address(local, name)
            targets = found.setdefault(alias, [])
            if target is not None:
                targets.append(Address(target, target_domain))
            created[alias] = int(made)
        remotes: dict[Address, list[Address]] = {}
        for local, name, text in elsewhere:
            remotes.setdefault(Address(local, name), []).append(Address.parse(text))
        return [
            Alias(alias, (*targets, *remotes.get(alias, ())), created[alias], tuple(remotes.get(alias, ())))
            for alias, targets in found.items()
        ]

    async def alias(self, address: str) -> Alias:
        """One alias; raises DirectoryError "not_found"."""
        wanted = parse(address)
        found = await self._store.read(aliases.one, self._cipher, wanted.local, wanted.domain)
        if found is None:
            raise DirectoryError("not_found", f"there is no alias {wanted}", "It may have been deleted.")
        return alias_of(found)


def _all_aliases(txn: Txn, cipher: Cipher, domain: str | None) -> tuple[list[Row], list[tuple[str, str, str]]]:
    """Aliases with the accounts they reach, and with the addresses elsewhere, as of one moment."""
    return aliases.overview(txn, domain), aliases.elsewhere(txn, cipher, domain)


def alias_of(found: aliases.Listed) -> Alias:
    """The alias of a row."""
    remotes = tuple(Address.parse(text) for text in found.elsewhere)
    served = tuple(Address(*name) for name in found.accounts)
    return Alias(Address(found.local, found.domain), served + remotes, found.created, remotes)


def _batch(items: list[Any], limit: int, key: Callable[[Any], str]) -> Batch[Any]:
    """The first ``limit`` of ``items``, of which one more was read to see whether there is one."""
    return Batch(tuple(items[:limit]), key(items[limit - 1]) if len(items) > limit else "")


def _behind(after: str) -> tuple[str, str]:
    """(domain, local) of the address that a page goes on behind."""
    local, _, domain = _bounded(after).rpartition("@")
    return domain, local


def _bounded(text: str) -> str:
    """A text that is searched for, as names are stored."""
    if len(text) > _TEXT_LIMIT or "\0" in text:
        raise DirectoryError("invalid", "the text is too long to be an address", "Search for a part of an address.")
    return text.strip().lower()

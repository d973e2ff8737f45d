"""Domains, accounts, aliases and block lists in the admin API."""

from collections.abc import Mapping

from mailx.core import audit
from mailx.core.accounts import Accounts, Alias, Block, Details, DirectoryError, Domain
from mailx.core.domain_keys import DomainKeys
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.users import ACTIVE, CLIENT, ROLES, SERVER, STATES, SUSPENDED
from mailx.ops.resources.query import JSON, Query, moment
from mailx.ops.resources.shape import COUNT, FLAG, NOTHING, NUMERAL, TEXT, TIME, list_of, name, one_of, optional, record, shaped, text

PAGE = 1000  # accounts in one answer
_QUOTA = optional({"type": "integer", "minimum": 0, "maximum": 2**62 - 1, "description": "Octets; 0: unlimited, null: the default."})
_PASSWORD = text(200, 1, format="password")
_SECRET = text(1024, format="password")
_PROOFS = {"old_password", "recovery_code", "lose_sealed_mail"}  # that a password may be changed
_DOMAIN = record({"name": TEXT, "accounts": COUNT, "aliases": COUNT, "created": TIME})
_USER = record(
    {
        "id": COUNT,
        "address": TEXT,
        "role": one_of(*ROLES),
        "state": one_of(*STATES),
        "quota": COUNT,
        "quota_is_default": FLAG,
        "used": COUNT,
        "created": TIME,
        "last_login": optional(TIME),
        "aliases": list_of(TEXT),
        "deleted": optional(TIME),
        "retention_days": optional(COUNT),
        "warned_percent": COUNT,
        "sealed": one_of("", SERVER, CLIENT),
    },
    recovery_code=TEXT,
)
_ALIAS = record({"alias": TEXT, "targets": list_of(TEXT), "forwards": list_of(TEXT), "created": TIME})
_BLOCK = record({"sender": TEXT, "created": TIME})
_PAGED = {"domain": name(255), "after": NUMERAL, "limit": NUMERAL}


class Directory:
    """What the directory holds and how it is changed."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/domains", "GET", "domains"),
        ("/v1/domains", "POST", "add_domain"),
        ("/v1/domains/<name>", "DELETE", "delete_domain"),
        ("/v1/users", "GET", "users"),
        ("/v1/users", "POST", "add_user"),
        ("/v1/users/<path:address>", "GET", "user"),
        ("/v1/users/<path:address>", "PATCH", "change_user"),
        ("/v1/aliases", "GET", "aliases"),
        ("/v1/aliases", "POST", "add_alias"),
        ("/v1/aliases/<path:alias>", "PATCH", "change_alias"),
        ("/v1/aliases/<path:alias>", "DELETE", "delete_alias"),
        ("/v1/blocks/<user>", "GET", "blocks"),
        ("/v1/blocks/<user>", "POST", "add_block"),
        ("/v1/blocks/<user>/<path:sender>", "DELETE", "delete_block"),
    )

    def __init__(self, accounts: Accounts, domain_keys: DomainKeys | None = None, sealed: SealedAccounts | None = None) -> None:
        self._accounts = accounts
        self._sealed = sealed
        self._domain_keys = domain_keys

    @shaped("List the domains.", gives=record({"domains": list_of(_DOMAIN)}))
    async def domains(self, query: Query) -> JSON:
        return {"domains": [_domain(domain) for domain in await self._accounts.domains()]}

    @shaped(
        "Make mail for a domain end here.",
        action="domain.add",
        body=record({"name": name(255)}),
        gives=record({"name": TEXT, "recovery_key": optional(TEXT)}),
    )
    async def add_domain(self, query: Query) -> JSON:
        """``recovery_key`` is the only copy; null: the domain has keys from before."""
        made = await self._accounts.add_domain(query.text("name"))
        return {"name": made, "recovery_key": await self._domain_keys.ensure(made) if self._domain_keys is not None else None}

    @shaped("Remove a domain without accounts and aliases.", action="domain.delete", gives=NOTHING)
    async def delete_domain(self, query: Query) -> JSON:
        await self._accounts.delete_domain(query.path["name"])
        return {}

    @shaped("List accounts.", query=_PAGED, gives=record({"users": list_of(_USER), "next": optional(COUNT)}))
    async def users(self, query: Query) -> JSON:
        """A page of accounts; ``next`` is the ``after`` of the next page, or null."""
        limit = max(1, min(query.number("limit", PAGE), PAGE))
        page = await self._accounts.users(query.parameters.get("domain"), query.number("after", 0), limit)
        return {"users": [_user(details) for details in page], "next": page[-1].user.id if len(page) == limit else None}

    @shaped("Show an account.", gives=_USER)
    async def user(self, query: Query) -> JSON:
        return _user(await self._accounts.find(query.path["address"]))

    @shaped(
        "Make an account.",
        action="user.add",
        body=record({"address": name(), "password": _PASSWORD}, role=one_of(*ROLES), quota=_QUOTA),
        gives=_USER,
    )
    async def add_user(self, query: Query) -> JSON:
        role = query.text("role") if "role" in query.body else ""
        user = await self._accounts.add_user(query.text("address"), query.text("password"), role, query.quota())
        return _user(await self._accounts.find(user.address))

    @shaped(
        "Change an account.",
        action="user.change",
        body=record(
            password=_PASSWORD,
            old_password=_SECRET,
            recovery_code=_SECRET,
            lose_sealed_mail=FLAG,
            quota=_QUOTA,
            state=one_of(ACTIVE, SUSPENDED),
            role=one_of(*ROLES),
        )
        | {"minProperties": 1},
        gives=_USER,
    )
    async def change_user(self, query: Query) -> JSON:
        """Change whichever of password, quota, state and role the body names.

        The password of a sealed account needs the old one or the recovery code beside it; ``lose_sealed_mail`` gives its mail
        up instead, and the answer has the new recovery code.
        """
        address = query.path["address"]
        unknown = set(query.body) - {"password", "quota", "state", "role", *_PROOFS}
        if unknown or not set(query.body) - _PROOFS:
            raise DirectoryError("invalid", f"an account has no {', '.join(sorted(unknown))}" if unknown else "nothing to change was given")
        # All texts are read before anything is changed, so that a wrong one changes nothing.
        texts = {name: query.text(name) for name in query.body if name not in ("quota", "lose_sealed_mail")}
        quota = query.quota()
        code = ""
        if "quota" in query.body:
            with audit.step("user.quota"):
                await self._accounts.set_quota(address, quota)
        if "role" in texts:
            with audit.step("user.role"):
                await self._accounts.set_role(address, texts["role"])
        if "state" in texts:
            with audit.step("user.state"):
                await self._accounts.set_state(address, texts["state"])
        if "password" in texts:
            with audit.step("user.password"):
                code = await self._set_password(address, texts, query.body.get("lose_sealed_mail") is True)
        return {**_user(await self._accounts.find(address)), **({"recovery_code": code} if code else {})}

    async def _set_password(self, address: str, texts: Mapping[str, str], lose: bool) -> str:
        """The new recovery code, if sealed mail was given up."""
        if self._sealed is None:
            await self._accounts.set_password(address, texts["password"])
            return ""
        old, recovery = texts.get("old_password", ""), texts.get("recovery_code", "")
        return await self._sealed.set_password(address, texts["password"], old=old, recovery=recovery, lose=lose)

    @shaped("List aliases.", query={"domain": name(255)}, gives=record({"aliases": list_of(_ALIAS)}))
    async def aliases(self, query: Query) -> JSON:
        return {"aliases": [_alias(alias) for alias in await self._accounts.aliases(query.parameters.get("domain"))]}

    @shaped("Make an alias.", action="alias.add", body=record({"alias": name(), "targets": list_of(name(), 100, 1)}), gives=_ALIAS)
    async def add_alias(self, query: Query) -> JSON:
        return _alias(await self._accounts.add_alias(query.text("alias"), _targets(query)))

    @shaped("Let an alias reach others.", action="alias.change", body=record({"targets": list_of(name(), 100, 1)}), gives=_ALIAS)
    async def change_alias(self, query: Query) -> JSON:
        await self._accounts.change_alias(query.path["alias"], _targets(query))
        return _alias(await self._accounts.catalogue.alias(query.path["alias"]))

    @shaped("Remove an alias.", action="alias.delete", gives=NOTHING)
    async def delete_alias(self, query: Query) -> JSON:
        await self._accounts.delete_alias(query.path["alias"])
        return {}

    @shaped("List the senders that an account refuses.", gives=record({"blocks": list_of(_BLOCK)}))
    async def blocks(self, query: Query) -> JSON:
        return {"blocks": [_block(block) for block in await self._accounts.blocks(query.path["user"])]}

    @shaped("Refuse mail of a sender to an account.", action="block.add", body=record({"sender": name()}), gives=_BLOCK)
    async def add_block(self, query: Query) -> JSON:
        return _block(await self._accounts.block(query.path["user"], query.text("sender")))

    @shaped("Refuse a sender no more.", action="block.delete", gives=NOTHING)
    async def delete_block(self, query: Query) -> JSON:
        await self._accounts.unblock(query.path["user"], query.path["sender"])
        return {}


def _targets(query: Query) -> list[str]:
    targets = query.body.get("targets")
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise DirectoryError("invalid", "targets must be a list of addresses")
    return targets


def _domain(domain: Domain) -> JSON:
    return {"name": domain.name, "accounts": domain.accounts, "aliases": domain.aliases, "created": moment(domain.created)}


def _user(details: Details) -> JSON:
    user = details.user
    return {
        "id": user.id,
        "address": str(user.address),
        "role": user.role,
        "state": user.state,
        "quota": user.quota,
        "quota_is_default": details.own_quota is None,
        "used": user.used,
        "created": moment(details.created),
        "last_login": moment(details.last_login),
        "aliases": list(details.aliases),
        "deleted": moment(details.deleted),
        "retention_days": details.retention,
        "warned_percent": details.warned,
        "sealed": user.sealed,
    }


def _alias(alias: Alias) -> JSON:
    return {
        "alias": str(alias.address),
        "targets": [str(target) for target in alias.targets],
        "forwards": [str(target) for target in alias.remotes],
        "created": moment(alias.created),
    }


def _block(block: Block) -> JSON:
    return {"sender": block.pattern, "created": moment(block.created)}

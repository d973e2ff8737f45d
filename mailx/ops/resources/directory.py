"""Domains, accounts, aliases and block lists in the admin API."""

from mailx.core.accounts import Accounts, Alias, Block, Details, DirectoryError, Domain
from mailx.ops.resources.query import JSON, Query, moment

PAGE = 1000  # accounts in one answer


class Directory:
    """What the directory holds and how it is changed."""

    ROUTES = (
        ("/v1/domains", "GET", "domains"),
        ("/v1/domains", "POST", "add_domain"),
        ("/v1/domains/<name>", "DELETE", "delete_domain"),
        ("/v1/users", "GET", "users"),
        ("/v1/users", "POST", "add_user"),
        ("/v1/users/<path:address>", "GET", "user"),
        ("/v1/users/<path:address>", "PATCH", "change_user"),
        ("/v1/users/<path:address>", "DELETE", "delete_user"),
        ("/v1/aliases", "GET", "aliases"),
        ("/v1/aliases", "POST", "add_alias"),
        ("/v1/aliases/<path:alias>", "DELETE", "delete_alias"),
        ("/v1/blocks/<user>", "GET", "blocks"),
        ("/v1/blocks/<user>", "POST", "add_block"),
        ("/v1/blocks/<user>/<path:sender>", "DELETE", "delete_block"),
    )

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def domains(self, query: Query) -> JSON:
        return {"domains": [_domain(domain) for domain in await self._accounts.domains()]}

    async def add_domain(self, query: Query) -> JSON:
        return {"name": await self._accounts.add_domain(query.text("name"))}

    async def delete_domain(self, query: Query) -> JSON:
        await self._accounts.delete_domain(query.path["name"])
        return {}

    async def users(self, query: Query) -> JSON:
        """A page of accounts; ``next`` is the ``after`` of the next page, or null."""
        limit = max(1, min(query.number("limit", PAGE), PAGE))
        page = await self._accounts.users(query.parameters.get("domain"), query.number("after", 0), limit)
        return {"users": [_user(details) for details in page], "next": page[-1].user.id if len(page) == limit else None}

    async def user(self, query: Query) -> JSON:
        return _user(await self._accounts.find(query.path["address"]))

    async def add_user(self, query: Query) -> JSON:
        role = query.text("role") if "role" in query.body else ""
        user = await self._accounts.add_user(query.text("address"), query.text("password"), role, query.quota())
        return _user(await self._accounts.find(user.address))

    async def change_user(self, query: Query) -> JSON:
        """Change whichever of password, quota, state and role the body names."""
        address = query.path["address"]
        unknown = set(query.body) - {"password", "quota", "state", "role"}
        if unknown or not query.body:
            raise DirectoryError("invalid", f"an account has no {', '.join(sorted(unknown))}" if unknown else "nothing to change was given")
        # All texts are read before anything is changed, so that a wrong one changes nothing.
        texts = {name: query.text(name) for name in query.body if name != "quota"}
        quota = query.quota()
        if "quota" in query.body:
            await self._accounts.set_quota(address, quota)
        if "role" in texts:
            await self._accounts.set_role(address, texts["role"])
        if "state" in texts:
            await self._accounts.set_state(address, texts["state"])
        if "password" in texts:
            await self._accounts.set_password(address, texts["password"])
        return _user(await self._accounts.find(address))

    async def delete_user(self, query: Query) -> JSON:
        await self._accounts.delete_user(query.path["address"])
        return {}

    async def aliases(self, query: Query) -> JSON:
        return {"aliases": [_alias(alias) for alias in await self._accounts.aliases(query.parameters.get("domain"))]}

    async def add_alias(self, query: Query) -> JSON:
        targets = query.body.get("targets")
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            raise DirectoryError("invalid", "targets must be a list of addresses")
        return _alias(await self._accounts.add_alias(query.text("alias"), targets))

    async def delete_alias(self, query: Query) -> JSON:
        await self._accounts.delete_alias(query.path["alias"])
        return {}

    async def blocks(self, query: Query) -> JSON:
        return {"blocks": [_block(block) for block in await self._accounts.blocks(query.path["user"])]}

    async def add_block(self, query: Query) -> JSON:
        return _block(await self._accounts.block(query.path["user"], query.text("sender")))

    async def delete_block(self, query: Query) -> JSON:
        await self._accounts.unblock(query.path["user"], query.path["sender"])
        return {}


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

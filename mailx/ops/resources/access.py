"""Administrators and API keys in the admin API: who may change this server. Passwords go in, nothing secret comes out.

The text of a key is the one exception: it is in the answer that makes the key, and nowhere else.
"""

from mailx.core.admins import LEAST, Admin, Admins
from mailx.core.api_keys import SCOPES, ApiKeys, Key
from mailx.core.audit import step
from mailx.core.passwords import BCRYPT_LIMIT
from mailx.ops.resources.query import JSON, Query, moment, running, seconds
from mailx.ops.resources.shape import COUNT, FLAG, NOTHING, TEXT, TIME, list_of, name, one_of, optional, record, shaped, text

_PASSWORD = text(BCRYPT_LIMIT, LEAST, format="password")
_ADMIN = record(
    {"name": TEXT, "enabled": FLAG, "second_factor": FLAG, "recovery_codes": COUNT, "created": TIME, "last_login": optional(TIME)}
)
_KEY_FIELDS = {
    "name": TEXT,
    "prefix": TEXT,
    "scopes": list_of(one_of(*SCOPES)),
    "creator": TEXT,
    "created": TIME,
    **dict.fromkeys(("expires", "revoked", "last_used"), optional(TIME)),
}
_KEY = record(_KEY_FIELDS)
_EXPIRES = optional(text(30, 1, format="date-time"))


class Administrators:
    """Administrators of the panel. ``admins`` is None where no database is open."""

    SCOPE = "access"
    ROUTES = (
        ("/v1/admins", "GET", "admins"),
        ("/v1/admins", "POST", "add"),
        ("/v1/admins/<name>", "GET", "admin"),
        ("/v1/admins/<name>", "PATCH", "change"),
        ("/v1/admins/<name>", "DELETE", "remove"),
        ("/v1/admins/<name>/totp-reset", "POST", "reset_totp"),
    )

    def __init__(self, admins: Admins | None) -> None:
        self._optional = admins

    @shaped("List the administrators.", gives=record({"admins": list_of(_ADMIN)}))
    async def admins(self, query: Query) -> JSON:
        return {"admins": [_admin(each) for each in await self._admins.list()]}

    @shaped("Make an administrator.", action="admin.add", body=record({"name": name(64), "password": _PASSWORD}), gives=_ADMIN)
    async def add(self, query: Query) -> JSON:
        return _admin(await self._admins.add(query.text("name"), query.text("password")))

    @shaped("Show an administrator.", gives=_ADMIN)
    async def admin(self, query: Query) -> JSON:
        return _admin(await self._admins.find(query.path["name"]))

    @shaped(
        "Give an administrator a new password, or let one log in or not. One of both at a time.",
        action="admin.change",
        body=record(password=_PASSWORD, enabled=FLAG) | {"minProperties": 1, "maxProperties": 1},
        gives=_ADMIN,
    )
    async def change(self, query: Query) -> JSON:
        """Each is an act of its own: a password that ends sessions, and a door that opens or shuts."""
        wanted = query.path["name"]
        if "password" in query.body:
            with step("admin.password"):
                await self._admins.set_password(wanted, query.text("password"))
        elif query.body.get("enabled") is True:
            with step("admin.enable"):
                await self._admins.enable(wanted)
        else:
            with step("admin.disable"):
                await self._admins.disable(wanted)
        return _admin(await self._admins.find(wanted))

    @shaped("Remove an administrator.", action="admin.remove", gives=NOTHING)
    async def remove(self, query: Query) -> JSON:
        await self._admins.remove(query.path["name"])
        return {}

    @shaped("Take the second factor of an administrator away.", action="admin.totp_reset", gives=NOTHING)
    async def reset_totp(self, query: Query) -> JSON:
        await self._admins.reset_totp(query.path["name"])
        return {}

    @property
    def _admins(self) -> Admins:
        return running(self._optional, "administrators are not kept here")


class Keys:
    """API keys. ``keys`` is None where no database is open."""

    SCOPE = "access"
    ROUTES = (
        ("/v1/apikeys", "GET", "keys"),
        ("/v1/apikeys", "POST", "add"),
        ("/v1/apikeys/<name>", "GET", "key"),
        ("/v1/apikeys/<name>/revoke", "POST", "revoke"),
        ("/v1/apikeys/<name>", "DELETE", "delete"),
    )

    def __init__(self, keys: ApiKeys | None) -> None:
        self._optional = keys

    @shaped("List the API keys.", gives=record({"keys": list_of(_KEY)}))
    async def keys(self, query: Query) -> JSON:
        return {"keys": [_key(each) for each in await self._keys.list()]}

    @shaped(
        "Make an API key. The answer holds its text, for the only time.",
        action="apikey.add",
        body=record({"name": name(64), "scopes": list_of(one_of(*SCOPES), len(SCOPES), 1)}, expires=_EXPIRES),
        gives=record({**_KEY_FIELDS, "key": TEXT}),
    )
    async def add(self, query: Query) -> JSON:
        expires = query.body.get("expires")
        key, secret = await self._keys.add(
            query.text("name"), query.body["scopes"], None if expires is None else int(seconds(expires, "expires"))
        )
        return {**_key(key), "key": secret}

    @shaped("Show an API key.", gives=_KEY)
    async def key(self, query: Query) -> JSON:
        return _key(await self._keys.find(query.path["name"]))

    @shaped("Make a key good for nothing.", action="apikey.revoke", gives=_KEY)
    async def revoke(self, query: Query) -> JSON:
        await self._keys.revoke(query.path["name"])
        return _key(await self._keys.find(query.path["name"]))

    @shaped("Revoke a key and forget it.", action="apikey.delete", gives=NOTHING)
    async def delete(self, query: Query) -> JSON:
        await self._keys.delete(query.path["name"])
        return {}

    @property
    def _keys(self) -> ApiKeys:
        return running(self._optional, "API keys are not kept here")


def _admin(admin: Admin) -> JSON:
    return {
        "name": admin.name,
        "enabled": admin.enabled,
        "second_factor": admin.second_factor,
        "recovery_codes": admin.codes,
        "created": moment(admin.created),
        "last_login": moment(admin.last_login),
    }


def _key(key: Key) -> JSON:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "creator": key.creator,
        "created": moment(key.created),
        "expires": moment(key.expires),
        "revoked": moment(key.revoked),
        "last_used": moment(key.last_used),
    }

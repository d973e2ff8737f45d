"""What accounts log in with besides their password, in the admin API: app passwords, and recovery codes of sealed accounts."""

from mailx.core.app_passwords import AppPassword, AppPasswords
from mailx.core.sealed_accounts import SealedAccounts
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import NOTHING, TEXT, TIME, list_of, name, optional, record, shaped, text

_PASSWORD = text(1024, format="password")
_APP_PASSWORD = {"name": TEXT, "created": TIME, "last_used": optional(TIME)}


class Credentials:
    """App passwords and recovery codes."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/app-passwords/<user>", "GET", "app_passwords"),
        ("/v1/app-passwords/<user>", "POST", "add_app_password"),
        ("/v1/app-passwords/<user>/<path:program>", "DELETE", "revoke_app_password"),
        ("/v1/recovery-codes/<user>", "POST", "recovery_code"),
        ("/v1/user-keys/<user>/renew", "POST", "renew_keys"),
    )

    def __init__(self, app_passwords: AppPasswords | None, sealed: SealedAccounts | None) -> None:
        self._app_passwords = app_passwords
        self._sealed = sealed

    @shaped("List the app passwords of an account.", gives=record({"app_passwords": list_of(record(_APP_PASSWORD))}))
    async def app_passwords(self, query: Query) -> JSON:
        every = await running(self._app_passwords, _NONE).every(query.path["user"])
        return {"app_passwords": [_shown(each) for each in every]}

    @shaped(
        "Make an app password, told this once; that of a sealed account needs the account's password.",
        action="user.app_password",
        body=record({"name": name(64)}, password=_PASSWORD),
        gives=record({**_APP_PASSWORD, "app_password": TEXT}),
    )
    async def add_app_password(self, query: Query) -> JSON:
        password = query.text("password") if "password" in query.body else ""
        made, secret = await running(self._app_passwords, _NONE).add(query.path["user"], query.text("name"), password)
        return {**_shown(made), "app_password": secret}

    @shaped("Revoke an app password; the account's sessions end.", action="user.app_password_revoke", gives=NOTHING)
    async def revoke_app_password(self, query: Query) -> JSON:
        await running(self._app_passwords, _NONE).revoke(query.path["user"], query.path["program"])
        return {}

    @shaped(
        "Make a new recovery code of a sealed account in place of the old one, told this once.",
        action="user.recovery_code",
        body=record({"password": _PASSWORD}),
        gives=record({"recovery_code": TEXT}),
    )
    async def recovery_code(self, query: Query) -> JSON:
        code = await running(self._sealed, "no account is sealed here").recovery_code(query.path["user"], query.text("password"))
        return {"recovery_code": code}

    @shaped(
        "Give a sealed account other keys to seal to and to sign with.",
        action="user.renew_keys",
        body=record({"password": _PASSWORD}),
        gives=NOTHING,
    )
    async def renew_keys(self, query: Query) -> JSON:
        await running(self._sealed, "no account is sealed here").renew_keys(query.path["user"], query.text("password"))
        return {}


_NONE = "there are no app passwords here"


def _shown(each: AppPassword) -> JSON:
    return {"name": each.name, "created": moment(each.created), "last_used": moment(each.used)}

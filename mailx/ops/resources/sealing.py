"""Whose mail is sealed, and who opens it, in the admin API."""

from mailx.core.accounts import Accounts, DirectoryError
from mailx.core.client_keys import ClientKeys
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.user_keys import UserKeys
from mailx.core.users import CLIENT, SERVER
from mailx.identity.encoding import key_text
from mailx.identity.user_keys import sealing_text
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, TEXT, TIME, one_of, optional, record, shaped, text

OFF = "off"

_SECRET = text(1024, format="password")
_KEYS = record({"sealing": TEXT, "signing": TEXT, "serial": COUNT, "valid_until": TIME})
_ACCOUNT = record({"address": TEXT, "mode": one_of(SERVER, CLIENT, OFF), "keys": optional(_KEYS), "recovery_code": TEXT})
_REQUEST = {"type": "object", "description": "What `mailx-open --enrol --request` prints."}


class Sealing:
    """The mode of each account: opened by its owner's login here, by its owner's own program, or not sealed at all."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/sealing/<path:address>", "GET", "show"),
        ("/v1/sealing/<path:address>", "POST", "change"),
    )

    def __init__(self, accounts: Accounts, held: SealedAccounts | None, clients: ClientKeys | None, users: UserKeys | None) -> None:
        self._accounts = accounts
        self._held = held
        self._clients = clients
        self._users = users

    @shaped("Show whether an account's mail is sealed, and its attested keys.", gives=_ACCOUNT)
    async def show(self, query: Query) -> JSON:
        return await self._shown(query.path["address"])

    @shaped(
        "Seal an account's mail, or seal it no more.",
        action="user.seal",
        body=record({"mode": one_of(SERVER, CLIENT, OFF)}, password=_SECRET, recovery_code=_SECRET, request=_REQUEST),
        gives=_ACCOUNT,
    )
    async def change(self, query: Query) -> JSON:
        """``server`` needs the owner's ``password`` and answers with the recovery code, once; ``client`` the owner's ``request``.

        ``off`` needs the password or the recovery code of an account that its owner's login opens.
        """
        address, mode = query.path["address"], query.text("mode")
        password = query.text("password") if "password" in query.body else ""
        code = ""
        if mode == SERVER:
            code = await running(self._held, "no account can be sealed here").seal(address, password)
        elif mode == CLIENT:
            if "request" not in query.body:
                raise DirectoryError("invalid", "the owner's request is missing", _enrol(address))
            await running(self._clients, "no keys can be enrolled here").enrol(address, query.body["request"])
        else:
            await self._off(address, password, query.text("recovery_code") if "recovery_code" in query.body else "")
        return await self._shown(address, code)

    async def _off(self, address: str, password: str, recovery: str) -> None:
        mode = (await self._accounts.find(address)).user.sealed
        if mode == CLIENT:
            await running(self._clients, "no keys can be changed here").off(address)
        else:
            await running(self._held, "no account can be opened here").open_for_good(address, password, recovery)

    async def _shown(self, address: str, code: str = "") -> JSON:
        user = (await self._accounts.find(address)).user
        keys = None if self._users is None else await self._users.of(user.address)
        return {
            "address": str(user.address),
            "mode": user.sealed or OFF,
            "recovery_code": code,
            "keys": None
            if keys is None
            else {
                "sealing": sealing_text(keys.sealing),
                "signing": key_text(keys.signing),
                "serial": keys.serial,
                "valid_until": moment(keys.valid_until),
            },
        }


def _enrol(address: str) -> str:
    return f"The owner runs `mailx-open --enrol {address}`, which needs no administrator, or gives you what `--request` prints."

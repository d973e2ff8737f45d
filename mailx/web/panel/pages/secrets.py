"""What opens an account: whether its mail is sealed, its recovery code, and its app passwords.

What is made here is on the answer to the POST and nowhere else. Whatever touches the key of a sealed account asks for the
account's own password, which the administrator has from its owner or has not.
"""

from mailx.core.app_passwords import AppPasswords
from mailx.core.client_keys import ClientKeys
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.users import CLIENT, SERVER, DirectoryError
from mailx.identity.encoding import Malformed, parse
from mailx.identity.enrolment import LIMIT
from mailx.web.panel.links import to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

_NOT_HERE = "This server keeps no keys of accounts."


class Secrets(Page):
    """One page for each account, reached from the page of the account."""

    path = "/accounts"
    title = "Sealing and app passwords"

    @show("/accounts/<address>/secrets")
    async def index(self, visit: Visit) -> View:
        user = (await self.parts.accounts.find(visit.path["address"])).user
        address = str(user.address)
        context = {
            "address": address,
            "account": to("accounts", address),
            "path": to("accounts", address, "secrets"),
            "server": user.sealed == SERVER,
            "client": user.sealed == CLIENT,
            "app_passwords": await self._apps.every(address),
        }
        return View("account_secrets.html", context, title=f"What opens {address}")

    @change("/accounts/<address>/secrets/seal", action="user.seal")
    async def seal(self, visit: Visit) -> View:
        address = visit.path["address"]
        code = await self._sealed.seal(address, visit.form.exact("password", limit=1000))
        return _told(address, code, "The recovery code", f"The mail of {address} is sealed now")

    @change("/accounts/<address>/secrets/unseal", action="user.seal")
    async def unseal(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        password, recovery = (visit.form.exact(name, limit=1000) for name in ("password", "recovery"))
        await self._sealed.open_for_good(address, password, recovery)
        return Redirect(to("accounts", address, "secrets"), f"The mail of {address} is being opened for good.")

    @change("/accounts/<address>/secrets/enrol", action="user.seal")
    async def enrol(self, visit: Visit) -> Redirect:
        """The owner's own program will open the mail: its request is pasted here."""
        address = visit.path["address"]
        try:
            request = parse(visit.form.needed("request", LIMIT).encode(), LIMIT)
        except Malformed:
            raise FormError({"request": "This is not what mailx-open --request prints."}) from None
        await self._clients.enrol(address, request)
        return Redirect(to("accounts", address, "secrets"), f"The mail of {address} is sealed for its owner’s own program now.")

    @change("/accounts/<address>/secrets/off", action="user.seal")
    async def off(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        await self._clients.off(address)
        return Redirect(to("accounts", address, "secrets"), f"Nothing more is sealed for {address}.")

    @change("/accounts/<address>/secrets/recovery", action="user.recovery_code")
    async def recovery(self, visit: Visit) -> View:
        address = visit.path["address"]
        code = await self._sealed.recovery_code(address, visit.form.exact("password", limit=1000))
        return _told(address, code, "The recovery code", f"{address} has a new recovery code")

    @change("/accounts/<address>/secrets/app-password", action="user.app_password")
    async def app_password(self, visit: Visit) -> View:
        address = visit.path["address"]
        made, text = await self._apps.add(address, visit.form.needed("name", 64), visit.form.exact("password", limit=1000))
        return _told(address, text, "The app password", f"{address} has an app password for {made.name}")

    @change("/accounts/<address>/secrets/revoke", action="user.app_password_revoke")
    async def revoke(self, visit: Visit) -> Redirect:
        address, name = visit.path["address"], visit.form.needed("name", 64)
        await self._apps.revoke(address, name)
        return Redirect(to("accounts", address, "secrets"), f"The app password {name} is good for nothing any more.")

    @property
    def _sealed(self) -> SealedAccounts:
        if self.parts.sealed_accounts is None:
            raise DirectoryError("not_found", _NOT_HERE)
        return self.parts.sealed_accounts

    @property
    def _clients(self) -> ClientKeys:
        if self.parts.client_keys is None:
            raise DirectoryError("not_found", _NOT_HERE)
        return self.parts.client_keys

    @property
    def _apps(self) -> AppPasswords:
        if self.parts.app_passwords is None:
            raise DirectoryError("not_found", _NOT_HERE)
        return self.parts.app_passwords


def _told(address: str, secret: str, what: str, title: str) -> View:
    """The one page that shows it."""
    return View("account_told.html", {"path": to("accounts", address, "secrets"), "secret": secret, "what": what}, title=title)

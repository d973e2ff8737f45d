"""The modes of sealing in the admin API."""

import json
from typing import Any

from nacl.public import PrivateKey
from twisted.trial.unittest import TestCase

from mailx.core.client_keys import ClientKeys
from mailx.core.keyring import Keyring
from mailx.core.sealed_accounts import SealedAccounts
from mailx.identity.encoding import canonical
from mailx.identity.enrolment import requested
from mailx.identity.statements import SeedSigner
from mailx.mail.address import Address
from mailx.ops.administration import Administration
from tests.core.keys import NOW, ring

ANN = Address.parse("ann@example.test")


class Modes(TestCase):
    async def api(self) -> Administration:
        made = await ring(self)
        world = made.world
        await world.user("ann@example.test")
        keyring = Keyring(world.cipher, world.reactor, 60.0)
        self.addCleanup(keyring.stop)
        sealed = SealedAccounts(world.store, world.cipher, world.accounts, world.passwords, keyring, made.users)
        clients = ClientKeys(world.accounts, made.users, lambda: NOW)
        return Administration(world.accounts, world.config, user_keys=made.users, sealed_accounts=sealed, client_keys=clients)

    async def ask(self, api: Administration, method: str = "GET", **body: Any) -> tuple[int, Any]:
        status, answer = await api.answer(method, "/v1/sealing/ann@example.test", {}, body or None)
        return status, answer

    def request(self) -> Any:
        sealing = bytes(PrivateKey(bytes(range(32))).public_key)
        return json.loads(canonical(requested(ANN, sealing, SeedSigner(bytes(range(32))), NOW).encode()))

    async def test_client(self) -> None:
        api = await self.api()
        self.assertEqual(await self.ask(api), (200, {"address": "ann@example.test", "mode": "off", "recovery_code": "", "keys": None}))
        status, answer = await self.ask(api, "POST", mode="client")
        self.assertEqual((status, answer["error"]["code"]), (422, "invalid"))
        status, answer = await self.ask(api, "POST", mode="client", request=self.request())
        self.assertEqual((status, answer["mode"], answer["keys"]["serial"]), (200, "client", 1))
        status, answer = await self.ask(api, "POST", mode="off")
        self.assertEqual((status, answer["mode"], answer["keys"]), (200, "off", None))
        self.assertEqual((await self.ask(api, "POST", mode="off"))[0], 404)

    async def test_server(self) -> None:
        api = await self.api()
        self.assertEqual((await self.ask(api, "POST", mode="server", password="wrong"))[0], 422)
        status, answer = await self.ask(api, "POST", mode="server", password="secret")
        self.assertEqual((status, answer["mode"]), (200, "server"))
        self.assertTrue(answer["recovery_code"])
        self.assertEqual((await self.ask(api))[1]["recovery_code"], "")
        self.assertEqual((await self.ask(api, "POST", mode="client", request=self.request()))[0], 409)
        self.assertEqual((await self.ask(api, "POST", mode="off", password="wrong"))[0], 422)
        self.assertEqual((await self.ask(api, "POST", mode="off", recovery_code=answer["recovery_code"]))[0], 200)

    async def test_without_a_server(self) -> None:
        made = await ring(self)
        await made.world.user("ann@example.test")
        api = Administration(made.world.accounts, made.world.config)
        self.assertEqual((await self.ask(api))[0], 200)
        self.assertGreaterEqual((await self.ask(api, "POST", mode="client", request=self.request()))[0], 400)

"""Keys of users over HTTPS: shown to anybody, enrolled and revoked by their owners."""

import json
from base64 import b64encode
from typing import Any

from nacl.public import PrivateKey
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.client_keys import ClientKeys
from mailx.core.users import CLIENT, DirectoryError
from mailx.identity.encoding import canonical
from mailx.identity.enrolment import requested
from mailx.identity.statements import SeedSigner
from mailx.identity.user_keys import Attestation, attested
from mailx.mail.address import Address
from mailx.store import accounts as rows
from mailx.web.public.enrolment import Identity
from mailx.web.public.site import PublicSite
from tests.core.keys import NOW, Ring, ring
from tests.web.browser import Browser

ANN = Address.parse("ann@example.test")
SIGNER = SeedSigner(bytes(range(32)))
SEALING = bytes(PrivateKey(bytes(range(32))).public_key)


def login(name: str = "ann@example.test", password: str = "secret") -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


def request(address: Address = ANN, sealing: bytes = SEALING, signer: SeedSigner = SIGNER, now: int = NOW) -> bytes:
    return canonical(requested(address, sealing, signer, now).encode())


class Enrolling(TestCase):
    ring: Ring

    async def scene(self) -> Browser:
        self.ring = await ring(self)
        await self.ring.world.user("ann@example.test")
        await self.ring.world.user("bob@example.test")
        self.clients = ClientKeys(self.ring.world.accounts, self.ring.users, lambda: self.ring.now)
        identity = Identity(self.ring.users, self.clients, self.ring.world.access)
        site = PublicSite([identity], Clock(), proxies=("192.0.2.1",)).site()
        headers = {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https"}
        return Browser(site, host="example.test", address="192.0.2.1", headers=headers)

    async def put(self, browser: Browser, body: bytes, headers: dict[str, str], address: str = "ann@example.test") -> Any:
        return await browser.ask("PUT", f"/identity/{address}", body, headers)

    async def test_enrolled_shown_and_revoked(self) -> None:
        browser = await self.scene()
        self.assertEqual((await browser.get("/identity/ann@example.test")).status, 404)
        page = await self.put(browser, request(), login())
        self.assertEqual(page.status, 200, page.body)
        made = Attestation.decode(page.json()["attestation"])
        self.assertEqual((made.sealing, made.signing, made.holder), (SEALING, SIGNER.public, CLIENT))
        shown = (await browser.get("/identity/Ann@Example.test")).json()
        self.assertEqual([Attestation.decode(each) for each in shown["history"]], [made])
        self.assertEqual((await self.ring.world.accounts.find(ANN)).user.sealed, CLIENT)
        gone = await browser.ask("DELETE", "/identity/ann@example.test", b"", login())
        self.assertEqual(gone.status, 200)
        self.assertEqual((await self.ring.world.accounts.find(ANN)).user.sealed, "")
        self.assertEqual(await self.ring.users.of(ANN), None)
        history = [Attestation.decode(each) for each in (await browser.get("/identity/ann@example.test")).json()["history"]]
        self.assertEqual([each.revoked for each in history], [False, True])

    async def test_the_audit_log_knows(self) -> None:
        browser = await self.scene()
        await self.put(browser, request(), login())
        acts = await self.ring.world.store.read(lambda txn: txn.all("SELECT COUNT(*) FROM audit"))
        self.assertGreaterEqual(acts[0][0], 1)

    async def test_who_is_not_the_owner(self) -> None:
        browser = await self.scene()
        for headers, status in (
            ({}, 401),
            (login(password="wrong"), 401),
            (login("nobody@example.test"), 401),
            (login("bob@example.test"), 403),
            ({"authorization": "Bearer x"}, 401),
            ({"authorization": "Basic !!!"}, 401),
            ({"authorization": "Basic " + b64encode(b"\xff:\xff").decode()}, 401),
        ):
            page = await self.put(browser, request(), headers)
            self.assertEqual(page.status, status, headers)
            self.assertEqual("www-authenticate" in page.headers, status == 401)
        self.assertEqual(await self.ring.users.of(ANN), None)

    async def test_attempts_are_throttled(self) -> None:
        browser = await self.scene()
        for _ in range(self.ring.world.config.accounts.failures_per_hour):
            await self.put(browser, request(), login(password="wrong"))
        page = await self.put(browser, request(), login())
        self.assertEqual((page.status, page.headers["retry-after"]), (429, "60"))

    async def test_only_over_tls(self) -> None:
        await self.scene()
        identity = Identity(self.ring.users, self.clients, self.ring.world.access)
        plain = Browser(PublicSite([identity], Clock()).site(), host="example.test", address="192.0.2.1")
        self.assertEqual((await self.put(plain, request(), login())).status, 403)

    async def test_requests_that_prove_nothing(self) -> None:
        browser = await self.scene()
        forged = json.loads(request())
        forged["body"]["sealing"] = json.loads(request(sealing=bytes(PrivateKey.generate().public_key)))["body"]["sealing"]
        for body, status in (
            (b"", 400),
            (b"{", 400),
            (b"[]", 422),
            (b"{}", 422),
            (canonical(forged), 422),
            (request(now=NOW - 7200), 422),
            (request(Address.parse("bob@example.test")), 422),
            (request(sealing=bytes(32)), 422),
            (canonical(attested(ANN, SEALING, SIGNER.public, 1, NOW, "client", SIGNER).statement.encode()), 422),
            (b"x" * 5000, 413),
        ):
            page = await self.put(browser, body, login())
            self.assertEqual(page.status, status, body[:80])
        self.assertEqual(await self.ring.users.of(ANN), None)

    async def test_an_account_that_the_server_opens(self) -> None:
        browser = await self.scene()
        user = (await self.ring.world.accounts.find(ANN)).user
        await self.ring.world.accounts.change(rows.set_sealed, user.id, "server")
        self.assertEqual((await browser.ask("DELETE", "/identity/ann@example.test", b"", login())).status, 404)
        with self.assertRaises(DirectoryError):
            await self.clients.enrol(ANN, json.loads(request()))

    async def test_new_keys(self) -> None:
        browser = await self.scene()
        await self.put(browser, request(), login())
        other = SeedSigner(bytes(range(7, 39)))
        page = await self.put(browser, request(sealing=bytes(PrivateKey.generate().public_key), signer=other), login())
        self.assertEqual(Attestation.decode(page.json()["attestation"]).serial, 2)

    async def test_nobody(self) -> None:
        browser = await self.scene()
        for address in ("nobody@example.test", "no%20address", "a@elsewhere.example"):
            self.assertEqual((await browser.get(f"/identity/{address}")).status, 404)

"""Key logs on the public site: whoever reads them by HTTP alone can check them."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.identity import key_log, merkle
from mailx.identity.encoding import unb64
from mailx.identity.statements import Statement
from mailx.mail.log_leaf import USER_KEY, Leaf
from mailx.web.public.log import LogPart
from mailx.web.public.site import PublicSite
from tests.core.log_scene import Server, server
from tests.web.browser import Browser, Page

A = "a.example"
ADA = "ada@a.example"


class Logs(TestCase):
    async def open(self) -> Server:
        here = await server(self, {}, A)
        await here.grow(4)
        await here.bind(ADA, 1)
        await here.bind(ADA, 2, revoked=True)
        site = PublicSite([LogPart(key_log=here.log)], Clock())
        self.browser = Browser(site.site(), host=A, address="192.0.2.1")
        return here

    async def get(self, path: str) -> Any:
        page: Page = await self.browser.get(path)
        self.assertEqual(page.status, 200, page.body)
        return page.json()

    async def test_a_log_can_be_checked_from_outside(self) -> None:
        here = await self.open()
        head = key_log.read_head((await self.get("/log/head"))["head"], A)
        self.assertTrue(head.statement.signed_by(here.keys.seeds[0].public))
        leaves = [unb64(each) for each in (await self.get("/log/leaves?first=0"))["leaves"]]
        reader = key_log.Reader({})
        for each in leaves:
            reader.add(each)
        reader.finish(head)
        self.assertEqual((await self.get("/log/leaves?first=2&count=3"))["leaves"], [key_log.b64(each) for each in leaves[2:5]])
        proof = [unb64(each) for each in (await self.get("/log/consistency?old=3&size=6"))["proof"]]
        self.assertTrue(merkle.consistent(3, 6, await here.log.root(A, 3), head.root, proof))
        proof = [unb64(each) for each in (await self.get("/log/inclusion?number=3&size=6"))["proof"]]
        self.assertTrue(merkle.included(merkle.leaf_hash(leaves[3]), 3, 6, proof, head.root))

    async def test_the_history_of_an_address(self) -> None:
        await self.open()
        found = await self.get("/log/history?kind=user-key&name=ada%40a.example")
        head = key_log.read_head(found["head"], A)
        label = key_log.proved_label(head.vrf, USER_KEY, ADA, unb64(found["label"]))
        entries = [key_log.Entry(each["number"], Leaf.decode(unb64(each["leaf"]))) for each in found["entries"]]
        key_log.check_history(entries, label, USER_KEY)
        for entry, each in zip(entries, found["entries"], strict=True):
            key_log.check_included(entry, [unb64(hash) for hash in each["proof"]], head)
        self.assertEqual([entry.leaf.revoked for entry in entries], [False, True])
        statements = [Statement.decode(each, "user-key") for each in found["statements"]]
        self.assertEqual([each.digest for each in statements], [entry.leaf.digest for entry in entries])

    async def test_epochs(self) -> None:
        here = await self.open()
        self.assertEqual(await self.get("/log/epochs"), {"epochs": []})
        await here.log.begin_epoch(A, await here.log.head(A))
        (epoch,) = (await self.get(f"/log/epochs?domain={A}"))["epochs"]
        self.assertEqual(key_log.read_epoch(epoch, A).epoch, 1)

    async def test_what_is_not_there(self) -> None:
        await self.open()
        for path, status in (
            ("/log/head?domain=b.example", 404),
            ("/log/leaves", 400),
            ("/log/leaves?first=-1", 400),
            ("/log/leaves?first=99999999999999999999", 400),
            ("/log/consistency?old=3&size=7", 404),
            ("/log/consistency?old=5&size=3", 404),
            ("/log/inclusion?number=6&size=6", 404),
            ("/log/inclusion?number=x&size=6", 400),
            ("/log/history?kind=user-key", 400),
            ("/log/history?kind=other&name=x", 400),
            ("/log/history?kind=user-key&name=" + "x" * 400, 400),
        ):
            self.assertEqual((await self.browser.get(path)).status, status, path)
        self.assertEqual(await self.get("/log/leaves?first=6"), {"leaves": []})
        nobody = await self.get("/log/history?kind=user-key&name=nobody%40a.example")
        self.assertEqual((nobody["entries"], nobody["statements"]), ([], []))

"""The pages of domains, their DNS records and their signing keys."""

from typing import Any

from mailx.core.records import Records
from mailx.core.signing import Signing
from mailx.web.panel.pages import dkim, dns
from mailx.web.panel.pages.domains import Domains
from tests import dns as names
from tests.scenery import DOMAIN, world
from tests.web.scene import PagesTest, scene_of

HOST = "mx.example.test"
MARKUP = "<script>alert(1)</script>"


class Base(PagesTest):
    async def open(self, zone: dict[tuple[str, str], Any] | None = None) -> None:
        made = await world(self, server={"hostname": HOST})
        self.signing = Signing(made.store, made.cipher, made.accounts, made.reactor)
        await self.signing.load()
        self.authority = await names.serve(self, {(HOST, "A"): ["192.0.2.7"], **(zone or {})})
        records = Records(made.settings, self.signing, names.ask(self, self.authority), lambda name: None)
        pages = [Domains, dns.DNS, dkim.DKIM]
        self.scene = await scene_of(self, in_world=made, pages=pages, parts={"signing": self.signing, "records": records})

    async def actions(self) -> list[tuple[str, str]]:
        return [(entry.action, entry.target) for entry in await self.scene.parts.audit.list() if not entry.action.startswith("admin.")]


class DomainPages(Base):
    async def test_list_and_add(self) -> None:
        await self.open()
        page = await self.get("/domains")
        self.assertIn(DOMAIN, page.text)
        page = await self.done("/domains/add", name="Büro.Example")
        self.assertIn("xn--bro-hoa.example was added", page.text)
        self.assertEqual(await self.actions(), [("domain.add", "xn--bro-hoa.example")])

    async def test_a_wrong_name_is_shown_again(self) -> None:
        await self.open()
        for name in ("", MARKUP, "no domain", "a" * 400):
            page = await self.post("/domains/add", name=name)
            self.assertEqual(page.status, 422, name)
            self.assertNotIn(MARKUP, page.text)
        self.assertEqual(await self.actions(), [])

    async def test_taken(self) -> None:
        await self.open()
        page = await self.post("/domains/add", name=DOMAIN)
        self.assertEqual(page.status, 422)
        self.assertIn(f"{DOMAIN} is taken", page.text)

    async def test_pages_and_search(self) -> None:
        await self.open()
        for number in range(60):
            await self.scene.world.accounts.add_domain(f"d{number:02}.example")
        first = await self.get("/domains")
        self.assertIn("d49.example", first.text)
        self.assertNotIn("d50.example", first.text)
        self.assertIn("after=d49.example", first.text)
        self.assertIn("d50.example", (await self.get("/domains?after=d49.example")).text)
        found = await self.get("/domains?text=D33")
        self.assertIn("d33.example", found.text)
        self.assertNotIn("d34.example", found.text)
        self.assertIn("No domain fits", (await self.get("/domains?text=%25")).text)

    async def test_one_domain(self) -> None:
        await self.open()
        await self.scene.world.user(f"bob@{DOMAIN}")
        page = await self.get(f"/domains/{DOMAIN}")
        self.assertIn("Delete those first", page.text)
        await self.get("/domains/nowhere.example", 404)
        self.assertNotIn("<script>alert", (await self.get("/domains/%3Cscript%3Ealert", 400)).text)

    async def test_delete(self) -> None:
        await self.open()
        page = await self.post(f"/domains/{DOMAIN}/delete", confirm="something else")
        self.assertEqual(page.status, 422)
        self.assertTrue(self.scene.world.accounts.local(DOMAIN))
        await self.done(f"/domains/{DOMAIN}/delete", confirm=DOMAIN.upper())
        self.assertFalse(self.scene.world.accounts.local(DOMAIN))
        self.assertEqual(await self.actions(), [("domain.delete", DOMAIN)])

    async def test_a_domain_in_use_stays(self) -> None:
        await self.open()
        await self.scene.world.user(f"bob@{DOMAIN}")
        page = await self.post(f"/domains/{DOMAIN}/delete", confirm=DOMAIN)
        self.assertEqual(page.status, 422)
        self.assertIn("still has 1 accounts", page.text)


class DNSPages(Base):
    async def test_nothing_is_asked_without_the_button(self) -> None:
        await self.open()
        page = await self.get(f"/domains/{DOMAIN}/dns")
        self.assertIn("v=spf1 mx -all", page.text)
        self.assertIn(f"_dmarc.{DOMAIN}", page.text)
        self.assertEqual(self.authority.asked, [])
        self.assertNotIn("missing", page.text)
        self.assertIn("the public address of this server", page.text)
        self.assertIn(f'href="/domains/{DOMAIN}/dkim"', page.text)

    async def test_check(self) -> None:
        await self.open({(DOMAIN, "MX"): ["10 elsewhere.example."], (DOMAIN, "TXT"): ["v=spf1 mx -all"]})
        page = await self.get(f"/domains/{DOMAIN}/dns?check=yes")
        self.assertIn("Mail for the domain goes elsewhere", page.text)
        self.assertIn("10 elsewhere.example.", page.text)
        self.assertIn("Change the record to the one shown here", page.text)
        self.assertIn("required records are missing or different", page.text)

    async def test_all_is_well(self) -> None:
        await self.open(
            {
                (DOMAIN, "MX"): [f"10 {HOST}."],
                (DOMAIN, "TXT"): ["v=spf1 mx -all"],
                (HOST, "TXT"): ["v=spf1 a -all"],
                (f"_dmarc.{DOMAIN}", "TXT"): ["v=DMARC1; p=none"],
                ("7.2.0.192.in-addr.arpa", "PTR"): [f"{HOST}."],
            }
        )
        for key in await self.signing.create(DOMAIN):
            self.authority.zone[key.name, "TXT"] = [key.record]
        page = await self.get(f"/domains/{DOMAIN}/dns?check=yes")
        self.assertIn("Every required record is as it should be", page.text)

    async def test_strangers_write_what_they_want(self) -> None:
        await self.open({(DOMAIN, "TXT"): [f"v=spf1 {MARKUP}"], (f"_dmarc.{DOMAIN}", "TXT"): [f"v=DMARC1; p=none; x={MARKUP}\u202e"]})
        page = await self.get(f"/domains/{DOMAIN}/dns?check=yes")
        self.assertNotIn(MARKUP, page.text)
        self.assertIn("&lt;script&gt;", page.text)
        self.assertNotIn("\u202e", page.text)

    async def test_the_check_ends_in_time(self) -> None:
        await self.open({(DOMAIN, "MX"): names.TIMEOUT, (DOMAIN, "TXT"): ["v=spf1 mx -all"]})
        self.patch(dns, "SECONDS", 0.2)
        page = await self.get(f"/domains/{DOMAIN}/dns?check=yes")
        self.assertIn("DNS gave no answer in time", page.text)
        self.assertIn("cannot be checked", page.text)

    async def test_zone_file(self) -> None:
        await self.open()
        page = await self.get(f"/domains/{DOMAIN}/dns/zone")
        self.assertIn(f'{DOMAIN}. TXT "v=spf1 mx -all"', page.text)
        self.assertIn("attachment", page.headers["content-disposition"])

    async def test_no_such_domain(self) -> None:
        await self.open()
        for path in ("dns", "dns?check=yes", "dns/zone", "dkim"):
            await self.get(f"/domains/nowhere.example/{path}", 404)
        self.assertEqual(self.authority.asked, [])


class Keys(Base):
    async def publish(self) -> None:
        for key in await self.signing.keys(DOMAIN):
            self.authority.zone[key.name, "TXT"] = [key.record]

    async def test_a_life(self) -> None:
        await self.open()
        path = f"/domains/{DOMAIN}/dkim"
        self.assertIn("Mail of this domain is not signed", (await self.get(path)).text)
        self.assertIn("not signed", (await self.get("/dkim")).text)
        page = await self.done(f"{path}/create", algorithm=["ed25519-sha256"])
        (key,) = await self.signing.keys(DOMAIN)
        self.assertIn(key.record, page.text)
        self.assertIn(key.name, page.text)
        await self.publish()
        self.assertIn("The world sees the records", (await self.get(f"{path}/activate")).text)
        self.assertIn(f"is signed with {key.selector}", (await self.done(f"{path}/activate")).text)
        await self.done(f"{path}/rotate")
        await self.publish()
        await self.done(f"{path}/activate")
        states = {each.selector: each.state for each in await self.signing.keys(DOMAIN)}
        self.assertEqual(states[key.selector], "retired")
        page = await self.post(f"{path}/{key.selector}/delete")
        self.assertEqual(page.status, 422)
        self.assertIn("may still be on its way", page.text)
        self.assertIn("Delete early", page.text)
        await self.done(f"{path}/{key.selector}/delete", force="yes")
        (key,) = await self.signing.keys(DOMAIN)
        await self.done(f"{path}/{key.selector}/retire")
        self.assertEqual([each.state for each in await self.signing.keys(DOMAIN)], ["retired"])
        actions = [action for action, _ in await self.actions()]
        self.assertEqual(
            actions[::-1],
            ["dkim.create", "dkim.activate", "dkim.rotate", "dkim.activate", "dkim.delete", "dkim.retire"],
        )

    async def test_unpublished_keys_do_not_sign(self) -> None:
        await self.open()
        path = f"/domains/{DOMAIN}/dkim"
        await self.signing.create(DOMAIN, ["ed25519-sha256"])
        self.assertIn("missing or different", (await self.get(f"{path}/activate")).text)
        page = await self.post(f"{path}/activate")
        self.assertEqual(page.status, 422)
        self.assertIn("These records are not published", page.text)
        self.assertEqual([key.state for key in await self.signing.keys(DOMAIN)], ["next"])
        await self.done(f"{path}/activate", force="yes")
        self.assertEqual([key.state for key in await self.signing.keys(DOMAIN)], ["active"])

    async def test_dns_is_away(self) -> None:
        await self.open()
        self.patch(dkim, "SECONDS", 0.2)
        (key,) = await self.signing.create(DOMAIN, ["ed25519-sha256"])
        self.authority.zone[key.name, "TXT"] = names.TIMEOUT
        path = f"/domains/{DOMAIN}/dkim/activate"
        self.assertIn("DNS gives no answer", (await self.get(path)).text)
        page = await self.post(path)
        self.assertEqual(page.status, 422)
        self.assertIn("DNS gives no answer", page.text)

    async def test_wrong(self) -> None:
        await self.open()
        path = f"/domains/{DOMAIN}/dkim"
        for act, fields in (
            ("create", {}),
            ("create", {"algorithm": ["md5"]}),
            ("rotate", {}),
            ("%3Cb%3E/retire", {}),
            ("none/delete", {}),
        ):
            page = await self.post(f"{path}/{act}", **fields)
            self.assertEqual(page.status, 422, act)
            self.assertNotIn("<b>", page.text)
        self.assertEqual((await self.post(f"{path}/activate", force="yes")).status, 404)
        await self.get(f"{path}/activate", 404)
        self.assertEqual(await self.actions(), [])

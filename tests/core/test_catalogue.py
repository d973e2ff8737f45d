"""The directory a page at a time, on both engines."""

from twisted.trial.unittest import TestCase

from mailx.core.catalogue import Catalogue, Wanted
from mailx.core.users import DirectoryError
from tests.scenery import DOMAIN, World, world

OTHER = "other.example"


class Reading(TestCase):
    engine = "sqlite"
    world: World
    catalogue: Catalogue

    async def open(self) -> Catalogue:
        self.world = await world(self, engine=self.engine)
        self.catalogue = self.world.accounts.catalogue
        return self.catalogue

    async def refused(self, code: str, waiting: object) -> None:
        with self.assertRaises(DirectoryError) as caught:
            await waiting  # type: ignore[misc]
        self.assertEqual(caught.exception.code, code)

    async def test_accounts(self) -> None:
        catalogue = await self.open()
        names = [f"{local}@{domain}" for domain in (DOMAIN, OTHER) for local in ("ada", "bob", "c_d", "cxd")]
        for name in reversed(names):
            await self.world.user(name)
        await self.world.accounts.set_state(names[1], "suspended")
        await self.world.accounts.erase_user(names[4])
        del names[4]
        seen: list[str] = []
        after = ""
        while True:
            batch = await catalogue.accounts(Wanted(), after, 3)
            seen += [str(details.user.address) for details in batch.items]
            after = batch.following
            if not after:
                break
        self.assertEqual(seen, names)
        for wanted, found in (
            (Wanted(domain=OTHER.upper()), names[4:]),
            (Wanted(text="BOB@"), [names[1], names[4]]),
            (Wanted(text="c_d"), [names[2], names[5]]),
            (Wanted(text="%"), []),
            (Wanted(text="!"), []),
            (Wanted(state="suspended"), [names[1]]),
            (Wanted(role="admin"), ["cxd@other.example"]),
            (Wanted(domain="nowhere.example"), []),
        ):
            batch = await catalogue.accounts(wanted)
            self.assertEqual([str(details.user.address) for details in batch.items], found, wanted)
            self.assertEqual(batch.following, "")

    async def test_filters_that_make_no_sense(self) -> None:
        catalogue = await self.open()
        for wanted in (Wanted(role="king"), Wanted(state="gone"), Wanted(domain="no domain"), Wanted(text="a" * 400), Wanted(text="\0")):
            await self.refused("invalid", catalogue.accounts(wanted))

    async def test_domains(self) -> None:
        catalogue = await self.open()
        await self.world.user(f"ada@{OTHER}")
        await self.world.accounts.add_alias(f"x@{OTHER}", [f"ada@{OTHER}"])
        batch = await catalogue.domains(limit=1)
        self.assertEqual(([domain.name for domain in batch.items], batch.following), ([DOMAIN], DOMAIN))
        (domain,) = (await catalogue.domains(after=DOMAIN)).items
        self.assertEqual((domain.name, domain.accounts, domain.aliases), (OTHER, 1, 1))
        self.assertEqual([domain.name for domain in (await catalogue.domains("THER.")).items], [OTHER])
        self.assertEqual((await catalogue.domain(OTHER.upper())).accounts, 1)
        await self.refused("not_found", catalogue.domain("nowhere.example"))
        await self.refused("invalid", catalogue.domain("<b>"))

    async def test_aliases(self) -> None:
        catalogue = await self.open()
        ada, bob = f"ada@{DOMAIN}", f"bob@{DOMAIN}"
        for user in (ada, bob):
            await self.world.user(user)
        accounts = self.world.accounts
        await accounts.add_alias(f"b@{DOMAIN}", [bob, ada, "Eve@example.org"])
        await accounts.add_alias(f"a@{DOMAIN}", ["eve@example.org"])
        await accounts.add_alias(f"*@{DOMAIN}", [ada])
        batch = await catalogue.aliases(limit=2)
        self.assertEqual([str(alias.address) for alias in batch.items], [f"*@{DOMAIN}", f"a@{DOMAIN}"])
        (alias,) = (await catalogue.aliases(after=batch.following)).items
        self.assertEqual([str(target) for target in alias.targets], [ada, bob, "Eve@example.org"])
        self.assertEqual([str(target) for target in alias.remotes], ["Eve@example.org"])
        self.assertEqual(alias, await catalogue.alias(f"B@{DOMAIN}"))
        self.assertEqual(
            sorted(map(str, (await catalogue.aliases(DOMAIN, "*@")).items)), sorted(map(str, [await catalogue.alias(f"*@{DOMAIN}")]))
        )
        self.assertEqual((await catalogue.aliases(OTHER)).items, ())
        await self.refused("not_found", catalogue.alias(f"none@{DOMAIN}"))
        await self.refused("invalid", catalogue.alias(""))

    async def test_an_alias_is_changed(self) -> None:
        catalogue = await self.open()
        ada, bob, alias = f"ada@{DOMAIN}", f"bob@{DOMAIN}", f"alias@{DOMAIN}"
        for user in (ada, bob):
            await self.world.user(user)
        accounts = self.world.accounts
        await accounts.add_alias(alias, [ada, "eve@example.org"])
        resolved = await accounts.resolve((await catalogue.alias(alias)).address)
        assert resolved is not None
        await accounts.change_alias(alias, [bob, "joe@example.org"])
        self.assertEqual([str(target) for target in (await catalogue.alias(alias)).targets], [bob, "joe@example.org"])
        resolved = await accounts.resolve((await catalogue.alias(alias)).address)
        assert resolved is not None
        self.assertEqual([str(user.address) for user in resolved.users], [bob])
        for code, name, targets in (
            ("not_found", f"none@{DOMAIN}", [bob]),
            ("not_found", "none@nowhere.example", [bob]),
            ("not_found", alias, [f"nobody@{DOMAIN}"]),
            ("invalid", alias, []),
            ("limit", alias, [f"u{number}@example.org" for number in range(101)]),
        ):
            await self.refused(code, accounts.change_alias(name, targets))
        self.assertEqual([str(target) for target in (await catalogue.alias(alias)).targets], [bob, "joe@example.org"])

    async def test_belongings(self) -> None:
        catalogue = await self.open()
        ada, bob = await self.world.user(f"ada@{DOMAIN}"), await self.world.user(f"bob@{DOMAIN}")
        accounts = self.world.accounts
        await accounts.add_alias(f"own@{DOMAIN}", [bob.address])
        await accounts.add_alias(f"both@{DOMAIN}", [bob.address, ada.address])
        await accounts.add_alias(f"away@{DOMAIN}", [bob.address, "eve@example.org"])
        await accounts.block(bob.address, "spam@example.org")
        await self.world.deliver(str(bob.address), b"Subject: x\r\n\r\nx")
        found = await catalogue.belongings(bob.id)
        self.assertEqual((found.messages, found.blocks, found.aliases), (1, 1, (f"own@{DOMAIN}",)))
        self.assertGreaterEqual(found.mailboxes, 5)


class ReadingOnPostgreSQL(Reading):
    engine = "postgresql"

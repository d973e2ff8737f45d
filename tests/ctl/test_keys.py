"""``mailxctl key``, and the recovery key that ``mailxctl domain add`` shows."""

import os
import re
import shutil
import stat

from twisted.internet.defer import Deferred

from mailx.core.domain_keys import DomainKeys
from mailx.core.key_backup import KeyBackup
from mailx.core.keystore import SealedKeystore
from mailx.core.publication import Publication
from mailx.core.user_keys import SERVER, UserKeys
from mailx.identity import passphrase_file, recovery_keys
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.ctl.test_commands import Base
from tests.ops.test_admin import short_directory
from tests.scenery import DOMAIN, world

PASSPHRASE = "correct horse"
RECOVERY = re.compile(r"mailx-recovery-1(?:-[A-Z2-7]{4})+")


class Keys(Base):
    async def open_keys(self) -> None:
        self.patch(passphrase_file, "_PASSES", 1)
        self.patch(passphrase_file, "_MEMORY", 8192)
        self.world = here = await world(self)
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()
        self.keys = DomainKeys(here.store, SealedKeystore(here.cipher), here.accounts, Publication(here.settings), here.reactor)
        self.users = UserKeys(here.store, here.accounts, self.keys, here.reactor)
        self.recovery = (await self.keys.ensure_all())[DOMAIN]

        async def close() -> None:
            await self.users.stop()
            await self.keys.stop()

        self.addCleanup(lambda: Deferred.fromCoroutine(close()))
        backup = KeyBackup(self.keys, here.reactor)
        administration = Administration(here.accounts, here.config, domain_keys=self.keys, user_keys=self.users, key_backup=backup)
        service = AdminService(self.socket, administration, here.reactor)
        service.startService()
        self.addCleanup(service.stopService)

    async def test_a_new_domain_says_its_recovery_key_once(self) -> None:
        await self.open_keys()
        output = await self.run_command("domain", "add", "second.test")
        (text,) = RECOVERY.findall(output)
        self.assertEqual(recovery_keys.read(text).public, self.keys.history("second.test")[0].recovery)
        self.assertIn("shown this once", output)
        self.assertEqual(RECOVERY.findall(await self.run_command("key", "show", "second.test")), [])
        await self.run_command("domain", "delete", "second.test")
        self.assertIsNone((await self.run_json("domain", "add", "second.test"))["recovery_key"])

    async def test_show_list_and_rotate(self) -> None:
        await self.open_keys()
        (one,) = (await self.run_json("key", "list"))["domains"]
        self.assertEqual((one["domain"], one["serial"], one["opens"]), (DOMAIN, 1, True))
        self.assertIn(one["key"], await self.run_command("key", "list"))
        output = await self.run_command("key", "rotate", DOMAIN)
        self.assertRegex(output, rf'_mailx\.{DOMAIN}\. TXT "v=mailx1; key=ed25519:')
        shown = await self.run_json("key", "show", DOMAIN)
        self.assertEqual([each["serial"] for each in shown["history"]], [2, 1])
        self.assertEqual([each["valid"] for each in shown["history"]], [True, True])
        self.assertIsNone(shown["history"][0]["until"])
        self.assertIsNotNone(shown["history"][1]["until"])
        text = await self.run_command("key", "show", DOMAIN)
        for part in (shown["key"], one["key"], "announced by the key before", "until 20", shown["recovery"]):
            self.assertIn(part, text)

    async def test_without_federation(self) -> None:
        await self.open_keys()
        self.patch(Publication, "record", lambda publication, key: "")
        self.assertIn("Record:   none, for federation is off", await self.run_command("key", "show", DOMAIN))
        self.assertNotIn("_mailx", await self.run_command("key", "rotate", DOMAIN))

    async def test_recover(self) -> None:
        await self.open_keys()
        before = self.keys.signer(DOMAIN).public
        self.assertEqual((await self.fail_with("key", "recover", DOMAIN, input="n\n"))["code"], "not_confirmed")
        error = await self.fail_with("key", "recover", DOMAIN, "--yes", "--stdin", input=recovery_keys.generate() + "\n")
        self.assertIn("not the recovery key", error["message"])
        self.assertIn("mistyped", (await self.fail_with("key", "recover", DOMAIN, "--yes", "--stdin", input=self.recovery[:-1]))["message"])
        self.assertEqual((await self.fail_with("key", "recover", DOMAIN, "--yes", "--stdin"))["code"], "no_secret")
        self.assertEqual(self.keys.signer(DOMAIN).public, before)
        output = await self.run_command("key", "recover", DOMAIN, input=f"y\n{self.recovery}\n")
        self.assertIn("revoked", output)
        self.assertNotIn(self.recovery, output)
        self.assertNotIn(before, self.keys.valid(DOMAIN))

    async def test_another_recovery_key(self) -> None:
        await self.open_keys()
        (text,) = RECOVERY.findall(await self.run_command("key", "recovery", DOMAIN, "--stdin", input=self.recovery))
        self.assertIn("not the recovery key", (await self.fail_with("key", "recovery", DOMAIN, "--stdin", input=self.recovery))["message"])
        made = await self.run_json("key", "recovery", DOMAIN, "--unproved")
        self.assertNotEqual(made["recovery_key"], text)
        self.assertIn("is still good", await self.run_command("key", "show", DOMAIN))

    async def test_backup_and_restore(self) -> None:
        await self.open_keys()
        file = os.path.join(self.directory, "keys.backup")
        output = await self.run_command("key", "backup", file, "--stdin", input=PASSPHRASE + "\n")
        self.assertIn("The keys of 1 domain are in", output)
        self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
        self.assertEqual((await self.fail_with("key", "backup", file, "--stdin", input=PASSPHRASE))["code"], "exists")
        self.assertIn("are here already", await self.run_command("key", "restore", file, "--stdin", input=PASSPHRASE))
        await self.run_command("key", "rotate", DOMAIN)
        self.assertIn("newer", await self.run_command("key", "restore", file, "--stdin", input=PASSPHRASE))
        self.assertIn("passphrase", (await self.fail_with("key", "restore", file, "--stdin", input="another one"))["message"])
        other = os.path.join(self.directory, "other.backup")
        error = await self.fail_with("key", "backup", other, "--stdin", input="short")
        self.assertEqual((error["code"], error["remedy"]), ("invalid", "Take one of at least 10 characters."))
        self.assertFalse(os.path.exists(other))
        with open(other, "wb") as written:
            written.write(b"\xff\xfe")
        self.assertEqual((await self.fail_with("key", "restore", other, "--stdin", input=PASSPHRASE))["code"], "unreadable")

    async def test_keys_of_users(self) -> None:
        await self.open_keys()
        me = f"me@{DOMAIN}"
        user = await self.world.user(me)
        self.assertIn("has no keys", await self.run_command("key", "show", me))
        await self.users.bind(user.id, b"s" * 32, b"S" * 32, SERVER)
        self.assertIn("held by the server", await self.run_command("key", "show", me))
        await self.users.revoke(user.id)
        self.assertIn("revoked", await self.run_command("key", "show", me))

    async def test_what_is_not_there(self) -> None:
        await self.open_keys()
        for arguments in (("show", "elsewhere.test"), ("rotate", "elsewhere.test"), ("recovery", "elsewhere.test", "--unproved")):
            self.assertEqual((await self.fail_with("key", *arguments))["code"], "not_found")


class WithoutServer(Base):
    async def test_keys_are_made_and_shown_in_the_database(self) -> None:
        await self.open(serve=False)
        await self.world.store.close()
        shutil.copy(os.path.join(self.world.directory, "secret"), f"{os.path.abspath(self.world.directory)}.secret")
        output = await self.run_command("domain", "add", "second.test")
        self.assertEqual(len(RECOVERY.findall(output)), 1)
        shown = await self.run_json("key", "show", "second.test")
        self.assertEqual(shown["serial"], 1)

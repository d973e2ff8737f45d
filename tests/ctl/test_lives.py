"""``mailxctl`` about what becomes of accounts and mail in time: through a server, and without one."""

import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from mailx.core import person_export
from mailx.mail.reply import Unavailable
from tests.ctl.test_commands import Base

ME = "me@example.test"


class Exporting(Base):
    async def exported(self, name: str, *more: str) -> Path:
        target = Path(self.directory) / name
        self.addCleanup(lambda: target.unlink() if target.is_file() else None)
        answer = await self.run_json("user", "export", ME, str(target), *more)
        self.assertEqual(answer["to"], str(target))
        return target

    async def prepare(self, serve: bool = True) -> None:
        await self.open(serve=serve)
        user = await self.world.user(ME)
        await self.world.file(user, b"Subject: x\r\n\r\nx\r\n")

    async def test_into_a_directory(self) -> None:
        await self.prepare()
        target = Path(self.mktemp())
        await self.run_json("user", "export", ME, str(target))
        self.assertEqual(json.loads((target / "account.json").read_text(encoding="utf-8"))["address"], ME)
        (mail,) = (target / "mail/INBOX/cur").iterdir()
        self.assertEqual(mail.read_bytes(), b"Subject: x\r\n\r\nx\r\n")
        self.assertTrue((target / "mail/INBOX/new").is_dir())
        self.assertEqual((target / "account.json").stat().st_mode & 0o77, 0)
        self.assertEqual((await self.fail_with("user", "export", ME, str(target)))["code"], "exists")

    async def test_into_a_zip_and_a_tar(self) -> None:
        await self.prepare()
        with zipfile.ZipFile(await self.exported("all.zip")) as archive:
            self.assertIsNone(archive.testzip())
            names = set(archive.namelist())
        with tarfile.open(await self.exported("all.tar")) as other:
            self.assertEqual({each.name for each in other if each.isreg()}, names)

    async def test_nobody(self) -> None:
        await self.prepare()
        self.assertEqual((await self.fail_with("user", "export", "no@example.test", self.mktemp()))["code"], "not_found")

    async def test_one_that_breaks_off(self) -> None:
        await self.prepare()

        async def broken(*_: Any) -> Any:
            raise Unavailable("the store is away")
            yield b""

        self.patch(person_export, "_mailbox", broken)
        target = Path(self.mktemp())
        self.assertEqual((await self.fail_with("user", "export", ME, str(target)))["code"], "no_answer")
        self.assertFalse(target.exists())
        self.flushLoggedErrors()


class Lives(Base):
    async def test_retention(self) -> None:
        await self.open()
        await self.world.user(ME)
        self.assertIn("as the server has it", await self.run_command("user", "retention", ME))
        self.assertIn("90 days", await self.run_command("user", "retention", ME, "90"))
        said = await self.run_command("user", "retention", ME, "never", "--mailbox", "Archive")
        self.assertIn("Mailbox Archive: mail stays for good", said)
        self.assertIn("Retention:   90 days", await self.run_command("user", "show", ME))
        self.assertEqual((await self.run_json("user", "retention", ME, "default"))["days"], None)
        for wrong in ("soon", "0", "-1", "99999999"):
            self.assertEqual((await self.run_raw("user", "retention", ME, "--", wrong)).exit_code, 2)
        self.assertEqual((await self.fail_with("user", "retention", ME, "5", "--mailbox", "Nowhere"))["code"], "not_found")

    async def test_recalculate(self) -> None:
        await self.open()
        await self.world.user(ME)
        await self.world.user("other@example.test")
        self.assertIn("All counters were right", await self.run_command("user", "recalculate", "--all"))
        await self.world.store.write(lambda txn: txn.execute("UPDATE accounts SET used = 7"))
        self.assertEqual((await self.run_json("user", "recalculate", ME))["wrong"], 1)
        self.assertIn("other@example.test: -7 octets", await self.run_command("user", "recalculate", "--all"))
        self.assertEqual((await self.run_raw("user", "recalculate")).exit_code, 2)
        self.assertEqual((await self.run_raw("user", "recalculate", ME, "--all")).exit_code, 2)

    async def test_a_pass(self) -> None:
        await self.open()
        self.assertIn("There was no pass", await self.run_command("lifecycle", "status"))
        self.assertEqual((await self.run_json("lifecycle", "run"))["removed"], 0)
        self.assertIn("Last pass:", await self.run_command("lifecycle", "status"))


class WithoutServer(Base):
    async def test_all_of_it(self) -> None:
        await self.open(serve=False)
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")
        user = await self.world.user(ME)
        await self.world.file(user, b"Subject: x\r\n\r\nx\r\n")
        await self.world.store.close()
        target = Path(self.mktemp())
        await self.run_json("user", "export", ME, str(target))
        (mail,) = (target / "mail/INBOX/cur").iterdir()
        self.assertEqual(mail.read_bytes(), b"Subject: x\r\n\r\nx\r\n")
        self.assertEqual((await self.run_json("user", "recalculate", "--all"))["wrong"], 0)
        self.assertIsNotNone((await self.run_json("user", "delete", ME, "--yes"))["erased"])
        self.assertEqual(await self.run_json("user", "erase", ME, "--yes"), {"erased": ME})
        self.assertEqual(await self.run_json("user", "list"), {"users": []})

"""Everything of a person comes out, whole and as it is stored."""

import json
import tarfile
from io import BytesIO
from os import urandom
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import person_export
from mailx.core.person_export import export, folder
from mailx.core.users import DirectoryError, User
from mailx.mail.mailbox import Flag
from tests.core.lives_scene import Lives, lives
from tests.scenery import World, world

ME = "me@example.test"


class Base(TestCase):
    world: World
    lives: Lives
    user: User

    async def open(self, **sections: Any) -> None:
        self.world = await world(self, **sections)
        self.lives = lives(self, self.world)
        self.user = await self.world.user(ME)

    async def exported(self, password: str = "") -> dict[str, bytes]:
        stream = b"".join([part async for part in await export(self.lives.person, ME, password)])
        self.assertTrue(stream.endswith(person_export.END))
        with tarfile.open(fileobj=BytesIO(stream)) as archive:
            files = [each for each in archive.getmembers() if each.isreg()]
            self.assertEqual(len({each.name for each in files}), len(files))
            return {each.name: archive.extractfile(each).read() for each in files}  # type: ignore[union-attr]


class Whole(Base):
    async def test_mail(self) -> None:
        await self.open()
        large = b"Subject: large\r\n\r\n" + urandom(600_000).hex().encode() + b"\r\n"
        await self.world.file(self.user, b"Subject: 1\r\n\r\none\r\n", flags=Flag.SEEN | Flag.FLAGGED, keywords=("Later",), received=1000)
        await self.world.file(self.user, large)
        await self.world.mailboxes.create(self.user, "Work/Caf\N{LATIN SMALL LETTER E WITH ACUTE}: a")
        await self.world.file(self.user, b"Subject: 3\r\n\r\n3\r\n", "Work/Caf\N{LATIN SMALL LETTER E WITH ACUTE}: a")
        files = await self.exported()
        inbox = [json.loads(line) for line in files["mail/INBOX/messages.jsonl"].splitlines()]
        self.assertEqual([each["uid"] for each in inbox], [1, 2])
        self.assertEqual(set(inbox[0]["flags"]), {"\\Seen", "\\Flagged", "Later"})
        self.assertEqual(inbox[0]["received"], "1970-01-01T00:16:40Z")
        self.assertTrue(inbox[0]["file"].startswith("1000.") and inbox[0]["file"].endswith(",S=19:2,FS"))
        self.assertEqual(files[f"mail/INBOX/cur/{inbox[0]['file']}"], b"Subject: 1\r\n\r\none\r\n")
        self.assertEqual(files[f"mail/INBOX/cur/{inbox[1]['file']}"], large)
        self.assertEqual(len(files["mail/Work/Caf\N{LATIN SMALL LETTER E WITH ACUTE}%3A a/messages.jsonl"].splitlines()), 1)
        account = json.loads(files["account.json"])
        counts = {each["name"]: each["messages"] for each in account["mailboxes"]}
        self.assertEqual(sum(counts.values()), sum(name.count("/cur/") for name in files))

    async def test_the_rest(self) -> None:
        await self.open()
        person = self.lives.person
        await self.world.accounts.add_alias("alias@example.test", [ME])
        await self.world.accounts.block(ME, "spam@example.org")
        await person.contacts.accept(ME, "friend@example.org")
        await person.app_passwords.add(ME, "phone", "")
        person.logins.note(self.user.id, "192.0.2.7", "PLAIN")
        person.logins.note(self.user.id, "192.0.2.7", "PLAIN")
        self.lives.timeline.note("q1", "accepted", (ME,), sender="x@example.org")
        await self.lives.lifecycle.retention.keep(ME, 90)
        await self.world.user("friend@example.test")
        await self.world.mailboxes.sharing.grant(self.user, "Archive", "friend@example.test", "lr")
        await self.world.mailboxes.metadata.put(self.user, "Archive", {"/private/comment": b"old"})
        files = await self.exported()
        account = json.loads(files["account.json"])
        self.assertEqual((account["address"], account["aliases"], account["retention_days"]), (ME, ["alias@example.test"], 90))
        self.assertEqual([each["name"] for each in account["app_passwords"]], ["phone"])
        (archive,) = [each for each in account["mailboxes"] if each["name"] == "Archive"]
        self.assertEqual(archive["shared_with"], [{"who": "friend@example.test", "rights": "lr"}])
        self.assertEqual(archive["annotations"]["/private/comment"], "old")
        self.assertEqual(
            {(each["address"], each["trust"]) for each in json.loads(files["contacts.json"])},
            {("friend@example.org", "accepted"), ("spam@example.org", "blocked")},
        )
        (login,) = json.loads(files["logins.json"])
        self.assertEqual((login["from"], login["way"], login["count"]), ("192.0.2.7", "PLAIN", 2))
        (trace,) = json.loads(files["messages.json"])
        self.assertEqual((trace["id"], trace["events"][0]["sender"]), ("q1", "x@example.org"))
        self.assertEqual(json.loads(files["keys.json"]), [])
        self.assertNotIn(b"secret", b"".join(files.values()))

    async def test_of_a_deleted_account(self) -> None:
        await self.open()
        await self.world.file(self.user, b"Subject: 1\r\n\r\none\r\n")
        await self.lives.lifecycle.departures.delete(ME)
        files = await self.exported()
        self.assertEqual(json.loads(files["account.json"])["state"], "deleted")
        self.assertEqual(sum(name.count("/cur/") for name in files), 1)

    async def test_one_batch_of_mail_at_a_time(self) -> None:
        await self.open()
        for _ in range(6):
            await self.world.file(self.user, urandom(500_000))
        parts = await export(self.lives.person, ME)
        self.assertLess(max([len(part) async for part in parts]), 700_000)

    async def test_what_is_expunged_meanwhile_is_left_out(self) -> None:
        await self.open()
        for number in range(2):
            await self.world.file(self.user, b"Subject: %d\r\n\r\n" % number + urandom(300_000).hex().encode())
        self.world.blobs.unlink(self.world.files()[0])
        files = await self.exported()
        self.assertEqual(len(files["mail/INBOX/messages.jsonl"].splitlines()), 1)
        self.assertEqual(sum("/cur/" in name for name in files), 1)

    async def test_nobody(self) -> None:
        await self.open()
        with self.assertRaises(DirectoryError):
            await export(self.lives.person, "no@example.test")
        with self.assertRaises(DirectoryError):  # nothing is sealed
            await export(self.lives.person, ME, "secret")


class Sealed(Base):
    async def found(self) -> User:
        return (await self.world.accounts.find(ME)).user

    async def test_with_the_password_and_without(self) -> None:
        await self.open()
        person = self.lives.person
        await person.sealed.seal(ME, "secret")
        person.keyring.drop(self.user.id)
        files = await self.exported()
        account = json.loads(files["account.json"])
        self.assertEqual((account["sealed"], account["mail_is_here"]), ("server", False))
        self.assertEqual([name for name in files if name.startswith("mail/")], [])
        await person.sealed.open(await self.found(), "secret")
        files = await self.exported()  # the owner is here, who has not asked for it
        self.assertFalse(json.loads(files["account.json"])["mail_is_here"])
        self.assertEqual([name for name in files if name.startswith("mail/")], [])
        with self.assertRaises(DirectoryError):
            await export(person, ME, "wrong")
        files = await self.exported("secret")
        self.assertTrue(json.loads(files["account.json"])["mail_is_here"])
        self.assertIn("mail/INBOX/messages.jsonl", files)


class Folders(SynchronousTestCase):
    def test_what_a_maildir_needs_for_itself(self) -> None:
        self.assertEqual(folder("cur/.x/new"), "%63ur/%2Ex/%6Eew")
        self.assertEqual(folder("a\x00b/../c"), "a%00b/%2E./c")
        self.assertEqual(folder("CUR"), "%43UR")  # where case makes no difference

    def test_long_names_stay_apart(self) -> None:
        names = ["x" * 250 + "1", "x" * 250 + "2", "x" * 50 + "%~" + "0" * 24]
        self.assertEqual(len({folder(name) for name in names}), 3)

    @given(st.text(min_size=1, max_size=300))
    def test_stays_below(self, name: str) -> None:
        for part in folder(name).split("/"):
            self.assertNotIn(part, ("", ".", "..", "cur", "new", "tmp"))
            self.assertLess(len(part.encode()), 256)
            self.assertTrue(part.isprintable())

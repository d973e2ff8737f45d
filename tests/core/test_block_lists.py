"""The server's block list, and lists that others share: what is read, when it is used, and what keeps it from being used."""

import subprocess
from pathlib import Path
from time import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import block_lists, shared_lists
from mailx.core.block_lists import BlockLists
from mailx.core.shared_lists import NoList, read
from mailx.core.users import DirectoryError
from mailx.identity.encoding import b64, key_from_text, key_text
from mailx.identity.statements import SeedSigner
from mailx.mail.address import Address
from tests.core.contacts_scene import Scene, scene

URL = "https://lists.example.org/block.txt"
SIGNER = SeedSigner(b"l" * 32)
KEY = key_text(SIGNER.public)


def nobody(domain: str) -> bool:
    return False


def signed(text: bytes, signer: SeedSigner = SIGNER) -> bytes:
    """``text`` as a signed list."""
    return text + b"# mailx-signature: " + b64(signer.sign(b"mailx-1 block-list\n" + text)).encode() + b"\n"


class Texts(SynchronousTestCase):
    def test_entries(self) -> None:
        text = (
            "\ufeff# title\nspam.example\n@Other.Example # why\n\n  Eve@Example.ORG\r\nspam.example\na#b@x.example\nB\u00fccher.example\n"
        )
        found = read(text.encode(), None, nobody)
        expected = ("@spam.example", "@other.example", "eve@example.org", "a#b@x.example", "@xn--bcher-kva.example")
        self.assertEqual((found.patterns, found.wrong, found.signed), (expected, 0, False))

    def test_what_names_nobody_or_everybody(self) -> None:
        text = b"spam.example\nfine.example\nmore.example\nmost.example\ncom\n@\nlocalhost\n*.example\n"
        found = read(text, None, nobody)
        self.assertEqual((len(found.patterns), found.wrong), (4, 4))

    def test_our_own_domains_are_passed_over(self) -> None:
        found = read(b"example.test\nx@example.test\nspam.example\n", None, lambda domain: domain == "example.test")
        self.assertEqual((found.patterns, found.ours), (("@spam.example",), 2))

    def refused(self, text: bytes, key: bytes | None = None) -> str:
        with self.assertRaises(NoList) as raised:
            read(text, key, nobody)
        return str(raised.exception)

    def test_what_is_no_list(self) -> None:
        self.assertIn("names no sender", self.refused(b""))
        self.assertIn("names no sender", self.refused(b"# nothing\n"))
        self.assertIn("right URL", self.refused(b"<html><body>\nNot found\n</body></html>\n"))
        self.assertIn("UTF-8", self.refused(b"\xff\xfe"))
        self.patch(shared_lists, "OCTETS_LIMIT", 100)
        self.assertIn("longer", self.refused(b"x" * 101))
        self.patch(shared_lists, "ENTRIES_LIMIT", 2)
        self.assertIn("more than 2 entries", self.refused(b"a.example\nb.example\nc.example\n"))

    def test_signatures(self) -> None:
        text = b"# mailx-serial: 7\nspam.example\n"
        found = read(signed(text), SIGNER.public, nobody)
        self.assertEqual((found.patterns, found.serial, found.signed), (("@spam.example",), 7, True))
        self.assertEqual(read(signed(b"# mailx-serial: 7\n"), SIGNER.public, nobody).patterns, ())
        self.assertIn("not that of the key", self.refused(signed(text, SeedSigner(b"m" * 32)), SIGNER.public))
        self.assertIn("not that of the key", self.refused(signed(text).replace(b"spam", b"span"), SIGNER.public))
        self.assertIn("is not signed", self.refused(text, SIGNER.public))
        self.assertIn("is not signed", self.refused(signed(text) + b"more.example\n", SIGNER.public))
        self.assertIn("no line", self.refused(signed(b"spam.example\n"), SIGNER.public))

    def test_openssl_signs(self) -> None:
        """The commands of the documentation."""
        directory = Path(self.mktemp())
        directory.mkdir()
        script = (
            "openssl genpkey -algorithm ed25519 -out list.pem\n"
            "printf '# mailx-serial: 1\\nspam.example\\n' > list.txt\n"
            "(printf 'mailx-1 block-list\\n'; cat list.txt) > signed\n"
            "openssl pkeyutl -sign -rawin -inkey list.pem -in signed -out signature\n"
            "printf '# mailx-signature: %s\\n' \"$(base64 -w 0 signature | tr '+/' '-_' | tr -d =)\" >> list.txt\n"
            "openssl pkey -in list.pem -pubout -outform DER | tail -c 32 | base64 | tr '+/' '-_' | tr -d = | sed s/^/ed25519:/ > key\n"
        )
        subprocess.run(["sh", "-e", "-c", script], cwd=directory, check=True, capture_output=True, timeout=20)
        key = key_from_text((directory / "key").read_text(encoding="ascii").strip())
        self.assertEqual(read((directory / "list.txt").read_bytes(), key, nobody).patterns, ("@spam.example",))

    @given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
    def test_hostile(self, text: bytes) -> None:
        for key in (None, SIGNER.public):
            try:
                found = read(text, key, nobody)
            except NoList:
                continue
            for pattern in found.patterns:
                self.assertIn(".", pattern.rpartition("@")[2])


class Base(TestCase):
    engine = ""
    here: Scene
    lists: BlockLists

    async def begin(self) -> None:
        self.clock = [time()]
        self.here = await scene(self, engine=self.engine, now=lambda: self.clock[0])
        self.lists = self.here.lists

    async def fails(self, attempt: object, said: str) -> None:
        with self.assertRaises(DirectoryError) as raised:
            await attempt  # type: ignore[misc]
        self.assertIn(said, raised.exception.text)

    def blocks(self, text: str) -> bool:
        return self.lists.blocks(Address.parse(text))

    async def add(self, text: bytes, key: str = "", url: str = URL) -> int:
        self.here.pages.texts[url] = text
        shown = await self.lists.preview(url, key)
        return (await self.lists.add_shared(url, key, shown.digest)).id


class Lists(Base):
    async def test_own(self) -> None:
        await self.begin()
        self.assertFalse(self.lists.active)
        await self.lists.block("Spam.Example")
        await self.lists.block("eve@example.org")
        for blocked in ("x@spam.example", "x@a.b.spam.example", "EVE@example.org"):
            self.assertTrue(self.blocks(blocked), blocked)
        for fine in ("x@notspam.example", "x@example", "x@example.org", "eve@a.example.org"):
            self.assertFalse(self.blocks(fine), fine)
        self.assertTrue(self.lists.blocks(None, "mail.spam.example"))
        self.assertFalse(self.lists.blocks(None))
        await self.lists.unblock("@spam.example")
        self.assertFalse(self.blocks("x@spam.example"))
        await self.fails(self.lists.block("@example.test"), "is a domain of this server")
        await self.fails(self.lists.block("@test"), "is a domain of this server")

    async def test_other_processes_see_it(self) -> None:
        await self.begin()
        world = self.here.world
        other = BlockLists(world.store, world.cipher, world.accounts, world.settings, self.here.pages, world.reactor)
        await other.load()
        await self.lists.block("spam.example")
        self.assertFalse(other.active)
        await other.load()
        self.assertTrue(other.blocks(Address.parse("x@spam.example")))

    async def test_nothing_is_used_that_was_not_seen(self) -> None:
        await self.begin()
        self.here.pages.texts[URL] = b"spam.example\nexample.test\n"
        shown = await self.lists.preview(URL)
        self.assertEqual((shown.entries, shown.new, shown.ours, shown.sample), (1, 1, 1, ("@spam.example",)))
        self.assertFalse(self.lists.active)
        self.here.pages.texts[URL] = b"innocent.example\n"
        await self.fails(self.lists.add_shared(URL, "", shown.digest), "has changed since its preview")
        self.assertFalse(self.lists.active)
        await self.add(b"spam.example\n")
        self.assertTrue(self.blocks("x@spam.example"))
        self.assertEqual((await self.lists.preview(URL)).new, 0)
        await self.fails(self.add(b"spam.example\n"), "in use already")

    async def test_plain_http_needs_a_key(self) -> None:
        await self.begin()
        await self.fails(self.lists.preview("http://lists.example.org/x"), "must come by https")
        url = "http://lists.example.org/x"
        id = await self.add(signed(b"# mailx-serial: 3\nspam.example\n"), KEY, url)
        found = await self.lists.show(id)
        self.assertEqual((found.key, found.serial, found.entries), (KEY, 3, 1))
        await self.fails(self.lists.preview(url, key_text(b"k" * 32)), "not that of the key")

    async def test_a_serial_never_goes_back(self) -> None:
        await self.begin()
        id = await self.add(signed(b"# mailx-serial: 3\nspam.example\n"), KEY)
        for text, trouble in (
            (b"# mailx-serial: 2\nother.example\n", "went back from 3 to 2"),
            (b"# mailx-serial: 3\nother.example\n", "its serial did not"),
            (b"# mailx-serial: 3\nspam.example\n", ""),
        ):
            self.here.pages.texts[URL] = signed(text)
            self.assertIn(trouble, (await self.lists.refresh(id)).trouble)
            self.assertTrue(self.blocks("x@spam.example"))
        self.here.pages.texts[URL] = signed(b"# mailx-serial: 4\nother.example\n")
        self.assertEqual((await self.lists.refresh(id)).trouble, "")
        self.assertEqual((self.blocks("x@spam.example"), self.blocks("x@other.example")), (False, True))

    async def test_a_list_out_of_all_proportion_waits(self) -> None:
        await self.begin()
        self.patch(block_lists, "_GROWTH", 3)
        id = await self.add(b"a.example\n")
        self.here.pages.texts[URL] = b"".join(b"n%d.example\n" % number for number in range(6))
        found = await self.lists.refresh(id)
        self.assertIn("grew from 1 to 6", found.trouble)
        self.assertEqual((found.entries, self.blocks("x@n1.example"), self.blocks("x@a.example")), (1, False, True))
        found = await self.lists.refresh(id, force=True)
        self.assertEqual((found.entries, found.trouble, self.blocks("x@n1.example")), (6, "", True))

    async def test_all_lists_together_are_bounded(self) -> None:
        await self.begin()
        self.patch(block_lists, "TOTAL_LIMIT", 3)
        id = await self.add(b"a.example\nb.example\n")
        await self.fails(self.add(b"c.example\nd.example\n", url=URL + "2"), "together may have 3")
        self.here.pages.texts[URL] = b"a.example\nb.example\nc.example\nd.example\n"
        self.assertIn("together may have 3", (await self.lists.refresh(id)).trouble)

    async def test_refreshed_when_it_is_time(self) -> None:
        await self.begin()
        id = await self.add(b"a.example\n")
        self.here.pages.texts[URL] = b"b.example\n"
        self.here.pages.asked.clear()
        self.clock[0] += 23 * 3600
        await self.lists._refresh_due()
        self.assertEqual(self.here.pages.asked, [])
        self.clock[0] += 3600
        await self.lists._refresh_due()
        self.assertTrue(self.blocks("x@b.example"))
        del self.here.pages.texts[URL]
        self.clock[0] += 24 * 3600
        await self.lists._refresh_due()
        self.assertEqual((await self.lists.show(id)).trouble, "its server answers 404")
        self.assertTrue(self.blocks("x@b.example"))
        self.here.pages.texts[URL] = b"c.example\n"
        self.clock[0] += 1800
        await self.lists._refresh_due()
        self.assertFalse(self.blocks("x@c.example"))
        self.clock[0] += 1800
        await self.lists._refresh_due()
        self.assertEqual(((await self.lists.show(id)).trouble, self.blocks("x@c.example")), ("", True))

    async def test_one_process_reads_it(self) -> None:
        await self.begin()
        await self.add(b"a.example\n")
        world = self.here.world
        other = BlockLists(
            world.store, world.cipher, world.accounts, world.settings, self.here.pages, world.reactor, now=lambda: self.clock[0]
        )
        self.here.pages.asked.clear()
        self.clock[0] += 25 * 3600
        await self.lists._refresh_due()
        await other._refresh_due()
        self.assertEqual(len(self.here.pages.asked), 1)

    async def test_removed(self) -> None:
        await self.begin()
        id = await self.add(b"a.example\n")
        self.assertEqual(await self.lists.entries(id), ["@a.example"])
        self.assertEqual(await self.lists.remove_shared(id), URL)
        self.assertFalse(self.lists.active)
        for attempt in (self.lists.show(id), self.lists.refresh(id), self.lists.remove_shared(id), self.lists.entries(id)):
            await self.fails(attempt, "no shared list")

    async def test_damaged_rows_block_nobody_and_can_be_removed(self) -> None:
        await self.begin()
        id = await self.add(b"a.example\n")
        await self.here.world.store.write(lambda txn: txn.execute("UPDATE shared_lists SET content = ?, sealed = ?", (b"x", b"y")))
        self.lists._version = -1
        await self.lists.load()
        self.assertFalse(self.lists.active)
        self.assertEqual((await self.lists.shared())[0].url, "")
        self.assertIn("does not open", (await self.lists.refresh(id)).trouble)
        await self.lists.remove_shared(id)

    async def test_a_large_list_is_quickly_asked(self) -> None:
        await self.begin()
        text = "".join(f"n{number}.example\n" for number in range(50_000)).encode()
        await self.add(text)
        self.assertTrue(self.blocks("x@n49999.example"))
        self.assertEqual(len(self.lists._hashes) * self.lists._hashes.itemsize, 400_000)

    async def test_nothing_of_it_is_plain_at_rest(self) -> None:
        await self.begin()
        await self.lists.block("eve@blocked.example")
        await self.add(b"shared.example\n")
        await self.here.contacts.accept("me@example.test", "friend@accepted.example")
        await self.here.contacts.block("me@example.test", "foe@enemy.example")
        await self.here.world.store.write(lambda txn: txn.execute("DELETE FROM audit"))
        for table in ("contacts", "blocks", "server_blocks", "shared_lists"):
            rows = await self.here.world.store.read(lambda txn, table=table: txn.all(f"SELECT * FROM {table}"))
            self.assertTrue(rows, table)
            for row in rows:
                for value in row:
                    plain = bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
                    for word in (b"eve", b"blocked.ex", b"shared", b"accepted.ex", b"friend", b"enemy", b"lists.example"):
                        self.assertNotIn(word, plain.lower(), table)


class PostgreSQLLists(Lists):
    engine = "postgresql"

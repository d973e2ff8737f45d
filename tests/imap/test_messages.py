"""What a script cannot say: tokens in URLs, large parts, memory and quota of APPEND and REPLACE."""

import re
from base64 import encodebytes
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import TestCase

from mailx.imap.append import MESSAGES_LIMIT
from tests.imap.messages import PLAIN
from tests.imap.wire import Client, Edge
from tests.scenery import world

_BIG = bytes(range(256)) * 1200  # 300 KB: it lies in a file


def attached(octets: bytes) -> bytes:
    coded = encodebytes(octets).replace(b"\n", b"\r\n")
    return b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + coded


async def authorized(client: Client, access: str, section: str = "", uid: int = 1, expire: str = "") -> bytes:
    url = f"imap://{quote('me@example.test')}@example.test/INBOX/;UID={uid}{section}{expire};URLAUTH={access}"
    answer = await client.command(b'GENURLAUTH "%b" INTERNAL' % url.encode())
    assert answer[-1].startswith(b"t OK"), answer
    found = re.search(rb'GENURLAUTH "(.*)"', answer[0])
    assert found is not None, answer
    return found[1]


class ManyTests(TestCase):
    timeout = 60

    async def test_the_same_flags_of_many(self) -> None:
        here = await world(self)
        await here.file(await here.user("me@example.test"), PLAIN)
        edge = Edge(here)
        self.addCleanup(edge.close)
        client = await edge.login(select="INBOX")
        for _ in range(10):
            await client.command(b"COPY 1:* INBOX")
            await client.command(b"NOOP")
        for change, there in ((b"+FLAGS", True), (b"-FLAGS", False), (b"+FLAGS", True)):
            for first, last in ((1, 1024), (3, 700)):
                lines = await client.command(b"STORE %d:%d %b (\\Flagged)" % (first, last, change))
                self.assertEqual(len(lines), last - first + 2)
                head, flags = lines[0].split(b"(FLAGS (", 1)
                self.assertEqual(rb"\Flagged" in flags, there)
                self.assertEqual(lines[:-1], [b"* %d FETCH (FLAGS (%b" % (number, flags) for number in range(first, last + 1)])


class UrlAuthTests(TestCase):
    timeout = 240

    async def setting(self) -> tuple[Client, Client]:
        self.world = await world(self)
        user = await self.world.user("me@example.test")
        await self.world.user("you@example.test")
        await self.world.file(user, PLAIN)
        await self.world.file(user, attached(_BIG))
        edge = Edge(self.world)
        self.addCleanup(edge.close)
        return await edge.login(), await edge.login("you@example.test")

    async def fetched(self, client: Client, url: bytes) -> bytes:
        answer = b"\r\n".join(await client.command(b'URLFETCH "%b"' % url))
        self.assertTrue(answer.endswith(b"t OK URLFETCH completed"), answer[-100:])
        return answer

    async def test_who_may(self) -> None:
        mine, yours = await self.setting()
        for access, there in (("authuser", True), ("anonymous", True), ("user+you@example.test", True), ("user+me@example.test", False)):
            url = await authorized(mine, access)
            self.assertEqual(PLAIN in await self.fetched(yours, url), there, access)
        self.assertIn(b" NIL", await self.fetched(yours, await authorized(mine, "submit+you@example.test")))

    async def test_a_name_is_one_of_the_owners_domain(self) -> None:
        mine, yours = await self.setting()
        await self.world.user("you@elsewhere.test")
        edge = Edge(self.world)
        self.addCleanup(edge.close)
        namesake = await edge.login("you@elsewhere.test")
        url = await authorized(mine, "user+you")
        self.assertIn(PLAIN, await self.fetched(yours, url))
        self.assertIn(b" NIL", await self.fetched(namesake, url))

    async def test_no_other_url(self) -> None:
        mine, yours = await self.setting()
        url = await authorized(mine, "authuser", "/;SECTION=TEXT")
        self.assertIn(b"this is plain", await self.fetched(yours, url))
        for other in (
            url.replace(b"UID=1", b"UID=2"),
            url.replace(b"TEXT", b"HEADER"),
            url.replace(b"authuser", b"anonymous"),
            url[:-1] + b"x",
        ):
            self.assertIn(b" NIL", await self.fetched(yours, other))

    async def test_until(self) -> None:
        mine, yours = await self.setting()
        self.assertIn(b" NIL", await self.fetched(yours, await authorized(mine, "authuser", expire=";EXPIRE=2001-01-01T00:00:00Z")))
        self.assertIn(PLAIN, await self.fetched(yours, await authorized(mine, "authuser", expire=";EXPIRE=2999-01-01T00:00:00+01:00")))

    async def test_keys_that_are_gone(self) -> None:
        mine, yours = await self.setting()
        url = await authorized(mine, "authuser")
        await mine.command(b"RESETKEY INBOX")
        self.assertIn(b" NIL", await self.fetched(yours, url))
        url = await authorized(mine, "authuser")
        await self.world.accounts.set_state("me@example.test", "suspended")
        self.assertIn(b" NIL", await self.fetched(yours, url))

    async def test_decoded_from_a_file(self) -> None:
        mine, yours = await self.setting()
        url = await authorized(mine, "authuser", "/;SECTION=1", uid=2)
        yours.send(b't URLFETCH ("%b" BODYPARTSTRUCTURE BINARY)\r\n' % url)
        answer = b"\r\n".join(await yours.until(b"t "))
        self.assertIn(b'"binary" %d NIL' % len(_BIG), answer)
        self.assertIn(b"(BINARY ~{%d}\r\n%b)" % (len(_BIG), _BIG), answer)


class UploadTests(TestCase):
    timeout = 240

    async def setting(self, **settings: Any) -> Client:
        self.world = await world(self)
        self.user = await self.world.user("me@example.test")
        edge = Edge(self.world, **settings)
        self.addCleanup(edge.close)
        return await edge.login(select="INBOX")

    async def test_large_binary_part(self) -> None:
        client = await self.setting()
        await self.world.file(self.user, attached(_BIG))
        await client.command(b"NOOP")
        answer = await client.command(b"UID FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1]<1000.70000>)")
        text = b"\r\n".join(answer)
        self.assertIn(b"BINARY.SIZE[1] %d BINARY[1]<1000> ~{70000}\r\n%b)" % (len(_BIG), _BIG[1000:71000]), text)

    async def test_binary_message_in_a_file(self) -> None:
        client = await self.setting()
        message = b"Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n" + _BIG * 4
        answer = await client.command(b"APPEND INBOX ~{%d+}\r\n%b" % (len(message), message))
        self.assertIn(b"t OK [APPENDUID", answer[-1])
        answer = await client.command(b"FETCH 1 BINARY.PEEK[1]")
        self.assertIn(_BIG * 4, b"\r\n".join(answer))
        (stored,) = await self.world.contents(self.user)
        self.assertNotIn(b"\0", stored)

    async def test_too_many_messages(self) -> None:
        client = await self.setting()
        answer = await client.command(b"APPEND INBOX" + b" {3+}\r\na\r\n" * (MESSAGES_LIMIT + 1))
        self.assertEqual(answer[-1], b"t NO [LIMIT] Too many messages at once")
        self.assertEqual((await client.command(b"STATUS INBOX (MESSAGES)"))[0], b"* STATUS INBOX (MESSAGES 0)")

    async def test_too_large_together(self) -> None:
        client = await self.setting(append_size=70000)
        whole = b"a" * 69998 + b"\r\n"
        answer = await client.command(b"APPEND INBOX" + b" {70000+}\r\n%b" % whole * 3)
        self.assertEqual(answer[-1], b"t NO [TOOBIG] Message too large")
        self.assertEqual((await client.command(b"STATUS INBOX (MESSAGES)"))[0], b"* STATUS INBOX (MESSAGES 0)")

    async def test_replace_in_a_full_account(self) -> None:
        client = await self.setting()
        await client.command(b"APPEND INBOX {1000+}\r\n" + b"a" * 998 + b"\r\n")
        await self.world.accounts.set_quota("me@example.test", 1100)
        answer = await client.command(b"APPEND INBOX {1000+}\r\n" + b"a" * 998 + b"\r\n")
        self.assertIn(b"[OVERQUOTA]", answer[-1])
        answer = await client.command(b"REPLACE 1 INBOX {1000+}\r\n" + b"b" * 998 + b"\r\n")
        self.assertEqual(answer[-1], b"t OK REPLACE completed")
        fresh = await self.world.accounts.fresh(self.user.id)
        assert fresh is not None
        self.assertEqual(fresh.used, 1050)
        answer = await client.command(b"REPLACE 1 INBOX {1100+}\r\n" + b"b" * 1098 + b"\r\n")
        self.assertIn(b"[OVERQUOTA]", answer[-1])

    async def test_several_of_which_one_has_no_room(self) -> None:
        client = await self.setting()
        await self.world.accounts.set_quota("me@example.test", 2200)
        for sizes in ((3000, 10, 10), (1000, 3000, 10), (10, 10, 3000)):
            answer = await client.command(b"APPEND INBOX" + b"".join(b" {%d+}\r\n%b\r\n" % (size, b"a" * (size - 2)) for size in sizes))
            self.assertIn(b"t NO [OVERQUOTA]", answer[-1])
        self.assertEqual((await client.command(b"STATUS INBOX (MESSAGES)"))[0], b"* STATUS INBOX (MESSAGES 0)")

    async def test_two_replace_one_message(self) -> None:
        client = await self.setting()
        await client.command(b"APPEND INBOX {5+}\r\nabc\r\n")
        other = await Edge(self.world).login(select="INBOX")
        self.addCleanup(other.disconnect)
        for each in (client, other):
            each.send(b"t UID REPLACE 1 INBOX {5+}\r\nxyz\r\n\r\n")
        ends = sorted([(await each.until(b"t "))[-1] for each in (client, other)])
        self.assertEqual(ends, [b"t NO [EXPUNGEISSUED] The message is expunged already", b"t OK REPLACE completed"])
        self.assertEqual((await client.command(b"STATUS INBOX (MESSAGES)"))[-2], b"* STATUS INBOX (MESSAGES 1)")

    async def test_jmap(self) -> None:
        client = await self.setting(jmap_url="https://example.test/jmap")
        self.assertIn(b" JMAPACCESS", (await client.command(b"CAPABILITY"))[0])
        self.assertEqual((await client.command(b"GETJMAPACCESS"))[0], b'* JMAPACCESS "https://example.test/jmap"')

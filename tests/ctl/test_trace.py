"""``mailxctl trace`` against a running server, and against the database when none runs."""

import os

from twisted.internet import reactor

from mailx.core.timeline import Timeline
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.ctl.test_commands import Base

ACCEPTED = {
    "protocol": "ESMTPSA",
    "sender": "ada@example.test",
    "recipients": ["bob@example.net"],
    "count": 1,
    "size": 4096,
    "message_id": "m1@example.test",
    "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
    "checks": {"spf": "pass", "dkim": "pass example.org"},
}
TRIED = {"recipient": "bob@example.net", "reply": "550 5.1.1 No\x1b[2J such user", "attempts": 1, "host": "mx.example.net [192.0.2.7]:25"}


class Tracing(Base):
    async def open_traced(self) -> None:
        await self.open(serve=False)
        self.timeline = Timeline(self.world.store, self.world.cipher, reactor, 30)
        self.timeline.note("0123456789abcdef", "accepted", ["ada@example.test", "bob@example.net", "m1@example.test"], **ACCEPTED)
        self.timeline.note("0123456789abcdef", "bounced", **TRIED)
        await self.timeline.flush()

    async def serve(self) -> None:
        administration = Administration(self.world.accounts, self.world.config, timeline=self.timeline)
        service = AdminService(self.socket, administration, self.world.reactor)
        service.startService()
        self.addCleanup(service.stopService)

    async def test_people_read_it(self) -> None:
        await self.open_traced()
        await self.serve()
        output = await self.run_command("trace", "Bob@example.net")
        self.assertRegex(output, r"\AMessage 0123456789abcdef\n  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  accepted   from ada@example.test,")
        for words in (
            "4 KiB",
            "TLS_AES_256",
            "checks: spf pass, dkim pass example.org",
            "server mx.example.net [192.0.2.7]:25",
            "attempt 1",
        ):
            self.assertIn(words, output)
        self.assertIn("reply: 550 5.1.1 No?[2J such user", output, "a stranger's text does nothing to the terminal")
        self.assertNotIn("count", output)
        self.assertIn("All times are UTC.", output)
        await self.timeline.stop()

    async def test_programs_read_it(self) -> None:
        await self.open_traced()
        await self.serve()
        for what in ("<m1@example.test>", "0123456789abcdef", "ada@example.test"):
            (message,) = (await self.run_json("trace", what))["messages"]
            self.assertEqual(message["id"], "0123456789abcdef")
            self.assertEqual([event["event"] for event in message["events"]], ["accepted", "bounced"])
            self.assertEqual(message["events"][0]["facts"], ACCEPTED)
            self.assertRegex(message["events"][0]["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        await self.timeline.stop()

    async def test_who_sent_it(self) -> None:
        await self.open_traced()
        await self.serve()
        user = await self.world.user("ada@example.test")
        self.timeline.note("a" * 16, "accepted", ["ann@example.org"], account=user.id)
        self.timeline.note("b" * 16, "accepted", ["ann@example.org"], account=user.id + 1)
        output = await self.run_command("trace", "ann@example.org")
        self.assertIn("accepted   account ada@example.test\n", output)
        self.assertIn(f"accepted   account {user.id + 1}\n", output, "one that is gone")
        await self.timeline.stop()

    async def test_when_it_is_tried_next(self) -> None:
        await self.open_traced()
        await self.serve()
        self.timeline.note("c" * 16, "deferred", ["zoe@example.org"], attempts=1, next=1_700_000_000)
        self.assertIn("deferred   attempt 1, next attempt 2023-11-14 22:13:20\n", await self.run_command("trace", "zoe@example.org"))
        (message,) = (await self.run_json("trace", "zoe@example.org"))["messages"]
        self.assertEqual(message["events"][0]["facts"]["next"], "2023-11-14T22:13:20Z")
        await self.timeline.stop()

    async def test_what_just_happened_is_there(self) -> None:
        await self.open_traced()
        await self.serve()
        self.timeline.note("0123456789abcdef", "reported", report="f" * 16)
        self.assertIn("reported", await self.run_command("trace", "0123456789abcdef"))
        await self.timeline.stop()

    async def test_nothing_is_known(self) -> None:
        await self.open_traced()
        await self.serve()
        self.assertIn("Nothing is known of nobody@example.org", await self.run_command("trace", "nobody@example.org"))
        self.assertEqual(await self.run_json("trace", "nobody@example.org"), {"messages": []})
        self.assertEqual((await self.fail_with("trace", " "))["code"], "invalid")
        self.assertEqual((await self.run_raw("trace", "x", "--limit", "0")).exit_code, 2)
        await self.timeline.stop()

    async def test_without_a_server(self) -> None:
        await self.open_traced()
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")
        await self.timeline.stop()
        await self.world.store.close()
        self.assertIn("bounced", await self.run_command("trace", "0123456789abcdef"))

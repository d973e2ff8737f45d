"""``mailxctl queue`` against a running server, and against the database when none runs."""

import os
from typing import Any

from attrs import evolve
from click.testing import Result

from mailx.config import Relay, Route
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.mail_out import AWAY, LATER, NEVER, Office, office
from tests.ctl.test_commands import Base
from tests.ops.test_admin import short_directory

BOB = "bob@example.org"
EVE = "eve@example.net"


class QueueBase(Base):
    """An office whose queue the commands reach."""

    office: Office

    async def open_office(self, serve: bool = True, **sections: Any) -> None:
        self.office = await office(self, **sections)
        self.world = self.office.world
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()
        if serve:
            await self.office.start()
            administration = Administration(self.world.accounts, self.world.config, queue=self.office.queue, timeline=self.office.timeline)
            service = AdminService(self.socket, administration, self.world.reactor)
            service.startService()
            self.addCleanup(service.stopService)

    async def deferred(self, *recipients: str) -> str:
        """The id of a message that waits for these recipients."""
        for recipient in recipients:
            self.office.courier.answers[recipient.partition("@")[2]] = LATER
        id = await self.office.send(*recipients)
        await self.office.until(lambda: self._tried(id))
        return id

    async def _tried(self, id: str) -> bool:
        return all(entry.state in ("deferred", "failed") for entry in await self.office.entries(envelope=id))

    async def states(self, id: str) -> list[str]:
        return [entry.state for entry in await self.office.entries(envelope=id)]

    async def unconfirmed(self, *arguments: str, input: str = "n\n") -> Result:
        result = await self.run_raw("queue", *arguments, input=input)
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertIn("Error: Nothing was changed", result.stderr)
        return result


class Looking(QueueBase):
    async def test_an_empty_queue(self) -> None:
        await self.open_office()
        output = await self.run_command("queue", "list")
        self.assertEqual(
            output, "Nothing waits.\n\nIn all: 0 pending, 0 sending, 0 deferred, 0 held, 0 sent, 0 failed (sent ones of the last day).\n"
        )

    async def test_list(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB, EVE)
        output = await self.run_command("queue", "list")
        self.assertRegex(output, rf"(?m)^{id}  deferred  {BOB}  +me@example.test  \d{{4}}-\S+ \S+ UTC  1      451 4.7.1 Greylisted$")
        self.assertIn("2 deferred", output)
        self.assertIn(f"Next: mailxctl queue show {id}", output)
        found = await self.run_json("queue", "list")
        self.assertEqual((len(found["entries"]), found["more"], found["counts"]["deferred"]), (2, False, 2))
        one = found["entries"][0]
        self.assertEqual((one["id"], one["recipient"], one["sender"], one["attempts"]), (id, BOB, "me@example.test", 1))
        self.assertEqual(one["last"]["reply"], "451 4.7.1 Greylisted")

    async def test_filters(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB, EVE)
        other = await self.deferred("zoe@example.net")
        await self.run_command("queue", "hold", other)

        async def found(*options: str) -> list[str]:
            return [one["recipient"] for one in (await self.run_json("queue", "list", *options))["entries"]]

        self.assertEqual(await found("--state", "held"), ["zoe@example.net"])
        self.assertEqual(await found("--state", "held", "--state", "deferred"), [BOB, EVE, "zoe@example.net"])
        self.assertEqual(await found("--domain", "EXAMPLE.net"), [EVE, "zoe@example.net"])
        self.assertEqual(await found("--domain", "example.net", "--state", "deferred"), [EVE])
        self.assertEqual(await found("--recipient", "Bob@Example.org"), [BOB])
        self.assertEqual(await found("--recipient", "@example.net"), [EVE, "zoe@example.net"])
        self.assertEqual(await found("--sender", "me@example.test", "--limit", "2"), [BOB, EVE])
        self.assertEqual(await found("--sender", "<>"), [])
        self.assertEqual(await found("--relay", "smart"), [])
        self.assertEqual(len(await found("--older", "1h")), 3, "the clock of the office stands in 2023")
        self.assertEqual(await found("--older", "9999d"), [])
        self.assertTrue((await self.run_json("queue", "list", "--limit", "2"))["more"])
        self.assertEqual((await self.run_raw("queue", "list", "--older", "soon")).exit_code, 2)
        self.assertEqual((await self.run_raw("queue", "list", "--state", "lost")).exit_code, 2)
        self.assertTrue(id)

    async def test_what_has_ended_is_shown_when_asked_for(self) -> None:
        await self.open_office()
        self.office.courier.answers.update({"example.net": NEVER, "example.com": LATER})
        await self.office.send(BOB, EVE, "kim@example.com")
        await self.office.settled(sent=1, failed=1, deferred=1)

        async def found(*options: str) -> list[str]:
            return [one["state"] for one in (await self.run_json("queue", "list", *options))["entries"]]

        self.assertEqual(await found(), ["deferred"])
        self.assertEqual(await found("--recipient", BOB), [])
        self.assertEqual(await found("--state", "sent"), ["sent"])
        self.assertEqual(await found("--all"), ["sent", "failed", "deferred"])
        hint = "What has ended is shown with --all"
        self.assertIn(hint, await self.run_command("queue", "list"))
        self.assertNotIn(hint, await self.run_command("queue", "list", "--all"))

    async def test_domains_behind_a_relay(self) -> None:
        relays = (Relay(name="smart", hosts=("smart.example.net",)),)
        await self.open_office(outbound={"relays": relays, "routes": (Route(recipients=("example.org",), relay="smart"),)})
        self.office.relay.answers["smart"] = LATER
        await self.deferred(BOB, EVE)
        for options in (("--domain", "example.org"), ("--relay", "smart"), ("--relay", "smart", "--domain", "example.org")):
            found = (await self.run_json("queue", "list", *options))["entries"]
            self.assertEqual([(one["recipient"], one["relay"]) for one in found], [(BOB, "smart")], options)
        self.assertEqual((await self.run_json("queue", "list", "--relay", "smart", "--domain", "example.net"))["entries"], [])

    async def test_many_pages(self) -> None:
        await self.open_office()
        self.office.courier.answers["example.org"] = AWAY
        await self.office.send(*[f"r{number}@example.org" for number in range(420)])
        await self.office.settled(sending=0, pending=0)
        found = (await self.run_json("queue", "list", "--limit", "1000"))["entries"]
        self.assertEqual([one["recipient"] for one in found], [f"r{number}@example.org" for number in range(420)])
        (last,) = (await self.run_json("queue", "list", "--recipient", "r419@example.org"))["entries"]
        self.assertEqual(last["recipient"], "r419@example.org")

    async def test_show(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB)
        output = await self.run_command("queue", "show", id)
        for words in (
            f"Message {id} from me@example.test, ",
            f"{BOB}: deferred",
            "next attempt ",
            "mx.example.org [192.0.2.1]:25\n",
            "451 4.7.1 Greylisted",
            f"Next: mailxctl queue retry {id}, or hold, bounce, delete",
            f"More: mailxctl trace {id}",
        ):
            self.assertIn(words, output)
        (entry,) = (await self.run_json("queue", "show", id))["entries"]
        self.assertEqual([past["reply"] for past in entry["history"]], ["451 4.7.1 Greylisted"])
        for wrong in ("", "a/b", ".."):
            self.assertEqual((await self.fail_with("queue", "show", wrong))["message"], f"{wrong!r} is no queue id")
        error = await self.fail_with("queue", "show", "0" * 16)
        self.assertEqual((error["code"], error["message"]), ("not_found", f"The queue has no message {'0' * 16}."))

    async def test_how_it_was_secured(self) -> None:
        await self.open_office()
        for number, (security, tls, shown) in enumerate(
            (("plain", "", "  no TLS"), ("encrypted", "TLSv1.3 X", "  TLSv1.3 X"), ("", "", "")), 1
        ):
            self.office.courier.answers["example.org"] = evolve(LATER, security=security, tls=tls)
            id = await self.office.send(BOB)
            await self.office.settled(deferred=number)
            self.assertIn(f"  mx.example.org [192.0.2.1]:25{shown}\n", await self.run_command("queue", "show", id))

    async def test_a_strangers_text_does_nothing_to_the_terminal(self) -> None:
        await self.open_office()
        self.office.courier.answers["example.org"] = evolve(LATER, reply=evolve(LATER.reply, text="\x1b[2Jgone"))
        id = await self.office.send(BOB)
        await self.office.settled(deferred=1)
        for command in (("list",), ("show", id)):
            self.assertNotIn("\x1b", await self.run_command("queue", *command))


class Changing(QueueBase):
    async def test_retry(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB)
        del self.office.courier.answers["example.org"]
        output = await self.run_command("queue", "retry", id)
        self.assertEqual(output, f"1 entry will be tried at once.\nWatch: mailxctl queue show {id}\n")
        await self.office.settled(sent=1)

    async def test_retrying_many_leaves_what_is_held_and_what_has_failed(self) -> None:
        """Whoever sent a dead letter was told, and has perhaps sent it anew."""
        await self.open_office()
        self.office.courier.answers.update({"example.org": LATER, "example.net": LATER, "example.com": NEVER})
        id = await self.office.send(BOB, EVE, "kim@example.com")
        await self.office.settled(failed=1, deferred=2)
        await self.run_command("queue", "hold", id, "--recipient", EVE)
        self.assertEqual(await self.run_json("queue", "retry", "--all", "--yes"), {"count": 1})
        self.assertEqual(await self.run_json("queue", "retry", "--domain", "example.com", "--yes"), {"count": 0})
        self.assertEqual(await self.run_json("queue", "retry", "--state", "failed", "--yes"), {"count": 1})

    async def test_one_recipient_of_a_message(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB, EVE)
        self.assertEqual(await self.run_json("queue", "hold", id, "--recipient", EVE), {"count": 1})
        self.assertEqual(await self.states(id), ["deferred", "held"])
        self.assertEqual(await self.run_json("queue", "release", id), {"count": 1})
        self.assertNotIn("held", await self.states(id))

    async def test_hold_asks_for_a_filter_only(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB, EVE)
        asked = await self.unconfirmed("hold", "--domain", "example.org")
        self.assertIn("Hold 1 entry back?", asked.stderr)
        self.assertEqual(await self.states(id), ["deferred", "deferred"])
        await self.run_command("queue", "hold", "--domain", "example.org", input="y\n")
        self.assertEqual(await self.states(id), ["held", "deferred"])
        self.assertIn("Undo it: mailxctl queue release, with the same options", await self.run_command("queue", "hold", "--all", "--yes"))
        self.assertEqual(await self.states(id), ["held", "held"])
        output = await self.run_command("queue", "hold", id)
        self.assertIn("Nothing was changed", output)
        self.assertIn(f"Look: mailxctl queue show {id}", output)
        self.assertIn("2 entries will be tried", await self.run_command("queue", "release", "--sender", "me@example.test", "--yes"))

    async def test_bounce(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB)
        self.assertIn("Give up 1 entry and tell the senders?", (await self.unconfirmed("bounce", id)).stderr)
        self.assertIn("1 entry given up; the senders are told.", await self.run_command("queue", "bounce", id, "--yes"))
        await self.office.settled(failed=1)
        (report,) = await self.office.reports()
        self.assertIn(b"given up before the recipient's server had taken it", report.replace(b"\r\n    ", b" "))
        self.assertIn(b"Returned by the administrator", report)

    async def test_dead_letters(self) -> None:
        await self.open_office()
        self.office.courier.answers["example.org"] = NEVER
        id = await self.office.send(BOB)
        await self.office.settled(failed=1)
        self.assertIn("tries it again from the beginning", await self.run_command("queue", "show", id))
        self.office.courier.answers.clear()
        await self.run_command("queue", "retry", id)
        await self.office.settled(sent=1, failed=0)

    async def test_delete(self) -> None:
        await self.open_office()
        id = await self.deferred(BOB, EVE)
        self.assertIn("Delete 1 entry without a word", (await self.unconfirmed("delete", id, "--recipient", BOB, input="")).stderr)
        await self.run_command("queue", "delete", id, "--recipient", BOB, "--yes")
        self.assertEqual(await self.states(id), ["deferred"])
        await self.run_command("queue", "delete", id, "--yes")
        self.assertEqual((await self.fail_with("queue", "delete", id, "--yes"))["code"], "not_found")
        self.assertEqual(await self.office.reports(), [])
        self.assertIn("deleted", await self.run_command("trace", id))

    async def test_purge(self) -> None:
        await self.open_office()
        self.office.courier.answers.update({"example.net": NEVER, "example.com": LATER})
        id = await self.office.send(BOB, EVE, "kim@example.com")
        await self.office.settled(sent=1, failed=1, deferred=1)
        self.assertIn("Delete 2 entries that ended?", (await self.unconfirmed("purge")).stderr)
        await self.run_command("queue", "purge", "--state", "failed", "--yes")
        self.assertEqual(await self.states(id), ["sent", "deferred"])
        await self.run_command("queue", "purge", "--older", "1d", "--yes")
        self.assertEqual(await self.states(id), ["deferred"])

    async def test_something_must_be_selected(self) -> None:
        await self.open_office()
        for command in ("retry", "hold", "release", "bounce", "delete"):
            self.assertEqual((await self.fail_with("queue", command, "--yes"))["code"], "nothing_selected")
        administration = Administration(self.world.accounts, self.world.config, queue=self.office.queue)
        for body in ({}, {"all": False}, {"colour": "red"}, {"older": "soon"}, {"domain": {}}, {"id": "x" * 501}, {"state": "lost"}):
            status, _ = await administration.answer("POST", "/v1/queue/delete", {}, body)
            self.assertEqual(status, 422, body)


class WithoutServer(QueueBase):
    async def open_stopped(self, *recipients: str) -> str:
        """A database that no server uses, with one message for ``recipients``."""
        await self.open_office(serve=False)
        id = await self.office.send(*recipients)
        await self.office.queue.stop()
        await self.office.timeline.stop()
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")
        await self.world.store.close()
        return id

    async def test_look_and_change(self) -> None:
        id = await self.open_stopped(BOB, EVE)
        self.assertIn(BOB, await self.run_command("queue", "list"))
        self.assertIn(f"{EVE}: pending", await self.run_command("queue", "show", id))
        await self.run_command("queue", "hold", id)
        self.assertIn(f"{EVE}: held", await self.run_command("queue", "show", id))
        self.assertIn("2 entries will be tried when the server starts.", await self.run_command("queue", "release", id))
        await self.run_command("queue", "delete", id, "--recipient", EVE, "--yes")
        self.assertEqual([one["recipient"] for one in (await self.run_json("queue", "list"))["entries"]], [BOB])
        self.assertEqual(self.office.courier.tried, [], "nothing is sent")
        self.assertIn("held", await self.run_command("trace", id), "what was changed is in the timeline")

    async def test_senders_cannot_be_told(self) -> None:
        id = await self.open_stopped(BOB)
        error = await self.fail_with("queue", "bounce", id, "--yes")
        self.assertEqual(error["message"], "Only a running server can tell senders.")
        self.assertIn(f"{BOB}: pending", await self.run_command("queue", "show", id))

"""The pages of the queue: looking, asking, changing one, a selection and everything; errands in the background."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from mailx.core.courier import Attempt
from mailx.core.ledger import Selection
from mailx.mail.reply import Reply, Unavailable
from mailx.web.panel import errands
from mailx.web.panel.pages.queue import Queue
from tests.core.mail_out import LATER, NEVER, Office, office
from tests.web.scene import PagesTest, scene_of

BOB = "bob@example.org"
EVE = "eve@example.net"
MARKUP = "<script>alert(1)</script>"


class Base(PagesTest):
    office: Office

    async def open(self, **sections: Any) -> None:
        self.office = await office(self, **sections)
        await self.office.start()
        self.scene = await scene_of(
            self, pages=[Queue], in_world=self.office.world, parts={"queue": self.office.queue, "timeline": self.office.timeline}
        )

    async def deferred(self, *recipients: str, answer: Attempt = LATER) -> str:
        """The id of a message that waits for these recipients."""
        for recipient in recipients:
            self.office.courier.answers[recipient.partition("@")[2]] = answer
        id = await self.office.send(*recipients)
        await self.office.until(lambda: self._tried(id))
        return id

    async def _tried(self, id: str) -> bool:
        return all(entry.state in ("deferred", "failed", "sent") for entry in await self.office.entries(envelope=id))

    async def states(self, **selection: Any) -> list[str]:
        return [entry.state for entry in await self.office.entries(**selection)]

    async def actions(self) -> list[str]:
        return [entry.action for entry in await self.scene.parts.audit.list() if not entry.action.startswith("admin.")]


class Looking(Base):
    async def test_nothing(self) -> None:
        await self.open()
        self.assertIn("Nothing waits", (await self.get("/queue")).text)

    async def test_list(self) -> None:
        await self.open()
        id = await self.deferred(BOB)
        page = await self.get("/queue")
        for text in (BOB, "me@example.test", "451 4.7.1 Greylisted", f"/queue/{id}", "deferred"):
            self.assertIn(text, page.text)

    async def test_filters(self) -> None:
        await self.open()
        id = await self.deferred(BOB)
        await self.deferred(EVE, answer=NEVER)
        for query, bob, eve in (
            ("", True, False),
            ("state=all", True, True),
            ("state=failed", False, True),
            ("domain=example.org", True, False),
            ("recipient=BOB@example.org", True, False),
            ("recipient=@example.org&state=all", True, False),
            ("sender=me@example.test", True, False),
            ("sender=you@example.test", False, False),
            (f"id={id}", True, False),
            ("older=2h&state=all", True, True),
            ("older=30000d&state=all", False, False),
        ):
            page = await self.get(f"/queue?{query}")
            self.assertEqual((f">{BOB}</a>" in page.text, f">{EVE}</a>" in page.text), (bob, eve), query)

    async def test_wrong_filters(self) -> None:
        await self.open()
        for query in ("state=lost", "older=soon", f"older={MARKUP}", "state=%3Cb%3E", f"sender={'a' * 600}"):
            page = await self.get(f"/queue?{query}", 422)
            self.assertNotIn(MARKUP, page.text)
            self.assertNotIn("<b>", page.text)

    async def test_pages(self) -> None:
        await self.open()
        await self.deferred(*[f"u{n:02}@example.org" for n in range(60)])
        first = await self.get("/queue?sender=@example.test")
        self.assertIn("u49@", first.text)
        self.assertNotIn("u50@", first.text)
        self.assertLess(len(first.body), 100_000)
        (following,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
        second = await self.get(following.replace("&amp;", "&"))
        self.assertIn("u59@", second.text)
        self.assertNotIn("u49@", second.text)

    async def test_message(self) -> None:
        await self.open()
        id = await self.deferred(BOB)
        page = await self.get(f"/queue/{id}")
        for text in (id, BOB, "Greylisted", "mx.example.org [192.0.2.1]:25", "9 attempts left"):
            self.assertIn(text, page.text)
        await self.get("/queue/0000000000000000", 404)
        await self.get("/queue/%3Cb%3E", 404)

    async def test_many_recipients(self) -> None:
        await self.open()
        id = await self.deferred(*[f"u{n:02}@example.org" for n in range(30)])
        page = await self.get(f"/queue/{id}")
        self.assertIn("u19@", page.text)
        self.assertNotIn("u20@", page.text)
        (following,) = re.findall(r'href="([^"]+)" rel="next"', page.text)
        self.assertIn("u29@", (await self.get(following)).text)

    async def test_strangers_write_what_they_want(self) -> None:
        await self.open()
        answer = evolve(LATER, reply=Reply(451, "4.7.1", f"{MARKUP}\u202eevil\x1b[0m"), host=f"{MARKUP} [192.0.2.1]:25")
        id = await self.deferred('"<img src=x>"@example.org', answer=answer)
        for path in ("/queue", f"/queue/{id}"):
            page = await self.get(path)
            for bad in (MARKUP, "<img", "\u202e", "\x1b"):
                self.assertNotIn(bad, page.text)
            self.assertIn("&lt;script&gt;", page.text)


class Asking(Base):
    async def test_how_many(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        rows = [entry.id for entry in await self.office.entries()]
        page = await self.post("/queue/ask", do="hold", row=rows)
        self.assertIn("Hold: 2 entries", page.text)
        page = await self.post("/queue/ask", do="hold", which="all", domain="example.org")
        self.assertIn("Hold: 1 entry", page.text)
        page = await self.post("/queue/ask", do="release", which="all")
        self.assertIn("Nothing fits", page.text)
        self.assertEqual(await self.states(), ["deferred"] * 2)
        self.assertEqual(await self.actions(), [])

    async def test_dead_letters_are_meant_only_by_name(self) -> None:
        await self.open()
        await self.deferred(BOB)
        await self.deferred(EVE, answer=NEVER)
        self.assertIn("Try again now: 1 entry", (await self.post("/queue/ask", do="retry", which="all")).text)
        self.assertIn("Try again now: 1 entry", (await self.post("/queue/ask", do="retry", which="all", state="failed")).text)
        self.assertIn("Delete: 2 entries", (await self.post("/queue/ask", do="delete", which="all", state="all")).text)
        self.assertIn("Nothing fits", (await self.post("/queue/ask", do="hold", which="all", state="sent")).text)

    async def test_the_form_goes_on(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        page = await self.post("/queue/ask", do="delete", which="all", sender="@example.test")
        self.assertIn("Delete: 2 entries", page.text)
        form = page.text.split('action="/queue/delete"')[1].split("</form>")[0]
        fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
        page = await self.scene.follow(await self.scene.browser.send("/queue/delete", fields))
        self.assertIn("2 entries deleted", page.text)
        self.assertEqual(await self.states(), [])

    async def test_counts_stop_somewhere(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        self.patch(self.scene.panel.pages[0].__class__.__init__.__globals__["queue_search"], "SEARCHED", 1)
        page = await self.post("/queue/ask", do="hold", which="all", sender="@example.test")
        self.assertIn("more than 1 entry", page.text)

    async def test_wrong(self) -> None:
        await self.open()
        for fields in (
            {"do": "hold"},
            {"do": "explode", "row": ["1"]},
            {"do": "hold", "row": ["x"]},
            {"do": "hold", "row": [str(n) for n in range(501)]},
            {"do": "hold", "which": "all", "older": MARKUP},
            {"do": "hold", "which": "all", "state": MARKUP},
        ):
            page = await self.post("/queue/ask", **fields)
            self.assertIn(page.status, (200, 422), fields)
            self.assertNotIn(MARKUP, page.text)
            if fields["do"] != "explode":
                page = await self.post("/queue/hold", **{name: value for name, value in fields.items() if name != "do"})
                self.assertIn(page.status, (303, 422), fields)
        self.assertEqual(await self.actions(), [])


class Changing(Base):
    async def test_one_message(self) -> None:
        await self.open()
        id = await self.deferred(BOB)
        page = await self.done("/queue/hold", id=id)
        self.assertIn("1 entry will not be sent until released", page.text)
        self.assertEqual(await self.states(), ["held"])
        self.office.courier.answers.clear()
        await self.done("/queue/release", id=id)
        await self.office.settled(sent=1)
        self.assertEqual(await self.actions(), ["queue.release", "queue.hold"])

    async def test_one_recipient(self) -> None:
        await self.open()
        id = await self.deferred(BOB, EVE)
        _, second = await self.office.entries()
        page = await self.get(f"/queue/{id}")
        self.assertIn(f'aria-label="Hold for {EVE}"', page.text)
        page = await self.post("/queue/hold", row=[str(second.id)], of=id)
        self.assertEqual(page.location, f"/queue/{id}")
        self.assertEqual(await self.states(), ["deferred", "held"])

    async def test_ticks_among_what_a_filter_found(self) -> None:
        await self.open()
        id = await self.deferred(BOB, EVE)
        first, _ = await self.office.entries()
        page = await self.post("/queue/ask", do="hold", which="ticked", id=id, row=[str(first.id)])
        self.assertIn("Hold: 1 entry", page.text)
        self.assertIn(f'href="/queue?id={id}"', page.text)
        page = await self.post("/queue/hold", which="ticked", id=id, row=[str(first.id)])
        self.assertEqual(page.location, f"/queue?id={id}")
        self.assertEqual(await self.states(), ["held", "deferred"])
        page = await self.post("/queue/hold", which="ticked", id=id)
        self.assertIn("No entry was ticked", page.text)

    async def test_what_was_deleted_is_not_shown_again(self) -> None:
        await self.open()
        id = await self.deferred(BOB)
        page = await self.done("/queue/delete", id=id)
        self.assertEqual(page.status, 200)
        self.assertIn("1 entry deleted", page.text)

    async def test_ticked(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        first, _ = await self.office.entries()
        page = await self.done("/queue/delete", row=[str(first.id)])
        self.assertIn("1 entry deleted", page.text)
        self.assertEqual(await self.states(), ["deferred"])
        (entry,) = [each for each in await self.scene.parts.audit.list() if each.action == "queue.delete"]
        self.assertIn(first.id, entry.after["entries"])

    async def test_everything_that_is_found(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        await self.done("/queue/hold", which="all", recipient="@example.net")
        self.assertEqual(await self.states(), ["deferred", "held"])
        await self.done("/queue/retry", which="all")
        self.assertEqual(await self.actions(), ["queue.retry", "queue.hold"])

    async def test_bounce(self) -> None:
        await self.open()
        await self.deferred(BOB)
        page = await self.done("/queue/bounce", which="all")
        self.assertIn("1 entry given up; the senders are told", page.text)
        self.assertEqual(await self.states(), ["failed"])
        self.assertEqual(len(await self.office.reports()), 1)
        self.assertEqual(await self.actions(), ["queue.bounce"])

    async def test_bounce_needs_a_queue_that_runs(self) -> None:
        await self.open()
        await self.office.queue.stop()
        page = await self.post("/queue/bounce", which="all")
        self.assertEqual(page.status, 422)
        self.assertIn("no sender could be told", page.text)

    async def test_nothing_to_do(self) -> None:
        await self.open()
        page = await self.done("/queue/release", which="all")
        self.assertIn("Nothing was changed", page.text)
        self.assertEqual(await self.actions(), [])

    async def test_what_is_being_sent_is_left_alone(self) -> None:
        await self.open()
        going: Deferred[Attempt] = Deferred()
        self.office.courier.answers["example.org"] = going
        id = await self.office.send(BOB)
        await self.office.until(lambda: bool(self.office.courier.tried))
        page = await self.done("/queue/delete", id=id)
        self.assertIn("Nothing was changed", page.text)
        going.callback(LATER)
        await self.office.settled(deferred=1)


class Errands(Base):
    """Changes that take longer than a browser should wait."""

    async def slow(self, act: str = "hold") -> "Deferred[None]":
        """The ledger's ``act`` waits for this behind its first slice of one row."""
        self.patch(errands, "PATIENCE", 0.05)
        self.patch(self.scene.panel.pages[0].__class__.__init__.__globals__["queue_search"], "SLICE", 1)
        gate: Deferred[None] = Deferred()
        inner: Callable[[Selection], Awaitable[int]] = getattr(self.office.queue.ledger, act)
        calls: list[Selection] = []

        async def patient(selection: Selection) -> int:
            calls.append(selection)
            if len(calls) == 2:
                await gate
            return await inner(selection)

        self.patch(self.office.queue.ledger, act, patient)
        return gate

    async def test_it_goes_on(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        gate = await self.slow()
        page = await self.post("/queue/hold", which="all")
        self.assertRegex(page.location, "/queue/changes/[0-9a-f]{16}$")
        path = page.location
        page = await self.get(path)
        self.assertIn("1 entry", page.text)
        self.assertIn("goes on in the background", page.text)
        self.assertIn(path, (await self.get("/queue")).text)
        gate.callback(None)
        await self.office.settled(held=2)
        page = await self.get(path)
        self.assertIn("All is done", page.text)
        self.assertIn("2 entries", page.text)
        self.assertEqual(await self.actions(), ["queue.hold"])
        await self.get("/queue/changes/0000", 404)

    async def test_the_server_stops(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE, "joe@example.com")
        gate = await self.slow()
        path = (await self.post("/queue/hold", which="all")).location
        stopping = Deferred.fromCoroutine(self.scene.panel.stop())
        self.assertNoResult(stopping)
        gate.callback(None)
        await stopping
        self.assertEqual(await self.states(), ["held", "held", "deferred"])
        self.assertIn("The server stopped", (await self.get(path)).text)

    async def test_it_fails(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        gate = await self.slow()
        path = (await self.post("/queue/hold", which="all")).location
        gate.errback(Unavailable("disk full"))
        page = await self.get(path)
        self.assertIn("The store did not answer", page.text)
        self.assertNotIn("disk full", page.text)

    async def test_too_many(self) -> None:
        await self.open()
        await self.deferred(BOB, EVE)
        gate = await self.slow()
        self.patch(errands, "RUNNING", 1)
        await self.post("/queue/hold", which="all")
        page = await self.post("/queue/hold", which="all")
        self.assertEqual(page.status, 422)
        self.assertIn("going on already", page.text)
        gate.callback(None)
        await self.office.settled(held=2)

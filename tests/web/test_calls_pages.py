"""The pages about calls, their callbacks and suppressed addresses."""

from html import unescape

from attrs import evolve
from twisted.trial.unittest import TestCase

from mailx.web.panel.pages.calls import Calls
from mailx.web.panel.pages.suppressions import Suppressions
from tests.core.calls_scene import URL
from tests.core.calls_scene import Scene as CallsScene
from tests.core.calls_scene import scene as calls_scene
from tests.core.mail_out import LATER, NEVER
from tests.web.scene import Scene, scene_of


async def opened(case: TestCase) -> tuple[CallsScene, Scene]:
    """A scene of calls, and the panel over it."""
    here = await calls_scene(case, webhook={"sender_domain": "example.test"})
    await here.start()
    parts = {
        "calls": here.calls,
        "callbacks": here.callbacks,
        "fates": here.callbacks._fates,
        "suppressions": here.suppressions,
        "settings": here.settings,
    }
    return here, await scene_of(case, pages=[Calls, Suppressions], parts=parts, in_world=here.office.world)


class CallPages(TestCase):
    """The list and one call."""

    timeout = 240

    async def test_nothing_yet(self) -> None:
        _, panel = await opened(self)
        page = await panel.get("/calls")
        self.assertEqual(page.status, 200)
        self.assertIn("No calls yet", page.text)
        for number in ("1", "9" * 19, "9" * 5000, "x", "-1", "%D9%A1"):
            self.assertEqual((await panel.get(f"/calls/{number}")).status, 404)
        self.assertEqual((await panel.get("/calls?number=99&state=nonsense")).status, 200)

    async def test_listed_and_shown(self) -> None:
        here, panel = await opened(self)
        here.office.courier.answers["example.net"] = LATER
        good = await here.call("you@example.org")
        late = await here.call("late@example.net")
        await here.until_told(good, "done", "done")
        await here.until_told(late, "done", "done")
        page = await panel.get("/calls")
        self.assertLess(page.text.index(f">{late.id}<"), page.text.index(f">{good.id}<"))
        self.assertNotIn("you@example.org", (await panel.get("/calls?state=deferred")).text)
        self.assertIn("you@example.org", (await panel.get(f"/calls?number={good.id}")).text)
        page = await panel.get(f"/calls/{late.id}")
        self.assertIn("451 4.7.1 Greylisted", page.text)
        self.assertIn(URL, page.text)
        self.assertIn("answered 200", page.text)

    async def test_how_programs_call(self) -> None:
        here, panel = await opened(self)
        page = unescape((await panel.get("/calls")).text)
        self.assertIn('<code tabindex="0">http://127.0.0.1:2555/webhook/outbound-email</code>', page)
        self.assertIn('-H "X-TransLife-Signature: $signature"', page)
        current = here.settings.current
        here.settings.current = evolve(current, webhook=evolve(current.webhook, signature=False))
        self.assertNotIn("no domain of this server", page)
        page = unescape((await panel.get("/calls")).text)
        self.assertIn('curl -X POST "http://127.0.0.1:2555/webhook/outbound-email"', page)
        self.assertNotIn("$signature", page)
        here.settings.current = evolve(current, webhook=evolve(current.webhook, sender_domain="exmaple.test"))
        self.assertIn("exmaple.test, which is no domain of this server", (await panel.get("/calls")).text)

    async def test_pages(self) -> None:
        here, panel = await opened(self)
        for _ in range(52):
            await here.call("me@example.test", callback=None)
        page = await panel.get("/calls")
        self.assertIn("/calls?after=3", page.text)
        page = await panel.get("/calls?after=3")
        self.assertIn('href="/calls/2"', page.text)
        self.assertNotIn('href="/calls/3"', page.text)

    async def test_a_record_that_is_damaged(self) -> None:
        """It is shown as such and hides no other."""
        here, panel = await opened(self)
        bad = await here.call("first@example.org")
        await here.until_told(bad, "done", "done")
        await here.office.world.store.write(lambda txn: txn.execute("UPDATE calls SET details = ?", (b"damaged",)))
        await here.call("second@example.org")
        for path in ("/calls", f"/calls?number={bad.id}"):
            page = await panel.get(path)
            self.assertEqual(page.status, 200)
            self.assertIn("(does not open)", page.text)
        self.assertIn("second@example.org", (await panel.get("/calls")).text)
        page = await panel.get(f"/calls/{bad.id}")
        self.assertEqual(page.status, 200)
        self.assertIn("was damaged", page.text)
        self.assertIn("first@example.org", page.text)  # the queue knows

    async def test_posted_again(self) -> None:
        here, panel = await opened(self)
        call = await here.call("you@example.org", callback="")
        await here.until_told(call, "given_up", "given_up")
        first, _ = await here.callbacks.of_call(call.id)
        self.assertIn("given up", (await panel.get("/calls")).text)
        page = await panel.post(f"/calls/{call.id}/callbacks/retry", {"callback": first.id})
        self.assertEqual(page.status, 303)
        await here.until_told(call, "given_up", "given_up")
        page = await panel.post(f"/calls/{call.id}/callbacks/retry", {"callback": 10**9})
        self.assertEqual(page.status, 422)
        page = await panel.post(f"/calls/{call.id}/callbacks/retry", {"callback": "x"})
        self.assertEqual(page.status, 422)

    async def test_hostile_texts(self) -> None:
        here, panel = await opened(self)
        call = await here.call('"<img src=x onerror=alert(1)>"@example.org', callback="https://x.example/<b>")
        page = await panel.get(f"/calls/{call.id}")
        self.assertEqual(page.status, 200)
        self.assertNotIn("<img", page.text)
        self.assertNotIn("<b>", page.text)
        self.assertNotIn("<img", (await panel.get("/calls")).text)


class SuppressionPages(TestCase):
    """The list of suppressed addresses."""

    timeout = 240

    async def test_added_found_and_removed(self) -> None:
        here, panel = await opened(self)
        self.assertIn("Nothing is suppressed", (await panel.get("/suppressions")).text)
        page = await panel.post("/suppressions/add", {"address": "You@Example.ORG", "note": "asked <b>twice</b>"})
        self.assertIn("You@example.org", (await panel.follow(page)).text)
        self.assertIn("asked &lt;b&gt;twice", (await panel.get("/suppressions")).text)
        self.assertIn("added by hand", (await panel.get("/suppressions?address=you@example.org")).text)
        self.assertIn("Not on the list", (await panel.get("/suppressions?address=me@example.org")).text)
        self.assertIn("That is no address", (await panel.get("/suppressions?address=nonsense")).text)
        (entry,) = await here.suppressions.list()
        page = await panel.post("/suppressions/remove", {"id": entry.id})
        self.assertEqual(page.status, 303)
        self.assertEqual(await here.suppressions.count(), 0)
        entries = await panel.parts.audit.list()
        self.assertEqual([each.action for each in entries][:2], ["suppression.remove", "suppression.add"])

    async def test_refused(self) -> None:
        _, panel = await opened(self)
        for address, words in (("", "Fill this in"), ("nonsense", "is no address"), ("x@" + "y" * 400, "longer")):
            page = await panel.post("/suppressions/add", {"address": address})
            self.assertEqual(page.status, 422)
            self.assertIn(words, page.text)
        await panel.post("/suppressions/add", {"address": "you@example.org"})
        page = await panel.post("/suppressions/add", {"address": "you@example.org"})
        self.assertEqual(page.status, 422)
        self.assertIn("already", page.text)
        for id in ("", "x", "-1", "99999"):
            self.assertEqual((await panel.post("/suppressions/remove", {"id": id})).status, 422)

    async def test_bounced(self) -> None:
        here, panel = await opened(self)
        here.office.courier.answers["example.org"] = NEVER
        call = await here.call("you@example.org")
        await here.until_state(call, "bounced")
        page = await panel.get("/suppressions")
        self.assertIn("no such mailbox", page.text)
        self.assertIn("550 5.1.1 No such user", page.text)

"""Alerts: opened once, closed when over, told once, and never the cause of more."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailx.core import alert_notices, alerts, audit
from mailx.core.alerts import CERTIFICATE, DISK, LOCKOUT, QUOTA, STORE, Alerts
from mailx.core.courier import Attempt
from mailx.core.posting import NotPosted, signed
from mailx.core.progress import BOUNCED, Step
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Envelope
from mailx.mail.reply import Reply, Unavailable
from mailx.store import alerts as rows
from tests.scenery import configured, world

OK = Reply(250, "2.0.0", "Fine")
BOSS = Address.parse("boss@example.org")


class Poster:
    """Takes what is posted, unless ``answer`` is another status or an exception."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.answer: int | Exception = 204

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> int:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.posts.append((url, body, fields))
        return self.answer


class AlertTests(TestCase):
    engine = ""

    async def open(self, **settings: Any) -> Alerts:
        self.world = await world(self, engine=self.engine)
        self.time = [1_800_000_000.0]
        self.clock = Clock()
        self.mails: list[Envelope] = []
        self.refusal: Exception | None = None
        self.poster = Poster()
        self.settings = Settings(configured(alerts=settings, accounts={"quota": 1000}))
        return await self.again()

    async def again(self) -> Alerts:
        """As after a restart."""
        made = Alerts(self.world.store, self.world.cipher, self.settings, "mx.example.test", self.clock, lambda: self.time[0])
        await made.start(self.accept, self.poster)
        self.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
        return made

    async def accept(self, envelope: Envelope, each: bool = False) -> Mapping[Address, Reply]:
        if self.refusal is not None:
            raise self.refusal
        self.mails.append(envelope)
        return dict.fromkeys(envelope.recipients, OK)

    async def unseen(self) -> None:
        """It is long since a node has seen what the open alerts are about."""
        await self.world.store.write(lambda txn: txn.execute("UPDATE alerts SET seen = seen - 200"))

    async def pass_time(self, made: Alerts, seconds: float = 0.0) -> None:
        """Let what is due happen."""
        self.time[0] += seconds
        self.clock.advance(seconds)
        for _ in range(5):
            self.clock.advance(0)
            for running in (made._writing, made._notices._running):
                if running is not None:
                    waiter: Deferred[None] = Deferred()
                    running.addBoth(lambda _, waiter=waiter: waiter.callback(None))
                    await waiter

    def content(self, index: int = -1) -> str:
        content = self.mails[index].message.content
        assert isinstance(content, bytes)
        return content.decode()


class States(AlertTests):
    async def test_open_and_over(self) -> None:
        made = await self.open()
        await made.settle(DISK, {"data": "Full to 91 percent."})
        (alert,) = await made.open()
        self.assertEqual((alert.kind, alert.subject, alert.text, alert.closed), (DISK, "data", "Full to 91 percent.", None))
        self.assertEqual(made.count, 1)
        self.time[0] += 60
        await made.settle(DISK, {"data": "Full to 92 percent."})
        self.assertEqual(await made.open(), [alert])
        await made.settle(DISK, {}, {"data"})
        self.assertEqual(await made.open(), [alert])
        await made.settle(CERTIFICATE, {})
        self.assertEqual(await made.open(), [alert])
        await self.unseen()
        await made.settle(DISK, {})
        self.assertEqual((await made.open(), made.count), ([], 0))
        self.assertEqual(await made.past(), [evolve(alert, closed=int(self.time[0]))])
        await made.settle(DISK, {"data": "Full again."})
        self.assertEqual(len(await made.open()), 1)

    async def test_each_subject(self) -> None:
        made = await self.open()
        await made.settle(QUOTA, {"ada@example.test": "a", "bob@example.test": "b"})
        await made.settle(QUOTA, {"bob@example.test": "b", "eve@example.test": "e"})
        self.assertEqual({alert.subject for alert in await made.open()}, {"bob@example.test", "eve@example.test"})
        self.assertEqual([alert.subject for alert in await made.past()], ["ada@example.test"])

    async def test_restart(self) -> None:
        made = await self.open()
        await made.settle(DISK, {"data": "Full."})
        made = await self.again()
        self.assertEqual(made.count, 1)
        await made.settle(DISK, {"data": "Full."})
        self.assertEqual(len(await made.open()), 1)
        await self.unseen()
        await made.settle(DISK, {})
        self.assertEqual(await made.open(), [])

    async def test_several_nodes(self) -> None:
        one = await self.open()
        two = await self.again()
        await one.settle(DISK, {"data": "Full."})
        await two.settle(DISK, {"data": "Full."})
        self.assertEqual(len(await one.open()), 1)
        if self.engine:
            await one.settle(DISK, {})  # that of the other is full
            self.assertEqual(len(await two.open()), 1)
            await self.unseen()
            await two.settle(DISK, {}, {"data"})
            await one.settle(DISK, {})
            self.assertEqual((one.count, len(await two.open())), (1, 1))
            await self.unseen()
        await one.settle(DISK, {})
        await two.refresh()
        self.assertEqual((one.count, two.count), (0, 0))

    async def test_events(self) -> None:
        made = await self.open()
        for _ in range(3):
            made.tell(LOCKOUT, "192.0.2.1", "Too many logins failed.")
        await self.pass_time(made)
        (alert,) = await made.open()
        with audit.acting(audit.Actor("admin", "ada"), "alert.acknowledge"):
            await made.acknowledge(alert.id)
        self.assertEqual(await made.open(), [])
        (past,) = await made.past()
        self.assertEqual((past.acknowledged_by, past.closed), ("ada", int(self.time[0])))
        made.tell(LOCKOUT, "192.0.2.1", "Too many logins failed.")
        await self.pass_time(made)
        self.assertEqual(len(await made.open()), 1)

    async def test_an_event_within_an_act(self) -> None:
        """The act's audit row belongs to what it changes, not to the alert."""
        made = await self.open()
        with audit.acting(audit.Actor("admin", "ada"), "sessions.rotate") as act:
            made.tell(LOCKOUT, "192.0.2.1", "Too many logins failed.")
            await made.settle(DISK, {"data": "Full."})
            await self.pass_time(made)
            self.assertFalse(act.spent)

    async def test_acknowledge_a_state(self) -> None:
        made = await self.open()
        await made.settle(DISK, {"data": "Full."})
        (alert,) = await made.open()
        with audit.acting(audit.Actor("admin", "ada"), "alert.acknowledge"):
            await made.acknowledge(alert.id)
        (alert,) = await made.open()
        self.assertEqual((alert.acknowledged_by, made.count), ("ada", 0))
        with self.assertRaises(DirectoryError):
            await made.acknowledge(alert.id)
        with self.assertRaises(DirectoryError):
            await made.acknowledge(999)

    async def test_many(self) -> None:
        """A flood of one kind crowds out no other."""
        self.patch(alerts, "KIND_LIMIT", 5)
        made = await self.open()
        await made.settle(QUOTA, {f"user{number}@example.test": "full" for number in range(9)})
        for number in range(9):
            made.tell(LOCKOUT, f"2001:db8:0:{number}::/64", "Too many logins failed.")
        await self.pass_time(made)
        await made.settle(DISK, {"data": "Full."})
        self.assertEqual(Counter(alert.kind for alert in await made.open()), {QUOTA: 5, LOCKOUT: 5, DISK: 1})

    async def test_pages(self) -> None:
        made = await self.open()
        for number in range(7):
            await made.settle(QUOTA, {"ada@example.test": str(number)})
            await made.settle(QUOTA, {})
        first = await made.past(limit=4)
        second = await made.past(first[-1].id, limit=4)
        self.assertEqual([alert.text for alert in first + second], [str(number) for number in range(6, -1, -1)])
        self.time[0] += 400 * 86400
        await made.prune()
        self.assertEqual(await made.past(), [])

    async def test_nothing_plain_is_stored(self) -> None:
        made = await self.open()
        await made.settle(QUOTA, {"ada@example.test": "ada@example.test is full"})
        for row in await self.world.store.read(lambda txn: txn.all("SELECT * FROM alerts")):
            self.assertNotIn(b"ada", b"".join(bytes(each) for each in row if isinstance(each, bytes | memoryview)))

    async def test_figures(self) -> None:
        made = await self.open()
        user = await self.world.user("ada@example.test")
        await self.world.user("bob@example.test")
        await self.world.store.write(lambda txn: txn.execute("UPDATE accounts SET used = 951 WHERE id = ?", (user.id,)))
        figures = await made.figures(95)
        self.assertEqual((figures.waiting, figures.oldest, figures.full), (0, 0, (("ada@example.test", 951, 1000),)))
        self.assertEqual((await made.figures(96)).full, ())
        self.assertEqual((await made.figures(0)).full, ())


class StatesOnPostgreSQL(States):
    engine = "postgresql"


class Counts(AlertTests):
    def step(self, envelope: str) -> Step:
        attempt = Attempt(Reply(550, "5.1.1", "No"))
        return Step(envelope, 1, BOSS, BOUNCED, attempt, "example.org", None, "ESMTPSA", BOSS, None, 1, 1, 0)

    async def test_within_an_hour(self) -> None:
        made = await self.open()
        for _ in range(6):
            made.note(self.step("1"))
            made.login_failed()
            self.clock.advance(900)
        self.time[0] -= 86400  # the time of day may be set to whatever
        self.assertEqual((made.failures(), made.logins()), (3, 3))
        self.clock.advance(7200)
        self.assertEqual((made.failures(), made.logins()), (0, 0))

    async def test_alerts_that_bounce(self) -> None:
        """They are no reason for further alerts."""
        made = await self.open(mail=("boss@example.org",))
        await made.settle(DISK, {"data": "Full."})
        await self.pass_time(made)
        made.note(self.step(self.mails[0].id))
        self.assertEqual(made.failures(), 0)


class Telling(AlertTests):
    async def test_mail(self) -> None:
        made = await self.open(mail=("boss@example.org", "me@example.test"))
        await made.settle(DISK, {"data": "The disk is full to 91 percent."})
        await self.pass_time(made)
        (envelope,) = self.mails
        self.assertEqual((envelope.sender, len(envelope.recipients), envelope.origin.protocol), (None, 2, GENERATED))
        content = self.content()
        for text in (
            "Auto-Submitted: auto-generated\r\n",
            "Return-Path: <>\r\n",
            "The disk is full to 91 percent.\r\n",
            "To: boss@example.org\r\n",
        ):
            self.assertIn(text, content)
        self.assertIn("Subject: [mx.example.test] The disk is nearly full\r\n", content)
        await self.pass_time(made, 90000)
        made = await self.again()
        await self.pass_time(made)
        self.assertEqual(len(self.mails), 1)
        self.assertEqual(self.poster.posts, [])

    async def test_post(self) -> None:
        made = await self.open(url="https://example.org/alerts", secret="s" * 20)
        await made.settle(DISK, {"data": "Full."})
        await self.pass_time(made)
        ((url, body, fields),) = self.poster.posts
        self.assertEqual(url, "https://example.org/alerts")
        value = json.loads(body)
        self.assertEqual((value["type"], value["server"], value["alerts"][0]["kind"]), ("alert", "mx.example.test", DISK))
        self.assertEqual(dict(fields) | signed("X-TransLife", "s" * 20, body, self.time[0]), fields)
        self.assertEqual(self.mails, [])

    async def test_one_summary_of_too_many(self) -> None:
        made = await self.open(mail=("boss@example.org",), url="https://example.org/alerts")
        await made.settle(QUOTA, {f"user{number}@example.test": f"{number} is full" for number in range(30)})
        await self.pass_time(made)
        self.assertEqual((len(self.mails), len(self.poster.posts)), (20, 20))
        await made.settle(DISK, {"data": "The disk is full."})
        await self.pass_time(made, 1800)
        self.assertEqual(len(self.mails), 20)
        await self.pass_time(made, 1801)
        self.assertEqual((len(self.mails), len(self.poster.posts)), (21, 21))
        self.assertIn("Subject: [mx.example.test] 11 alerts\r\n", self.content())
        self.assertIn("29 is full", self.content())
        self.assertIn("The disk is full.", self.content())
        self.assertEqual(len(json.loads(self.poster.posts[-1][1])["alerts"]), 11)
        await made.settle(DISK, {})
        await made.settle(DISK, {"data": "Full once more."})
        await self.pass_time(made, 3600)
        self.assertEqual(len(self.mails), 22)

    async def test_mail_that_does_not_go(self) -> None:
        made = await self.open(mail=("boss@example.org",), url="https://example.org/alerts")
        self.refusal = Unavailable("away")
        self.poster.answer = NotPosted("no connection", True)
        with capturedLogs() as logs:
            await made.settle(DISK, {"data": "Full."})
            await self.pass_time(made)
            await self.pass_time(made, 60)
        self.assertEqual(sum(each.get("event") == "alert.not_told" for each in logs), 4)
        self.refusal = None
        self.poster.answer = 500
        await self.pass_time(made, 120)
        self.assertEqual((len(self.mails), len(self.poster.posts)), (1, 1))
        self.poster.answer = 200
        await self.pass_time(made, 3600)
        self.assertEqual((len(self.mails), len(self.poster.posts)), (1, 2))
        await self.pass_time(made, 3600)
        self.assertEqual((len(self.mails), len(self.poster.posts)), (1, 2))

    async def test_given_up(self) -> None:
        made = await self.open(url="https://example.org/alerts")
        self.poster.answer = 404
        await made.settle(DISK, {"data": "Full."})
        for _ in range(30):
            await self.pass_time(made, 3600)
        tries = len(self.poster.posts)
        self.poster.answer = 200
        await self.pass_time(made, 90000)
        self.assertEqual(len(self.poster.posts), tries)
        self.assertLess(tries, 40)

    async def test_a_crash_before_it_was_told(self) -> None:
        made = await self.open(mail=("boss@example.org",))
        await made.settle(DISK, {"data": "Full."})
        await made.stop()
        self.assertEqual(self.mails, [])
        made = await self.again()
        await self.pass_time(made)
        self.assertEqual(len(self.mails), 1)

    async def test_a_crash_while_it_was_told(self) -> None:
        """Others wait for a while, then one of them tells it, in the same words."""
        made = await self.open(mail=("boss@example.org",))
        await made.settle(DISK, {"data": "Full."})
        reached: Deferred[None] = Deferred()
        stuck: Deferred[Any] = Deferred()

        def accept(envelope: Envelope, each: bool) -> Deferred[Any]:
            reached.callback(None)
            return stuck

        made._notices._accept = accept
        self.clock.advance(0)
        await reached
        made._notices._stopped = True
        other = await self.again()
        await self.pass_time(other, 60)
        self.assertEqual(self.mails, [])
        await other.refresh()
        await self.pass_time(other, 61)
        await other.refresh()
        await self.pass_time(other)
        self.assertEqual(len(self.mails), 1)
        stuck.callback({})

    async def test_a_clock_that_was_ahead(self) -> None:
        """Neither what was told by it nor what was begun to be told holds up anything until then."""
        made = await self.open(mail=("boss@example.org",))
        await made.settle(QUOTA, {f"user{number}@example.test": "full" for number in range(19)})
        await self.pass_time(made)
        self.assertEqual(len(self.mails), 19)
        await made.settle(DISK, {"data": "Full."})
        (alert, *_) = await made.open()
        await self.world.store.write(rows.claim, rows.MAILED, [alert.id], int(self.time[0]), 120)
        self.time[0] -= 7200
        await made.refresh()
        await self.pass_time(made)
        self.assertEqual(len(self.mails), 20)

    async def test_several_nodes(self) -> None:
        made = await self.open(url="https://example.org/alerts", mail=("boss@example.org",))
        nodes = [made, await self.again(), await self.again()]
        for number in range(5):
            await nodes[number % 3].settle(QUOTA, {f"user{each}@example.test": f"{each} is full" for each in range(number + 1)}, set())
            for node in nodes:
                await node.refresh()
        for node in nodes:
            await self.pass_time(node)
        self.assertEqual((len(self.mails), len(self.poster.posts)), (5, 5))
        self.assertEqual(len({json.loads(body)["alerts"][0]["id"] for _, body, _ in self.poster.posts}), 5)

    async def test_real_reception(self) -> None:
        """A mailbox here gets it; an address that does not exist is no reason to try again."""
        made = await self.open(mail=("me@example.test", "nobody@example.test"))
        user = await self.world.user("me@example.test")
        made._notices._accept = self.world.reception.accept
        with capturedLogs() as logs:
            await made.settle(DISK, {"data": "The disk is full to 91 percent."})
            await self.pass_time(made)
            await self.pass_time(made, 3600)
        (content,) = await self.world.contents(user)
        self.assertIn(b"The disk is full to 91 percent.\r\n", content)
        self.assertEqual([each["recipient"] for each in logs if each.get("event") == "alert.refused"], ["nobody@example.test"])
        await made.settle(DISK, {})
        await made.settle(DISK, {"data": "Full again."})
        await self.pass_time(made)
        self.assertEqual(len(await self.world.contents(user)), 2)

    async def test_an_address_that_is_put_right(self) -> None:
        made = await self.open(mail=("late@example.test",))
        made._notices._accept = self.world.reception.accept
        await made.settle(DISK, {"data": "Full."})
        await self.pass_time(made)
        user = await self.world.user("late@example.test")
        await self.pass_time(made, 60)
        self.assertEqual(len(await self.world.contents(user)), 1)

    async def test_nobody_is_to_be_told_any_more(self) -> None:
        made = await self.open(mail=("boss@example.org",))
        self.refusal = Unavailable("away")
        await made.settle(DISK, {"data": "Full."})
        await self.pass_time(made)
        self.refusal = None
        self.settings.current = configured()
        await self.pass_time(made, 60)
        self.assertEqual(self.mails, [])
        self.assertEqual(await self.world.store.read(lambda txn: txn.all("SELECT mailed FROM alerts")), [(0,)])

    async def test_hostile_texts(self) -> None:
        made = await self.open(mail=("boss@example.org",))
        await made.settle(QUOTA, {"a": "x\r\nBcc: eve@example.org\r\n\r\n.\r\n\x00\u202e"})
        await self.pass_time(made)
        self.assertNotIn("\nBcc:", self.content())

    async def test_the_store_is_away(self) -> None:
        made = await self.open(url="https://example.org/alerts", mail=("boss@example.org",))
        made.store_away("gone")
        self.time[0] += 300
        made.store_away("gone")
        await self.pass_time(made)
        self.assertEqual(len(self.poster.posts), 1)
        made.store_back()
        made.store_back()
        await self.pass_time(made)
        (past,) = await made.past()
        self.assertEqual((past.kind, past.closed), (STORE, int(self.time[0])))
        self.assertIn("about 5 minutes", past.text)
        self.assertEqual(len(self.mails), 1)

    async def test_events_wait_for_the_store(self) -> None:
        made = await self.open()
        store, made._store = made._store, _Away()  # type: ignore[assignment]
        made.tell(LOCKOUT, "192.0.2.1", "Too many.")
        await self.pass_time(made)
        made._store = store
        self.assertEqual(await made.open(), [])
        await self.pass_time(made, 60)
        self.assertEqual(len(await made.open()), 1)


class _Away:
    async def write(self, *arguments: Any) -> Any:
        raise Unavailable("away")


class Letters(AlertTests):
    async def test_recipients(self) -> None:
        every = tuple(Address.parse(f"user{number}@example.org") for number in range(9))
        alert = alert_notices.Alert(1, DISK, "Full", "data", "text", 1_800_000_000)
        letter = alert_notices._letter([alert], every, "mx.example.test", 1_800_000_000.0)
        self.assertIn(b"Cc: user1@example.org, user2@example.org, user3@example.org\r\n", letter)

    async def test_international_addresses(self) -> None:
        """Where one of the recipients has an address in ASCII, the header is, too."""
        made = await self.open(mail=("böss@exämple.org", "boss@exämple.org"))
        await made.settle(DISK, {"data": "Full."})
        await self.pass_time(made)
        self.assertEqual([str(each) for each in self.mails[0].recipients], ["boss@xn--exmple-cua.org", "böss@exämple.org"])
        self.assertTrue(self.content().isascii())
        self.assertFalse(self.mails[0].demands.utf8)
        self.settings = Settings(configured(alerts={"mail": ("böss@exämple.org",)}))
        made = await self.again()
        await made.settle(DISK, {})
        await made.settle(DISK, {"data": "Full again."})
        await self.pass_time(made)
        self.assertIn("To: böss@exämple.org\r\n", self.content())
        self.assertTrue(self.mails[-1].demands.utf8)

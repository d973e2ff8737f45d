"""Which failures put an address onto the suppression list, and how the list is asked."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import suppressions as module
from mailx.core.courier import Attempt
from mailx.core.settings import Settings
from mailx.core.suppressions import Suppressions, hard
from mailx.core.users import DirectoryError
from mailx.mail.address import Address
from mailx.mail.reply import Reply, Unavailable
from tests.core.calls_scene import scene
from tests.core.mail_out import LATER
from tests.scenery import configured, world

HARD = Attempt(Reply(550, "5.1.1", "No such user"), "mx.example.org [192.0.2.1]:25")


class Hardness(SynchronousTestCase):
    """What is said of the mailbox itself, and nothing else."""

    def test_codes(self) -> None:
        for code, enhanced, expected in (
            (550, "5.1.1", True),
            (553, "5.1.3", True),
            (551, "5.1.6", True),
            (556, "5.1.10", True),
            (550, "5.2.1", True),
            (550, "5.1.2", False),  # the domain
            (550, "5.1.8", False),  # the sender
            (550, "5.7.1", False),  # a policy
            (554, "5.7.26", False),
            (552, "5.2.2", False),  # full
            (552, "5.3.4", False),  # too large
            (554, "5.4.7", False),  # too long in the queue
            (550, "5.0.0", False),
            (550, "", False),
            (450, "5.1.1", False),  # given up, but not refused for good
            (450, "4.1.1", False),
            (250, "2.0.0", False),
        ):
            self.assertIs(hard(Attempt(Reply(code, enhanced, "text"), "mx")), expected, (code, enhanced))

    def test_texts(self) -> None:
        """What passes is not hard, whatever code it comes with."""
        for text, expected in (
            ("The email account that you tried to reach is disabled.", True),
            (
                "The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
                False,
            ),
            ("This user is receiving mail too quickly", False),
            ("Recipient's MAILBOX FULL", False),
            ("The mailbox is full and cannot accept mail", False),
            ("Account over quota", False),
            ("No such user; see the full list at https://example.org/", True),
        ):
            self.assertIs(hard(Attempt(Reply(550, "5.2.1", text), "mx")), expected, text)


class Bounces(TestCase):
    """Mail of the webhook that fails."""

    timeout = 240

    async def test_hard(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = HARD
        await here.start()
        call = await here.call("You@example.org")
        await here.until_state(call, "bounced")
        await here.office.until(lambda: here.suppressions.holds(Address.parse("you@EXAMPLE.org")))
        (entry,) = await here.suppressions.list()
        self.assertEqual((entry.address, entry.reason, entry.said), ("You@example.org", "5.1.1", "550 5.1.1 No such user"))
        self.assertEqual(entry.created, 1_700_000_000)

    async def test_not_hard(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = Attempt(Reply(550, "5.7.1", "No"), "mx")
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "bounced")
        self.assertEqual(await here.suppressions.count(), 0)

    async def test_other_mail(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = HARD
        await here.start()
        await here.office.send("you@example.org")
        await here.office.settled(failed=1)
        self.assertEqual(await here.suppressions.count(), 0)

    async def test_later(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = LATER
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "deferred")
        here.office.courier.answers["example.org"] = HARD
        await here.later(300)
        await here.until_state(call, "bounced")
        self.assertEqual(await here.suppressions.count(), 1)

    async def test_turned_off(self) -> None:
        here = await scene(self, webhook={"suppress": False})
        here.office.courier.answers["example.org"] = HARD
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "bounced")
        self.assertEqual(await here.suppressions.count(), 0)


class ByHand(TestCase):
    """Changes, and what asking costs."""

    async def test_spellings(self) -> None:
        here = await world(self)
        listed = Suppressions(here.store, here.cipher, Settings(here.config), here.reactor)
        await listed.add("Jürgen@BÜCHER.example", "", 1)
        for text in ("jürgen@bücher.example", "JÜRGEN@xn--bcher-kva.example"):
            self.assertTrue(await listed.holds(Address.parse(text)), text)
            self.assertIsNotNone(await listed.find(f" {text} "))
        self.assertFalse(await listed.holds(Address.parse("juergen@bücher.example")))
        with self.assertRaises(DirectoryError):
            await listed.add("jürgen@xn--bcher-kva.example", "", 1)

    async def test_nothing_plain_in_the_database(self) -> None:
        here = await world(self)
        listed = Suppressions(here.store, here.cipher, Settings(here.config), here.reactor)
        await listed.add("secret-person@example.org", "a note", 1)
        rows = await here.store.read(lambda txn: txn.all("SELECT * FROM suppressions"))
        for part in (b"secret-person", b"example.org", b"a note"):
            self.assertNotIn(part, repr(rows).encode() + b"".join(value for row in rows for value in row if isinstance(value, bytes)))

    async def test_a_long_list_is_asked_in_the_store(self) -> None:
        here = await world(self)
        self.patch(module, "_KEPT", 2)
        listed = Suppressions(here.store, here.cipher, Settings(here.config), here.reactor)
        for number in range(4):
            await listed.add(f"you{number}@example.org", "", 1)
        self.assertIsNone(listed._hashes)
        self.assertTrue(await listed.holds(Address.parse("you1@example.org")))
        self.assertFalse(await listed.holds(Address.parse("you9@example.org")))
        for number in range(3):
            await listed.remove(f"you{number}@example.org")
        self.assertEqual(len(listed._hashes or ()), 1)

    async def test_what_another_server_changes_is_noticed(self) -> None:
        here = await world(self)
        clock = Clock()
        one, other = (Suppressions(here.store, here.cipher, Settings(configured()), reactor) for reactor in (here.reactor, clock))
        await other.load()
        self.addCleanup(other.stop)
        await one.add("you@example.org", "", 1)
        self.assertFalse(await other.holds(Address.parse("you@example.org")))
        await other._refresh()
        self.assertTrue(await other.holds(Address.parse("you@example.org")))
        (entry,) = await one.list()
        await one.drop(entry.id)
        await other._refresh()
        self.assertFalse(await other.holds(Address.parse("you@example.org")))
        with self.assertRaises(DirectoryError):
            await one.drop(entry.id)

    async def test_the_store_is_away(self) -> None:
        here = await world(self)
        listed = Suppressions(here.store, here.cipher, Settings(here.config), here.reactor)

        def away(*_: object) -> None:
            raise Unavailable("gone")

        self.patch(listed, "_store", type("Away", (), {"read": staticmethod(away)})())
        await listed.changed()  # it is noticed later

    async def test_postgresql(self) -> None:
        here = await world(self, engine="postgresql")
        listed = Suppressions(here.store, here.cipher, Settings(here.config), here.reactor)
        await listed.add("you@example.org", "note", 5)
        self.assertEqual([(each.address, each.created) for each in await listed.list()], [("you@example.org", 5)])
        self.assertEqual(await listed.list(before=1), [])
        await listed.remove("YOU@example.org")
        self.assertEqual(await listed.count(), 0)

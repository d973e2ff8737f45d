"""Routes, and what an attempt makes of a recipient."""

from twisted.trial.unittest import SynchronousTestCase

from mailx import config
from mailx.core.courier import Attempt
from mailx.core.parcels import Consignee
from mailx.core.routes import Routes, Way
from mailx.core.shipments import Waiter, verdict, wait
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING
from mailx.mail.reply import Reply


def way(recipient: str, sender: str | None = "me@example.test", *routes: config.Route) -> Way:
    outbound = config.Outbound(routes=routes)
    return Routes(outbound, config.Queue(retry=("5m",))).route(Address.parse(recipient), Address.parse(sender) if sender else None)


class Ways(SynchronousTestCase):
    """Which route holds."""

    def test_direct(self) -> None:
        self.assertEqual(way("you@Example.ORG"), Way("example.org", "", (300,)))

    def test_a_labels(self) -> None:
        self.assertEqual(way("you@bücher.example").destination, "xn--bcher-kva.example")

    def test_first_that_fits(self) -> None:
        routes = (
            config.Route(recipients=("example.org",), senders=("other.test",), relay="one"),
            config.Route(recipients=("*.example.org",), relay="two", retry=("1m", "2m")),
            config.Route(recipients=("bücher.example",), relay="three"),
            config.Route(senders=("example.test",), relay="four"),
        )
        self.assertEqual(way("you@example.org", "me@other.test", *routes).relay, "one")
        self.assertEqual(way("you@example.org", "me@example.test", *routes).relay, "four")
        self.assertEqual(way("you@a.b.example.org", "me@other.test", *routes), Way("two", "two", (60, 120)))
        self.assertEqual(way("you@notexample.org", None, *routes).relay, "")
        self.assertEqual(way("you@xn--bcher-kva.example", None, *routes).relay, "three")

    def test_lanes_of_relays_and_domains_differ(self) -> None:
        routes = (config.Route(recipients=("a.example",), relay="example.org"),)
        self.assertNotEqual(way("you@a.example", None, *routes).lane, way("you@example.org").lane)

    def test_longest_wait(self) -> None:
        outbound = config.Outbound(routes=(config.Route(retry=("2d",)),))
        self.assertEqual(Routes(outbound, config.Queue()).longest, 2 * 86400)


class Verdicts(SynchronousTestCase):
    """What becomes of a recipient."""

    def made(self, code: int, attempts: int = 0, waits: int = 2) -> tuple[str, int]:
        address = Address("you", "example.org")
        waiter = Waiter(1, Consignee(address, address, WISHES_NOTHING), attempts, waits)
        decided = verdict(waiter, Attempt(Reply(code, "", "")), (10, 20), 1000)
        self.assertEqual(decided.attempts, attempts + 1)
        return decided.state, decided.due

    def test_all(self) -> None:
        self.assertEqual(self.made(250), ("sent", 0))
        self.assertEqual(self.made(550), ("failed", 0))
        self.assertEqual(self.made(451), ("deferred", 1010))
        self.assertEqual(self.made(451, 1), ("deferred", 1020))
        self.assertEqual(self.made(451, 2), ("failed", 0))
        self.assertEqual(self.made(354), ("deferred", 1010))

    def test_schedule_that_changed(self) -> None:
        self.assertEqual(self.made(451, 5, 9), ("deferred", 1020))
        self.assertEqual(wait((), 0), 3600)

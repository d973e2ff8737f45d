"""Channels that are shared: how many are opened, who waits, and what happens when they end."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.peer import Peer
from mailx.federation.channel import Unreachable
from mailx.federation.pool import CHANNELS, Pool

PEER = Peer("there.test", (), (("mx.there.test", 2590),), "https", 0, 0, 0)


class Channel:
    """One that is open until it is said to be closed."""

    local, remote = "here.test", "there.test"

    def __init__(self) -> None:
        self.closed = False
        self._calls: list[Any] = []

    def on_close(self, call: Any) -> None:
        self._calls.append(call)

    def close(self) -> None:
        self.end()

    def end(self) -> None:
        self.closed = True
        calls, self._calls = self._calls, []
        for call in calls:
            call(self)


class Connector:
    """Whose connections come about when the test says."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Channel]] = []

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Any:
        self.asked.append(Deferred())
        return await self.asked[-1]


class Pools(TestCase):
    def setUp(self) -> None:
        self.connector = Connector()
        self.pool = Pool(self.connector, lambda: 3)

    def lease(self) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.pool.lease("here.test", PEER))

    def test_one_is_shared(self) -> None:
        leases = [self.lease() for _ in range(3)]
        self.assertEqual(len(self.connector.asked), 1)
        channel = Channel()
        self.connector.asked[0].callback(channel)
        self.assertEqual([self.successResultOf(lease) for lease in leases], [channel] * 3)

    def test_another_when_all_are_full(self) -> None:
        first, second = Channel(), Channel()
        leases = [self.lease() for _ in range(4)]
        self.assertEqual(len(self.connector.asked), 2)
        self.connector.asked[0].callback(first)
        self.assertNoResult(leases[3])
        self.connector.asked[1].callback(second)
        self.assertIs(self.successResultOf(leases[3]), second)
        self.assertEqual([self.successResultOf(lease) for lease in leases[:3]], [first] * 3)

    def test_no_more_than_a_few(self) -> None:
        leases = [self.lease() for _ in range(50)]
        self.assertEqual(len(self.connector.asked), CHANNELS)
        channels = [Channel() for _ in range(CHANNELS)]
        for asked, channel in zip(self.connector.asked, channels, strict=True):
            asked.callback(channel)
        self.assertEqual(sum(lease.called for lease in leases), 3 * CHANNELS)
        self.pool.release(channels[0])  # type: ignore[arg-type]
        self.assertEqual(sum(lease.called for lease in leases), 3 * CHANNELS + 1)

    def test_failure_is_told_to_all(self) -> None:
        leases = [self.lease() for _ in range(3)]
        self.connector.asked[0].errback(Unreachable("no connection"))
        for lease in leases:
            self.failureResultOf(lease, Unreachable)
        self.lease()
        self.assertEqual(len(self.connector.asked), 2)

    def test_who_waits_for_another_has_the_first(self) -> None:
        leases = [self.lease() for _ in range(4)]
        channel = Channel()
        self.connector.asked[0].callback(channel)
        self.connector.asked[1].errback(Unreachable("no more"))
        self.assertNoResult(leases[3])
        self.pool.release(channel)  # type: ignore[arg-type]
        self.assertIs(self.successResultOf(leases[3]), channel)

    def test_one_that_ends_is_replaced(self) -> None:
        leases = [self.lease() for _ in range(3)]
        channel = Channel()
        self.connector.asked[0].callback(channel)
        channel.end()
        self.assertEqual(len(self.pool), 0)
        self.pool.release(channel)  # type: ignore[arg-type]
        self.lease()
        self.assertEqual(len(self.connector.asked), 2)
        self.assertEqual(len(leases), 3)

    def test_who_gave_up_is_passed_over(self) -> None:
        first, second = self.lease(), self.lease()
        first.cancel()
        self.failureResultOf(first)
        channel = Channel()
        self.connector.asked[0].callback(channel)
        self.assertIs(self.successResultOf(second), channel)

    def test_stop(self) -> None:
        self.lease()
        channel = Channel()
        self.connector.asked[0].callback(channel)
        waiting = self.lease()
        self.pool.stop()
        self.assertTrue(channel.closed)
        self.failureResultOf(self.lease(), Unreachable)
        self.assertTrue(waiting.called)

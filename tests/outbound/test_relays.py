"""The couriers of all relays: those that changed are replaced, and end with a goodbye."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailx.config import Relay
from mailx.core.courier import ICourier
from mailx.outbound.relay import RelayCourier
from mailx.outbound.relays import Relays
from tests.outbound.peers import ADA, Outgoing, Sinks, envelope, listen, pool
from tests.outbound.test_relay import Names


class Replacing(TestCase):
    def begin(self, *hosts: str, **fields: Any) -> tuple[Relays, list[Relay]]:
        from twisted.internet import reactor

        self.pool = pool(self, idle_seconds=60)
        relays = [Relay(f"r{number}", (host,), "plain", timeout=5, **fields) for number, host in enumerate(hosts)]
        direct: Any = object()
        make = lambda relay: RelayCourier(relay, self.pool, Outgoing(), Names(), reactor)  # noqa: E731
        return Relays(direct, make, relays), relays

    def listen(self, *script: tuple[str, Any]) -> tuple[Sinks, str]:
        sinks = Sinks(script)
        return sinks, f"127.0.0.1:{listen(self, sinks)}"

    async def deliver(self, courier: ICourier) -> int:
        return (await courier.deliver(envelope(ADA), [ADA], ""))[ADA].reply.code

    async def until_said(self, sinks: Sinks, verb: str) -> None:
        await self.until(lambda: verb in sinks.verbs())

    async def until(self, true: Callable[[], bool]) -> None:
        from twisted.internet import reactor

        for _ in range(20_000):
            if true():
                return
            await deferLater(reactor, 0.005)
        self.fail("it never came true")

    async def test_only_what_changed_is_replaced(self) -> None:
        sinks, host = self.listen()
        relays, now = self.begin(host, host)
        before = relays.couriers
        self.assertEqual(relays.renew(now), set())
        self.assertEqual(relays.couriers, before)
        other = Relay("r1", (host,), "plain", timeout=7)
        self.assertEqual(relays.renew([now[0], other, Relay("r2", (host,), "plain")]), {"r1", "r2"})
        self.assertIs(relays.couriers["r0"], before["r0"])
        self.assertIsNot(relays.couriers["r1"], before["r1"])
        self.assertEqual(relays.renew([now[0]]), {"r1", "r2"})
        self.assertEqual(set(relays.couriers), {"", "r0"})

    async def test_idle_connections_end_at_once_and_are_not_used_again(self) -> None:
        sinks, host = self.listen()
        relays, now = self.begin(host)
        self.assertEqual(await self.deliver(relays.couriers["r0"]), 250)
        self.assertNotIn("QUIT", sinks.verbs())
        relays.renew([Relay("r0", (host,), "plain", timeout=7)])
        relays.retire()
        await self.until_said(sinks, "QUIT")
        self.assertEqual(await self.deliver(relays.couriers["r0"]), 250)
        self.assertEqual(len(sinks.sessions), 2)

    async def test_what_runs_ends_and_then_its_connection(self) -> None:
        sinks, host = self.listen(("message", b""))  # says nothing yet
        relays, now = self.begin(host)
        running = Deferred.fromCoroutine(self.deliver(relays.couriers["r0"]))
        await self.until_said(sinks, "DATA")
        (session,) = sinks.sessions
        relays.renew([])
        relays.retire()
        self.assertFalse(running.called)
        self.assertNotIn("QUIT", sinks.verbs())
        session.transport.write(b"250 2.0.0 OK\r\n")
        self.assertEqual(await running, 250)
        await self.until_said(sinks, "QUIT")

    async def test_no_further_hosts_are_tried(self) -> None:
        """What waits for hosts that do not answer, one after the other, is not kept from the new way by the rest of them."""
        silent, first = self.listen(("", b""))  # never greets
        working, second = self.listen()
        relays, _ = self.begin()
        relays.renew([Relay("r0", (first, second), "plain", timeout=5)])
        running = Deferred.fromCoroutine(self.deliver(relays.couriers["r0"]))
        await self.until(lambda: bool(silent.sessions))
        relays.renew([])
        relays.retire()
        silent.sessions[0].transport.loseConnection()
        self.assertEqual(await running, 451)
        self.assertEqual(working.sessions, [])

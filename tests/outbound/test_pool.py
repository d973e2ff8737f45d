"""Connections kept, replaced, bounded in number, and closed in time."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, NoRouteError, TimeoutError, UserError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.mail.reply import Reply
from mailx.outbound.client import Connection
from mailx.outbound.hop import NONE, Hop, Security, Unreachable
from mailx.outbound.pool import FULL, STOPPED
from mailx.outbound.wire import LINGER
from tests.outbound.peers import ADA, EHLO, Memory, Outgoing, Sinks, envelope, listen, pool

OK, GO = b"250 2.0.0 Ok\r\n", b"354 Go\r\n"


class PoolTests(SynchronousTestCase):
    def begin(self, **settings: Any) -> Memory:
        self.server = Memory(**settings)
        return self.server

    def send(self, key: object = "k", ehlo: bytes = EHLO) -> None:
        """One message, over whatever connection there is."""
        before = len(self.server.reactor.tcpClients)
        delivery = self.server.deliver(key=key)
        if len(self.server.reactor.tcpClients) > before:
            self.server.greet(ehlo)
        self.server.say(OK * 2 + GO)
        self.server.say(OK)
        self.assertTrue(self.successResultOf(delivery)[ADA].reply.done)

    @property
    def made(self) -> int:
        return len(self.server.reactor.tcpClients)

    def want(self, key: object = "k", timeout: float = 30.0) -> "Deferred[Connection]":
        return Deferred.fromCoroutine(
            self.server.pool.connection(key, self.server.hop, Security(NONE), None, timeout)  # type: ignore[arg-type]
        )


class Keeping(PoolTests):
    def test_kept_by_key(self) -> None:
        self.begin()
        self.send("a")
        self.assertTrue(self.server.pool.idle("a"))
        self.assertFalse(self.server.pool.idle("b"))
        self.send("a")
        self.assertEqual(self.made, 1)
        self.send("b")
        self.assertEqual(self.made, 2)

    def test_not_forever(self) -> None:
        server = self.begin(idle_seconds=10)
        self.send()
        server.pass_time(8)
        self.assertTrue(server.pool.idle("k"))
        server.said()
        server.pass_time(4)
        self.assertFalse(server.pool.idle("k"))
        self.assertEqual(server.said(), b"QUIT\r\n")
        server.say(b"221 Bye\r\n")
        self.assertFalse(server.transport.open)
        server.pass_time(2)
        self.assertEqual(server.reactor.getDelayedCalls(), [])

    def test_not_at_all(self) -> None:
        self.begin(idle_seconds=0)
        self.send()
        self.assertTrue(self.server.said().endswith(b"QUIT\r\n"))

    def test_so_many_messages(self) -> None:
        self.begin(per_connection=2)
        for _ in range(4):
            self.send()
        self.assertEqual(self.made, 2)

    def test_as_many_as_the_server_says(self) -> None:
        self.begin()
        for _ in range(4):
            self.send(ehlo=EHLO.replace(b"250-8BITMIME", b"250-LIMITS MAILMAX=2\r\n250-8BITMIME"))
        self.assertEqual(self.made, 2)

    def test_dead_ones_are_not_given(self) -> None:
        self.begin()
        self.send()
        self.server.drop()
        self.assertFalse(self.server.pool.idle("k"))
        self.send()
        self.assertEqual(self.made, 2)

    def test_refused_messages_keep_the_session(self) -> None:
        self.begin()
        delivery = self.server.deliver()
        self.server.greet()
        self.server.say(b"550 No\r\n503 a\r\n503 b\r\n")
        self.assertEqual(self.successResultOf(delivery)[ADA].reply.code, 550)
        self.assertTrue(self.server.pool.idle("k"))

    def test_a_fault_of_ours_ends_the_session(self) -> None:
        class Failing:
            async def render(self, envelope: object, eight_bit: bool) -> bytes:
                raise RuntimeError

        self.begin()
        self.send()
        delivery = Deferred.fromCoroutine(
            self.server.pool.deliver("k", self.server.hop, Security(NONE), None, 30.0, envelope(), (ADA,), Failing())
        )
        self.failureResultOf(delivery, RuntimeError)
        self.assertTrue(self.server.transport.aborted)


class Room(PoolTests):
    """The number of connections is bounded."""

    def test_idle_ones_make_room(self) -> None:
        """At once: nobody waits for the other server's goodbye."""
        server = self.begin(connections=2)
        self.send("a")
        self.send("b")
        waiting = self.want("c")
        self.assertTrue(server.transports[0].value().endswith(b"QUIT\r\n"))
        self.assertEqual(self.made, 3)
        server.greet()
        self.assertEqual(self.successResultOf(waiting).key, "c")
        self.assertTrue(server.pool.idle("b"))

    def test_goodbyes_are_bounded(self) -> None:
        server = self.begin(connections=2)
        for key in range(8):
            self.send(key)
        self.assertLessEqual(sum(transport.open for transport in server.transports), 4)
        self.assertTrue(any(transport.aborted for transport in server.transports))

    def test_released_ones_are_handed_on(self) -> None:
        server = self.begin(connections=1)
        wanted = self.want()
        server.greet()
        connection = self.successResultOf(wanted)
        second, third = self.want(), self.want("other")
        self.assertNoResult(second)
        server.pool.release(connection)
        self.assertIs(self.successResultOf(second), connection)
        server.pool.release(connection)
        self.assertTrue(server.transport.value().endswith(b"QUIT\r\n"))
        server.greet()
        self.assertEqual(self.successResultOf(third).key, "other")

    def test_not_forever(self) -> None:
        server = self.begin(connections=1)
        wanted = self.want()
        server.greet()
        self.successResultOf(wanted)
        second = self.want(timeout=20)
        server.pass_time(18)
        self.assertNoResult(second)
        server.pass_time(4)
        failure = self.failureResultOf(second, Unreachable).value
        self.assertEqual(failure.reply, FULL)
        self.assertFalse(failure.attempt().unreachable, "nothing is wrong with the destination")

    def test_those_being_made_count(self) -> None:
        self.begin(connections=2)
        *_, third = [self.want() for _ in range(3)]
        self.assertEqual(self.made, 2)
        self.server.pool.stop()
        self.failureResultOf(third, Unreachable)

    def test_a_refused_session_makes_room(self) -> None:
        """Its goodbye is waited for no more than any other."""
        server = self.begin(connections=1)
        first, second = self.want(), self.want()
        server.connect()
        server.say(b"554 5.7.1 Not you\r\n")
        self.failureResultOf(first, Unreachable)
        self.assertTrue(server.transport.open)
        self.assertEqual(self.made, 2)
        server.greet()
        self.successResultOf(second)

    def test_a_replacement_is_a_new_one(self) -> None:
        """An idle connection that had ended is not replaced by another of which that may be true as well."""
        server = self.begin(connections=1)
        wanted = self.want()
        server.greet()
        connection = self.successResultOf(wanted)
        fresh = Deferred.fromCoroutine(server.pool.connection("k", server.hop, Security(NONE), None, 30.0, fresh=True))
        server.pool.release(connection)
        self.assertNoResult(fresh)
        server.greet()
        self.assertIsNot(self.successResultOf(fresh), connection)

    def test_failure_makes_room(self) -> None:
        server = self.begin(connections=1)
        first, second = self.want(), self.want()
        server.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.failureResultOf(first, Unreachable)
        self.assertEqual(self.made, 2)
        server.greet()
        self.successResultOf(second)


class Reaching(PoolTests):
    def test_reasons(self) -> None:
        for error, text in (
            (ConnectionRefusedError(), "Connection refused"),
            (TimeoutError(), "Connection timed out"),
            (NoRouteError(), "No route to the server"),
            (UserError(), "The server cannot be reached"),
            (ConnectError(13, "secret"), "The server cannot be reached"),
        ):
            server = self.begin()
            delivery = self.want()
            server.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(error))
            failure = self.failureResultOf(delivery, Unreachable).value
            self.assertEqual(failure.reply, Reply(451, "4.4.1", f"{text}: mx.example.net [192.0.2.1]:25"))
            self.assertEqual(failure.attempt().unreachable, True)

    def test_how(self) -> None:
        server = self.begin(interface="192.0.2.9")
        self.want(timeout=7.0)
        host, port, _, timeout, bind = server.reactor.tcpClients[0]
        self.assertEqual((host, port, timeout, bind), ("192.0.2.1", 25, 7.0, ("192.0.2.9", 0)))
        server.hop = Hop("mx.example.net", "2001:db8::1", 25)
        self.want()
        self.assertEqual(server.reactor.tcpClients[1][4], None)


class Stopping(PoolTests):
    def test_stop(self) -> None:
        server = self.begin(connections=2)
        self.send("a")
        wanted = self.want("b")
        server.greet()
        busy = self.successResultOf(wanted)
        server.pool.release(self.successResultOf(self.want("a")))
        busy_too = self.successResultOf(self.want("a"))
        waiting = self.want("c")
        self.assertNoResult(waiting)
        server.pool.release(busy_too)  # whoever waits has its room
        self.assertTrue(server.transports[0].value().endswith(b"QUIT\r\n"))
        last = self.want("d")
        server.pool.stop()
        self.assertEqual(self.failureResultOf(last, Unreachable).value.reply, STOPPED)
        self.assertTrue(busy.usable)
        server.pool.release(busy)
        self.assertTrue(server.transports[1].value().endswith(b"QUIT\r\n"))
        self.failureResultOf(self.want("a"), Unreachable)
        server.pass_time(LINGER + 3)
        self.assertFalse(any(each.open for each in server.transports))
        self.assertEqual(server.reactor.getDelayedCalls(), [])

    def test_abort(self) -> None:
        server = self.begin()
        self.send()
        server.pool.stop()
        server.pool.abort()
        self.assertTrue(server.transport.aborted)
        self.assertEqual(server.reactor.getDelayedCalls(), [])


class RealSockets(TestCase):
    async def test_many_at_once(self) -> None:
        """Forty messages through four connections, each message once and whole."""
        sinks = Sinks()
        connections = pool(self, connections=4)
        hop = Hop("mx.example.net", "127.0.0.1", listen(self, sinks))

        contents = [b"Subject: %d\r\n\r\n" % number + b".\r\n" * number * 1000 for number in range(40)]

        async def one(content: bytes) -> None:
            found = await connections.deliver("k", hop, Security(NONE), None, 5.0, envelope(content=content), (ADA,), Outgoing())
            self.assertTrue(found[ADA].reply.done)

        for each in [Deferred.fromCoroutine(one(content)) for content in contents]:
            await each
        self.assertEqual(sorted(content for _, content in sinks.messages), sorted(contents))
        self.assertLessEqual(len(sinks.sessions), 4)

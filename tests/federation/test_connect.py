"""Channels over real TLS: both sides proved, or a reason why not, on both sides."""

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from mailx.core.peer import PeerSettings
from mailx.federation.certificates import Certificates
from mailx.federation.channel import Channel, ChannelLost, PeerRefused, Unreachable
from mailx.federation.link import LinkLimits
from mailx.mail.reply import Refused, Reply
from tests.federation.loopback import Key, Loopback, Side
from tests.federation.test_link import Echo

TOO_MANY = "Too many connections from your domain"


class Proofs(Loopback):
    """Who gets a channel."""

    async def test_both_sides_are_proved(self) -> None:
        listener = self.listen({"echo": Echo()})
        arrived: Deferred[object] = Deferred()
        listener.on_channel(arrived.callback)
        channel = await self.connect()
        self.assertEqual((channel.local, channel.remote), ("here.example", "there.example"))
        self.assertEqual(channel.key, self.there.keys["there.example"].public)
        self.assertRegex(channel.tls, r"^TLSv1\.3 TLS_")
        there = await arrived
        self.assertEqual((there.local, there.remote, there.key), ("there.example", "here.example", self.here.keys["here.example"].public))
        self.assertEqual((there.address, there.tls), ("127.0.0.1", channel.tls))
        data = b"x" * 300000
        self.assertEqual(await channel.call("echo", "echo", {"data": data}), {"data": data})

    async def test_each_domain_shows_its_own_certificate(self) -> None:
        self.listen()
        channel = await self.connect(remote="also.example")
        self.assertEqual(channel.key, self.there.keys["also.example"].public)

    async def refused(self, ours: str, theirs: str = "", security: bool = True, side: Side | None = None, **more: str) -> None:
        """No channel comes of it; ``ours`` is in the reason here, ``theirs`` in that of the last refusal there."""
        with self.assertRaises(Unreachable) as caught:
            await self.connect(side=side, **more)
        self.assertIn(ours, caught.exception.reason)
        self.assertEqual(caught.exception.security, security)
        if theirs:
            await self.there.noted(theirs)

    async def test_a_server_with_another_key_is_not_believed(self) -> None:
        self.listen()
        self.here.book.known["there.example"] = (b"k" * 32,)
        await self.refused("signed by a key that is not the domain's", "signed by a key that is not the domain's")
        self.assertTrue(self.there.refusals[-1].by_peer)

    async def test_a_caller_with_another_key_is_told(self) -> None:
        self.listen()
        self.there.book.known["here.example"] = (b"k" * 32,)
        await self.refused("550 5.7.8 the certificate is signed by a key that is not the domain's", "is not the domain's")

    async def test_a_caller_from_nowhere(self) -> None:
        self.listen()
        del self.there.book.known["here.example"]
        await self.refused("no MailX server is known for here.example", "no MailX server is known")

    async def test_an_expired_certificate(self) -> None:
        self.listen()
        self.there.now = 4 * 86400.0
        self.here.certificates.of("here.example")
        await self.refused("not valid yet")

    async def test_a_domain_that_is_not_there(self) -> None:
        self.listen()
        self.here.book.known["other.example"] = (b"k" * 32,)
        await self.refused("no certificate for the domain", "no certificate for the domain", remote="other.example")

    async def test_the_former_key_opens_where_the_new_one_is_not_known(self) -> None:
        self.listen()
        old, new = self.here.keys["here.example"], Key(b"n" * 32)
        self.here.keys["here.example"] = new
        former = Certificates({"here.example": old}.__getitem__, self.here.seconds)
        arrived: Deferred[Channel] = Deferred()
        self.listener.on_channel(arrived.callback)
        await self.connect(former=former)
        self.assertEqual((await arrived).key, old.public)
        self.assertEqual([refusal.reason for refusal in self.there.refusals], ["certificate"])

    async def test_a_new_key_that_is_believed_needs_no_former(self) -> None:
        self.listen()
        new = self.here.keys["here.example"] = Key(b"n" * 32)
        self.there.book.known["here.example"] += (new.public,)
        arrived: Deferred[Channel] = Deferred()
        self.listener.on_channel(arrived.callback)
        await self.connect()
        self.assertEqual((await arrived).key, new.public)
        self.assertEqual(self.there.book.asked, [("here.example", new.public)])

    async def test_a_peer_that_cannot_be_checked_now_may_come_back(self) -> None:
        self.listen()
        self.there.book.trouble = Refused(Reply(451, "4.4.0", "the MailX server of the domain cannot be told now"), "no DNS")
        with self.assertRaises(Unreachable) as caught:
            await self.connect()
        self.assertEqual((caught.exception.security, caught.exception.retry_after), (False, 60))
        self.assertEqual(caught.exception.reply and caught.exception.reply.code, 451)

    async def test_a_blocked_domain_is_told_so(self) -> None:
        self.listen()
        self.there.book.trouble = Refused(Reply(550, "5.7.1", "This server does not exchange mail with your domain"), "blocked peer")
        with self.assertRaises(Unreachable) as caught:
            await self.connect()
        self.assertIn("does not exchange mail with your domain", caught.exception.reason)
        self.assertEqual([end.refusals[0].reason for end in (self.there, self.here)], ["blocked", "blocked"])

    async def test_only_so_many_connections_of_one_domain(self) -> None:
        self.own["here.example"] = PeerSettings(connections=2)
        self.listen()
        first = await self.connect()
        await self.connect()
        with self.assertRaises(Unreachable) as caught:
            await self.connect()
        self.assertEqual((str(caught.exception.reply), caught.exception.retry_after), (f"421 4.7.0 {TOO_MANY}", 60))
        there = next(arrival.link for arrival in self.listener.sessions if arrival.link is not None)
        gone = [self.gone(first), self.gone(there)]
        first.abort()
        there.abort()
        for each in gone:
            await each
        await self.connect()

    async def test_one_domain_takes_no_more_than_half_of_all(self) -> None:
        self.listen(max_connections=4)
        for remote in ("there.example", "also.example"):
            await self.connect(remote=remote)
        with self.assertRaises(Unreachable):
            await self.connect()
        self.assertEqual(self.there.refusals[0].reason, "limit")

    async def test_only_so_many_connections_of_all(self) -> None:
        self.listen(max_connections=1)
        await self.connect()
        with self.assertRaises(Unreachable):
            await self.connect()
        self.assertEqual([refusal.reason for refusal in self.there.refusals], ["limit"])

    async def test_private_addresses_only_where_they_are_allowed(self) -> None:
        self.listen()
        connector = self.connector()
        connector._networks = tuple
        for servers in (self.servers, [("169.254.169.254", 80), ("::1", 2590), ("10.0.0.1", 2590)]):
            with self.assertRaises(Unreachable) as caught:
                await connector.connect("here.example", "there.example", servers)
            self.assertIn("no address of the public Internet", caught.exception.reason)
        self.assertEqual(self.here.refusals + self.there.refusals, [])
        self.channels.append(await connector.connect("here.example", "there.example", self.servers, anywhere=True))

    async def test_the_next_server_is_tried(self) -> None:
        self.listen()
        free = self.reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        port = free.getHost().port
        await free.stopListening()
        connector = self.connector()
        with self.assertRaises(Unreachable) as caught:
            await connector.connect("here.example", "there.example", [("127.0.0.1", port)])
        self.assertEqual(
            (caught.exception.reason, caught.exception.security), (f"no connection to 127.0.0.1 port {port}: connection refused", False)
        )
        self.channels.append(await connector.connect("here.example", "there.example", [("127.0.0.1", port), *self.servers]))

    async def test_keys_that_are_not_found_in_time(self) -> None:
        self.listen()
        self.here.book.wait = Deferred()
        with self.assertRaises(Unreachable) as caught:
            await self.connect(limits=LinkLimits(timeout=1))
        self.assertEqual((caught.exception.reason, caught.exception.security), ("the keys of there.example are not found in time", False))

    async def test_a_server_that_goes_while_its_keys_are_looked_up(self) -> None:
        self.listen()
        self.here.book.wait = Deferred()
        connecting = Deferred.fromCoroutine(self.connect())
        while not self.here.book.asked:
            await self.turn()
        self.listener.abort()
        self.here.book.wait.callback(None)
        with self.assertRaises(Unreachable) as caught:
            await connecting
        self.assertIn("no hello", caught.exception.reason)

    async def test_a_domain_of_ours_without_a_key(self) -> None:
        with self.assertRaises(Unreachable):
            await self.connector().connect("nobody.example", "there.example", [("127.0.0.1", 1)])


class Endings(Loopback):
    """How channels end when the server stops."""

    async def test_calls_under_way_are_finished(self) -> None:
        echo = Echo()
        listener = self.listen({"echo": echo})
        channel = await self.connect()
        gone = self.gone(channel)
        call = Deferred.fromCoroutine(channel.call("echo", "wait", {}))
        await channel.call("echo", "echo", {})
        drained = listener.drain()
        self.assertNoResult(drained)
        with self.assertRaises(PeerRefused) as caught:
            await channel.call("echo", "echo", {})
        self.assertEqual((caught.exception.reply.code, caught.exception.retry_after), (421, 60))
        echo.waiting[0].callback(None)
        self.assertEqual(await call, {})
        await gone
        await drained

    async def test_what_does_not_end_is_cut_with_a_word(self) -> None:
        echo = Echo()
        listener = self.listen({"echo": echo})
        channel = await self.connect()
        call = Deferred.fromCoroutine(channel.call("echo", "wait", {}))
        await channel.call("echo", "echo", {})
        drained = listener.drain()
        listener.cut()
        await self.assertFailure(call, ChannelLost)
        await drained
        echo.waiting[0].callback(None)

    async def test_a_channel_does_not_outlive_its_key(self) -> None:
        clock = Clock()
        self.listen(limits=LinkLimits(idle=600), reactor=clock)
        channel = await self.connect()
        gone = self.gone(channel)
        clock.pump([5.0] * 13)
        self.assertEqual(len(self.there.book.asked), 2)
        self.assertFalse(channel.closed)
        self.there.book.trouble = Refused(Reply(451, "4.4.0", "not now"))
        clock.pump([5.0] * 13)
        self.assertFalse(channel.closed)
        self.there.book.trouble = None
        self.there.book.known["here.example"] = (b"k" * 32,)
        while not self.there.refusals:
            clock.advance(5)
        await gone
        self.assertEqual((await self.there.noted("is not the domain's any more")).reason, "certificate")
        self.assertTrue((await self.here.noted("is not the domain's any more")).by_peer)

    async def test_a_channel_does_not_outlive_a_block(self) -> None:
        clock = Clock()
        self.listen(reactor=clock)
        gone = self.gone(await self.connect())
        self.there.book.trouble = Refused(Reply(550, "5.7.1", "This server does not exchange mail with your domain"), "blocked peer")
        clock.pump([5.0] * 13)
        await gone
        self.assertEqual((await self.there.noted("blocked peer")).reason, "blocked")

    async def test_the_channels_of_a_domain_that_is_blocked(self) -> None:
        listener = self.listen()
        channel = await self.connect()
        gone = self.gone(channel)
        listener.drop("other.example")
        self.assertFalse(channel.closed)
        listener.drop("here.example")
        await gone

"""Channels over real TLS: both sides proved, or a reason why not, on both sides."""

from twisted.internet.defer import Deferred

from mailx.federation.channel import Unreachable
from tests.federation.loopback import Loopback, Side
from tests.federation.test_link import Echo


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
            await self.noted(theirs)

    async def noted(self, text: str) -> None:
        while not any(text in refusal.detail for refusal in self.there.refusals):
            turn: Deferred[None] = Deferred()
            self.reactor.callLater(0.01, turn.callback, None)
            await turn

    async def test_a_server_with_another_key_is_not_believed(self) -> None:
        self.listen()
        self.here.book.known["there.example"] = (b"k" * 32,)
        await self.refused("signed by a key that is not the domain's", "signed by a key that is not the domain's")
        self.assertTrue(self.there.refusals[-1].by_peer)

    async def test_a_caller_with_another_key_is_told(self) -> None:
        self.listen()
        self.there.book.known["here.example"] = (b"k" * 32,)
        await self.refused("550 5.7.1 the certificate is signed by a key that is not the domain's", "is not the domain's")

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

"""The port as a service: opened, ended in order, both told in the log."""

from twisted.internet.defer import Deferred

from mailx.federation.channel import ChannelLost
from mailx.federation.server import PeerServer
from tests.federation.loopback import Loopback
from tests.federation.test_link import Echo


class Service(Loopback):
    """Starts and stops."""

    async def test_peers_finish_their_calls(self) -> None:
        echo = Echo()
        listener = self.listen({"echo": echo})
        await self.port.stopListening()
        server = PeerServer(listener, "127.0.0.1", 0, 30, self.reactor)
        server.privilegedStartService()
        server.startService()
        self.port = server.ports["federation"]
        channel = await self.connect()
        call = Deferred.fromCoroutine(channel.call("echo", "wait", {}))
        await channel.call("echo", "echo", {})
        stopped = server.stopService()
        self.assertNoResult(stopped)
        echo.waiting[0].callback(None)
        self.assertEqual(await call, {})
        await stopped
        self.assertEqual((server.ports, listener.sessions), ({}, set()))

    async def test_but_not_for_ever(self) -> None:
        echo = Echo()
        listener = self.listen({"echo": echo})
        await self.port.stopListening()
        server = PeerServer(listener, "127.0.0.1", 0, 0.05, self.reactor)
        server.startService()
        self.port = server.ports["federation"]
        channel = await self.connect()
        call = Deferred.fromCoroutine(channel.call("echo", "wait", {}))
        await channel.call("echo", "echo", {})
        await server.stopService()
        lost = await self.assertFailure(call, ChannelLost)
        self.assertEqual(str(lost), "the other server ended the connection: 421 4.3.2 The server is stopping; try again later")
        self.assertEqual(self.here.refusals + self.there.refusals, [])  # which is no matter of security
        echo.waiting[0].callback(None)

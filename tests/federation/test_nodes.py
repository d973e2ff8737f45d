"""Several servers on one database, where messages come in and where they go out: each message exactly once."""

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.choosing import Choosing
from mailx.federation.channel import PeerRefused, Unreachable
from mailx.federation.transfers import CHUNK, answered
from mailx.identity.transfers import Acknowledgement, Manifest
from tests.core.mail_out import Office
from tests.federation.pairs import Pair, channels
from tests.federation.post import HERE, KEYS, THERE, Post, Wires, carrier, post, receiver, rerouted
from tests.federation.test_transfers import CONTENT, YOU, large, manifest


@define
class _Both:
    """A sender over channels to two nodes."""

    made: Post
    ways: tuple[Pair, ...]

    async def brought(self, content: bytes) -> list[Any]:
        """What becomes of the same transfer, brought to each node twice at the same time; None: to be tried again."""
        about = manifest(content, id=bytes([len(content) % 251]) * 16)
        return await gatherResults([Deferred.fromCoroutine(self._one(way, about, content)) for way in self.ways * 2])

    async def _one(self, way: Pair, about: Manifest, content: bytes) -> Any:
        call, signed = way.calling.call, about.signed(KEYS[HERE])
        try:
            if len(content) <= CHUNK:
                return await call("delivery", "send", {"manifest": signed, "content": content})
            begun = await call("delivery", "begin", {"manifest": signed})
            if "replies" in begun:
                return begun
            for start in range(0, len(content), CHUNK):
                await call("delivery", "chunk", {"id": about.id, "offset": start, "data": content[start : start + CHUNK]})
            return await call("delivery", "commit", {"id": about.id})
        except PeerRefused as refused:
            assert refused.reply.temporary, refused.reply
            return None


class Receiving(TestCase):
    """The same transfer comes to two nodes at once."""

    timeout = 240

    async def test_whole_and_in_pieces(self) -> None:
        made = await post(self, engine="postgresql", there={"store": {"spool_above": 100_000, "file_above": 65536}})
        other = receiver(await made.there.on_another_node(self), [])
        self.addCleanup(other.stop)
        both = _Both(made, (await self.way(made.delivery, made), await self.way(other, made)))
        for content in (CONTENT, large()):
            answers = [each for each in await both.brought(content) if each is not None]
            again = await both.brought(content)
            self.assertTrue(answers)
            self.assertNotIn(None, again)
            for each in answers + again:
                replies, octets = answered(each)
                self.assertEqual(replies[YOU].code, 250)
                self.assertEqual(Acknowledgement.read(octets)[0].taken[YOU].size, len(content))
        self.assertEqual([each.endswith(whole) for each, whole in zip(await made.arrived(), (CONTENT, large()), strict=True)], [True, True])

    async def way(self, delivery: Any, made: Post) -> Pair:
        keys = {"calling_key": KEYS[HERE].public, "answering_key": KEYS[THERE].public}
        pair = await channels([delivery], calling=HERE, answering=THERE, reactor=made.there.reactor, **keys)
        self.addCleanup(pair.wire.cut)
        return pair


class Sending(TestCase):
    """A node dies with the answer of the other server on its way to it; another node of its database goes on."""

    timeout = 240

    async def test_the_other_node_sends_it_under_the_same_name(self) -> None:
        made = await post(self, sender_engine="postgresql", queue={"shutdown_seconds": 0})
        stuck: Deferred[None] = Deferred()

        def deaf(pair: Pair) -> None:
            call = pair.calling.call

            async def never(*args: Any) -> Any:
                await call(*args)
                stuck.callback(None)
                return await Deferred()

            pair.calling.call = never  # type: ignore[method-assign]

        made.wires.made = deaf
        await made.here.start()
        await made.here.send("you@other.test", content=CONTENT)
        await stuck
        timetable = made.here.queue._timetable
        await made.here.until(lambda: timetable._round is not None and not timetable._busy)
        timetable._round.cancel()  # the dead give no sign of life
        made.wires.trouble = Unreachable("this one is dead")
        self.assertEqual(len(await made.arrived()), 1)
        other = await made.here.on_another_node()
        wires = self.sending(other, made)
        await other.start()
        await other.queue._timetable._upkeep()
        self.assertEqual((await other.queue.ledger.counts())["sending"], 1)  # whose node may be alive
        await other.world.store.write(
            lambda txn: txn.execute("UPDATE nodes SET seen = seen - 121 WHERE node <> ?", (other.world.store.node,))
        )
        await other.queue._timetable._upkeep()
        await other.settled(sent=1, sending=0)
        self.assertEqual((len(wires.pairs), len(await made.arrived()), made.direct.tried), (1, 1, []))

    def sending(self, other: Office, made: Post) -> Wires:
        """Let ``other`` send by channels of its own."""
        wires = Wires([made.delivery], other.world.reactor)
        self.addCleanup(lambda: [pair.wire.cut() for pair in wires.pairs] and None)
        rerouted(other, made.book, {"": Choosing(made.book, carrier(other, made.book, wires), other.courier), "smart": other.relay})
        return wires

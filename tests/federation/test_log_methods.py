"""Key logs over a channel: greetings, questions, refusals."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.log_witness import GROWN, NEW, Away
from mailx.federation.channel import CallTimeout, PeerRefused, Unreachable
from mailx.federation.discovery_service import NAME
from mailx.federation.log_methods import LogMethods
from mailx.federation.log_source import LogSource
from mailx.identity.statements import SeedSigner
from mailx.mail.log_leaf import USER_KEY
from mailx.mail.reply import Refused, Reply
from tests.core.log_scene import Server, server
from tests.federation.pairs import channels

A, B = "a.example", "b.example"


class Service:
    """Discovery with nothing but the logs."""

    name = NAME

    def __init__(self, there: Server) -> None:
        self.methods = LogMethods(key_log=there.log, gossip=there.gossip).methods


class Methods(TestCase):
    async def open(self) -> tuple[Server, Server, Any]:
        self.net: dict[str, Server] = {}
        a, b = [await server(self, self.net, domain) for domain in (A, B)]
        await b.grow(5)
        pair = await channels({NAME: Service(b)}, calling=A, answering=B)
        return a, b, pair.calling

    async def test_a_log_is_followed_over_a_channel(self) -> None:
        a, b, channel = await self.open()
        ask = LogSource().over(channel)
        keys = b.keys.valid(B)
        self.assertEqual(await a.witness.seen(B, (await ask("log_head", {}))["head"], keys, ask), NEW)
        await b.grow(3)
        self.assertEqual(await a.witness.seen(B, (await ask("log_head", {}))["head"], keys, ask), GROWN)
        self.assertEqual(len((await ask("log_leaves", {"first": 2, "count": 4}))["leaves"]), 4)
        self.assertEqual((await ask("log_epochs", {}))["epochs"], [])
        found = await ask("log_history", {"kind": USER_KEY, "name": "user1@b.example"})
        ((number, leaf, path),) = found["entries"]
        self.assertEqual((number, len(leaf), len(path), len(found["statements"])), (1, 91, 3 * 32, 1))
        self.assertEqual(len((await ask("log_inclusion", {"number": 1, "size": 8}))["proof"]), 3 * 32)
        self.assertEqual((await ask("log_gossip", {"salt": b"s" * 16, "names": [b"n" * 16]}))["heads"], [])

    async def test_whoever_connects_greets_with_heads(self) -> None:
        a, b, _ = await self.open()
        await a.grow(2)
        for _ in range(2):
            greeters: Any = {"calling_greeter": a.gossip, "answering_greeter": b.gossip}
            await channels({NAME: Service(b)}, calling=A, answering=B, **self.proved(a, b), **greeters)
            for each in [*a.gossip._running, *b.gossip._running]:
                await each
        for here, domain, size in ((a, B, 5), (b, A, 2)):
            kept = await here.witness.kept(domain)
            assert kept is not None
            self.assertEqual(kept.head.size, size)
            self.assertEqual((await here.log.state(here.domain)).confirmed, len(await here.log.leaves(here.domain, 0, 99)))

    def proved(self, a: Server, b: Server) -> dict[str, bytes]:
        return {"calling_key": a.keys.seeds[0].public, "answering_key": b.keys.seeds[0].public}

    async def test_what_is_asked_wrongly_is_refused(self) -> None:
        _, _, channel = await self.open()
        ask = LogSource().over(channel)
        for method, fields in (
            ("log_consistency", {"old": 1, "size": 99}),
            ("log_consistency", {"old": -1, "size": 2}),
            ("log_consistency", {"size": 2}),
            ("log_inclusion", {"number": 5, "size": 5}),
            ("log_leaves", {"first": 2**60}),
            ("log_leaves", {"first": 0, "count": 100000}),
            ("log_history", {"kind": "other", "name": "x"}),
            ("log_history", {"kind": USER_KEY, "name": "x" * 1000}),
            ("log_gossip", {"salt": b"s" * 17, "names": []}),
            ("log_gossip", {"salt": b"s" * 16, "names": [b"n" * 16] * 65}),
            ("log_gossip", {"salt": b"s" * 16, "names": ["text"]}),
        ):
            with self.assertRaises(Away) as caught:
                await ask(method, fields)
            self.assertTrue(caught.exception.refused, (method, fields))

    async def test_the_longest_answers_fit(self) -> None:
        """As many entries, statements and epochs as are told at a time, signed by as many keys as there may be."""
        a, b, channel = await self.open()
        b.keys.seeds += [SeedSigner(bytes([number]) * 32) for number in range(3)]
        for serial in range(1, 130):
            await b.bind("ada@b.example", serial)
        for _ in range(60):
            await b.log.begin_epoch(B, await b.log.head(B))
        ask = LogSource().over(channel)
        found = await ask("log_history", {"kind": USER_KEY, "name": "ada@b.example"})
        self.assertEqual((len(found["entries"]), len(found["statements"]), found["earlier"]), (100, 100, True))
        self.assertEqual(len((await ask("log_epochs", {}))["epochs"]), 60)
        self.assertEqual(len((await ask("log_leaves", {"first": 0}))["leaves"]), 194)

    async def test_a_domain_without_a_log(self) -> None:
        _, b, _ = await self.open()
        pair = await channels({NAME: Service(b)}, calling=A, answering="c.example")
        with self.assertRaises(PeerRefused) as caught:
            await pair.calling.call(NAME, "log_head", {})
        self.assertEqual(caught.exception.reply.code, 550)


class Sources(TestCase):
    async def test_who_does_not_answer_is_away_and_who_says_no_refuses(self) -> None:
        class Asking:
            failure: Exception = Unreachable("no route")

            async def ask(self, *arguments: Any) -> Any:
                raise self.failure

        with self.assertRaises(Away):
            await LogSource().to(A, B)("log_head", {})
        source = LogSource(Asking())
        for failure, refused in (
            (Unreachable("no route"), False),
            (CallTimeout("late"), False),
            (PeerRefused(Reply(451, "4.3.0", "later")), False),
            (PeerRefused(Reply(550, "5.1.0", "no")), True),
            (Refused(Reply(451, "4.4.0", "undecided")), False),
        ):
            Asking.failure = failure
            with self.assertRaises(Away) as caught:
                await source.to(A, B)("log_head", {})
            self.assertEqual(caught.exception.refused, refused, failure)

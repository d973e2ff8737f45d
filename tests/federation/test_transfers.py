"""Messages between two servers: taken once, acknowledged, resumed, refused."""

import json
from hashlib import sha256
from time import time
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.choosing import NOT_OURS
from mailx.core.courier import FEDERATED
from mailx.core.peer import Undecided
from mailx.federation import uploads
from mailx.federation.channel import PeerRefused, Unreachable
from mailx.federation.transfers import CHUNK, answered
from mailx.identity.encoding import parse
from mailx.identity.statements import Statement
from mailx.identity.transfers import Acknowledgement, Manifest
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Reply
from tests.core.mail_out import TAKEN
from tests.federation.pairs import Pair, channels
from tests.federation.post import HERE, KEYS, THERE, Post, peer, post, receiver

CONTENT = b"From: <me@example.test>\r\nTo: <you@other.test>\r\nSubject: Hello\r\n\r\nHello\r\n"
YOU = Address.parse("you@other.test")
ME = Address.parse("me@example.test")


def large(octets: int = 3 * CHUNK) -> bytes:
    return CONTENT + (b"0123456789abcdef" * 4 + b"\r\n") * (octets // 66)


def manifest(content: bytes = CONTENT, **fields: Any) -> Manifest:
    made = Manifest(b"i" * 16, HERE, THERE, ME, (YOU,), len(content), sha256(content).digest(), int(time()))
    return evolve(made, **fields)


async def refused(call: Any) -> Reply:
    try:
        await call
    except PeerRefused as no:
        return no.reply
    raise AssertionError("it was not refused")


class Transfers(TestCase):
    """From the queue of one to the mailbox of the other."""

    async def facts(self, made: Post, id: str, event: str = "delivered") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        async def told() -> bool:
            traces = await made.here.timeline.trace(id, 5)
            found[:] = [each.facts for trace in traces for each in trace.events if each.event == event]
            return bool(found)

        await made.here.until(told)
        return found

    async def test_delivered(self) -> None:
        made = await post(self)
        await made.here.start()
        id = await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(sent=1)
        (content,) = await made.arrived()
        self.assertTrue(content.endswith(CONTENT))
        self.assertIn(b"Return-Path: <me@example.test>\r\n", content)
        self.assertIn(b"with MAILX", content)
        (facts,) = await self.facts(made, id)
        self.assertEqual((facts["security"], facts["host"]), (FEDERATED, "other.test [127.0.0.2]"))
        acknowledgement, statement = Acknowledgement.read(facts["proof"].encode())
        self.assertTrue(statement.signed_by(KEYS[THERE].public))
        self.assertEqual(list(acknowledgement.taken), [YOU])
        self.assertEqual(acknowledgement.taken[YOU].digest, sha256(CONTENT).digest())
        self.assertEqual(made.book.pinned, [THERE])
        self.assertEqual(made.direct.tried, [])

    async def test_large_ones_come_in_pieces(self) -> None:
        made = await post(self, there={"store": {"spool_above": 100_000, "file_above": 65536}})
        await made.here.start()
        whole = large()
        await made.here.send("you@other.test", content=whole)
        await made.here.settled(sent=1)
        (content,) = await made.arrived()
        self.assertTrue(content.endswith(whole))
        self.assertEqual(len(made.there.files()), 1)

    async def test_an_answer_that_is_lost(self) -> None:
        """The message is stored, the connection ends before the answer: it is asked after, and stored once."""
        made = await post(self)
        await made.here.start()
        made.wires.made = lambda pair: cut_answer(pair) if len(made.wires.pairs) == 1 else None
        id = await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(sent=1)
        self.assertEqual(len(await made.arrived()), 1)
        self.assertEqual(len(made.wires.pairs), 2)
        self.assertTrue((await self.facts(made, id))[0]["proof"])

    async def test_all_answers_are_lost(self) -> None:
        """It waits, is sent again under the same name, and never goes by SMTP."""
        made = await post(self)
        await made.here.start()
        made.wires.made = lambda pair: cut_answer(pair) if len(made.wires.pairs) <= 3 else None
        await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(deferred=1)
        self.assertEqual(len(await made.arrived()), 1)
        await self.later(made, 3600)
        await made.here.settled(sent=1)
        self.assertEqual(len(await made.arrived()), 1)
        self.assertEqual(made.direct.tried, [])

    async def later(self, made: Post, seconds: int) -> None:
        made.here.clock[0] += seconds
        await made.here.queue.hasten(THERE)
        made.here.queue.wake()

    async def test_pieces_are_not_sent_twice(self) -> None:
        made = await post(self, there={"store": {"spool_above": 100_000}})
        await made.here.start()
        whole = large(8 * CHUNK)

        def cut_after(pair: Pair) -> None:
            def before(end: int, data: bytes) -> bool:
                return len(made.wires.pairs) > 1 or pair.wire.octets[0] < 5 * CHUNK

            pair.wire.before = before

        made.wires.made = cut_after
        await made.here.send("you@other.test", content=whole)
        await made.here.settled(sent=1)
        (content,) = await made.arrived()
        self.assertTrue(content.endswith(whole))
        first, second = [pair.wire.octets[0] for pair in made.wires.pairs]
        self.assertLess(second, len(whole) - 3 * CHUNK)
        self.assertGreaterEqual(first, 4 * CHUNK)

    async def test_who_is_unknown_is_said_before_the_content(self) -> None:
        made = await post(self)
        await made.here.start()
        await made.here.send("nobody@other.test", content=large())
        await made.here.settled(failed=1)
        self.assertLess(made.wires.pairs[0].wire.octets[0], CHUNK)
        self.assertEqual(len(await made.here.reports()), 1)

    async def test_some_take_it(self) -> None:
        made = await post(self)
        await made.here.start()
        await made.here.send("you@other.test", "nobody@other.test", content=CONTENT)
        await made.here.settled(sent=1, failed=1)
        self.assertEqual(await made.here.states(), {"you@other.test": "sent", "nobody@other.test": "failed"})
        self.assertEqual(len(await made.arrived()), 1)

    async def test_others_go_by_smtp(self) -> None:
        made = await post(self)
        await made.here.start()
        await made.here.send("you@example.org", content=CONTENT)
        await made.here.settled(sent=1)
        self.assertEqual([destination for destination, *_ in made.direct.tried], ["example.org"])

    async def test_limits_are_no_failures(self) -> None:
        made = await post(self)
        made.admission += [60, 60]
        await made.here.start()
        await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(deferred=1)
        (entry,) = await made.here.entries()
        self.assertEqual(entry.attempts, 0)
        self.assertGreaterEqual(entry.due - made.here.clock[0], 60)
        self.assertLess(entry.due - made.here.clock[0], 120)
        await made.here.send("you@other.test", content=CONTENT)  # waits, too: nothing is asked meanwhile
        await made.here.settled(deferred=1, pending=1)
        self.assertEqual(len(made.admission), 1)

    async def test_unreachable_without_a_pin(self) -> None:
        made = await post(self)
        made.wires.trouble = Unreachable("no connection")
        await made.here.start()
        await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(sent=1)
        self.assertEqual(len(made.direct.tried), 1)

    async def test_unreachable_with_a_pin(self) -> None:
        for pinned, trouble in ((True, Unreachable("no connection")), (False, Unreachable("another key", security=True))):
            made = await post(self)
            made.wires.trouble = trouble
            if pinned:
                made.book.peers[THERE] = peer(pinned_until=1 << 40)
            await made.here.start()
            await made.here.send("you@other.test", content=CONTENT)
            await made.here.settled(deferred=1)
            self.assertEqual(made.direct.tried, [])
            (entry,) = await made.here.entries()
            self.assertLessEqual(entry.due - made.here.clock[0], 75)  # a minute, and some more

    async def test_a_peer_that_does_not_believe_us_is_tried_again_and_one_that_wants_nothing_is_not(self) -> None:
        for code, state in (("5.7.8", "deferred"), ("5.7.1", "failed")):
            made = await post(self)
            made.wires.trouble = Unreachable("the other server refused", True, Reply(550, code, "no"))
            await made.here.start()
            await made.here.send("you@other.test", content=CONTENT)
            await made.here.settled(**{state: 1})
            self.assertEqual(made.direct.tried, [])

    async def test_undecided(self) -> None:
        made = await post(self)
        await made.here.start()
        made.book.peers[THERE] = Undecided("DNS is away", fallback=False)
        await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(deferred=1)
        made.book.peers["other2.test"] = Undecided("DNS is away", fallback=True)
        await made.here.send("you@other2.test", content=CONTENT)
        await made.here.settled(sent=1)

    async def test_blocked(self) -> None:
        made = await post(self)
        await made.here.start()
        made.book.peers[THERE] = peer(blocked=True)
        await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(failed=1)

    async def test_who_cannot_prove_the_author(self) -> None:
        """Own mail with another's From is refused where only federation may be used, else it goes by SMTP."""
        made = await post(self)
        await made.here.start()
        foreign = CONTENT.replace(b"me@example.test", b"me@elsewhere.test")
        await made.here.send("you@other.test", content=foreign)
        await made.here.settled(sent=1)
        self.assertEqual(len(made.direct.tried), 1)
        made.book.peers[THERE] = peer(pinned_until=1 << 40)
        await made.here.send("you@other.test", content=foreign)
        await made.here.settled(failed=1)
        self.assertIn(NOT_OURS.text.encode()[:40], b"".join(await made.here.reports()).replace(b"\r\n ", b" "))

    async def test_reports_are_federated(self) -> None:
        """A report is written by the server, below the domain that answers for it."""
        made = await post(self)
        await made.here.start()
        await made.there.reception.sender(made.there.origin(), None, 1)
        report = (
            b"From: Mail Delivery System <MAILER-DAEMON@mail.example.test>\r\nTo: <you@other.test>\r\nSubject: Undelivered\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x--\r\n"
        )
        await made.here.send("you@other.test", content=report, sender="")
        await made.here.settled(sent=1)
        self.assertEqual(len(await made.arrived()), 1)
        await made.here.send("you@other.test", content=CONTENT, sender="")
        await made.here.settled(sent=2)
        self.assertEqual((len(await made.arrived()), len(made.direct.tried)), (1, 1))

    async def test_a_peer_that_connects_wakes_the_mail(self) -> None:
        made = await post(self)
        made.book.peers[THERE] = peer(pinned_until=1 << 40)
        made.wires.trouble = Unreachable("no connection")
        await made.here.start()
        for _ in range(3):
            await made.here.send("you@other.test", content=CONTENT)
        await made.here.settled(deferred=1, pending=2)
        made.wires.trouble = None
        self.assertEqual(await made.here.queue.hasten(THERE), 3)
        await made.here.settled(sent=3)
        self.assertEqual(await made.here.queue.hasten(THERE), 0)


def cut_answer(pair: Pair) -> None:
    """End the connection as soon as the other side says anything more."""
    pair.wire.before = lambda end, data: end == 0


class Answers(SynchronousTestCase):
    """What the other server says of each recipient goes into reports, logs and onto terminals."""

    def answered(self, *said: Any) -> Reply:
        return answered({"replies": [[str(YOU), *said]], "acknowledgement": b""})[0][YOU]

    def test_are_made_clear(self) -> None:
        self.assertEqual(self.answered(550, "5.1.1", "No such user"), Reply(550, "5.1.1", "No such user"))
        self.assertEqual(self.answered(550, "5.1.1", "no\r\nX: y\x1b[2J"), Reply(550, "5.1.1", "no??X: y?[2J"))
        self.assertEqual([self.answered(450, code, "later").enhanced for code in ("5.1.1", "4.\n", "", "4.2.2")], ["4.0.0"] * 3 + ["4.2.2"])

    def test_that_are_none_are_not_understood(self) -> None:
        for code in (100, 199, 354, 600, True, "250", None):
            with self.assertRaises(Refused):
                self.answered(code, "2.0.0", "OK")


class Receiving(TestCase):
    """What the service makes of calls, straight."""

    async def made(self, engine: str = "", **there: Any) -> tuple[Post, Pair]:
        made = await post(self, engine=engine, there=there)
        return made, await self.pair(made.delivery, made)

    async def pair(self, delivery: Any, made: Post) -> Pair:
        keys = {"calling_key": KEYS[HERE].public, "answering_key": KEYS[THERE].public}
        pair = await channels([delivery], calling=HERE, answering=THERE, reactor=made.there.reactor, **keys)
        self.addCleanup(pair.wire.cut)
        return pair

    def send(self, pair: Pair, of: Manifest, content: bytes = CONTENT, signer: Any = KEYS[HERE]) -> Any:
        return pair.calling.call("delivery", "send", {"manifest": of.signed(signer), "content": content})

    async def test_a_repeated_one_is_answered(self) -> None:
        for engine in ("sqlite", "postgresql"):
            made, pair = await self.made(engine)
            user = await made.there.user("she@other.test")
            she = Address.parse("she@other.test")
            first = await self.send(pair, manifest())
            again = await self.send(pair, manifest())
            self.assertEqual(first, again)  # the acknowledgement is the same, to the letter
            more = await self.send(pair, manifest(recipients=(YOU, she)))
            replies, octets = answered(more)
            self.assertEqual([reply.code for reply in replies.values()], [250, 250])
            self.assertEqual(set(Acknowledgement.read(octets)[0].taken), {YOU, she})
            self.assertEqual(len(await made.arrived()), 1)
            self.assertEqual(len(await made.there.contents(user)), 1)

    async def test_at_the_same_time(self) -> None:
        """On one node, and on two of the same database, each with its own service."""
        for engine in ("sqlite", "postgresql"):
            made, pair = await self.made(engine)
            second = await self.pair(receiver(made.there, []), made)
            calls = [Deferred.fromCoroutine(self.send(way, manifest())) for way in (pair, pair, second, second)]
            answers = await gatherResults(calls)
            self.assertEqual({answered(each)[0][YOU].code for each in answers}, {250})
            self.assertEqual(len(await made.arrived()), 1)

    async def test_who_refuses_may_take_it_later(self) -> None:
        made, pair = await self.made()
        new = Address.parse("new@other.test")
        replies, octets = answered(await self.send(pair, manifest(recipients=(new,))))
        self.assertEqual((replies[new].code, octets), (550, b""))
        await made.there.user("new@other.test")
        replies, octets = answered(await self.send(pair, manifest(recipients=(new,))))
        self.assertEqual(replies[new].code, 250)

    async def test_who_took_it_has_it_whatever_came_between(self) -> None:
        """The answer was lost, and now the mailbox is full, or disabled: to refuse would tell the sender that nothing arrived."""
        made, pair = await self.made()
        user = await made.there.user("she@other.test")
        she = Address.parse("she@other.test")
        first = await self.send(pair, manifest())
        for change in (("set_quota", 1), ("set_quota", None), ("set_state", "suspended")):
            await getattr(made.there.accounts, change[0])(YOU, change[1])
            self.assertEqual(await self.send(pair, manifest()), first)
        replies, octets = answered(await self.send(pair, manifest(recipients=(YOU, she))))
        self.assertEqual([replies[YOU].code, replies[she].code], [250, 250])
        self.assertEqual(set(Acknowledgement.read(octets)[0].taken), {YOU, she})
        self.assertEqual((len(await made.arrived()), len(await made.there.contents(user))), (1, 1))

    async def test_who_took_it_has_it_although_the_sender_is_not_wanted_any_more(self) -> None:
        made, pair = await self.made()
        first = await self.send(pair, manifest())
        never = Refused(Reply(550, "5.7.1", "Not wanted"))
        for method in ("sender", "accept"):
            patch = self.patch(made.there.reception, method, lambda *args, **facts: fail(never))
            self.assertEqual(await self.send(pair, manifest()), first)
            patch.restore()
        self.assertEqual(len(await made.arrived()), 1)

    async def test_lies(self) -> None:
        made, pair = await self.made()
        stranger = Address.parse("me@elsewhere.test")
        lies = {
            "size": self.send(pair, manifest(size=5)),
            "digest": self.send(pair, manifest(digest=b"d" * 32)),
            "source": self.send(pair, manifest(source=THERE)),
            "destination": self.send(pair, manifest(destination=HERE)),
            "sender": self.send(pair, manifest(sender=stranger)),
            "recipient": self.send(pair, manifest(recipients=(stranger,))),
            "time": self.send(pair, manifest(time=1_500_000_000)),
            "key": self.send(pair, manifest(), signer=KEYS[THERE]),
            "author": self.send(pair, manifest(other := CONTENT.replace(b"me@", b"me@not.")), other),
            "two authors": self.send(pair, manifest(other := b"From: <x@y.test>\r\n" + CONTENT), other),
            "no fields": self.send(pair, manifest(other := b"Hello\r\n" + CONTENT), other),
            "no report": self.send(pair, manifest(sender=None)),
        }
        for name, call in lies.items():
            reply = await refused(call)
            self.assertIn(reply.code, (451, 550, 554), name)
        self.assertEqual(await made.arrived(), [])

    async def test_malformed(self) -> None:
        made, pair = await self.made()
        good = json.loads(manifest().signed(KEYS[HERE]))
        for name, value in (
            ("id", "x"),
            ("recipients", []),
            ("recipients", [{"address": "x"}]),
            ("size", -1),
            ("time", "now"),
            ("digest", 1),
        ):
            bad = {**good, "body": {**good["body"], name: value}}
            reply = await refused(pair.calling.call("delivery", "send", {"manifest": json.dumps(bad).encode(), "content": CONTENT}))
            self.assertEqual((reply.code, reply.enhanced), (501, "5.5.4"), name)
        forged = {**good, "body": {**good["body"], "sender": "other@example.test"}}
        reply = await refused(pair.calling.call("delivery", "send", {"manifest": json.dumps(forged).encode(), "content": CONTENT}))
        self.assertEqual(reply.enhanced, "4.7.5")
        self.assertEqual((await refused(pair.calling.call("delivery", "send", {}))).code, 501)

    async def test_too_large(self) -> None:
        made, pair = await self.made(federation={"message_size": 65536})
        whole = large()
        reply = await refused(pair.calling.call("delivery", "begin", {"manifest": manifest(whole).signed(KEYS[HERE])}))
        self.assertEqual(reply.code, 552)

    async def test_what_is_not_taken_takes_nobodys_place(self) -> None:
        self.patch(uploads, "MOST", 1)
        self.patch(uploads, "SLOW", 0)
        made, pair = await self.made(store={"spool_above": 100_000})
        whole, call = large(), pair.calling.call
        about, nobody = manifest(whole), manifest(whole, id=b"n" * 16, recipients=(Address.parse("nobody@other.test"),))
        await call("delivery", "begin", {"manifest": about.signed(KEYS[HERE])})
        await call("delivery", "chunk", {"id": about.id, "offset": 0, "data": whole[:1000]})
        self.assertIn("replies", await call("delivery", "begin", {"manifest": nobody.signed(KEYS[HERE])}))
        self.assertEqual(await call("delivery", "begin", {"manifest": about.signed(KEYS[HERE])}), {"offset": 1000})
        other = manifest(whole, id=b"o" * 16)
        self.assertEqual(await call("delivery", "begin", {"manifest": other.signed(KEYS[HERE])}), {"offset": 0})
        self.assertEqual((await refused(call("delivery", "commit", {"id": about.id}))).enhanced, "4.5.0")

    async def test_pieces(self) -> None:
        made, pair = await self.made(store={"spool_above": 100_000})
        whole, call = large(), pair.calling.call
        about = manifest(whole)
        signed = {"manifest": about.signed(KEYS[HERE])}
        self.assertEqual(await call("delivery", "status", {"id": about.id, "recipients": [str(YOU)]}), {"state": "unknown", "offset": 0})
        self.assertEqual((await refused(call("delivery", "commit", {"id": about.id}))).enhanced, "4.5.0")
        self.assertEqual((await refused(call("delivery", "chunk", {"id": about.id, "offset": 0, "data": b"x"}))).enhanced, "4.5.0")
        self.assertEqual(await call("delivery", "begin", signed), {"offset": 0})
        self.assertEqual(await call("delivery", "chunk", {"id": about.id, "offset": 0, "data": whole[:1000]}), {"offset": 1000})
        self.assertEqual(await call("delivery", "begin", signed), {"offset": 1000})
        self.assertEqual((await refused(call("delivery", "chunk", {"id": about.id, "offset": 5, "data": whole[:1000]}))).enhanced, "4.5.0")
        for start in range(1000, len(whole), CHUNK):
            await call("delivery", "chunk", {"id": about.id, "offset": start, "data": whole[start : start + CHUNK]})
        done = await call("delivery", "commit", {"id": about.id})
        self.assertEqual(answered(done)[0][YOU].code, 250)
        self.assertEqual(await call("delivery", "begin", signed), done)
        told = await call("delivery", "status", {"id": about.id, "recipients": [str(YOU)]})
        self.assertEqual((told["state"], told["acknowledgement"]), ("taken", done["acknowledgement"]))
        self.assertEqual(len(await made.arrived()), 1)

    async def test_lying_pieces_leave_nothing(self) -> None:
        made, pair = await self.made(store={"spool_above": 100_000})
        whole, call = large(), pair.calling.call
        for content, about in ((whole + b"x", manifest(whole)), (whole[:-1] + b"x", manifest(whole)), (whole[:-5], manifest(whole))):
            await call("delivery", "begin", {"manifest": about.signed(KEYS[HERE])})

            async def lie(content: bytes = content, about: Manifest = about) -> None:
                for start in range(0, len(content), CHUNK):
                    await call("delivery", "chunk", {"id": about.id, "offset": start, "data": content[start : start + CHUNK]})
                await call("delivery", "commit", {"id": about.id})

            self.assertEqual((await refused(lie())).enhanced, "5.7.7")
        self.assertEqual(await made.arrived(), [])

        async def none_left() -> bool:
            return not made.there.files()

        await made.here.until(none_left)

    async def test_the_acknowledgement_is_a_statement(self) -> None:
        _, pair = await self.made()
        _, octets = answered(await self.send(pair, manifest()))
        statement = Statement.decode(parse(octets, 65536), "acknowledgement")
        self.assertTrue(statement.signed_by(KEYS[THERE].public))
        self.assertFalse(statement.signed_by(KEYS[HERE].public))
        self.assertNotIn(TAKEN.reply.text.encode(), octets)

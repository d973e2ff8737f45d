import os
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from nacl.public import PrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import TestCase

from mailx.core.choosing import Choosing, LateSealing
from mailx.core.courier import Attempt, ICourier
from mailx.core.keyring import AccountKeys, AccountSigner
from mailx.core.peer import Known
from mailx.core.sealed_outgoing import NO_ANSWER, NO_KEY, NOT_OURS
from mailx.identity import domain_keys, sealed_message, sealing
from mailx.identity.seal_verdict import author_of
from mailx.identity.sealed_message import is_sealed
from mailx.identity.statements import SeedSigner
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.message import Message, Spooled
from mailx.mail.reply import Refused, Unavailable
from tests.core.keys import DAY, NOW
from tests.core.sealed_scene import PEER_KEY, Scene, scene

SECRET = (
    b"From: Me <me@example.test>\r\nTo: bob@peer.example, cid@peer.example\r\nMessage-ID: <inner@example.test>\r\n"
    b"Subject: Plan\r\n\r\nThe plan\r\n"
)
FROM_BOB = SECRET.replace(b"Me <me@example.test>", b"bob@peer.example").replace(b"To: bob@peer.example", b"To: ann@example.test")


class Noted:
    """A courier that notes what it is given; no domain has a server, as far as it is asked."""

    def __init__(self, courier: ICourier) -> None:
        self._courier = courier
        self.envelopes: list[Envelope] = []

    async def find(self, domain: str, seconds: float | None = None) -> None:
        return None

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        self.envelopes.append(envelope)
        return await self._courier.deliver(envelope, recipients, destination)


class _Case(TestCase):
    here: Scene

    def setUp(self) -> Any:
        return Deferred.fromCoroutine(self.set_up())

    async def set_up(self) -> None:
        self.here = await scene(self)

    async def left(self, count: int = 1) -> list[bytes]:
        """The contents of what left, once there are so many."""
        for _ in range(20_000):
            if len(self.here.courier.contents) >= count:
                break
            await deferLater(self.here.ring.world.reactor, 0.005)
        contents = self.here.courier.contents
        self.assertEqual(len(contents), count)
        return [each if isinstance(each, bytes) else each.read() for each in contents]

    def peer(self, *addresses: str) -> list[PrivateKey]:
        made = [PrivateKey.generate() for _ in addresses]
        for address, private in zip(addresses, made, strict=True):
            self.here.remote.add(address, bytes(private.public_key))
        return made


class OutgoingTests(_Case):
    async def test_sealed_when_accepted(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        id = await self.here.send(SECRET, "bob@peer.example")
        (content,) = await self.left()
        self.assertTrue(is_sealed(content))
        self.assertNotIn(b"Plan", content)
        self.assertNotIn(b"inner@", content)
        self.assertIn(b"\r\nTo: bob@peer.example\r\n", content)
        self.assertEqual(str(author_of(content)), "me@example.test")
        found, text = await self.here.unsealed(content, bob)
        self.assertEqual((found.verdict.result, found.verdict.sealed, found.verdict.key), ("pass", "server", "domain"))
        self.assertTrue(text.endswith(SECRET))
        self.assertTrue(text.startswith(b"Authentication-Results: mail.example.test;\r\n\tmailx-seal=pass "))
        notes = await self.here.notes(id)
        self.assertEqual(notes["sealed"], [{"how": "server", "recipients": ["bob@peer.example"]}])
        self.assertNotIn("unsealed", notes)
        self.assertEqual(await self.here.timeline.trace("inner@example.test"), [])
        self.assertEqual(self.here.ring.world.files(), [])

    async def test_for_several_at_several_places(self) -> None:
        """One message for a destination; who is not named learns nothing of the others, nor they of him."""
        self.here.mailx.add("other.example")
        bob, cid, dan, eve = self.peer("bob@peer.example", "cid@peer.example", "dan@peer.example", "eve@other.example")
        content = SECRET.replace(b"cid@peer.example", b"cid@peer.example, eve@other.example")
        await self.here.send(content, "bob@peer.example", "cid@peer.example", "dan@peer.example", "eve@other.example")
        sent = await self.left(3)
        tried = [recipients for _, _, recipients in self.here.courier.tried]
        self.assertEqual(sorted(tried), [("bob@peer.example", "cid@peer.example"), ("dan@peer.example",), ("eve@other.example",)])
        for to, whole in zip(tried, sent, strict=True):
            hidden = to == ("dan@peer.example",)
            self.assertIn(b"\r\nTo: undisclosed-recipients:;\r\n" if hidden else b"\r\nTo: " + to[0].encode(), whole)
            for name, private in (("bob", bob), ("cid", cid), ("dan", dan), ("eve", eve)):
                mine = any(each.startswith(name) for each in to)
                self.assertEqual((await self.here.unsealed(whole, private))[0].opened, mine, (name, to))
                if not mine:
                    self.assertNotIn(name.encode() + b"@", whole)

    async def test_who_has_no_keys_gets_what_came(self) -> None:
        self.peer("bob@peer.example")
        id = await self.here.send(SECRET, "bob@peer.example", "cid@peer.example", "dan@plain.example")
        sent = await self.left(3)
        self.assertEqual(sorted(is_sealed(each) for each in sent), [False, False, True])
        notes = await self.here.notes(id)
        self.assertEqual(notes["unsealed"], [{"reason": NO_KEY, "recipients": ["cid@peer.example"]}])
        self.assertEqual(notes["sealed"][0]["recipients"], ["bob@peer.example"])
        self.assertEqual(len(await self.here.timeline.trace("inner@example.test")), 1)

    async def test_ordinary_mail_is_left_alone(self) -> None:
        id = await self.here.send(SECRET, "dan@plain.example")
        self.assertEqual(await self.left(), [SECRET])
        notes = await self.here.notes(id)
        self.assertEqual((notes.get("sealed"), notes.get("unsealed")), (None, None))

    async def test_no_answer_in_time(self) -> None:
        self.here.remote.fails = True
        id = await self.here.send(SECRET, "bob@peer.example")
        self.assertEqual(await self.left(), [SECRET])
        self.assertEqual((await self.here.notes(id))["unsealed"], [{"reason": NO_ANSWER, "recipients": ["bob@peer.example"]}])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def late(self, content: "bytes | Spooled", *recipients: str) -> Mapping[Address, Attempt]:
        """An attempt of a message that could not be sealed when it was accepted."""
        late = LateSealing(partial(deferToThreadPool, self.here.ring.world.reactor, self.here.ring.world.reactor.getThreadPool()))
        late.seals = self.here.outgoing
        self.noted = Noted(self.here.courier)
        choosing = Choosing(self.noted, self.noted, self.noted, late=late)  # type: ignore[arg-type]
        to = tuple(map(Address.parse, recipients))
        message = Message(content, len(content) if isinstance(content, bytes) else content.size)
        origin = Origin("ESMTPSA", "c", account=self.here.user.id)
        envelope = Envelope("e" * 16, Address.parse("me@example.test"), to, message, origin, dispatch=b"d" * 16)
        return await choosing.deliver(envelope, to, "peer.example")

    async def test_keys_that_are_known_when_it_is_delivered(self) -> None:
        bob, dan = self.peer("bob@peer.example", "dan@peer.example")
        attempts = await self.late(SECRET, "bob@peer.example", "cid@peer.example", "dan@peer.example")
        self.assertEqual(len(attempts), 3)
        sent = dict(zip([recipients for _, _, recipients in self.here.courier.tried], await self.left(3), strict=True))
        self.assertEqual(sent["cid@peer.example",], SECRET)
        for name, private in (("bob", bob), ("dan", dan)):  # dan is not named: his is another
            found, text = await self.here.unsealed(sent[f"{name}@peer.example",], private)
            self.assertEqual((found.verdict.result, text.endswith(SECRET)), ("pass", True))
        self.assertNotIn(b"dan@", sent["bob@peer.example",])
        self.assertEqual([each.dispatch for each in self.noted.envelopes], [b"d" * 16] * 3)
        self.assertEqual(len({each.form for each in self.noted.envelopes}), 3)

    async def test_a_large_one_when_it_is_delivered(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        world = self.here.ring.world
        made = self.here.reception.content(world.origin(), b"", 1 << 30, False)
        content = SECRET + b"much text\r\n" * 100_000
        if (wait := made.write(content)) is not None:
            await wait
        spooled = (await made.finish()).content
        assert not isinstance(spooled, bytes)
        await self.late(spooled, "bob@peer.example")
        (sent,) = await self.left()
        self.assertTrue((await self.here.unsealed(sent, bob))[1].endswith(content))
        spooled.discard()
        self.assertEqual(world.files(), [])

    async def test_not_left_readable_when_it_cannot_be_sealed_now(self) -> None:
        self.peer("bob@peer.example")

        async def fails(*_: object) -> list[Message]:
            raise Unavailable("no room")

        self.patch(self.here.outgoing._making, "made", fails)
        (attempt,) = (await self.late(SECRET, "bob@peer.example")).values()
        self.assertTrue(attempt.reply.temporary)
        self.assertEqual(self.here.courier.tried, [])

    async def test_nobody_is_asked_for_ordinary_mail_when_it_is_delivered(self) -> None:
        await self.late(SECRET, "dan@plain.example")
        self.assertEqual((await self.left(), self.here.remote.asked), ([SECRET], []))

    async def test_a_key_that_is_none_does_not_unseal_the_others(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        self.here.remote.add("cid@peer.example", bytes(32))
        id = await self.here.send(SECRET, "bob@peer.example", "cid@peer.example")
        sent = await self.left(2)
        (sealed,) = [each for each in sent if is_sealed(each)]
        self.assertTrue((await self.here.unsealed(sealed, bob))[0].opened)
        self.assertEqual((await self.here.notes(id))["unsealed"], [{"reason": NO_KEY, "recipients": ["cid@peer.example"]}])

    async def test_what_is_sealed_already_stays_as_it_is(self) -> None:
        self.peer("bob@peer.example")
        await self.here.send(SECRET, "bob@peer.example")
        (sealed,) = await self.left()
        id = await self.here.send(sealed, "bob@peer.example")
        self.assertEqual((await self.left(2))[1], sealed)
        self.assertEqual((await self.here.notes(id))["sealed"][0]["how"], "sender")

    async def test_mail_of_strangers_is_not_sealed_in_our_name(self) -> None:
        self.peer("bob@peer.example")
        await self.here.ring.world.accounts.add_alias("team@example.test", ["bob@peer.example"])
        stranger = SECRET.replace(b"me@example.test", b"x@plain.example")
        id = await self.here.send(stranger, "team@example.test", account=None, sender="x@plain.example")
        (content,) = await self.left()
        self.assertEqual(content, stranger)
        self.assertEqual((await self.here.notes(id))["unsealed"][0]["reason"], NOT_OURS)

    async def test_by_the_senders_own_key(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        signer = AccountSigner(os.urandom(32))
        await self.here.ring.users.bind(self.here.user.id, bytes(PrivateKey.generate().public_key), signer.public, "server")
        await self.here.keyring.put(AccountKeys(self.here.user.id, os.urandom(32), signer, os.urandom(32)))
        await self.here.send(SECRET, "bob@peer.example")
        found, _ = await self.here.unsealed((await self.left())[0], bob)
        self.assertEqual((found.verdict.result, found.verdict.key, found.verdict.end_to_end), ("pass", "user", False))

    async def test_in_the_name_of_somebody_else(self) -> None:
        """A customer who writes another's address into From is not vouched for, neither there nor here."""
        (bob,) = self.peer("bob@peer.example")
        await self.here.ring.world.accounts.add_domain("customer.test")
        await self.here.ring.domains.ensure("customer.test")
        for boss in ("boss@customer.test", "boss@example.test"):
            self.here.courier.contents.clear()
            await self.here.ring.world.user(boss)
            user, ann = await self.here.client_held(f"ann@{boss.partition('@')[2]}")
            await self.here.send(SECRET.replace(b"me@example.test", boss.encode()), "bob@peer.example", str(user.address))
            (content,) = await self.left()
            self.assertEqual((await self.here.unsealed(content, bob))[0].verdict.result, "none")
            (stored,) = await self.here.ring.world.contents(user)
            self.assertEqual((await self.here.unsealed(stored, ann))[0].verdict.result, "none")

    async def test_a_large_one_from_file_to_file(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        large = SECRET + os.urandom(3_000_000).hex().encode()
        await self.here.send(large, "bob@peer.example")
        (content,) = await self.left()
        self.assertTrue(is_sealed(content))
        found, text = await self.here.unsealed(content, bob)
        self.assertTrue(text.endswith(large))
        self.assertEqual(found.size, len(text))
        await self.until(lambda: self.here.ring.world.files() == [])

    async def until(self, true: Any) -> None:
        """The sweep is not started: the queue itself removes what was sent."""
        for _ in range(20_000):
            if true():
                return
            await deferLater(self.here.ring.world.reactor, 0.005)
        self.fail(f"it never came true: {self.here.ring.world.files()}")

    async def test_nothing_readable_stays_when_it_fails(self) -> None:
        self.peer("bob@peer.example")
        large = SECRET + os.urandom(1_500_000).hex().encode()

        async def full(*_: Any) -> Any:
            raise Refused(NOT_TAKEN)

        from mailx.core.content import NO_SPACE as NOT_TAKEN

        self.patch(self.here.reception._sealing, "seal", full)
        with self.assertRaises(Refused):
            await self.here.send(large, "bob@peer.example")
        self.assertEqual(self.here.ring.world.files(), [])


class ArrivalTests(_Case):
    async def test_client_held(self) -> None:
        ann, private = await self.here.client_held("ann@example.test")
        id = await self.here.send(FROM_BOB, "ann@example.test", "me@example.test", account=None, sender="bob@peer.example")
        (stored,) = await self.here.ring.world.contents(ann)
        self.assertTrue(is_sealed(stored))
        self.assertEqual(await self.here.ring.world.contents(self.here.user), [FROM_BOB])
        found, text = await self.here.unsealed(stored, private)
        self.assertEqual((found.verdict.result, found.verdict.sealed), ("none", "arrival"))
        self.assertTrue(text.endswith(FROM_BOB))
        self.assertEqual((await self.here.notes(id))["sealed"], [{"how": "arrival", "recipients": ["ann@example.test"]}])

    async def test_between_our_own(self) -> None:
        ann, private = await self.here.client_held("ann@example.test")
        await self.here.send(SECRET, "ann@example.test")
        (stored,) = await self.here.ring.world.contents(ann)
        found, _ = await self.here.unsealed(stored, private)
        self.assertEqual((found.verdict.result, found.verdict.sealed), ("pass", "server"))

    async def test_opened_long_after_the_keys_of_both_domains_were_rotated(self) -> None:
        """A key that was good when the message came is good for it; what comes later in its name is not."""
        ann, private = await self.here.client_held("ann@example.test")
        await self.here.send(SECRET, "ann@example.test")
        await self.here.send(FROM_BOB, "ann@example.test", account=None, sender="bob@peer.example")
        bob = Address.parse("bob@peer.example")
        sender = sealing.Sender(bob, "peer.example", PEER_KEY, None, "server")
        container = sealing.sealed([bytes(private.public_key)], [FROM_BOB], len(FROM_BOB), sha256(FROM_BOB).digest(), sender, 1)
        theirs = b"".join((sealed_message.head(bob, [], 1), *sealed_message.encoded(container)))
        ring, trust = self.here.ring, self.here.trust
        begun = domain_keys.first("peer.example", bytes(32), NOW - DAY, PEER_KEY)
        following = domain_keys.rotated(begun, PEER_KEY, SeedSigner(b"n" * 32), NOW + DAY)
        trust.known = Known("peer.example", True, key=following.key, history=((begun, NOW - DAY), (following, NOW + DAY)))
        ring.now += DAY
        await ring.domains.rotate("example.test")
        ring.now = trust.now = NOW + 100 * DAY
        ours, arrived = await ring.world.contents(ann)
        for content, good in ((ours, "pass"), (arrived, "none"), (theirs, "pass")):
            for received, result in ((NOW, good), (ring.now, "fail")):
                found, _ = await self.here.unsealed(content, private, received)
                self.assertEqual(found.verdict.result, result)

    async def test_what_we_found_out_survives_and_what_others_claim_does_not(self) -> None:
        ann, private = await self.here.client_held("ann@example.test")
        checked = b"Authentication-Results: mail.example.test; dmarc=pass\r\n"
        await self.here.send(checked + FROM_BOB, "ann@example.test", account=None, sender="bob@peer.example")
        (stored,) = await self.here.ring.world.contents(ann)
        self.assertIn(checked, (await self.here.unsealed(stored, private))[1])
        # The same field within what a sender sealed is a lie.
        lie = checked + FROM_BOB
        bob = Address.parse("bob@peer.example")
        sender = sealing.Sender(bob, "peer.example", PEER_KEY, None, "server")
        container = sealing.sealed([bytes(private.public_key)], [lie], len(lie), sha256(lie).digest(), sender, 1)
        whole = b"".join((sealed_message.head(bob, [], 1), *sealed_message.encoded(container)))
        found, text = await self.here.unsealed(whole, private)
        self.assertEqual(found.verdict.result, "pass")
        self.assertNotIn(b"dmarc=pass", text)
        self.assertEqual(found.size, len(text))

    async def test_a_stranger_in_the_name_of_the_recipients_domain(self) -> None:
        """That our domain sealed it when it arrived does not make it come from our domain."""
        ann, private = await self.here.client_held("ann@example.test")
        boss = FROM_BOB.replace(b"bob@peer.example", b"boss@example.test")
        for sender in ("x@plain.example", "boss@example.test"):
            await self.here.send(boss, "ann@example.test", account=None, sender=sender)
            stored = (await self.here.ring.world.contents(ann))[-1]
            found, _ = await self.here.unsealed(stored, private)
            self.assertEqual((found.verdict.result, found.verdict.sealed), ("none", "arrival"))

    async def test_server_held_waits(self) -> None:
        bea, private = await self.here.server_held("bea@example.test")
        told: list[int] = []
        self.here.reception.tell_of_waiting(told.append)
        await self.here.send(FROM_BOB, "bea@example.test", account=None, sender="bob@peer.example")
        self.assertEqual(await self.here.ring.world.contents(bea), [])
        self.assertEqual(told, [bea.id])
        ((count,),) = await self.here.ring.world.store.read(lambda txn: txn.all("SELECT COUNT(*) FROM waiting"))
        self.assertEqual(count, 1)

    async def test_sealed_for_one_of_several_and_large(self) -> None:
        ann, private = await self.here.client_held("ann@example.test")
        bea, _ = await self.here.server_held("bea@example.test")
        large = FROM_BOB + os.urandom(2_000_000).hex().encode()
        await self.here.send(large, "ann@example.test", "bea@example.test", "me@example.test", account=None, sender="bob@peer.example")
        self.assertEqual(await self.here.ring.world.contents(self.here.user), [large])
        (stored,) = await self.here.ring.world.contents(ann)
        self.assertTrue((await self.here.unsealed(stored, private))[1].endswith(large))
        self.assertEqual(len(self.here.ring.world.files()), 3)

    async def test_one_that_comes_sealed_is_copied_for_each(self) -> None:
        bea, private = await self.here.server_held("bea@example.test")
        dan, _ = await self.here.server_held("dan@example.test")
        ann, _ = await self.here.client_held("ann@example.test")
        large = FROM_BOB + os.urandom(1_200_000).hex().encode()
        self.peer("bob@peer.example")
        await self.here.send(large.replace(b"bob@peer", b"me@example.test>, <x@peer"), "me@example.test")
        await self.here.send(SECRET + os.urandom(1_200_000).hex().encode(), "bob@peer.example")
        (sealed,) = await self.left()
        before = len(self.here.ring.world.files())
        await self.here.send(sealed, "bea@example.test", "dan@example.test", "ann@example.test", account=None, sender="bob@peer.example")
        self.assertEqual(await self.here.ring.world.contents(ann), [sealed])
        ((count,),) = await self.here.ring.world.store.read(lambda txn: txn.all("SELECT COUNT(*) FROM waiting"))
        self.assertEqual(count, 2)
        self.assertLessEqual(len(self.here.ring.world.files()), before + 3)

    async def test_without_a_usable_key_nothing_is_stored(self) -> None:
        bea, _ = await self.here.server_held("bea@example.test")

        async def nobody(account: int) -> None:
            return None

        self.patch(self.here.held, "public", nobody)
        with self.assertRaises(Refused) as caught:
            await self.here.send(FROM_BOB, "bea@example.test", "me@example.test", account=None, sender="bob@peer.example")
        self.assertEqual(caught.exception.reply.code, 451)
        self.assertEqual(await self.here.ring.world.contents(self.here.user), [])

    async def test_one_full_account_beside_another(self) -> None:
        """An alias that reaches a sealed account and an ordinary one is served if one has room, as if both were ordinary."""
        ann, _ = await self.here.client_held("ann@example.test")
        world = self.here.ring.world
        await world.accounts.set_quota("me@example.test", 10)
        await world.accounts.add_alias("both@example.test", ["ann@example.test", "me@example.test"])
        await self.here.send(FROM_BOB, "both@example.test", account=None, sender="bob@peer.example")
        self.assertEqual([len(await world.contents(user)) for user in (ann, self.here.user)], [1, 1])


class OpeningTests(_Case):
    async def test_what_does_not_open_is_kept_and_marked(self) -> None:
        bob, other = self.peer("bob@peer.example", "cid@peer.example")
        await self.here.send(SECRET, "bob@peer.example")
        (content,) = await self.left()
        for broken, private in ((content, other), (content[:-60], bob), (content.replace(b"version=1", b"version=7"), bob), (SECRET, bob)):
            found, text = await self.here.unsealed(broken, private)
            self.assertEqual((found.opened, found.verdict.result), (False, "permerror"))
            self.assertTrue(text.startswith(b"Authentication-Results: mail.example.test;\r\n\tmailx-seal=permerror "))
            self.assertTrue(text.endswith(broken))
            self.assertEqual(found.size, len(text))

    async def test_trace_fields_come_along(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        await self.here.send(SECRET, "bob@peer.example")
        (content,) = await self.left()
        above = b"Return-Path: <me@example.test>\r\nReceived: from a by b; now\r\n"
        _, text = await self.here.unsealed(above + content, bob)
        self.assertTrue(text.startswith(above + b"Authentication-Results: mail.example.test;"))

    async def test_another_author_inside_stays_sealed(self) -> None:
        """DMARC, first contact and blocks were asked for the author outside: nobody comes in under another name by sealing."""
        (bob,) = self.peer("bob@peer.example")
        for author, opened in (
            (b"From: eve@evil.example", True),
            (b"From: Eve <Eve@EVIL.example>", True),
            (b"From: boss@bank.example", False),
            (b"From: eve@evil.example, boss@bank.example", False),
            (b"From: eve@evil.example\r\nFrom: boss@bank.example", False),
        ):
            inner = author + b"\r\nSubject: x\r\n\r\nhi\r\n"
            container = sealing.sealed([bytes(bob.public_key)], [inner], len(inner), sha256(inner).digest(), None, 1)
            whole = b"".join((sealed_message.head(Address.parse("eve@evil.example"), [], 1), *sealed_message.encoded(container)))
            found, text = await self.here.unsealed(whole, bob)
            self.assertEqual((found.opened, found.verdict.result), (opened, "none" if opened else "fail"), author)
            self.assertEqual((found.size, b"boss@" in text), (len(text), False))

    async def test_an_inner_message_without_fields(self) -> None:
        (bob,) = self.peer("bob@peer.example")
        for inner, wanted in ((b"only text\r\n", b"\r\nonly text\r\n"), (b"", b""), (b"A: b" * 100_000, b"\r\n" + b"A: b" * 100_000)):
            container = sealing.sealed([bytes(bob.public_key)], [inner], len(inner), sha256(inner).digest(), None, 1)
            whole = b"".join((sealed_message.head(Address.parse("a@b.example"), [], 1), *sealed_message.encoded(container)))
            found, text = await self.here.unsealed(whole, bob)
            self.assertTrue(text.endswith(b"\r\n" + wanted), text[:200])
            self.assertEqual((found.size, found.verdict.result), (len(text), "none"))

"""Who is told what, and that what is told enters like any other mail."""

from email import message_from_bytes
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import bounces as module
from mailx.core.bounces import Bounces, Report
from mailx.core.courier import Attempt
from mailx.core.srs import SRS
from mailx.core.timeline import Timeline
from mailx.mail.address import Address
from mailx.mail.dsn import ACTIONS, FULL_LIMIT
from mailx.mail.envelope import GENERATED, Demands, Envelope, Forwarding, Notify, Origin, Wish
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from tests.scenery import World, world

ADA = Address.parse("ada@example.test")
BOB = Address.parse("bob@example.net")
HEAD = (
    b"Return-Path: <ada@example.test>\r\nReceived: from authenticated by localhost.test with ESMTPSA\r\n\tid 0123456789abcdef;\r\n"
    b"\tFri, 20 Nov 2026 12:00:00 +0000\r\n"
)
BODY = b"From: ada@example.test\r\nSubject: Hello\r\nMessage-ID: <m1@example.test>\r\n\r\nSecret words\r\n"
FAILED = Attempt(Reply(550, "5.1.1", "User unknown"), "mx.example.net [192.0.2.7]:25")


def original(extra: bytes = b"", sender: Address | None = ADA, **changes: Any) -> Envelope:
    content = HEAD + extra + BODY
    return Envelope("0123456789abcdef", sender, (BOB,), Message(content, len(content)), Origin("ESMTPSA", "c", account=1), **changes)


def report(action: str = "failed", attempt: Attempt = FAILED, notify: int = Notify.UNSAID, **changes: Any) -> Report:
    return evolve(Report(BOB, BOB, Wish(notify), attempt, action), **changes)


def fields(envelope: Envelope, number: int = 0) -> dict[str, str]:
    """The fields of recipient ``number`` of a report."""
    assert isinstance(envelope.message.content, bytes)
    machine: Any = message_from_bytes(envelope.message.content).get_payload(1)  # type: ignore[arg-type]
    return {name: value.replace("\r\n", "") for name, value in machine.get_payload()[number + 1].items()}


class Base(TestCase):
    world: World

    async def open(self) -> Bounces:
        self.world = await world(self)
        await self.world.user(str(ADA))
        self.timeline = Timeline(self.world.store, self.world.cipher, reactor, 30)
        self.srs = SRS(self.world.store, self.world.cipher)
        return Bounces("mail.example.test", self.world.accounts, self.timeline, reactor, self.srs)

    async def events(self, id: str = "0123456789abcdef") -> list[tuple[str, dict[str, Any]]]:
        traces = await self.timeline.trace(id)
        return [(event.event, event.facts) for trace in traces if trace.envelope == id for event in trace.events]


class Told(Base):
    async def test_a_failure(self) -> None:
        bounces = await self.open()
        made = await bounces.envelope(original(demands=Demands(id="E1")), [report()])
        assert made is not None and isinstance(made.message.content, bytes)
        self.assertEqual((made.sender, made.recipients, made.origin.protocol, made.origin.account), (None, (ADA,), GENERATED, None))
        self.assertEqual(made.message.size, len(made.message.content))
        self.assertTrue(made.message.content.startswith(b"Return-Path: <>\r\nReceived: "))
        message = message_from_bytes(made.message.content)
        self.assertEqual((message["To"], message["In-Reply-To"]), ("<ada@example.test>", "<m1@example.test>"))
        told = fields(made)
        self.assertEqual((told["Status"], told["Remote-MTA"]), ("5.1.1", "dns; mx.example.net"))
        self.assertEqual(told["Diagnostic-Code"], "smtp; 550 5.1.1 User unknown")
        whole: Any = message.get_payload(1)  # type: ignore[arg-type]
        self.assertEqual(whole.get_payload(0)["Arrival-Date"], "Fri, 20 Nov 2026 12:00:00 +0000")
        self.assertEqual(whole.get_payload(0)["Original-Envelope-Id"], "E1")
        self.assertNotIn(b"Secret words", made.message.content)
        self.assertEqual(
            await self.events(), [("reported", {"kind": "failed", "recipients": [str(BOB)], "to": str(ADA), "report": made.id})]
        )
        self.assertEqual(await self.events(made.id), [("reports", {"of": "0123456789abcdef"})])
        self.assertEqual(len(await self.timeline.trace("0123456789abcdef")), 2, "with its report")
        await self.timeline.stop()

    async def test_reception_takes_it(self) -> None:
        bounces = await self.open()
        made = await bounces.envelope(original(), [report()])
        assert made is not None
        await self.world.reception.accept(made)
        (stored,) = await self.world.contents((await self.world.accounts.find(str(ADA))).user)
        self.assertEqual(stored, made.message.content)
        await self.timeline.stop()

    async def test_nobody_answers_the_null_sender(self) -> None:
        bounces = await self.open()
        for action in ACTIONS:
            self.assertIsNone(await bounces.envelope(original(sender=None), [report(action, notify=14)]))
        self.assertEqual(await self.events(), [("unreported", {"reason": "null sender", "recipients": [str(BOB)]})])
        await self.timeline.stop()

    async def test_nor_automatic_answers(self) -> None:
        bounces = await self.open()
        for field in (b"Auto-Submitted: auto-replied (vacation)", b"auto-submitted: (x) AUTO-REPLIED; x=y"):
            self.assertIsNone(await bounces.envelope(original(field + b"\r\n"), [report()]), field)
        made = await bounces.envelope(original(b"Content-Type: multipart/report; boundary=x\r\n"), [report()])
        self.assertIsNone(made)
        await self.timeline.stop()

    async def test_automatic_mail(self) -> None:
        bounces = await self.open()
        for field in (b"Precedence: bulk", b"Precedence: list", b"List-Id: <l.example>", b"Auto-Submitted: auto-generated"):
            mail = original(field + b"\r\n")
            self.assertIsNotNone(await bounces.envelope(mail, [report()]), "its envelope sender is for that")
            self.assertIsNone(await bounces.envelope(mail, [report("delayed")]))
            self.assertIsNotNone(await bounces.envelope(mail, [report("delayed", notify=Notify.DELAY)]))
        self.assertIsNotNone(await bounces.envelope(original(b"Auto-Submitted: no\r\n"), [report("delayed")]))
        await self.timeline.stop()

    async def test_a_sender_who_has_gone(self) -> None:
        bounces = await self.open()
        self.assertIsNone(await bounces.envelope(original(sender=Address.parse("gone@example.test")), [report()]))
        self.assertIsNotNone(await bounces.envelope(original(sender=Address.parse("SRS0=x=y=example.org=a@example.test")), [report()]))
        self.assertIsNotNone(await bounces.envelope(original(sender=Address.parse("someone@example.org")), [report()]))
        await self.world.accounts.set_state(str(ADA), "suspended")
        self.assertIsNone(await bounces.envelope(original(), [report()]))
        self.assertEqual([facts["reason"] for _, facts in await self.events() if "reason" in facts], ["sender gone"] * 2)
        await self.timeline.stop()

    async def test_no_backscatter(self) -> None:
        bounces = await self.open()
        outside = Origin("ESMTP", "c")
        for results, told in (
            ("spf=fail smtp.mailfrom=a@b", False),
            ("spf=softfail; dkim=none; dmarc=none", False),
            ("spf=pass reason=spf=fail; dmarc=fail", False),
            ("spf=fail; dkim=pass; dmarc=pass header.from=b", True),
            ("dkim=none reason=spf=fail; spf=none", True),
            ("spf=none", True),
            ("", True),
        ):
            forwarded = original(forwarding=Forwarding("example.test", results))
            made = await bounces.envelope(evolve(forwarded, origin=outside), [report()])
            self.assertEqual(made is not None, told, results)
            field = f"Authentication-Results: mail.example.test;\r\n\t{results}\r\n".encode()
            made = await bounces.envelope(evolve(original(field), origin=outside), [report("delivered", notify=Notify.SUCCESS)])
            self.assertEqual(made is not None, told, results)
        theirs = original(b"Authentication-Results: mail.example.org; spf=fail\r\n")
        self.assertIsNotNone(await bounces.envelope(evolve(theirs, origin=outside), [report()]), "somebody else's word")
        self.assertIsNotNone(await bounces.envelope(original(field.replace(b"\t", b"\tspf=fail; ")), [report()]), "submitted")
        await self.timeline.stop()

    async def test_a_rewritten_sender_reads_the_own_address(self) -> None:
        bounces = await self.open()
        rewritten = await self.srs.rewrite(Address.parse("eve@example.org"), "example.test")
        made = await bounces.envelope(original(sender=rewritten), [report()])
        assert made is not None and isinstance(made.message.content, bytes)
        self.assertEqual((made.recipients, message_from_bytes(made.message.content)["To"]), ((rewritten,), "<eve@example.org>"))
        self.assertEqual(dict(await self.events())["reported"]["to"], "eve@example.org")
        await self.timeline.stop()

    async def test_where_an_alias_leads_is_not_told(self) -> None:
        bounces = await self.open()
        hidden = Address.parse("Hidden@example.com")
        for text, told in (
            ("<hidden@example.COM>: unknown", " <bob@example.net>: unknown"),
            ("No such user: HIDDEN", ""),
            ("mx.example.com does not know this one", ""),
            ("Connection refused: mx.elsewhere.example [192.0.2.7]:25", ""),
            ("Unknown", " Unknown"),
        ):
            attempt = evolve(FAILED, reply=Reply(550, "5.1.1", text), host="mx.example.com [192.0.2.7]:25")
            made = await bounces.envelope(original(), [report(attempt=attempt, recipient=hidden)])
            assert made is not None and isinstance(made.message.content, bytes)
            for word in (b"hidden", b"example.com", b"192.0.2.7"):
                self.assertNotIn(word, made.message.content.lower())
            self.assertEqual(fields(made)["Diagnostic-Code"], f"x-mailx; 550 5.1.1{told}")
        await self.timeline.stop()


class Wishes(Base):
    async def test_notify(self) -> None:
        bounces = await self.open()
        for notify, told in (
            (Notify.UNSAID, {"failed", "delayed"}),
            (Notify.NEVER, set()),
            (Notify.SUCCESS, {"delivered", "relayed", "expanded"}),
            (Notify.FAILURE, {"failed"}),
            (Notify.DELAY, {"delayed"}),
            (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, set(ACTIONS)),
        ):
            for action in ACTIONS:
                made = await bounces.envelope(original(), [report(action, notify=notify)])
                self.assertEqual(made is not None, action in told, (notify, action))
        await self.timeline.stop()

    async def test_only_who_asked(self) -> None:
        bounces = await self.open()
        carol = Address.parse("carol@example.net")
        reports = [report(notify=Notify.NEVER), report(recipient=carol, original=carol)]
        made = await bounces.envelope(original(), reports)
        assert made is not None and isinstance(made.message.content, bytes)
        self.assertEqual(fields(made)["Final-Recipient"], "rfc822; carol@example.net")
        self.assertNotIn(b"bob@", made.message.content)
        await self.timeline.stop()

    async def test_many_recipients(self) -> None:
        bounces = await self.open()
        many = [Address.parse(f"r{number}@example.net") for number in range(100)]
        made = await bounces.envelope(original(), [report(recipient=one, original=one) for one in many])
        assert made is not None
        self.assertEqual(fields(made, 99)["Final-Recipient"], "rfc822; r99@example.net")
        await self.timeline.stop()

    async def test_who_tells_success(self) -> None:
        bounces = await self.open()
        done = Attempt(Reply(250, "2.0.0", "OK"), "mx.example.net [192.0.2.7]:25", reports=True)
        self.assertIsNone(await bounces.envelope(original(), [report("relayed", done, Notify.SUCCESS)]), "the next server does")
        self.assertIsNotNone(await bounces.envelope(original(), [report("relayed", evolve(done, reports=False), Notify.SUCCESS)]))
        await self.timeline.stop()

    async def test_ret(self) -> None:
        bounces = await self.open()

        async def whole(action: str = "failed", message: Message | None = None, **demands: Any) -> bool:
            mail = original(demands=Demands(**demands))
            made = await bounces.envelope(evolve(mail, message=message or mail.message), [report(action, notify=14)])
            assert made is not None and isinstance(made.message.content, bytes)
            self.assertNotIn(b"Return-Path: <ada@", made.message.content)
            return b"Secret words" in made.message.content

        self.assertTrue(await whole(returns="FULL"))
        self.assertFalse(await whole(returns="HDRS"))
        self.assertFalse(await whole())
        self.assertFalse(await whole("delayed", returns="FULL"), "only of failures")
        self.assertFalse(await whole(returns="FULL", require_tls=True))
        large = HEAD + BODY + b"x" * 70 + b"\r\n" * (FULL_LIMIT // 2)
        self.assertFalse(await whole(returns="FULL", message=Message(large, len(large))))
        await self.timeline.stop()

    async def test_demands_go_back(self) -> None:
        bounces = await self.open()
        made = await bounces.envelope(original(demands=Demands(require_tls=True)), [report()])
        assert made is not None
        self.assertEqual(made.demands, Demands(require_tls=True))
        made = await bounces.envelope(original(sender=Address.parse("grüße@example.org"), demands=Demands(utf8=True)), [report()])
        assert made is not None
        self.assertEqual(made.demands, Demands(utf8=True))
        await self.timeline.stop()


class Spooled(Base):
    async def test_only_the_beginning_is_read(self) -> None:
        bounces = await self.open()
        blob = self.world.blobs.put(HEAD + BODY + b"Secret words\r\n" * 200_000)
        made = await bounces.envelope(evolve(original(), message=Message(blob, blob.size)), [report()])
        assert made is not None
        self.assertLess(made.message.size, 5000)
        self.assertIn(b"<m1@example.test>", made.message.content)  # type: ignore[arg-type]
        await self.timeline.stop()

    async def test_what_cannot_be_read_is_left_out(self) -> None:
        bounces = await self.open()
        blob = self.world.blobs.put(HEAD + BODY)
        blob.discard()
        made = await bounces.envelope(evolve(original(), message=Message(blob, 100)), [report()])
        assert made is not None
        self.assertEqual(fields(made)["Status"], "5.1.1")
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        await self.timeline.stop()


class Reading(SynchronousTestCase):
    @given(st.binary(max_size=200) | st.text(st.sampled_from("auto-submitted: no\r\n;Content-Type"), max_size=80).map(str.encode))
    def test_any_header(self, content: bytes) -> None:
        self.assertIn(module._automatic(content), ("", "mass", "answer"))
        module._arrived(content)

    def test_hosts(self) -> None:
        for host, name in (
            ("mx.example.net [192.0.2.7]:25", "mx.example.net"),
            ("mx.example.net", "mx.example.net"),
            ("[2001:db8::1]:25", "[2001:db8::1]:25"),
            (" [192.0.2.7]:25", "[192.0.2.7]"),
            ("", ""),
        ):
            self.assertEqual(module._outcome(report(attempt=evolve(FAILED, host=host)), 0).remote, name)

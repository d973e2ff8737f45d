"""The policy of SPF, DKIM, ARC and DMARC: whom it looks at, what it writes, what becomes of a message."""

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.checks import authentication, spf
from mailx.checks.authentication import DMARC_FAILED, DMARC_UNCLEAR, SPF_FAILED, SPF_UNCLEAR, Authentication
from mailx.config import Checks
from mailx.core.policy import Findings
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from tests import dns
from tests.checks.names import FAULT, SILENCE, Names, at_once
from tests.checks.signing import MESSAGE, chained, record, rsa, signature

HOST = "mx.example.net"
ZONE: dict[tuple[str, str], Any] = {
    ("example.org", "TXT"): ["v=spf1 ip4:192.0.2.0/24 -all"],
    ("s._domainkey.example.org", "TXT"): [record(rsa())],
    ("_dmarc.example.org", "TXT"): ["v=DMARC1; p=reject"],
    ("_dmarc.soft.example", "TXT"): ["v=DMARC1; p=quarantine"],
    ("_dmarc.shy.example", "TXT"): ["v=DMARC1; p=none"],
    ("s._domainkey.forwarder.example", "TXT"): [record(rsa())],
}
SIGNED = signature(MESSAGE) + MESSAGE
FORGED = b"From: a@example.org\r\nSubject: x\r\n\r\nforged\r\n"
ELSEWHERE = "198.51.100.1"


def envelope(content: Any, sender: str = "alice@example.org", **origin: Any) -> Envelope:
    came = evolve(Origin("ESMTP", "c1", "192.0.2.1", 25, "client.example"), **origin)
    size = len(content) if isinstance(content, bytes) else content.size
    return Envelope("e1", Address.parse(sender) if sender else None, (Address.parse("bob@example.net"),), Message(content, size), came)


class Policy(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names(ZONE)

    def policy(self, zone: Any = None, **settings: Any) -> Authentication:
        self.names = Names(ZONE | (zone or {}))
        return Authentication(Checks(**settings), HOST, self.names, self.clock)

    def ask(
        self, content: bytes, zone: Any = None, *, settings: dict[str, Any] | None = None, **more: Any
    ) -> tuple[Reply | None, Findings]:
        findings = Findings()
        asked = Deferred.fromCoroutine(self.policy(zone, **(settings or {})).check(envelope(content, **more), findings))
        return self.successResultOf(asked), findings

    def test_whole(self) -> None:
        reply, findings = self.ask(SIGNED)
        self.assertIsNone(reply)
        self.assertEqual(
            findings.verdicts, {"spf": "pass example.org", "dkim": "pass example.org", "arc": "none", "dmarc": "pass example.org"}
        )
        lines = findings.fields.split(b"\r\n\t")
        self.assertEqual(lines[0], b"Authentication-Results: mx.example.net;")
        self.assertEqual(lines[1], b"spf=pass smtp.mailfrom=alice@example.org;")
        self.assertTrue(lines[2].startswith(b"dkim=pass header.d=example.org header.s=s header.a=rsa-sha256 header.b="))
        self.assertEqual(lines[4], b"dmarc=pass header.from=example.org policy.dmarc=reject\r\n")
        self.assertTrue(findings.results.startswith("spf=pass smtp.mailfrom=alice@example.org; dkim=pass "))
        self.assertNotIn(HOST, findings.results)
        self.assertFalse(findings.junk)

    def test_whom_it_looks_at(self) -> None:
        for origin in (
            {"account": 7},
            {"protocol": "LMTP"},
            {"protocol": "UTF8LMTP"},
            {"protocol": "local"},
            {"protocol": "IMAP"},
            {"address": ""},
            {"address": "127.0.0.1"},
            {"address": "::1"},
        ):
            reply, findings = self.ask(FORGED, **origin)
            self.assertEqual((reply, findings), (None, Findings()), origin)
            self.assertEqual(self.names.asked, [])
        for origin in ({"protocol": "SMTP"}, {"protocol": "UTF8SMTPS"}, {"address": "fe80::1%eth0"}, {"address": ELSEWHERE}):
            self.assertNotEqual(self.ask(FORGED, **origin)[1], Findings(), origin)
        trusting = {"trusted": ("198.51.100.0/24", "2001:db8::/32")}
        self.assertEqual(self.ask(FORGED, address=ELSEWHERE, settings=trusting), (None, Findings()))
        self.assertEqual(self.ask(FORGED, address="2001:db8::5", settings=trusting), (None, Findings()))
        self.assertNotEqual(self.ask(FORGED, address="127.0.0.1", settings=trusting)[1], Findings())

    def test_switched_off(self) -> None:
        off = {"spf": "off", "dkim": False, "dmarc": "off"}
        self.assertEqual(self.ask(FORGED, settings=off), (None, Findings()))
        self.assertEqual(list(self.ask(SIGNED, settings={"spf": "off", "dmarc": "off"})[1].verdicts), ["dkim", "arc"])
        self.assertEqual(list(self.ask(SIGNED, settings={"dkim": False, "dmarc": "off"})[1].verdicts), ["spf"])
        self.assertEqual(self.ask(SIGNED, settings={"spf": "off"})[1].verdicts["dmarc"], "pass example.org")

    def test_spf_actions(self) -> None:
        """Of a domain without a DMARC record."""
        zone = {("_dmarc.example.org", "TXT"): []}
        for setting, expected, junk in (("reject", SPF_FAILED, False), ("junk", None, True), ("mark", None, False)):
            reply, findings = self.ask(MESSAGE, zone, address=ELSEWHERE, settings={"spf": setting})
            self.assertEqual((reply, findings.junk), (expected, junk))
            self.assertEqual(findings.verdicts["spf"], "fail example.org")
        reply, findings = self.ask(SIGNED, address=ELSEWHERE, settings={"spf": "reject"})
        self.assertIsNone(reply, "the author's signature weighs more")

    def test_null_sender(self) -> None:
        zone = {("client.example", "TXT"): ["v=spf1 -all"]}
        reply, findings = self.ask(SIGNED, zone, sender="", settings={"spf": "reject", "dmarc": "off"})
        self.assertEqual(reply, SPF_FAILED)
        self.assertIn(b"spf=fail smtp.helo=client.example;", findings.fields)
        zone = {("example.org", "TXT"): ["v=spf1 ip4:192.0.2.1 -all"]}
        reply, findings = self.ask(MESSAGE, zone, sender="", helo="example.org")
        self.assertEqual((reply, findings.verdicts["dmarc"]), (None, "pass example.org"))

    def test_dmarc_actions(self) -> None:
        for domain, mode, expected, junk in (
            ("example.org", "enforce", DMARC_FAILED, False),
            ("example.org", "junk", None, True),
            ("example.org", "mark", None, False),
            ("soft.example", "enforce", None, True),
            ("soft.example", "junk", None, True),
            ("soft.example", "mark", None, False),
            ("shy.example", "enforce", None, False),
            ("shy.example", "junk", None, False),
            ("nothing.example", "enforce", None, False),
        ):
            content = FORGED.replace(b"example.org", domain.encode())
            reply, findings = self.ask(content, sender="a@evil.example", settings={"dmarc": mode})
            self.assertEqual((reply, findings.junk), (expected, junk), (domain, mode))
            self.assertEqual(findings.verdicts["dmarc"], f"{'none' if domain == 'nothing.example' else 'fail'} {domain}")

    def test_what_dmarc_does_not_believe(self) -> None:
        partial = signature(MESSAGE, l="5") + MESSAGE + b"evil\r\n"
        for content in (partial, signature(MESSAGE, rsa(1024)) + MESSAGE, SIGNED.replace(b"bob@", b"eve@")):
            reply, _ = self.ask(content, {("example.org", "TXT"): ["v=spf1 -all"]})
            self.assertEqual(reply, DMARC_FAILED)

    def test_several_authors(self) -> None:
        both = b"From: a@example.org, b@other.example\r\n\r\nx\r\n"
        self.assertEqual(self.ask(both)[1].verdicts["dmarc"], "none other.example")
        self.assertEqual(self.ask(both, sender="a@other.example")[0], DMARC_FAILED)
        self.assertEqual(self.ask(b"From: b@other.example\r\n" + FORGED, sender="a@other.example")[0], DMARC_FAILED)
        many = b"From: " + b", ".join(b"a@d%d.example" % number for number in range(1000)) + b"\r\n\r\nx\r\n"
        reply, findings = self.ask(many)
        self.assertEqual((reply, findings.junk), (None, True))
        self.assertLess(len(self.names.asked), 30)

    def test_authors_hide_nothing(self) -> None:
        """What one author's domain asks for is not lost behind another's, nor behind a From that readers may see otherwise."""
        for value, zone, expected, junk in (
            ("a@shy.example, b@soft.example", {}, None, True),
            ("a@shy.example, b@silent.example", {("_dmarc.silent.example", "TXT"): FAULT}, DMARC_UNCLEAR, False),
            ("a@soft.example, b@silent.example", {("_dmarc.silent.example", "TXT"): FAULT}, DMARC_UNCLEAR, True),
            ("a@silent.example, b@example.org", {("_dmarc.silent.example", "TXT"): FAULT}, DMARC_FAILED, False),
            (", ".join(f"a@{name}.example" for name in ("shy", "one", "two", "three", "four", "five")), {}, None, True),
            ("a@evil.example@bank.example", {}, None, True),
            ("a@evil.example\r\nFrom: a@evil.example", {}, None, True),
            ("a@evil.example" + "\r\nFrom: a@evil.example" * 9 + "\r\nFrom: a@bank.example", {}, None, True),
        ):
            reply, findings = self.ask(f"From: {value}\r\n\r\nx\r\n".encode(), zone, sender="a@evil.example")
            self.assertEqual((reply, findings.junk), (expected, junk), value[:60])

    def test_a_trusted_forwarder_out_of_reach(self) -> None:
        listed = chained(MESSAGE.replace(b"Subject:", b"Subject: [list]"))
        zone = {("s._domainkey.forwarder.example", "TXT"): FAULT}
        for unclear, trusted, expected in (
            ("defer", "forwarder.example", DMARC_UNCLEAR),
            ("defer", "other.example", DMARC_FAILED),
            ("accept", "forwarder.example", DMARC_FAILED),
        ):
            settings = {"arc_trusted": (trusted,), "unclear": unclear}
            self.assertEqual(self.ask(listed, zone, sender="list@forwarder.example", settings=settings)[0], expected)

    def test_a_forwarder_vouches_for_one_author(self) -> None:
        listed = chained(MESSAGE.replace(b"From: ", b"From: x@soft.example, "))
        reply, findings = self.ask(listed, sender="list@forwarder.example", settings={"arc_trusted": ("forwarder.example",)})
        self.assertEqual(reply, DMARC_FAILED)

    def test_no_author(self) -> None:
        for content in (b"Subject: x\r\n\r\nx\r\n", b"From: nobody\r\n\r\nx\r\n", b"\r\n\r\n", b"x"):
            reply, findings = self.ask(content)
            self.assertEqual((reply, findings.junk, findings.verdicts["dmarc"]), (None, True, "permerror"))
            self.assertFalse(self.ask(content, settings={"dmarc": "mark"})[1].junk)

    def test_a_trusted_forwarder(self) -> None:
        listed = chained(MESSAGE.replace(b"Subject:", b"Subject: [list]"))
        reply, findings = self.ask(listed, sender="list@forwarder.example", settings={"arc_trusted": ("forwarder.example",)})
        self.assertIsNone(reply)
        self.assertFalse(findings.junk)
        self.assertIn(b'dmarc=fail reason="overridden by the ARC seal of forwarder.example" header.from=example.org', findings.fields)
        self.assertEqual(self.ask(listed, sender="list@forwarder.example")[0], DMARC_FAILED)
        changed = listed.replace(b"Hello", b"Hallo")
        self.assertEqual(
            self.ask(changed, sender="list@forwarder.example", settings={"arc_trusted": ("forwarder.example",)})[0], DMARC_FAILED
        )

    def test_unclear(self) -> None:
        key, policy, sender = ({(name, "TXT"): FAULT} for name in ("s._domainkey.example.org", "_dmarc.example.org", "example.org"))
        for zone, settings, expected in (
            (policy, {"unclear": "defer"}, DMARC_UNCLEAR),
            (policy, {}, DMARC_UNCLEAR),
            (policy, {"unclear": "defer", "dmarc": "junk"}, None),
            (key | sender, {"unclear": "defer"}, DMARC_UNCLEAR),
            (key | sender, {"unclear": "accept"}, None),
            (key, {"unclear": "defer"}, None),  # SPF vouches already
            (sender, {"unclear": "defer"}, None),  # and so does the signature
            (sender, {"unclear": "defer", "spf": "reject", "dkim": False, "dmarc": "mark"}, SPF_UNCLEAR),
            (sender, {"unclear": "accept", "spf": "reject", "dkim": False, "dmarc": "mark"}, None),
        ):
            reply, findings = self.ask(SIGNED, zone, settings=settings)
            self.assertEqual(reply, expected, (zone, settings))
            self.assertFalse(findings.junk)
            self.assertIn("temperror", " ".join(findings.verdicts.values()))
        reply, _ = self.ask(MESSAGE, {("_dmarc.evil.example", "TXT"): FAULT}, sender="a@evil.example", settings={"unclear": "defer"})
        self.assertEqual(reply, DMARC_FAILED, "an unrelated domain's silence does not help")

    def test_errors_are_logged_and_unclear(self) -> None:
        self.patch(authentication, "_looked_at", lambda *_: 1 / 0)
        for settings, expected in (({}, DMARC_UNCLEAR), ({"unclear": "accept"}, None), ({"unclear": "defer", "dmarc": "mark"}, None)):
            reply, findings = self.ask(SIGNED, settings=settings)
            self.assertEqual((reply, findings.verdicts), (expected, {"authentication": "temperror error"}))
            self.assertEqual(findings.fields, b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)


class Waiting(SynchronousTestCase):
    """Silence of DNS, and crowds."""

    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, policy: Authentication) -> tuple["Deferred[Any]", Findings]:
        findings = Findings()
        return Deferred.fromCoroutine(policy.check(envelope(SIGNED), findings)), findings

    def test_silence(self) -> None:
        silent = Names({key: SILENCE for key in ZONE})
        waiting, findings = self.start(Authentication(Checks(timeout=20, unclear="defer"), HOST, silent, self.clock))
        self.clock.advance(19)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), DMARC_UNCLEAR)
        self.assertEqual(findings.verdicts["spf"], "temperror example.org")
        self.assertEqual(findings.verdicts["dkim"], "temperror example.org")
        self.assertEqual(findings.verdicts["dmarc"], "temperror example.org")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_crowd(self) -> None:
        self.patch(authentication, "_AT_ONCE", 2)
        silent = Names({key: SILENCE for key in ZONE})
        policy = Authentication(Checks(timeout=20, unclear="accept"), HOST, silent, self.clock)
        first = [self.start(policy) for _ in range(2)]
        self.clock.advance(5)
        late, findings = self.start(policy)
        self.clock.advance(15)
        for waiting, _ in first:
            self.assertIsNone(self.successResultOf(waiting))
        self.assertNoResult(late)
        self.clock.advance(5)
        self.assertIsNone(self.successResultOf(late))
        self.assertTrue(findings.verdicts)

    def test_no_turn(self) -> None:
        self.patch(authentication, "_AT_ONCE", 1)
        silent = Names({key: SILENCE for key in ZONE})
        policy = Authentication(Checks(timeout=20, unclear="defer"), HOST, silent, self.clock)
        self.start(policy)
        late, findings = self.start(policy)
        policy._settings = Checks(timeout=5, unclear="defer")
        later, found = self.start(policy)
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(later), DMARC_UNCLEAR)
        self.assertEqual(found.verdicts, {"authentication": "temperror busy"})
        self.clock.advance(15)
        self.assertEqual(self.successResultOf(late), DMARC_UNCLEAR)

    def test_too_many_questions(self) -> None:
        """All questions of a message count together."""
        self.patch(authentication, "Patient", lambda *args: _poor(args))
        names = Names(ZONE)
        waiting, findings = self.start(Authentication(Checks(), HOST, names, self.clock))
        self.assertEqual(self.successResultOf(waiting), DMARC_UNCLEAR)
        self.assertLessEqual(len(names.asked), 1)
        self.assertIn("temperror", findings.verdicts["dmarc"])


def _poor(args: Any) -> Any:
    from mailx.checks.patience import Patient

    patient = Patient(*args)
    patient._left = 1
    return patient


class _Spooled:
    """A large message in a file."""

    def __init__(self, content: bytes, read: Any = None) -> None:
        self.content = content
        self.size = len(content)
        self.reads = 0

    def read(self) -> bytes:
        from twisted.python.threadable import isInIOThread

        assert not isInIOThread()
        self.reads += 1
        return self.content

    def discard(self) -> None:
        raise AssertionError("not the checks' to discard")


class Threads(TestCase):
    def policy(self, **settings: Any) -> Authentication:
        from twisted.internet import reactor

        policy = Authentication(Checks(**settings), HOST, Names(ZONE), reactor)
        self.addCleanup(policy.stop)
        return policy

    async def test_a_spooled_message(self) -> None:
        content = MESSAGE + b"more of it\r\n" * 100_000
        spooled = _Spooled(signature(content) + content)
        findings = Findings()
        self.assertIsNone(await self.policy().check(envelope(spooled), findings))
        self.assertEqual(findings.verdicts["dkim"], "pass example.org")
        self.assertEqual(spooled.reads, 1)

    async def test_a_large_header(self) -> None:
        findings = Findings()
        await self.policy().check(envelope(b"X: y\r\n" * 4000 + SIGNED), findings)
        self.assertEqual(findings.verdicts["dkim"], "pass example.org")

    async def test_many_signatures(self) -> None:
        findings = Findings()
        self.assertIsNone(await self.policy().check(envelope(signature(MESSAGE) * 30 + MESSAGE), findings))
        self.assertEqual(findings.verdicts["dkim"], ", ".join(["pass example.org"] * 10))

    async def test_an_unreadable_file(self) -> None:
        spooled = _Spooled(SIGNED)
        spooled.read = lambda: open("/nonexistent/file", "rb").read()  # type: ignore[method-assign]
        findings = Findings()
        self.assertEqual(await self.policy(unclear="defer").check(envelope(spooled), findings), DMARC_UNCLEAR)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_stopped(self) -> None:
        policy = self.policy(unclear="defer")
        policy.stop()
        findings = Findings()
        self.assertEqual(await policy.check(envelope(_Spooled(SIGNED)), findings), DMARC_UNCLEAR)


class Resolved(TestCase):
    """With the real resolver, which asks a real server on loopback."""

    async def test_silence(self) -> None:
        """The other answers count; nothing is left over when the late one would have come."""
        from twisted.internet import reactor

        zone = {key: value for key, value in ZONE.items() if key[1] == "TXT"} | {("s._domainkey.example.org", "TXT"): dns.TIMEOUT}
        resolver = await dns.resolver(self, zone)
        policy = Authentication(Checks(timeout=1), HOST, resolver, reactor)
        self.addCleanup(policy.stop)
        findings = Findings()
        self.assertIsNone(await policy.check(envelope(SIGNED), findings))
        self.assertEqual(findings.verdicts["spf"], "pass example.org")
        self.assertEqual(findings.verdicts["dkim"], "temperror example.org")
        self.assertEqual(findings.verdicts["dmarc"], "pass example.org")

    async def test_whole(self) -> None:
        from twisted.internet import reactor

        policy = Authentication(Checks(), HOST, await dns.resolver(self, ZONE), reactor)
        for _ in range(2):  # the second time from the cache
            findings = Findings()
            self.assertIsNone(await policy.check(envelope(SIGNED), findings))
            self.assertEqual(set(findings.verdicts.values()), {"pass example.org", "none"})


class Foreseen(SynchronousTestCase):
    def test_bounded(self) -> None:
        self.patch(spf, "_REMEMBERED", 3)
        checker = spf.SPF(HOST, at_once)
        for number in range(10):
            names = Names({(f"d{number}.example", "TXT"): ["v=spf1 -all"]})
            self.successResultOf(Deferred.fromCoroutine(checker.check(names, "192.0.2.1", Address("a", f"d{number}.example"), "c.example")))
        self.assertEqual(len(checker._foreseen), 3)

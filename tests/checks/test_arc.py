"""ARC: the public suite of chains, chains of our own, and chains made to deceive or to cost."""

import re
import time
from typing import Any

import dkim as dkimpy
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.checks import arc
from mailx.mail.canonical import Mail
from mailx.mail.chain import SETS
from tests.checks import dkimpy_suite, vectors
from tests.checks.signing import MESSAGE, chained, record, rsa, seal

KEY = {"s._domainkey.forwarder.example": [record(rsa())], "s._domainkey.other.example": [record(rsa())]}
TESTS_IN_SUITE = 171


def verify(message: bytes, records: Any = None, now: float = 12350.0) -> arc.Verdict:
    """The verdict on ``message``; ``records`` by question, None for no answer."""
    mail = Mail(message)
    chain = arc.examine(mail, now)
    arc.hash_all(mail, chain)
    found = KEY if records is None else records
    asked = {read.question: found.get(read.question, []) for read, _ in chain.signatures}
    return arc.conclude(chain, {name: None if texts is None else [text.encode() for text in texts] for name, texts in asked.items()})


class Suite(SynchronousTestCase):
    def test_validation(self) -> None:
        """Every chain of ValiMail's suite for validators."""
        ran = 0
        for scenario in vectors.scenarios(vectors.arc_suite()):
            records = {name: [text] for name, text in scenario["txt-records"].items()}
            for title, test in scenario["tests"].items():
                verdict = verify((test["message"] or "").replace("\n", "\r\n").encode(), records)
                expected = test["cv"].lower() or "fail"  # left open where a forwarder said so itself: RFC 8617 5.2 says fail
                self.assertEqual(verdict.result, expected, f"{title}: {test['description']}: {verdict.reason}")
                ran += 1
        self.assertEqual(ran, TESTS_IN_SUITE)

    def test_vectors_of_dkimpy(self) -> None:
        """Whatever chains dkimpy's own tests verify, we verify alike."""
        seen = dkimpy_suite.verified(self, dkimpy.ARC, ("test_arc",))
        self.assertGreaterEqual(len(seen), 2)
        for message, _, theirs, found in seen:
            records = {name.rstrip("."): [text.decode()] for name, text in found.items()}
            self.assertEqual(verify(message, records).result, theirs[0].decode())

    def test_vectors_of_mailman(self) -> None:
        """Two chains of ValiMail's suite that Mailman's tests hold."""
        text = vectors.member("mailman-3.3.10.tar.gz", "src/mailman/handlers/tests/test_arc_validate.py").decode()
        key = "".join(re.findall(r'"([^"]*)"', text.partition("dkim1 = [")[2].partition("]")[0]))
        for title, expected in (("test_chain_validation_pass", "pass"), ("test_chain_validation_fail", "fail")):
            message = text.partition(f"def {title}(")[2].partition('message_from_string("""')[2].partition('""")')[0]
            verdict = verify(message.replace("\n", "\r\n").encode(), {"dummy._domainkey.example.org": [key]})
            self.assertEqual((verdict.result, verdict.sealers), (expected, ("example.org",)))


class Chains(SynchronousTestCase):
    def test_none(self) -> None:
        for message in (b"", MESSAGE, b"\r\nARC-Seal: i=1"):
            self.assertEqual(verify(message), arc.NONE)

    def test_chains(self) -> None:
        once = chained(MESSAGE)
        twice = chained(once, domain="other.example")
        self.assertEqual(verify(once).result, "pass")
        verdict = verify(b"Received: from x\r\n" + twice)
        self.assertEqual((verdict.result, verdict.sealers, verdict.whole), ("pass", ("forwarder.example", "other.example"), True))
        self.assertEqual(verdict.results[0].strip(), b"forwarder.example; dmarc=pass header.from=example.org")

    def test_as_dkimpy(self) -> None:
        def ask(name: bytes, timeout: int = 5) -> str:
            return KEY.get(name.decode().rstrip("."), [""])[0]

        message = MESSAGE
        for number in range(1, 5):
            message = chained(message, domain="other.example" if number % 2 else "forwarder.example")
            for whole in (
                message,
                message + b"more\r\n",
                message.replace(b"bob@", b"eve@"),
                message.replace(b"dmarc=pass", b"dmarc=fail", 1),
            ):
                self.assertEqual(verify(whole).result, dkimpy.arc_verify(whole, dnsfunc=ask)[0].decode())

    def test_changed(self) -> None:
        once = chained(MESSAGE)
        twice = chained(once)
        cases = [
            (once.replace(b"Hello", b"Hallo"), "body has changed"),
            (once.replace(b"bob@", b"eve@"), "a signature does not verify"),
            (once.replace(b"dmarc=pass", b"dmarc=fail"), "a signature does not verify"),
            (twice.replace(b"cv=pass", b"cv=none"), "wrong cv="),
            (chained(MESSAGE, cv="pass"), "wrong cv="),
            (chained(once, cv="none"), "wrong cv="),
            (chained(once, cv="fail"), "a forwarder found the chain broken"),
            (chained(chained(once, cv="fail")), "wrong cv="),
            (chained(MESSAGE, i="2", cv="pass"), "incomplete sets"),
            (chained(once, i="1"), "an instance stands twice"),
            (once.partition(b"\r\n")[2], "incomplete sets"),
            (once.replace(b"ARC-Message-Signature", b"X-Message-Signature"), "incomplete sets"),
            (once.replace(b"ARC-Authentication-Results: i=1", b"ARC-Authentication-Results: 1"), "malformed instance"),
            (once.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=0"), "malformed instance"),
            (once.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=1; h=from"), "h= in a seal"),
            (chained(MESSAGE, h="from:arc-seal"), "a message signature covers seals"),
        ]
        for message, reason in cases:
            verdict = verify(message)
            self.assertEqual((verdict.result, verdict.reason), ("fail", reason))

    def test_keys(self) -> None:
        once = chained(MESSAGE)
        self.assertEqual(verify(once, {"s._domainkey.forwarder.example": None}).result, "temperror")
        for texts in ([], ["v=DKIM1; p="], [record(rsa(1024))], ["p=Zm9v"], [record(rsa(), h="sha1")]):
            self.assertEqual(verify(once, {"s._domainkey.forwarder.example": texts}).result, "fail")

    def test_a_broken_older_message_signature(self) -> None:
        """A forwarder changed the message and sealed anew: that is what ARC is for (RFC 8617 5.2)."""
        once = chained(MESSAGE)
        changed = chained(once.replace(b"Subject:", b"Subject: [list]") + b"-- \r\nthe list\r\n", domain="other.example")
        self.assertEqual(verify(changed).result, "pass")


class Trust(SynchronousTestCase):
    def vouches(self, message: bytes, *trusted: str, author: str = "example.org") -> str:
        return arc.vouches(verify(message), trusted, author)

    def test_a_trusted_forwarder(self) -> None:
        once = chained(MESSAGE)
        self.assertEqual(self.vouches(once, "forwarder.example"), "forwarder.example")
        self.assertEqual(self.vouches(once, "other.example"), "")
        self.assertEqual(self.vouches(once, "forwarder.example", author="bank.example"), "")
        self.assertEqual(self.vouches(once + b"changed\r\n", "forwarder.example"), "")

    def test_what_it_found(self) -> None:
        for results, expected in (
            ("forwarder.example; dmarc=pass", ""),  # of whom? a forwarder may have put itself into From since
            ("forwarder.example; spf=pass smtp.mailfrom=a@x.example; dmarc=pass (p=reject) header.from=Example.org", "forwarder.example"),
            ("forwarder.example; dmarc=fail header.from=example.org", ""),
            ("forwarder.example; dkim=pass header.d=example.org", ""),
            ("forwarder.example; none", ""),
            ("forwarder.example; dmarc=pass header.from=other.example", ""),
            ('forwarder.example; x=y reason="; dmarc=pass"', ""),
            ("=;=", ""),
            ("forwarder.example; " + "x" * 9000, ""),
        ):
            self.assertEqual(self.vouches(chained(MESSAGE, results=results), "forwarder.example"), expected, results)

    def test_behind_a_stranger(self) -> None:
        """What an untrusted forwarder claims to have found does not count, whoever sealed afterwards."""
        failed = "forwarder.example; dmarc=fail header.from=example.org"
        message = chained(chained(MESSAGE, domain="other.example"), results=failed)
        self.assertEqual(self.vouches(message, "forwarder.example"), "")
        self.assertEqual(self.vouches(message, "forwarder.example", "other.example"), "other.example")
        between = chained(chained(chained(MESSAGE), domain="other.example", results=failed), results=failed)
        self.assertEqual(self.vouches(between, "forwarder.example"), "")

    def test_an_open_message_signature(self) -> None:
        """A chain may leave the author or part of the body open; then nobody vouches for them."""
        for changes in ({"h": "to"}, {"h": "from:to", "l": "5"}):
            message = chained(MESSAGE, **changes)
            self.assertEqual(verify(message).result, "pass")
            self.assertEqual(self.vouches(message, "forwarder.example"), "")
        self.assertEqual(self.vouches(b"From: ceo@bank.example\r\n" + chained(MESSAGE), "forwarder.example"), "")


class Costly(SynchronousTestCase):
    def test_long_chains(self) -> None:
        for count, expected in ((SETS, "fail"), (SETS + 1, "fail"), (3000, "fail")):
            fields = b"".join(_set(number) for number in range(count, 0, -1))
            started = time.process_time()
            self.assertEqual(verify(fields + MESSAGE).result, expected)
            self.assertLess(time.process_time() - started, 0.5)

    def test_a_chain_of_fifty(self) -> None:
        message = MESSAGE
        for _ in range(SETS):
            message = chained(message)
        self.assertEqual(verify(message).result, "pass")
        self.assertEqual(verify(chained(message)).reason, "too many sets")

    @settings(max_examples=50)
    @given(st.binary(max_size=200), st.text(max_size=50))
    def test_anything(self, octets: bytes, text: str) -> None:
        for field in (b"ARC-Seal: ", b"ARC-Message-Signature: i=1;", b"ARC-Authentication-Results: i=1;"):
            self.assertIn(verify(field + octets + b"\r\n" + chained(MESSAGE)).result, ("fail", "pass"))
        message = chained(MESSAGE, results="forwarder.example; " + "".join(each for each in text if each.isprintable()))
        arc.vouches(verify(message), ("forwarder.example",), "example.org")

    def test_a_seal_without_the_rest(self) -> None:
        tags = {"i": "1", "a": "rsa-sha256", "d": "forwarder.example", "s": "s", "h": "from"}
        self.assertEqual(verify(seal(MESSAGE, rsa(), b"ARC-Message-Signature", tags) + MESSAGE).reason, "incomplete sets")


def _set(number: int) -> bytes:
    """One that looks well."""
    of = b"i=%d; a=rsa-sha256; d=x.example; s=s; b=AAAA;" % number
    cv = b"pass" if number > 1 else b"none"
    results = b"ARC-Authentication-Results: i=%d; x.example; none\r\n" % number
    return b"ARC-Seal: %b cv=%b\r\nARC-Message-Signature: %b h=from; bh=AAAA\r\n%b" % (of, cv, of, results)

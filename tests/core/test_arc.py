"""The seals of a forwarder, as dkimpy validates them."""

import dkim as dkimpy
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import arc, dkim
from mailx.core.arc import verdict
from mailx.mail.canonical import Mail
from mailx.mail.chain import NAMES, SETS, read
from tests.core.test_dkim import MESSAGE, SIGNERS, lookup

HOST = "mx.example.org"


def seal(content: bytes, results: str = "dkim=pass header.d=example.org; arc=pass") -> bytes:
    return arc.seal(content, SIGNERS, HOST, results, 1500000000) + content


def validate(content: bytes) -> bytes:
    verdict, _, _ = dkimpy.arc_verify(content, dnsfunc=lookup)
    return bytes(verdict or b"invalid")


class Seals(SynchronousTestCase):
    def test_one_after_another(self) -> None:
        content = dkim.sign(MESSAGE, SIGNERS, 1) + MESSAGE
        for number in range(1, 6):
            content = b"Received: by somebody\r\n" + seal(content)
            self.assertEqual(validate(content), b"pass", number)
            self.assertEqual(read(Mail(content)).instances, number)
        self.assertIn(b"cv=none", content)
        self.assertEqual(content.count(b"cv=pass"), 4)

    def test_the_whole_chain(self) -> None:
        content = MESSAGE
        for _ in range(SETS):
            content = seal(content)
        self.assertEqual(validate(content), b"pass")
        self.assertEqual(seal(content), content, "RFC 8617 5.2: no more than 50")

    def test_what_it_says(self) -> None:
        sealed = seal(MESSAGE, "spf=fail (no; comment)\r\n\tsmtp.mailfrom=example.com; dkim=none")
        self.assertIn(
            b"\r\nARC-Authentication-Results: i=1; mx.example.org; spf=fail (no;\r\n\t  comment) smtp.mailfrom=example.com; dkim=none\r\n",
            sealed,
        )
        self.assertEqual(validate(sealed), b"pass")
        self.assertIn(b"ARC-Authentication-Results: i=1; mx.example.org; none\r\n", seal(MESSAGE, ""))

    def test_it_covers_signatures_but_no_seals(self) -> None:
        sealed = seal(seal(dkim.sign(MESSAGE, SIGNERS, 1) + MESSAGE))
        covered = sealed.partition(b"ARC-Message-Signature: i=2")[2].partition(b"bh=")[0]
        self.assertEqual(covered.count(b"DKIM-Signature"), 2)
        self.assertNotIn(b"ARC-", covered)

    def test_a_changed_message_fails(self) -> None:
        self.assertEqual(validate(seal(MESSAGE).replace(b"Hello", b"Hallo")), b"fail")

    def test_a_chain_that_failed_at_its_arrival(self) -> None:
        """RFC 8617 5.1.2: the seal says so and covers its own set alone; after it there is none."""
        broken = seal(MESSAGE).replace(b"Hello", b"Hallo")
        sealed = seal(broken, "arc=fail")
        self.assertIn(b"ARC-Seal: i=2; a=rsa-sha256; t=1500000000; cv=fail;", sealed)
        self.assertEqual(validate(sealed), b"invalid", "what dkimpy says of a chain whose last seal says that it failed")
        self.assertEqual(seal(sealed, "arc=fail"), sealed)
        self.assertEqual(seal(sealed, "arc=pass"), sealed)

    def test_a_chain_of_which_nothing_is_known(self) -> None:
        sealed = seal(MESSAGE)
        for results in (
            "",
            "dkim=pass",
            "arc=temperror",
            "dkim=pass (arc=pass)",
            "dkim=pass (x; arc=pass)",
            'spf=none smtp.mailfrom="; arc=pass"@example.com',
            "x-arc=pass",
        ):
            self.assertEqual(seal(sealed, results), sealed, results)
            self.assertEqual(validate(sealed), b"pass")

    def test_chains_that_are_none(self) -> None:
        sealed = seal(seal(MESSAGE))
        for broken in (
            b"ARC-Seal: i=3; cv=pass\r\n" + sealed,
            b"ARC-Seal: i=2; cv=pass\r\n" + sealed,
            b"ARC-Seal: cv=pass\r\n" + sealed,
            b"ARC-Message-Signature: i=0\r\n" + sealed,
            sealed.replace(b"ARC-Message-Signature: i=1", b"X: i=1"),
        ):
            known = read(Mail(broken))
            self.assertTrue(known.problem, broken[:40])
            self.assertIn(verdict(known, "arc=pass"), ("fail", ""))
        self.assertEqual(verdict(read(Mail(b"ARC-Seal: i=1\r\n" * 1000)), "arc=pass"), "")

    @given(st.lists(st.tuples(st.sampled_from(NAMES), st.text("i=;0129 cvpasfil", max_size=12)), max_size=12), st.text(max_size=30))
    def test_whatever_a_header_says(self, fields: list[tuple[bytes, str]], results: str) -> None:
        header = b"".join(name + b": " + value.encode() + b"\r\n" for name, value in fields)
        content = header + MESSAGE
        sealed = seal(content, results)
        self.assertTrue(sealed.endswith(content))
        if not fields:
            self.assertEqual(validate(sealed), b"pass", results)

    def test_without_keys(self) -> None:
        self.assertEqual(arc.seal(MESSAGE, (), HOST, "", 1), b"")
        self.assertIn(b"a=ed25519-sha256", arc.seal(MESSAGE, SIGNERS[1:], HOST, "", 1))

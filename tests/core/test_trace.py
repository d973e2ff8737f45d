"""Trace fields: their grammar, what they tell, and what they do not."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from mailx.core.trace import address_literal, received
from mailx.mail.address import Address
from mailx.mail.envelope import Origin

ANN = Address.parse("ann@example.test")
BOB = Address.parse("bob@example.test")


def trace(origin: Origin, sender: Address | None = ANN, recipients: tuple[Address, ...] = (BOB,), hostname: str = "mx.example.test") -> str:
    return received(hostname, origin, "abcdefgh", sender, recipients, 1_700_000_000).decode()


def unfolded(text: str) -> list[str]:
    return re.sub(r"\r\n\t", " ", text).split("\r\n")


class ReceivedTests(TestCase):
    def test_stranger(self) -> None:
        """A stranger's name and address, the protocol, the id, and the one recipient."""
        self.assertEqual(
            unfolded(trace(Origin("ESMTP", "c", "192.0.2.9", 25, "client.example.org"))),
            [
                "Return-Path: <ann@example.test>",
                "Received: from client.example.org ([192.0.2.9]) by mx.example.test with ESMTP id abcdefgh"
                " for <bob@example.test>; Tue, 14 Nov 2023 22:13:20 +0000",
                "",
            ],
        )

    def test_null_sender(self) -> None:
        self.assertTrue(trace(Origin("SMTP", "c"), None).startswith("Return-Path: <>\r\n"))

    def test_tls(self) -> None:
        """A registered name of the suite makes the tls clause (RFC 8314 7.4), another one a comment."""
        modern = unfolded(trace(Origin("ESMTPS", "c", "2001:db8::1", 25, "h.example", tls="TLSv1.3 TLS_AES_256_GCM_SHA384")))[1]
        self.assertIn("from h.example ([IPv6:2001:db8::1]) ", modern)
        self.assertIn(" with ESMTPS (TLSv1.3) id abcdefgh for <bob@example.test> tls TLS_AES_256_GCM_SHA384; ", modern)
        older = unfolded(trace(Origin("ESMTPS", "c", "192.0.2.9", 25, "h.example", tls="TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384")))[1]
        self.assertIn(" with ESMTPS (TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384) id ", older)
        self.assertNotIn(" tls ", older)

    def test_several_recipients(self) -> None:
        """No recipient learns of another (RFC 5321 7.2)."""
        text = trace(Origin("ESMTP", "c"), ANN, (ANN, BOB))
        self.assertNotIn(" for ", text)
        self.assertNotIn("bob", text)

    def test_authenticated(self) -> None:
        """Where a person submits from is nobody's affair."""
        text = trace(Origin("ESMTPSA", "c", "192.0.2.9", 587, "laptop.home", account=7))
        self.assertIn("from authenticated by mx.example.test with ESMTPSA ", unfolded(text)[1])
        self.assertNotIn("192.0.2.9", text)
        self.assertNotIn("laptop", text)

    @given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=60))
    def test_nothing_gets_out_of_the_field(self, helo: str, address: str, tls: str) -> None:
        """Whatever a client says, there are two fields, in short lines, of which the second parses."""
        text = trace(Origin("ESMTP", "c", address, 25, helo, tls=tls))
        lines = text.split("\r\n")
        self.assertTrue(all(len(line.encode()) <= 998 and "\n" not in line and "\r" not in line for line in lines))
        self.assertEqual(len(unfolded(text)), 3)
        self.assertRegex(
            unfolded(text)[1], r"\AReceived: from \S+( \(\[[^\]() ]+\]\))? by mx\.example\.test with ESMTP( \([^()\\]*\))? id abcdefgh for "
        )

    def test_lines_are_short(self) -> None:
        """Lines stay within 78 columns where their words allow it."""
        address = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
        origin = Origin("UTF8SMTPSA", "c", address, 25, "a-long-name.of-a-client.example.org", tls="TLSv1.3 TLS_AES_256_GCM_SHA384")
        for line in trace(origin).split("\r\n"):
            self.assertLessEqual(len(line), 78, line)

    def test_literal(self) -> None:
        self.assertEqual(address_literal("192.0.2.1"), "[192.0.2.1]")
        self.assertEqual(address_literal("2001:db8::1"), "[IPv6:2001:db8::1]")
        self.assertEqual(address_literal("/var/run/lmtp"), "")
        self.assertEqual(address_literal(""), "")

"""Signatures on what goes out, as others verify them: dkimpy and, where it is installed, OpenDKIM."""

import os
import shutil
import subprocess
from pathlib import Path

import dkim as dkimpy
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailx.core import dkim
from mailx.core.dkim import ALGORITHMS, ED25519, FIELDS_LIMIT, RSA, Signer, Unsignable, digest, generate, publishes, record, signer
from mailx.mail.canonical import Mail
from mailx.mail.tags import parse

DOMAIN = "example.org"
HEADER = (
    b"Received: from a by b\r\nFrom: Ann <ann@example.org>\r\nTo: bob@example.net,\r\n\teve@example.net\r\n"
    b"Subject: two  blanks\r\n\tfolded\r\n"
    b"Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
)
MESSAGE = HEADER + b"\r\nHello  world \r\n\r\n.\r\n\r\n"


def made() -> tuple[list[Signer], dict[str, str]]:
    """A signer of each algorithm, and the records that publish them."""
    signers, records = [], {}
    for algorithm in ALGORITHMS:
        private, public = generate(algorithm)
        selector = algorithm[:3]
        signers.append(signer(DOMAIN, selector, algorithm, private))
        records[f"{selector}._domainkey.{DOMAIN}"] = record(algorithm, public)
    return signers, records


SIGNERS, RECORDS = made()  # one pair for all tests: an RSA key takes long to make


def lookup(name: bytes, timeout: int = 5) -> bytes | None:
    """What dkimpy asks in place of DNS."""
    text = RECORDS.get(name.decode("ascii").removesuffix("."))
    return None if text is None else text.encode("ascii")


def verify(content: bytes) -> list[bool]:
    """dkimpy's verdict on each signature."""
    message = dkimpy.DKIM(content)
    count = sum(1 for name, _ in message.headers if name.lower() == b"dkim-signature")
    verdicts = []
    for number in range(count):
        try:
            verdicts.append(message.verify(idx=number, dnsfunc=lookup))
        except dkimpy.ValidationError:
            verdicts.append(False)
    return verdicts


class Signatures(SynchronousTestCase):
    def test_both_algorithms(self) -> None:
        signed = dkim.sign(MESSAGE, SIGNERS, 1500000000)
        self.assertEqual(verify(signed + MESSAGE), [True, True])
        self.assertIn(b"a=rsa-sha256; c=relaxed/relaxed; d=example.org;\r\n\ts=rsa; t=1500000000;", signed)
        self.assertNotIn("l", parse(signed.partition(b"DKIM-Signature:")[2].partition(b"DKIM-")[0].decode()))
        self.assertLessEqual(max(len(line) for line in signed.split(b"\r\n")), 80)
        self.assertEqual(signed.count(b"\n"), signed.count(b"\r\n"))

    def test_changes_on_the_way_that_relaxed_allows(self) -> None:
        signed = dkim.sign(MESSAGE, SIGNERS, 1) + MESSAGE
        moved = signed.replace(b"two  blanks\r\n\tfolded", b"two blanks folded").replace(b"world \r\n", b"world\r\n") + b"\r\n\r\n"
        self.assertEqual(verify(b"Received: by c\r\n" + moved), [True, True])

    def test_changes_that_break_it(self) -> None:
        signed = dkim.sign(MESSAGE, SIGNERS, 1) + MESSAGE
        for changed in (
            signed.replace(b"Hello", b"Hallo"),
            signed.replace(b"ann@", b"eve@"),
            b"Subject: another\r\n" + signed,
            b"From: eve@example.com\r\n" + signed,
            b"To: more@example.net\r\n" + signed,
            b"Content-Type: text/html\r\n" + signed,
            signed + b"more text\r\n",
        ):
            self.assertEqual(verify(changed), [False, False], changed[:60])

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((b"To", b"cc", b"Subject", b"List-ID", b"X-Other", b"REFERENCES", b"Content-Type")),
                st.lists(st.sampled_from((b"a", b" ", b"\t", b"\r\n\t", b"\r\n b", b"=?utf-8?q?x?=", b"\xc3\xa4", b";", b":")), max_size=8),
            ),
            max_size=12,
        ),
        st.lists(st.sampled_from((b"text", b"\r\n", b" ", b"\t", b"\xe9", b".", b"\r\n\r\n")), max_size=20),
    )
    def test_whatever_is_signed_verifies(self, more: list[tuple[bytes, list[bytes]]], body: list[bytes]) -> None:
        header = b"".join(name + b": x" + b"".join(value) + b"\r\n" for name, value in more)
        content = HEADER + header + b"\r\n" + b"".join(body) + b"\r\n"
        self.assertEqual(verify(dkim.sign(content, SIGNERS, 1) + content), [True, True])

    def test_what_is_not_signed(self) -> None:
        self.assertRaises(Unsignable, dkim.sign, b"Subject: no author\r\n\r\n", SIGNERS, 1)
        self.assertRaises(Unsignable, dkim.sign, b"From: a@example.org\r\n" * (FIELDS_LIMIT + 1) + b"\r\n", SIGNERS, 1)

    def test_covered_fields(self) -> None:
        """Fields that may come once are listed once more (RFC 6376 8.15), trace fields not at all."""
        covered = digest(Mail(MESSAGE)).covered
        self.assertEqual(
            [name for name in covered if name in (b"From", b"Subject", b"Cc", b"References", b"Received")],
            [b"From"] * 2 + [b"Subject"] * 2 + [b"Cc"],
        )

    def test_opendkim_agrees(self) -> None:
        program = shutil.which("opendkim", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise SkipTest("OpenDKIM is not installed")
        directory = Path(self.mktemp())
        directory.mkdir()
        keys, good, bad, configuration = (directory / name for name in ("keys", "good", "bad", "configuration"))
        keys.write_text("".join(f"{name} {text}\n" for name, text in RECORDS.items()), encoding="ascii")
        signed = dkim.sign(MESSAGE, SIGNERS, 1500000000) + MESSAGE
        good.write_bytes(signed)
        bad.write_bytes(signed.replace(b"Hello", b"Hallo"))
        configuration.write_text(
            f"Mode v\nTestPublicKeys {keys.absolute()}\nSyslog no\nAlwaysAddARHeader yes\nAuthservID x\n", encoding="ascii"
        )
        for file, verdict in ((good, "dkim=pass"), (bad, "dkim=fail")):
            done = subprocess.run([program, "-x", configuration, "-t", file, "-vvv"], capture_output=True, text=True, timeout=30)
            said = done.stdout + done.stderr
            self.assertEqual(said.count(verdict), 2, said)
            for algorithm in ALGORITHMS:
                self.assertIn(f"header.a={algorithm}", said)


class Keys(SynchronousTestCase):
    def test_records(self) -> None:
        for algorithm in ALGORITHMS:
            text = RECORDS[f"{algorithm[:3]}._domainkey.{DOMAIN}"]
            public = text.partition("p=")[2]
            self.assertTrue(publishes(text.encode(), algorithm, public))
            self.assertTrue(
                publishes(
                    f"p={public[:20]} {public[20:]};h=sha1:sha256; k = {text[11:].partition(';')[0]}; t=s".encode(), algorithm, public
                )
            )
            for wrong in (
                "",
                "v=DKIM1; p=",
                text + "; s=other",
                text.replace("DKIM1", "DKIM2"),
                text + "; h=sha1",
                "p=!" + public,
                text[:-8],
            ):
                self.assertFalse(publishes(wrong.encode(), algorithm, public), wrong)
        self.assertFalse(publishes(f"v=DKIM1; p={public}".encode(), ED25519, public), "RSA unless it says otherwise")

    def test_a_key_of_another_kind(self) -> None:
        private, _ = generate(ED25519)
        self.assertRaises(ValueError, signer, DOMAIN, "x", RSA, private)
        self.assertRaises(ValueError, signer, DOMAIN, "x", RSA, b"no key")
        self.assertNotIn("key=", repr(SIGNERS[0]))

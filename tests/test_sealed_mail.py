"""``mailx-seal`` and ``mailx-open`` as programs, against a real site over TLS."""

import os
import re
import sys
from pathlib import Path
from time import time
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.trial.unittest import TestCase

from mailx.core.client_keys import ClientKeys
from mailx.identity.sealed_message import is_sealed
from mailx.identity.user_key_file import UserKeyFile, protected
from mailx.mail.address import Address
from mailx.sealed_files import crlf, lf
from mailx.web.public.enrolment import Identity
from mailx.web.public.service import PublicService
from mailx.web.public.site import PublicSite
from mailx.web.public.well_known import WellKnown
from tests.core.keys import Ring, ring
from tests.system.certificates import Authority

MESSAGE = b"From: Ann <ann@example.test>\nTo: bob@example.test\nBcc: cid@example.test\nSubject: Plan\n\nThe plan\n"


@define
class Ended:
    """What a program wrote, and how it ended."""

    out: bytes
    error: str
    code: int


class _Run(ProcessProtocol):
    def __init__(self, data: bytes, done: "Deferred[Ended]") -> None:
        self._data, self._done = data, done
        self._out: list[bytes] = []
        self._error: list[bytes] = []

    def connectionMade(self) -> None:
        self.transport.write(self._data)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        self._out.append(data)

    def errReceived(self, data: bytes) -> None:
        self._error.append(data)

    def processEnded(self, reason: Any) -> None:
        self._done.callback(Ended(b"".join(self._out), b"".join(self._error).decode(), reason.value.exitCode))


class _TLS:
    """A certificate for listeners."""

    def __init__(self, path: Path) -> None:
        self._certificate = PrivateCertificate.loadPEM(path.read_bytes())

    def server_options(self) -> CertificateOptions:
        return self._certificate.options()


class Programs(TestCase):
    ring: Ring

    def setUp(self) -> Any:
        return Deferred.fromCoroutine(self.set_up())

    async def set_up(self) -> None:
        self.ring = await ring(self, int(time()))
        for name in ("ann", "bob", "cid"):
            await self.ring.world.user(f"{name}@example.test")
        self.place = Path(self.mktemp())
        self.place.mkdir()
        authority = Authority(self.place)
        clients = ClientKeys(self.ring.world.accounts, self.ring.users)
        parts = [WellKnown(self.ring.domains.published), Identity(self.ring.users, clients, self.ring.world.access)]
        service = PublicService(PublicSite(parts, reactor), "127.0.0.1", 0, _TLS(authority.issue("localhost")), reactor)  # type: ignore[arg-type]
        service.startService()
        self.addCleanup(service.stopService)
        assert service.port is not None
        self.url = f"https://localhost:{service.port.getHost().port}"  # type: ignore[attr-defined]
        self.common = ["--site", f"example.test={self.url}", "--cafile", str(authority.certificate)]
        (self.place / "password").write_text("secret\n")
        (self.place / "passphrase").write_text("\n")

    def keys(self, name: str) -> str:
        return str(self.place / f"{name}.keys")

    def run_(self, command: str, *arguments: str, data: bytes = b"") -> "Deferred[Ended]":
        done: Deferred[Ended] = Deferred()
        code = f"from mailx.sealed_mail_commands import {command}_command as run; run()"
        argv = [sys.executable, "-c", code, *arguments]
        reactor.spawnProcess(_Run(data, done), sys.executable, argv, env=dict(os.environ))  # type: ignore[attr-defined]
        return done

    async def enrol(self, name: str, *more: str) -> Ended:
        arguments = ["--enrol", f"{name}@example.test", "-k", self.keys(name), "--password-file", str(self.place / "password")]
        return await self.run_("open", *arguments, "--passphrase-file", str(self.place / "passphrase"), *more, *self.common)

    async def test_from_end_to_end(self) -> None:
        for name in ("ann", "bob", "cid"):
            ended = await self.enrol(name)
            self.assertEqual(ended.code, 0, ended.error)
            self.assertEqual(os.stat(self.keys(name)).st_mode & 0o777, 0o600)
        sealed = await self.run_("seal", "-k", self.keys("ann"), *self.common, "bob@example.test", data=MESSAGE)
        self.assertEqual(sealed.code, 0, sealed.error)
        self.assertTrue(is_sealed(sealed.out))
        self.assertNotIn(b"Plan", sealed.out)
        opened = await self.run_("open", "-k", self.keys("bob"), *self.common, "--unix", data=sealed.out.replace(b"\r\n", b"\n"))
        self.assertEqual(opened.code, 0, opened.error)
        self.assertIn(
            b"Authentication-Results: example.test;\n\tmailx-seal=pass header.from=ann@example.test policy.key=user policy.sealed=sender"
            b" policy.end-to-end=yes\n",
            opened.out,
        )
        self.assertTrue(opened.out.endswith(b"Subject: Plan\n\nThe plan\n"))
        self.assertNotIn(b"Bcc", opened.out)
        self.assertRegex(opened.out, rb"(?m)^Message-ID: <[0-9a-f]+@example.test>$")
        other = await self.run_("open", "-k", self.keys("cid"), *self.common, data=sealed.out)
        self.assertEqual((other.code, other.out), (1, b""))
        self.assertIn("sealed for other keys", other.error)
        offline = await self.run_("open", "-k", self.keys("bob"), "--offline", data=sealed.out)
        self.assertIn(b"mailx-seal=temperror", offline.out)

    async def test_hidden_recipients_have_a_message_of_their_own(self) -> None:
        for name in ("ann", "bob", "cid"):
            await self.enrol(name)
        together = await self.run_("seal", "-k", self.keys("ann"), *self.common, data=MESSAGE)
        self.assertEqual((together.code, together.out), (1, b""))
        self.assertIn("--output", together.error)
        ended = await self.run_("seal", "-k", self.keys("ann"), "-o", str(self.place), *self.common, data=MESSAGE)
        self.assertEqual(ended.code, 0, ended.error)
        named, hidden = [line.split(": ") for line in ended.out.decode().splitlines()]
        self.assertEqual((named[1], hidden[1]), ("bob@example.test", "cid@example.test"))
        self.assertIn(b"To: bob@example.test\r\n", Path(named[0]).read_bytes())
        self.assertIn(b"To: undisclosed-recipients:;\r\n", Path(hidden[0]).read_bytes())
        self.assertNotIn(b"cid@", Path(hidden[0]).read_bytes() + Path(named[0]).read_bytes())

    async def test_never_half(self) -> None:
        await self.enrol("ann")
        await self.enrol("bob")
        ended = await self.run_("seal", "-k", self.keys("ann"), *self.common, "bob@example.test", "cid@example.test", data=MESSAGE)
        self.assertEqual((ended.code, ended.out), (1, b""))
        self.assertIn("cid@example.test has no keys", ended.error)

    async def test_in_the_name_of_somebody_else(self) -> None:
        await self.enrol("bob")
        ended = await self.run_("seal", "-k", self.keys("bob"), *self.common, "bob@example.test", data=MESSAGE)
        self.assertEqual((ended.code, ended.out), (1, b""))
        self.assertIn("is not from bob@example.test", ended.error)

    async def test_a_wrong_password_and_a_site_that_nobody_vouches_for(self) -> None:
        (self.place / "password").write_text("wrong\n")
        ended = await self.enrol("ann")
        self.assertEqual(ended.code, 1)
        self.assertIn("the name or the password", ended.error)
        self.common = self.common[:2]
        ended = await self.enrol("ann")
        self.assertEqual(ended.code, 1)
        self.assertIn("does not answer", ended.error)

    async def test_a_changed_domain_key_is_noticed(self) -> None:
        await self.enrol("ann")
        path = Path(self.keys("ann"))
        keys = UserKeyFile.open(path.read_bytes(), "")
        from attrs import evolve

        from mailx.identity import domain_keys
        from mailx.identity.statements import SeedSigner

        other = domain_keys.first("example.test", SeedSigner(os.urandom(32)).public, int(time()) - 5, SeedSigner(os.urandom(32)))
        path.write_bytes(evolve(keys, known={"example.test": other}).seal(""))
        ended = await self.run_("seal", "-k", str(path), *self.common, "ann@example.test", data=MESSAGE)
        self.assertEqual((ended.code, ended.out), (1, b""))
        self.assertIn("somebody may pretend", ended.error)
        again = await self.run_("seal", "-k", str(path), *self.common, "--forget", "example.test", "ann@example.test", data=MESSAGE)
        self.assertEqual(again.code, 0, again.error)

    async def test_new_keys_open_what_the_old_ones_did(self) -> None:
        await self.enrol("ann")
        sealed = await self.run_("seal", "-k", self.keys("ann"), *self.common, "ann@example.test", data=MESSAGE)
        ended = await self.enrol("ann", "--new-keys")
        self.assertEqual(ended.code, 0, ended.error)
        opened = await self.run_("open", "-k", self.keys("ann"), *self.common, data=sealed.out)
        self.assertIn(b"mailx-seal=pass", opened.out)
        revoked = await self.run_(
            "open", "-k", self.keys("ann"), "--revoke", "ann@example.test", "--password-file", str(self.place / "password"), *self.common
        )
        self.assertEqual(revoked.code, 0, revoked.error)
        self.assertEqual(await self.ring.users.of(Address.parse("ann@example.test")), None)
        opened = await self.run_("open", "-k", self.keys("ann"), *self.common, data=sealed.out)
        self.assertIn(b"mailx-seal=fail", opened.out)

    async def test_a_request_for_an_administrator(self) -> None:
        ended = await self.enrol("ann", "--request")
        self.assertEqual(ended.code, 0, ended.error)
        from mailx.identity.encoding import parse

        made = await ClientKeys(self.ring.world.accounts, self.ring.users).enrol("ann@example.test", parse(ended.out))
        self.assertEqual(made.holder, "client")

    async def test_large_in_little_memory(self) -> None:
        await self.enrol("ann")
        body = os.urandom(6_000_000).hex().encode()
        large = MESSAGE + b"\n".join([body[start : start + 70] for start in range(0, len(body), 70)]) + b"\n"
        sealed = await self.run_("seal", "-k", self.keys("ann"), *self.common, "ann@example.test", data=large)
        opened = await self.run_("open", "-k", self.keys("ann"), *self.common, "--unix", data=sealed.out)
        self.assertTrue(opened.out.endswith(large[-12_000_000:]))


class KeyFiles(TestCase):
    def test_sealed_under_a_passphrase(self) -> None:
        made = UserKeyFile.fresh(Address.parse("ann@example.test")).renewed()
        data = made.seal("correct horse")
        self.assertTrue(protected(data))
        self.assertEqual(UserKeyFile.open(data, "correct horse"), made)
        for wrong in (data.replace(b"ann@", b"bob@"), data[:-20] + b"\n"):
            with self.assertRaises(ValueError):
                UserKeyFile.open(wrong, "correct horse")
        with self.assertRaises(ValueError):
            UserKeyFile.open(data, "wrong")
        greedy = re.sub(rb'"memory":\d+', b'"memory":99999999999', data)
        with self.assertRaises(ValueError):
            UserKeyFile.open(greedy, "correct horse")

    def test_without_one(self) -> None:
        made = UserKeyFile.fresh(Address.parse("ann@example.test"))
        self.assertFalse(protected(made.seal("")))
        self.assertEqual(UserKeyFile.open(made.seal(""), ""), made)
        self.assertNotIn("sealing=b", repr(made))


class LineEnds(TestCase):
    def test_any_pieces(self) -> None:
        text = b"a\r\nb\nc\r\n\r\n\rd\n"
        for step in range(1, 9):
            pieces = [text[start : start + step] for start in range(0, len(text), step)]
            self.assertEqual(b"".join(crlf(pieces)), b"a\r\nb\r\nc\r\n\r\n\rd\r\n")
            self.assertEqual(b"".join(lf(pieces)), b"a\nb\nc\n\n\rd\n")

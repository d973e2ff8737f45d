"""TLS of the client over real sockets: what each level accepts, what is told of the rest, and what DANE vouches for."""

import hashlib
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import courier
from mailx.core.resolver import TLSA
from mailx.mail.envelope import Demands
from mailx.outbound import tlsa
from mailx.outbound.client import Connection
from mailx.outbound.dialogue import TLS_TIME
from mailx.outbound.hop import (
    DANE,
    ENCRYPT,
    EXPIRED,
    HOST_MISMATCH,
    NONE,
    NOT_TRUSTED,
    OPPORTUNISTIC,
    STARTTLS_NOT_SUPPORTED,
    VALIDATION_FAILURE,
    VERIFY,
    Hop,
    Login,
    Security,
    Unreachable,
)
from mailx.outbound.tls import Contexts, matches
from tests.outbound.authorities import Served, authority, intermediate, served
from tests.outbound.peers import ADA, EHLO, Memory, Outgoing, Sinks, envelope, listen, pool

NAME = "mx.example.net"
OFFERS = EHLO.replace(b"250-PIPELINING", b"250-STARTTLS\r\n250-PIPELINING")


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def record(usage: int, selector: int, matching: int, certificate: x509.Certificate) -> TLSA:
    data = certificate.public_bytes(Encoding.DER) if selector == 0 else spki(certificate)
    if matching:
        data = (hashlib.sha256 if matching == 1 else hashlib.sha512)(data).digest()
    return TLSA(usage, selector, matching, data)


class TLSTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.contexts = Contexts(authority().file(directory))

    def sinks(self, shows: Served, **fields: Any) -> Sinks:
        return Sinks(**{"ehlo": OFFERS, "tls": shows.options(), "ehlo_tls": EHLO, **fields})

    async def connect(self, sinks: Sinks, security: Security, implicit: bool = False) -> Connection:
        self.pool = pool(self, self.contexts)
        hop = Hop(NAME, "127.0.0.1", listen(self, sinks), implicit)
        return await self.pool.connection("k", hop, security, None, 5.0)

    async def refused(self, sinks: Sinks, security: Security, implicit: bool = False) -> Unreachable:
        with self.assertRaises(Unreachable) as caught:
            await self.connect(sinks, security, implicit)
        self.assertTrue(caught.exception.reply.temporary)
        self.assertEqual(sinks.messages, [])
        return caught.exception


class Levels(TLSTests):
    async def test_opportunistic(self) -> None:
        """Whoever answers: no name, no authority, no date counts."""
        connection = await self.connect(self.sinks(served("other.example", days_ago=100)), Security())
        self.assertEqual((connection.security, connection.tls_failure, connection.starttls), (courier.ENCRYPTED, "", True))
        self.assertRegex(connection.tls, r"^TLSv1\.3 TLS_\w+$")
        self.assertNotIn("STARTTLS", connection.extensions)  # what was said before TLS is forgotten

    async def test_opportunistic_without(self) -> None:
        connection = await self.connect(Sinks(), Security())
        self.assertEqual((connection.security, connection.tls, connection.starttls), (courier.PLAIN, "", False))

    async def test_announced_and_refused(self) -> None:
        for answer in (b"454 4.7.0 TLS not available", b"502 5.5.1 What?"):
            script = [("STARTTLS", answer)]
            connection = await self.connect(Sinks(script, OFFERS), Security())
            self.assertEqual((connection.security, connection.starttls), (courier.PLAIN, True))
            for level in (ENCRYPT, VERIFY, DANE):
                failure = await self.refused(Sinks(script, OFFERS), Security(level))
                self.assertEqual((failure.tls_failure, failure.security), (STARTTLS_NOT_SUPPORTED, courier.PLAIN))

    async def test_mail_is_not_refused_for_want_of_tls_that_failed(self) -> None:
        """Whoever wants TLS and cannot begin it now may be able to later."""
        for command in ("MAIL", "RCPT"):
            sinks = Sinks([("STARTTLS", b"454 4.7.0 Not now"), (command, b"530 5.7.0 Must issue STARTTLS first")], OFFERS)
            connection = await self.connect(sinks, Security())
            found = await connection.send(envelope(), (ADA,), Outgoing())
            self.assertEqual((found[ADA].reply.code, found[ADA].reply.enhanced), (454, "4.7.0"))
        sinks = Sinks([("MAIL", b"530 5.7.0 Log in first")])
        found = await (await self.connect(sinks, Security())).send(envelope(), (ADA,), Outgoing())
        self.assertEqual(found[ADA].reply.code, 530)

    async def test_announced_and_closed(self) -> None:
        failure = await self.refused(Sinks([("STARTTLS", b"421 4.7.0 Bye")], OFFERS), Security())
        self.assertEqual(failure.reply.code, 421)

    async def test_not_offered(self) -> None:
        for level in (ENCRYPT, VERIFY, DANE):
            self.assertEqual((await self.refused(Sinks(), Security(level))).tls_failure, STARTTLS_NOT_SUPPORTED)

    async def test_never(self) -> None:
        sinks = self.sinks(served(NAME))
        connection = await self.connect(sinks, Security(NONE))
        self.assertEqual((connection.security, sinks.verbs()), (courier.PLAIN, ["EHLO"]))

    async def test_encrypt(self) -> None:
        connection = await self.connect(self.sinks(served("other.example")), Security(ENCRYPT))
        self.assertEqual(connection.security, courier.ENCRYPTED)

    async def test_verify(self) -> None:
        for names in ((NAME,), ("*.example.net",), ("a.example", NAME)):
            connection = await self.connect(self.sinks(served(*names, by=authority())), Security(VERIFY))
            self.assertEqual((connection.security, connection.tls_failure), (courier.VERIFIED, ""))
        connection = await self.connect(self.sinks(served(NAME, by=authority(), through=intermediate(authority()))), Security(VERIFY))
        self.assertEqual(connection.security, courier.VERIFIED)

    async def test_verify_other_names(self) -> None:
        good = Security(VERIFY, ("relay.example", "127.0.0.1"))
        for name in good.names:
            self.assertEqual((await self.connect(self.sinks(served(name, by=authority())), good)).security, courier.VERIFIED)
        self.assertEqual((await self.refused(self.sinks(served(NAME, by=authority())), good)).tls_failure, HOST_MISMATCH)

    def wrong(self) -> list[tuple[Served, str]]:
        return [
            (served("other.example", by=authority()), HOST_MISMATCH),
            (served(NAME, by=authority(), days_ago=100), EXPIRED),
            (served(NAME, by=authority(), days_ago=-100), EXPIRED),
            (served(NAME), NOT_TRUSTED),
            (served(NAME, by=authority("unknown")), NOT_TRUSTED),
            (served(NAME, by=authority(), through=intermediate(authority(), ca=False)), VALIDATION_FAILURE),
        ]

    async def test_verify_refuses(self) -> None:
        for shows, reason in self.wrong():
            sinks = self.sinks(shows)
            failure = await self.refused(sinks, Security(VERIFY))
            self.assertEqual((failure.tls_failure, failure.reply.enhanced), (reason, "4.7.5"))
            self.assertNotIn("MAIL", sinks.verbs())

    async def test_certificates_that_cannot_be_read(self) -> None:
        """OpenSSL takes what others choke on; it is nobody's certificate."""
        names = bytes.fromhex("3004a3023000")  # an x400Address
        strange = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names)
        for level in (VERIFY, DANE):
            shows = served(NAME, by=authority(), extension=strange)
            tlsa = (record(2, 0, 1, authority().certificate),)
            failure = await self.refused(self.sinks(shows), Security(level, tlsa=tlsa))
            self.assertEqual(failure.tls_failure, VALIDATION_FAILURE)

    async def test_a_policy_that_is_tested(self) -> None:
        """The certificate is looked at; what is wrong with it is told and stops nothing."""
        for level in (OPPORTUNISTIC, ENCRYPT):
            for shows, reason in self.wrong():
                connection = await self.connect(self.sinks(shows), Security(level, verify=True))
                self.assertEqual((connection.security, connection.tls_failure), (courier.ENCRYPTED, reason))
            connection = await self.connect(self.sinks(served(NAME, by=authority())), Security(level, verify=True))
            self.assertEqual((connection.security, connection.tls_failure), (courier.VERIFIED, ""))

    async def test_implicit(self) -> None:
        shows = served(NAME, by=authority())
        sinks = Sinks(implicit=shows.options())
        connection = await self.connect(sinks, Security(VERIFY), implicit=True)
        self.assertEqual((connection.security, sinks.verbs()), (courier.VERIFIED, ["EHLO"]))
        found = await connection.send(envelope(demands=Demands()), (ADA,), Outgoing())
        self.assertTrue(found[ADA].reply.done)
        self.assertEqual((found[ADA].security, found[ADA].tls), (courier.VERIFIED, connection.tls))
        failure = await self.refused(Sinks(implicit=served(NAME).options()), Security(VERIFY), implicit=True)
        self.assertEqual(failure.tls_failure, NOT_TRUSTED)

    async def test_the_system_knows_no_authority_of_ours(self) -> None:
        self.contexts = Contexts()
        failure = await self.refused(self.sinks(served(NAME, by=authority())), Security(VERIFY))
        self.assertEqual(failure.tls_failure, NOT_TRUSTED)

    async def test_requiretls(self) -> None:
        ehlo = EHLO.replace(b"250-PIPELINING", b"250-REQUIRETLS\r\n250-PIPELINING")
        for security, code in ((VERIFY, 250), (ENCRYPT, 550)):
            sinks = self.sinks(served(NAME, by=authority()), ehlo_tls=ehlo)
            connection = await self.connect(sinks, Security(security))
            found = await connection.send(envelope(demands=Demands(require_tls=True)), (ADA,), Outgoing())
            self.assertEqual(found[ADA].reply.code, code)
            self.assertEqual(any("REQUIRETLS" in line for line in sinks.lines), code == 250)

    async def test_large_over_tls(self) -> None:
        content = b"Subject: x\r\n\r\n" + b".0123456789\r\n" * 200_000
        sinks = self.sinks(served(NAME))
        connection = await self.connect(sinks, Security())
        for _ in range(2):
            found = await connection.send(envelope(content=content), (ADA,), Outgoing())
            self.assertTrue(found[ADA].reply.done)
        self.assertEqual([each for _, each in sinks.messages], [content] * 2)
        self.assertTrue(connection.usable)


class Tricks(TLSTests):
    async def test_injected_in_the_clear(self) -> None:
        """What a man in the middle adds behind the answer to STARTTLS is never believed."""
        for injected in (b"220 Go\r\n250-mx.example.net\r\n250 AUTH PLAIN\r\n", b"220 Go\r\n250 O"):
            for level in (ENCRYPT, VERIFY):
                failure = await self.refused(Sinks([("STARTTLS", injected)], OFFERS), Security(level))
                self.assertEqual(failure.tls_failure, VALIDATION_FAILURE)

    async def test_injected_later(self) -> None:
        def later(session: Any) -> bytes:
            session.transport.reactor.callLater(0, session.transport.write, b"250 Injected\r\n")
            return b"220 Go"

        failure = await self.refused(Sinks([("STARTTLS", later)], OFFERS), Security(VERIFY))
        self.assertEqual(failure.tls_failure, VALIDATION_FAILURE)

    async def test_tls_that_breaks(self) -> None:
        """Where mail may go in the clear it does so rather than not at all, and it is told; elsewhere it waits."""

        def dropping(session: Any) -> bytes:
            session.command = lambda line: None
            session.dataReceived = lambda data: session.transport.loseConnection()
            return b"220 Go"

        for verify in (False, True):
            sinks = Sinks([("STARTTLS", dropping)], OFFERS)
            connection = await self.connect(sinks, Security(verify=verify))
            self.assertEqual((connection.security, connection.tls_failure, connection.starttls), (courier.PLAIN, VALIDATION_FAILURE, True))
            self.assertEqual(sinks.verbs(), ["EHLO", "STARTTLS", "EHLO"])
        for level in (ENCRYPT, VERIFY, DANE):
            failure = await self.refused(Sinks([("STARTTLS", dropping)], OFFERS), Security(level))
            self.assertEqual(failure.tls_failure, VALIDATION_FAILURE)
        with self.assertRaises(Unreachable):  # a login is never sent so
            hop = Hop(NAME, "127.0.0.1", listen(self, Sinks([("STARTTLS", dropping)], OFFERS)))
            await pool(self).connection("k", hop, Security(), Login("me", "secret"), 5.0)

    async def test_dropped_in_the_handshake(self) -> None:
        class Dropping(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()  # type: ignore[union-attr]

        from twisted.internet import reactor

        port = reactor.listenTCP(0, Factory.forProtocol(Dropping), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        with self.assertRaises(Unreachable) as caught:
            await pool(self).connection("k", Hop(NAME, "127.0.0.1", port.getHost().port, True), Security(ENCRYPT), None, 5.0)
        self.assertEqual(caught.exception.tls_failure, VALIDATION_FAILURE)


class Stalled(SynchronousTestCase):
    def test_a_handshake_that_stalls(self) -> None:
        """Memory transports know no TLS, so one that takes the order and does nothing is a server that stalls."""
        server = Memory()
        hop = Hop(NAME, "192.0.2.1", 25)
        waiting = Deferred.fromCoroutine(server.pool.connection("k", hop, Security(ENCRYPT), None, 30.0))
        server.connect()
        server.transport.startTLS = lambda *arguments: None  # type: ignore[attr-defined]
        server.say(b"220 hello\r\n")
        server.say(OFFERS)
        server.say(b"220 Go\r\n")
        server.pass_time(TLS_TIME - 2)
        self.assertNoResult(waiting)
        server.pass_time(4)
        self.assertEqual(self.failureResultOf(waiting, Unreachable).value.tls_failure, VALIDATION_FAILURE)
        self.assertTrue(server.transport.aborted)


class Vouched(TLSTests):
    """DANE over real sockets (RFC 7672 3)."""

    async def test_end_entity(self) -> None:
        """The key alone counts: the certificate is self-signed, expired and for another name."""
        shows = served("other.example", days_ago=100)
        for selector in (0, 1):
            for matching in (0, 1, 2):
                records = (TLSA(3, 1, 1, b"x" * 32), record(3, selector, matching, shows.chain[0]))
                connection = await self.connect(self.sinks(shows), Security(DANE, (NAME,), records))
                self.assertEqual((connection.security, connection.tls_failure), (courier.DANE, ""))

    async def test_trust_anchor(self) -> None:
        root = authority("private")
        shows = served(NAME, by=root, through=intermediate(root))
        for anchor in shows.chain[1:]:
            for selector in (0, 1):
                connection = await self.connect(self.sinks(shows), Security(DANE, (NAME,), (record(2, selector, 1, anchor),)))
                self.assertEqual(connection.security, courier.DANE)

    async def test_trust_anchor_that_is_not_sent(self) -> None:
        root = authority("private")
        whole = served(NAME, by=root)
        shows = evolve(whole, chain=whole.chain[:1])
        connection = await self.connect(self.sinks(shows), Security(DANE, (NAME,), (record(2, 0, 0, root.certificate),)))
        self.assertEqual(connection.security, courier.DANE)

    async def test_many_anchors(self) -> None:
        """Only those that can have issued the certificate cost anything."""
        root = authority("private")
        given = tuple(record(2, 0, 0, authority(f"other {number}").certificate) for number in range(20))
        tried = []

        def leads(leaf: Any, others: Any, anchor: x509.Certificate) -> bool:
            tried.append(anchor)
            return leading(leaf, others, anchor)

        leading = tlsa._leads
        self.patch(tlsa, "_leads", leads)
        whole = served(NAME, by=root)
        shows = evolve(whole, chain=whole.chain[:1])
        security = Security(DANE, (NAME,), (*given, record(2, 0, 0, root.certificate)))
        connection = await self.connect(self.sinks(shows), security)
        self.assertEqual((connection.security, tried), (courier.DANE, [root.certificate]))

    async def test_refused(self) -> None:
        root = authority("private")
        good = served(NAME, by=root)
        anchor = (record(2, 0, 1, root.certificate),)
        for shows, names, records, reason in (
            (good, (NAME,), (record(3, 1, 1, served(NAME).chain[0]),), VALIDATION_FAILURE),
            (good, ("other.example",), anchor, HOST_MISMATCH),
            (served(NAME, by=root, days_ago=100), (NAME,), anchor, VALIDATION_FAILURE),
            (served(NAME, by=authority("unknown")), (NAME,), anchor, VALIDATION_FAILURE),
            (good, (NAME,), (record(2, 0, 1, good.chain[0]),), VALIDATION_FAILURE),  # a server's certificate is no anchor
        ):
            failure = await self.refused(self.sinks(shows), Security(DANE, names, records))
            self.assertEqual(failure.tls_failure, reason)

    async def test_an_anchor_sent_along_vouches_for_nothing(self) -> None:
        """The chain holds the anchor, but the server's certificate is not signed by it."""
        root = authority("private")
        alone = served(NAME)
        shows = evolve(alone, chain=(*alone.chain, root.certificate))
        failure = await self.refused(self.sinks(shows), Security(DANE, (NAME,), (record(2, 0, 1, root.certificate),)))
        self.assertEqual(failure.tls_failure, VALIDATION_FAILURE)

    async def test_none_usable(self) -> None:
        """TLS must be then, with whoever answers (RFC 7672 2.2.1)."""
        security = Security(DANE, (NAME,), (TLSA(1, 1, 1, b"x" * 32), TLSA(3, 1, 1, b"short"), TLSA(3, 9, 1, b"x" * 32)))
        connection = await self.connect(self.sinks(served("other.example")), security)
        self.assertEqual(connection.security, courier.ENCRYPTED)
        self.assertEqual((await self.refused(Sinks(), security)).tls_failure, STARTTLS_NOT_SUPPORTED)


class PublicKeys(SynchronousTestCase):
    def test_as_encoded(self) -> None:
        for shows in (served(NAME), served(NAME, by=authority())):
            for certificate in shows.chain:
                self.assertEqual(tlsa.public_key(certificate.tbs_certificate_bytes), spki(certificate))

    def test_names(self) -> None:
        leaf = served("a.example", "192.0.2.1", "*.b.example").chain[0]
        for name, good in (
            ("a.example", True),
            ("A.EXAMPLE", True),
            ("192.0.2.1", True),
            ("x.b.example", True),
            ("b.example", False),
            ("x.y.b.example", False),
            ("192.0.2.2", False),
            ("", False),
            ("a..example", False),
        ):
            self.assertEqual(matches(leaf, (name,)), good, name)

"""SASL exchanges as an edge drives them."""

import hmac
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.access import Access
from mailx.core.accounts import User
from mailx.core.passwords import Passwords
from mailx.core.sasl import Exchange, LoginRefused, Malformed, channel_bindings
from tests.core.test_scram import client_final
from tests.scenery import World, world

ME = "me@example.test"
BINDINGS = {"tls-exporter": b"x" * 32, "tls-server-end-point": b"y" * 32}


class Base(TestCase):
    world: World
    access: Access

    async def open(self, reversible: bool = False, channel_binding: bool = True) -> None:
        self.world = await world(self, accounts={"channel_binding": channel_binding})
        self.world.passwords.reversible = reversible
        self.access = self.world.access
        self.user = await self.world.user(ME, "secret")

    def begin(self, mechanism: str, bindings: Mapping[str, bytes] = BINDINGS) -> Exchange:
        return self.access.begin(mechanism, self.world.origin(address="192.0.2.1"), bindings)

    async def refused(self, exchange: Exchange, response: bytes, error: type[Exception] = LoginRefused) -> None:
        with self.assertRaises(error):
            await exchange.step(response)
        with self.assertRaises(Malformed):
            await exchange.step(response)


class Offer(Base):
    async def test_mechanisms(self) -> None:
        await self.open()
        self.assertEqual(self.access.mechanisms(False, False), ())
        self.assertEqual(self.access.mechanisms(True, False), ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"))
        self.assertEqual(self.access.mechanisms(False, True), ("PLAIN", "LOGIN", "SCRAM-SHA-256"))
        for mechanism in ("CRAM-MD5", "DIGEST-MD5", "EXTERNAL", ""):
            self.assertRaises(KeyError, self.begin, mechanism)
        self.begin("scram-sha-256-plus")

    async def test_without_channel_binding(self) -> None:
        """-PLUS is not known, and a client that could bind and saw no offer is no victim."""
        await self.open(channel_binding=False)
        self.assertEqual(self.access.mechanisms(True, False), ("PLAIN", "LOGIN", "SCRAM-SHA-256"))
        self.assertRaises(KeyError, self.begin, "SCRAM-SHA-256-PLUS")
        challenge = await self.begin("SCRAM-SHA-256").step(b"y,,n=me@example.test,r=abc")
        self.assertIn(b"r=abc", challenge)

    async def test_cram_md5_when_configured(self) -> None:
        await self.open(reversible=True)
        self.assertIn("CRAM-MD5", self.access.mechanisms(True, False))


class Plain(Base):
    async def test_right(self) -> None:
        for_all = b"\0me@example.test\0secret"
        await self.open()
        for response in (for_all, b"me@example.test" + for_all, b"ME@example.test" + for_all):
            user = await self.begin("PLAIN").step(response)
            assert isinstance(user, User)
            self.assertEqual(user.id, self.user.id)
        self.assertEqual(self.begin("PLAIN").first(), b"")

    async def test_wrong(self) -> None:
        await self.open()
        await self.refused(self.begin("PLAIN"), b"\0me@example.test\0Secret")
        await self.refused(self.begin("PLAIN"), b"you@example.test\0me@example.test\0secret")
        malformed = [b"", b"me", b"\0me@example.test", b"\0\0secret", b"\0me\0", b"a\0b\0c\0d", b"\0\xff\0secret"]
        for response in [*malformed, b"\0a\0" + b"x" * 5000]:
            await self.refused(self.begin("PLAIN"), response, Malformed)


class Login(Base):
    async def test_right(self) -> None:
        await self.open()
        exchange = self.begin("LOGIN")
        self.assertEqual(exchange.first(), b"Username:")
        self.assertEqual(await exchange.step(ME.encode()), b"Password:")
        user = await exchange.step(b"secret")
        assert isinstance(user, User)
        self.assertEqual(user.id, self.user.id)
        with self.assertRaises(Malformed):
            await exchange.step(b"secret")

    async def test_wrong(self) -> None:
        await self.open()
        exchange = self.begin("LOGIN")
        await exchange.step(ME.encode())
        await self.refused(exchange, b"wrong")
        await self.refused(self.begin("LOGIN"), b"\xff", Malformed)


class CramMD5(Base):
    def response(self, challenge: bytes, name: str = ME, password: bytes = b"secret") -> bytes:
        return name.encode() + b" " + hmac.new(password, challenge, "md5").hexdigest().encode()

    def test_vector_of_the_response(self) -> None:
        # RFC 2195 3
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        answer = self.response(challenge, "tim", b"tanstaaftanstaaf")
        self.assertEqual(answer, b"tim b913a602c7eda7a495b4e6e7334d3890")

    async def test_right(self) -> None:
        await self.open(reversible=True)
        exchange = self.begin("CRAM-MD5")
        challenge = exchange.first()
        self.assertRegex(challenge, rb"\A<[^<>@ ]+@[^<>@ ]+>\Z")
        self.assertNotEqual(challenge, self.begin("CRAM-MD5").first())
        user = await exchange.step(self.response(challenge))
        assert isinstance(user, User)
        self.assertEqual(user.id, self.user.id)

    async def test_wrong(self) -> None:
        await self.open(reversible=True)
        for name, password in ((ME, b"wrong"), ("nobody@example.test", b"secret"), ("nobody@example.test", b"\0" * 16)):
            exchange = self.begin("CRAM-MD5")
            await self.refused(exchange, self.response(exchange.first(), name, password))
        exchange = self.begin("CRAM-MD5")
        exchange.first()
        await self.refused(exchange, b"me@example.test", Malformed)
        await self.refused(self.begin("CRAM-MD5"), self.response(b""), Malformed)

    async def test_account_without_the_verifier(self) -> None:
        await self.open()
        self.world.passwords.reversible = True
        for password in (b"secret", b"", b"\0" * 16):
            exchange = self.begin("CRAM-MD5")
            await self.refused(exchange, self.response(exchange.first(), ME, password))

    async def test_throttled(self) -> None:
        await self.open(reversible=True)
        for _ in range(5):
            exchange = self.begin("CRAM-MD5")
            await self.refused(exchange, self.response(exchange.first(), ME, b"wrong"))
        exchange = self.begin("CRAM-MD5")
        with self.assertRaises(LoginRefused) as caught:
            await exchange.step(self.response(exchange.first()))
        self.assertTrue(caught.exception.temporary)


class Scram(Base):
    async def run_exchange(self, first: bytes, mechanism: str = "SCRAM-SHA-256", password: bytes = b"secret", binding: bytes = b"") -> Any:
        """The user, after the server proved that it knows the password too."""
        exchange = self.begin(mechanism)
        challenge = await exchange.step(first)
        assert isinstance(challenge, bytes)
        final, answer = client_final(password, first, challenge, binding)
        self.assertEqual(await exchange.step(final), answer)
        return await exchange.step(b"")

    async def test_right(self) -> None:
        await self.open()
        user = await self.run_exchange(b"n,,n=me@example.test,r=abcdef")
        self.assertEqual(user.id, self.user.id)
        await self.run_exchange(b"n,a=me@example.test,n=Me@example.test,r=abcdef")

    async def test_plus(self) -> None:
        await self.open()
        for name, data in BINDINGS.items():
            first = b"p=%b,,n=me@example.test,r=abcdef" % name.encode()
            user = await self.run_exchange(first, "SCRAM-SHA-256-PLUS", binding=data)
            self.assertEqual(user.id, self.user.id)

    async def test_wrong(self) -> None:
        await self.open()
        for first, password in (
            (b"n,,n=me@example.test,r=abc", b"wrong"),
            (b"n,,n=nobody@example.test,r=abc", b"secret"),
            (b"n,,n=nobody,r=abc", b"secret"),
        ):
            exchange = self.begin("SCRAM-SHA-256")
            challenge = await exchange.step(first)
            assert isinstance(challenge, bytes)
            await self.refused(exchange, client_final(password, first, challenge)[0])

    async def test_refused_at_once(self) -> None:
        await self.open()
        await self.refused(self.begin("SCRAM-SHA-256"), b"y,,n=me@example.test,r=abc")
        await self.refused(self.begin("SCRAM-SHA-256"), b"p=tls-exporter,,n=me@example.test,r=abc")
        await self.refused(self.begin("SCRAM-SHA-256-PLUS"), b"n,,n=me@example.test,r=abc")
        await self.refused(self.begin("SCRAM-SHA-256-PLUS", {}), b"p=tls-exporter,,n=me@example.test,r=abc")
        await self.refused(self.begin("SCRAM-SHA-256"), b"n,a=you@example.test,n=me@example.test,r=abc")
        await self.refused(self.begin("SCRAM-SHA-256"), b"rubbish", Malformed)

    async def test_client_that_does_not_end(self) -> None:
        await self.open()
        exchange = self.begin("SCRAM-SHA-256")
        first = b"n,,n=me@example.test,r=abc"
        challenge = await exchange.step(first)
        assert isinstance(challenge, bytes)
        await exchange.step(client_final(b"secret", first, challenge)[0])
        await self.refused(exchange, b"more", Malformed)

    async def test_suspended_before_the_last_word(self) -> None:
        await self.open()
        exchange = self.begin("SCRAM-SHA-256")
        first = b"n,,n=me@example.test,r=abc"
        challenge = await exchange.step(first)
        assert isinstance(challenge, bytes)
        await exchange.step(client_final(b"secret", first, challenge)[0])
        await self.world.accounts.set_state(ME, "suspended")
        await self.refused(exchange, b"")

    async def challenge(self, name: str) -> list[bytes]:
        answer = await self.begin("SCRAM-SHA-256").step(b"n,,n=%b,r=abc" % name.encode())
        assert isinstance(answer, bytes)
        return answer.split(b",")

    async def test_unknown_names_look_real(self) -> None:
        await self.open()
        real, fake = await self.challenge(ME), await self.challenge("nobody@example.test")
        self.assertEqual(len(b64decode(real[1][2:])), len(b64decode(fake[1][2:])))
        self.assertEqual(real[2], fake[2], "the same iterations")
        self.assertEqual(fake[1], (await self.challenge("NOBODY@example.test"))[1], "the salt of a name stays")
        self.assertNotEqual(fake[1], (await self.challenge("nobody2@example.test"))[1])
        self.assertNotEqual(real[0], (await self.challenge(ME))[0], "the nonce does not")
        again = Access(self.world.accounts, self.world.config.accounts, self.world.passwords, self.world.reactor)
        self.access = again
        self.assertEqual(fake[1], (await self.challenge("nobody@example.test"))[1], "nor does a restart show")

    async def test_suspended(self) -> None:
        await self.open()
        await self.world.accounts.set_state(ME, "suspended")
        exchange = self.begin("SCRAM-SHA-256")
        first = b"n,,n=me@example.test,r=abc"
        challenge = await exchange.step(first)
        assert isinstance(challenge, bytes)
        await self.refused(exchange, client_final(b"secret", first, challenge)[0])

    async def test_throttled(self) -> None:
        await self.open()
        first = b"n,,n=me@example.test,r=abc"
        begun = [self.begin("SCRAM-SHA-256") for _ in range(8)]
        challenges = [await exchange.step(first) for exchange in begun]
        temporary = []
        for exchange, challenge in zip(begun, challenges, strict=True):
            assert isinstance(challenge, bytes)
            with self.assertRaises(LoginRefused) as caught:
                await exchange.step(client_final(b"wrong", first, challenge)[0])
            temporary.append(caught.exception.temporary)
        self.assertEqual(temporary, [False] * 5 + [True] * 3, "exchanges begun before count as well")
        with self.assertRaises(LoginRefused):
            await self.begin("SCRAM-SHA-256").step(first)

    async def test_password_with_characters_that_saslprep_maps(self) -> None:
        await self.open()
        await self.world.accounts.set_password(ME, "\u2168")
        await self.run_exchange(b"n,,n=me@example.test,r=abc", password=b"IX")


class Reversible(SynchronousTestCase):
    def test_default(self) -> None:
        self.assertFalse(Passwords(None).reversible)


def certificate(key: Any, algorithm: Any) -> x509.Certificate:
    """A self-signed certificate of localhost.test."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost.test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, algorithm)


class Bindings(SynchronousTestCase):
    """Both ends of a TLS connection must find the same bindings."""

    def connect(self, key: Any, algorithm: Any, version: int) -> tuple[Any, Any, x509.Certificate]:
        made = certificate(key, algorithm)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        server_options = CertificateOptions(
            privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, pem), certificate=crypto.X509.from_cryptography(made)
        )
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(version)

        class Creator:
            def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
                return SSL.Connection(context, None)

        from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
        from zope.interface import directlyProvides

        creator = Creator()
        directlyProvides(creator, IOpenSSLClientConnectionCreator)
        server, client = Protocol(), Protocol()
        server_tls = TLSMemoryBIOFactory(server_options, False, _factory(server)).buildProtocol(None)
        client_tls = TLSMemoryBIOFactory(creator, True, _factory(client)).buildProtocol(None)
        server_transport, client_transport = FakeTransport(server_tls, True), FakeTransport(client_tls, False)
        server_tls.makeConnection(server_transport)
        client_tls.makeConnection(client_transport)
        IOPump(client_tls, server_tls, client_transport, server_transport, False).flush()
        return server.transport, client.transport, made

    def test_tls13(self) -> None:
        server, client, made = self.connect(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), SSL.TLS1_3_VERSION)
        bindings = channel_bindings(server)
        exported = client.getHandle().export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        self.assertEqual(bindings, {"tls-exporter": exported, "tls-server-end-point": made.fingerprint(hashes.SHA256())})
        self.assertEqual(len(exported), 32)

    def test_hash_of_the_signature(self) -> None:
        server, _, made = self.connect(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), SSL.TLS1_2_VERSION)
        self.assertEqual(channel_bindings(server), {"tls-server-end-point": made.fingerprint(hashes.SHA384())})

    def test_signature_without_a_hash(self) -> None:
        server, _, _ = self.connect(ed25519.Ed25519PrivateKey.generate(), None, SSL.TLS1_3_VERSION)
        self.assertEqual(set(channel_bindings(server)), {"tls-exporter"})

    def test_no_tls(self) -> None:
        self.assertEqual(channel_bindings(StringTransport()), {})
        self.assertEqual(channel_bindings(None), {})


def _factory(protocol: Protocol) -> Any:
    from twisted.internet.protocol import Factory

    factory = Factory()
    factory.buildProtocol = lambda address: protocol  # type: ignore[method-assign]
    return factory

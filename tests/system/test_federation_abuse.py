"""A real server whose federation port is attacked, by a peer with a good key of its own and by one without: it refuses, says
why, keeps nothing, does not grow, and goes on taking mail."""

import json
import socket
import ssl
from pathlib import Path
from resource import getpagesize
from time import time

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509 import load_der_x509_certificate
from nacl.signing import SigningKey
from twisted.trial.unittest import SynchronousTestCase

from mailx.federation.banana import Reader
from mailx.federation.banana_limits import BananaLimits
from mailx.federation.certificates import Issued, issue
from mailx.identity.encoding import key_text
from tests.federation.hostile import DIALECT, HELLO, banana, fields, message
from tests.system.daemon import wait
from tests.system.federation import NETWORK
from tests.system.server import PATIENCE, Server

GROWTH = 24 * 1024 * 1024  # octets; caches of a server that has just started fill, too
LARGE = 20_000_000  # octets of one attack


class Signer:
    """A domain key."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.public = bytes(self._key.verify_key)

    def sign(self, data: bytes) -> bytes:
        return bytes(self._key.sign(data).signature)


class Attacks(SynchronousTestCase):
    """One server; ``evil.test`` is a peer that it knows."""

    def setUp(self) -> None:
        self.signer = Signer(b"e" * 32)
        peer = f'[[federation.peers]]\ndomain = "evil.test"\nhosts = ["127.0.0.1:1"]\nkey = "{key_text(self.signer.public)}"\n'
        settings = {"federation.discover": "false", "federation.networks": NETWORK, "server.hostname": '"mx.localhost.test"'}
        self.server = Server(self, settings, peer)
        self.server.forked = False  # its memory is measured
        self.server.start()
        self.good = self.client(issue("evil.test", self.signer, time()))

    def client(self, issued: Issued | None, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """A client that shows ``issued`` and believes everybody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = most
        if issued is not None:
            private = load_der_private_key(issued.private, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            file = Path(self.mktemp())
            file.write_bytes(private + b"".join(load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in issued.chain))
            context.load_cert_chain(file)
        return context

    def attack(self, context: ssl.SSLContext, said: bytes = b"", name: str = "localhost.test") -> bytes:
        """Say hello and ``said``, as far as the server listens; all that it says until it closes."""
        plain = socket.create_connection((self.server.address, self.server.ports["federation.port"]), timeout=PATIENCE)
        heard = b""
        try:
            with context.wrap_socket(plain, server_hostname=name) as connection:
                connection.sendall(DIALECT + HELLO)
                while said and b"capabilities" not in heard:
                    heard += connection.recv(65536)
                try:
                    connection.sendall(said)
                except OSError:
                    pass  # it has heard enough; what it says is still there
                while more := connection.recv(65536):
                    heard += more
        except OSError:
            pass
        return heard

    def resident(self) -> int:
        assert self.server.process is not None
        return int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1]) * getpagesize()

    def refusals(self) -> list[dict[str, object]]:
        lines = (json.loads(line) for line in self.server.log().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == "federation.refused"]

    def reasons(self, before: int) -> list[object]:
        """Of those after ``before``, of which there is one at least: a peer may hear of it before the line is written."""
        wait(lambda: len(self.refusals()) > before, self.server.log)
        return [line["reason"] for line in self.refusals()[before:]]

    def test_a_peer_with_a_good_key_that_breaks_the_rules(self) -> None:
        begin = self.resident()
        attacks = (
            (b"\x00\x00\x60\x72\x82" + bytes(LARGE), b"a string is longer than"),
            (b"\x01\x80" * (LARGE // 2), b"lists are nested more than"),
            (b"\x7f" * LARGE, b"a number is too long"),
            ((b"\x7f\x3f\x80" + b"\x00\x80" * 8191) * 1000, b"an expression is no"),
            (banana([[0] * 64] * 1000), b"more than 8192 items"),
            (message(2, b"delivery", b"begin", fields(a=[b"instance", [b"class", b"os.system"]])), b"of a type that is not spoken"),
            (message(2, b"delivery", b"begin", fields(a=[b"reference", 1, [b"list", [b"dereference", 1]]])), b"of a type"),
        )
        for said, why in attacks:
            before = len(self.refusals())
            heard = self.attack(self.good, said)
            self.assertIn(b"goodbye", heard, why)
            self.assertIn(why, heard)
            self.assertEqual(self.reasons(before), ["protocol"], self.refusals()[before:])
        self.assertLess(self.resident() - begin, GROWTH)
        self.goes_on()

    def test_peers_that_prove_nothing(self) -> None:
        stranger = Signer(b"s" * 32)
        old = self.client(issue("evil.test", self.signer, time()), ssl.TLSVersion.TLSv1_2)
        for context, reason, told in (
            (self.client(issue("evil.test", stranger, time())), "certificate", b"signed by a key that is not the domain's"),
            (self.client(issue("localhost.test", stranger, time())), "certificate", b"no MailX server is known"),
            (self.client(issue("nobody.test", stranger, time())), "certificate", b"no MailX server is known"),
            (self.client(issue("evil.test", self.signer, time() - 10 * 86400)), "certificate", b"has expired"),
            (self.client(None), "tls", b""),
            (old, "tls", b""),
        ):
            before = len(self.refusals())
            heard = self.attack(context)
            self.assertIn(told, heard)
            reader = Reader(BananaLimits())
            answers = [expression for expression, _ in reader.feed(heard)][2:]
            self.assertEqual([answer[0] for answer in answers if isinstance(answer, list)], [b"error"] if told else [])
            self.assertEqual(self.reasons(before), [reason])
        before = len(self.refusals())
        self.attack(self.good, name="elsewhere.test")
        self.assertEqual(self.reasons(before), ["tls"])
        self.goes_on()

    def goes_on(self) -> None:
        """The server takes mail, and nothing came of what was tried."""
        self.assertEqual(self.server.subjects(), [])
        self.server.send("still here")
        self.assertEqual(self.server.subjects(), ["still here"])
        self.assertNotIn("Traceback", self.server.log())

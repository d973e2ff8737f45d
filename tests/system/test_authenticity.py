"""Who a message is from: signatures that others verify, verdicts on what comes, TLS that names vouch for."""

import base64
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from smtplib import SMTP, SMTPResponseException
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SkipTest

from tests.system.certificates import tlsa
from tests.system.names import Names
from tests.system.neighbours import HERE, Neighbours
from tests.system.opendkim import OpenDKIM
from tests.system.server import PATIENCE, Server

REMOTE = "@ MX 10 mx\nmx A 127.0.0.2\n"


class Signed(Neighbours):
    """What goes out is signed by the author's domain."""

    def setUp(self) -> None:
        super().setUp()
        self.names_ = self.names({"remote.example": REMOTE, HERE: "@ A 127.0.0.1"})
        verifier = OpenDKIM(self.names_)
        self.addCleanup(verifier.stop)
        verifier.start()
        self.remote = self.postfix("mx.remote.example", "127.0.0.2", domains=("remote.example",), settings=verifier.settings)
        self.server_ = self.server(self.names_)

    def publish_keys(self) -> None:
        """Make keys as a person does, paste the records into the zone, and use them."""
        self.server_.ctl("dkim", "create", HERE)
        shown = self.server_.ctl("dkim", "show", HERE)
        records = re.findall(r"^\S+\._domainkey\.\S+ TXT .*$", shown, re.M)
        self.assertEqual(len(records), 2, shown)
        self.assertIn("are not published", self.server_.ctl("dkim", "activate", HERE, expect=1))
        self.names_.publish(HERE, "\n".join(records))
        self.wait_until(lambda: "is signed with" in self.server_.ctl("dkim", "activate", HERE, expect=None), self.server_.log)

    def look_up(self, name: bytes, timeout: int = 5) -> bytes:
        """A TXT record, for dkimpy."""
        return self.names_.text(name.decode().removesuffix(".")).encode()

    def test_others_verify_both_signatures(self) -> None:
        self.publish_keys()
        self.server_.submit("ada@remote.example", "signed", "Grüße,  with  spaces \r\n\r\n\r\n")
        message = self.remote.message("signed")
        verdicts = re.findall(r"dkim=(\w+).*?header\.a=(\S+)", " ".join(message.get_all("Authentication-Results")), re.S)
        self.assertEqual({algorithm: verdict for verdict, algorithm in verdicts}, {"rsa-sha256": "pass", "ed25519-sha256": "pass"})
        content = next(each for each in self.remote.messages() if b"Subject: signed" in each).replace(b"\n", b"\r\n")
        for place in range(2):
            self.assertTrue(dkim.DKIM(content).verify(place, dnsfunc=self.look_up))

    def test_what_others_wrote_is_not_signed_but_sealed(self) -> None:
        """An alias forwards: the sender is rewritten, the seal holds, and what comes back finds its way."""
        self.publish_keys()
        self.server_.ctl("alias", "add", f"away@{HERE}", "ada@remote.example")
        with self.server_.mx() as client:
            client.sendmail("bob@far.example", [f"away@{HERE}"], "From: bob@far.example\r\nSubject: onward\r\n\r\nHello\r\n")
        message = self.remote.message("onward")
        self.assertRegex(message["Return-Path"], rf"<SRS0=[^@]+=far\.example=bob@{re.escape(HERE)}>")
        self.assertIsNone(message["DKIM-Signature"])
        content = next(each for each in self.remote.messages() if b"Subject: onward" in each).replace(b"\n", b"\r\n")
        self.assertEqual(dkim.ARC(content).verify(dnsfunc=self.look_up)[0], dkim.CV_Pass)


class Checked(Neighbours):
    """What comes by the MX port is checked: 127.0.0.5 may send for all of these domains, nobody else."""

    def setUp(self) -> None:
        super().setUp()
        key = rsa.generate_private_key(65537, 2048)
        encoding, plain = serialization.Encoding, serialization.NoEncryption()
        self.key = key.private_bytes(encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
        public = base64.b64encode(key.public_key().public_bytes(encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).decode()
        spf = '@ TXT "v=spf1 ip4:127.0.0.5 -all"\n'
        zones = {
            "strict.example": f'{spf}_dmarc TXT "v=DMARC1; p=reject"\ns._domainkey TXT "v=DKIM1; p=" "{public[:200]}" "{public[200:]}"',
            "wary.example": f'{spf}_dmarc TXT "v=DMARC1; p=quarantine"',
        }
        self.names_ = self.names(zones)
        self.server_ = self.server(self.names_, {"checks.trusted": "[]", "checks.unclear": '"defer"'})

    def bring(self, subject: str, domain: str, address: str, before: bytes = b"") -> None:
        """Bring a message of ``domain`` in from the client ``address``; raises what smtplib raises."""
        message = f"From: ada@{domain}\r\nTo: {self.server_.account}\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()
        if before == b"signed":
            before = dkim.sign(message, b"s", domain.encode(), self.key)
        with SMTP("127.0.0.1", self.server_.ports["smtp.port"], "client.example", PATIENCE, (address, 0)) as client:
            client.sendmail(f"ada@{domain}", [self.server_.account], before + message)

    def results(self, subject: str) -> str:
        """Our verdicts on the message."""
        fields = self.server_.message(subject).get_all("Authentication-Results")
        self.assertEqual(len(fields), 1, fields)
        return " ".join(fields[0].split())

    def test_right(self) -> None:
        forged = b"Authentication-Results: localhost.test; dkim=pass header.d=bank.example\r\n"
        self.bring("right", "strict.example", "127.0.0.5", forged)
        results = self.results("right")
        self.assertTrue(results.startswith("localhost.test; "), results)
        for verdict in ("spf=pass", "dmarc=pass", "dkim=none"):
            self.assertIn(verdict, results)
        self.assertNotIn("bank.example", results)

    def test_signed_and_forwarded(self) -> None:
        """From the wrong place, but with the author's signature."""
        self.bring("signed", "strict.example", "127.0.0.6", b"signed")
        for verdict in ("spf=fail", "dkim=pass", "dmarc=pass"):
            self.assertIn(verdict, self.results("signed"))

    def test_forged(self) -> None:
        with self.assertRaises(SMTPResponseException) as caught:
            self.bring("forged", "strict.example", "127.0.0.6")
        self.assertEqual(caught.exception.smtp_code, 550)
        self.assertIn(b"5.7.26", caught.exception.smtp_error)
        self.bring("doubtful", "wary.example", "127.0.0.6")
        self.assertEqual(self.server_.subjects("Spam"), ["doubtful"])
        self.assertEqual(self.server_.subjects(), [])

    def test_no_names(self) -> None:
        """Nobody can say now: the message may come again, and is not lost."""
        self.names_.stop()
        with self.assertRaises(SMTPResponseException) as caught:
            self.bring("unclear", "strict.example", "127.0.0.6")
        self.assertEqual(caught.exception.smtp_code, 451)


class DANE(Neighbours):
    """TLSA records in a signed zone decide whom mail is given to; Unbound vouches for them."""

    def start(self, right: bool, signed: bool = True) -> tuple[Names, Server]:
        self.remote = self.postfix("mx.remote.example", "127.0.0.2", domains=("remote.example",))
        pinned = tlsa(self.remote.directory / "chain.pem") if right else f"3 1 1 {'00' * 32}"
        zones = {"remote.example": f"{REMOTE}_{self.port}._tcp.mx TLSA {pinned}"}
        names = self.names(zones, ["remote.example"] if signed else [])
        return names, self.server(names, {"dns.validating": f'"127.0.0.1:{names.resolver}"'})

    def test_the_right_key(self) -> None:
        _, server = self.start(right=True)
        server.submit("ada@remote.example", "pinned")
        self.remote.message("pinned")
        self.assertIn("dane", server.ctl("trace", "ada@remote.example").lower())

    def test_the_wrong_key(self) -> None:
        _, server = self.start(right=False)
        server.submit("ada@remote.example", "wrong")
        self.wait_for_state(server, "deferred")
        self.assertEqual(self.remote.messages(), [])

    def test_what_is_not_signed_does_not_count(self) -> None:
        _, server = self.start(right=False, signed=False)
        server.submit("ada@remote.example", "unsigned")
        self.remote.message("unsigned")


class MTASTS(Neighbours):
    """A policy over HTTPS says who may take the mail."""

    def policy(self, text: str) -> None:
        """Serve the policy of remote.example on the address of its policy host."""

        class Policy(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/.well-known/mta-sts.txt" else 404)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.host = f"127.8.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # several runs share the port
        try:
            server = ThreadingHTTPServer((self.host, 443), Policy)
        except PermissionError:
            raise SkipTest("only root can listen on port 443") from None
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.issue("mta-sts.remote.example"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(lambda: (server.shutdown(), server.server_close(), thread.join()))

    def start(self, mode: str, mx: str) -> Server:
        self.policy(f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n")
        self.remote = self.postfix("mx.remote.example", "127.0.0.2", domains=("remote.example",))
        records = f'{REMOTE}_mta-sts TXT "v=STSv1; id=1"\nmta-sts A {self.host}'
        return self.server(self.names({"remote.example": records}), trusting=True)

    def test_enforced_and_kept(self) -> None:
        server = self.start("enforce", "mx.remote.example")
        server.submit("ada@remote.example", "by policy")
        self.remote.message("by policy")
        self.assertIn("verified", server.ctl("trace", "ada@remote.example").lower())

    def test_enforced_and_broken(self) -> None:
        server = self.start("enforce", "other.remote.example")
        server.submit("ada@remote.example", "against policy")
        self.wait_for_state(server, "deferred")
        self.assertEqual(self.remote.messages(), [])

    def test_testing_only_tells(self) -> None:
        server = self.start("testing", "other.remote.example")
        server.submit("ada@remote.example", "testing")
        self.remote.message("testing")

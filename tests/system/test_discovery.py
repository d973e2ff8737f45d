"""Real servers find each other by a real name service and their real sites; and what others put in their way is refused.

Knot has the zones, one of them signed; Unbound resolves and validates. Two MailX servers look for each other without knowing
anything of each other before. A hostile site answers in every wrong way.
"""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mailx.identity.documents import record_text
from tests.system.federation import domain_of
from tests.system.neighbours import Neighbours
from tests.system.server import Server, free_ports

ONE, TWO, BAD = "127.0.1.1", "127.0.1.2", "127.0.1.9"
KEY = b"\1" * 32


class Found(Server):
    """A server whose site has a certificate of the tests' authority, which its clients believe, too."""

    authority = Path()

    @property
    def certificate(self) -> Path:
        return self.authority


class Servers(Neighbours):
    """Two servers, each with a zone; that of the first is signed."""

    def setUp(self) -> None:
        super().setUp()
        self.https = free_ports(1)[0]
        zones = {f"{name}.test": f"@ A {address}\nmx A {address}" for name, address in (("one", ONE), ("two", TWO))}
        zones["bad.test"] = self.wrong_zone()
        self.names_ = self.names(zones, signed=["one.test"])

    def wrong_zone(self) -> str:
        """What is found below bad.test."""
        good = record_text(KEY, (("mx.one.test", 2590),))
        lines = [f'_mailx.{name} TXT "{good}"\n{name} A {BAD}' for name in ("circle", "huge", "plain", "page", "other")]
        lines += [
            f'_mailx.inside TXT "{good}"\ninside A 127.0.0.1\ninside A 10.0.0.1',
            f'_mailx.broken TXT "v=mailx1; key=x"\nbroken A {BAD}',
        ]
        return "\n".join(lines)

    def found(self, address: str, domain: str, **settings: str) -> Found:
        """A running server for ``domain`` that looks for others."""
        pem = self.authority.issue(domain, f"mx.{domain}")
        every = {
            "server.hostname": f'"mx.{domain}"',
            "federation.https_port": str(self.https),
            "federation.well_known_port": str(self.https),
            "federation.authorities": f'"{self.authority.certificate}"',
            "federation.networks": '["127.0.1.0/24"]',
            "dns.validating": f'"127.0.0.1:{self.names_.resolver}"',
            "contacts.requests": '"none"',
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        tables = f'[[tls.certificates]]\ncertificate_file = "{pem}"\nkey_file = "{pem}"\n'
        server = Found(self, every, tables, address, domain)
        server.authority = self.authority.certificate
        server.forked = False  # its memory is measured
        server.start()
        return server

    def publish(self, server: Server) -> None:
        """Put what the server prints into its zone."""
        domain = domain_of(server)
        (line,) = [line for line in server.ctl("dns", domain).splitlines() if line.startswith("_mailx.")]
        self.names_.publish(domain, line)

    def discover(self, server: Server, domain: str) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        """What `mailxctl peer discover` tells: the peer, and its steps by name."""
        answer = json.loads(server.ctl("--json", "peer", "discover", domain))
        return answer["peer"], {step["name"]: (step["outcome"], step["text"]) for step in answer["steps"]}

    def test_two_servers_find_each_other(self) -> None:
        one, two = self.found(ONE, "one.test"), self.found(TWO, "two.test")
        peer, steps = self.discover(one, "two.test")
        self.assertEqual((peer["state"], steps["dns"][0]), ("none", "none"))
        for server in (one, two):
            self.publish(server)

        peer, steps = self.discover(two, "one.test")
        self.assertEqual((peer["state"], peer["source"]), ("known", "dnssec"), steps)
        self.assertIn("proved by DNSSEC and HTTPS", steps["key"][1])
        peer, steps = self.discover(one, "two.test")
        self.assertEqual((peer["state"], peer["source"]), ("known", "https"), steps)
        self.assertIn("a hint", steps["dns"][1])

        for sender, receiver in ((one, two), (two, one)):
            sender.submit(receiver.account, "found")
            self.assertIn("It works.", receiver.message("found").get_content())
            self.assertIn('"security": "federated"', sender.ctl("--json", "trace", receiver.account))
        self.assertEqual(self.discover(one, "two.test")[0]["state"], "pinned")
        self.is_blocked_at_once(one, two)
        self.follows_a_rotation(one, two)
        self.waits_when_it_vanishes(one, two)

    def is_blocked_at_once(self, one: Server, two: Server) -> None:
        """Although a connection is open; and what went over it was counted."""
        shown = json.loads(two.ctl("--json", "peer", "show", "one.test"))
        self.assertEqual((shown["figures"]["received"], shown["figures"]["sent"], shown["reputation"]), (1, 1, "good"))
        two.ctl("peer", "block", "one.test")
        one.submit(two.account, "blocked")
        self.wait_until(lambda: self.tried_in_vain(one), one.log)
        two.ctl("peer", "unblock", "one.test")
        self.assertNotIn("blocked", two.subjects())
        one.ctl("queue", "delete", "--all", "--yes", expect=None)

    def tried_in_vain(self, server: Server) -> bool:
        """Whether something in its queue was tried and not taken."""
        entries = json.loads(server.ctl("queue", "list", "--all", "--json"))["entries"]
        return any(entry["state"] in ("deferred", "failed") for entry in entries)

    def follows_a_rotation(self, one: Server, two: Server) -> None:
        """The record in DNS still names the key before."""
        two.ctl("key", "rotate", "two.test")
        peer, steps = self.discover(one, "two.test")
        self.assertEqual(steps["continuity"][0], "ok", steps)
        self.assertEqual([key["reason"] for key in peer["history"]], ["first", "rotation"])
        self.assertEqual(peer["trouble"], "")
        one.submit(two.account, "after the rotation")
        two.message("after the rotation")

    def waits_when_it_vanishes(self, one: Server, two: Server) -> None:
        """A pinned domain that is not found any more gets no mail another way."""
        self.names_.withdraw("two.test", f"@ A {TWO}\nmx A {TWO}")
        two.stop()
        peer, steps = self.discover(one, "two.test")
        self.assertEqual((steps["dns"][0], peer["pinned_until"] is not None), ("none", True))
        one.submit(two.account, "waits")
        entry = self.wait_for_state(one, "deferred")
        self.assertEqual(entry["recipient"], two.account)

    def test_discovery_that_leads_nowhere_good(self) -> None:
        one = self.found(ONE, "one.test")
        hostile = Hostile(
            self.authority.issue("bad.test", *[f"{name}.bad.test" for name in ("circle", "huge", "plain", "page")]), BAD, self.https
        )
        self.addCleanup(hostile.stop)
        before = peak(one)
        for name, step, reason in (
            ("circle", "https", "it redirects in a circle"),
            ("plain", "https", "it redirects to a place without TLS"),
            ("huge", "https", "the document is larger than"),
            ("page", "https", "the document is not application/json"),
            ("other", "https", "the certificate or TLS is not in order"),
            ("inside", "https", "its address is not of the public Internet"),
            ("broken", "dns", "its TXT record"),
        ):
            peer, steps = self.discover(one, f"{name}.bad.test")
            self.assertEqual((peer["state"], steps[step][0]), ("trouble", "refused"), (name, steps))
            self.assertIn(reason, steps[step][1])
            self.assertEqual(peer["key"], "")
        self.assertLess(peak(one) - before, 32 << 20)
        self.assertEqual(one.log().count('"peer.refused"'), 7)


def peak(server: Server) -> int:
    """The most memory that the server ever had, in octets."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


class Hostile:
    """A site over HTTPS whose answer depends on the name that it is asked by."""

    def __init__(self, certificate: Path, address: str, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server = ThreadingHTTPServer((address, port), _Answers)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Answers(BaseHTTPRequestHandler):
    """One connection."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], None]] = {"circle": self.circle, "huge": self.huge, "plain": self.plain, "page": self.page}
        answers[self.headers["Host"].partition(".")[0]]()

    def circle(self) -> None:
        self.redirect(self.path)

    def plain(self) -> None:
        self.redirect("http://one.test/.well-known/mailx-server")

    def redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def page(self) -> None:
        self.begin("text/html", 2)
        self.wfile.write(b"{}")

    def huge(self) -> None:
        """A gigabyte of JSON."""
        self.begin("application/json", 1 << 30)
        try:
            for _ in range(1 << 14):
                self.wfile.write(b"[" * (1 << 16))
        except OSError:
            pass  # the reader has had enough

    def begin(self, kind: str, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

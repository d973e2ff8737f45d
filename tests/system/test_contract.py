"""The receiver does what callers were told: each test comes of a line of ``tests/contract/webhook.json``.

The curl lines are run as they stand there, with the port of the server under test.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailx.config import Config, sections
from tests.system.administrator import Client
from tests.system.neighbours import Neighbours
from tests.system.server import PATIENCE, ROOT, Server

CONTRACT = json.loads((ROOT / "tests" / "contract" / "webhook.json").read_text(encoding="utf-8"))
RECEIVER, HEADERS, BODIES, ERRORS = (CONTRACT[name] for name in ("receiver", "headers", "bodies", "errors"))
SECRET = "a secret that two programs share"
READY = {"webhook.secret": f'"{SECRET}"', "webhook.sender_domain": '"localhost.test"'}


def stamp(form: str = CONTRACT["timestamps"][0], **off: int) -> str:
    """The time of now, or one that is ``off`` by so much, in the form of a timestamp."""
    return (datetime.now(UTC) + timedelta(**off)).strftime(form)


def sign(timestamp: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The headers of a signed call."""
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {HEADERS["timestamp"]: timestamp, HEADERS["signature"]: signature}


class Receiver(SynchronousTestCase):
    """A server, and a caller of it."""

    def serve(self, settings: Mapping[str, str]) -> None:
        self.server = Server(self, dict(settings))
        self.server.start()

    def post(self, body: bytes, headers: Mapping[str, str] | None = None, path: str = RECEIVER["path"]) -> tuple[int, Any]:
        """Status and JSON of a call."""
        connection = HTTPConnection("127.0.0.1", self.server.ports["webhook.port"], timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("POST", path, body, {"Content-Type": HEADERS["content_type"], **(headers or {})})
        answer = connection.getresponse()
        self.assertIn("application/json", answer.headers["Content-Type"])
        return answer.status, json.loads(answer.read())

    def call(self, body: Mapping[str, Any] | bytes, **off: int) -> tuple[int, Any]:
        """A signed call whose timestamp is ``off`` by so much."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.post(raw, sign(stamp(**off), raw))

    def queued(self) -> int:
        """How many recipients the queue knows."""
        return len(json.loads(self.server.ctl("queue", "list", "--json"))["entries"])

    def assert_success(self, answer: tuple[int, Any], body: Mapping[str, Any]) -> None:
        status, said = answer
        shown = CONTRACT["success"]
        self.assertEqual(status, 200, said)
        self.assertEqual(set(said), set(shown), said)
        self.assertIs(said["ok"], True)
        self.assertEqual((said["to"], said["subject"]), (body["to"], body["subject"]))
        self.assertIs(type(said["queued_id"]), int)
        self.assertEqual(re.sub(r"\d", "0", said["queued_at"]), re.sub(r"\d", "0", shown["queued_at"]))
        age = datetime.now(UTC) - datetime.fromisoformat(said["queued_at"])
        self.assertLess(abs(age.total_seconds()), 60)

    def assert_refused(self, answer: tuple[int, Any], case: str) -> None:
        status, text = ERRORS[case]
        self.assertEqual(answer, (status, {"ok": False, "error": text}), case)
        self.assertEqual(self.queued(), 0, case)


class Signed(Receiver):
    """With secret and sender domain: what a signed call gets."""

    def setUp(self) -> None:
        self.serve(READY)

    def test_bodies(self) -> None:
        ids = []
        for body in BODIES.values():
            answer = self.call(body)
            self.assert_success(answer, body)
            ids.append(answer[1]["queued_id"])
        self.assertEqual(ids, sorted(set(ids)))
        self.assertEqual(self.queued(), len(BODIES))

    def test_timestamps(self) -> None:
        for number, form in enumerate(CONTRACT["timestamps"]):
            body = {**BODIES["example"], "token": str(number)}
            raw = json.dumps(body).encode()
            self.assert_success(self.post(raw, sign(stamp(form), raw)), body)

    def test_the_signature_is_over_the_raw_body(self) -> None:
        raw = b"\n" + json.dumps(BODIES["example"], indent=3, separators=(" ,", " :")).replace("/", "\\/").encode() + b"  "
        self.assert_success(self.post(raw, sign(stamp(), raw)), BODIES["example"])

    def test_refused_signatures(self) -> None:
        raw = json.dumps(BODIES["example"]).encode()
        good = sign(stamp(), raw)
        self.assert_refused(self.post(raw), "no signature")
        for missing in good:
            self.assert_refused(self.post(raw, {name: value for name, value in good.items() if name != missing}), "no signature")
        wrong = {**good, HEADERS["signature"]: "0" * 64}
        for headers, body in (
            (wrong, raw),
            (sign(stamp(), raw, "another"), raw),
            (good, raw + b" "),
            ({**good, HEADERS["signature"]: "é"}, raw),
        ):
            self.assert_refused(
                self.post(body, {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}), "a wrong signature"
            )
        for off in (CONTRACT["window"] + 30, -CONTRACT["window"] - 30):
            self.assert_refused(self.call(BODIES["example"], seconds=off), "a timestamp too old or too new")

    def test_inside_the_window(self) -> None:
        for off in (CONTRACT["window"] - 30, 30 - CONTRACT["window"]):
            body = {**BODIES["example"], "token": str(off)}
            self.assert_success(self.call(body, seconds=off), body)

    def test_a_repeated_call_queues_nothing(self) -> None:
        raw = json.dumps(BODIES["example"]).encode()
        headers = sign(stamp(), raw)
        first = self.post(raw, headers)
        self.assert_success(first, BODIES["example"])
        self.assertEqual(self.post(raw, headers), first)
        self.server.stop()
        self.server.start()
        self.assertEqual(self.post(raw, headers), first)
        self.assertEqual(self.queued(), 1)

    def test_no_json(self) -> None:
        for raw in (b"", b"{", b"\xff", b'{"type":'):
            self.assert_refused(self.call(raw), "no JSON")

    def test_required_fields(self) -> None:
        for name in CONTRACT["required"]:
            for body in ({key: value for key, value in BODIES["example"].items() if key != name}, {**BODIES["example"], name: 5}):
                status, said = self.call(body)
                self.assertEqual((status, said["ok"], said["field"]), (400, False, name), said)
                self.assertIn(name, said["error"])
        self.assertEqual(self.queued(), 0)

    def test_types(self) -> None:
        for kind in CONTRACT["types"]:
            self.assert_success(self.call({**BODIES["example"], "type": kind}), BODIES["example"])
        status, said = self.call({**BODIES["example"], "type": "advertisement"})
        self.assertEqual((status, said["field"]), (400, "type"))

    def test_health(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.ports["webhook.port"], timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("GET", RECEIVER["health"])
        self.assertEqual(connection.getresponse().status, 200)


class Unready(Receiver):
    """What is answered before the administrator is done."""

    def test_no_secret(self) -> None:
        self.serve({"webhook.sender_domain": READY["webhook.sender_domain"]})
        self.assert_refused(self.call(BODIES["example"]), "no secret")

    def test_no_sender_domain(self) -> None:
        self.serve({"webhook.secret": READY["webhook.secret"]})
        self.assert_refused(self.call(BODIES["example"]), "no sender domain")

    def test_another_address(self) -> None:
        self.serve({**READY, "webhook.allowed": '["192.0.2.0/24"]'})
        self.assert_refused(self.call(BODIES["example"]), "another address")


class Curl(Receiver):
    """The lines to copy."""

    def test_unsigned(self) -> None:
        self.serve({**READY, "webhook.secret": '""', "webhook.signature": "false"})
        said = json.loads(self.run_curl("\n".join(CONTRACT["curl"]).replace("curl ", "curl -sS ", 1)))
        self.assert_success((200, said), BODIES["of curl"])
        self.assertEqual(self.queued(), 1)

    def test_unsigned_where_a_signature_is_demanded(self) -> None:
        self.serve(READY)
        said = json.loads(self.run_curl("\n".join(CONTRACT["curl"]).replace("curl ", "curl -sS ", 1)))
        self.assert_refused((401, said), "no signature")

    def test_signed(self) -> None:
        """The recipe for the signature, word for word, with another program's HMAC."""
        self.serve(READY)
        script = (
            f"raw_body='{json.dumps(BODIES['example'])}'\n"
            'timestamp="$(date -u +%Y-%m-%dT%H:%M:%SZ)"\n'
            f"""signature="$(printf '%s' "$timestamp.$raw_body" | openssl dgst -sha256 -hmac '{SECRET}' -r | cut -d ' ' -f 1)"\n"""
            f'curl -sS -X POST "http://127.0.0.1:{RECEIVER["port"]}{RECEIVER["path"]}" -H "Content-Type: {HEADERS["content_type"]}"'
            f' -H "{HEADERS["timestamp"]}: $timestamp" -H "{HEADERS["signature"]}: $signature" -d "$raw_body"'
        )
        self.assert_success((200, json.loads(self.run_curl(script))), BODIES["example"])

    def run_curl(self, script: str) -> str:
        return self.server.run("bash", "-c", script.replace(f":{RECEIVER['port']}", f":{self.server.ports['webhook.port']}"))


class Panel(Receiver):
    """What the panel answers to, and where."""

    def test_surface(self) -> None:
        """Each address is there for an administrator; nobody else learns which are."""
        self.serve({})
        stranger, client = Client(self, self.server), Client(self, self.server)
        client.set_up(self.server)
        for method, path in (line.split() for line in CONTRACT["panel"]["surface"]):
            if path in ("/login", "/logout"):
                continue
            page = client.get(path) if method == "GET" else client.post(path, {"type": CONTRACT["types"][0]})
            self.assertNotIn(page.status, (403, 404, 405), f"{method} {path}")
            self.assertEqual((stranger.get(path) if method == "GET" else stranger.post(path)).status, 303, path)
        self.assertEqual(stranger.get("/login").status, 200)
        self.assertEqual(client.post("/logout").location, "/login")
        self.assertEqual(client.get("/settings").status, 303)


class Arriving(Neighbours, Receiver):
    """What comes out at the other end."""

    def test_the_message(self) -> None:
        """Through a smart host without TLS, the first of the presets."""
        upstream = self.postfix("smart.example", "127.0.0.3", domains=("example.com",))
        names = self.names({})
        host = {"smarthost.host": '"127.0.0.3"', "smarthost.port": str(upstream.port), "smarthost.security": '"plain"'}
        self.server = Neighbours.server(self, names, {**READY, **host, "webhook.sender_name": '"The Example"'})
        self.assert_success(self.call(BODIES["example"]), BODIES["example"])
        message = upstream.message(BODIES["example"]["subject"])
        for name in CONTRACT["delivery"]["fields"]:
            self.assertEqual(len(message.get_all(name, [])), 1, name)
        self.assertEqual(message["Return-Path"], "<no-reply@localhost.test>")
        self.assertEqual(message["From"], "The Example <no-reply@localhost.test>")
        self.assertEqual(message["To"], BODIES["example"]["to"])
        content = message.as_string()
        self.assertIn(BODIES["example"]["token"], content)


class Defaults(SynchronousTestCase):
    """What was promised of ports and options."""

    def test_ports(self) -> None:
        config = Config()
        self.assertEqual((config.webhook.port, config.panel.port), (RECEIVER["port"], CONTRACT["panel"]["port"]))
        self.assertEqual(config.panel.interface, CONTRACT["panel"]["interface"])
        self.assertEqual(config.webhook.skew, CONTRACT["window"])
        self.assertEqual(config.smarthost.security, CONTRACT["delivery"]["default"])
        self.assertEqual(config.smarthost.port, CONTRACT["delivery"]["presets"][config.smarthost.security])
        self.assertEqual(f"{config.webhook.header_prefix}-Signature", HEADERS["signature"])

    def test_every_option_is_changed_while_it_runs(self) -> None:
        for name, key in CONTRACT["options"].items():
            section, _, key = key.partition(".")
            (attribute,) = [each for each in sections()[section].__attrs_attrs__ if each.name == key]  # type: ignore[attr-defined]
            self.assertTrue(attribute.metadata["live"], name)

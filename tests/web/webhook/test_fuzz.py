"""The receiver under inputs that nobody would send in good faith: generated from its own description, and made by hand.

Whatever comes, the answer is one of the contract, within its schema, and tells nothing of the inside; nothing of what was
refused is queued, and nothing breaks out of the header of what was accepted.
"""

import json
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from secrets import token_hex
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.core import letters
from mailx.web.webhook.status import Status
from tests.core.calls_scene import scene as calls_scene
from tests.web.webhook.scene import BODY, MESSAGE, PATH, SECRET, Scene, request, scene, sign

FEW = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


class Signing(requests.auth.AuthBase):
    """Signs what goes over the wire, as a caller who knows the secret does."""

    def __call__(self, asked: requests.PreparedRequest) -> requests.PreparedRequest:
        body = asked.body or b""
        raw = body.encode() if isinstance(body, str) else bytes(body)
        if asked.method == "GET":
            raw = (asked.path_url or "").partition("?")[0].encode()
        asked.headers.update(sign(raw))
        return asked


class Described(TestCase):
    """Cases made from the OpenAPI description, good ones and bad ones."""

    timeout = 240

    async def open(self, **webhook: Any) -> str:
        self.scene = await scene(self, per_minute=0, local_parts="any", **webhook)
        self.patch(letters, "new_id", lambda: token_hex(8))  # hypothesis makes the other source of names repeat itself
        world = self.scene.office.world
        callbacks = (await calls_scene(self, over=self.scene.office)).callbacks
        self.scene.receiver._status = Status(self.scene.calls, callbacks._fates, callbacks)
        listening = world.reactor.listenTCP(0, self.scene.listener, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return f"http://127.0.0.1:{listening.getHost().port}"

    def run_all(self, url: str, modes: list[GenerationMode], auth: Any) -> dict[int, int]:
        """Try every operation; how often each status was answered. Runs in a thread."""
        load_all_checks()
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        statuses: dict[int, int] = {}
        for found in schema.get_all_operations():
            operation: Any = found.ok()
            for mode in modes if operation.path_parameters or operation.body else modes[:1]:

                @FEW
                @given(case=operation.as_strategy(generation_mode=mode))
                def attempt(case: Any) -> None:
                    with requests.Session() as session:
                        session.trust_env = False
                        session.auth = auth
                        response = case.call(session=session, timeout=120)
                    statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
                    checked(case, response)

                attempt()
        return statuses

    async def test_signed(self) -> None:
        url = await self.open()
        statuses = await deferToThread(self.run_all, url, [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], Signing())
        self.assertTrue({200, 400, 404} <= set(statuses), statuses)
        self.assertNotIn(401, statuses)
        entries = await self.scene.office.entries()
        calls = await self.scene.calls.latest(limit=10000)
        self.assertEqual(len(entries), len([call for call in calls if call.state == "queued"]))

    async def test_unsigned(self) -> None:
        url = await self.open()
        statuses = await deferToThread(self.run_all, url, [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], None)
        self.assertTrue(set(statuses) <= {200, 400, 401, 404, 405}, statuses)
        self.assertEqual((await self.scene.office.entries(), await self.scene.calls.latest()), ([], []))


def checked(case: Any, response: Any) -> None:
    """What holds for every answer, beside what the description promises."""
    assert response.status_code < 500, (response.status_code, response.text)
    assert SECRET not in response.text
    otherwise = response.status_code == 422 or NOT_UNIQUE in response.text
    case.validate_response(response, excluded_checks=REFUSED_OTHERWISE if otherwise else [])
    if response.headers.get("Content-Type") == "application/json" and response.content:
        value = response.json()
        if response.status_code >= 400:
            assert value["ok"] is False and set(value) <= {"ok", "error", "field"}, value
            assert len(value["error"]) < 300 and value["error"].isprintable(), value


# A key of idempotency that was used before, and a recipient that nobody has here, are not wrong by the description;
# nor are two attachments of one contentId, which JSON Schema has no words for.
NOT_UNIQUE = "two have the same contentId"
REFUSED_OTHERWISE = [checks.positive_data_acceptance]


_SNEAKY = st.sampled_from(
    [
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\u2028",
        "\x85",
        "\x0b",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "Bcc: evil@example.net",
        "\r\nBcc: evil@example.net\r\n\r\n",
        "{{ 7*7 }}",
        "{% raw %}",
        "<script>",
        "=?utf-8?q?a?=",
        "../../etc/passwd",
        "'; DROP TABLE calls; --",
        "a" * 2000,
    ]
)
TEXTS = st.lists(st.one_of(_SNEAKY, st.text(max_size=30)), min_size=1, max_size=4).map("".join)
FIELDS = ("to", "subject", "token", "expiresAt", "link", "fromLocalPart", "callbackUrl", "fromName", "replyTo", "text", "html", "type")
VALUES = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.lists(TEXTS, max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=3)
)


class Hostile(TestCase):
    """Values in every field that try to be more than values."""

    timeout = 240

    async def post_all(self, here: Scene, bodies: list[bytes]) -> list[tuple[bytes, Any]]:
        """The answers to signed calls."""
        said = []
        caller = here.connect()
        for raw in bodies:
            answer = await caller.ask(request("POST", PATH, raw, {"Content-Type": "application/json", **sign(raw)}))
            self.assertIn(answer.status, (200, 400, 415, 422), (raw[:500], answer))
            self.assertNotIn(SECRET.encode(), answer.body)
            said.append((raw, answer))
        return said

    def drawn(self, strategy: Any, count: int) -> list[Any]:
        """Examples, the same in every run."""
        found: list[Any] = []

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def draw(value: Any) -> None:
            found.append(value)

        draw()
        return found

    async def test_fields(self) -> None:
        here = await scene(self, per_minute=0, local_parts="any")
        template = st.sampled_from([BODY, MESSAGE])
        changed = st.tuples(template, st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))
        bodies = [json.dumps({**body, **fields}).encode("utf-8", "surrogatepass") for body, fields in self.drawn(changed, 400)]
        said = await self.post_all(here, bodies)
        accepted = [answer.json["queued_id"] for _, answer in said if answer.status == 200]
        self.assertEqual(len(await here.office.entries()), len(set(accepted)))
        for content in await contents(here):
            self.look(content)

    async def test_attachments(self) -> None:
        here = await scene(self, per_minute=0)
        attachment = st.fixed_dictionaries(
            {"filename": VALUES, "content": st.one_of(st.just("aGVsbG8="), VALUES)},
            optional={"contentType": VALUES, "contentId": VALUES, "inline": VALUES},
        )
        bodies = [json.dumps({**MESSAGE, "attachments": some}).encode() for some in self.drawn(st.lists(attachment, max_size=3), 300)]
        await self.post_all(here, bodies)
        for content in await contents(here):
            self.look(content)

    async def test_octets(self) -> None:
        here = await scene(self, per_minute=0)
        good = json.dumps(BODY).encode()
        cuts = st.integers(0, len(good)).map(lambda place: good[:place])
        flips = st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)).map(
            lambda one: good[: one[0]] + bytes([one[1]]) + good[one[0] + 1 :]
        )
        said = await self.post_all(here, self.drawn(st.one_of(st.binary(max_size=100), cuts, flips), 300))
        self.assertTrue(any(answer.status == 400 for _, answer in said))
        self.assertEqual(len(await here.office.entries()), len({answer.json["queued_id"] for _, answer in said if answer.status == 200}))

    async def test_deep_and_wide(self) -> None:
        here = await scene(self, per_minute=0, body_size=1048576)
        for raw in (
            b"[" * 100000,
            b'{"a":' * 100000,
            b'{"to":' + b"[" * 5000 + b"]" * 5000 + b"}",
            b"{" + b",".join(b'"k%d":1' % number for number in range(50000)) + b"}",
            b'{"type":"message","type":"message"}',
            b"1e999999",
            b'{"to":' + b"9" * 5000 + b"}",
            b'\xef\xbb\xbf{"type":"message"}',
            b"\xff\xfe{\x00}\x00",
            json.dumps(BODY).encode("utf-16"),
            b"null",
            b'"text"',
            b"",
        ):
            said = await here.post(raw)
            self.assertEqual((said.status, said.json["ok"]), (400, False), raw[:40])
        self.assertEqual(await here.office.entries(), [])

    def look(self, content: bytes) -> None:
        """Nothing of what came stands where only this server writes."""
        message = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
        names = [name.lower() for name in message]
        self.assertFalse({"bcc", "cc", "resent-to", "x-injected"} & set(names), names)
        for name in ("from", "to", "subject", "date", "message-id"):
            self.assertEqual(names.count(name), 1, (name, names))
        self.assertEqual(len(message["to"].addresses), 1)
        self.assertEqual(message["from"].addresses[0].domain, "example.test")
        head = content.partition(b"\r\n\r\n")[0]
        self.assertFalse(re.search(rb"[^\r]\n|\r[^\n]|\0", head), head)
        self.assertTrue(all(len(line) <= 998 for line in content.split(b"\r\n")))


async def contents(here: Scene) -> list[bytes]:
    """What is queued, opened."""
    office = here.office
    await office.start()
    await office.until(lambda: finished(here))
    found: list[bytes] = office.courier.contents
    return found


async def finished(here: Scene) -> bool:
    counts = await here.office.queue.ledger.counts()
    return counts["pending"] == counts["sending"] == 0


class Paths(TestCase):
    """Requests that are none of ours."""

    timeout = 240

    async def test_paths_and_methods(self) -> None:
        here = await scene(self, per_minute=0)
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"):
            for path in (
                "/",
                PATH,
                PATH + "/",
                f"{PATH}/../../etc/passwd",
                "/%2e%2e/",
                "/static/x",
                "/admin",
                f"{PATH}?a=b",
                "//",
                "/\x7f",
                "*",
            ):
                said = await here.connect().ask(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
                self.assertIn(said.status, (400, 401, 404, 405, 501), (method, path))
                self.assertNotIn(b"Traceback", said.body)
        self.assertEqual(await here.office.entries(), [])

    async def test_smuggling(self) -> None:
        here = await scene(self, per_minute=0)
        raw = json.dumps(BODY).encode()
        fields = "".join(f"{name}: {value}\r\n" for name, value in sign(raw).items())
        start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}"
        for more in (
            f"Content-Length: {len(raw)}\r\nContent-Length: {len(raw) - 1}\r\n",
            f"Content-Length: {len(raw)}\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x10\r\n",
            "Content-Length: 99999999999999999999\r\n",
        ):
            caller = here.connect()
            said = await caller.ask((start + more + "\r\n").encode() + raw)
            self.assertIn(said.status, (400, 413, 501), more)
        self.assertEqual(await here.office.entries(), [])

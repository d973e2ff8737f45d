"""The admin API over HTTP: no key, no word; a key does what its scopes say, its acts are its own; and the description is true."""

import json
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.core.api_keys import SCOPES, ApiKeys
from mailx.core.records import Records
from mailx.core.signing import Signing
from mailx.core.suppressions import Suppressions
from mailx.ops import administration
from mailx.ops.administration import Administration
from mailx.web.panel.api import API, BODY_LIMIT
from mailx.web.panel.app import Panel
from tests import dns
from tests.core.mail_out import LATER, office
from tests.web.browser import Browser, Page
from tests.web.scene import parts_of, people

FEW = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


class Base(TestCase):
    async def open(self) -> None:
        """A panel with the API of a server that has everything but a search index."""
        self.office = await office(self)
        here = self.office.world
        parts = await people(self, here)
        self.log = parts["audit"]
        self.keys = ApiKeys(here.store, here.cipher)
        signing = Signing(here.store, here.cipher, here.accounts, here.reactor)
        await signing.load()
        records = Records(here.settings, signing, await dns.resolver(self, {}), lambda name: None)
        suppressions = Suppressions(here.store, here.cipher, here.settings, here.reactor)
        made = Administration(
            here.accounts,
            here.config,
            queue=self.office.queue,
            timeline=self.office.timeline,
            signing=signing,
            records=records,
            admins=parts["admins"],
            api_keys=self.keys,
            audit=self.log,
            suppressions=suppressions,
        )
        panel = Panel(
            parts_of(settings=here.settings, accounts=here.accounts, reactor=here.reactor, **parts), pages=[], api=API(made, self.keys)
        )
        self.site = panel.site()
        self.browser = Browser(self.site)
        self.all = (await self.keys.add("all", SCOPES))[1]

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> Page:
        given = {"authorization": f"Bearer {self.all if key is None else key}", **headers}
        octets = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if octets:
            given.setdefault("content-type", "application/json")
        return await self.browser.ask(method, path, octets, given)

    async def refused(self, status: int, code: str, method: str, path: str, *args: Any, **more: Any) -> Page:
        page = await self.ask(method, path, *args, **more)
        self.assertEqual((page.status, page.json()["error"]["code"]), (status, code))
        self.assertEqual(page.headers["content-type"], "application/json")
        self.assertEqual(page.headers["cache-control"], "no-store")
        return page

    async def acts(self) -> list[tuple[str, str, str, str]]:
        return [(entry.actor.kind, entry.actor.name, entry.action, entry.target) for entry in await self.log.list()]


class Keys(Base):
    async def test_without_a_good_key(self) -> None:
        await self.open()
        _, revoked = await self.keys.add("old", SCOPES)
        await self.keys.revoke("old")
        for path in ("/api/v1/status", "/api/v1/nowhere", "/api/", "/api/v1/users/me@example.test"):
            for key in ("", "x", revoked, self.all[:-1], self.all + "é"):
                page = await self.refused(401, "unauthorized", "GET", path, key=key)
                self.assertTrue(page.headers["www-authenticate"].startswith("Bearer"))
            page = await self.browser.get(path)
            self.assertEqual((page.status, page.headers["www-authenticate"]), (401, 'Bearer realm="MailX"'))
            page = await self.browser.get(path, authorization=f"Basic {self.all}")
            self.assertEqual(page.status, 401)
        page = await self.browser.get(f"/api/v1/status?key={self.all}&access_token={self.all}")
        self.assertEqual(page.status, 401)

    async def test_a_session_opens_nothing_here(self) -> None:
        await self.open()
        self.browser.cookies["mailx-session"] = "x" * 43
        page = await self.browser.send("/api/v1/domains", {"name": "x.test"})
        self.assertEqual(page.status, 401)
        self.assertEqual(page.cookies, ())

    async def test_scopes(self) -> None:
        await self.open()
        _, reader = await self.keys.add("reader", ["read"])
        _, writer = await self.keys.add("writer", ["directory:write"])
        self.assertEqual((await self.ask("GET", "/api/v1/domains", key=reader)).status, 200)
        page = await self.refused(403, "forbidden", "POST", "/api/v1/domains", {"name": "x.test"}, key=reader)
        self.assertIn('scope="directory:write"', page.headers["www-authenticate"])
        await self.refused(403, "forbidden", "GET", "/api/v1/domains", key=writer)
        self.assertEqual((await self.ask("POST", "/api/v1/domains", {"name": "x.test"}, key=writer)).status, 200)
        for path in ("/api/v1/apikeys", "/api/v1/admins", "/api/v1/queue/delete"):
            await self.refused(403, "forbidden", "POST", path, {"all": True}, key=writer)
        self.assertEqual(await self.acts(), [("key", "writer", "domain.add", "x.test")])

    async def test_every_route_needs_its_scope(self) -> None:
        await self.open()
        _, none = await self.keys.add("none", ["index:write"])
        for path, method, name in administration.ROUTES:
            if administration.SCOPES[name] != "index:write":
                self.assertEqual((await self.ask(method, "/api" + path.replace("<", "").replace(">", ""), key=none)).status, 403, path)
        self.assertEqual(await self.acts(), [])


class Requests(Base):
    async def test_what_is_no_request(self) -> None:
        await self.open()
        await self.refused(404, "no_resource", "GET", "/api/v1/nowhere")
        await self.refused(404, "no_resource", "GET", "/api/v2/status")
        page = await self.refused(405, "method_not_allowed", "PUT", "/api/v1/domains")
        self.assertEqual(set(page.headers["allow"].split(", ")) & {"GET", "POST"}, {"GET", "POST"})
        for body in (b"{", b"[]", b'"x"', b"\xff", b'{"name": NaN}', b"[" * 100_000):
            await self.refused(400, "bad_request", "POST", "/api/v1/domains", body)
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            await self.refused(415, "unsupported_type", "POST", "/api/v1/domains", b"{}", **{"content-type": kind})
        await self.refused(413, "too_large", "POST", "/api/v1/domains", b" " * (BODY_LIMIT + 1))
        for path in (
            "/api/v1/domains?x=1",
            "/api/v1/users?after=x",
            "/api/v1/users?limit=" + "9" * 19,
            "/api/v1/trace",
            "/api/v1/audit?since=x",
        ):
            await self.refused(422, "invalid", "GET", path)
        for body in ({}, {"name": 5}, {"name": ""}, {"name": "x.test", "more": 1}, {"name": "a b"}, {"name": "x\n.test"}):
            await self.refused(422, "invalid", "POST", "/api/v1/domains", body)
        await self.refused(422, "invalid", "DELETE", "/api/v1/domains/x", {"x": 1})
        self.assertEqual(await self.acts(), [])

    async def test_administrators_and_keys(self) -> None:
        await self.open()
        made = await self.ask("POST", "/api/v1/admins", {"name": "bob", "password": "battery staple"})
        self.assertEqual(made.json()["name"], "bob")
        self.assertNotIn("battery", made.text)
        await self.refused(409, "exists", "POST", "/api/v1/admins", {"name": "bob", "password": "battery staple"})
        await self.refused(422, "invalid", "PATCH", "/api/v1/admins/bob", {"password": "battery staple", "enabled": False})
        await self.refused(409, "in_use", "PATCH", "/api/v1/admins/bob", {"enabled": False})
        key = (await self.ask("POST", "/api/v1/apikeys", {"name": "k", "scopes": ["read"], "expires": "2099-01-01T00:00:00Z"})).json()
        self.assertEqual(key["expires"], "2099-01-01T00:00:00Z")
        self.assertEqual((await self.ask("GET", "/api/v1/status", key=key["key"])).status, 200)
        self.assertNotIn("key", (await self.ask("GET", "/api/v1/apikeys/k")).json())
        self.assertEqual((await self.ask("POST", "/api/v1/apikeys/k/revoke")).status, 200)
        await self.refused(401, "unauthorized", "GET", "/api/v1/status", key=key["key"])
        self.assertEqual([act[2:] for act in await self.acts()], [("apikey.revoke", "k"), ("apikey.add", "k"), ("admin.add", "bob")])

    async def test_each_change_of_a_request_has_its_row(self) -> None:
        await self.open()
        page = await self.ask("PATCH", "/api/v1/users/me@example.test", {"quota": 5, "state": "suspended", "role": "owner"})
        self.assertEqual((page.json()["quota"], page.json()["state"]), (5, "suspended"))
        rows = {(entry.action, entry.target, str(entry.before), str(entry.after)) for entry in await self.log.list()}
        who = "me@example.test"
        self.assertEqual(
            rows,
            {
                ("user.quota", who, "{'quota': None}", "{'quota': 5}"),
                ("user.state", who, "{'state': 'active'}", "{'state': 'suspended'}"),
                ("user.role", who, "{'role': 'admin'}", "{'role': 'owner'}"),
            },
        )
        page = await self.ask("PATCH", "/api/v1/users/me@example.test", {"quota": 5, "state": "suspended", "role": "owner"})
        self.assertEqual((page.status, len(await self.log.list())), (200, len(rows)))  # all was so already

    async def test_the_queue(self) -> None:
        await self.open()
        self.office.courier.answers["example.org"] = LATER
        id = await self.office.send("eve@example.org")
        for _ in range(2):
            count = (await self.ask("POST", "/api/v1/queue/hold", {"id": id})).json()["count"]
        self.assertEqual(count, 0)  # the second held nothing more, and has no row
        self.assertEqual((await self.ask("POST", "/api/v1/queue/release", {"state": ["held"], "all": True})).json()["count"], 1)
        self.assertEqual([act[2:] for act in await self.acts()], [("queue.release", "queue"), ("queue.hold", id)])
        await self.refused(422, "invalid", "POST", "/api/v1/queue/delete", {})


class Bearer(requests.auth.AuthBase):
    """Brings the key, whatever the generated request says."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, asked: requests.PreparedRequest) -> requests.PreparedRequest:
        asked.headers["Authorization"] = f"Bearer {self.key}"
        return asked


class Described(Base):
    """Cases made from the description, good ones and bad ones, over a real socket."""

    timeout = 240

    async def test_the_description_is_true(self) -> None:
        await self.open()
        here = self.office.world
        listening = here.reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        statuses = await deferToThread(self.run_all, f"http://127.0.0.1:{listening.getHost().port}")
        self.assertTrue({200, 404, 422} <= set(statuses), statuses)
        self.assertNotIn(401, statuses)
        self.assertEqual([status for status in statuses if status >= 500], [])
        self.assertIsNotNone(await self.keys.authenticate(self.all))

    def run_all(self, url: str) -> dict[int, int]:
        """Try every operation; how often each status was answered. Runs in a thread."""
        load_all_checks()
        described = requests.get(f"{url}/api/v1/openapi.json", timeout=120).json()
        del described["security"]  # the key goes with every request here: bad ones are judged in tests of their own
        schema = schemathesis.openapi.from_dict(described)
        statuses: dict[int, int] = {}
        for found in schema.get_all_operations():
            operation: Any = found.ok()
            if operation.path.startswith("/api/v1/apikeys") and operation.method.upper() == "DELETE":
                continue  # it could delete the key that asks
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
                    continue

                @FEW
                @given(case=operation.as_strategy(generation_mode=mode))
                def attempt(case: Any) -> None:
                    with requests.Session() as session:
                        session.trust_env = False
                        session.auth = Bearer(self.all)
                        response = case.call(base_url=url, session=session, timeout=120)
                    statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
                    assert response.status_code < 500, (case.method, case.path, response.status_code, response.text)
                    if response.status_code == 400 and not response.content:
                        return  # no request at all (control characters in the path): the HTTP server itself says so
                    case.validate_response(response, excluded_checks=UNPROMISED)

                attempt()
        return statuses


# A name that fits its schema may still be none (422); and a request without its key is judged in tests of their own.
UNPROMISED = [checks.positive_data_acceptance, checks.ignored_auth, checks.use_after_free, checks.ensure_resource_availability]

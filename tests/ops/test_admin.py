"""The admin API over a real Unix socket."""

import json
import os
import socket
import stat
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

import mailx
from mailx.config import Config
from mailx.core.unix import SocketInUse
from mailx.ctl.client import NoServer, SocketClient
from mailx.mail.reply import Unavailable
from mailx.ops.admin import AdminService
from mailx.ops.administration import ROUTES, Administration
from tests.core.lives_scene import lives
from tests.scenery import World, configured, world


def short_directory(test_case: TestCase) -> str:
    """A directory whose name leaves room for a socket's: a Unix address holds 107 octets."""
    directory = mkdtemp(prefix="mailx-")
    test_case.addCleanup(lambda: [os.unlink(os.path.join(directory, name)) for name in os.listdir(directory)] and os.rmdir(directory))
    return directory


class Base(TestCase):
    world: World
    service: AdminService

    async def open(self, config: Config | None = None) -> None:
        self.world = await world(self)
        self.path = os.path.join(short_directory(self), "admin.sock")
        made = lives(self, self.world)
        self.service = AdminService(
            self.path,
            Administration(self.world.accounts, config or self.world.config, lifecycle=made.lifecycle, person=made.person),
            self.world.reactor,
        )
        self.service.startService()
        self.addCleanup(lambda: self.service.stopService() if self.service.running else None)

    async def ask(self, method: str, path: str, body: Any = None, **parameters: str) -> tuple[int, Any]:
        """Status and JSON."""

        def call() -> tuple[int, Any]:
            client = SocketClient(self.path)
            client.open()
            try:
                return client.call(method, path, parameters, body)
            finally:
                client.close()

        return await deferToThread(call)

    async def code(self, method: str, path: str, body: Any = None, **parameters: str) -> tuple[int, str]:
        """Status and error code."""
        status, answer = await self.ask(method, path, body, **parameters)
        self.assertEqual(set(answer["error"]), {"code", "message", "remedy"})
        return status, answer["error"]["code"]


class Socket(Base):
    async def test_only_its_owner_may_connect(self) -> None:
        await self.open()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    async def test_gone_with_the_service(self) -> None:
        await self.open()
        await self.service.stopService()
        self.assertFalse(os.path.exists(self.path))
        self.assertRaises(NoServer, SocketClient(self.path).open)

    async def test_second_server(self) -> None:
        await self.open()
        second = AdminService(self.path, Administration(self.world.accounts, self.world.config), self.world.reactor)
        self.assertRaises(SocketInUse, second.startService)
        self.assertEqual((await self.ask("GET", "/v1/status"))[0], 200, "the first is not disturbed")

    async def test_left_behind(self) -> None:
        await self.open()
        await self.service.stopService()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)
        self.assertTrue(os.path.exists(self.path))
        self.service.startService()
        self.assertEqual((await self.ask("GET", "/v1/status"))[0], 200)

    async def test_long_path(self) -> None:
        await self.open()
        long = AdminService("/tmp/" + "x" * 103, Administration(self.world.accounts, self.world.config), self.world.reactor)
        self.assertRaises(SocketInUse, long.startService)

    async def test_no_socket(self) -> None:
        await self.open()
        await self.service.stopService()
        with open(self.path, "w", encoding="ascii") as file:
            file.write("precious")
        self.assertRaises(SocketInUse, self.service.startService)
        self.assertTrue(os.path.exists(self.path))


class Resources(Base):
    async def test_domains(self) -> None:
        await self.open()
        made = await self.ask("POST", "/v1/domains", {"name": "Example.NET"})
        self.assertEqual(made, (200, {"name": "example.net", "recovery_key": None}))
        status, answer = await self.ask("GET", "/v1/domains")
        self.assertEqual([each["name"] for each in answer["domains"]], ["example.net", "example.test"])
        self.assertEqual(await self.ask("DELETE", "/v1/domains/example.net"), (200, {}))
        self.assertEqual(await self.code("DELETE", "/v1/domains/example.net"), (404, "not_found"))
        self.assertEqual(await self.code("POST", "/v1/domains", {"name": "example.test"}), (409, "exists"))
        self.assertEqual(await self.code("POST", "/v1/domains", {"name": "no domain"}), (422, "invalid"))
        self.assertEqual(await self.code("POST", "/v1/domains", {"name": 5}), (422, "invalid"))
        self.assertEqual(await self.code("POST", "/v1/domains"), (422, "invalid"))

    async def test_users(self) -> None:
        await self.open()
        status, made = await self.ask("POST", "/v1/users", {"address": "me@example.test", "password": "secret"})
        self.assertEqual(status, 200)
        self.assertEqual(
            (made["address"], made["role"], made["state"], made["quota_is_default"]), ("me@example.test", "admin", "active", True)
        )
        self.assertEqual(await self.ask("GET", "/v1/users/me@example.test"), (200, made))
        self.assertEqual(await self.ask("GET", "/v1/users"), (200, {"users": [made], "next": None}))
        changes = {"quota": 5000, "state": "suspended", "role": "owner", "password": "another"}
        status, changed = await self.ask("PATCH", "/v1/users/me@example.test", changes)
        self.assertEqual((changed["quota"], changed["state"], changed["role"]), (5000, "suspended", "owner"))
        for body in (
            {},
            {"name": "x"},
            {"quota": "5"},
            {"quota": True},
            {"quota": -1},
            {"state": "deleted"},
            {"role": ""},
            {"password": ""},
        ):
            self.assertEqual(await self.code("PATCH", "/v1/users/me@example.test", body), (422, "invalid"), body)
        status, gone = await self.ask("DELETE", "/v1/users/me@example.test")
        self.assertEqual((status, gone["address"]), (200, "me@example.test"))
        self.assertEqual((await self.ask("GET", "/v1/users/me@example.test"))[1]["state"], "deleted")
        self.assertEqual(await self.ask("POST", "/v1/users/me@example.test/erase"), (200, {}))
        self.assertEqual(await self.code("GET", "/v1/users/me@example.test"), (404, "not_found"))

    async def test_a_wrong_change_changes_nothing(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        for body in ({"quota": 5, "password": 5}, {"quota": 5, "state": None}, {"role": "user", "quota": "5"}):
            self.assertEqual(await self.code("PATCH", "/v1/users/me@example.test", body), (422, "invalid"))
        status, one = await self.ask("GET", "/v1/users/me@example.test")
        self.assertEqual((one["quota_is_default"], one["role"]), (True, "admin"))

    async def test_pages(self) -> None:
        await self.open()
        for name in "abc":
            await self.world.user(f"{name}@example.test")
        status, first = await self.ask("GET", "/v1/users", limit="2")
        self.assertEqual([each["address"] for each in first["users"]], ["a@example.test", "b@example.test"])
        status, rest = await self.ask("GET", "/v1/users", limit="2", after=str(first["next"]), domain="example.test")
        self.assertEqual(([each["address"] for each in rest["users"]], rest["next"]), (["c@example.test"], None))
        self.assertEqual(await self.code("GET", "/v1/users", after="-1"), (422, "invalid"))

    async def test_aliases(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        body = {"alias": "a/b@example.test", "targets": ["me@example.test"]}
        status, made = await self.ask("POST", "/v1/aliases", body)
        self.assertEqual((status, made["alias"], made["targets"]), (200, "a/b@example.test", ["me@example.test"]))
        self.assertEqual(await self.ask("GET", "/v1/aliases", domain="example.test"), (200, {"aliases": [made]}))
        self.assertEqual(await self.ask("DELETE", "/v1/aliases/a%2Fb@example.test"), (200, {}))
        self.assertEqual(await self.code("POST", "/v1/aliases", {"alias": "x@example.test", "targets": "me"}), (422, "invalid"))
        await self.ask("POST", "/v1/aliases", {"alias": "grüße@example.test", "targets": ["me@example.test"]})
        self.assertEqual(await self.ask("DELETE", "/v1/aliases/gr%C3%BC%C3%9Fe@example.test"), (200, {}))

    async def test_blocks(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        status, made = await self.ask("POST", "/v1/blocks/me@example.test", {"sender": "Spam@example.org"})
        self.assertEqual((status, made["sender"]), (200, "spam@example.org"))
        self.assertEqual(await self.ask("GET", "/v1/blocks/me@example.test"), (200, {"blocks": [made]}))
        self.assertEqual(await self.ask("DELETE", "/v1/blocks/me@example.test/spam@example.org"), (200, {}))
        self.assertEqual(await self.code("GET", "/v1/blocks/you@example.test"), (404, "not_found"))

    async def test_status_and_configuration(self) -> None:
        await self.open(configured(store={"password": "hunter2"}))
        await self.world.user("me@example.test")
        status, answer = await self.ask("GET", "/v1/status")
        self.assertEqual((answer["accounts"], answer["hostname"]), (1, "localhost.test"))
        status, answer = await self.ask("GET", "/v1/config")
        self.assertEqual(answer["smtp"]["port"], 2525)
        self.assertEqual(answer["store"]["password"], "(hidden)")
        self.assertNotIn("hunter2", json.dumps(answer))

    async def test_wrong_requests(self) -> None:
        await self.open()
        self.assertEqual(await self.code("GET", "/v1/nothing"), (404, "no_resource"))
        self.assertEqual(await self.code("GET", "/"), (404, "no_resource"))
        self.assertEqual(await self.code("PUT", "/v1/domains", {}), (405, "method_not_allowed"))
        self.assertEqual(await self.code("POST", "/v1/domains", ["name"]), (400, "bad_request"))
        self.assertEqual(await self.code("POST", "/v1/domains", {"name": "x" * (2 << 20)}), (413, "too_large"))

    async def test_failures_tell_no_secrets(self) -> None:
        await self.open()

        async def away(*args: Any) -> Any:
            raise Unavailable("disk /secret/path is full")

        patch = self.patch(self.world.store, "read", away)
        status, answer = await self.ask("GET", "/v1/domains")
        self.assertEqual((status, answer["error"]["code"]), (503, "unavailable"))
        self.assertNotIn("/secret", json.dumps(answer))
        patch.restore()

        async def broken(*args: Any) -> Any:
            raise RuntimeError("/secret/path")

        self.patch(self.world.store, "read", broken)
        status, answer = await self.ask("GET", "/v1/domains")
        self.assertEqual((status, answer["error"]["code"]), (500, "internal"))
        self.assertNotIn("/secret", json.dumps(answer))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class Documented(SynchronousTestCase):
    def test_every_resource(self) -> None:
        page = Path(mailx.__file__).parents[1] / "docs" / "administration.rst"
        if not page.exists():
            raise SkipTest("the documentation is not beside the package")
        text = page.read_text(encoding="utf-8")
        for path, method, _ in ROUTES:
            self.assertIn(f"``{method} {path.replace('path:', '')}``", text)


class InProcess(Base):
    async def test_same_answers_as_over_the_socket(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        administration = Administration(self.world.accounts, self.world.config)
        for method, path, body in (
            ("GET", "/v1/users/me@example.test", None),
            ("GET", "/v1/users/no@example.test", None),
            ("GET", "/v1/nothing", None),
            ("DELETE", "/v1/status", None),
            ("POST", "/v1/domains", {"name": ""}),
        ):
            inside = await Deferred.fromCoroutine(administration.answer(method, path, {}, body))
            self.assertEqual(inside, await self.ask(method, path, body), path)

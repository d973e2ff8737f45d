"""What callers are told of their calls' progress, by the real parts."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.calls import Call
from mailx.mail.reply import Unavailable
from mailx.web.webhook.status import Status
from tests.core.calls_scene import Scene as CallsScene
from tests.core.calls_scene import scene as calls_scene
from tests.core.mail_out import LATER, NEVER
from tests.web.webhook.scene import PATH, SECRET, Said, Scene, request, scene, sign, stamp


class Progress(TestCase):
    """States as the caller sees them."""

    timeout = 240

    async def open(self) -> tuple[CallsScene, Status]:
        here = await calls_scene(self)
        await here.start()
        return here, Status(here.calls, here.callbacks._fates, here.callbacks)

    async def told(self, here: CallsScene, status: Status, call: Call) -> Any:
        code, value = await status.answer(call.id, here.calls.fingerprint("secret"))
        self.assertEqual(code, 200)
        return value

    async def test_delivered(self) -> None:
        here, status = await self.open()
        call = await here.call("you@example.org")
        await here.until_told(call, "done", "done")
        self.assertEqual(
            await self.told(here, status, call),
            {
                "ok": True,
                "queued_id": call.id,
                "queued_at": "2026-02-21T05:35:12.345678Z",
                "type": "message",
                "to": "you@example.org",
                "subject": "Hello",
                "state": "delivered",
                "changed_at": "2023-11-14T22:13:20Z",
                "attempts": 1,
                "reply": "250 2.0.0 OK",
                "callbacks": [
                    {"event": "queued", "state": "done", "attempts": 1},
                    {"event": "delivered", "state": "done", "attempts": 1},
                ],
            },
        )

    async def test_deferred_and_bounced(self) -> None:
        here, status = await self.open()
        here.office.courier.answers["example.org"] = LATER
        call = await here.call("you@example.org", callback=None)
        await here.until_state(call, "deferred")
        value = await self.told(here, status, call)
        self.assertEqual(
            (value["state"], value["next_attempt_at"], value["reply"]), ("deferred", "2023-11-14T22:18:20Z", "451 4.7.1 Greylisted")
        )
        self.assertNotIn("callbacks", value)
        here.office.courier.answers["example.org"] = NEVER
        await here.later(300)
        await here.until_state(call, "bounced")
        value = await self.told(here, status, call)
        self.assertEqual((value["state"], value["attempts"], value["reply"]), ("bounced", 2, "550 5.1.1 No such user"))
        self.assertNotIn("next_attempt_at", value)

    async def test_a_mailbox_here(self) -> None:
        here, status = await self.open()
        call = await here.call("me@example.test", callback=None)
        value = await self.told(here, status, call)
        self.assertEqual((value["state"], value["attempts"]), ("delivered", 0))

    async def test_unknown_and_somebody_elses(self) -> None:
        here, status = await self.open()
        call = await here.call("you@example.org", callback=None)
        nothing = (404, {"ok": False, "error": "not found"})
        for id, secret in (
            (call.id + 1, here.calls.fingerprint("secret")),
            (0, here.calls.fingerprint("secret")),
            (10**18 - 1, here.calls.fingerprint("secret")),
            (call.id, here.calls.fingerprint("another")),
            (call.id, ""),
        ):
            self.assertEqual(await status.answer(id, secret), nothing, (id, secret))

    async def test_a_record_that_is_damaged(self) -> None:
        here, status = await self.open()
        call = await here.call("me@example.test", callback=None)
        await here.office.world.store.write(lambda txn: txn.execute("UPDATE calls SET details = ?", (b"damaged",)))
        for secret in (here.calls.fingerprint("secret"), ""):
            self.assertEqual((await status.answer(call.id, secret))[0], 404)


class Asking(TestCase):
    """Over the receiver: the same checks in the same order as for calls."""

    timeout = 240

    async def open(self, **webhook: Any) -> tuple[Scene, int]:
        here = await scene(self, **webhook)
        callbacks = (await calls_scene(self, over=here.office)).callbacks
        here.receiver._status = Status(here.calls, callbacks._fates, callbacks)
        said = await here.post({"type": "message", "to": "user@example.com", "subject": "News", "text": "x"})
        self.assertEqual(said.status, 200, said.body)
        return here, said.json["queued_id"]

    async def ask(
        self, here: Scene, path: str, headers: dict[str, str] | None = None, host: str = "192.0.2.1", method: str = "GET"
    ) -> Said:
        return await here.connect(host).ask(request(method, path, headers=sign(path.encode()) if headers is None else headers))

    async def test_signed_over_the_path(self) -> None:
        here, id = await self.open()
        said = await self.ask(here, f"{PATH}/{id}")
        self.assertEqual((said.status, said.json["state"], said.headers["cache-control"]), (200, "queued", "no-store"))
        for headers, error in (
            ({}, "missing signature"),
            (sign(b""), "invalid signature"),
            (sign(f"{PATH}/{id + 1}".encode()), "invalid signature"),
            (sign(f"{PATH}/{id}".encode(), secret="another"), "invalid signature"),
            (sign(f"{PATH}/{id}".encode(), stamp(-301)), "invalid signature"),
            (sign(f"{PATH}/{id}".encode(), stamp(301)), "invalid signature"),
        ):
            said = await self.ask(here, f"{PATH}/{id}", headers)
            self.assertEqual((said.status, said.json), (401, {"ok": False, "error": error}))

    async def test_not_there(self) -> None:
        here, id = await self.open()
        for name in (
            str(id + 1),
            "0",
            "",
            "x",
            "-1",
            "1.0",
            "9" * 18,
            "9" * 19,
            "9" * 400,
            f"{id}/",
            "%31",
            "..",
            "../outbound-email",
            "１",
        ):
            path = f"{PATH}/{name}"
            if path.isascii():
                said = await self.ask(here, path)
                self.assertEqual((said.status, said.json), (404, {"ok": False, "error": "not found"}), name)

    async def test_after_the_secret_has_changed(self) -> None:
        here, id = await self.open()
        await here.change(secret="a new secret")
        said = await self.ask(here, f"{PATH}/{id}", sign(f"{PATH}/{id}".encode(), secret="a new secret"))
        self.assertEqual(said.status, 404)
        self.assertEqual((await self.ask(here, f"{PATH}/{id}")).status, 401)
        await here.change(secret=SECRET)
        self.assertEqual((await self.ask(here, f"{PATH}/{id}")).status, 200)
        await here.change(signature=False)
        self.assertEqual((await self.ask(here, f"{PATH}/{id}", {})).status, 404)

    async def test_order_of_checks(self) -> None:
        here, id = await self.open(allowed=("192.0.2.0/24",))
        self.assertEqual((await self.ask(here, f"{PATH}/{id}", {}, host="198.51.100.1")).status, 403)
        self.assertEqual((await self.ask(here, f"{PATH}/{id}", method="POST", host="198.51.100.1")).status, 405)
        await here.change(secret="")
        said = await self.ask(here, f"{PATH}/{id}", {})
        self.assertEqual((said.status, said.json["error"]), (503, "webhook secret not configured"))
        await here.change(per_minute=1, secret=SECRET)
        statuses = [(await self.ask(here, f"{PATH}/{id}", {}, host="192.0.2.9")).status for _ in range(3)]
        self.assertEqual(statuses, [401, 429, 429])

    async def test_the_store_is_away(self) -> None:
        here, id = await self.open()

        async def away(id: int) -> None:
            raise Unavailable("the disk is gone")

        self.patch(here.calls, "show", away)
        said = await self.ask(here, f"{PATH}/{id}")
        self.assertEqual(said.status, 503)
        self.assertNotIn(b"disk", said.body)

"""Calls over a real store, with their mail and a poster that does as the test says."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.call_states import CallStates
from mailx.core.callbacks import Callbacks
from mailx.core.calls import Call, Calls, Posted
from mailx.core.settings import Settings
from mailx.core.suppressions import Suppressions
from mailx.mail.address import Address
from mailx.mail.envelope import WEBHOOK, Envelope, Origin, new_id
from mailx.mail.message import Message
from tests.core.mail_out import GREETING, Office, office

URL = "https://app.example.org/hooks/mail"


@define
class Poster:
    """In place of ``Posting``: answers by URL, with a status, an exception, a Deferred of one, or a function of what is told; else 200."""

    answers: dict[str, Any] = Factory(dict)
    posts: list[tuple[str, dict[str, Any], Mapping[str, str]]] = Factory(list)

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> int:
        self.posts.append((url, json.loads(body), dict(fields)))
        answer = self.answers.get(url, 200)
        if callable(answer):
            answer = answer(self.posts[-1][1])
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    def events(self, url: str = "") -> list[tuple[int, str]]:
        """(queued id, event) of all posts, or of those to one URL."""
        return [(told["queued_id"], told["event"]) for to, told, _ in self.posts if not url or to == url]


@define
class Scene:
    """An office whose webhook mail is followed."""

    office: Office
    settings: Settings
    calls: Calls
    suppressions: Suppressions
    callbacks: Callbacks
    states: CallStates
    poster: Poster
    clock: list[float]

    async def start(self) -> None:
        await self.office.start()
        self.states.start()
        self.callbacks.start()

    async def call(self, to: str, callback: str | None = URL, **keys: Any) -> Call:
        """A call for mail to ``to``, accepted. ``callback`` None: it wants none, and the settings say none."""
        id = new_id()
        now = int(self.clock[0])
        host = None if callback is None else self.calls.host_key(callback)
        posted: Posted = self.calls.posted(
            id,
            type="message",
            to=to,
            subject="Hello",
            sender="no-reply@example.test",
            queued_at="2026-02-21T05:35:12.345678Z",
            created=now,
            digest=b"digest",
            callback=callback or "",
            host=host,
            secret=self.calls.fingerprint("secret"),
            **keys,
        )
        envelope = Envelope(
            id, Address.parse("no-reply@example.test"), (Address.parse(to),), Message(GREETING, len(GREETING)), Origin(WEBHOOK, new_id())
        )
        await self.office.reception.accept(envelope, call=posted)
        if host is not None:
            self.callbacks.wake()
        assert posted.entered is not None
        return self.calls.opened(posted.entered)

    async def state(self, call: Call) -> str:
        found = await self.calls.show(call.id)
        assert found is not None
        return found.state

    async def until_state(self, call: Call, state: str) -> None:
        async def there() -> bool:
            return await self.state(call) == state

        await self.office.until(there)

    async def until_posted(self, count: int) -> None:
        await self.office.until(lambda: len(self.poster.posts) >= count)

    async def until_told(self, call: Call, *states: str) -> None:
        """Returns when the states of the call's callbacks are these."""

        async def there() -> bool:
            return tuple([told.state for told in await self.callbacks.of_call(call.id)]) == states

        await self.office.until(there)

    async def later(self, seconds: int) -> None:
        """So much later."""
        self.clock[0] += seconds
        self.office.queue._timetable.expect(0)
        self.callbacks.wake()


async def scene(case: TestCase, *, engine: str = "", over: Office | None = None, **sections: dict[str, Any]) -> Scene:
    """A scene, not started. ``over`` an office that exists."""
    sections.setdefault("webhook", {}).setdefault("secret", "secret")
    here = over or await office(case, engine=engine, **sections)
    world = here.world
    settings = Settings(here.config)
    calls = Calls(world.store, world.cipher, world.reactor)
    suppressions = Suppressions(world.store, world.cipher, settings, world.reactor)
    await suppressions.load()
    poster: Any = Poster()
    callbacks = Callbacks(world.store, world.cipher, calls, poster, settings, world.reactor, now=lambda: here.clock[0])
    states = CallStates(world.store, here.progress, suppressions, callbacks.wake, world.reactor, now=lambda: here.clock[0])
    made = Scene(here, settings, calls, suppressions, callbacks, states, poster, here.clock)

    async def stop() -> None:
        await here.queue.stop()
        await states.stop()
        await callbacks.stop()
        suppressions.stop()

    case.addCleanup(lambda: Deferred.fromCoroutine(stop()))
    return made

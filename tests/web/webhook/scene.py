"""The receiver over a real store, spoken to as callers do: octets in, octets out."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from mailx.core.calls import Calls
from mailx.core.figures import Figures
from mailx.core.settings import Settings
from mailx.core.templates import Templates
from mailx.mail.address import Address
from mailx.web.webhook.listener import Channel, Listener
from mailx.web.webhook.receiver import Receiver
from tests.core.mail_out import Office, office

PATH = "/webhook/outbound-email"
SECRET = "a secret that two programs share"
NOW = 1_700_000_000.0
BODY = {
    "type": "email_verification",
    "to": "user@example.com",
    "subject": "Verify your email",
    "token": "123456",
    "expiresAt": "2026-02-21T06:00:00Z",
    "link": "https://example.com/verify?token=123456",
}
MESSAGE = {"type": "message", "to": "user@example.com", "subject": "News", "text": "Good news\n"}
READY = {"secret": SECRET, "sender_domain": "example.test"}


def stamp(seconds: float = 0.0) -> str:
    """A timestamp ``seconds`` from the receiver's now."""
    return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sign(body: bytes, timestamp: str = "", secret: str = SECRET) -> dict[str, str]:
    """The headers of a signed call."""
    timestamp = timestamp or stamp()
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-TransLife-Timestamp": timestamp, "X-TransLife-Signature": signature}


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *[f"{name}: {value}" for name, value in (headers or {}).items()]]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Transport(StringTransport):
    """Remembers that it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ITCPTransport."""


@define
class Said:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@define
class Suppressed:
    """A suppression list."""

    addresses: set[str] = Factory(set)
    trouble: Exception | None = None

    async def holds(self, address: Address) -> bool:
        if self.trouble is not None:
            raise self.trouble
        return str(address) in self.addresses


class Progressing:
    """Tells the number that was asked for."""

    async def answer(self, id: int, secret: str) -> tuple[int, Mapping[str, Any]]:
        return (200, {"ok": True, "queued_id": id, "secret": secret})


@define
class Scene:
    """A receiver with its office."""

    case: TestCase
    office: Office
    settings: Settings
    calls: Calls
    templates: Templates
    suppressed: Suppressed
    receiver: Receiver
    listener: Listener
    told: list[bool]

    def connect(self, host: str = "192.0.2.1") -> "Caller":
        """A connection from ``host``."""
        channel = self.listener.buildProtocol(None)
        assert isinstance(channel, Channel)
        kind = IPv6Address if ":" in host else IPv4Address
        transport = Transport(peerAddress=kind("TCP", host, 40000))
        channel.makeConnection(transport)
        return Caller(self, channel, transport)

    async def post(self, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None, host: str = "192.0.2.1") -> Said:
        """The answer to one call; it is signed unless ``headers`` are given."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **(sign(raw) if headers is None else headers)}
        return await self.connect(host).ask(request("POST", PATH, raw, given))

    async def queued(self) -> int:
        """How many recipients the queue knows."""
        return len(await self.office.entries())

    async def change(self, **values: Any) -> None:
        """Other settings of the webhook, from now on."""
        current = self.settings.current
        self.settings.current = evolve(current, webhook=evolve(current.webhook, **values))


@define
class Caller:
    """One connection to the receiver."""

    scene: Scene
    channel: Channel
    transport: Transport

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    async def ask(self, data: bytes) -> Said:
        self.send(data)
        return await self.answer()

    async def answer(self) -> Said:
        """The next whole answer."""
        for _ in range(2000):
            said = self._taken()
            if said is not None:
                return said
            await deferLater(self.scene.office.world.reactor, 0.002)
        self.scene.case.fail(f"no answer, only {self.transport.value()!r}")

    def _taken(self) -> Said | None:
        head, found, rest = self.transport.value().partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self.transport.clear()
        self.transport.write(rest[length:])
        return Said(int(first.split(" ")[1]), headers, rest[:length])


async def scene(case: TestCase, *, engine: str = "", start: bool = False, **webhook: Any) -> Scene:
    """A receiver that is ready; ``webhook`` are its settings. With ``start`` the queue runs."""
    made = await office(case, engine=engine, webhook={**READY, **webhook})
    world, reactor = made.world, made.world.reactor
    settings = Settings(world.config)
    calls = Calls(world.store, world.cipher, reactor)
    templates = Templates(world.store, world.cipher, settings, reactor)
    await templates.load()
    suppressed = Suppressed()
    told: list[bool] = []
    receiver = Receiver(
        settings,
        made.reception,
        calls,
        templates,
        suppressed,
        Progressing(),
        Figures(world.store, reactor),
        lambda: told.append(True),
        "mail.example.test",
        reactor,
        lambda: NOW,
    )
    listener = Listener(receiver, reactor)
    if start:
        await made.start()

    def end() -> None:
        for channel in list(listener.sessions):
            listener.leave(channel)

    case.addCleanup(end)
    return Scene(case, made, settings, calls, templates, suppressed, receiver, listener, told)

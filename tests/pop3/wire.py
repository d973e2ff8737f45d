"""A client's end of a POP3 connection in memory, over a world with a real store."""

from typing import Any

from attrs import evolve

from mailx.pop3.maildrop import Locks
from mailx.pop3.server import POP3Listener
from mailx.pop3.session import Services
from tests.imap.wire import Certificate, Client
from tests.scenery import World


class Edge:
    """The POP3 edge over ``world``; keyword arguments change its settings."""

    def __init__(self, world: World, reactor: Any = None, **settings: Any) -> None:
        self.world = world
        config = evolve(world.config.pop3, **settings)
        self.services = Services(config, world.config.server, world.mailboxes, world.access, reactor or world.reactor, Locks())
        self.secure = POP3Listener("pop3s", self.services, None)
        self.plain = POP3Listener("pop3", self.services, Certificate())
        self.clients: list[Client] = []

    def connect(self, tls: bool = True) -> Client:
        client = Client((self.secure if tls else self.plain).buildProtocol(None), self.world.reactor, tls)  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    async def login(self, user: str = "me@example.test") -> Client:
        client = self.connect()
        await client.line()
        client.send(b"USER %b\r\nPASS secret\r\n" % user.encode())
        assert (await client.line()).startswith(b"+OK")
        answer = await client.line()
        assert answer.startswith(b"+OK"), answer
        return client

    def close(self) -> None:
        for client in self.clients:
            client.disconnect()


async def ask(client: Client, line: bytes) -> bytes:
    """The one line that answers ``line``."""
    client.send(line + b"\r\n")
    return await client.line()


async def ask_lines(client: Client, line: bytes) -> list[bytes]:
    """The lines of a multi-line answer without its first and the final dot, as they came."""
    first = await ask(client, line)
    assert first.startswith(b"+OK"), first
    lines: list[bytes] = []
    while (line := await client.line()) != b".":
        lines.append(line)
    return lines

"""Sends made-up commands to the protocol in memory and holds the server to its word.

Every input gets a tagged answer (an untagged BAD where it has no tag), within seconds; nothing is logged as a
failure, no text of an exception reaches the client, and a command that its state forbids is never OK.
"""

import random
import re
import zlib
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from mailx.core.reading_session import OVER
from mailx.core.users import User
from mailx.imap.dispatch import VERBS
from mailx.imap.session import AUTHENTICATED
from tests.imap.fuzz.grammar import Grammar
from tests.imap.fuzz.spoiling import spoiled
from tests.imap.wire import Client, Edge

_PATIENCE = 50.0  # seconds that one command may take on a busy machine
_FILLERS = (b"\r\n", b"*\r\n", b"DONE\r\n", b"a" * 4096 + b"\r\n", b"x" * 65536 + b"\r\n", b"\r\n", b"z" * 1_000_000 + b"\r\n")
_LEAKS = re.compile(rb"Traceback|SERVERBUG|mailx\.|\.py\b|0x[0-9a-f]{6}|sqlite", re.IGNORECASE)
_ANSWER = re.compile(rb"^(?:(f\d+) (OK|NO|BAD)|\* BAD|[!-~]+ (?:OK|NO|BAD)) [^\r\n]*\r?$", re.MULTILINE)
_ENDS = re.compile(rb"^\* BYE ", re.MULTILINE)
_GRANTED = re.compile(rb'^\* GENURLAUTH ("[!#-~]+")', re.MULTILINE)
_HEARD = 1_000_000  # octets of answers kept of one input


class Wrong(AssertionError):
    """The server did what it must not; the text has the input."""


class Player:
    """One connection after the other, before and after login."""

    def __init__(self, edge: Edge, user: User, seed: int) -> None:
        self._edge = edge
        self._user = user
        self._dice = random.Random(seed)
        self._grammar = Grammar(self._dice, user.address.local)
        self._deflate: Any = None  # of a connection that is compressed
        self._inflate: Any = None
        self._torn = False  # what is sent compressed may be anything from here on
        self._client: Client | None = None
        self._number = 0
        self.done: set[bytes] = set()  # names of commands that were OK
        self.counts = {b"OK": 0, b"NO": 0, b"BAD": 0, b"*": 0, b"BYE": 0}

    async def play(self, inputs: int) -> None:
        try:
            for _ in range(inputs):
                await self._input()
        finally:
            if self._client is not None:
                self._client.disconnect()
                self._client = None

    async def _input(self) -> None:
        client = await self._connected()
        dice, state = self._dice, client.protocol.session.state
        command = self._grammar.command()
        if dice.random() < 0.7:
            command = spoiled(command, self._grammar.command(), dice)
        self._number += 1
        tag = b"f%d" % self._number
        data = b"%b %b\r\n" % (tag, command)
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            if dice.random() < 0.05:  # no DEFLATE any more, or another text
                at = dice.randrange(len(data))
                data = data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
                self._torn = True
        if dice.random() < 0.1:  # in pieces
            at = dice.randrange(len(data))
            client.send(data[:at])
            await deferLater(reactor, 0)
            data = data[at:]
        client.send(data)
        try:
            await self._answered(client)
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}\nafter {command!r} in state {state}: {bytes(client.data[-2000:])!r}") from error
        self._judge(client, command, tag, state)

    async def _answered(self, client: Client) -> None:
        """Until the server waits for the next command; what a spoiled one still lacks is filled up."""
        filled = 0
        end = reactor.seconds() + _PATIENCE  # type: ignore[attr-defined]
        while reactor.seconds() < end:  # type: ignore[attr-defined]
            protocol = client.protocol
            if client.ended:
                return
            opening = protocol._inflating is not None and protocol._inflating._more
            if protocol.input._waiting is not None and not opening:
                if protocol._deadline is not None and protocol._idle:
                    return
                if filled >= 40 and self._torn:  # it may be in a block of any length
                    client.disconnect()
                    return
                if filled >= 40:
                    raise TimeoutError("it asks for more and more")
                more = _FILLERS[filled % len(_FILLERS)]
                client.send(more if self._deflate is None else self._deflate.compress(more) + self._deflate.flush(zlib.Z_SYNC_FLUSH))
                filled += 1
                continue
            await deferLater(reactor, 0)
        raise TimeoutError("no end")

    def _judge(self, client: Client, command: bytes, tag: bytes, state: str) -> None:
        heard = self._heard(client)
        answers = [match for match in _ANSWER.finditer(heard)]
        own = [match[2] for match in answers if match[1] == tag]
        where = f"after {command!r} in state {state}: {heard[-2000:]!r}"
        if len(own) > 1 and b"\n" not in command and not self._torn:
            raise Wrong(f"{len(own)} answers {where}")
        ended = _ENDS.search(heard) is not None
        if not answers and not ended and not self._torn:
            raise Wrong(f"no answer {where}")
        leak = _LEAKS.search(heard)
        if leak is not None and leak[0].lower() not in command.lower():
            raise Wrong(f"a leak: {leak[0]!r} {where}")
        if len(heard) > _HEARD:
            raise Wrong(f"{len(heard)} octets {where[:3000]}")
        if own == [b"OK"]:
            words = command.upper().split(b" ")
            name = b" ".join(words[:2]) if words[0] == b"UID" else words[0].split(b"\r")[0]
            verb = VERBS.get(name)
            if verb is not None and state not in verb.states:
                raise Wrong(f"OK where it has no place {where}")
            self.done.add(name)
        granted = _GRANTED.search(heard)
        if granted is not None:
            self._grammar.granted = granted[1].decode()
        self.counts[own[0] if own else b"*"] += 1
        self.counts[b"BYE"] += ended

    def _heard(self, client: Client) -> bytes:
        """What the server said; the answer to COMPRESS is the last in the clear."""
        data = bytes(client.data)
        client.data.clear()
        if self._inflate is not None:
            return bytes(self._inflate.decompress(data))
        if client.protocol._inflating is not None:
            self._deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
            self._inflate = zlib.decompressobj(-15)
        return data

    async def _connected(self) -> Client:
        client = self._client
        if client is not None and not client.ended and client.protocol.session.state != OVER and not client.protocol._encrypted:
            if client.protocol.session.state == AUTHENTICATED and self._deflate is None and self._dice.random() < 0.1:
                await self._select(client)
            if self._dice.random() > (0.005 if self._deflate is None else 0.1):
                return client
        if client is not None:
            client.disconnect()
            self._edge.clients.remove(client)
        self._deflate = self._inflate = None
        self._torn = False
        client = self._client = self._edge.connect()
        await client.line()
        chance = self._dice.random()
        if chance > 0.15:
            client.protocol.session.enter(self._user)
        if chance > 0.4:
            await self._select(client)
        client.data.clear()
        return client

    async def _select(self, client: Client) -> None:
        await client.command(b"SELECT INBOX", b"select")
        client.data.clear()


def memory() -> int:
    """Octets that this process holds in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


async def campaign(case: Any, inputs: int, seed: int) -> tuple[dict[bytes, int], list[int], set[bytes]]:
    """``inputs`` inputs in worlds of 20,000 each; counts of answers, the memory after each world, and what was ever OK."""
    from tests.imap.messages import BY_NAME
    from tests.scenery import world

    counts: dict[bytes, int] = {}
    held: list[int] = []
    done: set[bytes] = set()
    made = await world(case, accounts={"quota": 60_000}, imap={"append_size": 20_000})
    you = await made.user("you@example.test")
    await made.mailboxes.sharing.grant(you, "INBOX", "anyone", "lrswipkxte")
    left, number = inputs, 0
    while left > 0:
        user = await made.user(f"me{number}@example.test")
        for content in BY_NAME.values():
            await made.file(user, content)
        player = Player(Edge(made), user, seed + number)
        await player.play(min(left, 20_000))
        for name, count in player.counts.items():
            counts[name] = counts.get(name, 0) + count
        done |= player.done
        held.append(memory())
        left, number = left - 20_000, number + 1
    return counts, held, done

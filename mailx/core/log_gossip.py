"""Gossip about key logs: what two servers show each other when they meet, so that nobody can keep two logs.

Each greeting holds the head of the speaker's own log and the head of the listener's log as the speaker knows it. So a
domain learns when others know a log under its name that is not its own: after a restore it goes on in a new epoch, and an
alert tells of it, for its key may be in other hands. Once an hour the side that connected also asks about third domains
that both know; they are named by hashes under a fresh salt, so that the other side learns of none that it does not know.
All of this is done behind the greeting: no mail waits for it, and its failures harm nothing.
"""

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from hashlib import blake2b
from random import SystemRandom
from time import time
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.alerts import LOG_RESTORED
from mailx.core.key_log import EPOCHS_LIMIT, KeyLog, NoSuchEntry
from mailx.core.log_witness import Ask, Away, Kept, LogWitness, Tell
from mailx.identity import key_log
from mailx.identity.encoding import Malformed
from mailx.identity.key_log import Head
from mailx.mail.reply import Unavailable
from mailx.store.key_log import State

log = Logger()

SALT_SIZE = 16
NAME_SIZE = 16
NAMES_LIMIT = 64  # third domains that are asked about at a time
_KNOWN_LIMIT = 1000  # heads among which the other side's hashes are looked for
_EVERY = 3600  # seconds between two questions to one domain, and between two epochs of one of ours
_ASKED_LIMIT = 10000
_RUNNING_LIMIT = 50  # greetings that are looked at; further ones are looked at when the peer connects again
_RUNNING_EACH = 4  # of one domain, lest its stalling keeps us from looking at others
_TOLD_FRESH = 60.0  # seconds that the heads which others are told stay in memory


class Talk(Protocol):
    """What is needed of a channel."""

    @property
    def local(self) -> str: ...

    @property
    def remote(self) -> str: ...

    @property
    def key(self) -> bytes: ...

    @property
    def incoming(self) -> bool: ...


class Source(Protocol):
    """Asks the servers of other domains about their logs."""

    def over(self, channel: Any) -> Ask:
        """By a channel that we opened."""

    def to(self, local: str, remote: str) -> Ask:
        """By a channel of its own."""


Believed = Callable[[str], Awaitable[Collection[bytes]]]
"""The keys of another domain that are believed now, as they are kept here; none: it is not known. Raises Unavailable."""


class LogGossip:
    """Speaks and listens for our domains. ``alerts`` and ``source`` may be set before the first greeting."""

    def __init__(
        self,
        *,
        key_log: KeyLog,
        witness: LogWitness,
        believed: Believed,
        source: Source,
        share: Callable[[], bool] = lambda: True,
        alerts: Tell | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """``share`` tells whether third domains are talked about."""
        self.alerts = alerts
        self.source = source
        self._log = key_log
        self._witness = witness
        self._believed = believed
        self._share = share
        self._now = now
        self._begun: dict[str, float] = {}  # domain of ours to when its last epoch began
        self._asked: dict[str, float] = {}  # domain to when it was asked about others; the oldest first
        self._running: dict[Deferred[None], str] = {}  # and whose greeting it is
        self._known: tuple[float, list[Head]] = (-_TOLD_FRESH, [])
        self._reading = DeferredLock()
        self._stopped = False

    async def stop(self) -> None:
        """Look at no more greetings; those that are being looked at are broken off."""
        self._stopped = True
        for each in list(self._running):
            each.cancel()

    # Greetings.

    async def greeting(self, local: str, remote: str) -> dict[str, Any]:
        """What ``local`` says of logs to ``remote``. Raises Unavailable."""
        head = await self._log.head(local)
        kept = await self._witness.kept(remote)
        return {"log": key_log.octets(head.statement), "log_seen": None if kept is None else key_log.octets(kept.head.statement)}

    async def greeted(self, channel: Talk, fields: Mapping[str, Any]) -> None:
        """The other side's greeting; it is looked at after this has returned."""
        running_each = list(self._running.values()).count(channel.remote)
        if self._stopped or len(self._running) >= _RUNNING_LIMIT or running_each >= _RUNNING_EACH:
            return
        running = Deferred.fromCoroutine(self.heard(channel, fields))
        self._running[running] = channel.remote
        running.addBoth(self._ended, running)

    def _ended(self, result: object, running: Deferred[None]) -> None:
        self._running.pop(running, None)
        if isinstance(result, Failure) and not self._stopped:
            if (unavailable := result.check(Unavailable)) is not None:
                log.info("What was shown of a key log was not looked at", event="key_log.delayed", reason=unavailable.__name__)
            else:
                log.failure("What was shown of a key log was not looked at", result, event="key_log.failed")

    async def heard(self, channel: Talk, fields: Mapping[str, Any]) -> None:
        """Look at a greeting. Raises Unavailable."""
        local, remote = channel.local, channel.remote
        if not channel.incoming:
            ask = self.source.over(channel)
        else:
            ask = self.source.to(local, remote)
        if fields.get("log") is not None:
            await self._theirs(remote, fields["log"], {channel.key, *await self._believed(remote)}, ask)
        if fields.get("log_seen") is not None:
            await self.told(local, fields["log_seen"])
        if not channel.incoming and self._share() and self._due(remote):
            await self._third(local, remote, ask)

    async def _theirs(self, domain: str, value: object, keys: Collection[bytes], ask: Ask | None) -> None:
        try:
            await self._witness.seen(domain, value, keys, ask)
        except Malformed as error:
            log.warn("What was shown is no head of a key log", event="key_log.refused", domain=domain, reason=str(error))

    def _due(self, domain: str) -> bool:
        now = self._now()
        if now - self._asked.get(domain, -_EVERY) < _EVERY:
            return False
        self._asked.pop(domain, None)
        self._asked[domain] = now
        while len(self._asked) > _ASKED_LIMIT:
            del self._asked[next(iter(self._asked))]
        return True

    # What others know of our own logs.

    async def told(self, domain: str, value: object) -> bool:
        """Somebody knows ``value`` as the head of our log ``domain``; whether it is one. Raises Unavailable."""
        try:
            head = key_log.read_head(value, domain)
        except Malformed as error:
            log.warn("What was shown is no head of a key log", event="key_log.refused", domain=domain, reason=str(error))
            return False
        if not self._log.ours(domain) or not self._log.is_key(domain, head.statement):
            return False  # signed with a key of long ago, or by nobody
        state = await self._log.state(domain)
        if head.epoch < state.epoch:
            return True  # they will see our epoch
        ours = await self._log.head(domain)
        if (head.epoch, head.vrf) == (ours.epoch, ours.vrf) and await self._root(domain, head.size) == head.root:
            if head.size > state.confirmed:
                await self._log.confirm(domain, head.size)
            return True
        await self._restored(domain, head, state)
        return False

    async def _root(self, domain: str, size: int) -> bytes:
        try:
            return await self._log.root(domain, size)
        except NoSuchEntry:
            return b""

    async def _restored(self, domain: str, head: Head, state: State) -> None:
        """Others know a log of ours that ours does not continue: go on in a new epoch, and say it loudly."""
        now = self._now()
        if 0 <= now - self._begun.get(domain, -_EVERY) < _EVERY:
            return  # one restore is one epoch: whoever shows more of them has our key, and would only make the log grow
        if head.epoch - state.epoch > EPOCHS_LIMIT:
            goes_on = f"They are in epoch {head.epoch}, in which it never was, and it goes on as it is."
        elif (epoch := await self._log.begin_epoch(domain, head)) is not None:
            goes_on = f"It goes on in epoch {epoch.epoch}."
        else:
            return
        self._begun[domain] = now
        log.error(
            "Others know a key log of ours that is not this one", event="key_log.restored", domain=domain, size=state.size, known=head.size
        )
        if self.alerts is not None:
            self.alerts.tell(
                LOG_RESTORED,
                domain,
                f"Others know {head.size} entries of the key log of {domain} that are not in this database, which has {state.size}. "
                f"{goes_on} If the database was restored from a backup, this was to be expected: look which keys are missing with "
                f"mailxctl key audit {domain}. If not, the domain key may be in other hands: mailxctl key recover {domain}",
            )

    # Third domains.

    async def _third(self, local: str, remote: str, ask: Ask) -> None:
        """Ask what the other side knows of domains that both know."""
        known = [each for each in await self._witness.all(_KNOWN_LIMIT) if each.head.domain != remote]
        salt = os.urandom(SALT_SIZE)
        names = {name_hash(salt, each.head.domain): each.head.domain for each in _sample(known)}
        padding = [os.urandom(NAME_SIZE) for _ in range(NAMES_LIMIT - len(names))]  # how many domains we know is nobody's business
        try:
            answer = await ask("log_gossip", {"salt": salt, "names": sorted([*names, *padding])})
        except Away:
            return
        heads = answer.get("heads")
        for each in heads[:NAMES_LIMIT] if isinstance(heads, list) else ():
            domain = _domain(each)
            if self._log.ours(domain):
                await self.told(domain, each)
            elif domain in names.values():
                await self._theirs(domain, each, await self._believed(domain), self.source.to(local, domain))

    async def answer(self, remote: str, salt: bytes, names: Collection[bytes]) -> list[bytes]:
        """The heads of the domains among ``names`` that we know, for a peer that asks. Raises Unavailable."""
        if not self._share() or len(salt) != SALT_SIZE:
            return []
        wanted = frozenset(names)
        found = [each for each in await self._heads() if name_hash(salt, each.domain) in wanted and each.domain != remote]
        return [key_log.octets(each.statement) for each in found[:NAMES_LIMIT]]

    async def _heads(self) -> list[Head]:
        """Those that we know, as they were not long ago: reading them is dear, and anybody may ask at any time. Raises Unavailable."""
        await self._reading.acquire()
        try:
            if not 0 <= self._now() - self._known[0] < _TOLD_FRESH:
                self._known = self._now(), [each.head for each in await self._witness.all(_KNOWN_LIMIT)]
            return self._known[1]
        finally:
            self._reading.release()


def name_hash(salt: bytes, domain: str) -> bytes:
    """How a domain is named in a question."""
    return blake2b(domain.encode(), key=salt, digest_size=NAME_SIZE).digest()


def _domain(value: object) -> str:
    """Whose head somebody shows; "" if that cannot be told."""
    try:
        shown = key_log.plain(value)
    except Malformed:
        return ""
    body = shown.get("body") if isinstance(shown, dict) else None
    domain = body.get("domain") if isinstance(body, dict) else None
    return domain if isinstance(domain, str) else ""


def _sample(known: list[Kept]) -> list[Kept]:
    """Some of them, others each time."""
    return SystemRandom().sample(known, min(len(known), NAMES_LIMIT))

"""Calls of the webhook receiver: their record, made with the message they ask for, and found again by repeats.

A record enters in the transaction that accepts the message. A call that repeats another (the same signature and body,
or the same idempotency key) queues nothing and is answered by the record; so it is after a restart, and when the answer to the
first was lost.
"""

import json
from collections.abc import Sequence
from time import time
from typing import Any

from attrs import define, frozen
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailx.core.urls import target
from mailx.mail.reply import Unavailable
from mailx.store import Store, calls
from mailx.store.calls import BOUNCED, DEFERRED, DELIVERED, QUEUED, STATES
from mailx.store.cipher import Cipher, CipherError

__all__ = ["BOUNCED", "DEFERRED", "DELIVERED", "QUEUED", "STATES", "Call", "Calls", "Posted"]

log = Logger()

KEPT_AT_LEAST = 2 * 86400  # seconds: longer than the widest window of timestamps, and than idempotency keys are promised for
_DAILY = 86400
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SLICE = 500  # records forgotten in one transaction


@frozen
class Call:
    """One call that was accepted. Times are seconds since 1970; ``queued_at`` is the text that the caller was given."""

    id: int
    envelope: str
    type: str
    state: str  # of STATES
    created: int
    changed: int
    to: str
    subject: str
    sender: str
    callback: str  # URL that its fate is posted to; empty: the one of the settings, or nowhere
    queued_at: str
    digest: bytes  # of the body
    secret: str = ""  # fingerprint of the one that the call was signed with; empty: it was not
    damaged: bool = False  # its details do not open: the texts are empty


@define
class Posted:
    """What reception writes with a message that a call asks for. ``entered`` is the record afterwards: this one, or the earlier one."""

    record: calls.Call
    entered: calls.Call | None = None

    def meets(self, entered: calls.Call | None) -> bool:
        """Note the record that is there after the transaction; whether it is another call's."""
        self.entered = entered
        return self.repeats

    @property
    def repeats(self) -> bool:
        """Whether another call entered before, so that nothing was queued for this one."""
        return self.entered is not None and self.entered.envelope != self.record.envelope


class Calls:
    """The records."""

    def __init__(self, store: Store, cipher: Cipher, reactor: Any, keep_days: int = 30) -> None:
        """``keep_days``: how long the records of calls that are over are kept, at least two."""
        self._store = store
        self._cipher = cipher
        self._kept = max(keep_days * 86400, KEPT_AT_LEAST)
        self._pruning = LoopingCall(self._prune)
        self._pruning.clock = reactor

    def start(self) -> None:
        """Forget old records once a day."""
        self._pruning.start(_DAILY).addErrback(lambda failure: log.failure("Pruning of calls ended", failure, event="calls.prune_failed"))

    def stop(self) -> None:
        """Forget no more."""
        if self._pruning.running:
            self._pruning.stop()

    def replay(self, signature: bytes, body: bytes) -> bytes:
        """What a signed call is known by: ``signature`` in octets, not hexadecimal."""
        return self._cipher.hash(b"replay", signature, body)

    def key(self, idempotency_key: str) -> bytes:
        """What a call with an idempotency key is known by."""
        return self._cipher.hash(b"idempotency", b"", idempotency_key.encode())

    def digest(self, body: bytes) -> bytes:
        """By which two bodies under one idempotency key are compared."""
        return self._cipher.hash(b"call body", b"", body)

    def fingerprint(self, secret: str) -> str:
        """What calls that were signed with one secret share."""
        return self._cipher.hash(b"webhook secret", b"", secret.encode())[:8].hex()

    def host_key(self, url: str) -> bytes:
        """What callbacks to one server share; of "" what those share that go where the settings say. Never fails."""
        try:
            origin = target(url).origin if url else ""
        except ValueError:
            origin = url
        return self._cipher.hash(b"callback host", b"", origin.encode())

    def posted(
        self,
        envelope: str,
        *,
        type: str,
        to: str,
        subject: str,
        sender: str,
        queued_at: str,
        created: int,
        digest: bytes,
        callback: str = "",
        host: bytes | None = None,
        secret: str = "",
        replay: bytes | None = None,
        idempotency: bytes | None = None,
    ) -> Posted:
        """What to hand to ``Reception.accept`` with the message ``envelope``.

        ``host`` is the ``host_key`` of ``callback`` when what becomes of the call is to be posted to it, or to the URL of the settings.
        """
        values = [to, subject, sender, callback, queued_at, digest.hex(), secret]
        details = self._cipher.seal(b"call", envelope.encode(), _json(values).encode())
        return Posted(calls.Call(0, envelope, replay, idempotency, created, type, QUEUED, created, details, host))

    def opened(self, record: calls.Call) -> Call:
        """A record with its details; of one that does not open, without: neither may it harm others, nor they hide it."""
        damaged = False
        try:
            values = json.loads(self._cipher.open(b"call", record.envelope.encode(), record.details))
            to, subject, sender, callback, queued_at, digest, secret = values
            digest = bytes.fromhex(digest)
        except (CipherError, ValueError, TypeError):
            log.error("The record of a call does not open", event="calls.damaged", call=record.id)
            to = subject = sender = callback = queued_at = secret = ""
            digest, damaged = b"", True
        return Call(
            record.id,
            record.envelope,
            record.type,
            record.state,
            record.created,
            record.changed,
            to,
            subject,
            sender,
            callback,
            queued_at,
            digest,
            secret,
            damaged,
        )

    async def find(self, replay: bytes | None, idempotency: bytes | None) -> Call | None:
        """The earlier call that one with these keys repeats. Raises Unavailable."""
        record = await self._store.read(calls.find, replay, idempotency)
        return self.opened(record) if record else None

    async def show(self, id: int) -> Call | None:
        """The call ``id``. Raises Unavailable."""
        record = await self._store.read(calls.show, id)
        return self.opened(record) if record else None

    async def of_envelopes(self, envelopes: Sequence[str]) -> list[Call]:
        """The calls that these messages were accepted for. Raises Unavailable."""
        return [self.opened(record) for record in await self._store.read(calls.of_envelopes, envelopes)]

    async def latest(self, states: Sequence[str] = (), before: int = 0, limit: int = 50) -> list[Call]:
        """The latest calls in one of ``states`` (none: any) with numbers below ``before`` (0: all). Raises Unavailable."""
        return [self.opened(record) for record in await self._store.read(calls.page, states, before, limit)]

    async def _prune(self) -> None:
        try:
            while await self._store.write(calls.prune, int(time()) - self._kept, _SLICE) == _SLICE:
                pass
        except Unavailable as error:
            log.warn("Old calls were not forgotten: {reason}", event="calls.prune_failed", reason=error.reason)

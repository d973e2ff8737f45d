"""One person's addresses taken out of what this server wrote about mail and about its administration.

Timelines, the delivery log, the audit log, calls of the webhook and alerts keep what happened: a neutral address stands where
the person's was; the suppression list loses it. What is about other people too (their own contacts, their mail) is theirs
and stays; so do signed statements about keys, which others have and check. Runs again without harm: whoever was cut short
begins anew. Failure is Unavailable.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core.content import Threads
from mailx.core.delivery_log import DeliveryLog
from mailx.core.timeline import Timeline
from mailx.store import Store, audit
from mailx.store import forgetting as records
from mailx.store import timeline as pages
from mailx.store.cipher import Cipher, CipherError

log = Logger()

JSON: TypeAlias = Any

NOBODY = "erased@erased.invalid"  # RFC 2606 2
_PAGES = 16  # of timelines opened at a time
_ROWS = 100  # of the audit log changed by one job
_RECORDS = 200  # opened at a time
_PAUSE = 0.01  # seconds between slices
_ROUNDS = 3  # through the timelines, in case pages were merged meanwhile
_DEEP = 8


@frozen
class Forgotten:
    """How much was changed: pages of timelines and of the delivery log, rows of the audit log, calls, suppressions and alerts."""

    timelines: int
    deliveries: int
    audit: int
    calls: int
    suppressions: int
    alerts: int


class Forgetting:
    """Takes addresses out. Without a ``delivery_log`` (no server runs) that one is left."""

    def __init__(
        self, store: Store, cipher: Cipher, timeline: Timeline, delivery_log: DeliveryLog | None, separator: str, reactor: Any
    ) -> None:
        """``separator`` begins a subaddress: those are the person's, too."""
        self._store = store
        self._cipher = cipher
        self._timeline = timeline
        self._delivery_log = delivery_log
        self._separator = separator
        self._reactor = reactor
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())

    async def forget(self, addresses: Sequence[str]) -> Forgotten:
        """Take every one of ``addresses`` out of all of them."""
        replace = replacing(addresses, self._separator)
        await self._timeline.flush()
        timelines = 0
        for _ in range(_ROUNDS):
            changed = await self._timelines(replace)
            timelines += changed
            if not changed:
                break
        deliveries = 0 if self._delivery_log is None else await self._delivery_log.rewrite(replace)
        rows = 0
        for address in addresses:
            target = audit.digest(self._cipher, address)
            while count := await self._store.write(audit.redact, self._cipher, target, partial(redacted, replace=replace), _ROWS):
                rows += count
        others = {kind.table: await self._records(kind, replace) for kind in records.KINDS}
        return Forgotten(timelines, deliveries, rows + others["audit"], others["calls"], others["suppressions"], others["alerts"])

    async def _records(self, kind: records.Kind, replace: Callable[[str], str]) -> int:
        """All rows of one table; how many changed."""
        changed = after = 0
        while rows := await self._store.read(records.after, kind, after, _RECORDS):
            found = await self._threads(records.without, self._cipher, kind, rows, partial(redacted, replace=replace))
            for start in range(0, len(found), _ROWS):
                changed += await self._store.write(records.rewrite, kind, found[start : start + _ROWS])
            after = rows[-1].id
            await deferLater(self._reactor, _PAUSE)
        return changed

    async def _timelines(self, replace: Callable[[str], str]) -> int:
        """One round; how many pages changed."""
        changed = after = 0
        while rows := await self._store.read(pages.after, after, _PAGES):
            for id, guid, page in await self._threads(_rewritten, self._cipher, rows, replace):
                changed += await self._store.write(pages.rewrite, id, guid, page)
            after = rows[-1][0]
            await deferLater(self._reactor, _PAUSE)
        return changed


def replacing(addresses: Sequence[str], separator: str) -> Callable[[str], str]:
    """What puts NOBODY in the place of each of ``addresses``, with a subaddress or without, wherever it stands in a text."""
    each = []
    for address in addresses:
        local, _, domain = address.rpartition("@")
        tag = rf"(?:{re.escape(separator)}[^@\s<>\"]*)?" if separator else ""
        each.append(rf"{re.escape(local)}{tag}@{re.escape(domain)}")
    pattern = re.compile(rf"(?<![\w.+-])(?:{'|'.join(each)})(?![\w-]|\.\w)", re.IGNORECASE)
    return partial(pattern.sub, NOBODY)


def redacted(value: JSON, replace: Callable[[str], str], depth: int = 0) -> JSON:
    """``value`` with ``replace`` applied to every text in it."""
    if isinstance(value, str):
        return replace(value)
    if depth >= _DEEP:
        return value
    if isinstance(value, dict):
        return {replace(str(key)): redacted(each, replace, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each, replace, depth + 1) for each in value]
    return value


def _rewritten(
    cipher: Cipher, rows: Sequence[tuple[int, bytes, bytes]], replace: Callable[[str], str]
) -> list[tuple[int, bytes, pages.Page]]:
    """Those of the pages ``rows`` (id, guid, sealed events) that change: id, old guid, what takes their place. Runs in a thread."""
    found = []
    for id, guid, events in rows:
        try:
            stories = pages.opened(cipher, guid, events)
        except (CipherError, pages.Damaged) as error:
            log.error("A page of timelines does not open: {reason}", event="timeline.damaged", page=id, reason=str(error))
            continue
        new: list[pages.Story] = []
        for name, keys, noted in stories:
            told = [(at, event, redacted(facts, replace)) for at, event, facts in noted]
            new.append((name, [kept for key in keys if (kept := replace(key)) != NOBODY], told))
        if any(before != (after[0], list(after[1]), after[2]) for before, after in zip(stories, new, strict=True)):
            found.append((id, guid, pages.sealed(cipher, 0, new)))
    return found

"""What is known of other servers, as the store keeps it: sealed, and found by the keyed hash of the domain.

What does not open any more is as good as unknown: it is logged and looked for anew. Raises Unavailable.
"""

import json
from collections.abc import Callable

from twisted.logger import Logger

from mailx.core.peer import Known, PeerSettings
from mailx.identity.encoding import Malformed
from mailx.store import Store, Txn
from mailx.store import peers as rows
from mailx.store.cipher import Cipher, CipherError
from mailx.store.peers import PeerRow, SettingsRow

log = Logger()

_PEER, _SETTINGS = b"peer", b"peer settings"
_SLICE = 500  # rows read by one job
_PRUNED = 500


class PeerBook:
    """Reads and writes. ``now`` gives seconds since 1970."""

    def __init__(self, store: Store, cipher: Cipher, now: Callable[[], float]) -> None:
        self._store = store
        self._cipher = cipher
        self._now = now

    def hash(self, domain: str) -> bytes:
        """What its rows are found by."""
        return self._cipher.hash(_PEER, b"", domain.encode())

    async def get(self, domain: str) -> Known | None:
        """What is kept of the domain."""
        return await self._store.read(_get, self._cipher, self.hash(domain))

    async def put(self, known: Known) -> int | None:
        """Keep it; until when it is pinned, or None if what is kept is newer."""
        return await self._store.write(rows.put, self._sealed(known), int(self._now()))

    async def pin(self, domain: str, until: int) -> bool:
        """Pin the domain until then; False if it is not known."""
        return await self._store.write(rows.pin, self.hash(domain), until, int(self._now()))

    async def forget(self, domain: str) -> bool:
        """Remove what was learnt; whether there was something."""
        return await self._store.write(rows.forget, self.hash(domain))

    async def all(self) -> list[Known]:
        """Everything with a MailX server, without the histories of keys."""
        found: list[Known] = []
        after = b""
        while True:
            part, after = await self._store.read(_slice, self._cipher, after)
            found += part
            if not after:
                return found

    async def changed(self, since: int) -> list[Known]:
        """What was written at ``since`` or later, at most a slice of it."""
        return await self._store.read(_changed, self._cipher, since)

    async def prune(self, unseen: int, most: int) -> None:
        """Remove what says nothing any more; ``unseen``: when keys must have been seen to be kept; ``most``: unpinned servers that are."""
        now = int(self._now())
        unseen = max(unseen, await self._store.read(rows.surplus, now, most))
        while await self._store.write(rows.prune, now, unseen, _PRUNED) == _PRUNED:
            pass

    async def settings(self) -> dict[str, PeerSettings]:
        """What administrators set, by domain."""
        return dict(await self._store.read(_settings, self._cipher))

    async def put_settings(self, domain: str, settings: PeerSettings) -> None:
        """Set it; what sets nothing is removed."""
        hash = self.hash(domain)
        if settings == PeerSettings():
            await self._store.write(rows.drop_settings, hash)
            return
        sealed = self._cipher.seal(_SETTINGS, hash, json.dumps({"domain": domain, **settings.encode()}).encode())
        await self._store.write(rows.put_settings, SettingsRow(hash, sealed), int(self._now()))

    def _sealed(self, known: Known) -> PeerRow:
        hash = self.hash(known.domain)
        sealed = self._cipher.seal_bulk(_PEER, hash, json.dumps(known.encode()).encode())
        return PeerRow(hash, sealed, known.mailx, known.serial, known.verified, known.expires, known.pinned_until)


def _get(txn: Txn, cipher: Cipher, hash: bytes) -> Known | None:
    row = rows.get(txn, hash)
    return None if row is None else _opened(cipher, row)


def _slice(txn: Txn, cipher: Cipher, after: bytes) -> tuple[list[Known], bytes]:
    """Some domains, and behind which hash to go on; empty at the end."""
    found = rows.mailx(txn, after, _SLICE)
    opened = [known for row in found if (known := _opened(cipher, row, histories=False)) is not None]
    return opened, found[-1].hash if len(found) == _SLICE else b""


def _changed(txn: Txn, cipher: Cipher, since: int) -> list[Known]:
    return [known for row in rows.changed(txn, since, _SLICE) if (known := _opened(cipher, row)) is not None]


def _settings(txn: Txn, cipher: Cipher) -> list[tuple[str, PeerSettings]]:
    found = []
    for row in rows.settings(txn):
        try:
            value = json.loads(cipher.open(_SETTINGS, row.hash, row.sealed))
            found.append((str(value["domain"]), PeerSettings.decode(value)))
        except (CipherError, ValueError, KeyError, TypeError):
            log.error("What was set for a peer cannot be read", event="peer.damaged")
    return found


def _opened(cipher: Cipher, row: PeerRow, histories: bool = True) -> Known | None:
    """``histories``: with the statements of its keys, each of which is verified again."""
    try:
        value = json.loads(cipher.open_bulk(_PEER, row.hash, row.sealed))
        if not histories:
            value["history"] = []
        return Known.decode(value, mailx=row.mailx, verified=row.verified, expires=row.expires, pinned_until=row.pinned_until)
    except (CipherError, Malformed, ValueError):
        log.error("What was known of a peer cannot be read", event="peer.damaged")
        return None

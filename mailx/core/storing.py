"""Storing: messages made ready are committed, and the files of what was not accepted are removed.

A file is removed only when it is certain that no message names it; one that stays is found by the sweep. Failure of a
commit comes through as the store raised it.
"""

from collections.abc import Sequence
from contextlib import suppress

from twisted.logger import Logger

from mailx.core.content import Threads
from mailx.core.sealing import Sealed
from mailx.mail.message import Spooled
from mailx.mail.reply import Unavailable
from mailx.store import Store
from mailx.store.delivery import Consignment, Delivery, Outcomes, Target, deliver
from mailx.store.sweep import abandoned

log = Logger()


class Storing:
    """Commits consignments."""

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store
        self._threads = threads

    async def commit(self, consignment: Consignment, sealed: Sequence[Sealed]) -> list[Outcomes]:
        """Commit the consignment; if that fails, remove the files of which it is certain that nothing names them."""
        try:
            return await self._store.write(deliver, consignment)
        except Exception:
            for file in [each.file for each in sealed if each.file is not None]:
                with suppress(Unavailable):
                    if await self._store.read(abandoned, file.name):
                        await self.discard(file)
            raise

    async def discard(self, *kept: bytes | Spooled | None) -> None:
        """Remove the files of what is not accepted; one that is gone already is no error."""
        for file in kept:
            if file is not None and not isinstance(file, bytes):
                try:
                    await self._threads(file.discard)
                except OSError:
                    log.failure("A file was not removed", event="reception.file_not_removed")


def prepared(sealed: Sealed, targets: tuple[Target, ...], now: int, received: int | None = None, waiting: bool = False) -> Delivery:
    """``sealed`` as a delivery; ``received`` is its internal date, else it is ``now``."""
    return Delivery(
        sealed.guid,
        sealed.size,
        sealed.summary,
        sealed.content,
        None if sealed.file is None else sealed.file.name,
        now if received is None else received,
        now,
        targets,
        waiting=waiting,
        vault=sealed.vault,
    )

"""Domain keys out into a file under a passphrase, and back. The file's form is :mod:`mailx.identity.key_backup`.

What is refused rises as ``DirectoryError``. Argon2id takes half a second and 256 MiB, so one file is made or opened at a time,
in a thread.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.domain_keys import DomainKeys
from mailx.core.users import DirectoryError, domain_name
from mailx.identity import key_backup
from mailx.identity.encoding import Malformed
from mailx.identity.key_backup import SavedKeys

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

_WAITING = 4  # who may wait for the thread


class KeyBackup:
    """Backup and restore of the keys in ``domain_keys``."""

    def __init__(self, domain_keys: DomainKeys, reactor: Any, now: Callable[[], float] = time) -> None:
        self._domain_keys = domain_keys
        self._reactor = reactor
        self._now = now
        self._alone = DeferredSemaphore(1)

    async def backup(self, passphrase: str, domains: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
        """The text of a file with the keys of ``domains``, or of all, and their names. Nothing is changed."""
        names = tuple(sorted(set(map(domain_name, domains)) or self._domain_keys.domains()))
        if not names:
            raise DirectoryError("not_found", "there are no keys to back up", "Add a domain with `mailxctl domain add`.")
        saved = []
        for name in names:
            seeds, keys = self._domain_keys.seeds(name), self._domain_keys.keys(name)
            saved.append(SavedKeys(name, keys.history, seeds, keys.log_secret))
        audit.note(after={"domains": list(names)})
        data = await self._threaded("Choose a longer passphrase, or fewer domains.", key_backup.seal, saved, passphrase, int(self._now()))
        log.info("Domain keys backed up", event="keys.backed_up", domains=list(names))
        return data.decode("ascii"), names

    async def restore(self, data: str, passphrase: str, force: bool = False) -> dict[str, str]:
        """Take the keys of a file; what became of each domain: "new", "same", "older", or why it was left alone."""
        try:
            octets = data.encode("ascii")
        except UnicodeEncodeError:
            raise DirectoryError("invalid", "this is no backup of keys", "Give the file that `mailxctl key backup` wrote.") from None
        saved = await self._threaded("Give the file as it was written, and its passphrase.", key_backup.open_file, octets, passphrase)
        became = {}
        for each in saved:
            with audit.step("keys.restore", each.domain):
                try:
                    became[each.domain] = await self._domain_keys.bring(each.domain, each.history, each.seeds, each.log_secret, force)
                except DirectoryError as error:
                    became[each.domain] = f"{error.text}. {error.remedy}"
        if "new" not in became.values():
            audit.unchanged()
        return became

    async def _threaded(self, remedy: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if len(self._alone.waiting) >= _WAITING:
            raise DirectoryError("limit", "too many backups at a time", "Try again in a moment.")
        await self._alone.acquire()
        try:
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *args, **kwargs)
        except Malformed as error:
            raise DirectoryError("invalid", str(error), remedy) from None
        finally:
            self._alone.release()

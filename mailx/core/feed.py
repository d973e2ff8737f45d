"""One mailbox and the sessions that have it selected: what they share, and how they keep up with it.

Changes are passed on in the order of mod-sequences. When one is missing, carries no details (another node made
it) or shows a flag without a name, everything since the last known mod-sequence is read from the store, and what
comes meanwhile waits. If the store cannot answer, it is asked again; sessions are late then, never wrong.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.core.changes import Changes
from mailx.core.keywords import Keywords
from mailx.core.selected import Selected
from mailx.mail.mailbox import Change
from mailx.store.entries import Since

log = Logger()

_RETRY = 1.0  # seconds after which a failed reading is tried again

Read = Callable[[int, int], "Deferred[tuple[Since | None, dict[int, str], int]]"]


class Feed:
    """The live state of one mailbox, while sessions have it selected."""

    def __init__(
        self,
        mailbox_id: int,
        modseq: int,
        keywords: Keywords,
        changes: Changes,
        reactor: Any,
        read: Read,
        left: Callable[["Feed", Selected], None],
    ) -> None:
        """``read(mailbox, modseq)`` reads what came after ``modseq``, the keywords, and the number of the read.

        ``left(feed, session)`` is called when the last session has gone.
        """
        self.mailbox_id = mailbox_id
        self.keywords = keywords
        self.sessions: list[Selected] = []
        self.claimed = 0  # up to this UID messages are \\Recent in the session that claimed them, and in no other
        self._modseq = modseq  # all changes up to here were passed on
        self._since = modseq  # what came after this the last reading of the store has
        self._reactor = reactor
        self._read = read
        self._left = left
        self._waiting: list[Change] | None = None  # while the store is being read: what came meanwhile
        self._settling: list[Deferred[None]] = []
        self._retry: Any = None
        self._closed = False
        self._unfollow = changes.follow(mailbox_id, self.hear)

    def join(self, session: Selected, first_recent: int, missed: list[Change]) -> None:
        """Bring ``session`` up to date with ``missed``, what was heard since its snapshot was read, and keep it so."""
        self.sessions.append(session)
        if session.heard < self._modseq:
            self._replay(session, missed)
        first_recent = max(first_recent, self.claimed + 1)
        if session.uidnext > first_recent:
            session.recent.update(session.uids_of_uids([(first_recent, session.uidnext)]))
        if not session.read_only:
            self.claimed = max(self.claimed, session.uidnext - 1)
        for change in missed:
            self.hear(change)

    def leave(self, session: Selected) -> None:
        if session in self.sessions:
            self.sessions.remove(session)
            if not self.sessions:
                self._left(self, session)

    def close(self) -> None:
        self._closed = True
        self._unfollow()
        if self._retry is not None:
            self._retry.cancel()

    async def settle(self) -> None:
        """Wait until every change heard so far was passed on, or the store has failed to answer."""
        if self._waiting is not None and self._retry is None:
            settled: Deferred[None] = Deferred()
            self._settling.append(settled)
            await settled

    def hear(self, change: Change) -> None:
        """A change of this mailbox, as the store told it; or, with mailbox 0, that some may have been missed."""
        if change.gone:
            for session in tuple(self.sessions):
                session.bury()
        elif self._waiting is not None:
            self._waiting.append(change)
        elif not change.mailbox:
            self._behind([])
        elif change.modseq <= self._modseq:
            return
        elif change.partial or change.modseq != self._modseq + 1 or not self._named(change):
            self._behind([change])
        else:
            self._pass_on(change)

    def _named(self, change: Change) -> bool:
        seen = 0
        for _, flags, _ in change.added:
            seen |= flags
        for flags in set(change.flags):
            seen |= flags
        return self.keywords.known(seen)

    def _pass_on(self, change: Change) -> None:
        self._modseq = change.modseq
        for session in tuple(self.sessions):
            session.hear(change)

    def claim(self, uids: Sequence[int]) -> list[int]:
        """Those of ``uids``, rising, that no session was told before: \\Recent in the one that is told now (RFC 3501 2.3.2)."""
        fresh = [uid for uid in uids if uid > self.claimed]
        self.claimed = max(self.claimed, uids[-1])
        return fresh

    def _replay(self, session: Selected, missed: list[Change]) -> None:
        """Pass on to one session what the others have already heard."""
        for change in sorted(missed, key=lambda change: change.modseq):
            if session.heard < change.modseq <= self._modseq:
                if change.partial or change.modseq != session.heard + 1:
                    break
                session.hear(change)
        if session.heard < self._modseq:
            self._behind([])

    def _behind(self, waiting: list[Change]) -> None:
        if self._waiting is None:
            self._waiting = waiting
            self._catch_up()

    def _catch_up(self) -> None:
        self._retry = None
        self._since = min([self._modseq, *[session.heard for session in self.sessions]])
        self._read(self.mailbox_id, self._since).addCallbacks(self._caught_up, self._failed)

    def _caught_up(self, answer: tuple[Since | None, dict[int, str], int]) -> None:
        if self._closed:
            self._settled()
            return
        since, names, read = answer
        waiting, self._waiting = self._waiting or [], None
        if since is None:
            for session in tuple(self.sessions):
                session.bury()
            self._settled()
            return
        self.keywords.put(read, names)
        self._modseq = max(self._modseq, since.modseq)
        late = False
        for session in tuple(self.sessions):
            if session.heard < self._since:  # it joined while the store was read
                late = True
            elif session.heard < since.modseq:  # or its snapshot is newer: what came with that is not among what was there
                session.catch_up(since.modseq, since.changed, since.removed_of(session.known_uids()))
        if late:
            self._behind([])
        for change in sorted(waiting, key=lambda change: change.modseq):
            self.hear(change)
        if self._waiting is None:
            self._settled()

    def _settled(self) -> None:
        settling, self._settling = self._settling, []
        for settled in settling:
            settled.callback(None)

    def _failed(self, failure: Any) -> None:
        log.warn(
            "A mailbox could not be read, its sessions are late: {reason}",
            event="mailbox.behind", mailbox=self.mailbox_id, reason=str(getattr(failure.value, "reason", failure.type.__name__)),
        )  # fmt: skip
        if not self._closed:
            self._retry = self._reactor.callLater(_RETRY, self._catch_up)
        self._settled()

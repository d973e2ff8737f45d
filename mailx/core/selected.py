"""One session's view of one mailbox: a snapshot, and what has changed since the session was last told.

The sequence numbers of a session change only when it is told (RFC 9051 7.5.1), so new and removed messages wait
until :meth:`Selected.updates`; flags that another session set are in ``flags`` at once.
"""

from array import array
from collections.abc import Callable, Sequence

from attrs import frozen

from mailx.mail.mailbox import Mailbox


@frozen
class Updates:
    """What a session has to tell its client. Apply in this order: ``expunged``, ``exists``, ``recent``, ``flagged``."""

    expunged: list[int]  # sequence numbers in the order to send them
    exists: int | None  # the new number of messages, None: not changed by arrivals
    recent: int  # messages that are \\Recent in this session
    flagged: list[int]  # indexes, after the expunges, of messages whose flags others changed
    vanished: list[int]  # uids of ``expunged``, rising
    gone: bool = False  # the mailbox itself was deleted: nothing more will come


class Selected:
    """A mailbox as one session knows it. Index ``i`` of the parallel columns is sequence number ``i + 1``."""

    mailbox: Mailbox
    read_only: bool
    uids: "array[int]"
    flags: "array[int]"
    modseqs: "array[int]"
    sizes: "array[int]"
    uidnext: int
    modseq: int
    recent: set[int]
    on_change: Callable[[], None] | None

    def names(self, flags: int) -> tuple[str, ...]:
        """The names of the bits in ``flags``: system flags, then keywords; never \\\\Recent."""
        raise NotImplementedError

    def keyword_names(self) -> list[str]:
        """Every keyword of the account, for FLAGS and PERMANENTFLAGS."""
        raise NotImplementedError

    def index(self, uid: int) -> int | None:
        """The index of ``uid``, None if the session does not know it."""
        raise NotImplementedError

    def uids_of_uids(self, ranges: Sequence[tuple[int | None, int | None]]) -> list[int]:
        """The known UIDs in ``ranges`` of UIDs (inclusive, None is ``*``), rising, each once."""
        raise NotImplementedError

    def uids_of_sequence(self, ranges: Sequence[tuple[int | None, int | None]]) -> list[int] | None:
        """The UIDs of ``ranges`` of sequence numbers, rising, each once; None if a number is out of range."""
        raise NotImplementedError

    def updates(self, expunge: bool) -> Updates:
        """Take what is pending; without ``expunge`` the removed messages keep their places and wait."""
        raise NotImplementedError

    def close(self) -> None:
        """Follow the mailbox no more."""
        raise NotImplementedError

"""A client that waits for a long command hears that it is being worked on (INPROGRESS, RFC 9585)."""

from collections.abc import Awaitable
from typing import Any, TypeVar

from mailx.core.reading_session import OVER
from mailx.imap import text
from mailx.imap.session import Session

T = TypeVar("T")

FIRST_SECONDS = 5  # until the first word
SECONDS = 10  # between two


async def reporting(session: Session, tag: bytes, work: Awaitable[T]) -> T:
    """``work``, and a word every few seconds until it is done; how far it is says ``session.progress``."""
    session.progress = None
    report = _Report(session, tag)
    try:
        return await work
    finally:
        report.stop()


class _Report:
    def __init__(self, session: Session, tag: bytes) -> None:
        self._session = session
        self._tag = tag
        self._later = session.services.reactor.callLater
        self._call: Any = self._later(FIRST_SECONDS, self._tell)

    def stop(self) -> None:
        self._call.cancel()

    def _tell(self) -> None:
        self._call = self._later(SECONDS, self._tell)
        session = self._session
        if session.state == OVER or session.inside_response:
            return
        # A goal of nothing cannot be told (RFC 9585 5)
        far = b"%d %d" % session.progress if session.progress is not None and session.progress[1] else b"NIL NIL"
        session.peer.write(b"* OK [INPROGRESS (%b %b)] Still working\r\n" % (text.string(self._tag), far))
        session.peer.flush()

"""How many messages one command works on (MESSAGELIMIT, RFC 9738): the highest UIDs first, and it says where it stopped.

SORT, THREAD and ESEARCH have no limit here, EXPUNGE, CLOSE and STATUS must not have one (RFC 9738 3.1, 3.3).
"""

from mailx.core.search import And, Query, Sequence, Uid
from mailx.core.selected import Selected
from mailx.imap.answers import No, tagged
from mailx.imap.session import Session
from mailx.imap.sets import indexes
from mailx.imap.tokens import NUMBER_LIMIT, SAVED
from mailx.mail.mailbox import Flag

_DELETED = int(Flag.DELETED)


def limited(session: Session, uids: list[int], done: bytes) -> tuple[list[int], bytes | None]:
    """What of ``uids`` one command works on, and then the text of its OK."""
    limit = session.services.settings.message_limit
    if not limit or len(uids) <= limit:
        return uids, None
    return uids[-limit:], b"[MESSAGELIMIT %d %d] %b completed in part" % (limit, uids[-limit], done)


def all_or_nothing(session: Session, uids: list[int], done: bytes) -> None:
    """Raises No for more than one command works on."""
    limit = session.services.settings.message_limit
    if limit and len(uids) > limit:
        raise No(b"Too many messages for one " + done, b"MESSAGELIMIT %d %d" % (limit, uids[-limit]))


def refuse_more(session: Session, count: int, done: bytes) -> None:
    """Raises No for more messages than one command works on, where no UID says how far it would come."""
    limit = session.services.settings.message_limit
    if limit and count > limit:
        raise No(b"Too many messages for one " + done, b"MESSAGELIMIT %d" % limit)


def deleted(session: Session, uids: list[int]) -> list[int]:
    """Those of ``uids`` that UID EXPUNGE would remove, which alone count, so that the same command goes on where it stopped."""
    limit = session.services.settings.message_limit
    if not limit or len(uids) <= limit:
        return uids
    view = session.view()
    return [view.uids[index] for index in indexes(view, uids) if view.flags[index] & _DELETED]


def searched(session: Session, query: Query) -> tuple[Query, bytes | None]:
    """``query`` among the messages that one SEARCH looks through, and then the text of its OK; those found do not count."""
    limit = session.services.settings.message_limit
    view = session.view()
    if not limit or len(view.uids) <= limit:
        return query, None
    uids, answer = limited(session, _named(session, view, query), b"SEARCH")
    return (query, None) if answer is None else (And((Uid(((uids[0], NUMBER_LIMIT),)), query)), answer)


def _named(session: Session, view: Selected, query: Query) -> list[int]:
    """The messages that the numbers in ``query``, which all must match, leave to look through."""
    left: set[int] | None = None
    for key in query.children if isinstance(query, And) else (query,):
        uids: list[int] | None = None
        if isinstance(key, Uid | Sequence) and key.ranges == SAVED:
            uids = list(session.saved)
        elif isinstance(key, Uid):
            uids = view.uids_of_uids(key.ranges)
        elif isinstance(key, Sequence):
            uids = view.uids_of_sequence(key.ranges)
        if uids is not None:
            left = set(uids) if left is None else left.intersection(uids)
    return view.uids.tolist() if left is None else sorted(left)


def with_code(session: Session, answer: bytes, told: bytes | None) -> bytes:
    """The text of the tagged OK, of two: a code of another extension goes there, then that of the limit is untagged (RFC 9738 3.1)."""
    if told is None or not told.startswith(b"["):
        return answer
    session.peer.write(tagged(b"*", b"NO", answer))
    return told

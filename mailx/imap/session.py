"""One client's session: who it is, what it selected, what it may do, and what it still has to be told.

The protocol moves bytes and the commands do the work; both meet here. Nothing in this module waits.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen
from twisted.logger import Logger

from mailx.config import IMAP, Server
from mailx.core import reading_session
from mailx.core.access import Access
from mailx.core.accounts import User
from mailx.core.input import Hangup
from mailx.core.mailboxes import Mailboxes
from mailx.core.quotas import Quotas
from mailx.core.reading_session import OVER, ReadingSession
from mailx.core.reception import Reception
from mailx.core.selected import Selected
from mailx.core.tracing import Tracing
from mailx.imap import capabilities, text
from mailx.imap.answers import Bad
from mailx.imap.arrival import BEFORE_LOGIN, Farewell, Limits, after_login
from mailx.imap.tokens import SAVED, Ranges
from mailx.mail.envelope import Origin
from mailx.mail.mailbox import KEYWORDS_LIMIT, Mailbox

if TYPE_CHECKING:
    from mailx.imap.commands import Listing
    from mailx.imap.contexts import Context
    from mailx.imap.notify import Notify

log = Logger(namespace="mailx.imap")

BEFORE = "unauth"  # the states have the names twisted.mail.imap4 gives them
AUTHENTICATED = "auth"
SELECTED = "select"


class Peer(reading_session.Peer, Protocol):
    """The client as IMAP commands see it."""

    def flush(self) -> None:
        """Send what was written."""

    async def room(self) -> None:
        """Wait while the client leaves lying what it was sent; raises Hangup."""

    def interruptible(self, yes: bool) -> None:
        """Whether the server may end the session now without cutting a command short; raises Farewell if it wants to."""

    def end(self, line: bytes) -> None:
        """Say ``line`` and close the connection."""

    def abort(self) -> None:
        """Give the connection up without another word."""

    @property
    def compressed(self) -> bool:
        """Whether both directions are DEFLATE."""

    def start_compression(self) -> None:
        """Compress everything that follows what was written, and take what arrives as compressed."""


class Sessions:
    """How many sessions each account has on this server."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counts: dict[int, int] = {}

    def enter(self, account: int) -> bool:
        """Take a place for a session of ``account``; False if there is none."""
        count = self._counts.get(account, 0)
        if count >= self.limit:
            return False
        self._counts[account] = count + 1
        return True

    def leave(self, account: int) -> None:
        count = self._counts[account] - 1
        if count:
            self._counts[account] = count
        else:
            del self._counts[account]


@frozen
class Services:
    """What every session of a server shares."""

    settings: IMAP
    server: Server
    mailboxes: Mailboxes
    reception: Reception
    access: Access
    reactor: Any
    sessions: Sessions
    tracing: bool | Tracing = False  # log every command
    quotas: Quotas | None = None  # by which administrators set quotas


class Session(ReadingSession):
    """The state of one connection."""

    services: Services
    peer: Peer

    def __init__(self, services: Services, peer: Peer, origin: Origin) -> None:
        super().__init__(services, peer, origin, BEFORE)
        self.selected: Selected | None = None
        self.saved: Sequence[int] = ()  # the UIDs that ``$`` stands for, rising (RFC 5182); some may be expunged by now
        self.enabled: set[bytes] = set()  # what the client has enabled (RFC 5161), CONDSTORE also by using it (RFC 7162 3.1)
        self.contexts: dict[bytes, Context] = {}  # searches that are kept live, by tag (RFC 5267)
        self.notify: Notify | None = None  # what the client asked to be told of (RFC 5465)
        self.progress: tuple[int, int] | None = None  # how far the command is, and how far it goes, where that is known (RFC 9585)
        self.listed: tuple[Listing, bool, Sequence[Mailbox], bytes] | None = None  # the last short LIST, and in UTF-8 or not
        self.told_status: tuple[Mailbox, Sequence[bytes], bool, bytes] | None = None  # the last STATUS
        self.limits: Limits = BEFORE_LOGIN
        self._keywords: list[str] = []
        self.flag_texts = text.FlagTexts(lambda flags: ())
        self.recent_texts = self.flag_texts

    def capabilities(self) -> list[bytes]:
        """What CAPABILITY answers in the present state (RFC 9051 6.1.1)."""
        words = list(capabilities.ALWAYS)
        if self.state != BEFORE:
            words.extend(capabilities.AFTER_LOGIN)
            words.append(b"APPENDLIMIT=%d" % self.services.settings.append_size)
            if not self.peer.compressed:
                words.append(b"COMPRESS=DEFLATE")
            if self.services.settings.jmap_url:
                words.append(b"JMAPACCESS")
            if self.services.settings.message_limit:
                words.append(b"MESSAGELIMIT=%d" % self.services.settings.message_limit)
            return words
        if self.peer.can_start_tls:
            words.append(b"STARTTLS")
        words.extend(b"AUTH=" + name.encode("ascii") for name in self.mechanisms())
        if not self.may_log_in:
            words.append(b"LOGINDISABLED")
        return words

    @property
    def condstore(self) -> bool:
        """Whether the client knows mod-sequences (RFC 7162 3.1)."""
        return b"CONDSTORE" in self.enabled

    @property
    def qresync(self) -> bool:
        """Whether removed messages are told by UID (RFC 7162 3.2.3)."""
        return b"QRESYNC" in self.enabled

    @property
    def uidonly(self) -> bool:
        """Whether there are no sequence numbers (RFC 9586)."""
        return b"UIDONLY" in self.enabled

    @property
    def rev2(self) -> bool:
        """Whether the client has left IMAP4rev1 behind (RFC 9051 6.3.1)."""
        return b"IMAP4REV2" in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether mailbox names are UTF-8 (RFC 9051 5.1, RFC 6855 3)."""
        return b"UTF8=ACCEPT" in self.enabled or b"IMAP4REV2" in self.enabled

    @property
    def seven_bit(self) -> bool:
        """Whether header fields in UTF-8 must be shown in seven bits (RFC 6855 7, RFC 6858)."""
        return b"UTF8=ACCEPT" not in self.enabled

    def name(self, mailbox: str) -> bytes:
        """The name of a mailbox as this client is told it."""
        return text.mailbox(mailbox, self.utf8)

    def mailbox_id(self, mailbox: Mailbox) -> bytes:
        """MAILBOXID of a mailbox (RFC 8474 4.1)."""
        return self.services.mailboxes.object_ids.mailbox_id(mailbox.account, mailbox.id).encode("ascii")

    def owner(self) -> User:
        """The account, of a session that has one; raises Hangup when the connection was lost meanwhile."""
        if self.user is None:
            raise Hangup
        return self.user

    def view(self) -> Selected:
        """The selected mailbox, of a session that has one; raises Hangup when the connection was lost meanwhile."""
        selected = self.selected
        if selected is None:
            raise Hangup
        if selected.barred:
            if self.inside_response:
                self.peer.abort()
                raise Hangup
            raise Farewell(self.lost)
        return selected

    @property
    def lost(self) -> bytes:
        """Why the selected mailbox is gone for this session."""
        barred = self.selected is not None and self.selected.barred
        return b"You may not read the selected mailbox any more" if barred else b"The selected mailbox was deleted"

    def uids(self, ranges: Ranges, by_uid: bool) -> list[int]:
        """The UIDs that ``ranges`` choose, rising: unknown UIDs choose nothing, unknown sequence numbers raise Bad."""
        view = self.view()
        if ranges == SAVED:
            return [uid for uid, _ in view.indexes(self.saved)]
        if by_uid:
            return view.uids_of_uids(ranges)
        if not view.uids and all(low is None or high is None for low, high in ranges):
            return []  # 1:* of an empty mailbox: what clients send before they look
        uids = view.uids_of_sequence(ranges)
        if uids is None:
            raise Bad(b"Invalid message sequence number")
        return uids

    def enter(self, user: User) -> bool:
        """Log ``user`` in; False if the account has too many sessions. Raises Hangup when the connection was lost meanwhile."""
        if self.state == OVER:
            raise Hangup
        if not self.services.sessions.enter(user.id):
            return False
        self.services.access.hold(user)
        self.user = user
        self.state = AUTHENTICATED
        self.origin = evolve(self.origin, account=user.id)
        self.limits = after_login(self.services.settings.append_size)
        return True

    def select(self, selected: Selected) -> None:
        """Make ``selected`` the session's mailbox; the one before was closed. Raises Hangup when the connection was lost meanwhile."""
        if self.state == OVER:
            selected.close()
            raise Hangup
        self.selected = selected
        self.saved = ()
        self.contexts.clear()
        self.state = SELECTED
        self._keywords = selected.keyword_names()
        spell = selected.keywords.spell  # not the view's own method: with that its columns would stay as long as this session
        self.flag_texts = text.FlagTexts(spell)
        self.recent_texts = text.FlagTexts(spell, recent=not self.rev2)  # RFC 9051 2.3.2: \Recent is no more

    def learn_modseqs(self) -> None:
        """The client knows mod-sequences from now on; with a mailbox selected it hears where that stands (RFC 7162 3.1)."""
        if not self.condstore:
            self.enabled.add(b"CONDSTORE")
            if self.selected is not None:
                self.peer.write(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % self.selected.modseq)

    def unselect(self) -> None:
        """Leave the selected mailbox, if any, without expunging."""
        selected, self.selected = self.selected, None
        self.saved = ()
        self.contexts.clear()
        if selected is not None:
            selected.on_change = None
            selected.close()
            self.state = AUTHENTICATED

    def leave(self) -> None:
        """End the session; may be called again."""
        self.unselect()
        if self.notify is not None:
            self.notify.stop()
        self.state = OVER
        user, self.user = self.user, None
        if user is not None:
            self.services.sessions.leave(user.id)
            self.services.access.release(user)

    def flag_lines(self) -> bytes:
        """FLAGS and PERMANENTFLAGS of the selected mailbox (RFC 9051 7.3.5)."""
        view = self.view()
        flags = rb"\Answered \Flagged \Deleted \Seen \Draft"
        if self._keywords:
            flags += b" " + text.names(self._keywords)
        lasting = b"" if view.read_only else flags + (rb" \*" if len(self._keywords) < KEYWORDS_LIMIT else b"")
        if view.viewer != view.mailbox.account and not view.read_only:
            lasting = _lasting(view.rights, lasting)
        return b"* FLAGS (%b)\r\n* OK [PERMANENTFLAGS (%b)] Flags that last\r\n" % (flags, lasting)

    def new_keywords(self) -> bytes:
        """FLAGS again if the account has keywords that this client was not told of."""
        names = self.view().keyword_names()
        if names == self._keywords:
            return b""
        self._keywords = names
        self.flag_texts.clear()  # a bit may have got another name
        self.recent_texts.clear()
        return self.flag_lines()


def _lasting(rights: frozenset[str], flags: bytes) -> bytes:
    """Those of ``flags`` that a guest with these rights may change (RFC 4314 5.2)."""
    needed = {rb"\Seen": "s", rb"\Deleted": "t"}
    return b" ".join([flag for flag in flags.split() if needed.get(flag, "w") in rights])

"""The summary of a message: what clients ask for without its content, computed once when it arrives.

``summarise`` parses a message and packs everything that FETCH, SEARCH, SORT and THREAD read most; ``Summary`` reads
the packed form, each property one slice of it. The form is kept in the store: FORMAT is raised when it changes.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from struct import Struct

from mailx.mail import addresses, dates, header, mime, structure, text, threads
from mailx.mail.addresses import Entry
from mailx.mail.charset import fold
from mailx.mail.header import unfold
from mailx.mail.mime import Part
from mailx.mail.sections import PartOffsets, Sections, pack

FORMAT = 1

# Fields kept as they stand, for HEADER.FIELDS. The order numbers them in stored summaries: only ever append.
_FIELD_NAMES = (
    b"from to cc bcc subject date message-id in-reply-to references reply-to sender newsgroups content-type content-disposition "
    b"priority x-priority importance list-id list-unsubscribe list-post precedence auto-submitted return-path delivered-to x-spam-flag "
    b"disposition-notification-to mime-version x-mailer user-agent"
).split()
SUMMARY_FIELDS = frozenset(_FIELD_NAMES)
_FIELD_NUMBERS = {name: number for number, name in enumerate(_FIELD_NAMES)}
_FIELDS_SIZE_LIMIT = 65536  # octets of kept fields; a message with more is read itself

# Head of a summary: format, flags, attachments, lines, header length, date, zone; then the borders of the slices.
_HEAD = Struct("<BBHIIqi")
# The slices, in their order.
_ENVELOPE, _BODYSTRUCTURE, _BODY, _FIELDS, _NUMBERS, _ENDS, _PARTS, _PART_NAMES = range(8)
_MESSAGE_ID, _IN_REPLY_TO, _REFERENCES, _SUBJECT, _FROM, _TO, _CC, _BCC = range(8, 16)
_BASE_SUBJECT, _SORT_FROM, _SORT_TO, _SORT_CC, _DISPLAY_FROM, _DISPLAY_TO, _PREVIEW = range(16, 23)
_BORDERS = Struct("<24I")
_PAIR = Struct("<II")
_END = Struct("<I")
_FIELDS_BORDERS = Struct("<4I")
_BORDERS_AT = _HEAD.size
_FIELDS_AT = _BORDERS_AT + 4 * _FIELDS
_START = _BORDERS_AT + _BORDERS.size
_FIELDS_COMPLETE, _HAS_DATE = 1, 2
_USUAL = 64  # kept fields of a header whose order is worth remembering
_SIGNATURES = (b"pgp-signature", b"pkcs7-signature", b"x-pkcs7-signature", b"pgp-encrypted")


def summarise(content: bytes) -> bytes:
    """The packed summary of the message ``content``. Never raises."""
    root = mime.parse(content)
    try:
        extended, plain = structure.structures(root)
    except structure.TooLarge:
        root = mime.parse(content, opaque=True)
        extended, plain = structure.structures(root)
    named = root.named
    get = named.get
    senders, receivers, copied = [addresses.parse(named[name]) if name in named else [] for name in (b"from", b"to", b"cc")]
    date = dates.parse(unfold(get(b"date", b"")))
    fields, numbers, ends, complete = _kept(root)
    table, names = pack(root)
    subject = _folded(get(b"subject", b""))
    slices = (
        structure.envelope(named, senders, receivers, copied),
        extended,
        plain,
        fields,
        numbers,
        ends,
        table,
        names,
        threads.message_id(get(b"message-id", b"")),
        *[b"\n".join(threads.message_ids(named[name])) if name in named else b"" for name in (b"in-reply-to", b"references")],
        subject,
        *[_correspondents(named[name]) if name in named else b"" for name in (b"from", b"to", b"cc", b"bcc")],
        _encoded(threads.base_subject(subject.decode("utf-8"))),
        *[_mailbox(entries) for entries in (senders, receivers, copied)],
        *[_display(entries) for entries in (senders, receivers)],
        _encoded(text.preview(content, root)),
    )
    flags = _FIELDS_COMPLETE * complete + _HAS_DATE * (date is not None)
    head = _HEAD.pack(FORMAT, flags, min(_attachments(root), 65535), root.lines, root.body_start, *(date or (0, 0)))
    return b"".join((head, _BORDERS.pack(*accumulate(map(len, slices), initial=0)), *slices))


def _kept(root: Part) -> tuple[bytes, bytes, bytes, bool]:
    """The kept fields of the message's header, their numbers, where each ends, and whether none is missing."""
    number_of = _FIELD_NUMBERS.get
    kept = [(number, raw) for raw, name, _ in root.fields if (number := number_of(name.lower())) is not None]
    lines = [raw for _, raw in kept]
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] = lines[-1].rstrip(b"\r") + b"\r\n"
    complete = root.body_start - root.header_start <= header.BLOCK_LIMIT and len(root.fields) < header.FIELDS_LIMIT
    block = b"".join(lines)
    if not complete or len(block) > _FIELDS_SIZE_LIMIT:
        return b"", b"", b"", False
    return block, bytes([number for number, _ in kept]), struct.pack(f"<{len(lines)}I", *accumulate(map(len, lines))), True


def _encoded(words: str) -> bytes:
    return words.encode("utf-8", "replace")


def _folded(value: bytes) -> bytes:
    """A raw field as search compares it."""
    if value.isascii() and b"=?" not in value:
        return unfold(value).lower()
    return _encoded(fold(header.decode(value)))


def _correspondents(value: bytes) -> bytes:
    """A raw address field as search compares it: as written, and as ENVELOPE has it where comments or escapes may stand in between."""
    folded = _folded(value)
    if b"(" not in value and b"\\" not in value:
        return folded
    entries = addresses.parse(value)
    plain = [b"%b <%b@%b>" % (name or b"", mailbox, host) for name, _, mailbox, host in entries if mailbox and host]
    return b"%b\n%b" % (folded, _folded(b", ".join(plain)))


def _mailbox(entries: Sequence[Entry]) -> bytes:
    """What SORT FROM, TO and CC compare: the first entry's mailbox (RFC 5256 3)."""
    mailbox = entries[0].mailbox if entries else None
    if not mailbox:
        return b""
    return mailbox.lower() if mailbox.isascii() else _folded(mailbox)


def _display(entries: Sequence[Entry]) -> bytes:
    """What SORT DISPLAYFROM and DISPLAYTO compare: the first entry's name, or its address (RFC 5957 3)."""
    if not entries:
        return b""
    name, _, mailbox, host = entries[0]
    if not name:
        name = b"%b@%b" % (mailbox or b"", host) if host else mailbox or b""
    return _folded(name)


def _attachments(root: Part) -> int:
    """How many parts a person would call attachments: named so, or neither text nor shown inside an HTML text."""
    if root.type == b"multipart":
        return sum(map(_attachments, root.children))
    if root.subtype in _SIGNATURES:
        return 0
    placed = root.disposition[0] if root.disposition else b""
    shown = root.type == b"text" or root.id is not None or placed == b"inline"
    return int(placed == b"attachment" or not shown)


@lru_cache(maxsize=4096)
def _runs(numbers: bytes, names: frozenset[bytes]) -> tuple[tuple[int, int], ...] | None:
    """Where the fields ``names`` stand in a header of the fields ``numbers``: (first, last) of each run; None: not all are kept.

    Most messages have their fields in one of a few orders.
    """
    if not names <= SUMMARY_FIELDS:
        return None
    wanted = frozenset(_FIELD_NUMBERS[name] for name in names)
    runs: list[tuple[int, int]] = []
    for place, number in enumerate(numbers):
        if number not in wanted:
            continue
        if runs and runs[-1][1] == place - 1:
            runs[-1] = runs[-1][0], place
        else:
            runs.append((place, place))
    return tuple(runs)


class Summary:
    """What ``summarise`` packed. Making one costs next to nothing; each property is a slice.

    ``envelope``, ``bodystructure`` and ``body`` are IMAP syntax as it stands in a FETCH response. ``subject_text``,
    ``from_text``, ``to_text``, ``cc_text``, ``bcc_text`` are folded for search, the ``sort_``, ``display_`` and
    ``base_`` ones for comparison (``charset.fold``); ``preview`` is text for people (RFC 8970).
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        """``data`` is what ``summarise`` returned; raises ValueError if its format is of another version."""
        if data[0] != FORMAT:
            raise ValueError(f"summary format {data[0]} is not {FORMAT}")
        self._data = data

    def _slice(self, number: int) -> bytes:
        data = self._data
        start, end = _PAIR.unpack_from(data, _BORDERS_AT + 4 * number)
        return data[_START + start : _START + end]

    def _text(self, number: int) -> str:
        return self._slice(number).decode("utf-8", "replace")

    def _identifiers(self, number: int) -> tuple[bytes, ...]:
        joined = self._slice(number)
        return tuple(joined.split(b"\n")) if joined else ()

    @property
    def size(self) -> int:
        """Octets that this summary takes."""
        return len(self._data)

    @property
    def envelope(self) -> bytes:
        return self._slice(_ENVELOPE)

    @property
    def bodystructure(self) -> bytes:
        return self._slice(_BODYSTRUCTURE)

    @property
    def body(self) -> bytes:
        return self._slice(_BODY)

    @property
    def header_length(self) -> int:
        """Octets of the message's header, the empty line included: where its text begins."""
        return int(_HEAD.unpack_from(self._data)[4])

    @property
    def lines(self) -> int:
        """Lines of the body if the message is a single text or message/rfc822, 0 otherwise."""
        return int(_HEAD.unpack_from(self._data)[3])

    @property
    def attachments(self) -> int:
        """How many parts are attachments."""
        return int(_HEAD.unpack_from(self._data)[2])

    @property
    def date(self) -> int | None:
        """The Date field in seconds since 1970; None if it is missing or names no date."""
        _, flags, _, _, _, date, _ = _HEAD.unpack_from(self._data)
        return int(date) if flags & _HAS_DATE else None

    @property
    def date_zone(self) -> int:
        """The zone of the Date field in seconds east of UTC: (date + date_zone) // 86400 is the day as it was written."""
        return int(_HEAD.unpack_from(self._data)[6])

    def fields(self, names: frozenset[bytes], but_not: bool = False) -> bytes | None:
        """What HEADER.FIELDS selects (``names`` in lower case), the final empty line included.

        None if the summary cannot tell: a name that is not in SUMMARY_FIELDS, HEADER.FIELDS.NOT, a huge header.
        """
        data = self._data
        if but_not or not data[1] & _FIELDS_COMPLETE:
            return None
        begin, end, numbers_end, _ = _FIELDS_BORDERS.unpack_from(data, _FIELDS_AT)
        numbers = data[_START + end : _START + numbers_end]
        runs = _runs(numbers, names) if len(numbers) <= _USUAL else _runs.__wrapped__(numbers, names)
        if runs is None:
            return None
        begin += _START
        ends = _START + numbers_end
        chosen = []
        for first, last in runs:
            start = begin + _END.unpack_from(data, ends + 4 * first - 4)[0] if first else begin
            chosen.append(data[start : begin + _END.unpack_from(data, ends + 4 * last)[0]])
        chosen.append(b"\r\n")
        return b"".join(chosen)

    def sections(self) -> Sections:
        """All parts of the message, itself first, containers before what they hold."""
        return Sections(self._slice(_PARTS), self._slice(_PART_NAMES))

    def part(self, path: tuple[int, ...]) -> PartOffsets | None:
        """The part with the section number ``path`` (RFC 9051 6.4.5.1), None if there is none. ``()`` is the message."""
        return self.sections().find(path)

    def parts(self) -> Iterator[PartOffsets]:
        """The parts that hold no other part."""
        return (part for part in self.sections() if not part.message and not part.multipart)

    @property
    def message_id(self) -> bytes:
        """The identifier of the message without angle brackets, ``b""`` if it has none."""
        return self._slice(_MESSAGE_ID)

    @property
    def in_reply_to(self) -> tuple[bytes, ...]:
        return self._identifiers(_IN_REPLY_TO)

    @property
    def references(self) -> tuple[bytes, ...]:
        return self._identifiers(_REFERENCES)

    @property
    def subject_text(self) -> str:
        return self._text(_SUBJECT)

    @property
    def from_text(self) -> str:
        return self._text(_FROM)

    @property
    def to_text(self) -> str:
        return self._text(_TO)

    @property
    def cc_text(self) -> str:
        return self._text(_CC)

    @property
    def bcc_text(self) -> str:
        return self._text(_BCC)

    @property
    def base_subject(self) -> str:
        return self._text(_BASE_SUBJECT)

    @property
    def sort_from(self) -> str:
        return self._text(_SORT_FROM)

    @property
    def sort_to(self) -> str:
        return self._text(_SORT_TO)

    @property
    def sort_cc(self) -> str:
        return self._text(_SORT_CC)

    @property
    def display_from(self) -> str:
        return self._text(_DISPLAY_FROM)

    @property
    def display_to(self) -> str:
        return self._text(_DISPLAY_TO)

    @property
    def preview(self) -> str:
        return self._text(_PREVIEW)

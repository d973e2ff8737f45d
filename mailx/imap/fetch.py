"""FETCH responses: a list of items becomes one template, and a batch of messages its lines in one go.

Each item gives columns: functions from a batch to one value per message. ``template % row`` for all rows at once is
what makes ten thousand flags a few milliseconds. Messages whose content lies in a file are not rendered here but
streamed (:mod:`mailx.imap.fetching`).
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import chain

from mailx.core.fetch import Need, Row
from mailx.core.object_ids import email_id
from mailx.core.selected import Selected
from mailx.imap import sections
from mailx.imap.binary_sections import decoded
from mailx.imap.commands import BinarySize, Data, Item, Section
from mailx.imap.session import Session
from mailx.imap.text import FlagTexts, date_time, string
from mailx.mail import surrogate
from mailx.mail.summary import Summary

_OF_SUMMARY = (Data.ENVELOPE, Data.BODY, Data.BODYSTRUCTURE, Data.PREVIEW)
_FLAGS = b"\0"  # no flag has it in its name
_MANY = 500  # messages with the same flags whose responses are kept
_RUNS = 80  # of at most 1,500 messages and 50 KB each: a STORE of 100,000 messages has 67
IN_MEMORY = frozenset((Data.UID, Data.FLAGS, Data.SIZE, Data.MODSEQ))


class Unrendered(Exception):
    """A row needs its content, which was not read with it."""


class Batch:
    """Messages of the selected mailbox, by their indexes, with what the store gave for them, if it was asked."""

    def __init__(
        self, session: Session, indexes: Sequence[int], rows: Sequence[Row] = (), summaries: Sequence[Summary] | None = None
    ) -> None:
        """``summaries``: of the messages, if there are no ``rows`` that have them."""
        self.session = session
        self.view: Selected = session.view()
        self.indexes = indexes
        self.rows = rows
        self.summaries = [row.summary for row in rows if row.summary is not None] if summaries is None else summaries

    @property
    def numbers(self) -> Sequence[int]:
        """The sequence numbers."""
        places = self.indexes
        return range(places.start + 1, places.stop + 1) if isinstance(places, range) else [index + 1 for index in places]

    @property
    def uids(self) -> Sequence[int]:
        return self.column(self.view.uids)

    def column(self, values: "array[int]") -> Sequence[int]:
        """The values of these messages in one column of the view."""
        if isinstance(self.indexes, range):
            return values[self.indexes.start : self.indexes.stop]
        return [values[index] for index in self.indexes]

    def envelopes(self) -> list[bytes]:
        """ENVELOPE of each message."""
        envelopes = [summary.envelope for summary in self.summaries]
        if self.session.seven_bit and not all(map(bytes.isascii, envelopes)):
            for place, summary in enumerate(self.summaries):
                if not envelopes[place].isascii():
                    fields = summary.fields(surrogate.ENVELOPE)
                    if fields is not None and surrogate.needed(fields):
                        envelopes[place] = surrogate.envelope(fields)
        return envelopes

    def thread_ids(self) -> list[bytes]:
        """THREADID of each message; those of one thread stand together in most mailboxes."""
        made, account = self.session.services.mailboxes.object_ids.thread_id, self.view.mailbox.account
        known = {thread: made(account, thread).encode("ascii") for thread in {row.thread_id for row in self.rows}}
        return [known[row.thread_id] for row in self.rows]

    def flags(self) -> list[bytes]:
        """The names of the flags of each message."""
        flags = self.column(self.view.flags)
        texts = self._texts()
        if texts is not None:
            return [texts[bits] for bits in flags]
        some, others, recent = self.session.recent_texts, self.session.flag_texts, self.view.recent
        return [some[bits] if uid in recent else others[bits] for uid, bits in zip(self.uids, flags, strict=True)]

    def flags_of_all(self) -> bytes | None:
        """The names of the flags if all messages have the same, as they do after most STOREs."""
        flags = set(self.column(self.view.flags))
        texts = self._texts() if len(flags) == 1 else None
        return None if texts is None else texts[flags.pop()]

    def _texts(self) -> FlagTexts | None:
        """What names the flags of every message; None if some are \\Recent and some are not."""
        recent = self.view.recent
        if not recent or recent.isdisjoint(self.uids):
            return self.session.flag_texts
        return self.session.recent_texts if recent.issuperset(self.uids) else None


Column = Callable[[Batch], Iterable[object]]

_DATA: dict[Data, tuple[bytes, Column]] = {
    Data.UID: (b"UID %d", lambda batch: batch.uids),
    Data.FLAGS: (b"FLAGS (%b)", Batch.flags),
    Data.SIZE: (b"RFC822.SIZE %d", lambda batch: batch.column(batch.view.sizes)),
    Data.MODSEQ: (b"MODSEQ (%d)", lambda batch: batch.column(batch.view.modseqs)),
    Data.INTERNALDATE: (b'INTERNALDATE "%b"', lambda batch: [date_time(row.received) for row in batch.rows]),
    Data.ENVELOPE: (b"ENVELOPE %b", Batch.envelopes),
    Data.BODY: (b"BODY %b", lambda batch: [summary.body for summary in batch.summaries]),
    Data.EMAILID: (b"EMAILID (%b)", lambda batch: [email_id(row.guid).encode("ascii") for row in batch.rows]),
    Data.THREADID: (b"THREADID (%b)", Batch.thread_ids),
    Data.SAVEDATE: (b'SAVEDATE "%b"', lambda batch: [date_time(row.saved) for row in batch.rows]),
    Data.PREVIEW: (b"PREVIEW %b", lambda batch: [string(summary.preview.encode("utf-8", "replace")) for summary in batch.summaries]),
    Data.BODYSTRUCTURE: (b"BODYSTRUCTURE %b", lambda batch: [summary.bodystructure for summary in batch.summaries]),
}


def _of_summary(item: Item) -> bool:
    return item in IN_MEMORY or item in _OF_SUMMARY or isinstance(item, Section) and item.peek and sections.in_summary(item)


def literal(octets: bytes | None) -> bytes:
    """``octets`` as a literal, None as NIL."""
    return b"NIL" if octets is None else b"{%d}\r\n%b" % (len(octets), octets)


def literal8(octets: bytes | None) -> bytes:
    """The same, as a literal8 if NUL is among them."""
    return b"~" + literal(octets) if octets is not None and b"\0" in octets else literal(octets)


def _section_column(section: Section) -> Column:
    """The column of a body section; it raises Unrendered."""
    if section.decoded:
        return partial(_decoded, section)
    if sections.in_summary(section):
        return partial(_partial_fields if section.offset or section.count is not None else _fields, section)
    return partial(_contents, section)


def _fields(section: Section, batch: Batch) -> list[bytes]:
    """HEADER.FIELDS out of summaries, which is what clients fetch of ten thousand messages."""
    names, seven_bit = section.fields, batch.session.seven_bit
    texts = []
    for summary in batch.summaries:
        fields = summary.fields(names)
        if fields is None:
            raise Unrendered
        if seven_bit and not fields.isascii():
            fields = surrogate.block(fields)
        texts.append(b"{%d}\r\n%b" % (len(fields), fields))
    return texts


def _partial_fields(section: Section, batch: Batch) -> list[bytes]:
    """The same with a partial range, which nobody fetches of many."""
    found = [summary.fields(section.fields) for summary in batch.summaries]
    if None in found:
        raise Unrendered
    shown = surrogate.block if batch.session.seven_bit else bytes
    return [literal(sections.partial(section, shown(fields))) for fields in found if fields is not None]


def _contents(section: Section, batch: Batch) -> list[bytes]:
    """A section of each content."""
    texts = []
    seven_bit = batch.session.seven_bit
    for row in batch.rows:
        content = row.content
        if not isinstance(content, bytes):
            raise Unrendered
        texts.append(literal(sections.of_content(section, row.summary, content, seven_bit)))
    return texts


def _decoded(section: Section, batch: Batch) -> list[bytes]:
    """BINARY of each content."""
    return [literal8(octets) for octets in _octets(section, batch)]


def _sizes(section: Section, batch: Batch) -> list[int]:
    """BINARY.SIZE of each content; a part that is not there has none."""
    return [len(octets or b"") for octets in _octets(section, batch)]


def _octets(section: Section, batch: Batch) -> list[bytes | None]:
    contents = [row.content for row in batch.rows if isinstance(row.content, bytes)]
    if len(contents) < len(batch.rows):
        raise Unrendered
    return [decoded(section, row.summary, content) for row, content in zip(batch.rows, contents, strict=True)]


class _Hollow:
    """Responses in two steps: first what a message says for ever, which may be kept, then its number and what the view has of it."""

    def __init__(self, items: Sequence[Item], pieces: Sequence[bytes], columns: Sequence[Column]) -> None:
        """``pieces`` of a template and ``columns``, side by side with ``items``."""
        twice = [piece if item not in IN_MEMORY else piece.replace(b"%", b"%%") for item, piece in zip(items, pieces, strict=True)]
        twice = [piece.replace(b"%%", b"%%%%") if isinstance(item, Section) else piece for item, piece in zip(items, twice, strict=True)]
        self._template = b"* %%d FETCH (" + b" ".join(twice) + b")\r\n"
        self._template_by_uid = b"* %%d UIDFETCH (" + b" ".join(twice) + b")\r\n"
        self._lasting = [column for item, column in zip(items, columns, strict=True) if item not in IN_MEMORY]
        self._passing = [column for item, column in zip(items, columns, strict=True) if item in IN_MEMORY]

    def prepared(self, batch: Batch) -> bytes:
        template = self._template_by_uid if batch.session.uidonly else self._template
        columns = []
        for column in self._lasting:
            texts = list(column(batch))
            columns.append([text.replace(b"%", b"%%") for text in texts if isinstance(text, bytes)])
        return b"".join(map(template.__mod__, zip(*columns, strict=True)))

    def filled(self, prepared: bytes, batch: Batch) -> bytes:
        numbers = batch.uids if batch.session.uidonly else batch.numbers
        return prepared % tuple(chain.from_iterable(zip(numbers, *[column(batch) for column in self._passing], strict=True)))


@lru_cache(_RUNS)
def _flagged(numbers: range) -> bytes:
    """The responses with the flags of these messages, which are all the same, and for which ``_FLAGS`` stands."""
    return b"* %%d FETCH (FLAGS (%b))\r\n" % _FLAGS * len(numbers) % tuple(numbers)


class Rendering:
    """``items`` of one FETCH, compiled."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = tuple(items)
        self.sections = tuple(item for item in self.items if isinstance(item, Section))
        pieces = []
        self._columns: list[Column] = []
        for item in self.items:
            if isinstance(item, Section):
                pieces.append(item.label.replace(b"%", b"%%") + b" %b")
                self._columns.append(_section_column(item))
            elif isinstance(item, BinarySize):
                pieces.append(item.section.label + b" %d")
                self._columns.append(partial(_sizes, item.section))
            else:
                piece, column = _DATA[item]
                pieces.append(piece)
                self._columns.append(column)
        self._bare = b" ".join(pieces)
        self._hollow = _Hollow(self.items, pieces, self._columns)
        self._template = b"* %d FETCH (" + self._bare + b")\r\n"
        self._template_by_uid = b"* %d UIDFETCH (" + self._bare + b")\r\n"  # RFC 9586 3.3
        self.need = self._need()  # what must be read from the store
        self.with_content = bool(self.need & Need.CONTENT)
        self.in_memory = IN_MEMORY.issuperset(self.items)  # whether the view alone answers
        self.of_summaries = all(_of_summary(item) for item in self.items)  # whether the view and summaries answer
        self.sets_seen = any(not section.peek for section in self.sections)

    def _need(self) -> Need:
        need = Need.NONE
        for item in self.items:
            if item in _OF_SUMMARY:
                need |= Need.SUMMARY
            elif item is Data.EMAILID:
                need |= Need.GUID
            elif isinstance(item, BinarySize):
                need |= Need.CONTENT | Need.SUMMARY
            elif isinstance(item, Section):
                if not sections.in_summary(item):
                    need |= Need.CONTENT
                if not sections.whole(item):
                    need |= Need.SUMMARY
        return need

    def lines(self, batch: Batch) -> bytes:
        """The responses for ``batch``; raises Unrendered if a content is missing."""
        template, numbers = self._template, batch.numbers
        if batch.session.uidonly:
            template, numbers = self._template_by_uid, batch.uids
        if self.items == (Data.FLAGS,) and (flags := batch.flags_of_all()) is not None:
            if isinstance(numbers, range) and len(numbers) >= _MANY:
                return _flagged(numbers).replace(_FLAGS, flags)
            return template.replace(b"%b", flags) * len(numbers) % tuple(numbers)
        return b"".join(map(template.__mod__, zip(numbers, *[column(batch) for column in self._columns], strict=True)))

    def prepared(self, batch: Batch) -> bytes:
        """The responses for ``batch`` without what may change; to be given to ``filled``. Raises Unrendered."""
        return self._hollow.prepared(batch)

    def filled(self, prepared: bytes, batch: Batch) -> bytes:
        """The responses for the messages of which ``prepared`` was made, and which are those of ``batch``."""
        return self._hollow.filled(prepared, batch)

    def opening(self, batch: Batch) -> bytes:
        """How the response for a ``batch`` of one message begins."""
        return b"* %d UIDFETCH (" % batch.uids[0] if batch.session.uidonly else b"* %d FETCH (" % batch.numbers[0]

    def bare(self, batch: Batch) -> bytes:
        """The items of a ``batch`` of one message, without the response around them."""
        return b"".join(map(self._bare.__mod__, zip(*[column(batch) for column in self._columns], strict=True)))


@lru_cache(256)
def compiled(items: tuple[Item, ...]) -> Rendering:
    """The rendering of ``items``; mail programs ask for the same few again and again."""
    return Rendering(items)

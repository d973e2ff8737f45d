"""Looking into contents for SEARCH TEXT, BODY and unusual header fields; runs in the store's reader threads.

What is compared is decoded and folded text (:mod:`mailx.mail.text`), taking some 30 us a message. Most messages
cannot contain what is looked for, and for plain ones a look at their octets tells.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from mailx.core import search as keys
from mailx.core.search import Query
from mailx.core.wording import Test, place, test_for
from mailx.mail.charset import fold
from mailx.mail.header import decode, split
from mailx.mail.sections import PartOffsets
from mailx.mail.summary import Summary
from mailx.mail.text import file_names, own_header, searchable
from mailx.store import Txn
from mailx.store.contents import Stored, opened

if TYPE_CHECKING:
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher
    from mailx.store.vault import Vault

# In an ASCII message without any of these (in lower case) every text stands as it is: no encoded-words, no
# transfer encodings, no charsets that hide letters, no HTML, no encoded parameters (RFC 2231).
_DISGUISES = (b"=?", b"quoted-printable", b"base64", b"text/html", b"iso-2022", b"utf-7", b"hz-gb", b"utf-16", b"utf-32", b"*=", b"*0")


@frozen
class Probe:
    """What is looked for: ``needle`` (folded) in the header and text parts, in the text parts only, or in one field."""

    needle: str
    header: bool  # the message's own header too
    field: bytes = b""  # in lower case: only in fields of this name; an empty needle asks whether there is one
    words: tuple[bytes, ...] = ()  # octets of the needle without blanks, each of which a plain message must have
    test: "Test | None" = None  # looks at the texts instead of the needle
    body: bool = True  # not the message's own header alone
    names: bool = False  # the texts are the names of files


def probe_for(query: Query) -> Probe:
    match query:
        case keys.Body(text):
            return _probe(text, header=False)
        case keys.Text(text):
            return _probe(text, header=True)
        case keys.Header(name, text):
            return Probe(fold(text), True, name.lower().encode("utf-8"))
    if isinstance(query, keys.AttachmentName):
        wanted = fold(query.text)
        return Probe("", True, test=lambda texts: any(wanted in text for text in texts), names=True)
    where = place(query)
    if where is not None:
        return Probe("", where != "body", test=test_for(query), body=where != "header")
    raise TypeError(f"not a key of contents: {type(query).__name__}")


def scan(txn: Txn, cipher: "Cipher", blobs: "Blobs", ids: Sequence[int], probe: Probe, vault: "Vault | None" = None) -> set[int]:
    """Those of the messages ``ids`` in which ``probe`` is found; ``vault`` opens those that are sealed for their owner."""
    hits = set()
    doubtful: dict[int, bytes] = {}
    for id, stored in opened(txn, cipher, (), ids, vault).contents.items():
        content = stored.content
        if content is None and stored.file is not None:
            try:
                content = _file(blobs, stored, vault)
            except FileNotFoundError:  # expunged and swept since
                continue
        if content is None:
            continue
        if probe.field:
            if any(probe.needle in fold(decode(value)) for value in _values(content, probe.field)):
                hits.add(id)
        elif not unlike(probe, content):
            doubtful[id] = content
    if doubtful:
        for id, (_, data) in opened(txn, cipher, list(doubtful), (), vault).summaries.items():
            if found(probe, doubtful[id], Summary(data).sections()):
                hits.add(id)
    return hits


def _file(blobs: "Blobs", stored: Stored, vault: "Vault | None") -> bytes | None:
    """The content of a file; raises FileNotFoundError."""
    if stored.file is None or (stored.vault and vault is None):
        return None
    return vault.read(blobs, stored.file, stored.guid) if stored.vault and vault is not None else blobs.read(stored.file)


def unlike(probe: Probe, content: bytes) -> bool:
    """Whether a look at the octets tells that ``content`` cannot have what ``probe`` looks for."""
    if not content.isascii():
        return False
    lowered = content.lower()
    if all(word in lowered for word in probe.words):
        return False
    head = lowered[: lowered.find(b"\r\n\r\n") + 2]
    told = lowered if b"multipart/" in head or b"message/" in head or len(head) < 2 else head
    return not any(disguise in told for disguise in _DISGUISES)


def found(probe: Probe, content: bytes, parts: Iterable[PartOffsets]) -> bool:
    """Whether the decoded text of ``content`` has what ``probe`` looks for."""
    if probe.test is not None:
        if probe.names:
            return probe.test(map(fold, file_names(content, parts)))
        return probe.test(searchable(content, parts, with_header=probe.header) if probe.body else own_header(content, parts))
    return any(probe.needle in text for text in searchable(content, parts, with_header=probe.header))


def _probe(text: str, header: bool) -> Probe:
    needle = fold(text)
    return Probe(needle, header, words=tuple(word.encode() for word in needle.split()))


def _values(content: bytes, field: bytes) -> Iterator[bytes]:
    end = content.find(b"\r\n\r\n")
    head = content if end < 0 else content[: end + 2]
    if field not in head.lower():
        return iter(())
    return (value for _, name, value in split(head, 0, len(head)) if name.lower() == field)

"""The text of attachments for the search index: which parts are documents, and what reads them.

Each is read by a process of its own with limits (:mod:`mailx.core.document_worker`), in the indexer's thread. A document that is too large,
takes too long or cannot be read has no text. When those of a message have taken a while, its others are not begun: whoever sends
mail would else have a minute of the indexer for each.
"""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from time import monotonic

from mailx.mail.charset import fold
from mailx.mail.sections import PartOffsets
from mailx.mail.text import decode_transfer

LARGEST = 10 * 1024 * 1024  # octets of a document
MOST = 8  # documents of a message
TEXT = 500_000  # characters of a document
SECONDS = 10.0  # that reading one may take, and after which no other of the message is begun

_OFFICE = "application/vnd.openxmlformats-officedocument."
_KINDS = {
    "application/pdf": "pdf",
    _OFFICE + "wordprocessingml.document": "docx",
    _OFFICE + "spreadsheetml.sheet": "xlsx",
    _OFFICE + "presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odf",
    "application/vnd.oasis.opendocument.spreadsheet": "odf",
    "application/vnd.oasis.opendocument.presentation": "odf",
}

Extract = Callable[[str, bytes], str]  # kind, octets -> text


def installed() -> bool:
    """Whether documents can be read: ``mailx[attachments]`` is installed."""
    return find_spec("pypdf") is not None


def texts(content: bytes, parts: Iterable[PartOffsets], extract: Extract, clock: Callable[[], float] = monotonic) -> Iterator[str]:
    """The folded texts of the documents among ``parts``. ``clock`` counts seconds."""
    count = 0
    left = SECONDS
    for part in parts:
        kind = _KINDS.get(part.mime_type)
        if kind is None or count == MOST or part.body_end - part.body_start > 2 * LARGEST:
            continue
        count += 1
        octets = decode_transfer(content[part.body_start : part.body_end], part.encoding)
        if len(octets) <= LARGEST and _looks_like(kind, octets):
            if left <= 0:
                return
            began = clock()
            text = extract(kind, octets)
            left -= clock() - began
            yield fold(text)


def _looks_like(kind: str, octets: bytes) -> bool:
    """Whether a process is worth its tenth of a second: much is called a document and is none."""
    return b"%PDF-" in octets[:1024] if kind == "pdf" else octets.startswith(b"PK")


def extract(kind: str, octets: bytes) -> str:
    """The text of one document, "" if it cannot be read. Blocks."""
    command = [sys.executable, "-m", "mailx.core.document_worker", kind, str(TEXT)]
    try:
        ended = subprocess.run(command, input=octets, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS, check=True)
    except (subprocess.SubprocessError, OSError):
        return ""
    return ended.stdout.decode("utf-8", "replace")

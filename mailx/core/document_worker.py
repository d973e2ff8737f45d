"""The text of one PDF or office document: a program of its own, so that a hostile file costs nothing but itself.

``python -m mailx.core.document_worker KIND LIMIT`` reads the document from standard input and writes at most LIMIT characters of its
text, in UTF-8, to standard output. Memory and time are limited before it reads anything. Any failure is an exit code other than 0.
"""

import io
import resource
import sys
import zipfile
from collections.abc import Iterator
from xml.parsers import expat

_MEMORY = 512 * 1024 * 1024  # octets of address space
_SECONDS = 5  # of CPU
_EXPANDED = 32 * 1024 * 1024  # octets of one archive that are unpacked
_MEMBERS = 2000  # of an archive
_STEP = 65536
_PARTS = {
    "docx": ("word/document", "word/footnotes", "word/header", "word/footer"),
    "xlsx": ("xl/sharedStrings", "xl/worksheets/"),
    "pptx": ("ppt/slides/slide", "ppt/notesSlides/"),
    "odf": ("content.xml",),
}
_APART = frozenset("p br tab tr tc si is cell row h line-break table-cell".split())  # elements between which words end


class Full(Exception):
    """There is as much text as was asked for."""


class Text:
    """Text with a limit."""

    def __init__(self, limit: int) -> None:
        self.pieces: list[str] = []
        self._left = limit

    def add(self, piece: str) -> None:
        self.pieces.append(piece[: self._left])
        self._left -= len(piece)
        if self._left <= 0:
            raise Full


def pdf(octets: bytes, text: Text) -> None:
    from pypdf import PdfReader

    for page in PdfReader(io.BytesIO(octets)).pages:
        text.add(page.extract_text())
        text.add("\n")


def office(octets: bytes, kind: str, text: Text) -> None:
    """Office Open XML and OpenDocument: archives of XML."""
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        left = _EXPANDED
        for member in archive.infolist()[:_MEMBERS]:
            if not member.filename.startswith(_PARTS[kind]) or not member.filename.endswith(".xml"):
                continue
            parser = _parser(text)
            with archive.open(member) as stream:
                for piece in iter(lambda: stream.read(_STEP), b""):
                    left -= len(piece)
                    if left < 0:
                        raise Full
                    parser.Parse(piece, False)
            parser.Parse(b"", True)
            text.add("\n")


def _parser(text: Text) -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise ValueError("a document type has no place here")  # entities that expand

    def ended(name: str) -> None:
        if name.rpartition(":")[2] in _APART:
            text.add(" ")

    parser.StartDoctypeDeclHandler = refuse
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = text.add
    return parser


def extracted(octets: bytes, kind: str, limit: int) -> Iterator[str]:
    """The text, in pieces."""
    text = Text(limit)
    try:
        if kind == "pdf":
            pdf(octets, text)
        else:
            office(octets, kind, text)
    except Full:
        pass
    return iter(text.pieces)


def main() -> None:
    kind, limit = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for piece in extracted(sys.stdin.buffer.read(), kind, limit):
        sys.stdout.buffer.write(piece.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()

"""Documents that are attached: their words are found, and hostile ones cost nothing but themselves."""

import base64
import io
import zipfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import documents
from mailx.core import search as keys
from mailx.mail.summary import Summary, summarise
from tests.core.test_index import Indexed

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def archive(name: str, xml: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr(name, xml)
    return made.getvalue()


def docx(*paragraphs: str) -> bytes:
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return archive("word/document.xml", f'<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>')


def pdf(text: str) -> bytes:
    """One page that says ``text``."""
    stream = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj%b endobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return made + b"xref\n0 6\n0000000000 65535 f \n%btrailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (table, len(made))


def message(mime_type: str, octets: bytes) -> bytes:
    part = f"Content-Type: {mime_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode() + base64.encodebytes(octets)
    return b"Subject: see attached\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part + b"\r\n--b--\r\n"


class Documents(SynchronousTestCase):
    def test_texts(self) -> None:
        self.assertEqual(documents.extract("docx", docx("First paragraph", "second")).split(), ["First", "paragraph", "second"])
        odf = archive("content.xml", "<o><text:p xmlns:text='t'>Open \u00e9</text:p></o>")
        self.assertEqual(documents.extract("odf", odf).split(), ["Open", "\u00e9"])
        self.assertEqual(documents.extract("pdf", pdf("Annual report")).split(), ["Annual", "report"])

    def test_hostile_ones_have_no_text(self) -> None:
        entities = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><w:p>&b;</w:p>'
        for kind, octets in ("pdf", b"%PDF-1.4 broken"), ("docx", b"PK\x03\x04"), ("docx", archive("word/document.xml", entities)):
            self.assertEqual(documents.extract(kind, octets), "")

    def test_an_archive_that_expands_is_cut(self) -> None:
        self.assertLessEqual(len(documents.extract("docx", docx("x" * 40_000_000))), documents.TEXT)

    def test_slow_ones_hold_up_no_more_than_one_does(self) -> None:
        """Of eight that take six seconds each the third is not begun."""
        clock = Clock()

        def extract(kind: str, octets: bytes) -> str:
            clock.advance(6)
            return "Text"

        part = b"--b\r\nContent-Type: application/pdf\r\n\r\n" + pdf("x") + b"\r\n"
        content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 8 + b"--b--\r\n"
        sections = Summary(summarise(content)).sections()
        self.assertEqual(len(list(documents.texts(content, sections, extract, clock.seconds))), 2)
        self.assertEqual(len(list(documents.texts(content, sections, lambda kind, octets: "Text", clock.seconds))), 8)

    def test_what_is_none_costs_no_process(self) -> None:
        asked: list[str] = []

        def extract(kind: str, octets: bytes) -> str:
            asked.append(kind)
            return "Text"

        for mime_type, octets in (("application/pdf", b"no PDF"), (DOCX, b"no archive"), (DOCX, docx("x")), ("application/pdf", pdf("x"))):
            content = message(mime_type, octets)
            list(documents.texts(content, Summary(summarise(content)).sections(), extract))
        self.assertEqual(asked, ["docx", "pdf"])


class Indexing(Indexed):
    async def test_words_of_documents_are_found(self) -> None:
        await self.close()
        await self.open(extract=documents.extract)
        await self.world.file(self.user, message(DOCX, docx("Zymurgy for beginners")))
        await self.catch_up()
        session = await self.select()
        for query in keys.Text("zymurg"), keys.Body("for beginners"), keys.Prefix("begin"), keys.Fuzzy(keys.Text("zymurgi")):
            self.assertEqual(await self.world.mailboxes.search(session, query), [1], query)
        self.assertEqual(await self.world.mailboxes.search(session, keys.Subject("zymurgy")), [])
